"""One star's spectrum from its temperature: black body, opacity, lines and bands."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import AIR_TO_VACUUM, FWHM_OF_SIGMA, PLANCK_AA_K, SPEED_OF_LIGHT_KMS
from quasarloop.simulate.star_lines import (
    BALMER,
    BANDS,
    CARBON_BANDS,
    CV_LINES,
    DA_BALMER,
    DB_HELIUM,
    FAMILIES,
    M_BANDS,
    METALS,
    Knots,
)

__all__ = ["carbon_star", "cataclysmic", "da_dwarf", "db_dwarf", "normal_star", "planck"]

Floats64 = NDArray[np.float64]

# Where the merging Balmer lines take over the jump (the edge itself is at 3646 Å); Source: Gray &
# Corbally 2009, Chapter 5: the last line seen in A dwarfs is H16, 3704 Å.
_BALMER_EDGE_AA: Final = 3704.0
_PASCHEN_EDGE_AA: Final = 8204.0
_EDGE_WIDTH_AA: Final = 22.0
_PASCHEN_PART: Final = 0.12  # of the Balmer jump in dex; Source: Allen (4th ed.), 15.3
_METAL_FWHM_AA: Final = 2.2
_DEPTH_MAX: Final = 0.82  # no line is black at these widths; our choice
# Haze of unresolved lines below this wavelength, in magnitudes per 1000 Å at the solar
# temperature. Source: blanketing of the Sun, Magain 1987 (A&A 181, 323), rounded.
_HAZE_FROM_AA: Final = 4550.0
_HAZE: Final = 0.28
_HAZE_LIMIT: Final = 3.0  # magnitudes
# Coolest pseudo-continuum: below, bands take the light and the colour temperature stays.
_COLOUR_FLOOR_K: Final = 2900.0
# Depths of the M bands hold here; in cooler stars they grow to this factor at most (saturation).
_M_BANDS_K: Final = 3000.0
_M_BANDS_GROWTH: Final = 1.15


def planck(wave_aa: Floats64, temperature_k: float) -> Floats64:
    """Return f_λ of a black body, 1 at 6400 Å."""

    def law(wave: Floats64) -> Floats64:
        return wave**-5.0 / np.expm1(PLANCK_AA_K / (wave * temperature_k))

    return np.asarray(law(wave_aa) / law(np.array([6400.0])))


def normal_star(wave_aa: Floats64, temperature_k: float, metals: float = 1.0) -> Floats64:
    """Return a dwarf between O and M, f_λ = 1 near 6400 Å.

    Args:
        wave_aa: (n,) rest-frame vacuum Å.
        temperature_k: effective temperature, 2500 to 45,000 K.
        metals: strength of metal lines relative to solar abundance.
    """
    strength = {name: _at(knots, temperature_k) for name, knots in FAMILIES.items()}
    flux = planck(wave_aa, max(strength["colour_k"], _COLOUR_FLOOR_K))
    flux *= 10.0 ** (-strength["balmer_jump"] * _edge(wave_aa, _BALMER_EDGE_AA))
    flux *= 10.0 ** (-_PASCHEN_PART * strength["balmer_jump"] * _edge(wave_aa, _PASCHEN_EDGE_AA))
    flux *= _haze(wave_aa, metals * strength["metals"])
    width = 5.0 + 1.1 * strength["balmer"]
    for line_aa, relative in BALMER:
        flux *= _absorption(wave_aa, line_aa, relative * strength["balmer"], width)
    for family, line_aa, relative, fwhm in BANDS:
        scale = 1.0 if family.startswith("helium") else metals**0.7
        flux *= _absorption(wave_aa, line_aa, scale * relative * strength[family], fwhm)
    for air_aa, ew in METALS:
        total = ew * metals**0.7 * strength["metals"]
        flux *= _absorption(wave_aa, air_aa * AIR_TO_VACUUM, total, _METAL_FWHM_AA)
    return flux * _m_bands(wave_aa, temperature_k)


def da_dwarf(wave_aa: Floats64, temperature_k: float) -> Floats64:
    """Return a hydrogen white dwarf."""
    flux = planck(wave_aa, temperature_k)
    hbeta = _at(DA_BALMER[0], temperature_k)
    for line_aa, relative, width in DA_BALMER[1]:
        flux *= _absorption(wave_aa, line_aa, relative * hbeta, width * (14.0 + 0.9 * hbeta))
    return flux


def db_dwarf(wave_aa: Floats64, temperature_k: float) -> Floats64:
    """Return a helium white dwarf."""
    flux = planck(wave_aa, temperature_k)
    # He I fades outside 12,000-25,000 K (B94).
    strength = float(np.exp(-(((temperature_k - 17_000.0) / 7000.0) ** 2)))
    for line_aa, ew, fwhm in DB_HELIUM:
        flux *= _absorption(wave_aa, line_aa, strength * ew, fwhm)
    return flux


def carbon_star(wave_aa: Floats64, temperature_k: float, carbon: float = 1.0) -> Floats64:
    """Return a carbon star; `carbon` scales the bands."""
    flux = planck(wave_aa, temperature_k) * _haze(wave_aa, 1.5)
    for head, blue_end, depth in CARBON_BANDS:
        part = np.clip((wave_aa - blue_end) / (head - blue_end), 0.0, 1.0)
        band = np.where(wave_aa < head, part**1.5, 0.0)
        flux *= np.maximum(1.0 - min(carbon * depth, 0.95) * band, 0.02)
    for family, line_aa, relative, fwhm in BANDS:
        if family in ("calcium_ii", "sodium", "calcium_triplet"):
            ew = relative * _at(FAMILIES[family], temperature_k)
            flux *= _absorption(wave_aa, line_aa, ew, fwhm)
    return flux


def cataclysmic(wave_aa: Floats64, slope: float, strength: float, fwhm_kms: float) -> Floats64:
    """Return an accretion disc with its emission lines.

    Args:
        wave_aa: (n,) Å.
        slope: α_λ of the continuum.
        strength: factor on the typical equivalent widths.
        fwhm_kms: width of the lines.
    """
    flux = (wave_aa / 6400.0) ** slope
    lines = np.zeros_like(flux)
    for line_aa, ew in CV_LINES:
        sigma = line_aa * fwhm_kms / (FWHM_OF_SIGMA * SPEED_OF_LIGHT_KMS)
        height = strength * ew / (sigma * np.sqrt(2.0 * np.pi))
        lines += height * np.exp(-0.5 * ((wave_aa - line_aa) / sigma) ** 2)
    return np.asarray(flux * (1.0 + lines))


def _at(knots: Knots, temperature_k: float) -> float:
    """Read a table of (temperature, value) linearly in log T."""
    temperatures, values = np.array(knots, dtype=np.float64).T
    return float(np.interp(np.log(temperature_k), np.log(temperatures), values))


def _edge(wave: Floats64, edge_aa: float) -> Floats64:
    """1 far below an absorption edge, 0 above it."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip((wave - edge_aa) / _EDGE_WIDTH_AA, -50, 50))))


