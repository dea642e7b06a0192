"""Stars: which kinds there are, their traits, and their spectra from one table."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.simulate.lattice import Lattice, RestTable
from quasarloop.simulate.star_spectra import (
    carbon_star,
    cataclysmic,
    da_dwarf,
    db_dwarf,
    normal_star,
)

if TYPE_CHECKING:
    from quasarloop.simulate.objects import Objects

__all__ = ["STAR_KINDS", "StarTraits", "draw_star_traits", "star_spectra"]

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]


class StarKind(NamedTuple):
    """One kind of star.

    Attributes:
        name: subtype in truth.
        low_k, high_k: temperatures it occurs at.
        n_grid: temperatures tabulated, evenly in log T.
        dispersion_kms: scatter of its radial velocities.
    """

    name: str
    low_k: float
    high_k: float
    n_grid: int
    dispersion_kms: float


# Limits of the spectral classes: Gray & Corbally 2009, Appendix B (dwarfs); velocities: halo 110
# and disc 40 km/s along the line of sight, Bland-Hawthorn & Gerhard 2016 (ARA&A 54, 529).
STAR_KINDS: Final = (
    StarKind("O", 30_000.0, 42_000.0, 3, 110.0),
    StarKind("B", 10_500.0, 30_000.0, 7, 110.0),
    StarKind("A", 7400.0, 10_500.0, 8, 110.0),
    StarKind("F", 6000.0, 7400.0, 6, 90.0),
    StarKind("G", 5300.0, 6000.0, 5, 70.0),
    StarKind("K", 3950.0, 5300.0, 7, 50.0),
    StarKind("M", 2650.0, 3950.0, 9, 40.0),
    StarKind("DA", 6500.0, 40_000.0, 10, 40.0),
    StarKind("DB", 12_000.0, 24_000.0, 5, 40.0),
    StarKind("C", 2800.0, 4600.0, 5, 90.0),
    StarKind("CV", 1.0, 8.0, 8, 60.0),
)
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


@dataclass(frozen=True)
class StarTraits:
    """Hidden properties of stars; every field has one row per object.

    Attributes:
        temperature_k: (n,) effective temperature, NaN for cataclysmic variables.
        metals: (n,) abundance of metals, solar = 1.
        velocity_kms: (n,) radial velocity.
        table_place: (n,) place in its kind's grid, from 0 to n_grid - 1.
    """

    temperature_k: Floats32
    metals: Floats32
    velocity_kms: Floats32
    table_place: Floats32


def draw_star_traits(kind: NDArray[np.int64], rng: np.random.Generator) -> StarTraits:
    """Draw the traits of stars.

    Args:
        kind: (n,) number in `STAR_KINDS`.
        rng: source of randomness.
    """
    n = len(kind)
    low, high, n_grid, dispersion = (
        np.array([getattr(k, name) for k in STAR_KINDS], dtype=np.float64)[kind]
        for name in ("low_k", "high_k", "n_grid", "dispersion_kms")
    )
    part = rng.random(n)
    temperature = np.exp(np.log(low) + part * (np.log(high) - np.log(low)))
    is_cv = kind == _kind_number("CV")
    metals = np.clip(10.0 ** rng.normal(-0.3, 0.3, n), *_METALS)
    return StarTraits(
        temperature_k=np.where(is_cv, np.nan, temperature).astype(np.float32),
        metals=metals.astype(np.float32),
        velocity_kms=rng.normal(0.0, dispersion).astype(np.float32),
        table_place=(part * (n_grid - 1)).astype(np.float32),
    )


def star_spectra(objects: "Objects", lattice: Lattice) -> Floats32:
    """Return spectra of stars, arbitrary units.

    Args:
        objects: (n) rows, stars all.
        lattice: observed wavelengths.

    Returns:
        (n, n_pix) float32.
    """
    table, first_row = _star_table()
    spectra = np.empty((len(objects), lattice.n_pix), dtype=np.float32)
    rich = _metal_part(objects.star.metals)
    kinds = np.array([_kind_number(str(name)) for name in objects.subtype])
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


def star_velocity_redshift(velocity_kms: Floats32) -> Floats64:
    """Return z = v/c of radial velocities."""
    return np.asarray(velocity_kms, dtype=np.float64) / SPEED_OF_LIGHT_KMS


def _metal_part(metals: Floats32) -> Floats32:
    low, high = np.log10(_METALS)
    part = np.clip((np.log10(metals) - low) / (high - low), 0.0, 1.0)
    return np.asarray(part, dtype=np.float32)


@lru_cache(maxsize=1)
def _kind_numbers() -> dict[str, int]:
    return {kind.name: number for number, kind in enumerate(STAR_KINDS)}


def _kind_number(name: str) -> int:
    return _kind_numbers()[name]


@lru_cache(maxsize=1)
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
