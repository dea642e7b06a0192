"""Pixels that no spectrograph can have seen: what cosmic rays and broken files leave behind.

A spectrograph spreads light over its resolution, at least two pixels. So a narrow emission line,
however strong, rises over several pixels; what rises from the noise to its full height from one
pixel to the next is no light. Bins are too wide for this test (an unresolved line fills one bin),
so it is made on the pixels, before rebinning. For the same reason what a smooth curve through five
pixels leaves is noise, but in the few pixels of narrow lines.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from quasarloop.constants import MAD_TO_SIGMA, median_where
from quasarloop.spectra import Arm

__all__ = [
    "FEWEST_SIGMA",
    "LARGEST_IVAR",
    "LARGEST_NOISE",
    "MOST_PIXELS",
    "are_too_noisy",
    "find_outliers",
    "noise_ratios",
    "sharp_rises",
]

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating]

# A rise from one pixel to the next, in standard deviations of the noisier of the two. In the 2
# million pixels of 419 real spectra none that is sharp as below is above 9.9, in 16 million of
# 2000 simulated ones of all S/N none above 13.5 (docs/reference/formats.md). Our choice: half as
# much again.
FEWEST_SIGMA: Final = 20.0
# Inverse variance over the median of its surroundings. In the same spectra the largest are 10.7
# and 109. Our choice: half as much again.
LARGEST_IVAR: Final = 160.0
# Neighbouring pixels of equal flux: a value was filled in. In the same spectra at most 2 are equal.
# Our choice.
FEWEST_EQUAL: Final = 4
# Scatter from pixel to pixel over that of ivar (`noise_ratios`). In the same spectra the largest
# are 2.0 and 2.7. Our choice: half as much again.
LARGEST_NOISE: Final = 4.0
# Of one arm's pixels; with more, processing failed and nothing is mended. Our choice.
MOST_PIXELS: Final = 0.02

# The pixel before a rise exceeds its surroundings by at most this part of the rise, and the next
# two exceed the risen one by at most this factor. Where the second holds for a Gaussian line with
# two pixels to its width at half maximum, the first is 0.3 or more. Our choice.
_BEFORE: Final = 0.1
_AFTER: Final = 1.25
# Pixels next to an outlier that are above this part of its height, and of `FEWEST_SIGMA`, go too.
_SKIRT: Final = 0.1
# Surroundings: the median of so many pixels, at most half of which are outliers.
_WINDOW: Final = 51
# Coarser pixels may hold a line in one of them: those of files that are rebinned already.
# 150 km/s; DESI's and SDSS's have 70. Our choice.
_COARSEST: Final = 5e-4
# Noise is measured in windows of so many groups of five pixels, where half of them hold data.
_GROUPS: Final = 50
# The fourth difference, which cancels any cubic curve through five pixels.
_FOURTH: Final = np.array([1, -4, 6, -4, 1], dtype=np.float32)
# A pixel of less weight than this times the mean does no harm; in the same spectra at most 16.
_HARMLESS: Final = 20.0


def find_outliers(arm: Arm) -> tuple[Bools, Bools]:
    """Find the pixels of an arm that are impossible beside their neighbours and their noise.

    Either the flux rises (or falls) by `FEWEST_SIGMA` from one pixel to the next, from the level of
    its surroundings to the full height of what follows; or `FEWEST_EQUAL` neighbours have the same
    flux, but not the whole arm; or ivar is `LARGEST_IVAR` times that of its surroundings.

    Args:
        arm: clean pixels (`spectra.clean_pixels`).

    Returns:
        (n, n_pix) outliers, and (n,) rows with more of them than can be mended: there, none is
        marked.
    """
    outliers = np.zeros(arm.flux.shape, dtype=bool)
    broken = np.zeros(len(arm.flux), dtype=bool)
    if arm.flux.shape[1] < _WINDOW:
        return outliers, broken
    for row in np.flatnonzero(_has_equals(arm.flux, arm.ivar)):
        outliers[row] = _filled(arm.flux[row], arm.ivar[row])
    with np.errstate(over="ignore", invalid="ignore"):
        for row in np.flatnonzero(_has_too_much_weight(arm.ivar)):
            outliers[row] |= _of_ivar(arm.ivar[row])
        if _is_fine(arm):
            for row in np.flatnonzero(_has_a_rise(arm.flux, arm.ivar)):
                outliers[row] |= _of_flux(arm.flux[row], np.where(outliers[row], 0, arm.ivar[row]))
    rows = np.flatnonzero(outliers.any(axis=1))
    allowed = MOST_PIXELS * np.count_nonzero(arm.ivar[rows] > 0, axis=1)
    broken[rows] = np.count_nonzero(outliers[rows], axis=1) > allowed
    outliers[broken] = False
    return outliers, broken


def are_too_noisy(arms: Sequence[Arm]) -> Bools:
    """Return (n,) rows a part of which scatters `LARGEST_NOISE` times as much as ivar allows.

    Where ivar is wrong by the same factor everywhere, the quietest quarter of a spectrum has it,
    too, and the rest has to exceed that.
    """
    ratios = np.concatenate([noise_ratios(arm) for arm in arms], axis=1)
    noisy = np.zeros(len(ratios), dtype=bool)
    for row in np.flatnonzero(np.any(ratios > LARGEST_NOISE, axis=1)):
        found = ratios[row]
        quiet = np.nanquantile(found, 0.25)
        noisy[row] = np.nanmax(found) > LARGEST_NOISE * max(quiet, 1.0)
    return noisy


def noise_ratios(arm: Arm) -> NDArray[np.float32]:
    """Measure the scatter of neighbouring pixels in units of what their ivar expects.

    Args:
        arm: clean pixels.

    Returns:
        (n, n_windows) robust ratios along the arm, NaN with too little data; no windows where
        pixels are coarse.
    """
    n, n_pix = arm.flux.shape
    n_windows = n_pix // (_GROUPS * len(_FOURTH)) if _is_fine(arm) else 0
    if n_windows == 0:
        return np.empty((n, 0), dtype=np.float32)
    pixels = slice(n_windows * _GROUPS * len(_FOURTH))
    # Views: what is copied takes longer than what is computed.
    groups = (n, n_windows * _GROUPS, len(_FOURTH))
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        # Infinite where a pixel is masked.
        variance = (1 / arm.ivar[:, pixels]).reshape(groups) @ np.square(_FOURTH)
        size = np.abs(arm.flux[:, pixels].reshape(groups) @ _FOURTH) / np.sqrt(variance)
    usable = (np.isfinite(variance) & ~np.isnan(size)).reshape(-1, _GROUPS)
    ratio = np.float32(MAD_TO_SIGMA) * median_where(size.reshape(-1, _GROUPS), usable)
    ratio[2 * np.count_nonzero(usable, axis=1) < _GROUPS] = np.nan
    return ratio.reshape(n, n_windows)


def _is_fine(arm: Arm) -> bool:
    return len(arm.wave_aa) > 1 and bool(np.median(np.diff(np.log(arm.wave_aa))) <= _COARSEST)


def _has_equals(flux: Floats, ivar: Floats) -> Bools:
    """Quick look at all rows: `FEWEST_EQUAL` equal values anywhere, in pixels with data or not."""
    equal = flux[:, 1:] == flux[:, :-1]
    equal &= ivar[:, 1:] > 0
    if np.count_nonzero(equal) < FEWEST_EQUAL - 1:  # as in most blocks
        return np.zeros(len(flux), dtype=bool)
    return np.asarray(np.count_nonzero(equal, axis=1) >= FEWEST_EQUAL - 1)


def _filled(flux: Floats, ivar: Floats) -> Bools:
    """Mark runs of equal values of one row."""
    data = ivar > 0
    run = (flux[1:] == flux[:-1]) & data[1:] & data[:-1]
    ends = np.flatnonzero(np.diff(run, prepend=False, append=False))  # of runs: first, after last
    marked = np.zeros(len(flux), dtype=bool)
    for first, after in zip(ends[::2], ends[1::2], strict=True):
        marked[first : after + 1] = after - first + 1 >= FEWEST_EQUAL
    return marked & bool(np.ptp(flux[data]))  # an arm of one value has its own flag


def _has_too_much_weight(ivar: Floats) -> Bools:
    return np.asarray(ivar.max(axis=1) > _HARMLESS * ivar.mean(axis=1, dtype=np.float64))


def _of_ivar(ivar: Floats) -> Bools:
    data = ivar > 0
    too_large = np.zeros(len(ivar), dtype=bool)
    too_large[data] = ivar[data] > LARGEST_IVAR * _surroundings(ivar[data])
    return np.asarray(too_large & (ivar > _HARMLESS * ivar.mean(dtype=np.float64)))


def _has_a_rise(flux: Floats, ivar: Floats) -> Bools:
    """Quick look at all rows: a rise of `FEWEST_SIGMA` anywhere, sharp or not."""
    per_sigma = np.sqrt(ivar)
    rise = np.diff(flux, axis=1)
    np.abs(rise, out=rise)
    rise *= np.minimum(per_sigma[:, 1:], per_sigma[:, :-1])
    # NaN, of 0 times infinity, is worth a look.
    return np.asarray(~(rise.max(axis=1) < FEWEST_SIGMA))


def sharp_rises(
    flux: Floats, ivar: Floats, place: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Measure rises to full height from one pixel to the next, from the blue and from the red.

    Pixels beyond a masked one or the end are not known and count as the surroundings.

    Args:
        flux: (n,) of pixels with data.
        ivar: (n,) their inverse variance, > 0.
        place: (n,) their numbers in the arm, increasing.

    Returns:
        (n,) rise to each pixel in standard deviations, 0 where it is not sharp; excess over the
        surroundings, and its standard deviation: of noise, and of the surroundings themselves,
        which in a forest of lines is the larger.
    """
    values = flux.astype(np.float64)
    excess = values - _surroundings(values)
    scatter = MAD_TO_SIGMA * _surroundings(np.abs(excess))
    sigma = np.hypot(1 / np.sqrt(ivar.astype(np.float64)), scatter)
    from_blue = _rises_from_below(excess, sigma, place)
    from_red = _rises_from_below(excess[::-1], sigma[::-1], -place[::-1])[::-1]
    return np.maximum(from_blue, from_red), excess, sigma


