"""Intervening absorption of quasars: forest, damped systems, Lyman limits, metals.

Metal lines are in ``data/absorption_lines.ecsv``.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import irfft

from quasarloop.constants import FWHM_OF_SIGMA, SPEED_OF_LIGHT_KMS
from quasarloop.lines import LYA_AA
from quasarloop.simulate import Floats32, Floats64, Rng
from quasarloop.simulate.lattice import (
    LATTICE_DEX,
    PIXEL_KMS,
    Lattice,
    gaussian_seen,
    window_pixels,
)
from quasarloop.simulate.objects import AbsorberTraits, Objects
from quasarloop.simulate.population import QuasarPopulation
from quasarloop.simulate.published import published

__all__ = ["LYMAN_LIMIT_AA", "absorb_forest", "draw_absorbers", "mean_transmission"]


LYMAN_LIMIT_AA: Final = 911.753
# Lyman series beyond α: wavelength (Å) and oscillator strength.
# Source: Morton 2003 (ApJS 149, 205).
LYA_STRENGTH: Final = 0.4164
_SERIES: Final = (
    (1025.722, 0.07912),
    (972.537, 0.02900),
    (949.743, 0.01394),
    (937.803, 0.007799),
    (930.748, 0.004814),
)
# τ_eff(z) = a (1 + z)^b, metals included.
# Source: Faucher-Giguère et al. 2008 (ApJ 681, 831), abstract.
_TAU_EFF: Final = (0.0018, 3.92)
# Log-normal forest: ln τ = 2 g + const with the power of g.
# Source: McDonald et al. 2006 (ApJS 163, 80), their mock spectra.
_POWER: Final = 58.6  # km/s at z = 3
_POWER_EVOLUTION: Final = -2.82
_POWER_KNEE: Final = 0.001  # s/km
_POWER_SLOPE: Final = 0.7
_POWER_CUT_KMS: Final = 5.0
# The forest is made on these lattice pixels whatever wavelengths are observed: 3160 Å to 10,270 Å.
_FIELD: Final = Lattice(35_000, 5120)
# Absorption fades within this distance of the quasar (proximity). Source: order of magnitude of
# Bajtlik, Duncan & Ostriker 1988 (ApJ 327, 570); ours.
_PROXIMITY_KMS: Final = 2500.0
_HERMITE: Final = 48

# A damped line far from its core: τ = N × 4.26e-20 / Δλ² (Δλ rest Å, N cm⁻²), from
# f = 0.4164 and Γ = 6.265e8 s⁻¹ (Morton 2003); the core is rounded over about 80 km/s.
_DAMPING_AA2: Final = 4.262e-20
_DAMPING_CORE_AA: Final = 0.33

_METAL_FWHM_KMS: Final = 200.0
_METAL_REACH: Final = 3.5  # σ
_METAL_END: Final = np.float32(np.exp(-0.5 * _METAL_REACH**2))
_METAL_DEPTH_MAX: Final = 0.9  # our choice: no line is black at this width

# Damped by definition. Source: Wolfe et al. 1986 (ApJS 61, 249).
_DLA_LOG_NHI: Final = 20.3
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


def draw_absorbers(config: QuasarPopulation, z: Floats64, rng: Rng) -> AbsorberTraits:
    """Draw the absorbing systems in front of quasars.

    Args:
        config: rates relative to the published ones.
        z: (n,) redshifts of the quasars.
        rng: source of randomness.
    """
    dla_z, log_nhi = _draw_damped(config.dla_rate, z, rng)
    lls_z, lls_tau = _draw_limits(config.lls_rate, z, rng)
    metal_z, metal_ew, metal_low = _draw_metals(config, z, rng)
    return AbsorberTraits(
        n_dla=np.sum(log_nhi >= _DLA_LOG_NHI, axis=1).astype(np.int32),
        dla_z=dla_z.astype(np.float32),
        dla_log_nhi=log_nhi.astype(np.float32),
        lls_z=lls_z.astype(np.float32),
        lls_tau=lls_tau.astype(np.float32),
        metal_z=metal_z.astype(np.float32),
        metal_ew_aa=metal_ew.astype(np.float32),
        metal_is_low=metal_low,
    )


def _draw_damped(rate: float, z: Floats64, rng: Rng) -> tuple[Floats64, Floats64]:
    power = _NHI_SLOPE + 1.0
    low, high = (10.0 ** (power * (limit - _DLA_LOG_NHI)) for limit in _NHI_LIMITS)
    # The published rate counts log N >= 20.3; the law goes on below.
    extension = (low - high) / (1.0 - high)
    expected = rate * extension * _integral(*_DLA_RATE, _Z_MIN_LYA, z)
    z_abs = _draw_redshifts(rng, expected, _Z_MIN_LYA, z, _N_DLA, slope=_DLA_RATE[1])
    u = rng.random(z_abs.shape)
    log_nhi = _DLA_LOG_NHI + np.log10(low + u * (high - low)) / power
    return z_abs, np.where(np.isfinite(z_abs), log_nhi, np.nan)


def _draw_limits(rate: float, z: Floats64, rng: Rng) -> tuple[Floats64, Floats64]:
    norm, slope = _LLS_RATE
    expected = rate * _integral(norm / 4.5**slope, slope, _Z_MIN_LYA, z)
    z_abs = _draw_redshifts(rng, expected, _Z_MIN_LYA, z, _N_LLS, slope=slope)
    # p(τ) ∝ τ^-1.5 between 1 and the maximum.
    u = rng.random(z_abs.shape)
    tau = (1.0 + u * (_LLS_TAU_MAX**-0.5 - 1.0)) ** -2.0
    return z_abs, np.where(np.isfinite(z_abs), tau, np.nan)


def _draw_metals(
    config: QuasarPopulation, z: Floats64, rng: Rng
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


def _draw_redshifts(
    rng: Rng, expected: Floats64, z_min: float, z: Floats64, slots: int, slope: float
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


def mean_transmission(z: ArrayLike) -> Floats64:
    """Return the mean transmission of the Lyα forest at redshifts.

    Source: Faucher-Giguère et al. 2008, abstract.

    >>> round(float(mean_transmission(3.0)), 2)
    0.66
    """
    scale, slope = _TAU_EFF
    return np.asarray(np.exp(-scale * (1.0 + np.asarray(z, dtype=np.float64)) ** slope))


def absorb_forest(spectra: Floats32, objects: Objects, lattice: Lattice) -> None:
    """Put intervening absorption into quasars, in place.

    Args:
        spectra: (n, n_pix).
        objects: (n) rows, quasars all.
        lattice: the wavelengths.
    """
    lya_pixel = lattice.position(LYA_AA * (1.0 + objects.z))
    rows = np.flatnonzero(lya_pixel > 0)
    if len(rows):
        fields = _gaussian_fields(objects.seed[rows])
        for row, field in zip(rows, fields, strict=True):
            _absorb_one(spectra[row], objects, int(row), field, lattice)
    _absorb_metals(spectra, objects, lattice)


def _absorb_one(
    spectrum: Floats32, objects: Objects, row: int, field: Floats32, lattice: Lattice
) -> None:
    z = float(objects.z[row])
    tau_lya = _lya_depth(z, field)
    systems = objects.absorbers
    for z_dla, log_nhi in zip(systems.dla_z[row], systems.dla_log_nhi[row], strict=True):
        if np.isfinite(z_dla):
            _add_damped(tau_lya, float(z_dla), float(log_nhi))
    tau = tau_lya.copy()
    for wave_aa, strength in _SERIES:
        _add_series(tau, tau_lya, z, wave_aa, strength)
    for z_lls, depth in zip(systems.lls_z[row], systems.lls_tau[row], strict=True):
        if np.isfinite(z_lls):
            _add_limit(tau, float(z_lls), float(depth))
    start = lattice.first - _FIELD.first
    here = slice(max(start, 0), min(start + lattice.n_pix, _FIELD.n_pix))
    there = slice(here.start - start, here.stop - start)
    # The forest ends at Lyα; damping wings reach a little beyond.
    last = min(there.stop, int(lattice.position(LYA_AA * (1 + z) * 1.06)) + 1)
    if last <= there.start:
        return
    there = slice(there.start, last)
    spectrum[there] *= np.exp(-tau[here.start : here.start + last - there.start])


def _lya_depth(z: float, field: Floats32) -> Floats32:
    """Optical depth in Lyα on the field's pixels, 0 redward of the quasar."""
    mean, scatter = _depth_law()
    end = int(np.clip(_FIELD.position(LYA_AA * (1.0 + z)), 0, _FIELD.n_pix))
    tau = np.zeros(_FIELD.n_pix, dtype=np.float32)
    np.exp(mean[:end] + scatter[:end] * field[:end], out=tau[:end])
    near = min(end, int(5 * _PROXIMITY_KMS / PIXEL_KMS))
    distance_kms = np.float32(PIXEL_KMS) * np.arange(near, 0, -1, dtype=np.float32)
    ratio = np.float32(_PROXIMITY_KMS) / distance_kms
    tau[end - near : end] /= 1.0 + ratio * ratio
    return tau


