"""Traits of quasars, drawn from published distributions."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.simulate import Floats32, Floats64, Rng
from quasarloop.simulate.bal import draw_bal
from quasarloop.simulate.objects import (
    BROAD_LINES,
    CONTINUUM_PIVOT_AA,
    EW_LOG_L,
    HIGH_IONISATION_AA,
    QUASAR_LINES,
    QuasarTraits,
    line_number,
)
from quasarloop.simulate.population import QuasarPopulation, distance_modulus

__all__ = ["draw_quasar_traits", "log_luminosity"]


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
