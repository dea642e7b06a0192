"""Objects drawn from a population, reproducibly and in any division of the work.

Quasars' traits follow published distributions.
"""

from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.simulate import Floats32, Floats64, Rng
from quasarloop.simulate.bal import draw_bal
from quasarloop.simulate.forest import draw_absorbers
from quasarloop.simulate.galaxies import draw_galaxy_traits
from quasarloop.simulate.objects import (
    BROAD_LINES,
    CONTINUUM_PIVOT_AA,
    EW_LOG_L,
    GALAXY_KINDS,
    HIGH_IONISATION_AA,
    QUASAR_LINES,
    STAR_KINDS,
    Objects,
    QuasarTraits,
    blank,
    concatenate,
    line_number,
)
from quasarloop.simulate.population import (
    GalaxyPopulation,
    Population,
    QuasarPopulation,
    StarPopulation,
    distance_modulus,
)
from quasarloop.simulate.stars import draw_star_traits
from quasarloop.truth import SpecType

__all__ = [
    "BLOCK_OBJECTS",
    "draw_objects",
    "draw_quasar_traits",
    "log_luminosity",
    "quasars_at",
]

# Scatter of the continuum's curvature in ln λ. Source: ours, after the spread of ultraviolet
# against optical slopes in Krawczyk et al. 2015 (AJ 149, 203).
_CURVATURE_SCATTER: Final = 0.12
# Shape of the lines (see `profiles`): from Lorentz-like to Gaussian. Source: Sulentic et al. 2002
# (ApJ 566, L71), populations A and B; numbers ours.
_ROUNDNESS: Final = 0.8
_ROUNDNESS_SCATTER_DEX: Final = 0.3
# Broad Hβ: median FWHM 4200 km/s, 0.16 dex scatter in all. Source: Shen et al. 2011.
_WIDTH_KMS: Final = 4200.0
_WIDTH_SCATTER_DEX: Final = 0.13
_WIDTH_EIGEN1_DEX: Final = -0.09  # Source: Boroson & Green 1992, sign; size ours
_LINE_WIDTH_SCATTER_DEX: Final = 0.06
# C IV and its like are near this width for any width of Hβ. Source: Shen et al. 2011.
_HIGH_IONISATION_KMS: Final = 4600.0
_WIDTH_LIMITS_KMS: Final = (1100.0, 14_000.0)
# Narrow lines: FWHM near 400 km/s. Source: Shen et al. 2011 ([O III] cores).
_NARROW_KMS: Final = 420.0
_NARROW_SCATTER_DEX: Final = 0.15
# C IV blueshift: median 800 km/s, dispersion 550 km/s, larger with luminosity and eigenvector 1.
# Source: Richards et al. 2011; Shen et al. 2016 (ApJ 831, 7).
_BLUESHIFT_KMS: Final = 700.0
_BLUESHIFT_EIGEN1_KMS: Final = 380.0
_BLUESHIFT_LOG_L_KMS: Final = 350.0
_BLUESHIFT_SCATTER_KMS: Final = 350.0
# Velocity scatter of every single line about its law. Source: Shen et al. 2016
# (intrinsic scatter 46 km/s of [O II] to 240 km/s of C IV).
_LINE_SHIFT_SCATTER_KMS: Final = 110.0
# EW scatter common to all broad lines of an object. Source: ours, so that C IV scatters
# by 0.20 dex in all as in Shen et al. 2011.
_COMMON_SCATTER_DEX: Final = 0.08
_NARROW_COMMON_DEX: Final = 0.25  # Source: Shen et al. 2011, [O III] EW beyond eigenvector 1
# Weak-line quasars: log-normal tail, Lyα + N V < 15.4 Å. Source: Diamond-Stanic et al. 2009.
_WEAK_FACTOR: Final = (0.05, 0.25)
# Smooth components relative to the power law. Source: Dietrich et al. 2003 (ApJ 596, 817)
# Balmer continuum 10-20 % at 3000 Å; Shen et al. 2011, R_Fe = 0.6 with 0.3 scatter;
# ultraviolet iron EW (2250-2650 Å) near 45 Å: Dietrich et al. 2003.
_BALMER: Final = 0.17
_IRON_UV: Final = 0.17
_IRON_OPTICAL: Final = 0.14
_IRON_EIGEN1_DEX: Final = 0.20
_IRON_SCATTER_DEX: Final = 0.15
# Host against nucleus at 5100 Å as a cubic of x = log L5100 - 44, for log L5100 < 45.053.
# Source: Shen et al. 2011, eq. 1.
_HOST_CUBIC: Final = (-0.1577, 0.9121, -1.5502, 0.8052)
_HOST_LOG_L_MAX: Final = 45.053
_HOST_SCATTER_DEX: Final = 0.25
# Share of the host that the relation's 3 arcsec fibres catch and DESI's 1.5 arcsec ones do too.
# Source: our choice, an exponential disc of 5 kpc scale at z = 0.5.
_HOST_IN_FIBRE: Final = 0.7
# Absolute AB magnitude to log νLν at 6400 Å: 4π(10 pc)² × 3.631e-20 erg/s/cm²/Hz × ν.
_LOG_L_AT_M0: Final = 35.308
_R_PIVOT_AA: Final = 6400.0
# Double-peaked discs: distance of the peaks. Source: Strateva et al. 2003 (AJ 126, 1720).
_PEAKS_KMS: Final = (3500.0, 8000.0)
_DOUBLE_PEAKED_Z_MAX: Final = 0.6