def _add_series(
    tau: Floats32, tau_lya: Floats32, z: float, wave_aa: float, strength: float
) -> None:
    """Add a higher Lyman line of the gas seen in Lyα: the same gas, bluer and weaker."""
    end = int(np.clip(_FIELD.position(wave_aa * (1.0 + z)), 0, _FIELD.n_pix))
    shift = round(float(np.log10(LYA_AA / wave_aa)) / LATTICE_DEX)
    end = min(end, _FIELD.n_pix - shift)
    if end > 0:
        relative = strength * wave_aa / (LYA_STRENGTH * LYA_AA)
        tau[:end] += np.float32(relative) * tau_lya[shift : shift + end]


def _add_damped(tau: Floats32, z_dla: float, log_nhi: float) -> None:
    rest = (_FIELD.wave_aa / (1.0 + z_dla) - LYA_AA).astype(np.float32)
    rest *= rest
    rest += np.float32(_DAMPING_CORE_AA**2)
    tau += np.float32(10.0**log_nhi * _DAMPING_AA2) / rest


def _add_limit(tau: Floats32, z_lls: float, depth: float) -> None:
    end = int(np.clip(_FIELD.position(LYMAN_LIMIT_AA * (1.0 + z_lls)), 0, _FIELD.n_pix))
    # τ ∝ λ³ below the limit (photoionisation cross-section of hydrogen).
    relative = np.arange(end, dtype=np.float32) - np.float32(end)
    tau[:end] += np.float32(depth) * np.exp(np.float32(3 * LATTICE_DEX * np.log(10.0)) * relative)


