"""From spectra as read to spectra on the grid, with a flag for all that looks wrong.

A bad spectrum is never dropped and never raises here: it gets a flag. What each flag does
later is written here and nowhere else: in `UNUSABLE`, `NOT_TRAINED` and `REFUSED`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import MAD_TO_SIGMA, SPEED_OF_LIGHT_KMS, median_where
from quasarloop.grid import WaveGrid, normalise, rebin
from quasarloop.outliers import are_too_noisy, find_outliers
from quasarloop.spectra import (
    ARM_NAMES,
    Arm,
    Flag,
    Keys,
    RebinnedSpectra,
    Spectra,
    duplicate_keys,
    join_arms,
)

__all__ = [
    "NOT_TRAINED",
    "REFUSED",
    "UNUSABLE",
    "arm_steps",
    "corrupted",
    "count_flags",
    "flag_names",
    "gaps",
    "in_missing_arm",
    "prepare",
    "prepare_all",
]

# Flags with which no network predicts: IS_QSO is False, confidences are NaN, there are no votes
# and no cell of the map.
UNUSABLE: Final = Flag.NO_DATA | Flag.CONSTANT_FLUX | Flag.CORRUPTED
# Flags a spectrum must not have to be trained with. Source: paper, Section 4.2 (corrupted
# spectra were affecting training); a repeated row would only count twice.
NOT_TRAINED: Final = UNUSABLE | Flag.DUPLICATE_ROW
# Flags a spectrum to be labelled must not have. Source: docs/reference/active_learning.md, "Paper
# and released code" (masked arms, corrupt spectra); low coverage and repeats are our choice.
REFUSED: Final = (
    UNUSABLE
    | Flag.ARM_B_MASKED
    | Flag.ARM_R_MASKED
    | Flag.ARM_Z_MASKED
    | Flag.LOW_COVERAGE
    | Flag.NOT_TARGET
    | Flag.DUPLICATE_ROW
    | Flag.BAD_TARGETID
)

# Source: docs/reference/spectra.md, "Preprocessing": the released code's jump of neighbours, in
# units of the rms. Normalised flux seldom exceeds √n_bins, so ours is also in units of the median.
CORRUPT_JUMP: Final = 1e4
# Source: paper, Section 4.2: corruption "on approximately 1/3rd of the wavelength grid"; of the
# red third of the wavelengths, that is 23 % of the log grid's bins. Our choice: a fifth.
CORRUPT_SHARE: Final = 0.2
# Our choice: those bins lie this many robust deviations away from the median of all. On real
# spectra and sound simulated ones the largest value is 7 (docs/reference/formats.md).
CORRUPT_SIGMA: Final = 20.0
# Measured flux is never the same in neighbouring bins: that is a value filled in. Our choice.
CORRUPT_EQUAL: Final = 0.05
_DUST: Final = 1e-6  # of a sum in float32
# An excess up to the red end may be real: the light of an M dwarf or of a quasar beyond z = 5,
# with nothing but noise to its blue. It has to be far larger than any such object's. Our choice.
CORRUPT_SIGMA_RED: Final = 300.0
# LOW_COVERAGE means that fewer than this share of the bins holds data. Our choice.
MIN_COVERAGE: Final = 0.5

# A hole of that width hides a broad line whole, and what empty bins are filled with looks like a
# continuum's break. Our choice: wider than what surveys leave out of good spectra (LAMOST 3500
# km/s at 7600 Å), narrower than any hole of real spectra that networks take for a break.
GAP_KMS: Final = 4000.0

# Two arms disagree if their mean fluxes in the overlap differ by this part of their mean, and by so
# many standard deviations. Source: our choice: in 32 real DESI spectra no such difference is beyond
# 3.2, in 1000 simulated ones without a step none is beyond 4.4 (docs/reference/formats.md).
STEP: Final = 0.1
STEP_SIGMA: Final = 5.0
_FEWEST_IN_OVERLAP: Final = 20  # pixels of each arm; DESI's have 50 and more

# Range of each arm that no other arm covers, Å, to judge spectra coadded over arms.
# Source: DESI spectrograph arms (paper reference [4]), overlaps left out.
_EXCLUSIVE_RANGE_AA: Final[Mapping[str, tuple[float, float]]] = {
    "b": (3600.0, 5760.0),
    "r": (5800.0, 7520.0),
    "z": (7620.0, 9824.0),
}
_ARM_FLAG: Final = {"b": Flag.ARM_B_MASKED, "r": Flag.ARM_R_MASKED, "z": Flag.ARM_Z_MASKED}
_NEARLY_ALL: Final = 0.95
_BLOCK_ROWS: Final = 96  # rows prepared at once: two of rebin's; pixels stay near the processor


def prepare(spectra: Spectra, grid: WaveGrid, *, mend_outliers: bool = True) -> RebinnedSpectra:
    """Mend, rebin, normalise and flag spectra; see `prepare_all`."""
    return prepare_all([spectra], grid, mend_outliers=mend_outliers)


def prepare_all(
    parts: Sequence[Spectra], grid: WaveGrid, *, mend_outliers: bool = True
) -> RebinnedSpectra:
    """Mend, rebin, normalise and flag the spectra of one file or several, in blocks of rows.

    Spectra on the same wavelengths are worked on together, whatever files they are of: one alone
    costs five times as much. The result does not depend on the company.

    Args:
        parts: as read, at least one; repeats are flagged within each.
        grid: the bins.
        mend_outliers: give impossible pixels (`outliers.find_outliers`) ivar 0; flagged anyway.

    Returns:
        One row per input row, in order, none dropped.

    Source: docs/reference/spectra.md, "Preprocessing"; flags are our choice.
    """
    n, n_bins = sum(map(len, parts)), grid.n_bins
    flux = np.empty((n, n_bins), dtype=np.float32)
    ivar = np.empty((n, n_bins), dtype=np.float32)
    mean, rms = np.empty(n), np.empty(n)
    sn = np.empty((n, len(ARM_NAMES)), dtype=np.float32)
    flags = np.concatenate([part.flags for part in parts]).astype(np.int32)
    for rows, observed in _blocks_alike(parts):
        arms, flags_of_pixels = _search_outliers(observed, mend=mend_outliers)
        binned = rebin([(arm.wave_aa, arm.flux, arm.ivar) for arm in arms], grid)
        block = normalise(binned.flux, binned.ivar)
        flux[rows], mean[rows], rms[rows] = block
        ivar[rows] = _ivar_of_normalised(binned.ivar, block.rms_flux)
        flags[rows] |= flags_of_pixels | _grid_flags(binned.ivar, block.rms_flux)
        flags[rows] |= corrupted(binned.flux, binned.ivar, block.flux)
        flags[rows] |= gaps(arms, binned.ivar, grid) | arm_steps(arms)
        sn[rows] = arm_sn(arms, grid, len(block.flux))
    for column, name in enumerate(ARM_NAMES):
        flags[np.isnan(sn[:, column])] |= _ARM_FLAG[name]
    repeated = np.concatenate([duplicate_keys(part.keys) for part in parts])
    flags[repeated] |= Flag.DUPLICATE_ROW
    return RebinnedSpectra(
        grid=grid,
        flux=flux,
        ivar=ivar,
        mean_flux=mean,
        rms_flux=rms,
        sn=sn,
        flags=flags,
        keys=Keys.join([part.keys for part in parts]),
        source=np.repeat([part.source for part in parts], [len(part) for part in parts]),
        row=np.concatenate([part.row for part in parts]),
    )


def _blocks_alike(parts: Sequence[Spectra]) -> Iterator[tuple[NDArray[np.int64], list[Arm]]]:
    """Cut rows into blocks on the same wavelengths: numbers among all rows, and pixels."""
    ends = np.cumsum([len(part) for part in parts])
    alike: dict[tuple[tuple[str, bytes], ...], list[int]] = {}
    for number, part in enumerate(parts):
        layout = tuple((arm.name, arm.wave_aa.tobytes()) for arm in part.arms)
        alike.setdefault(layout, []).append(number)
    for numbers in alike.values():
        rows = np.concatenate([np.arange(ends[i] - len(parts[i]), ends[i]) for i in numbers])
        arms = [join_arms(same) for same in zip(*(parts[i].arms for i in numbers), strict=True)]
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            yield rows[block], [arm[block] for arm in arms]


def arm_sn(arms: Iterable[Arm], grid: WaveGrid, n_rows: int) -> NDArray[np.float32]:
    """Median S/N per pixel in arms b, r, z; NaN where an arm has no usable pixel on the grid.

    A coadd over arms is judged in the range only that arm would cover. Pixels that all have the
    same flux hold no data.

    Returns:
        (n_rows, 3) float32.
    """
    sn = np.full((n_rows, len(ARM_NAMES)), np.nan, dtype=np.float32)
    for arm in arms:
        for column, name in enumerate(ARM_NAMES):
            if arm.name != name and arm.name in ARM_NAMES:
                continue
            whole = arm.name == name
            range_aa = (grid.start_aa, grid.end_aa) if whole else _EXCLUSIVE_RANGE_AA[name]
            low, high = np.searchsorted(arm.wave_aa, np.clip(range_aa, grid.start_aa, grid.end_aa))
            pixels = slice(int(low), int(high))
            new = _median_sn(arm.flux[:, pixels], arm.ivar[:, pixels])
            # Of surveys with other arms (WEAVE), each covers some of these ranges.
            sn[:, column] = np.where(np.isnan(new), sn[:, column], new)
    return sn


def corrupted(
    flux: NDArray[np.float32], ivar: NDArray[np.floating], normalised: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Flag spectra that data processing broke.

    Tests on the bins with data: a jump of `CORRUPT_JUMP` between neighbours, of normalised flux
    (the released code's test) or in units of the median absolute flux; `CORRUPT_EQUAL`
    of the bins equal to their neighbours; `CORRUPT_SHARE` of the bins lying `CORRUPT_SIGMA` robust
    deviations from the median of all (the paper's two corrupted spectra), `CORRUPT_SIGMA_RED` where
    they are the reddest bins and too bright. All but the first compare flux before normalising with
    medians, which absurd numbers do not change.

    Args:
        flux: (n, n_bins) rebinned flux.
        ivar: (n, n_bins); bins with 0 are ignored.
        normalised: (n, n_bins) normalised flux.

    Returns:
        (n,) int32: `Flag.CORRUPTED` or 0.
    """
    data = ivar > 0
    with np.errstate(over="ignore", invalid="ignore"):
        level = median_where(np.abs(flux), data)[:, None]
        both = data[:, 1:] & data[:, :-1]
        jump = np.abs(np.diff(normalised, axis=1)) >= CORRUPT_JUMP
        jump |= (np.abs(np.diff(flux, axis=1)) >= CORRUPT_JUMP * level) & (level > 0)
        equal = both & (np.abs(np.diff(flux, axis=1)) <= _DUST * np.abs(flux[:, 1:]))
        broken = np.any(both & jump, axis=1) | _third_is_implausible(flux, data)
    broken |= np.count_nonzero(equal, axis=1) >= CORRUPT_EQUAL * data.sum(axis=1)
    broken &= normalised.any(axis=1)  # all zeros: what could not be normalised has its own flag
    return np.where(broken, Flag.CORRUPTED, 0).astype(np.int32)


