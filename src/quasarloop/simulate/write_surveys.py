"""Files as SDSS-V, LAMOST, 4MOST and WEAVE write them.

Layouts follow the descriptions in docs/reference/spectra.md. ORIGIN of every file is SIMULATE.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import air_wavelengths
from quasarloop.fits_tables import new_fits
from quasarloop.read import named_id
from quasarloop.simulate import Floats64
from quasarloop.simulate.footprint import Assignment
from quasarloop.simulate.instrument import Instrument
from quasarloop.simulate.noise import NoisyArm
from quasarloop.simulate.write_redrock import RedrockResult
from quasarloop.simulate.write_sdss import (
    Plate,
    block,
    card,
    coadd_rows,
    combine_arms,
    folder_atomically,
    header,
    table_header,
)

__all__ = ["WRITERS", "Seen"]

_ORIGIN: Final = card("ORIGIN", "SIMULATE")
_ERG: Final = 1e-17  # our unit of flux, erg/s/cm²/Å
_FIRST_FIELD: Final = 100_000  # fields of robots; our choice
_CLASSES: Final = (b"STAR", b"GALAXY", b"QSO")

Identity = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Seen:
    """A tile as it was seen, and its names.

    Attributes:
        plate: SDSS's names of the tile: MJD, fibres, objects.
        index: number of the tile.
        instrument: the spectrograph.
        assignment: targets of the fibres.
        arms: the coadd.
        result: class and redshift of each.
    """

    plate: Plate
    index: int
    instrument: Instrument
    assignment: Assignment
    arms: Mapping[str, NoisyArm]
    result: RedrockResult

    def whole(self) -> NoisyArm:
        """Return all arms together, on the instrument's pixels."""
        return combine_arms(self.instrument, self.arms)


def _sdssv(folder: Path, seen: Seen) -> Identity:
    """One spec-FIELD-MJD-CATALOGID per target, and spAll of the field."""
    plate, sites = seen.plate, seen.assignment.sites
    field, n = _FIRST_FIELD + seen.index, len(plate.fiber)
    pixels = coadd_rows(seen.instrument, seen.whole())
    objects = _rows(
        FIELD=np.full(n, field),
        MJD=np.full(n, plate.mjd),
        TARGET_INDEX=plate.fiber,
        FIBERID_LIST=plate.fiber.astype("S4"),
        OBJTYPE=np.where(seen.assignment.is_sky, b"SKY", b"QSO"),
        CATALOGID=sites.target_id,
        SDSS_ID=plate.thing_id,
        PLUG_RA=sites.ra_deg,
        PLUG_DEC=sites.dec_deg,
        CLASS=np.array(_CLASSES)[seen.result.spectype],
        Z=seen.result.z,
        ZWARNING=seen.result.zwarn,
    )
    heads = [table_header(pixels.dtype, pixels.shape[1], "COADD")]
    heads += [table_header(objects.dtype, 1, "SPALL")]
    primary = _primary(
        TELESCOP="SDSS 2.5-M", PLATEID="", FIELDID=field, MJD=plate.mjd, VERS2D="v6_simulated"
    )
    with folder_atomically(folder) as temporary:
        for row, catalog_id in enumerate(sites.target_id.tolist()):
            content = primary + heads[0] + block(pixels[row])
            content += heads[1] + block(objects[row : row + 1])
            name = f"spec-{field}-{plate.mjd}-{catalog_id}.fits"
            (temporary / name).write_bytes(content)
        everything = table_header(objects.dtype, n, "SPALL") + block(objects)
        (temporary / f"spAll-{field}-{plate.mjd}.fits").write_bytes(_primary() + everything)
    return sites.target_id, plate.thing_id


