"""Rest-frame lines and smooth templates of a quasar, a galaxy and a star.

They show where features fall; they are no models of any object. Lines and continua are
analytic, so that nothing has to be fetched.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import FWHM_OF_SIGMA, PLANCK_AA_K, SPEED_OF_LIGHT_KMS
from quasarloop.lines import EMISSION_LINES, LYA_AA, QUASAR_AA, line_label
from quasarloop.simulate.objects import BROAD_LINES, NARROW_LINES
from quasarloop.truth import SpecType

__all__ = ["MARKS", "Mark", "RestTemplate", "rest_template"]


@dataclass(frozen=True)
class Mark:
    """One line to draw.

    Attributes:
        name: as astronomers write it.
        wave_aa: vacuum rest wavelength, Å.
        kind: ``"emission"`` or ``"absorption"``.
        major: drawn in the short list too.
    """

    name: str
    wave_aa: float
    kind: Literal["emission", "absorption"]
    major: bool = False


# Further emission lines by their name in `QUASAR_AA`.
_EMISSION: Final = (
    ("lyb", "Lyβ", False),
    ("ovi", "O VI", False),
    ("nv", "N V", False),
    ("oi1305", "O I", False),
    ("cii1335", "C II", False),
    ("siiv", "Si IV", True),
    ("heii1640", "He II", False),
    ("aliii", "Al III", False),
    ("cii2326", "C II]", False),
    ("nev3427", "[Ne V]", False),
    ("oii3727", "[O II]", True),
    ("neiii3870", "[Ne III]", False),
    ("hdelta", "Hδ", False),
    ("hgamma", "Hγ", False),
    ("oiii4364", "[O III]", False),
    ("oiii4960", "[O III]", False),
    ("oiii5008", "[O III]", True),
    ("hei5877", "He I", False),
    ("oi6302", "[O I]", False),
    ("nii6585", "[N II]", False),
    ("sii6718", "[S II]", False),
    ("sii6733", "[S II]", False),
    ("siii9533", "[S III]", False),
)
# Vacuum wavelengths, Å. Source: NIST Atomic Spectra Database (air values of the optical lines
# brought to vacuum with Morton 2000, ApJS 130, 403, eq. 8).
_ABSORPTION: Final = (
    Mark("Lyman limit", 911.76, "absorption"),
    Mark("Fe II", 2382.76, "absorption"),
    Mark("Fe II", 2600.17, "absorption"),
    Mark("Mg I", 2852.96, "absorption"),
    Mark("Ca K", 3934.78, "absorption", major=True),
    Mark("Ca H", 3969.59, "absorption", major=True),
    Mark("Ca I", 4227.92, "absorption"),
    Mark("G band", 4305.61, "absorption", major=True),
    Mark("Mg b", 5176.63, "absorption", major=True),
    Mark("Na D", 5895.6, "absorption", major=True),
    Mark("TiO", 7053.0, "absorption"),
    Mark("Ca II", 8500.36, "absorption"),
    Mark("Ca II", 8544.44, "absorption", major=True),
    Mark("Ca II", 8664.52, "absorption"),
)


def _marks() -> tuple[Mark, ...]:
    network = [
        Mark(line_label(line.name), line.wave_rest_aa, "emission", major=True)
        for line in EMISSION_LINES
    ]
    others = [Mark(shown, QUASAR_AA[key], "emission", major) for key, shown, major in _EMISSION]
    return tuple(sorted([*network, *others, *_ABSORPTION], key=lambda mark: mark.wave_aa))


MARKS: Final = _marks()


Floats = NDArray[np.float64]

# One pixel is 69 km/s (1e-4 dex), SDSS's own step; it covers z = 0 to 6 seen from 3500 to 10400 Å.
_LOG_STEP: Final = 1e-4
_LOG_RANGE: Final = (2.69, 4.02)
# Typical widths, km/s. Broad: Vanden Berk et al. 2001, Table 2 (C IV, Mg II, Hβ near 5000).
_BROAD_KMS: Final = 5000.0
_NARROW_KMS: Final = 500.0
_ABSORPTION_KMS: Final = 700.0
# Power laws of the composite of Vanden Berk et al. 2001, Section 4: α_λ = -1.56, +0.45 in ν.
_SLOPE_BLUE, _SLOPE_RED, _BREAK_AA = -1.56, -0.42, 4700.0
_LIMIT_AA: Final = 911.76
# Mean transmission of the forest near z = 2.5 (Faucher-Giguère et al. 2008, ApJ 681, 831).
_FOREST: Final = 0.8
# A 4000 Å break of 1.8 is an old population's (Kauffmann et al. 2003, MNRAS 341, 33).
_BREAK_STRENGTH: Final = 1.8
_STAR_K: Final = 6000.0


@dataclass(frozen=True)
class RestTemplate:
    """A template on a log-uniform rest-frame grid.

    Attributes:
        wave_aa: (n,) vacuum Å.
        flux: (n,) arbitrary units, positive, median 1.
    """

    wave_aa: Floats
    flux: Floats


@cache
def rest_template(spectype: SpecType) -> RestTemplate:
    """Return the built-in template of a class (a quasar's for an unknown one)."""
    low, high = _LOG_RANGE
    wave = 10.0 ** np.arange(low, high, _LOG_STEP)
    make = {SpecType.STAR: _star, SpecType.GALAXY: _galaxy}.get(spectype, _quasar)
    flux = make(wave)
    return RestTemplate(wave, flux / np.median(flux))


def _quasar(wave_aa: Floats) -> Floats:
    slope = np.where(wave_aa < _BREAK_AA, _SLOPE_BLUE, _SLOPE_RED)
    continuum = (wave_aa / _BREAK_AA) ** slope
    flux = continuum.copy()
    for lines, fwhm_kms in ((BROAD_LINES, _BROAD_KMS), (NARROW_LINES, _NARROW_KMS)):
        for line in lines:
            sigma = line.wave_aa * fwhm_kms * line.width / SPEED_OF_LIGHT_KMS / FWHM_OF_SIGMA
            height = line.ew_aa / (sigma * np.sqrt(2 * np.pi))
            flux += continuum * height * np.exp(-0.5 * ((wave_aa - line.wave_aa) / sigma) ** 2)
    flux[wave_aa < LYA_AA] *= _FOREST
    return np.asarray(np.where(wave_aa < _LIMIT_AA, 0.3 * flux, flux))


def _galaxy(wave_aa: Floats) -> Floats:
    # Red, with the 4000 Å break, the old stars' absorption and a little [O II], Hα, [O III].
    continuum = (wave_aa / 5000.0) ** -0.3 * _smooth_step(wave_aa, 4000.0, 60.0, _BREAK_STRENGTH)
    continuum *= _smooth_step(wave_aa, 2640.0, 60.0, 1.6) * _smooth_step(wave_aa, 2900.0, 60.0, 1.4)
    depth = {"Ca K": 0.3, "Ca H": 0.3, "G band": 0.2, "Mg b": 0.2, "Na D": 0.15, "Ca II": 0.15}
    flux = continuum * _absorbed(wave_aa, depth, _ABSORPTION_KMS)
    for line in NARROW_LINES:
        if line.name.startswith(("oii", "nii", "sii6", "halpha", "oiii4960", "oiii5008")):
            flux += continuum * 0.3 * _gaussian(wave_aa, line.wave_aa, _NARROW_KMS)
    return flux


def _star(wave_aa: Floats) -> Floats:
    # A solar-like star: black body, Balmer and metal lines; hotter and cooler ones differ.
    body = wave_aa**-5.0 / np.expm1(PLANCK_AA_K / (wave_aa * _STAR_K))
    balmer = {"Hα": 0.25, "Hβ": 0.3, "Hγ": 0.3, "Hδ": 0.3}
    metals = {"Ca K": 0.5, "Ca H": 0.5, "G band": 0.25, "Mg b": 0.2, "Na D": 0.15, "Ca II": 0.2}
    return body * _absorbed(wave_aa, balmer | metals, _NARROW_KMS)


def _absorbed(wave_aa: Floats, depth: dict[str, float], fwhm_kms: float) -> Floats:
    through = np.ones_like(wave_aa)
    for mark in MARKS:
        if mark.name in depth:
            through *= 1 - depth[mark.name] * _gaussian(wave_aa, mark.wave_aa, fwhm_kms)
    return through


def _gaussian(wave_aa: Floats, centre_aa: float, fwhm_kms: float) -> Floats:
    sigma = centre_aa * fwhm_kms / SPEED_OF_LIGHT_KMS / FWHM_OF_SIGMA
    return np.asarray(np.exp(-0.5 * ((wave_aa - centre_aa) / sigma) ** 2))


def _smooth_step(wave_aa: Floats, at_aa: float, width_aa: float, ratio: float) -> Floats:
    """1 above a break, 1/ratio below it."""
    rise = 1 / (1 + np.exp(-(wave_aa - at_aa) / width_aa))
    return np.asarray(1 / ratio + (1 - 1 / ratio) * rise)
