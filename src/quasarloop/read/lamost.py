"""LAMOST low-resolution spectra: one image of five rows per file, or (later) one table row.

Source: LAMOST data release documents, "LRS data product description" (DR1 to DR11).
"""

from dataclasses import replace
from typing import Final

import numpy as np

from quasarloop.constants import vacuum_wavelengths
from quasarloop.errors import DataFormatError
from quasarloop.read.fits_reader import FitsFile, Hdu
from quasarloop.read.formats import (
    Format,
    Identity,
    header_wavelengths,
    in_air,
    named_id,
    wavelengths,
)
from quasarloop.spectra import Arm, Keys

__all__ = ["LAMOST"]

# Rows of the image: flux, inverse variance, "subcontinuum" (it looks like a wavelength and is
# none), and-mask, or-mask. Source: keyword EXTEN0 of the files.
_FLUX_ROW, _IVAR_ROW, _MASK_ROW = 0, 1, 3
_N_ROWS: Final = 5
# The table of later releases: one row of arrays.
_COLUMNS: Final = ("FLUX", "IVAR", "WAVELENGTH", "ANDMASK")


def _is_lamost(fits: FitsFile) -> bool:
    first = fits.hdus[0]
    origin = f"{first.header.get('TELESCOP', '')} {first.header.get('ORIGIN', '')}"
    return "LAMOST" in origin and (
        len(first.shape) == len((_N_ROWS, "pixels"))
        or _table(fits) is not None
        or _is_medium_resolution(fits)
    )


def _table(fits: FitsFile) -> Hdu | None:
    return next((hdu for hdu in fits.hdus if {*_COLUMNS[:3]} <= set(hdu.columns)), None)


def _is_medium_resolution(fits: FitsFile) -> bool:
    return any(hdu.name in ("COADD_B", "COADD_R") for hdu in fits.hdus)


def _refuse(fits: FitsFile) -> str:
    if _is_medium_resolution(fits):
        return (
            "LAMOST at medium resolution, 4950 to 5350 and 6300 to 6800 Å: too little for a "
            "network; give the low-resolution spectrum of the target"
        )
    return ""


def _identify(fits: FitsFile) -> Identity:
    header = fits.hdus[0].header
    observation = header.get("OBSID")
    if isinstance(observation, int) and observation > 0:
        target_id = observation
    else:
        target_id = named_id(_observation_name(fits))
    # The designation is made of the coordinates: equal for repeats of one object.
    named = header.get("DESIG")
    object_id = named_id(named) if isinstance(named, str) and named else target_id
    keys = Keys.make(
        np.array([target_id]),
        object_id=np.array([object_id]),
        ra_deg=np.array([header.get("RA", np.nan)]),
        dec_deg=np.array([header.get("DEC", np.nan)]),
        survey=np.array(["lamost"]),
        night=np.array([header.get("LMJD", -1)]),
        petal=np.array([header.get("SPID", -1)]),
        fiber=np.array([header.get("FIBERID", -1)]),
        object_type=np.array([header.get("FIBERTYP", "")]),
    )
    sky = str(header.get("FIBERTYP", "")).strip().upper() == "SKY"
    return Identity(keys, np.array([sky]))


def _observe(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    table = _table(fits)
    (arm,) = _observe_image(fits) if table is None else _observe_table(fits, table)
    wave = vacuum_wavelengths(arm.wave_aa) if in_air(fits.hdus[0].header) else arm.wave_aa
    mask = arm.mask if masks else None
    return (replace(arm, wave_aa=wave, mask=mask)[rows],)


def _observe_table(fits: FitsFile, hdu: Hdu) -> tuple[Arm]:
    columns = fits.columns(hdu, _COLUMNS, slice(1))
    wave = wavelengths(fits, columns["WAVELENGTH"].reshape(-1), "column WAVELENGTH")
    mask = columns.get("ANDMASK")
    mask = None if mask is None else mask.astype(np.int32)
    return (Arm("brz", wave, columns["FLUX"], columns["IVAR"], mask),)


def _observe_image(fits: FitsFile) -> tuple[Arm]:
    first = fits.hdus[0]
    if first.n_rows != _N_ROWS:
        raise DataFormatError(
            f"{fits.path}: the image has {first.n_rows} rows; a LAMOST file has {_N_ROWS} "
            "(flux, ivar, subcontinuum, and-mask, or-mask)"
        )
    wave = header_wavelengths(fits, first.shape[1])
    image = fits.image(first)
    flux, ivar, mask = (image[row : row + 1] for row in (_FLUX_ROW, _IVAR_ROW, _MASK_ROW))
    return (Arm("brz", wave, flux, ivar, mask.astype(np.int32)),)


def _observation_name(fits: FitsFile) -> str:
    header = fits.hdus[0].header
    parts = [header.get(key) for key in ("LMJD", "PLANID", "SPID", "FIBERID")]
    if any(part is None for part in parts):
        raise DataFormatError(
            f"{fits.path}: neither OBSID nor LMJD, PLANID, SPID and FIBERID in the header; "
            "the spectrum cannot be identified"
        )
    night, plan, spectrograph, fiber = parts
    return f"{night}-{str(plan).strip()}_sp{spectrograph:02d}-{fiber:03d}"


LAMOST: Final = Format(
    "LAMOST spectrum",
    "TELESCOP LAMOST, and a primary image of five rows or a table with FLUX, IVAR and WAVELENGTH",
    _is_lamost,
    _identify,
    _observe,
    _refuse,
)
