"""Broad absorption troughs of quasars, with the balnicity and absorption indices they make."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.lines import LYA_AA, QUASAR_AA
from quasarloop.simulate import Floats32, Floats64, Rng
from quasarloop.simulate.lattice import PIXEL_KMS, Lattice, line_centre, window_pixels
from quasarloop.simulate.objects import BalTraits

__all__ = ["absorb_bal", "balnicity", "draw_bal"]


_N_TROUGHS: Final = 3
# Depth of the trough of each ion relative to C IV, at the wavelengths of the blended doublets:
# high ionisation, and low (only LoBALs). Source of depths: composite spectra of Reichard et al.
# 2003 (AJ 126, 2594); rounded by us.
_HIGH_IONS: Final = (
    (QUASAR_AA["civ"], 1.0),
    (QUASAR_AA["siiv"], 0.5),
    (QUASAR_AA["nv"], 0.8),
    (LYA_AA, 0.25),
    (1033.80, 0.9),  # O VI
    (1121.0, 0.15),  # P V
)
_LOW_IONS: Final = (
    (QUASAR_AA["mgii"], 0.55),
    (QUASAR_AA["aliii"], 0.65),
    (1670.79, 0.35),  # Al II
    (1334.53, 0.4),  # C II
)
# Troughs: position, width and depth. Source: Gibson et al. 2009 (ApJ 692, 758)
# (v_min to v_max mostly 3000-20,000 km/s, mean BI near 2000 km/s); laws ours.
_POSITION_KMS: Final = 8500.0
_POSITION_DEX: Final = 0.22
_POSITION_LIMITS_KMS: Final = (4500.0, 22_000.0)
_WIDTH_KMS: Final = 3000.0
_WIDTH_DEX: Final = 0.20
_WIDTH_LIMITS_KMS: Final = (2300.0, 12_000.0)
_MINI_WIDTH_KMS: Final = (600.0, 1700.0)
_DEPTH: Final = (0.30, 0.95)
# Flat-topped trough 1 - d exp(-(Δv/w)⁴): FWHM = 2 (ln 2)^¼ w.
_WIDTH_OF_FWHM: Final = 0.5 / float(np.log(2.0) ** 0.25)
_REACH: Final = 1.6  # w, where the trough is 0.15 % of its depth and ends
_TROUGH_END: Final = np.float32(np.exp(-(_REACH**4)))
# Balnicity. Source: Weymann et al. 1991 (ApJ 373, 23), Appendix A: 3000 to 25,000 km/s, below
# 0.9 of the continuum for at least 2000 km/s. Absorption index: Trump et al. 2006 (ApJS 165, 1),
# 0 to 29,000 km/s, at least 1000 km/s.
_STEP_KMS: Final = 50.0
_BI_LIMITS_KMS: Final = (3000.0, 25_000.0, 2000.0)
_AI_LIMITS_KMS: Final = (0.0, 29_000.0, 1000.0)
_CONTINUUM_PART: Final = 0.9


def draw_bal(
    fraction: float, mini_fraction: float, lobal_share: float, n: int, rng: Rng
) -> BalTraits:
    """Draw which of n quasars have troughs, and their shapes.

    Args:
        fraction: share with BI > 0.
        mini_fraction: share with a trough too narrow for BI > 0.
        lobal_share: share of those with BI > 0 that have low ionisation.
        n: number of quasars.
        rng: source of randomness.
    """
    kind = rng.random(n)
    has = kind < fraction
    mini = ~has & (kind < fraction + mini_fraction)
    low = has & (rng.random(n) < lobal_share)
    shape = (n, _N_TROUGHS)
    velocity = _POSITION_KMS * 10.0 ** rng.normal(0.0, _POSITION_DEX, shape)
    width = _WIDTH_KMS * 10.0 ** rng.normal(0.0, _WIDTH_DEX, shape)
    depth = rng.uniform(*_DEPTH, shape)
    # Troughs are ragged: the second and third are often absent.
    depth[:, 1:] *= rng.random((n, _N_TROUGHS - 1)) < 0.4  # noqa: PLR2004 -- our choice
    depth[:, 1:] *= has[:, None]
    depth *= (has | mini)[:, None]
    velocity = np.clip(velocity, *_POSITION_LIMITS_KMS)
    width = np.clip(width, *_WIDTH_LIMITS_KMS)
    width[mini] = rng.uniform(*_MINI_WIDTH_KMS, (int(mini.sum()), _N_TROUGHS))
    balnicity_kms, absorption_kms = np.zeros(n), np.zeros(n)
    rows = np.flatnonzero(has | mini)
    for row in rows:
        troughs = velocity[row], width[row], depth[row]
        balnicity_kms[row] = balnicity(*troughs, limits=_BI_LIMITS_KMS)
        absorption_kms[row] = balnicity(*troughs, limits=_AI_LIMITS_KMS)
    return BalTraits(
        is_bal=balnicity_kms > 0,
        is_lobal=low & (balnicity_kms > 0),
        bi_civ_kms=balnicity_kms.astype(np.float32),
        ai_civ_kms=absorption_kms.astype(np.float32),
        velocity_kms=velocity.astype(np.float32),
        width_kms=width.astype(np.float32),
        depth=depth.astype(np.float32),
    )


def balnicity(
    velocity_kms: Floats64,
    width_kms: Floats64,
    depth: Floats64,
    *,
    limits: tuple[float, float, float] = _BI_LIMITS_KMS,
) -> float:
    """Return the balnicity index of one object's troughs, km/s.

    Args:
        velocity_kms: (k,) centres of the troughs, towards the blue.
        width_kms: (k,) their FWHM.
        depth: (k,) their depth, 0 to 1.
        limits: lowest and highest velocity and the width that must be passed, km/s.

    Source: Weymann et al. 1991, Appendix A: ∫ (1 - f/0.9) C dv, C = 1 once the bracket has been
    positive for the whole required width.
    """
    low, high, run_kms = limits
    v = np.arange(low, high, _STEP_KMS) + 0.5 * _STEP_KMS
    shape = np.exp(-(((v[:, None] - velocity_kms) / (_WIDTH_OF_FWHM * width_kms)) ** 4))
    bracket = 1.0 - np.prod(1.0 - depth * shape, axis=1) / _CONTINUUM_PART
    index = np.arange(len(v))
    last_gap = np.maximum.accumulate(np.where(bracket > 0, -1, index))
    counts = (index - last_gap) * _STEP_KMS > run_kms
    return float(np.sum(bracket[counts & (bracket > 0)]) * _STEP_KMS)


def absorb_bal(spectra: Floats32, lattice: Lattice, z: Floats64, bal: BalTraits) -> None:
    """Multiply spectra by the transmission of their troughs, in place.

    Args:
        spectra: (n, n_pix) C-contiguous.
        lattice: its wavelengths.
        z: (n,) redshifts.
        bal: (n,) traits.
    """
    has_trough = bal.depth[:, 0] > 0
    for ions, affected in ((_HIGH_IONS, has_trough), (_LOW_IONS, has_trough & bal.is_lobal)):
        rows = np.flatnonzero(affected)
        for wave_aa, relative in ions:
            for trough in range(_N_TROUGHS):
                _cut(spectra, lattice, z, bal, rows, wave_aa, relative, trough)


def _cut(  # noqa: PLR0917 -- one trough of one ion of the caller's arguments
    spectra: Floats32,
    lattice: Lattice,
    z: Floats64,
    bal: BalTraits,
    rows: NDArray[np.intp],
    wave_aa: float,
    relative: float,
    trough: int,
) -> None:
    rows = rows[bal.depth[rows, trough] > 0]
    centre = line_centre(lattice, wave_aa, z[rows], -bal.velocity_kms[rows, trough])
    # Velocities are v = c (1 - λ/λ0): a step in v is a wider step in ln λ the faster the gas.
    stretch = 1.0 - bal.velocity_kms[rows, trough] / np.float32(SPEED_OF_LIGHT_KMS)
    half = bal.width_kms[rows, trough] * np.float32(_WIDTH_OF_FWHM / PIXEL_KMS) / stretch
    seen = (centre > -_REACH * half) & (centre < lattice.n_pix + _REACH * half)
    rows, centre, half = rows[seen], centre[seen], half[seen]
    if len(rows) == 0:
        return
    index, offset = window_pixels(rows, centre, float(half.max()) * _REACH, spectra.shape[1])
    shape = np.exp(-((offset / half[:, None]) ** 4))  # (m, width)
    shape *= shape > _TROUGH_END
    spectra.reshape(-1)[index] *= 1.0 - (relative * bal.depth[rows, trough])[:, None] * shape
