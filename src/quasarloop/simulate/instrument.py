"""Spectrographs and the night sky: wavelengths, resolution, throughput, electrons.

Throughputs of DESI and BOSS are set so that the noise has the level and shape of real spectra
(``studies/fit_instrument.py``), those of the others by their sensitivity; grids and resolutions
are the surveys' own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
import polars as pl

from quasarloop.errors import GridError
from quasarloop.simulate import Floats64
from quasarloop.simulate.published import published

__all__ = [
    "INSTRUMENTS",
    "ArmModel",
    "Instrument",
    "Telescope",
    "desi_instrument",
    "instrument_named",
    "photons_per_flux",
    "sdss_instrument",
    "sky_continuum",
    "sky_spectrum",
]


# Moonless continuum between the lines, 1e-17 erg/s/cm²/Å/arcsec² at Å. Anchored to broad-band
# brightness of a dark site, B 22.6 and V 21.8 mag/arcsec² less the share of the lines.
# Source: Neugent & Massey 2010, PASP 122, 1246 (Kitt Peak); the rounding to a few anchors is ours.
_CONTINUUM: Final = (
    (3500.0, 0.75), (4000.0, 0.60), (5000.0, 0.60), (6000.0, 0.70),
    (7000.0, 0.65), (8000.0, 0.60), (9000.0, 0.60), (10400.0, 0.70),
)  # fmt: skip
_REACH_SIGMA: Final = 5.0


def sky_continuum(wave_aa: Floats64) -> Floats64:
    """Return the sky between the lines, (n,) 1e-17 erg/s/cm²/Å/arcsec²."""
    anchors = np.array(_CONTINUUM)
    return np.asarray(np.interp(wave_aa, anchors[:, 0], anchors[:, 1]), dtype=np.float64)


def sky_spectrum(wave_aa: Floats64, sigma_aa: Floats64) -> Floats64:
    """Return the whole sky as a spectrograph sees it: continuum and ``data/sky_lines.ecsv``.

    Args:
        wave_aa: (n,) pixel centres, Å, increasing.
        sigma_aa: (n,) Gaussian resolution at each pixel, Å.

    Returns:
        (n,) 1e-17 erg/s/cm²/Å/arcsec².
    """
    sky = sky_continuum(wave_aa)
    for centre, flux in published("sky_lines").rows():
        sigma = float(np.interp(centre, wave_aa, sigma_aa))
        first, last = np.searchsorted(
            wave_aa, [centre - _REACH_SIGMA * sigma, centre + _REACH_SIGMA * sigma]
        )
        offset = (wave_aa[first:last] - centre) / sigma
        sky[first:last] += flux * np.exp(-0.5 * offset**2) / (np.sqrt(2 * np.pi) * sigma)
    return sky


_HC_ERG_AA: Final = 1.98644586e-8  # Planck's constant × speed of light, erg Å (CODATA 2018)


@dataclass(frozen=True)
class Telescope:
    """A telescope and its fibres.

    Attributes:
        survey: whose throughput it has, as in ``data/throughput*.ecsv``.
        area_cm2: unobscured collecting area.
        fibre_arcsec2: sky area a fibre sees.
        acceptance: share of a point source's light that enters the fibre; a calibrated
            spectrum is divided by it, so the sky looks brighter by that factor.
        exposure_s: the nominal exposure.
        read_variance: e² per wavelength pixel of the extracted spectrum, per exposure.
    """

    survey: str
    area_cm2: float
    fibre_arcsec2: float
    acceptance: float
    exposure_s: float
    read_variance: float


# Source: DESI Collaboration 2022, AJ 164, 207 (Mayall 3.8 m, 8.66 m² geometric area, fibres of
# 1.5 arcsec); exposures of about 1000 s and a read noise of about 3 e- on some four pixels
# across the trace (Guy et al. 2023, AJ 165, 144). Acceptance: our choice for 1.1 arcsec seeing.
DESI_TELESCOPE: Final = Telescope("desi", 8.66e4, 1.77, 0.6, 1000.0, 45.0)
# Source: Smee et al. 2013, AJ 146, 32 (2.5 m, fibres of 2 arcsec); an hour in four exposures;
# Dawson et al. 2013, AJ 145, 10. Acceptance and effective area: our choice.
SDSS_TELESCOPE: Final = Telescope("sdss", 3.58e4, 3.14, 0.7, 3600.0, 60.0)
# The same spectrographs in exposures of 15 minutes.
# Source: Kollmeier et al. 2025, arXiv:2507.06989. Two exposures: our choice.
_SDSSV_TELESCOPE: Final = replace(SDSS_TELESCOPE, exposure_s=1800.0)
# Source: Cui et al. 2012, RAA 12, 1197 (aperture of 3.6 to 4.9 m, fibres of 3.3 arcsec, three
# exposures of half an hour; read noise below 4 e-). Acceptance: our choice.
_LAMOST_TELESCOPE: Final = Telescope("lamost", 1.1e5, 8.55, 0.6, 5400.0, 190.0)
# Source: de Jong et al. 2019, The Messenger 175, 3 (VISTA 4.1 m, fibres of 1.45 arcsec, visits of
# 20 minutes). Acceptance and read-out: our choice.
_4MOST_TELESCOPE: Final = Telescope("4most", 1.0e5, 1.65, 0.6, 1200.0, 20.0)
# Source: Jin et al. 2024, MNRAS 530, 2688 (WHT 4.2 m, fibres of 1.3 arcsec, visits of three times
# 1020 s). Acceptance and read-out: our choice.
_WEAVE_TELESCOPE: Final = Telescope("weave", 1.2e5, 1.33, 0.6, 3060.0, 30.0)


@dataclass(frozen=True)
class ArmModel:
    """One spectrograph arm.

    Attributes:
        name: ``"b"``, ``"r"`` or ``"z"``.
        wave_aa: (n_pix,) vacuum wavelengths, Å.
        start: index of its first pixel on the instrument's grid.
        sigma_pixels: Gaussian resolution, pixels.
        electrons: (n_pix,) electrons per pixel for a flux density of 1e-17 erg/s/cm²/Å in a
            nominal exposure.
        sky: (n_pix,) sky in the fibre, in units of calibrated flux, 1e-17 erg/s/cm²/Å.
        read_variance: e² per pixel and exposure.
    """

    name: str
    wave_aa: Floats64
    start: int
    sigma_pixels: float
    electrons: Floats64
    sky: Floats64
    read_variance: float

    @property
    def pixels(self) -> slice:
        """The arm's pixels on the instrument's grid."""
        return slice(self.start, self.start + len(self.wave_aa))


@dataclass(frozen=True)
class Instrument:
    """A spectrograph of several arms on one common grid.

    Attributes:
        wave_aa: (n_pix,) common pixels that all arms are cut from, Å.
        arms: blue to red.
        telescope: that feeds it.
    """

    wave_aa: Floats64
    arms: tuple[ArmModel, ...]
    telescope: Telescope


@cache
def desi_instrument() -> Instrument:
    """Return DESI: 0.8 Å pixels, b 3600–5800, r 5760–7620, z 7520–9824 Å.

    Source: Guy et al. 2023, AJ 165, 144, Section 4.4 (grids); resolution from the RESOLUTION
        matrices of the early data release, tile 80693: σ of 0.84–0.98 pixels.
    """
    wave = np.asarray(3600.0 + 0.8 * np.arange(7781), dtype=np.float64)
    ranges = {"b": (0, 2751, 0.88), "r": (2700, 2326, 0.80), "z": (4900, 2881, 0.91)}
    return _instrument(DESI_TELESCOPE, wave, ranges)


@cache
def sdss_instrument() -> Instrument:
    """Return BOSS: log grid of 1e-4 dex, blue arm to 6350 Å, red arm from 5650 Å.

    Source: Dawson et al. 2013, AJ 145, 10; range and wdisp (1.45 to 0.77 pixels) as in the
        spectra of plate 7102.
    """
    return _boss(SDSS_TELESCOPE)


@cache
def _sdssv_instrument() -> Instrument:
    return _boss(_SDSSV_TELESCOPE)


@cache
def _lamost_instrument() -> Instrument:
    """Return LAMOST: log grid of 1e-4 dex, b 3700–5900, r 5700–9100 Å, R = 1800.

    Source: Cui et al. 2012, RAA 12, 1197; Luo et al. 2015, RAA 15, 1095.
    """
    wave = _log_pixels(3.5682, 3909)
    return _from_ranges(
        _LAMOST_TELESCOPE, wave, {"b": (3700.0, 5900.0, 1.25), "r": (5700.0, 9100.0, 1.05)}
    )


@cache
def _4most_instrument() -> Instrument:
    """Return 4MOST's low-resolution spectrograph: 0.25 Å pixels, three arms, R from 4000 to 7800.

    Source: de Jong et al. 2019, The Messenger 175, 3.
    """
    wave = np.asarray(np.arange(3700.0, 9500.0, 0.25), dtype=np.float64)
    ranges = {"b": (3700.0, 5540.0, 1.6), "r": (5240.0, 7200.0, 1.9), "z": (6900.0, 9500.0, 2.1)}
    return _from_ranges(_4MOST_TELESCOPE, wave, ranges)


@cache
def _weave_instrument() -> Instrument:
    """Return WEAVE's low-resolution mode: 0.25 Å pixels, b 3660–6060, r 5790–9590 Å, R = 5000.

    Source: Jin et al. 2024, MNRAS 530, 2688.
    """
    wave = np.asarray(np.arange(3660.0, 9590.0, 0.25), dtype=np.float64)
    return _from_ranges(
        _WEAVE_TELESCOPE, wave, {"b": (3660.0, 6060.0, 1.6), "r": (5790.0, 9590.0, 2.4)}
    )


# Survey -> how it is seen.
INSTRUMENTS: Final[Mapping[str, Callable[[], Instrument]]] = {
    "desi": desi_instrument,
    "sdss": sdss_instrument,
    "sdssv": _sdssv_instrument,
    "lamost": _lamost_instrument,
    "4most": _4most_instrument,
    "weave": _weave_instrument,
}


def instrument_named(name: str) -> Instrument:
    """Return one of `INSTRUMENTS`.

    Raises:
        GridError: another name.
    """
    if name not in INSTRUMENTS:
        raise GridError(f"no instrument named {name!r}; known: {', '.join(INSTRUMENTS)}")
    return INSTRUMENTS[name]()


def photons_per_flux(wave_aa: Floats64, telescope: Telescope) -> Floats64:
    """Return photons per pixel and nominal exposure for 1e-17 erg/s/cm²/Å above the air.

    >>> float(photons_per_flux(np.array([6000.0, 6000.8]), DESI_TELESCOPE)[0].round())
    209.0
    """
    width = np.gradient(wave_aa)
    energy_erg = _HC_ERG_AA / wave_aa
    return 1e-17 * telescope.area_cm2 * telescope.exposure_s * width / energy_erg


def _log_pixels(log10_first: float, n_pix: int) -> Floats64:
    return np.asarray(10 ** (log10_first + 1e-4 * np.arange(n_pix)), dtype=np.float64)


def _boss(telescope: Telescope) -> Instrument:
    wave = _log_pixels(3.5526, 4620)
    last_blue = int(np.searchsorted(wave, 6350.0))
    first_red = int(np.searchsorted(wave, 5650.0))
    ranges = {"b": (0, last_blue, 1.07), "r": (first_red, len(wave) - first_red, 0.85)}
    return _instrument(telescope, wave, ranges)


def _from_ranges(
    telescope: Telescope, wave: Floats64, ranges_aa: dict[str, tuple[float, float, float]]
) -> Instrument:
    """Cut arms out of the common pixels: first and last wavelength (Å), resolution (pixels)."""
    ranges = {}
    for name, (first_aa, last_aa, sigma_pixels) in ranges_aa.items():
        first, last = np.searchsorted(wave, (first_aa, last_aa)).tolist()
        ranges[name] = (first, last - first, sigma_pixels)
    return _instrument(telescope, wave, ranges)


def _instrument(
    telescope: Telescope, wave: Floats64, ranges: dict[str, tuple[int, int, float]]
) -> Instrument:
    """Cut arms out of the common pixels: first pixel, number of pixels, resolution (pixels)."""
    arms = []
    throughputs = pl.concat([published("throughput"), published("throughput_designed")])
    for name, (start, n_pix, sigma_pixels) in ranges.items():
        part = wave[start : start + n_pix]
        anchors = throughputs.filter(survey=telescope.survey, arm=name)
        throughput = np.interp(part, anchors["wave_aa"], anchors["throughput"])
        sky = sky_spectrum(part, sigma_pixels * np.gradient(part))
        arms.append(
            ArmModel(
                name=name,
                wave_aa=part,
                start=start,
                sigma_pixels=sigma_pixels,
                electrons=photons_per_flux(part, telescope) * throughput,
                sky=sky * telescope.fibre_arcsec2 / telescope.acceptance,
                read_variance=telescope.read_variance,
            )
        )
    return Instrument(wave, tuple(arms), telescope)
