"""Files as DESI writes them: coadd-*.fits and spectra-*.fits, byte for byte reproducible.

FIBERMAP and EXP_FIBERMAP have all columns of a real coadd (``data/file_columns.ecsv``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import fitsio
import numpy as np
from numpy.typing import NDArray

from quasarloop.fits_tables import new_fits
from quasarloop.read.desi import TARGET_TYPE
from quasarloop.simulate import Floats32
from quasarloop.simulate.footprint import PETAL_FIBRES, Assignment
from quasarloop.simulate.instrument import ArmModel, Instrument
from quasarloop.simulate.noise import Conditions, NoisyArm, gaussian_kernel
from quasarloop.simulate.observing import Exposure
from quasarloop.simulate.published import published

__all__ = ["file_columns", "tsnr2", "usual_rows", "write_coadd", "write_spectra"]

Table = NDArray[np.void]
Columns = dict[str, NDArray[Any]]
Cards = list[dict[str, Any]]

# Diagonals of a resolution matrix row: ±5 pixels, as in DESI's own files.
_RESOLUTION_DIAGONALS: Final = 11
_FLUX_UNIT: Final = "10**-17 erg/(s cm2 Angstrom)"
_IVAR_UNIT: Final = "10**+34 (s2 cm4 Angstrom2) / erg2"
_SKY_TYPE: Final = "SKY"
# Source: desitarget.targetmask, desi_mask: QSO is bit 2, SKY bit 32.
_QSO_BIT: Final = 1 << 2
_SKY_BIT: Final = 1 << 32
_EXPOSURE_GAP_DAYS: Final = 0.013
_PHOTOMETRY_DEPTH: Final = {"G": 25.5, "R": 25.0, "Z": 24.1}  # Legacy Surveys, 5 σ, AB mag
_ROBOTS: Final = 502  # positions on a petal
# TSNR2 of a tracer and arm over the summed inverse variance of the arm, measured on a real coadd:
# the true ratio depends on the spectrum of the tracer, this has the scale.
_TSNR2: Final[Mapping[str, tuple[float, float, float]]] = {
    "GPBDARK": (0.0115, 0.345, 1.57e-10),
    "ELG": (1.07e-5, 7.75e-4, 1.34e-3),
    "GPBBRIGHT": (2.27e-3, 0.0659, 3.08e-11),
    "LYA": (7.59e-3, 2.17e-6, 0.0),
    "BGS": (0.0611, 0.0781, 0.0589),
    "GPBBACKUP": (0.0197, 0.512, 2.58e-10),
    "QSO": (2.92e-4, 2.40e-4, 2.77e-4),
    "LRG": (1.16e-4, 1.11e-3, 5.93e-4),
}


def write_coadd(
    path: Path,
    instrument: Instrument,
    assignment: Assignment,
    exposures: Sequence[Exposure],
    arms: Mapping[str, NoisyArm],
    *,
    with_resolution: bool = False,
) -> dict[str, NDArray[np.void]]:
    """Write a coadd: one row per object.

    Args:
        path: ``coadd-<petal>-<tile>-thru<night>.fits``.
        instrument: whose arms these are.
        assignment: targets of the fibres.
        exposures: the exposures coadded (their conditions go into the tables).
        arms: the coadd itself.
        with_resolution: also write the RESOLUTION matrices, which redrock needs and
            which make the file 4.7 times as large.

    Returns:
        The FIBERMAP and EXP_FIBERMAP written, by name.
    """
    conditions = [exposure.conditions for exposure in exposures]
    nominal = instrument.telescope.exposure_s
    tables = {
        "FIBERMAP": _fibermap(assignment, conditions, nominal),
        "EXP_FIBERMAP": _exposure_fibermap(assignment, conditions, nominal),
    }
    with new_fits(path) as fits:
        fits.write(None, header=_header_cards(assignment))
        for name, table in tables.items():
            fits.write(table, extname=name)
        _write_arms(fits, instrument, arms, with_resolution=with_resolution)
        fits.write(_scores(assignment.sites.target_id, arms, coadd=True), extname="SCORES")
    return tables


def write_spectra(
    path: Path,
    instrument: Instrument,
    assignment: Assignment,
    exposures: Sequence[Exposure],
    *,
    with_resolution: bool = False,
) -> None:
    """Write the single exposures one after the other, all objects each."""
    conditions = [exposure.conditions for exposure in exposures]
    arms = {}
    for model in instrument.arms:
        parts = [exposure.arms[model.name] for exposure in exposures]
        arms[model.name] = NoisyArm(
            np.concatenate([part.flux for part in parts]),
            np.concatenate([part.ivar for part in parts]),
            np.concatenate([part.mask for part in parts]),
        )
    rows = _spectra_fibermap(assignment, conditions, instrument.telescope.exposure_s)
    with new_fits(path) as fits:
        fits.write(None, header=_header_cards(assignment))
        fits.write(rows, extname="FIBERMAP")
        _write_arms(fits, instrument, arms, with_resolution=with_resolution)
        fits.write(_scores(rows["TARGETID"], arms, coadd=False), extname="SCORES")


def _header_cards(assignment: Assignment) -> Cards:
    """Return the primary header: nothing in it changes from run to run."""
    tile = assignment.tile
    return [
        {"name": "SURVEY", "value": "main", "comment": "simulated"},
        {"name": "PROGRAM", "value": "dark"},
        {"name": "SPGRP", "value": "cumulative"},
        {"name": "SPGRPVAL", "value": tile.night},
        {"name": "TILEID", "value": tile.tile_id},
        {"name": "PETAL", "value": tile.petal},
        {"name": "SPECTRO", "value": tile.petal},
        {"name": "NIGHT", "value": tile.night},
        {"name": "SIMULATE", "value": True, "comment": "not an observation"},
    ]


def _write_arms(
    fits: fitsio.FITS,
    instrument: Instrument,
    arms: Mapping[str, NoisyArm],
    *,
    with_resolution: bool,
) -> None:
    for model in instrument.arms:
        letter, arm = model.name.upper(), arms[model.name]
        _image(fits, model.wave_aa, f"{letter}_WAVELENGTH", "Angstrom")
        _image(fits, arm.flux, f"{letter}_FLUX", _FLUX_UNIT)
        _image(fits, arm.ivar, f"{letter}_IVAR", _IVAR_UNIT)
        _image(fits, arm.mask, f"{letter}_MASK", "")
        if with_resolution:
            _image(fits, _resolution(model, len(arm.flux)), f"{letter}_RESOLUTION", "")


def _resolution(model: ArmModel, n: int) -> Floats32:
    """Same Gaussian for every fibre and pixel of an arm, as the simulation applied it."""
    kernel = gaussian_kernel(model.sigma_pixels)
    spare = (_RESOLUTION_DIAGONALS - len(kernel)) // 2
    rows = np.pad(kernel, spare) if spare >= 0 else kernel[-spare:spare]
    shape = (n, _RESOLUTION_DIAGONALS, len(model.wave_aa))
    return np.broadcast_to(rows[None, :, None], shape).astype(np.float32)


def _image(fits: fitsio.FITS, values: NDArray[Any], name: str, unit: str) -> None:
    fits.write(values, extname=name, header=[{"name": "BUNIT", "value": unit}] if unit else None)


def _fibermap(assignment: Assignment, conditions: Sequence[Conditions], nominal_s: float) -> Table:
    """Return the FIBERMAP of a coadd, one row per object; nominal_s: nominal exposure time."""
    table = usual_rows(file_columns("FIBERMAP"), len(assignment.is_sky))
    _set_target(table, assignment)
    table["COADD_FIBERSTATUS"] = assignment.fiberstatus
    table["COADD_NUMEXP"] = len(conditions)
    table["COADD_EXPTIME"] = nominal_s * sum(one.time for one in conditions)
    return table


def _spectra_fibermap(
    assignment: Assignment, conditions: Sequence[Conditions], nominal_s: float
) -> Table:
    """Return the FIBERMAP of a spectra file: one exposure after the other, all objects each."""
    coadd = file_columns("FIBERMAP")
    kept = [column for column in coadd if not column[0].startswith(("COADD_", "MEAN_", "RMS_"))]
    names = {name for name, *_ in kept}
    extra = [column for column in file_columns("EXP_FIBERMAP") if column[0] not in names]
    exposures = _exposure_fibermap(assignment, conditions, nominal_s)
    table = usual_rows([*kept, *extra], len(exposures))
    for part in np.split(table, len(conditions)):
        _set_target(part, assignment)
    for name in exposures.dtype.names or ():
        table[name] = exposures[name]
    return table


def _exposure_fibermap(
    assignment: Assignment, conditions: Sequence[Conditions], nominal_s: float
) -> Table:
    """Return EXP_FIBERMAP: one row per object and exposure, exposure by exposure."""
    parts = []
    for number, one in enumerate(conditions):
        part = usual_rows(file_columns("EXP_FIBERMAP"), len(assignment.is_sky))
        _set_place(part, assignment)
        part["NIGHT"] = assignment.tile.night
        # Ten petals share their exposures.
        part["EXPID"] = 1_000_000 + 100 * (assignment.tile.tile_id % 100_000) + number
        part["MJD"] = assignment.tile.mjd + number * _EXPOSURE_GAP_DAYS
        part["EXPTIME"] = nominal_s * one.time
        part["FIBERSTATUS"] = assignment.fiberstatus
        part["FIBER_X"], part["FIBER_Y"] = assignment.sites.x_mm, assignment.sites.y_mm
        part["FIBER_RA"], part["FIBER_DEC"] = assignment.sites.ra_deg, assignment.sites.dec_deg
        part["PSF_TO_FIBER_SPECFLUX"] *= np.minimum(one.fibre, 1.2)
        parts.append(part)
    return np.concatenate(parts)


def _scores(target_id: NDArray[np.int64], arms: Mapping[str, NoisyArm], *, coadd: bool) -> Columns:
    """Return SCORES: sums and medians of each arm, and template S/N."""
    kind = "COADD" if coadd else "CALIB"
    columns: Columns = {"TARGETID": target_id}
    for name, arm in arms.items():
        letter = name.upper()
        columns[f"INTEG_{kind}_FLUX_{letter}"] = arm.flux.sum(axis=1, dtype=np.float64)
        columns[f"MEDIAN_{kind}_FLUX_{letter}"] = _row_median(arm.flux)
        columns[f"MEDIAN_{kind}_SNR_{letter}"] = _row_median(arm.flux * np.sqrt(arm.ivar))
    return _single_precision(columns) | tsnr2(target_id, arms)


def file_columns(table: str) -> list[tuple[str, str, str]]:
    """Return name, type and usual value of the columns of a table of ``file_columns.ecsv``."""
    return published("file_columns").filter(table=table).drop("table").rows()


def usual_rows(columns: Sequence[tuple[str, str, str]], n: int) -> Table:
    """Return a table of n rows, every column at its usual value."""
    table = np.zeros(n, dtype=[(name, kind) for name, kind, _ in columns])
    for name, kind, value in columns:
        if value != "0":
            table[name] = value if kind.startswith("S") else float(value)
    return table


def tsnr2(target_id: NDArray[np.int64], arms: Mapping[str, NoisyArm]) -> Columns:
    """Return the TSNR2 table of a redrock file."""
    total = {name: arm.ivar.sum(axis=1, dtype=np.float64) for name, arm in arms.items()}
    columns: Columns = {"TARGETID": target_id}
    for position, name in enumerate(arms):
        for tracer, scale in _TSNR2.items():
            columns[f"TSNR2_{tracer}_{name.upper()}"] = scale[position] * total[name]
    for tracer in _TSNR2:
        parts = [columns[f"TSNR2_{tracer}_{name.upper()}"] for name in arms]
        columns[f"TSNR2_{tracer}"] = np.sum(parts, axis=0)
    return _single_precision(columns)


def _single_precision(columns: Columns) -> Columns:
    return {name: v if name == "TARGETID" else v.astype(np.float32) for name, v in columns.items()}


def _row_median(values: Floats32) -> Floats32:
    # Every eighth pixel is enough for a score, and eight times quicker.
    return np.median(values[:, ::8], axis=1)


def _set_target(table: Table, assignment: Assignment) -> None:
    _set_place(table, assignment)
    sky = assignment.is_sky
    table["OBJTYPE"] = np.where(sky, _SKY_TYPE, TARGET_TYPE).astype("S3")
    table["DESI_TARGET"] = np.where(sky, _SKY_BIT, _QSO_BIT)
    table["FA_TARGET"] = table["DESI_TARGET"]
    table["FA_TYPE"] = np.where(sky, 4, 1)
    table["EBV"] = assignment.sites.ebv
    table["BRICK_OBJID"] = np.arange(len(table))
    table["BRICKID"] = assignment.tile.index
    for band, flux in assignment.band_flux.items():
        table[f"FLUX_{band}"] = flux
        table[f"FIBERTOTFLUX_{band}"] = table[f"FIBERFLUX_{band}"] = 0.78 * flux
        five_sigma = 10 ** (0.4 * (22.5 - _PHOTOMETRY_DEPTH[band]))
        table[f"FLUX_IVAR_{band}"] = np.where(sky, 0, (5 / five_sigma) ** 2)
    names = table.dtype.names or ()
    for column, values in (
        ("TARGET_RA", assignment.sites.ra_deg), ("TARGET_DEC", assignment.sites.dec_deg),
        ("MEAN_FIBER_RA", assignment.sites.ra_deg), ("MEAN_FIBER_DEC", assignment.sites.dec_deg),
        ("MEAN_FIBER_X", assignment.sites.x_mm), ("MEAN_FIBER_Y", assignment.sites.y_mm),
    ):  # fmt: skip
        if column in names:
            table[column] = values


def _set_place(table: Table, assignment: Assignment) -> None:
    tile, sites = assignment.tile, assignment.sites
    device = sites.fiber % PETAL_FIBRES * _ROBOTS // PETAL_FIBRES
    table["TARGETID"] = sites.target_id
    table["PETAL_LOC"] = tile.petal
    table["DEVICE_LOC"] = device
    table["LOCATION"] = 1000 * tile.petal + device
    table["FIBER"] = sites.fiber
    table["TILEID"] = tile.tile_id
    table["FIBERASSIGN_X"], table["FIBERASSIGN_Y"] = sites.x_mm, sites.y_mm
    table["PLATE_RA"], table["PLATE_DEC"] = sites.ra_deg, sites.dec_deg