def _lamost(folder: Path, seen: Seen) -> Identity:
    """One table of one row per target, named by night, plan, spectrograph and fibre."""
    plate, sites = seen.plate, seen.assignment.sites
    wave, arm = seen.instrument.wave_aa, seen.whole()
    zeros = np.zeros(arm.flux.shape, np.float32)
    table: dict[str, NDArray[Any]] = {"FLUX": arm.flux, "IVAR": arm.ivar}
    table["WAVELENGTH"] = np.tile(wave, (len(zeros), 1))
    table |= dict.fromkeys(("ANDMASK", "ORMASK", "NORMALIZATION"), zeros)
    rows = _rows(**{name: values.astype(np.float32) for name, values in table.items()})
    head = table_header(rows.dtype, 1, "COADD")
    plan = f"SIM{seen.index:05d}"
    names = [f"LAMOST J{name}" for name in _coordinates(sites.ra_deg, sites.dec_deg, 2, 1)]
    with folder_atomically(folder) as temporary:
        for row, fiber in enumerate(plate.fiber.tolist()):
            primary = _primary(
                TELESCOP="LAMOST", OBSID=int(sites.target_id[row]), LMJD=plate.mjd, PLANID=plan,
                SPID=1, FIBERID=fiber, RA=float(sites.ra_deg[row]), DEC=float(sites.dec_deg[row]),
                DESIG=names[row], VACUUM=True,
                FIBERTYP="Sky" if seen.assignment.is_sky[row] else "Obj",
            )  # fmt: skip
            path = temporary / f"spec-{plate.mjd}-{plan}_sp01-{fiber:03d}.fits"
            path.write_bytes(primary + head + block(rows[row : row + 1]))
    return sites.target_id, np.array([named_id(name) for name in names], np.int64)


def _4most(folder: Path, seen: Seen) -> Identity:
    """One Phase 3 spectrum per target."""
    plate, sites = seen.plate, seen.assignment.sites
    wave, arm = seen.instrument.wave_aa, seen.whole()
    error = np.divide(1.0, np.sqrt(arm.ivar), out=np.zeros_like(arm.ivar), where=arm.ivar > 0)
    rows = _rows(
        WAVE=np.tile(wave, (len(error), 1)),
        FLUX=(arm.flux * _ERG).astype(np.float32),
        ERR_FLUX=(error * _ERG).astype(np.float32),
        QUAL=(arm.ivar == 0).astype(np.int32),
    )
    unit, axes = "erg cm**(-2) s**(-1) angstrom**(-1)", "Spectrum.Data.FluxAxis."
    roles = [("Spectrum.Data.SpectralAxis.Value", "em.wl", "Angstrom")]
    roles += [(axes + "Value", "phot.flux.density;em.wl;meta.main", unit)]
    roles += [(axes + "Accuracy.StatError", "stat.error;phot.flux.density;meta.main", unit)]
    roles += [(axes + "Quality", "meta.code.qual", "")]
    more = [
        card(f"{name}{number}", word)
        for number, role in enumerate(roles, start=1)
        for name, word in zip(("TUTYP", "TUCD", "TUNIT"), role, strict=True)
    ]
    head = table_header(rows.dtype, 1, "PHASE3SPECTRUM", more)
    with folder_atomically(folder) as temporary:
        for row, target in enumerate(sites.target_id.tolist()):
            primary = _primary(
                TELESCOP="ESO-VISTA", INSTRUME="QMOST", PRODCATG="SCIENCE.SPECTRUM",
                OBJECT="SKY" if seen.assignment.is_sky[row] else f"Field {seen.index}",
                FLUXCAL="ABSOLUTE", CONTNORM=False, TRG_UID=target, FIB_ID=int(plate.fiber[row]),
                RA=float(sites.ra_deg[row]), DEC=float(sites.dec_deg[row]), OBID1=seen.index,
                **{"MJD-OBS": float(plate.mjd)},
            )  # fmt: skip
            path = temporary / f"qmost_{target}.fits"
            path.write_bytes(primary + head + block(rows[row : row + 1]))
    return sites.target_id, sites.target_id


