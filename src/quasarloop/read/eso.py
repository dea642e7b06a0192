"""Spectra in ESO's Phase 3 standard: 4MOST, and X-shooter and other collections.

One table of one row, whose columns are arrays. Collections agree on what a column is (utype),
not on its name; wavelengths in air have ``obs.atmos`` in their UCD. Flux in erg is stored
in 1e-17 erg/s/cm²/Å, as DESI's and SDSS's, so that inverse variances fit into float32.

Source: ESO Science Data Products Standard (ESO-044286), "SPECTRUM".
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import vacuum_wavelengths
from quasarloop.errors import DataFormatError
from quasarloop.read.fits_reader import FitsFile, Hdu
from quasarloop.read.formats import (
    Format,
    Identity,
    angstroms,
    card,
    card_float,
    card_integer,
    file_id,
    inverse_variance,
    named_id,
    wavelengths,
)
from quasarloop.spectra import Arm, Keys

__all__ = ["ESO_SPECTRUM"]

# Role -> end of its utype, and names where a file has no utypes. Products misspell "Accuracy".
_UTYPES: Final = {
    "wave": ("data.spectralaxis.value",),
    "flux": ("data.fluxaxis.value",),
    "error": ("data.fluxaxis.accuracy.staterror", "data.fluxaxis.accurancy.staterror"),
    "quality": (
        "data.fluxaxis.quality",
        "data.fluxaxis.accuracy.qualitystatus",
        "data.fluxaxis.accurancy.qualitystatus",
    ),
}
_NAMES: Final = {
    "wave": ("WAVE",),
    "flux": ("FLUX",),
    "error": ("ERR_FLUX", "ERR"),
    "quality": ("QUAL",),
}
_TABLES: Final = ("PHASE3SPECTRUM", "SPECTRUM")
_NEEDED: Final = ("wave", "flux", "error")
_SCALE: Final = 1e17
# Cards that name the target, best first; of 4MOST, OBJECT is the field.
_TARGET_CARDS: Final = ("TRG_UID", "CNAME", "TRG_NME", "OBJECT")


def _table(fits: FitsFile) -> Hdu | None:
    product = str(fits.hdus[0].header.get("PRODCATG", "")).strip().upper()
    for hdu in fits.hdus[1:]:
        named = hdu.name in _TABLES or product == "SCIENCE.SPECTRUM"
        named |= bool(_of_role(hdu, "wave", utype=True))
        both = bool(_of_role(hdu, "wave") and _of_role(hdu, "flux"))
        if hdu.is_table and hdu.n_rows == 1 and named and both:
            return hdu
    return None


def _of_role(hdu: Hdu, role: str, *, utype: bool = False) -> str:
    """Return the column of a role, empty for none: the calibrated one of several."""
    found = []
    for name, number in hdu.columns.items():
        space, _, kind = str(hdu.header.get(f"TUTYP{number}", "")).lower().rpartition(":")
        if kind.removeprefix("spectrum.") in _UTYPES[role]:
            main = "meta.main" in str(hdu.header.get(f"TUCD{number}", ""))
            found.append((space == "eso", not main, number, name))
    if found:
        return min(found)[-1]
    return "" if utype else next((name for name in _NAMES[role] if name in hdu.columns), "")


def _need_table(fits: FitsFile) -> Hdu:
    hdu = _table(fits)
    if hdu is None:
        raise DataFormatError(f"{fits.path}: no table of one spectrum; found {fits.describe()}")
    return hdu


def _identify(fits: FitsFile) -> Identity:
    hdus = (_need_table(fits), fits.hdus[0])
    named = card(_TARGET_CARDS, hdus)
    target_id = named_id(str(named).strip()) if named is not None else file_id(fits)
    instrument = str(card(("INSTRUME",), hdus) or "").strip().lower()
    keys = Keys.make(
        np.array([target_id]),
        ra_deg=np.array([card_float(("TRG_RA", "RA"), hdus)]),
        dec_deg=np.array([card_float(("TRG_DEC", "DEC"), hdus)]),
        survey=np.array(["4most" if instrument == "qmost" else instrument]),
        tile_id=np.array([card_integer(("OBID1",), hdus)]),
        night=np.array([card_integer(("MJD-OBS",), hdus)]),
        fiber=np.array([card_integer(("FIB_ID",), hdus)]),
    )
    name = str(card(("OBJECT",), hdus) or "").strip().upper()
    return Identity(keys, np.array([name == "SKY"]))


def _observe(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    hdu = _need_table(fits)
    names = {role: _of_role(hdu, role) for role in _NAMES}
    missing = [role for role in _NEEDED if not names[role]]
    if missing:
        raise DataFormatError(
            f"{fits.path}: {hdu.label()} has no column of {' and '.join(missing)}; found "
            f"{', '.join(hdu.columns)}"
        )
    columns = fits.columns(hdu, [name for name in names.values() if name])
    table = {role: columns[name][0] for role, name in names.items() if name}
    number = hdu.columns[names["wave"]]
    wave_aa = angstroms(fits, str(hdu.header.get(f"TUNIT{number}", ""))) * table["wave"].astype(
        np.float64
    )
    wave_aa = wavelengths(fits, wave_aa, f"column {names['wave']}")
    if "obs.atmos" in str(hdu.header.get(f"TUCD{number}", "")):
        wave_aa = vacuum_wavelengths(wave_aa)
    flux, error = (_scaled(hdu, names[role], table[role]) for role in ("flux", "error"))
    ivar = inverse_variance(np.square(error))
    quality = table.get("quality")
    if quality is not None:
        ivar[quality > 0] = 0.0  # the standard's mask: 0 good, -1 not known
    mask = None if quality is None or not masks else quality.astype(np.int32)[None][rows]
    return (Arm("brz", wave_aa, flux[None][rows], ivar[None][rows], mask),)


def _scaled(hdu: Hdu, name: str, values: NDArray[Any]) -> NDArray[Any]:
    unit = str(hdu.header.get(f"TUNIT{hdu.columns[name]}", "")).lower()
    scale = _SCALE if "erg" in unit and "10" not in unit else 1.0
    return np.asarray(values.astype(np.float64) * scale)


def _refuse(fits: FitsFile) -> str:
    hdus = (_need_table(fits), fits.hdus[0])
    if card(("CONTNORM",), hdus) is True:
        return (
            "CONTNORM is true: the continuum was divided out, and with it broad lines; give the "
            "flux-calibrated spectrum"
        )
    if str(card(("FLUXCAL",), hdus) or "").strip().upper() == "UNCALIBRATED":
        return "FLUXCAL is UNCALIBRATED: the flux has the throughput in it; give a calibrated one"
    return ""


ESO_SPECTRUM: Final = Format(
    "ESO Phase 3 spectrum (4MOST, X-shooter)",
    "a table SPECTRUM or PHASE3SPECTRUM of one row of arrays WAVE, FLUX and ERR_FLUX",
    lambda fits: _table(fits) is not None,
    _identify,
    _observe,
    _refuse,
)