def _haze(wave: Floats64, metals: float) -> Floats64:
    depth = _HAZE * metals * np.maximum(_HAZE_FROM_AA - wave, 0.0) / 1000.0
    return np.asarray(10.0 ** (-0.4 * np.minimum(depth, _HAZE_LIMIT)))


def _absorption(wave: Floats64, line_aa: float, ew_aa: float, fwhm_aa: float) -> Floats64:
    """Transmission of a line of given equivalent width; strong lines grow wings, not depth."""
    if ew_aa <= 0:
        return np.ones_like(wave)
    # Profile 1/(1 + u²)², area π/2 per unit of half scale; saturates like 1 - exp(-τ).
    scale = fwhm_aa / 1.287
    offset = (wave - line_aa) / scale
    area = 0.5 * np.pi * scale
    depth = ew_aa / area
    if depth > _DEPTH_MAX:
        offset *= _DEPTH_MAX / depth
        depth = _DEPTH_MAX
    return np.asarray(1.0 - depth / (1.0 + offset**2) ** 2)


def _m_bands(wave: Floats64, temperature_k: float) -> Floats64:
    transmission = np.ones_like(wave)
    for head, red_end, depth, onset in M_BANDS:
        if temperature_k < onset:
            growth = (onset - temperature_k) / (onset - _M_BANDS_K)
            now = depth * min(growth, _M_BANDS_GROWTH)
            part = np.clip((wave - head) / (red_end - head), 0.0, 1.0)
            transmission *= 1.0 - np.where(wave > head, now * (1.0 - part) ** 0.8, 0.0)
    return transmission