def in_missing_arm(wave_aa: NDArray[np.floating], flags: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return (n,) where a wavelength of each spectrum lies in an arm its flags name as masked.

    Where two arms overlap, the other one has it.

    Args:
        wave_aa: (n,) Å; NaN lies in none.
        flags: (n,) `Flag`.
    """
    missing = np.zeros(len(wave_aa), dtype=bool)
    for name, (low, high) in _EXCLUSIVE_RANGE_AA.items():
        missing |= (wave_aa >= low) & (wave_aa < high) & ((flags & _ARM_FLAG[name]) != 0)
    return missing


def gaps(arms: Iterable[Arm], ivar: NDArray[np.floating], grid: WaveGrid) -> NDArray[np.int32]:
    """Flag spectra with a hole inside an arm: `GAP_KMS` of neighbouring bins without data.

    Inside is what lies between the first and the last pixel with data of one arm; so an absent or
    masked arm is no hole, nor is the end of one.

    Args:
        arms: clean pixels of the same rows.
        ivar: (n, n_bins) after rebinning all arms.
        grid: the bins.

    Returns:
        (n,) int32: `Flag.GAPS` or 0.
    """
    edges = np.append(grid.lower_edges_aa, grid.end_aa)
    width_kms = np.diff(np.log(edges)) * SPEED_OF_LIGHT_KMS
    empty = ivar <= 0
    inside = np.zeros(empty.shape, dtype=bool)
    number = np.arange(grid.n_bins)
    for arm in arms:
        data = arm.ivar > 0
        ends = data.argmax(axis=1), data.shape[1] - 1 - data[:, ::-1].argmax(axis=1)
        first, last = (grid.bin_of(arm.wave_aa[end])[:, None] for end in ends)
        some = np.any(data, axis=1, keepdims=True)
        inside |= some & (number >= first) & (number <= last)
    empty &= inside
    flags = np.zeros(len(empty), dtype=np.int32)
    holed = np.flatnonzero(empty.any(axis=1))  # few rows of good spectra
    empty = empty[holed]
    # Width from the last bin with data on: what was passed up to there is taken off.
    passed = np.cumsum(np.where(empty, width_kms, 0.0), axis=1)
    before = np.maximum.accumulate(np.where(empty, 0.0, passed), axis=1)
    flags[holed[(passed - before).max(axis=1) > GAP_KMS]] = Flag.GAPS
    return flags


def arm_steps(arms: Iterable[Arm]) -> NDArray[np.int32]:
    """Flag spectra whose arms disagree where they overlap: calibrated differently.

    Surveys that join their arms cannot be judged so: lines look like steps there.

    Args:
        arms: clean pixels of the same rows.

    Returns:
        (n,) int32: `Flag.ARM_STEP` or 0.
    """
    ordered = sorted(arms, key=lambda arm: float(arm.wave_aa[0]))
    flags = np.zeros(len(ordered[0].flux), dtype=np.int32)
    for blue, red in pairwise(ordered):
        low, high = red.wave_aa[0], blue.wave_aa[-1]
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            (one, variance), (two, other) = (_mean_within(arm, low, high) for arm in (blue, red))
            step = np.abs(one - two)
            found = step > STEP * np.abs(one + two) / 2
            found &= step > STEP_SIGMA * np.sqrt(variance + other)
        flags[found] |= Flag.ARM_STEP
    return flags


def _mean_within(
    arm: Arm, low_aa: float, high_aa: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean flux and its variance; the latter is infinite where there are few pixels."""
    pixels = slice(*np.searchsorted(arm.wave_aa, (low_aa, high_aa)).tolist())
    weight = arm.ivar[:, pixels].astype(np.float64)
    total = weight.sum(axis=1)
    enough = np.count_nonzero(weight, axis=1) >= _FEWEST_IN_OVERLAP
    mean = (arm.flux[:, pixels] * weight).sum(axis=1) / total
    return mean, np.where(enough, 1 / total, np.inf)


def count_flags(flags: NDArray[np.integer]) -> dict[str, int]:
    """Count rows per flag name, in bit order, only those that occur."""
    there = int(np.bitwise_or.reduce(flags, initial=0))
    return {str(flag.name): int(np.count_nonzero(flags & flag)) for flag in Flag(there)}


def flag_names(value: int) -> str:
    """Return the names of a bit mask, ``"|"`` between them, ``""`` for none.

    >>> flag_names(3)
    'NO_DATA|ARM_B_MASKED'
    """
    return "|".join(str(flag.name) for flag in Flag if value & flag)


def _search_outliers(arms: list[Arm], *, mend: bool) -> tuple[list[Arm], NDArray[np.int32]]:
    """Flag rows with impossible pixels or noise; return the arms, outliers masked if mended."""
    flags = np.where(are_too_noisy(arms), Flag.CORRUPTED, 0).astype(np.int32)
    for number, arm in enumerate(arms):
        outliers, broken = find_outliers(arm)
        found = outliers.any(axis=1)
        flags[found] |= Flag.OUTLIER_PIXELS
        flags[broken] |= Flag.CORRUPTED
        if mend and found.any():
            ivar = np.where(outliers, np.float32(0), arm.ivar)
            arms[number] = replace(arm, ivar=ivar)
    return arms, flags


def _ivar_of_normalised(ivar: NDArray[np.float32], rms: NDArray[np.float64]) -> NDArray[np.float64]:
    good = rms > 0  # nothing was normalised elsewhere: no weight there
    scale = np.where(good, rms, 0.0)
    weights = np.where(good[:, None], ivar, 0.0) * np.square(scale)[:, None]
    return np.asarray(np.minimum(weights, np.finfo(np.float32).max))


def _grid_flags(ivar: NDArray[np.floating], rms: NDArray[np.float64]) -> NDArray[np.int32]:
    filled = np.count_nonzero(ivar > 0, axis=1)
    flags = np.where(filled == 0, Flag.NO_DATA, 0).astype(np.int32)
    flags[filled < MIN_COVERAGE * ivar.shape[1]] |= Flag.LOW_COVERAGE
    flags[rms == 0] |= Flag.CONSTANT_FLUX
    flags[(filled > 0) & np.isnan(rms)] |= Flag.CORRUPTED  # numbers too large to be summed
    return flags


def _median_sn(flux: NDArray[np.float32], ivar: NDArray[np.float32]) -> NDArray[np.float32]:
    usable = ivar > 0
    with np.errstate(over="ignore", invalid="ignore"):
        sn = median_where(flux * np.sqrt(ivar), usable)
    if flux.shape[1]:
        first = flux[np.arange(len(flux)), usable.argmax(axis=1)]
        flat = ~np.any((flux != first[:, None]) & usable, axis=1)
        sn[flat & (np.count_nonzero(usable, axis=1) > 1)] = np.nan
    return sn


def _third_is_implausible(flux: NDArray[np.float32], data: NDArray[np.bool_]) -> NDArray[np.bool_]:
    # Of any third-sized corrupted part, more than half of all bins stay sound, so the median
    # and MAD of all bins describe the sound ones.
    excess = flux - median_where(flux, data)[:, None]
    size = np.abs(excess)
    sigma = MAD_TO_SIGMA * median_where(size, data)[:, None]
    enough = CORRUPT_SHARE * data.sum(axis=1)
    away = data & (size > CORRUPT_SIGMA * sigma)
    broken = (away.sum(axis=1) >= enough) & (sigma[:, 0] > 0)
    rows = np.flatnonzero(broken)
    if len(rows):
        red = _is_light_at_red_end(away[rows], excess[rows] > 0, data[rows])
        far = data[rows] & (size[rows] > CORRUPT_SIGMA_RED * sigma[rows])
        broken[rows] = ~red | (far.sum(axis=1) >= enough[rows])
    return np.asarray(broken)


def _is_light_at_red_end(
    away: NDArray[np.bool_], above: NDArray[np.bool_], data: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return whether nearly all bins that are away are above, and the reddest that hold data."""
    rank = np.cumsum(data[:, ::-1], axis=1)[:, ::-1]  # 1 for the reddest bin with data
    count = away.sum(axis=1)
    reddest = data & (rank <= count[:, None])
    return np.asarray((away & above & reddest).sum(axis=1) >= _NEARLY_ALL * count)
