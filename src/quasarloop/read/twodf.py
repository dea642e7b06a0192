"""Spectra of 2dF and AAOmega on the Anglo-Australian Telescope: GAMA, OzDES, 2QZ and 2SLAQ.

One spectrum per file, on a linear axis of wavelengths. 2QZ, 2SLAQ and OzDES were never
flux-calibrated: their files hold counts, with the throughput in them.

Source: astropy/specutils ``io/default_loaders/gama.py``, ``ozdes.py``, ``dc_common.py``; OzDES's
questions and answers (docs.datacentral.org.au). Wavelengths are of arc lines in air unless
CTYPE1 is WAVE: our choice, for no description has it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

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

__all__ = ["TWODF", "number_of_card"]

# Where the flux and its uncertainty are: HDU and row of the image.
_Place = tuple[Hdu, int]
_SPECTRUM_CARDS: Final = ("SPECID", "OBJECT", "GAMANAME")
_OBJECT_CARDS: Final = ("CATAID", "GAMANAME")
_GAMA_ROWS: Final = 2


@dataclass(frozen=True)
class _Survey:
    """How one survey's files are recognised and laid out.

    Attributes:
        name: of the survey.
        keyword: the card of the first header that names it.
        word: what the card contains.
        places: finds flux and uncertainty; None where the file is no spectrum.
        is_sigma: the uncertainty is a standard deviation, not a variance.
    """

    name: str
    keyword: str
    word: str
    places: Callable[[FitsFile], tuple[_Place, _Place] | None]
    is_sigma: bool = False


def _rows_of_first(fits: FitsFile) -> tuple[_Place, _Place] | None:
    """GAMA: flux, its standard deviation, the same in counts, sky: rows of one image."""
    first = fits.hdus[0]
    both = len(first.shape) == _GAMA_ROWS and first.n_rows >= _GAMA_ROWS
    return ((first, 0), (first, 1)) if both else None


def _first_two(fits: FitsFile) -> tuple[_Place, _Place] | None:
    """OzDES: the coadd and its variance; bad pixels and single exposures follow."""
    images = [hdu for hdu in fits.hdus[:2] if len(hdu.shape) == 1 and not hdu.is_table]
    return ((images[0], 0), (images[1], 0)) if len(images) == 2 else None  # noqa: PLR2004


def _by_name(fits: FitsFile) -> tuple[_Place, _Place] | None:
    """2QZ, 2SLAQ: HDUs of these names; the first one may have none."""
    spectrum, variance = fits.named("SPECTRUM") or fits.hdus[0], fits.named("VARIANCE")
    if variance is None or len(spectrum.shape) != 1:
        return None
    return (spectrum, 0), (variance, 0)


_SURVEYS: Final = (
    _Survey("gama", "ORIGIN", "GAMA", _rows_of_first, is_sigma=True),
    _Survey("ozdes", "REFERENC", "OZDES", _first_two),
    _Survey("2slaq", "SURVEY", "2SLAQ-QSO", _by_name),
    _Survey("2qz", "SURVEY", "2QZ", _by_name),
)


def _survey(fits: FitsFile) -> _Survey | None:
    header = fits.hdus[0].header
    for survey in _SURVEYS:
        if survey.word in str(header.get(survey.keyword, "")).upper() and survey.places(fits):
            return survey
    return None


def number_of_card(names: tuple[str, ...], hdus: tuple[Hdu, ...], otherwise: int) -> int:
    """Return the number, or the number of the name, in the first of these cards."""
    found: Any = card(names, hdus)
    return otherwise if found is None else named_id(str(found).strip())


def _identify(fits: FitsFile) -> Identity:
    survey, hdus = _survey(fits), (fits.hdus[0],)
    target_id = number_of_card(_SPECTRUM_CARDS, hdus, file_id(fits))
    keys = Keys.make(
        np.array([target_id]),
        object_id=np.array([number_of_card(_OBJECT_CARDS, hdus, target_id)]),
        ra_deg=np.array([card_float(("RA",), hdus)]),
        dec_deg=np.array([card_float(("DEC",), hdus)]),
        survey=np.array(["" if survey is None else survey.name]),
    )
    return Identity(keys, np.array([False]))


def _observe(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    survey = _survey(fits)
    places = None if survey is None else survey.places(fits)
    if survey is None or places is None:
        raise DataFormatError(f"{fits.path}: no spectrum; found {fits.describe()}")
    flux, error = (np.atleast_2d(fits.image(hdu))[row] for hdu, row in places)
    header = _with_wavelengths(fits, places[0][0])
    wave = linear_wavelengths(fits, header, len(flux), air=True)
    ivar = inverse_variance(_variance(error, is_sigma=survey.is_sigma))
    return (Arm("brz", wave, flux[None][rows], ivar[None][rows]),)


def _with_wavelengths(fits: FitsFile, hdu: Hdu) -> Hdu:
    keywords: Mapping[str, Any] = hdu.header
    return hdu if "CRVAL1" in keywords else fits.hdus[0]


def _variance(error: NDArray[Any], *, is_sigma: bool) -> NDArray[np.float64]:
    values = error.astype(np.float64)
    return np.where(values > 0, np.square(values), 0.0) if is_sigma else values


TWODF: Final = Format(
    "2dF or AAOmega spectrum (GAMA, OzDES, 2QZ, 2SLAQ)",
    "ORIGIN GAMA, REFERENC OzDES, or SURVEY 2QZ or 2SLAQ-QSO, and images with a linear axis",
    lambda fits: _survey(fits) is not None,
    _identify,
    _observe,
)
