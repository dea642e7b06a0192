"""Spectra of 2dF and AAOmega on the Anglo-Australian Telescope, as GAMA and OzDES distribute them.

One spectrum per file, on a linear axis of wavelengths. Only GAMA's own are flux-calibrated: files
of 2QZ, 2SLAQ, 2dFGRS, MGC, WiggleZ and OzDES hold counts, with the throughput in them.

Source: files of ADACS-Australia/ssv-py ``tests/data``; astropy/specutils
``io/default_loaders/gama.py``, ``ozdes.py``; docs.datacentral.org.au (OzDES). Wavelengths are of
arc lines in air unless CTYPE1 is WAVE: our choice, for no description has it.
"""

from typing import Any, Final

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

__all__ = ["TWODF"]

_SPECTRUM_CARDS: Final = ("SPECID", "SOURCE", "OBJECT", "GAMANAME")
_OBJECT_CARDS: Final = ("CATAID", "GAMANAME")
# Words of the card SURVEY -> our name of the survey.
_SURVEYS: Final = {
    "2SLAQ-QSO": "2slaq",
    "2QZ": "2qz",
    "2DFGRS": "2dfgrs",
    "MGC": "mgc",
    "WIGGLEZ": "wigglez",
}
# Words of the card ROW2 -> whether that row holds standard deviations (else variances).
_ERROR_ROWS: Final = {"ERROR": True, "SIGMA": True, "VARIANCE": False}
# Single exposures follow OzDES's coadd under names of their own.
_EXPOSURE: Final = "SPECTRUM_"


def _survey(fits: FitsFile) -> str:
    """Return the survey of a file with a spectrum, empty if it is none of these."""
    header = {key: str(value).upper() for key, value in fits.hdus[0].header.items()}
    named = (n for word, n in _SURVEYS.items() if word in header.get("SURVEY", ""))
    if _pixels(fits) is None:
        return ""
    if "GAMA" in header.get("ORIGIN", ""):
        return "gama"
    exposures = any(hdu.name.startswith(_EXPOSURE) for hdu in fits.hdus)
    if "OZDES" in header.get("REFERENC", "") or (exposures and fits.named("BADPIX")):
        return "ozdes"
    return next(named, "")


def _pixels(fits: FitsFile) -> tuple[Hdu, Hdu, bool] | None:
    """Return the HDUs of flux and error, and whether these are standard deviations.

    Both are the first two rows of one image, which ROW2 names, or the first HDU and the one
    named VARIANCE.
    """
    first, variance = fits.hdus[0], fits.named("VARIANCE")
    kind = str(first.header.get("ROW2", "")).strip().upper()
    if len(first.shape) == 2 and first.n_rows > 1 and kind in _ERROR_ROWS:  # noqa: PLR2004
        return first, first, _ERROR_ROWS[kind]
    return None if variance is None or len(first.shape) != 1 else (first, variance, False)


def _number(names: tuple[str, ...], fits: FitsFile, otherwise: int) -> int:
    found: Any = card(names, (fits.hdus[0],))
    return otherwise if found is None else named_id(str(found).strip())


def _identify(fits: FitsFile) -> Identity:
    hdus = (fits.hdus[0],)
    target_id = _number(_SPECTRUM_CARDS, fits, file_id(fits))
    keys = Keys.make(
        np.array([target_id]),
        object_id=np.array([_number(_OBJECT_CARDS, fits, target_id)]),
        ra_deg=np.array([card_float(("RA",), hdus)]),
        dec_deg=np.array([card_float(("DEC",), hdus)]),
        survey=np.array([_survey(fits)]),
    )
    return Identity(keys, np.array([False]))


def _observe(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    found = _pixels(fits)
    if found is None:
        raise DataFormatError(f"{fits.path}: no flux and error; found {fits.describe()}")
    first, second, is_sigma = found
    flux = np.atleast_2d(fits.image(first))[0]
    error = fits.image(second)
    error = (error[1] if first is second else error).astype(np.float64)
    wave = linear_wavelengths(fits, first, len(flux), air=True)
    variance = np.where(error > 0, np.square(error), 0.0) if is_sigma else error
    return (Arm("brz", wave, flux[None][rows], inverse_variance(variance)[None][rows]),)


TWODF: Final = Format(
    "2dF or AAOmega spectrum (GAMA, OzDES, 2QZ, 2SLAQ, …)",
    "ORIGIN GAMA, REFERENC OzDES, or SURVEY 2QZ, 2SLAQ-QSO, …, and a linear axis",
    lambda fits: bool(_survey(fits)),
    _identify,
    _observe,
)
