"""The population file: which objects are on the simulated sky, and how many of each."""

from functools import lru_cache
from typing import Annotated, Final, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, Field, model_validator

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.simulate import Floats64
from quasarloop.simulate.objects import GALAXY_KINDS, STAR_KINDS

__all__ = [
    "Distribution",
    "GalaxyPopulation",
    "Population",
    "QuasarPopulation",
    "StarPopulation",
    "distance_modulus",
]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0.0, le=20.0)]

_Z_MAX: Final = 7.0
_MAG_LIMITS: Final = (10.0, 26.0)
_QUANTILE_POINTS: Final = 2049
# Smaller ones are none: a value divided by less overflows.
_LEAST_SHARE: Final = 1e-200
# Flat ΛCDM. Source: our choice, the usual concordance values.
_HUBBLE_KMS_MPC: Final = 70.0
_OMEGA_MATTER: Final = 0.3


class _Frozen(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """A part of a population file."""


class Distribution(_Frozen):
    """A density that is linear between knots; flat if only the knots are given.

    >>> Distribution(knots=(0.0, 2.0)).quantile([0.25]).tolist()
    [0.5]
    """

    knots: tuple[float, ...] = Field(min_length=2)
    density: tuple[Weight, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(b <= a for a, b in zip(self.knots, self.knots[1:], strict=False)):
            raise ValueError("knots must increase")
        if self.density and len(self.density) != len(self.knots):
            raise ValueError(f"{len(self.density)} densities for {len(self.knots)} knots")
        if self.density and max(self.density) <= 0:
            raise ValueError("the density is 0 everywhere")
        return self

    def quantile(self, u: ArrayLike) -> Floats64:
        """Return the value below which a share u of all draws lies."""
        grid, cumulative = self._cumulative()
        return np.interp(np.asarray(u, dtype=np.float64), cumulative, grid)

    def share_below(self, value: ArrayLike) -> Floats64:
        """Return the share of draws below values."""
        grid, cumulative = self._cumulative()
        return np.interp(np.asarray(value, dtype=np.float64), grid, cumulative)

    def _cumulative(self) -> tuple[Floats64, Floats64]:
        knots = np.asarray(self.knots)
        grid = np.union1d(np.linspace(knots[0], knots[-1], _QUANTILE_POINTS), knots)
        density = np.interp(grid, knots, self.density or np.ones(len(knots)))
        steps = 0.5 * (density[1:] + density[:-1]) * np.diff(grid)
        cumulative = np.concatenate([[0.0], np.cumsum(steps)])
        share = cumulative / cumulative[-1]
        share[share < _LEAST_SHARE] = 0.0
        return grid, share


# Redshifts of DESI's quasar targets (density per Δz), rounded.
# Source: Chaussidon et al. 2023 (ApJ 944, 107).
_QUASAR_Z: Final = Distribution(
    knots=(0.2, 0.5, 0.8, 1.1, 1.5, 1.8, 2.2, 2.6, 3.0, 3.5, 4.0, 4.7),
    density=(1.0, 3.0, 8.0, 11.5, 13.5, 13.0, 10.0, 6.5, 3.5, 1.5, 0.6, 0.1),
)
# Their r magnitudes between 19 and 23 (the selection begins at 16.5 with few), rounded.
# Source: Chaussidon et al. 2023.
_QUASAR_R: Final = Distribution(
    knots=(19.0, 20.0, 21.0, 22.0, 22.6, 23.0), density=(0.9, 2.4, 5.2, 8.0, 8.6, 7.6)
)
# What is not a quasar among the targets is faint.
# Source: Alexander et al. 2023 (AJ 165, 124).
_OTHER_R: Final = Distribution(
    knots=(19.0, 20.0, 21.5, 22.5, 23.0), density=(1.2, 2.0, 4.5, 6.5, 7.0)
)


class QuasarPopulation(_Frozen):
    """Quasars: how many, where, how bright, and how often each oddity occurs.

    Attributes:
        weight: share among all objects, relative to the other classes.
        redshift, r_mag: distributions.
        faintest_absolute_mag: no quasar is fainter than this (r, no K correction).
        slope_mean, slope_scatter: α_ν of the continuum. Vanden Berk et al. 2001; Richards et al.
            2003.
        ebv_mean: mean of exponential SMC reddening; 2.5 % above 0.1 mag as in Krawczyk et al.
            2015 (AJ 149, 203), abstract. BAL quasars: ebv_mean_bal; low-ionisation: ebv_mean_lobal
            (Gibson et al. 2009).
        bal_fraction: share with BI(C IV) > 0 (Gibson et al. 2009: 13.3 %). lobal_share of those
            absorb in Mg II too, and mini_bal_fraction of all have troughs too narrow for BI > 0
            (Trump et al. 2006: a tenth of BALs; AI > 0 in 26 % against 10 %).
        weak_line_fraction: Diamond-Stanic et al. 2009, 1.3 to 6 %.
        double_peaked_fraction: share below z = 0.6 with double-peaked Balmer lines (Strateva et
            al. 2003: 3 %).
        dla_rate, lls_rate, metal_rate: factors on the published rates.
        associated_fraction: share with narrow C IV within 5000 km/s (Vestergaard 2003).
    """

    weight: Weight = 0.60
    redshift: Distribution = _QUASAR_Z
    r_mag: Distribution = _QUASAR_R
    faintest_absolute_mag: float = -20.5
    slope_mean: Annotated[float, Field(ge=-3.0, le=2.0)] = -0.46
    slope_scatter: Annotated[float, Field(ge=0.0, le=2.0)] = 0.28
    ebv_mean: Annotated[float, Field(ge=0.0, le=1.0)] = 0.027
    ebv_mean_bal: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    ebv_mean_lobal: Annotated[float, Field(ge=0.0, le=1.0)] = 0.14
    bal_fraction: Share = 0.13
    mini_bal_fraction: Share = 0.05
    lobal_share: Share = 0.12
    weak_line_fraction: Share = 0.02
    double_peaked_fraction: Share = 0.04
    dla_rate: Rate = 1.0
    lls_rate: Rate = 1.0
    metal_rate: Rate = 1.0
    associated_fraction: Share = 0.25


class GalaxyKindPopulation(_Frozen):
    """One kind of galaxy: its share among galaxies and its redshifts."""

    weight: Weight
    redshift: Distribution


class GalaxyPopulation(_Frozen):
    """Galaxies, by kind.

    Shares among quasar targets are ours; the redshifts follow Alexander et al. 2023:
    compact blue galaxies at z < 1.5. None is brighter than brightest_absolute_mag (r, no K
    correction): a magnitude above the knee of the luminosity function (Blanton et al. 2003,
    ApJ 592, 819: M_r = -21.2 for h = 0.7) and evolution by as much again.
    """

    weight: Weight = 0.13
    r_mag: Distribution = _OTHER_R
    brightest_absolute_mag: float = -24.5
    passive: GalaxyKindPopulation = GalaxyKindPopulation(
        weight=0.20, redshift=Distribution(knots=(0.05, 0.4, 0.8, 1.1), density=(0.5, 2, 1.5, 0.1))
    )
    star_forming: GalaxyKindPopulation = GalaxyKindPopulation(
        weight=0.55,
        redshift=Distribution(knots=(0.03, 0.3, 0.8, 1.2, 1.5), density=(0.6, 2, 1.6, 1.2, 0.3)),
    )
    post_starburst: GalaxyKindPopulation = GalaxyKindPopulation(
        weight=0.08, redshift=Distribution(knots=(0.1, 0.5, 0.9, 1.2), density=(0.5, 2, 1.5, 0.2))
    )
    strong_line: GalaxyKindPopulation = GalaxyKindPopulation(
        weight=0.13, redshift=Distribution(knots=(0.01, 0.1, 0.3, 0.6), density=(1, 2, 1.5, 0.2))
    )
    type2_agn: GalaxyKindPopulation = GalaxyKindPopulation(
        weight=0.04, redshift=Distribution(knots=(0.05, 0.3, 0.7), density=(1, 2, 0.5))
    )

    def kinds(self) -> list[GalaxyKindPopulation]:
        """Return the kinds in the order of `GALAXY_KINDS`."""
        return [getattr(self, name) for name in GALAXY_KINDS]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(kind.weight for kind in self.kinds()) <= 0:
            raise ValueError("the weights of all kinds of galaxies are 0")
        return self


class StarPopulation(_Frozen):
    """Stars; shares of the kinds among quasar targets as in ``data/star_kinds.ecsv``."""

    weight: Weight = 0.27
    r_mag: Distribution = _OTHER_R
    kinds: dict[str, Weight] = {kind.name: kind.weight for kind in STAR_KINDS}

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = [kind.name for kind in STAR_KINDS]
        unknown = [name for name in self.kinds if name not in known]
        if unknown:
            raise ValueError(f"unknown kinds of stars {unknown}; known: {', '.join(known)}")
        if sum(self.kinds.values()) <= 0:
            raise ValueError("the weights of all kinds of stars are 0")
        return self


class Population(_Frozen):
    """Objects on the sky: three classes with weights; defaults are DESI's quasar targets.

    >>> Population().quasars.weight
    0.6
    """

    quasars: QuasarPopulation = QuasarPopulation()
    galaxies: GalaxyPopulation = GalaxyPopulation()
    stars: StarPopulation = StarPopulation()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(self.class_weights()) <= 0:
            raise ValueError("the weights of quasars, galaxies and stars are all 0")
        redshifts = {"quasars": self.quasars.redshift}
        redshifts |= {name: getattr(self.galaxies, name).redshift for name in GALAXY_KINDS}
        for name, redshift in redshifts.items():
            if redshift.knots[0] < 0 or redshift.knots[-1] > _Z_MAX:
                raise ValueError(f"redshifts of {name} must lie between 0 and {_Z_MAX}")
        low, high = _MAG_LIMITS
        for part in (self.quasars, self.galaxies, self.stars):
            if part.r_mag.knots[0] < low or part.r_mag.knots[-1] > high:
                raise ValueError(f"r magnitudes must lie between {low} and {high}")
        return self

    def class_weights(self) -> tuple[float, float, float]:
        """Return the weights of quasars, galaxies and stars."""
        return self.quasars.weight, self.galaxies.weight, self.stars.weight


def distance_modulus(z: ArrayLike) -> Floats64:
    """Return m − M (no K correction) at redshifts, NaN at and below 0.

    >>> round(float(distance_modulus(1.0)), 1)
    44.1
    """
    grid, modulus = _modulus_table()
    redshift = np.asarray(z, dtype=np.float64)
    return np.where(redshift > 0, np.interp(redshift, grid, modulus), np.nan)


@lru_cache(maxsize=1)
def _modulus_table() -> tuple[Floats64, Floats64]:
    z = np.concatenate([[1e-6], np.geomspace(1e-4, 10.0, 2000)])
    inverse_hubble = 1.0 / np.sqrt(_OMEGA_MATTER * (1 + z) ** 3 + 1 - _OMEGA_MATTER)
    steps = 0.5 * (inverse_hubble[1:] + inverse_hubble[:-1]) * np.diff(z)
    comoving = np.concatenate([[z[0]], z[0] + np.cumsum(steps)])
    distance_mpc = (1 + z) * comoving * SPEED_OF_LIGHT_KMS / _HUBBLE_KMS_MPC
    return z, 5.0 * np.log10(distance_mpc) + 25.0