def _weave(folder: Path, seen: Seen) -> Identity:
    """Stacks of the two arms (L1) and the joined spectra of all targets (L2), a folder each."""
    sites, sky = seen.assignment.sites, seen.assignment.is_sky
    names = [f"WVE_{name}" for name in _coordinates(sites.ra_deg, sites.dec_deg, 2, 1, point="")]
    fibres = {
        "CNAME": np.array(names, dtype="S20"),
        "TARGRA": sites.ra_deg,
        "TARGDEC": sites.dec_deg,
        "FIBREID": seen.plate.fiber,
        "TARGUSE": np.where(sky, b"S", b"T"),
        "NSPEC": np.arange(1, len(names) + 1),
    }
    # The survey's second level has its targets alone.
    joined: dict[str, NDArray[Any]] = {"APS_ID": seen.plate.fiber[~sky]}
    joined["CNAME"] = fibres["CNAME"][~sky]
    cards = {"ORIGIN": "SIMULATE", "OBID": seen.index, "MJD-OBS": float(seen.plate.mjd)}
    runs = {"BLUE": 2 * seen.index + 2, "RED": 2 * seen.index + 1}
    with folder_atomically(folder) as temporary:
        for level in ("L1", "L2"):
            (temporary / level).mkdir()
        for camera, model in zip(runs, seen.instrument.arms, strict=True):
            wave, arm = model.wave_aa, seen.arms[model.name]
            step = float(wave[1] - wave[0])
            axis = {"CRVAL1": float(wave[0]), "CD1_1": step, "CRPIX1": 1.0, "CTYPE1": "WAVE"}
            images = {"DATA": arm.flux, "IVAR": arm.ivar, "SENSFUNC": np.full_like(arm.flux, _ERG)}
            path = temporary / "L1" / f"stack_{runs[camera]:07d}.fit"
            with new_fits(path) as fits:
                fits.write(None, header=cards | {"RUN": runs[camera]})
                for name, image in images.items():
                    fits.write(image, extname=f"{camera}_{name}", header=axis)
                fits.write(_rows(**fibres), extname="FIBTABLE")
            flux, ivar = (values[~sky].astype(np.float64) for values in (arm.flux, arm.ivar))
            joined[f"LAMBDA_RR_{camera[0]}"] = np.tile(air_wavelengths(wave), (len(flux), 1))
            joined[f"FLUX_RR_{camera[0]}"] = flux * _ERG
            joined[f"IVAR_RR_{camera[0]}"] = ivar / _ERG**2
        both = f"stack_{runs['BLUE']:07d}__stack_{runs['RED']:07d}_APS.fits"
        with new_fits(temporary / "L2" / both) as fits:
            fits.write(None, header=cards)
            fits.write(_rows(**joined), extname="CLASS_SPEC")
    target_id = np.array([named_id(name) for name in names], np.int64)
    return target_id, target_id


# Format -> how a tile's files are written; each returns TARGETID and OBJECT_ID of the rows.
WRITERS: Final[Mapping[str, Callable[[Path, Seen], Identity]]] = {
    "sdssv": _sdssv,
    "lamost": _lamost,
    "4most": _4most,
    "weave": _weave,
}


def _primary(**cards: bool | int | float | str) -> bytes:
    must = [card("SIMPLE", True), card("BITPIX", 8), card("NAXIS", 0), card("EXTEND", True)]
    return header([*must, _ORIGIN, *(card(name, value) for name, value in cards.items())])


def _rows(**columns: NDArray[Any]) -> NDArray[np.void]:
    """Return a table in FITS's byte order; columns may have an array in each row."""
    kinds = [(name, v.dtype.newbyteorder(">"), v.shape[1:]) for name, v in columns.items()]
    rows = np.empty(len(next(iter(columns.values()))), dtype=kinds)
    for name, values in columns.items():
        rows[name] = values
    return rows


def _coordinates(
    ra_deg: Floats64, dec_deg: Floats64, ra_digits: int, dec_digits: int, point: str = "."
) -> list[str]:
    """Return HHMMSS.ss±DDMMSS.s of positions, with another decimal point if wanted."""
    names = []
    for ra, dec in zip(ra_deg.tolist(), dec_deg.tolist(), strict=True):
        parts = []
        for value, digits in ((ra / 15.0, ra_digits), (abs(dec), dec_digits)):
            units = round(value * 3600 * 10**digits)
            seconds, fraction = divmod(units, 10**digits)
            whole = f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"
            parts.append(f"{whole}{point}{fraction:0{digits}d}")
        names.append(f"{parts[0]}{'-' if dec < 0 else '+'}{parts[1]}")
    return names
