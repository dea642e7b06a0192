"""Stars: their traits, and spectra from temperature: black body, opacity, lines and bands.

Published strengths of lines and bands are in ``data/star_strengths.ecsv``, ``star_lines.ecsv``,
``solar_lines.ecsv`` and ``molecular_bands.ecsv``.
"""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import AIR_TO_VACUUM, FWHM_OF_SIGMA, PLANCK_AA_K, SPEED_OF_LIGHT_KMS
from quasarloop.lines import BALMER_AA
from quasarloop.simulate import Floats32, Floats64, Rng
from quasarloop.simulate.lattice import Lattice, RestTable
from quasarloop.simulate.objects import STAR_KINDS, Objects, StarKind, StarTraits
from quasarloop.simulate.published import published

__all__ = [
    "carbon_star",
    "cataclysmic",
    "da_dwarf",
    "db_dwarf",
    "draw_star_traits",
    "normal_star",
    "planck",
    "star_spectra",
]


_KIND_NUMBERS: Final = {kind.name: number for number, kind in enumerate(STAR_KINDS)}
# Tabulated abundances of normal stars, solar = 1: halo and disc.
_METALS: Final = (0.25, 1.0)
_TABLE_WAVE_AA: Final = np.geomspace(3100.0, 10_900.0, 24_000)
# α_λ, factor on the lines, FWHM (km/s) of the tabulated cataclysmic variables. Source: range of
# Szkody et al. 2002 (AJ 123, 430).
_CV_GRID: Final = (
    (-2.3, 0.2, 1100.0),
    (-2.0, 0.5, 1500.0),
    (-1.2, 0.8, 1200.0),
    (-0.6, 1.2, 1700.0),
    (-0.2, 1.6, 1400.0),
    (-0.8, 1.9, 2000.0),
    (-1.5, 0.35, 900.0),
    (-0.4, 1.0, 2300.0),
)

# Strength of the Balmer series relative to Hγ. Source: Pickles 1998 (PASP 110, 863); Gray &
# Corbally 2009.
_BALMER: Final = (0.80, 0.95, 1.00, 1.00, 0.90, 0.78, 0.65, 0.52, 0.40, 0.30, 0.22, 0.16, 0.11)
# Hα to H9 of DA white dwarfs: strength and width relative to Hβ. Source: Bergeron, Saffer &
# Liebert 1992 (ApJ 394, 228).
_DA_BALMER: Final = (
    (0.62, 0.75), (1.00, 1.00), (0.90, 0.95), (0.65, 0.80), (0.34, 0.60), (0.13, 0.45), (0.04, 0.40)
)  # fmt: skip
# Equivalent widths (Å) of Hα to H9 of cataclysmic variables. Source: Szkody et al. 2002 (AJ 123,
# 430).
_CV_BALMER_AA: Final = (75.0, 55.0, 42.0, 32.0, 24.0, 18.0, 10.0)
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


def draw_star_traits(kind: NDArray[np.int64], rng: Rng) -> StarTraits:
    """Draw the traits of stars.

    Args:
        kind: (n,) number in `STAR_KINDS`.
        rng: source of randomness.
    """
    n = len(kind)
    low, high, n_grid, dispersion = np.array([k[1:5] for k in STAR_KINDS])[kind].T
    part = rng.random(n)
    temperature = np.exp(np.log(low) + part * (np.log(high) - np.log(low)))
    is_cv = kind == _KIND_NUMBERS["CV"]
    metals = np.clip(10.0 ** rng.normal(-0.3, 0.3, n), *_METALS)
    return StarTraits(
        temperature_k=np.where(is_cv, np.nan, temperature).astype(np.float32),
        metals=metals.astype(np.float32),
        velocity_kms=rng.normal(0.0, dispersion).astype(np.float32),
        table_place=(part * (n_grid - 1)).astype(np.float32),
    )


def star_spectra(objects: Objects, lattice: Lattice) -> Floats32:
    """Return spectra of stars, arbitrary units.

    Args:
        objects: (n) rows, stars all.
        lattice: observed wavelengths.

    Returns:
        (n, n_pix) float32.
    """
    table, first_row = _star_table()
    spectra = np.empty((len(objects), lattice.n_pix), dtype=np.float32)
    poorest, richest = np.log10(_METALS)
    rich = np.clip((np.log10(objects.star.metals) - poorest) / (richest - poorest), 0.0, 1.0)
    rich = rich.astype(np.float32)
    kinds = np.array([_KIND_NUMBERS[str(name)] for name in objects.subtype])
    for row, kind in enumerate(kinds):
        window = table.window(float(objects.z[row]), lattice)
        place = float(objects.star.table_place[row])
        step = min(int(place), STAR_KINDS[kind].n_grid - 2)
        hot = np.float32(place - step)
        start = first_row[kind] + step * len(_METALS)
        metal = rich[row]
        weights = np.array(
            [(1 - hot) * (1 - metal), (1 - hot) * metal, hot * (1 - metal), hot * metal],
            dtype=np.float32,
        )
        np.dot(weights, window[start : start + 4], out=spectra[row])
    return spectra


@cache
def _star_table() -> tuple[RestTable, list[int]]:
    """All tabulated stars, by kind, temperature, then metals; and each kind's first row."""
    rows: list[Floats64] = []
    first: list[int] = []
    for kind in STAR_KINDS:
        first.append(len(rows))
        for place in range(kind.n_grid):
            rows.extend(_grid_star(kind, place, metals) for metals in _METALS)
    return RestTable.from_function(np.stack(rows), _TABLE_WAVE_AA), first


