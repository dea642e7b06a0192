"""Objects drawn from a population, reproducibly and in any division of the work."""

from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.simulate import Floats32, Floats64, Rng
from quasarloop.simulate.forest import draw_absorbers
from quasarloop.simulate.galaxies import draw_galaxy_traits
from quasarloop.simulate.objects import GALAXY_KINDS, STAR_KINDS, Objects, blank, concatenate
from quasarloop.simulate.population import (
    GalaxyPopulation,
    Population,
    QuasarPopulation,
    StarPopulation,
    distance_modulus,
)
from quasarloop.simulate.quasar_traits import draw_quasar_traits
from quasarloop.simulate.stars import draw_star_traits
from quasarloop.truth import SpecType

__all__ = ["BLOCK_OBJECTS", "draw_objects", "quasars_at"]


# Objects are always drawn in blocks that start at multiples of this number, each block with a
# seed of its own: object i is the same whichever objects are drawn with it.
BLOCK_OBJECTS: Final = 256


def draw_objects(
    population: Population, n: int, seed_sequence: np.random.SeedSequence, first_index: int = 0
) -> Objects:
    """Draw objects ``first_index`` to ``first_index + n - 1`` of a simulation.

    Args:
        population: what is on the sky.
        n: how many, at least one.
        seed_sequence: the simulation's; object i depends on it and on i alone.
        first_index: number of the first object wanted.
    """
    last = first_index + n
    blocks = range(first_index // BLOCK_OBJECTS, -(-last // BLOCK_OBJECTS))
    drawn = concatenate([_draw_block(population, seed_sequence, b) for b in blocks])
    start = first_index - blocks.start * BLOCK_OBJECTS
    return drawn[start : start + n]


def quasars_at(config: QuasarPopulation, z: ArrayLike, r_mag: ArrayLike, rng: Rng) -> Objects:
    """Draw one quasar at each given redshift and magnitude (to compare with real ones).

    Args:
        config: how often each oddity occurs.
        z: (n,) redshifts.
        r_mag: (n,) AB magnitudes.
        rng: source of randomness.
    """
    redshift, magnitude = np.asarray(z, dtype=np.float64), np.asarray(r_mag, dtype=np.float32)
    objects = _quasars_at(config, redshift, magnitude, rng)
    return replace(objects, seed=rng.integers(0, 2**63, len(redshift), dtype=np.uint64))


def _draw_block(
    population: Population, seed_sequence: np.random.SeedSequence, block: int
) -> Objects:
    key = (*seed_sequence.spawn_key, block)
    rng = np.random.default_rng(np.random.SeedSequence(seed_sequence.entropy, spawn_key=key))
    n = BLOCK_OBJECTS
    number = _choose(rng, population.class_weights(), n)
    seed = rng.integers(0, 2**63, n, dtype=np.uint64)
    rows = [np.flatnonzero(number == k) for k in range(3)]
    parts = [
        _draw_quasars(population.quasars, len(rows[0]), rng),
        _draw_galaxies(population.galaxies, len(rows[1]), rng),
        _draw_stars(population.stars, len(rows[2]), rng),
    ]
    # Every row is of exactly one class: sorting the joined rows puts them back in place.
    objects = concatenate(parts)[np.argsort(np.concatenate(rows))]
    return replace(objects, index=block * n + np.arange(n, dtype=np.int64), seed=seed)


def _objects(
    spectype: SpecType,
    subtype: NDArray[np.str_],
    z: Floats64,
    r_mag: Floats64 | Floats32,
    ebv: Floats64 | Floats32,
    **traits: Any,
) -> Objects:
    """Return objects of one class, still without seeds; the traits of the others are blank."""
    n = len(z)
    return Objects(
        index=np.arange(n, dtype=np.int64),
        spectype=np.full(n, spectype, dtype=np.int8),
        subtype=subtype.astype("<U16"),
        z=z,
        r_mag=r_mag.astype(np.float32),
        ebv=ebv.astype(np.float32),
        seed=np.zeros(n, dtype=np.uint64),
        **{name: blank(part, n) for name, part in _no_traits().items()} | traits,
    )


@cache
def _no_traits() -> dict[str, Any]:
    """Traits of each class, no rows."""
    rng, z = np.random.default_rng(0), np.empty(0)
    config, no_kind = QuasarPopulation(), np.empty(0, dtype=np.int64)
    return {
        "quasar": draw_quasar_traits(config, z, z.astype(np.float32), rng),
        "absorbers": draw_absorbers(config, z, rng),
        "galaxy": draw_galaxy_traits(no_kind, rng)[0],
        "star": draw_star_traits(no_kind, rng),
    }


def _draw_quasars(config: QuasarPopulation, n: int, rng: Rng) -> Objects:
    z = config.redshift.quantile(rng.random(n))
    # Brighter than the faintest nucleus counted as a quasar at this redshift.
    faintest = config.faintest_absolute_mag + distance_modulus(np.maximum(z, 1e-3))
    bright = config.r_mag.share_below(faintest)
    r_mag = config.r_mag.quantile(rng.random(n) * bright).astype(np.float32)
    return _quasars_at(config, z, r_mag, rng)


def _quasars_at(config: QuasarPopulation, z: Floats64, r_mag: Floats32, rng: Rng) -> Objects:
    traits = draw_quasar_traits(config, z, r_mag, rng)
    bal, low = traits.bal.is_bal, traits.bal.is_lobal
    mean = np.where(low, config.ebv_mean_lobal, config.ebv_mean)
    mean = np.where(bal & ~low, config.ebv_mean_bal, mean)
    ebv = rng.exponential(1.0, len(z)) * mean
    names = [bal & low, bal, traits.weak_line, traits.peak_separation_kms > 0]
    subtype = np.select(names, ["LoBAL", "BAL", "WLQ", "double-peaked"], default="")
    absorbers = draw_absorbers(config, z, rng)
    return _objects(SpecType.QSO, subtype, z, r_mag, ebv, quasar=traits, absorbers=absorbers)


def _draw_galaxies(config: GalaxyPopulation, n: int, rng: Rng) -> Objects:
    kinds = config.kinds()
    kind = _choose(rng, [k.weight for k in kinds], n)
    u = rng.random(n)
    redshifts = np.stack([k.redshift.quantile(u) for k in kinds])  # (n_kinds, n)
    z = np.take_along_axis(redshifts, kind[None, :], axis=0)[0]
    brightest = config.brightest_absolute_mag + distance_modulus(np.maximum(z, 1e-3))
    too_bright = config.r_mag.share_below(brightest)
    r_mag = config.r_mag.quantile(too_bright + (1.0 - too_bright) * rng.random(n))
    traits, ebv = draw_galaxy_traits(kind, rng)
    subtype = np.array(GALAXY_KINDS)[kind]
    return _objects(SpecType.GALAXY, subtype, z, r_mag, ebv, galaxy=traits)


def _draw_stars(config: StarPopulation, n: int, rng: Rng) -> Objects:
    names = [kind.name for kind in STAR_KINDS]
    kind = _choose(rng, [config.kinds.get(name, 0.0) for name in names], n)
    traits = draw_star_traits(kind, rng)
    r_mag = config.r_mag.quantile(rng.random(n))
    z = traits.velocity_kms.astype(np.float64) / SPEED_OF_LIGHT_KMS
    # Dust in front of stars is the Galaxy's, which surveys correct for: none is left here.
    return _objects(SpecType.STAR, np.array(names)[kind], z, r_mag, np.zeros(n), star=traits)


def _choose(rng: Rng, weights: tuple[float, ...] | list[float], n: int) -> NDArray[np.int64]:
    cumulative = np.cumsum(np.asarray(weights, dtype=np.float64))
    chosen = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    return np.asarray(np.minimum(chosen, int(np.flatnonzero(weights)[-1])), dtype=np.int64)