def draw_quasar_traits(
    config: QuasarPopulation, z: Floats64, r_mag: Floats32, rng: Rng
) -> QuasarTraits:
    """Draw the traits of quasars of known redshift and magnitude.

    Args:
        config: fractions and rates.
        z: (n,) redshifts.
        r_mag: (n,) r magnitudes.
        rng: source of everything random here.
    """
    n = len(z)
    eigen1 = rng.normal(size=n)
    slope = np.clip(rng.normal(config.slope_mean, config.slope_scatter, n), -2.2, 1.0)
    log_l = log_luminosity(z, r_mag, slope)
    weak = rng.random(n) < config.weak_line_fraction
    width = _WIDTH_KMS * 10.0 ** rng.normal(_WIDTH_EIGEN1_DEX * eigen1, _WIDTH_SCATTER_DEX)
    width = np.clip(width, *_WIDTH_LIMITS_KMS)
    blueshift = (
        _BLUESHIFT_KMS
        + _BLUESHIFT_EIGEN1_KMS * eigen1
        + _BLUESHIFT_LOG_L_KMS * (log_l - EW_LOG_L)
        + rng.normal(0.0, _BLUESHIFT_SCATTER_KMS, n)
        + np.where(weak, _BLUESHIFT_KMS, 0.0)
    )
    iron = 10.0 ** rng.normal(_IRON_EIGEN1_DEX * eigen1, _IRON_SCATTER_DEX)
    peaks = (z < _DOUBLE_PEAKED_Z_MAX) & (rng.random(n) < config.double_peaked_fraction)
    host, young = _draw_host(rng, log_l)
    return QuasarTraits(
        log_l3000=_f32(log_l),
        eigen1=_f32(eigen1),
        slope=_f32(slope),
        curvature=_f32(rng.normal(0.0, _CURVATURE_SCATTER, n)),
        roundness=_f32(_ROUNDNESS * 10.0 ** rng.normal(0.0, _ROUNDNESS_SCATTER_DEX, n)),
        balmer=_f32(_BALMER * 10.0 ** rng.normal(0.0, 0.2, n)),
        iron_uv=_f32(_IRON_UV * iron**0.6 * 10.0 ** rng.normal(0.0, 0.1, n)),
        iron_optical=_f32(_IRON_OPTICAL * iron),
        host_fraction=_f32(host),
        host_young=_f32(young),
        width_kms=_f32(width),
        civ_blueshift_kms=_f32(blueshift),
        weak_line=weak,
        peak_separation_kms=_f32(np.where(peaks, rng.uniform(*_PEAKS_KMS, n), 0.0)),
        line_ew_aa=_draw_strengths(rng, log_l, eigen1, weak),
        line_fwhm_kms=_draw_widths(rng, width),
        line_shift_kms=_draw_shifts(rng, blueshift),
        bal=draw_bal(config.bal_fraction, config.mini_bal_fraction, config.lobal_share, n, rng),
    )


