"""Numbers of physics and statistics, and redrock's codes, each named once; robust scatter."""

from enum import IntFlag
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "AIR_TO_VACUUM",
    "BAD_FIT",
    "FWHM_OF_SIGMA",
    "LEAST_DELTA_CHI2",
    "MAD_TO_SIGMA",
    "N_COEFF",
    "PER_MAGNITUDE",
    "PLANCK_AA_K",
    "SPEED_OF_LIGHT_KMS",
    "Zwarn",
    "median_where",
    "nmad",
    "vacuum_wavelengths",
]

SPEED_OF_LIGHT_KMS: Final = 299_792.458  # exact, SI
PLANCK_AA_K: Final = 1.438777e8  # hc/k, CODATA 2018
FWHM_OF_SIGMA: Final = 2.0 * float(np.sqrt(2.0 * np.log(2.0)))
PER_MAGNITUDE: Final = 0.4 * float(np.log(10.0))  # -ln of a magnitude of dimming
AIR_TO_VACUUM: Final = 1.000278  # Morton 1991 (ApJS 77, 119), near 5000 Å
MAD_TO_SIGMA: Final = 1.4826  # σ of a Gaussian over its median absolute deviation


def nmad(values: ArrayLike) -> float:
    """Return 1.4826 times the median absolute deviation: σ of a Gaussian core.

    Args:
        values: (n,); NaN for none.

    >>> round(nmad([1.0, 2.0, 3.0, 4.0, 100.0]), 4)
    1.4826
    """
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        return float("nan")
    return float(MAD_TO_SIGMA * np.median(np.abs(array - np.median(array))))


class Zwarn(IntFlag):
    """Bits of ZWARN that we read or write.

    Source: redrock.zwarning.ZWarningMask.
    """

    SKY = 1 << 0
    SMALL_DELTA_CHI2 = 1 << 2
    NEGATIVE_MODEL = 1 << 3
    MANY_OUTLIERS = 1 << 4
    Z_FITLIMIT = 1 << 5
    NEGATIVE_EMISSION = 1 << 6
    NODATA = 1 << 9
    BAD_MINFIT = 1 << 10


# A fit with one of these comes after all without. Source: redrock.zwarning.badfit_mask.
BAD_FIT: Final = (
    Zwarn.NEGATIVE_MODEL
    | Zwarn.MANY_OUTLIERS
    | Zwarn.Z_FITLIMIT
    | Zwarn.NEGATIVE_EMISSION
    | Zwarn.BAD_MINFIT
)
# Below it the best fit is ambiguous. Source: redrock.zfind, redrock.constants.
LEAST_DELTA_CHI2: Final = 9.0
# Coefficients of redrock's largest template set: the width of COEFF.
N_COEFF: Final = 10


def vacuum_wavelengths(air_aa: ArrayLike) -> NDArray[np.float64]:
    """Return vacuum wavelengths of wavelengths in air, both Å (optical).

    The index of refraction is a function of the vacuum wavelength; three rounds reach 1e-9 Å.

    >>> round(float(vacuum_wavelengths(4861.333)), 2)
    4862.69
    """
    air = np.asarray(air_aa, dtype=np.float64)
    vacuum = air
    for _ in range(3):
        vacuum = air * _refraction(vacuum)
    return vacuum


def air_wavelengths(vacuum_aa: ArrayLike) -> NDArray[np.float64]:
    """Return wavelengths in air of vacuum wavelengths, both Å (optical).

    >>> round(float(air_wavelengths(4862.69102)), 3)
    4861.333
    """
    vacuum = np.asarray(vacuum_aa, dtype=np.float64)
    return np.asarray(vacuum / _refraction(vacuum))


def _refraction(vacuum_aa: NDArray[np.float64]) -> NDArray[np.float64]:
    """Index of refraction of air. Source: Morton 2000 (ApJS 130, 403), equation 8."""
    square = np.square(1e4 / vacuum_aa)  # of the wave number, per micrometre
    return 1.0 + 8.34254e-5 + 2.406147e-2 / (130.0 - square) + 1.5998e-4 / (38.9 - square)


def median_where(values: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Median of each row's usable values, NaN where there is none.

    Sorting with the rest at the end is some 7 times faster than `numpy.nanmedian`; of long rows
    only the values near the middle are sorted.
    """
    n, width = values.shape
    middle = np.full(n, np.nan, dtype=np.float32)
    if width == 0:
        return middle
    filled = values.copy()
    np.copyto(filled, np.float32(np.inf), where=~usable)
    count = np.add.reduce(usable, axis=1, dtype=np.int32)
    ranks = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, width - 1)
    pair = np.empty((2, n), dtype=np.float32)  # the two values in the middle, or twice the same
    left = np.arange(n)
    if width >= _LONG:
        left = left[~_find_near_middle(filled, count, ranks, pair)]
    ordered, rows = np.sort(filled[left], axis=1), np.arange(len(left))
    pair[:, left] = [ordered[rows, rank[left]] for rank in ranks]
    np.add(0.5 * pair[0], 0.5 * pair[1], out=middle, where=count > 0)
    return middle


# Rows are long from here on; of them every eighth value is looked at first, and those between 0.44
# and 0.56 of their number are near the middle. Source: our choice, benchmarks/bench_rebin.py.
_LONG: Final = 512
_STEP: Final = 8
_NEAR: Final = 0.06

_Ints = NDArray[np.signedinteger]


def _find_near_middle(
    filled: NDArray[np.float32],
    count: _Ints,
    ranks: tuple[_Ints, _Ints],
    pair: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Sort the values near the middle of each row alone; return where those wanted are there."""
    few = np.sort(filled[:, ::_STEP], axis=1)
    (n, width), rows = filled.shape, np.arange(len(filled))
    part = count * few.shape[1] / width
    first = few[rows, (part * (0.5 - _NEAR)).astype(np.intp)]
    last = few[rows, np.minimum((part * (0.5 + _NEAR)).astype(np.intp) + 1, few.shape[1] - 1)]
    last[count == 0] = -np.inf
    below = filled < first[:, None]
    inside = filled <= last[:, None]
    inside &= ~below
    # Places of the same values in both arrays: much faster than a mask.
    place = np.flatnonzero(inside)
    ends = np.searchsorted(place, np.arange(n + 1) * width)
    n_inside = np.diff(ends)
    near = np.full((n, n_inside.max(initial=1)), np.inf, dtype=np.float32)
    shift = np.repeat(rows * near.shape[1] - ends[:-1], n_inside)
    near.reshape(-1)[np.arange(len(place)) + shift] = filled.reshape(-1)[place]
    near.sort(axis=1)
    n_below = np.add.reduce(below, axis=1, dtype=np.int32)
    low, high = (rank - n_below for rank in ranks)
    pair[:] = [near[rows, np.clip(rank, 0, near.shape[1] - 1)] for rank in (low, high)]
    return np.asarray((count == 0) | (low >= 0) & (high < n_inside))
