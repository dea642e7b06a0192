"""LAMOST spectra (DR1): one image of five rows per file."""

from typing import Final

import numpy as np

from quasarloop.errors import DataFormatError
from quasarloop.read.fits_reader import FitsFile
from quasarloop.read.formats import Format, Identity, header_wavelengths, named_id
from quasarloop.spectra import Arm, Keys

__all__ = ["LAMOST_DR1"]

# Rows of the image: flux, inverse variance, "subcontinuum" (it looks like a wavelength and is
# none), and-mask, or-mask. Source: keyword EXTEN0 of the files.
_FLUX_ROW, _IVAR_ROW, _MASK_ROW = 0, 1, 3
_N_ROWS: Final = 5


def _is_lamost(fits: FitsFile) -> bool:
    first = fits.hdus[0]
    origin = f"{first.header.get('TELESCOP', '')} {first.header.get('ORIGIN', '')}"
    return "LAMOST" in origin and len(first.shape) == len((_N_ROWS, "pixels"))


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
    first = fits.hdus[0]
    if first.n_rows != _N_ROWS:
        raise DataFormatError(
            f"{fits.path}: the image has {first.n_rows} rows; a LAMOST DR1 file has {_N_ROWS} "
            "(flux, ivar, subcontinuum, and-mask, or-mask)"
        )
    wave = header_wavelengths(fits, first.shape[1])
    image = fits.image(first)
    mask = image[_MASK_ROW : _MASK_ROW + 1].astype(np.int32) if masks else None
    flux, ivar = (image[row : row + 1] for row in (_FLUX_ROW, _IVAR_ROW))
    return (Arm("brz", wave, flux[rows], ivar[rows], None if mask is None else mask[rows]),)


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


LAMOST_DR1: Final = Format(
    "LAMOST DR1 file",
    "a primary image of five rows and TELESCOP LAMOST",
    _is_lamost,
    _identify,
    _observe,
)