def _absorb_metals(spectra: Floats32, objects: Objects, lattice: Lattice) -> None:
    systems = objects.absorbers
    for slot in range(systems.metal_z.shape[1]):
        for is_low, system in ((True, "low"), (False, "high")):
            lines = published("absorption_lines").filter(system=system)
            z_abs = systems.metal_z[:, slot].astype(np.float64)
            rows = np.flatnonzero(np.isfinite(z_abs) & (systems.metal_is_low[:, slot] == is_low))
            for wave_aa, relative in lines.select("wave_aa", "strength").rows():
                ew = np.float32(relative / wave_aa) * systems.metal_ew_aa[rows, slot]
                _cut_lines(spectra, lattice, rows, wave_aa * (1.0 + z_abs[rows]), ew)


def _cut_lines(
    spectra: Floats32,
    lattice: Lattice,
    rows: NDArray[np.int64],
    observed_aa: Floats64,
    ew_part: Floats32,
) -> None:
    """Cut a narrow line of equivalent width `ew_part` · λ into rows; black lines grow wider."""
    centre = lattice.position(observed_aa)
    seen = gaussian_seen(centre, lattice.n_pix)
    if not seen.any():
        return
    sigma = np.float32(_METAL_FWHM_KMS / (FWHM_OF_SIGMA * PIXEL_KMS))
    per_pixel = np.float32(LATTICE_DEX * np.log(10.0) * np.sqrt(2.0 * np.pi))
    depth = ew_part[seen] / (per_pixel * sigma)
    width = sigma * np.maximum(depth / np.float32(_METAL_DEPTH_MAX), 1.0)
    index, offset = window_pixels(
        rows[seen], centre[seen], _METAL_REACH * float(width.max()), lattice.n_pix
    )
    shape = np.exp(np.float32(-0.5) * np.square(offset / width[:, None]))
    shape *= shape > _METAL_END
    deep = np.minimum(depth, np.float32(_METAL_DEPTH_MAX))[:, None]
    spectra.reshape(-1)[index] *= 1.0 - deep * shape


