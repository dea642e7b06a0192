"""How many absorbing systems stand in front of a quasar, and how strong they are."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS

if TYPE_CHECKING:
    from quasarloop.simulate.population import QuasarPopulation

__all__ = ["DLA_LOG_NHI", "AbsorberTraits", "draw_absorbers"]

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]

# Damped by definition. Source: Wolfe et al. 1986 (ApJS 61, 249).
DLA_LOG_NHI: Final = 20.3
# dN/dz = a (1 + z)^b of damped systems.
# Source: Rao, Turnshek & Nestor 2006 (ApJ 636, 610), abstract.
_DLA_RATE: Final = (0.044, 1.27)
# f(N) ∝ N^-1.8 from log N = 19.5 (sub-damped) to 22.
# Source: Noterdaeme et al. 2009 (A&A 505, 1087).
_NHI_SLOPE: Final = -1.8
_NHI_LIMITS: Final = (19.5, 22.0)
# dN/dz = a ((1 + z)/4.5)^b of systems with τ > 1 at the Lyman limit, depth ∝ τ^-1.5 above.
# Source: Songaila & Cowie 2010 (ApJ 721, 1448), abstract.
_LLS_RATE: Final = (2.80, 1.94)
_LLS_TAU_MAX: Final = 100.0
# Systems per unit redshift: C IV with W > 0.3 Å about 1.6 (Cooksey et al. 2013, ApJ 763, 37,
# scaled down from 0.6 Å), Mg II with W > 0.3 Å about 0.7 (Nestor et al. 2005, ApJ 628, 637);
# exponential in W as there.
_CIV_RATE: Final = 1.6
_MGII_RATE: Final = 0.7
_EW_MIN_AA: Final = 0.3
_CIV_EW_AA: Final = 0.45
_MGII_EW_AA: Final = 0.7
# Associated C IV within 5000 km/s. Source: Vestergaard 2003 (ApJ 599, 116): about 25 %.
_ASSOCIATED_DZ: Final = 5000.0 / SPEED_OF_LIGHT_KMS
# Bluest redshifts at which a survey spectrum shows Lyα, C IV, Mg II.
_Z_MIN_LYA: Final = 1.9
_Z_MIN_CIV: Final = 1.3
_Z_MIN_MGII: Final = 0.28
_N_DLA: Final = 3
_N_LLS: Final = 2
_N_METAL: Final = 4


@dataclass(frozen=True)
class AbsorberTraits:
    """Systems in front of each object; every field has one row per object.

    Attributes:
        n_dla: (n,) number of damped systems (log N(HI) >= 20.3) kept below.
        dla_z, dla_log_nhi: (n, 3) damped and sub-damped systems, NaN where there is none.
        lls_z: (n, 2) Lyman limit systems, NaN where none; lls_tau their depth at the limit.
        metal_z: (n, 4) metal systems, NaN where none; metal_ew_aa the strongest line's rest
            equivalent width; metal_is_low whether it is a Mg II (else C IV) system.
    """

    n_dla: NDArray[np.int32]
    dla_z: Floats32
    dla_log_nhi: Floats32
    lls_z: Floats32
    lls_tau: Floats32
    metal_z: Floats32
    metal_ew_aa: Floats32
    metal_is_low: NDArray[np.bool_]


def draw_absorbers(
    config: "QuasarPopulation", z: Floats64, rng: np.random.Generator
) -> AbsorberTraits:
    """Draw the systems in front of quasars.

    Args:
        config: rates relative to the published ones.
        z: (n,) redshifts of the quasars.
        rng: source of randomness.
    """
    dla_z, log_nhi = _draw_damped(config.dla_rate, z, rng)
    lls_z, lls_tau = _draw_limits(config.lls_rate, z, rng)
    metal_z, metal_ew, metal_low = _draw_metals(config, z, rng)
    return AbsorberTraits(
        n_dla=np.sum(log_nhi >= DLA_LOG_NHI, axis=1).astype(np.int32),
        dla_z=dla_z.astype(np.float32),
        dla_log_nhi=log_nhi.astype(np.float32),
        lls_z=lls_z.astype(np.float32),
        lls_tau=lls_tau.astype(np.float32),
        metal_z=metal_z.astype(np.float32),
        metal_ew_aa=metal_ew.astype(np.float32),
        metal_is_low=metal_low,
    )


def _draw_damped(rate: float, z: Floats64, rng: np.random.Generator) -> tuple[Floats64, Floats64]:
    power = _NHI_SLOPE + 1.0
    low, high = (10.0 ** (power * (limit - DLA_LOG_NHI)) for limit in _NHI_LIMITS)
    # The published rate counts log N >= 20.3; the law goes on below.
    extension = (low - high) / (1.0 - high)
    expected = rate * extension * _integral(*_DLA_RATE, _Z_MIN_LYA, z)
    z_abs = _place(rng, expected, _Z_MIN_LYA, z, _N_DLA, slope=_DLA_RATE[1])
    u = rng.random(z_abs.shape)
    log_nhi = DLA_LOG_NHI + np.log10(low + u * (high - low)) / power
    return z_abs, np.where(np.isfinite(z_abs), log_nhi, np.nan)


def _draw_limits(rate: float, z: Floats64, rng: np.random.Generator) -> tuple[Floats64, Floats64]:
    norm, slope = _LLS_RATE
    expected = rate * _integral(norm / 4.5**slope, slope, _Z_MIN_LYA, z)
    z_abs = _place(rng, expected, _Z_MIN_LYA, z, _N_LLS, slope=slope)
    # p(τ) ∝ τ^-1.5 between 1 and the maximum.
    u = rng.random(z_abs.shape)
    tau = (1.0 + u * (_LLS_TAU_MAX**-0.5 - 1.0)) ** -2.0
    return z_abs, np.where(np.isfinite(z_abs), tau, np.nan)


def _draw_metals(
    config: "QuasarPopulation", z: Floats64, rng: np.random.Generator
) -> tuple[Floats64, Floats64, NDArray[np.bool_]]:
    n = len(z)
    civ = config.metal_rate * _CIV_RATE * np.maximum(z - np.maximum(_Z_MIN_CIV, z - 0.6), 0.0)
    mgii = config.metal_rate * _MGII_RATE * np.maximum(z - np.maximum(_Z_MIN_MGII, z - 1.2), 0.0)
    n_civ, n_mgii = rng.poisson(civ), rng.poisson(mgii)
    associated = rng.random(n) < config.associated_fraction
    slot = np.arange(_N_METAL)
    low = slot >= _N_METAL // 2  # first half C IV, second half Mg II
    exists = np.where(low, slot - _N_METAL // 2 < n_mgii[:, None], slot < n_civ[:, None])
    reach = np.where(low, np.minimum(1.2, z[:, None] - _Z_MIN_MGII), 0.6)
    z_abs = z[:, None] - 0.01 - np.maximum(reach, 0.0) * rng.random((n, _N_METAL))
    exists &= z_abs > np.where(low, _Z_MIN_MGII, _Z_MIN_CIV)
    near = z - _ASSOCIATED_DZ * (1.0 + z) * (rng.random(n) - 0.1)
    z_abs[:, 0] = np.where(associated, near, z_abs[:, 0])
    exists[:, 0] |= associated
    ew = _EW_MIN_AA + rng.exponential(np.where(low, _MGII_EW_AA, _CIV_EW_AA), (n, _N_METAL))
    missing = ~exists
    return (
        np.where(missing, np.nan, z_abs),
        np.where(missing, np.nan, ew),
        np.broadcast_to(low, (n, _N_METAL)).copy(),
    )


def _integral(norm: float, slope: float, z_min: float, z: Floats64) -> Floats64:
    """∫ norm (1 + z')^slope dz' from z_min to z, 0 where z is lower."""
    power = slope + 1.0
    upper = np.maximum(z, z_min)
    return np.asarray(norm / power * ((1.0 + upper) ** power - (1.0 + z_min) ** power))


def _place(
    rng: np.random.Generator,
    expected: Floats64,
    z_min: float,
    z: Floats64,
    slots: int,
    slope: float,
) -> Floats64:
    """(n, slots) redshifts of a Poisson number of systems, highest kept, NaN for none."""
    count = rng.poisson(expected)
    # Order statistics of `count` uniform numbers, largest first.
    u = np.ones(len(z))
    kept = np.empty((len(z), slots))
    for slot in range(slots):
        u *= rng.random(len(z)) ** (1.0 / np.maximum(count - slot, 1))
        kept[:, slot] = u
    low, high = (1.0 + z_min) ** (slope + 1.0), (1.0 + np.maximum(z, z_min)) ** (slope + 1.0)
    z_abs = (low + kept * (high - low)[:, None]) ** (1.0 / (slope + 1.0)) - 1.0
    return np.where(np.arange(slots) < count[:, None], z_abs, np.nan)