def _grid_star(kind: StarKind, place: int, metals: float) -> Floats64:
    wave = _TABLE_WAVE_AA
    part = place / (kind.n_grid - 1)
    temperature = float(np.exp(np.log(kind.low_k) * (1 - part) + np.log(kind.high_k) * part))
    if kind.name == "CV":
        return cataclysmic(wave, *_CV_GRID[place])
    if kind.name == "DA":
        return da_dwarf(wave, temperature)
    if kind.name == "DB":
        return db_dwarf(wave, temperature)
    if kind.name == "C":
        return carbon_star(wave, temperature, carbon=0.6 + 0.5 * metals)
    return normal_star(wave, temperature, metals)


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
    strength = {family: _strength(family, temperature_k) for family in _strengths()}
    flux = planck(wave_aa, max(strength["colour_k"], _COLOUR_FLOOR_K))
    flux *= 10.0 ** (-strength["balmer_jump"] * _edge(wave_aa, _BALMER_EDGE_AA))
    flux *= 10.0 ** (-_PASCHEN_PART * strength["balmer_jump"] * _edge(wave_aa, _PASCHEN_EDGE_AA))
    flux *= _haze(wave_aa, metals * strength["metals"])
    width = 5.0 + 1.1 * strength["balmer"]
    for line_aa, relative in zip(BALMER_AA, _BALMER, strict=True):
        flux *= _absorption(wave_aa, line_aa, relative * strength["balmer"], width)
    for family, line_aa, relative, fwhm in _lines("dwarf"):
        scale = 1.0 if family.startswith("helium") else metals**0.7
        flux *= _absorption(wave_aa, line_aa, scale * relative * strength[family], fwhm)
    for air_aa, ew in published("solar_lines").rows():
        total = ew * metals**0.7 * strength["metals"]
        flux *= _absorption(wave_aa, air_aa * AIR_TO_VACUUM, total, _METAL_FWHM_AA)
    return flux * _m_bands(wave_aa, temperature_k)


def da_dwarf(wave_aa: Floats64, temperature_k: float) -> Floats64:
    """Return a hydrogen white dwarf."""
    flux = planck(wave_aa, temperature_k)
    hbeta = _strength("da_hbeta", temperature_k)
    for line_aa, (relative, width) in zip(BALMER_AA, _DA_BALMER, strict=False):
        flux *= _absorption(wave_aa, line_aa, relative * hbeta, width * (14.0 + 0.9 * hbeta))
    return flux


def db_dwarf(wave_aa: Floats64, temperature_k: float) -> Floats64:
    """Return a helium white dwarf."""
    flux = planck(wave_aa, temperature_k)
    # He I fades outside 12,000-25,000 K (B94).
    strength = float(np.exp(-(((temperature_k - 17_000.0) / 7000.0) ** 2)))
    for _, line_aa, ew, fwhm in _lines("DB"):
        flux *= _absorption(wave_aa, line_aa, strength * ew, fwhm)
    return flux


def carbon_star(wave_aa: Floats64, temperature_k: float, carbon: float = 1.0) -> Floats64:
    """Return a carbon star; `carbon` scales the bands."""
    flux = planck(wave_aa, temperature_k) * _haze(wave_aa, 1.5)
    for head, blue_end, depth, _ in _bands("C"):
        part = np.clip((wave_aa - blue_end) / (head - blue_end), 0.0, 1.0)
        band = np.where(wave_aa < head, part**1.5, 0.0)
        flux *= np.maximum(1.0 - min(carbon * depth, 0.95) * band, 0.02)
    for family, line_aa, relative, fwhm in _lines("dwarf"):
        if family in ("calcium_ii", "sodium", "calcium_triplet"):
            ew = relative * _strength(family, temperature_k)
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
    balmer = zip(BALMER_AA, _CV_BALMER_AA, strict=False)
    for line_aa, ew in (*balmer, *((line_aa, ew) for _, line_aa, ew, _ in _lines("CV"))):
        sigma = line_aa * fwhm_kms / (FWHM_OF_SIGMA * SPEED_OF_LIGHT_KMS)
        height = strength * ew / (sigma * np.sqrt(2.0 * np.pi))
        lines += height * np.exp(-0.5 * ((wave_aa - line_aa) / sigma) ** 2)
    return np.asarray(flux * (1.0 + lines))


def _strength(family: str, temperature_k: float) -> float:
    """Return a value of ``star_strengths.ecsv``, interpolated linearly in log T."""
    return float(np.interp(np.log(temperature_k), *_strengths()[family]))


@cache
def _strengths() -> dict[str, tuple[Floats64, Floats64]]:
    """By family: natural logarithms of temperatures (K), and values."""
    return {
        str(family): (np.log(table["temperature_k"].to_numpy()), table["value"].to_numpy())
        for (family,), table in published("star_strengths").group_by("family")
    }


@cache
def _lines(star: str) -> list[tuple[str, float, float, float]]:
    """Family, wavelength (Å), strength and FWHM (Å) of the lines of one kind of star."""
    return published("star_lines").filter(star=star).drop("star").rows()


@cache
def _bands(star: str) -> list[tuple[float, float, float, float]]:
    """Head (Å), end (Å), depth and highest temperature (K) of molecular bands."""
    return published("molecular_bands").filter(star=star).drop("star").rows()


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
    for head, red_end, depth, onset in _bands("M"):
        if temperature_k < onset:
            growth = (onset - temperature_k) / (onset - _M_BANDS_K)
            now = depth * min(growth, _M_BANDS_GROWTH)
            part = np.clip((wave - head) / (red_end - head), 0.0, 1.0)
            transmission *= 1.0 - np.where(wave > head, now * (1.0 - part) ** 0.8, 0.0)
    return transmission