def _gaussian_fields(seeds: NDArray[np.uint64]) -> Floats32:
    """(n, n_pix) correlated Gaussian fields of unit variance, one per seed."""
    amplitude = _mode_amplitudes()
    modes = np.empty((len(seeds), 2, len(amplitude)), dtype=np.float32)
    for row, seed in enumerate(seeds):
        generator = np.random.Generator(np.random.SFC64(int(seed)))
        generator.standard_normal(out=modes[row], dtype=np.float32)
    modes *= amplitude
    return np.asarray(irfft(modes[:, 0] + 1j * modes[:, 1], n=_FIELD.n_pix, axis=1), np.float32)


@lru_cache(maxsize=1)
def _mode_amplitudes() -> Floats32:
    k = 2.0 * np.pi * np.fft.rfftfreq(_FIELD.n_pix, d=PIXEL_KMS)  # s/km
    power = _field_power(k)
    power[0] = 0.0
    # Σ over modes of the inverse transform: variance 1 in every pixel.
    variance = (2.0 * np.sum(2.0 * power[:-1]) + 2.0 * power[-1]) / _FIELD.n_pix**2
    return np.asarray(np.sqrt(power / variance), dtype=np.float32)


def _field_power(k: Floats64) -> Floats64:
    shape = (1.0 + (0.01 / _POWER_KNEE) ** _POWER_SLOPE) / (1.0 + (k / _POWER_KNEE) ** _POWER_SLOPE)
    return np.asarray(shape * np.exp(-((k * _POWER_CUT_KMS) ** 2)))


@lru_cache(maxsize=1)
def _depth_law() -> tuple[Floats32, Floats32]:
    """Mean ln τ, and its scatter per unit of the field, that give the mean transmission.

    Both (n_pix,) on the pixels of the field.
    """
    z = _FIELD.wave_aa / LYA_AA - 1.0
    k = np.linspace(1e-6, np.pi / PIXEL_KMS, 20_000)
    unit = float(np.trapezoid(_field_power(k), k) / np.pi)
    scatter = 2.0 * np.sqrt(_POWER * ((1.0 + z) / 4.0) ** _POWER_EVOLUTION * unit)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_HERMITE)
    weights = weights / weights.sum()
    target = mean_transmission(z)
    mean = np.zeros_like(z)
    low, high = np.full_like(z, -25.0), np.full_like(z, 10.0)
    for _ in range(50):  # bisection: transmission falls with the mean depth
        mean = 0.5 * (low + high)
        depth = np.exp(mean[:, None] + scatter[:, None] * nodes)  # (n_pix, nodes)
        too_clear = np.exp(-depth) @ weights > target
        low, high = np.where(too_clear, mean, low), np.where(too_clear, high, mean)
    return mean.astype(np.float32), scatter.astype(np.float32)