def _surroundings(values: Floats) -> Floats:
    """Return (n,) medians over `_WINDOW` pixels, mirrored at the ends.

    Those of scipy.ndimage.median_filter; without scipy, which a survey's pipeline may lack.
    """
    half = _WINDOW // 2
    windows = sliding_window_view(np.pad(values, half, mode="symmetric"), _WINDOW)
    return np.asarray(np.partition(windows, half, axis=1)[:, half])


def _of_flux(flux: Floats, ivar: Floats) -> Bools:
    """Mark the outliers of one row."""
    data = np.flatnonzero(ivar > 0)
    marked = np.zeros(len(flux), dtype=bool)
    if len(data) < _WINDOW:
        return marked
    rises, excess, sigma = sharp_rises(flux[data], ivar[data], data)
    size = np.abs(excess)
    for peak in np.flatnonzero(rises >= FEWEST_SIGMA):
        high = (size >= _SKIRT * size[peak]) & (size >= FEWEST_SIGMA / 2 * sigma)
        low_before, low_after = np.flatnonzero(~high[:peak]), np.flatnonzero(~high[peak:])
        first = low_before[-1] + 1 if len(low_before) else 0
        last = peak + low_after[0] if len(low_after) else len(data)
        marked[data[first:last]] = True
    return marked


def _rises_from_below(
    excess: Floats, sigma: Floats, place: NDArray[np.intp]
) -> NDArray[np.float64]:
    before, here = excess[:-1], excess[1:]
    rise = here - before
    sharp = np.abs(before) <= _BEFORE * np.abs(rise)
    sharp &= np.diff(place) == 1
    for step in (1, 2):
        after = np.where(place[step:] - place[:-step] == step, excess[step:], 0.0)
        after = np.append(after, np.zeros(step))[1:]
        sharp &= np.sign(rise) * after <= _AFTER * np.abs(here)
    in_sigma = np.abs(rise) / np.maximum(sigma[:-1], sigma[1:])
    return np.append(0.0, np.where(sharp, in_sigma, 0.0))
