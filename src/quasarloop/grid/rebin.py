"""Rebinning onto a grid, and normalising.

The numbers a QuasarNET network sees are made here, and only here: for every survey, for
the map and for training alike.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from threading import local
from typing import Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, NDArray

from quasarloop.errors import GridError
from quasarloop.grid.waves import WaveGrid

__all__ = ["Normalised", "Rebinned", "normalise", "rebin"]

Floats = NDArray[np.floating]

# Rows summed at once, and fewest pixels between the windows that bins are summed in (see
# `_Plan`): the products of one arm stay in the processor's cache.
_BLOCK_ROWS: Final = 48
_SMALLEST_STEP: Final = 48
# Rows normalised at once, in float64; they too stay in the cache.
_NORMALISED_ROWS: Final = 64
# An rms below this part of the mean is what float32 sums leave of a constant.
_DUST: Final = 1e-6
# Wavelength solutions whose plans are kept: SDSS files start at a few dozen pixels.
_KEPT_PLANS: Final = 64
# Working memory, a thread's own: a megabyte or two for the arms of DESI.
_KEPT: Final = local()


class Rebinned(NamedTuple):
    """Spectra summed into bins.

    Attributes:
        flux: (n, n_bins) float32, ivar-weighted mean flux; 0 where ivar is 0.
        ivar: (n, n_bins) float32, summed inverse variance.
    """

    flux: NDArray[np.float32]
    ivar: NDArray[np.float32]


class Normalised(NamedTuple):
    """Rebinned spectra brought to zero mean and unit rms.

    Attributes:
        flux: (n, n_bins) float32 network input; all 0 where `mean_flux` or `rms_flux` is unusable.
        mean_flux: (n,) float64 ivar-weighted mean, input units; NaN without any ivar, and where
            numbers are too large to be summed.
        rms_flux: (n,) float64 ivar-weighted rms about the mean; NaN likewise.
    """

    flux: NDArray[np.float32]
    mean_flux: NDArray[np.float64]
    rms_flux: NDArray[np.float64]


def rebin(arms: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]], grid: WaveGrid) -> Rebinned:
    """Rebin spectra of one or several arms onto a grid.

    Args:
        arms: ``(wave_aa, flux, ivar)`` per arm: (n_pix,) increasing, (n, n_pix), (n, n_pix).
            Flux that is not finite must come with ivar 0 and flux 0 (`spectra.clean_pixels`).
        grid: the bins to fill.

    Returns:
        The ivar-weighted mean in every bin.

    Raises:
        GridError: no arm, or wavelengths that do not increase.

    Source: quasarnp.utils.rebin; docs/reference/spectra.md, "Preprocessing".
    """
    if not arms:
        raise GridError("no arm to rebin; a spectrum needs at least one")
    n_rows = np.shape(arms[0][1])[0]
    sums = np.zeros((2, n_rows, grid.n_bins), dtype=np.float32)  # ivar, flux·ivar
    sides = [side for side in (_Side.make(grid, *arm) for arm in arms) if side is not None]
    scratch = _Scratch.of(sides)
    # Numbers too large for float32 become inf here, and `normalise` refuses their rows.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, n_rows, _BLOCK_ROWS):
            rows = slice(start, min(start + _BLOCK_ROWS, n_rows))
            block = np.zeros((2, grid.n_bins, _BLOCK_ROWS), dtype=np.float32)
            for side, room in zip(sides, scratch, strict=True):
                side.add(block, rows, room)
            sums[:, rows] = block[:, :, : rows.stop - start].transpose(0, 2, 1)
        np.divide(sums[1], sums[0], out=sums[1], where=sums[0] > 0)
    return Rebinned(sums[1], sums[0])


def normalise(flux: ArrayLike, ivar: ArrayLike) -> Normalised:
    """Subtract the ivar-weighted mean and divide by the ivar-weighted rms about it.

    Args:
        flux: (n, n_bins) rebinned flux.
        ivar: (n, n_bins) rebinned inverse variance, not negative.

    Returns:
        Network inputs. Empty bins become -mean/rms, as in QuasarNET. Rows without ivar, or of
        constant flux (rms 0), come back as zeros with mean or rms saying why: no NaN leaves here.

    Source: quasarnp.utils.renormalize; docs/reference/spectra.md, "Preprocessing".
    """
    values = np.asarray(flux)
    weights = np.asarray(ivar)
    out = np.empty(values.shape, dtype=np.float32)
    mean, rms = np.empty(len(values)), np.empty(len(values))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for start in range(0, len(values), _NORMALISED_ROWS):
            rows = slice(start, start + _NORMALISED_ROWS)
            mean[rows], rms[rows] = _normalise_block(values[rows], weights[rows], out[rows])
    return Normalised(out, mean, rms)


def _normalise_block(
    flux: Floats, ivar: Floats, out: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weights = ivar.astype(np.float64)
    values = flux.astype(np.float64)
    total = weights.sum(axis=1)
    mean = np.einsum("ij,ij->i", values, weights) / total
    values -= mean[:, None]
    weights *= values
    rms = np.sqrt(np.einsum("ij,ij->i", weights, values) / total)
    # A constant spectrum leaves rounding dust of its mean, not an exact zero.
    rms[rms <= np.abs(mean) * _DUST] = 0.0
    good = np.isfinite(rms) & (rms > 0)
    np.multiply(values, (1 / rms)[:, None], out=out, casting="same_kind")
    out[~good] = 0.0
    known = np.isfinite(rms)
    return np.where(known, mean, np.nan), np.where(known, rms, np.nan)


class _Plan(NamedTuple):
    """How the pixels of an arm are summed into bins: as products with small 0/1 matrices.

    The pixels are cut into overlapping windows, `step` apart and so wide that each bin lies
    whole in the window its first pixel is in. One batched matrix product over the pixels where
    they are then sums all bins of many spectra, faster than adding bin by bin.
    """

    pixels: slice  # those on the grid
    step: int
    members: NDArray[np.float32]  # (n_windows, n_slots, width): 1 where a pixel is in a slot's bin
    slots: NDArray[np.int64]  # (n_filled,) window·n_slots + slot of every filled bin
    bins: slice | NDArray[np.int64]  # (n_filled,) the filled bins


@lru_cache(maxsize=_KEPT_PLANS)
def _plan(grid: WaveGrid, wave_bytes: bytes) -> _Plan | None:
    wave_aa = np.frombuffer(wave_bytes, dtype=np.float64)
    if np.any(np.diff(wave_aa) <= 0):
        raise GridError("wavelengths of an arm must increase; sort the pixels first")
    bins = grid.bin_of(wave_aa)
    first, last = (int(i) for i in np.searchsorted(bins, [0, grid.n_bins]))
    if first == last:
        return None
    used = bins[first:last]
    starts = np.flatnonzero(np.r_[True, np.diff(used) > 0])  # first pixel of every filled bin
    counts = np.diff(np.r_[starts, len(used)])
    n_windows, step = _cut(len(used), counts)
    window = np.minimum(starts // step, n_windows - 1)
    slot = np.arange(len(starts)) - np.searchsorted(window, window)
    # At least two slots: with one, BLAS would take another path, of other rounding.
    n_slots = max(int(slot.max()) + 1, 2)
    members = np.zeros((n_windows, n_slots, len(used) - (n_windows - 1) * step), np.float32)
    owner = np.repeat(np.arange(len(starts)), counts)
    members[window[owner], slot[owner], np.arange(len(used)) - window[owner] * step] = 1.0
    filled = used[starts]
    whole = filled[-1] - filled[0] + 1 == len(filled)
    return _Plan(
        slice(first, last),
        step,
        members,
        window * n_slots + slot,
        slice(int(filled[0]), int(filled[-1]) + 1) if whole else filled,
    )


def _cut(n_pixels: int, counts: NDArray[np.int64]) -> tuple[int, int]:
    """Choose number and step of windows that end with the last pixel, for the least work."""
    widest, narrowest = int(counts.max()), int(counts.min())
    cuts = [(n_pixels * n_pixels, 1, n_pixels)]
    for n_windows in range(2, n_pixels // _SMALLEST_STEP + 1):
        step = (n_pixels - widest + 1) // n_windows
        if step < _SMALLEST_STEP:
            break
        width = n_pixels - (n_windows - 1) * step
        cuts.append((n_windows * width * (step // narrowest + 2), n_windows, step))
    return min(cuts)[1:]


class _Side(NamedTuple):
    """The pixels of one arm that fall on the grid."""

    plan: _Plan
    flux: Floats  # (n, n_used)
    ivar: Floats
    windows: Floats | None  # of `ivar`, where it can be summed in place

    @classmethod
    def make(
        cls, grid: WaveGrid, wave_aa: ArrayLike, flux: ArrayLike, ivar: ArrayLike
    ) -> "_Side | None":
        plan = _plan(grid, np.asarray(wave_aa, dtype=np.float64).tobytes())
        if plan is None:
            return None
        used_flux, used_ivar = (np.asarray(a)[:, plan.pixels] for a in (flux, ivar))
        plain = used_ivar.dtype == np.float32 and used_ivar.strides[1] == used_ivar.itemsize
        return cls(plan, used_flux, used_ivar, _windows(used_ivar, plan) if plain else None)

    def add(self, block: NDArray[np.float32], rows: slice, room: "_Scratch") -> None:
        """Add some rows, at most `_BLOCK_ROWS`, to (2, n_bins, _BLOCK_ROWS) sums."""
        ivar, ivar_windows = self.ivar[rows], room.windows[0]
        if self.windows is not None and len(ivar) == _BLOCK_ROWS:
            ivar_windows = self.windows[:, :, rows]
        else:  # always the same number of rows: a sum must not depend on its company
            np.copyto(room.pixels[0, : len(ivar)], ivar, casting="same_kind")
        weighted = room.pixels[1, : len(ivar)]
        np.multiply(self.flux[rows], ivar, out=weighted, casting="same_kind")
        for total, windows in zip(block, (ivar_windows, room.windows[1]), strict=True):
            np.matmul(self.plan.members, windows, out=room.found)
            of_slots = room.found.reshape(-1, _BLOCK_ROWS)
            total[self.plan.bins] += of_slots[self.plan.slots]


class _Scratch(NamedTuple):
    """Room to sum a block of an arm's rows; that of all arms is the same memory."""

    pixels: NDArray[np.float32]  # (2, _BLOCK_ROWS, n_used) for ivar, flux·ivar
    windows: tuple[Floats, Floats]  # of both
    found: NDArray[np.float32]  # (n_windows, n_slots, _BLOCK_ROWS)

    @classmethod
    def of(cls, sides: Sequence[_Side]) -> list["_Scratch"]:
        """Make each arm's; memory of a thread is kept, as first touching it takes long."""
        shapes = [
            ((2, _BLOCK_ROWS, side.flux.shape[1]), (*side.plan.members.shape[:2], _BLOCK_ROWS))
            for side in sides
        ]
        wanted = max((prod(a) + prod(b) for a, b in shapes), default=0)
        if len(getattr(_KEPT, "memory", ())) < wanted:
            _KEPT.memory = np.zeros(wanted, dtype=np.float32)
        rooms = []
        for side, (of_pixels, of_found) in zip(sides, shapes, strict=True):
            pixels = _KEPT.memory[: prod(of_pixels)].reshape(of_pixels)
            found = _KEPT.memory[prod(of_pixels) :][: prod(of_found)].reshape(of_found)
            windows = (_windows(pixels[0], side.plan), _windows(pixels[1], side.plan))
            rooms.append(cls(pixels, windows, found))
        return rooms


def _windows(pixels: Floats, plan: _Plan) -> Floats:
    """View (n, n_pix) as (n_windows, width, n), nothing copied."""
    n_windows, _, width = plan.members.shape
    row_bytes, item_bytes = pixels.strides
    shape = (n_windows, width, len(pixels))
    strides = (plan.step * item_bytes, item_bytes, row_bytes)
    return as_strided(pixels, shape, strides, writeable=False)