def log_luminosity(z: Floats64, r_mag: Floats32, slope: Floats64) -> Floats64:
    """Return log10 νLν(3000 Å) in erg/s from r magnitude, redshift and α_ν."""
    absolute = r_mag - distance_modulus(np.maximum(z, 1e-3))
    # f_ν → νLν: the observed band is at rest 6400/(1+z) Å; then along the power law to 3000 Å.
    rest = _R_PIVOT_AA / (1.0 + z)
    log_l = _LOG_L_AT_M0 - 0.4 * absolute
    return np.asarray(log_l + (1.0 + slope) * np.log10(rest / CONTINUUM_PIVOT_AA))


def _draw_strengths(
    rng: Rng, log_l: Floats64, eigen1: Floats64, weak: NDArray[np.bool_]
) -> Floats32:
    n = len(log_l)
    law = np.array([line[2:6] for line in QUASAR_LINES])  # (n_lines, 4)
    log_ew = (
        np.log10(law[:, 0])
        + law[:, 1] * rng.normal(size=(n, len(law)))
        + law[:, 2] * eigen1[:, None]
        + law[:, 3] * (log_l[:, None] - EW_LOG_L)
    )  # (n, n_lines)
    n_broad = len(BROAD_LINES)
    common = rng.normal(0.0, _COMMON_SCATTER_DEX, n)
    narrow = rng.normal(0.0, _NARROW_COMMON_DEX, n)
    weakness = np.where(weak, np.log10(rng.uniform(*_WEAK_FACTOR, n)), 0.0)
    # High-ionisation lines are weakest in weak-line quasars; Hβ and Mg II are less so.
    share = np.array([1.0 if line.wave_aa < HIGH_IONISATION_AA else 0.4 for line in BROAD_LINES])
    log_ew[:, :n_broad] += common[:, None] + weakness[:, None] * share
    log_ew[:, n_broad:] += narrow[:, None]
    return _f32(10.0**log_ew)


def _draw_widths(rng: Rng, width: Floats64) -> Floats32:
    n = len(width)
    n_broad = len(BROAD_LINES)
    relative = np.array([line.width for line in QUASAR_LINES])
    fwhm = np.empty((n, len(QUASAR_LINES)))
    # Ultraviolet lines follow Hβ's width with half the slope.
    # Source: Shen & Liu 2012 (ApJ 753, 125).
    high = np.array([line.wave_aa < HIGH_IONISATION_AA for line in BROAD_LINES])
    middle = np.sqrt(width * _HIGH_IONISATION_KMS)
    fwhm[:, :n_broad] = np.where(high, middle[:, None], width[:, None])
    narrow = np.clip(_NARROW_KMS * 10.0 ** rng.normal(0.0, _NARROW_SCATTER_DEX, n), 200.0, 1000.0)
    fwhm[:, n_broad:] = narrow[:, None]
    scatter = rng.normal(0.0, _LINE_WIDTH_SCATTER_DEX, fwhm.shape)
    scatter[:, n_broad:] *= 0.3
    return _f32(fwhm * relative * 10.0**scatter)


def _draw_shifts(rng: Rng, blueshift: Floats64) -> Floats32:
    share = np.array([line.blueshift for line in QUASAR_LINES])
    own = rng.normal(0.0, _LINE_SHIFT_SCATTER_KMS, (len(blueshift), len(QUASAR_LINES)))
    own[:, len(BROAD_LINES) :] *= 0.3
    # Blends that are one transition move as one.
    for lead, follow in (("oiii5008", "oiii4960"), ("oii3730", "oii3727"), ("siiv", "oiv1402")):
        own[:, line_number(follow)] = own[:, line_number(lead)]
    return _f32(own - share * blueshift[:, None])


def _draw_host(rng: Rng, log_l3000: Floats64) -> tuple[Floats64, Floats64]:
    log_l5100 = log_l3000 - 0.18  # Source: Shen et al. 2011: bolometric corrections 9.26 and 5.15
    x = np.clip(np.minimum(log_l5100, _HOST_LOG_L_MAX) - 44.0, -0.4, None)
    ratio = np.polyval(_HOST_CUBIC, x)
    ratio = np.where(log_l5100 < _HOST_LOG_L_MAX, ratio, 0.0)
    ratio = (
        _HOST_IN_FIBRE * np.maximum(ratio, 0.0) * 10.0 ** rng.normal(0.0, _HOST_SCATTER_DEX, len(x))
    )
    return ratio / (1.0 + ratio), rng.beta(2.0, 4.0, len(x))


def _f32(values: Floats64) -> Floats32:
    return np.asarray(values, dtype=np.float32)


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
