"""6dF Galaxy Survey: a file per target with images of its spectra, or one image per spectrum.

Images have rows: flux (counts), variance, sky, and for the joined V and R a fourth with the
wavelengths. A target's file has thumbnails in HDUs 0 to 4, then V, R and VR of each observation.
The table form has no uncertainties and is refused. Wavelengths are in air (arc lines): our
choice, for the description has nothing on it.

Source: 6dFGS database, "Description of the FITS files" (www-wfau.roe.ac.uk/6dFGS/fits.html).
"""

from typing import Final

import numpy as np

from quasarloop.errors import DataFormatError
from quasarloop.read.fits_reader import FitsFile, Hdu
from quasarloop.read.formats import (
    Format,
    Identity,
    card,
    card_float,
    file_id,
    inverse_variance,
    linear_wavelengths,
    named_id,
)
from quasarloop.spectra import Arm, Keys

__all__ = ["SIXDF"]

# Cards of every spectrum of the survey; 2dFGRS, whose spectra have them too, also has BJSEL.
_CARDS: Final = {"OBSRA", "OBSDEC", "Z_HELIO", "QUALITY"}
_OF_2DFGRS: Final = "BJSEL"
# Name of a target that was observed without being planned.
_NAMELESS: Final = "not__in__config"
# V or R alone has three rows; of several, the joined VR is taken.
_ROWS: Final = (3, 4)


def _spectra(fits: FitsFile) -> list[Hdu]:
    """Return the HDUs of a file's spectra: those of VR, or the only one of V or R."""
    if _OF_2DFGRS in fits.hdus[0].header:
        return []
    found = [h for h in fits.hdus if set(h.header) >= _CARDS and not h.is_table]
    images = [hdu for hdu in found if len(hdu.shape) == 2 and hdu.n_rows in _ROWS]  # noqa: PLR2004
    joined = [hdu for hdu in images if hdu.n_rows == max(_ROWS)]
    return joined or images


def _is_table(fits: FitsFile) -> bool:
    header = fits.hdus[0].header
    return set(header) >= _CARDS and _OF_2DFGRS not in header and not fits.hdus[0].shape


def _refuse(fits: FitsFile) -> str:
    if _spectra(fits):
        return ""
    return "a 6dFGS table, which has no uncertainties; give the FITS image of the spectrum"


def _identify(fits: FitsFile) -> Identity:
    hdus = _spectra(fits)
    name = str(card(("TARGET", "OBJECT"), (hdus[0],)) or _NAMELESS).strip()
    target_id = file_id(fits) if name == _NAMELESS else named_id(name)
    keys = Keys.make(
        np.full(len(hdus), target_id),
        ra_deg=np.array([card_float(("OBSRA",), (hdu,)) for hdu in hdus]),
        dec_deg=np.array([card_float(("OBSDEC",), (hdu,)) for hdu in hdus]),
        survey=np.full(len(hdus), "6dfgs"),
        exposure_id=np.arange(len(hdus)),
    )
    return Identity(keys, np.zeros(len(hdus), dtype=bool))


def _observe(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    hdus = _spectra(fits)
    waves = [linear_wavelengths(fits, hdu, hdu.shape[-1], air=True) for hdu in hdus]
    if any(len(wave) != len(waves[0]) or np.abs(wave - waves[0]).max() > 1 for wave in waves):
        raise DataFormatError(
            f"{fits.path}: its {len(hdus)} observations are on different wavelengths; give each "
            "in a file of its own"
        )
    images = [fits.image(hdu, slice(2)) for hdu in hdus[rows]]
    both = np.array(images, dtype=np.float32).reshape(len(images), 2, len(waves[0]))
    return (Arm("brz", waves[0], both[:, 0], inverse_variance(both[:, 1])),)


SIXDF: Final = Format(
    "6dFGS spectrum",
    "an image of three or four rows with OBSRA, OBSDEC, Z_HELIO and QUALITY in its header",
    lambda fits: bool(_spectra(fits)) or _is_table(fits),
    _identify,
    _observe,
    _refuse,
)
