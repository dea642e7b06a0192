"""Uniform wavelength grids: bins, positions, rebinning and normalising.

The numbers a QuasarNET network sees are made here, and only here: for every
survey, for the map and for training alike.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, NDArray

from quasarloop.errors import GridError

__all__ = [
    "LINEAR_GRID",
    "LOG_GRID",
    "Normalised",
    "Rebinned",
    "WaveGrid",
    "grid_from_edges",
    "grid_named",
    "normalise",
    "rebin",
]

Floats = NDArray[np.floating]

# Rows summed at once, and pixels between windows: the fastest of those tried in
# benchmarks/bench_rebin.py; the products of one arm stay in the cache.
_BLOCK_ROWS: Final = 32
_WINDOW_STEP: Final = 64
# Rows normalised at once, in float64; they too stay in the cache.
_NORMALISED_ROWS: Final = 64
# An rms below this part of the mean is what float32 sums leave of a constant.
_DUST: Final = 1e-6
# Wavelength solutions whose plans are kept: SDSS files start at a few dozen pixels.
_KEPT_PLANS: Final = 64
# Decimals kept of a bin number before floor, so that a pixel on an edge does not fall one bin
# low by rounding. Source: INTEROP.md for the linear grid (QuasarNP); our choice for the log one.
_BIN_DECIMALS: Final = 10
# A grid counts as uniform if no step differs from the mean by more than this part.
_UNIFORM_TOLERANCE: Final = 1e-3


@dataclass(frozen=True)
class WaveGrid:
    """A uniform grid of wavelength bins.

    Attributes:
        kind: ``"log"`` (constant step in log10 λ) or ``"linear"`` (constant step in λ).
        start_aa: lower edge of the first bin, Å.
        step: bin width: dex for ``"log"``, Å for ``"linear"``.
        n_bins: number of bins.
    """

    kind: Literal["log", "linear"]
    start_aa: float
    step: float
    n_bins: int

    def __post_init__(self) -> None:
        if self.kind not in ("log", "linear"):
            raise GridError(f"grid kind is {self.kind!r}; expected 'log' or 'linear'")
        if not (self.start_aa > 0 and self.step > 0 and self.n_bins >= 2):  # noqa: PLR2004 -- one bin has no step
            raise GridError(
                f"a grid needs start > 0 Å, step > 0 and at least 2 bins; found "
                f"start={self.start_aa}, step={self.step}, n_bins={self.n_bins}"
            )

    @cached_property
    def lower_edges_aa(self) -> NDArray[np.float64]:
        """(n_bins,) lower edge of every bin, Å (QuasarNET's grid values)."""
        index = np.arange(self.n_bins)
        return self._law_aa(index)

    @property
    def end_aa(self) -> float:
        """Upper edge of the last bin, Å."""
        return float(self._law_aa(np.array([self.n_bins]))[0])

    def bin_of(self, wave_aa: ArrayLike) -> NDArray[np.int64]:
        """Return the bin each wavelength falls into; outside bins are < 0 or >= n_bins.

        Args:
            wave_aa: (n,) wavelengths, Å.

        Returns:
            (n,) int64 bin numbers.

        Source: INTEROP.md, "Wavelength grids and preprocessing".

        >>> LINEAR_GRID.bin_of([3599.9, 3600.0, 3613.6]).tolist()
        [-1, 0, 1]
        """
        wave = np.asarray(wave_aa, dtype=np.float64)
        if self.kind == "log":
            exact = (np.log10(wave) - np.log10(self.start_aa)) / self.step
        else:
            exact = (wave - self.start_aa) / self.step
        return np.asarray(np.floor(np.round(exact, _BIN_DECIMALS)), dtype=np.int64)

    def position_of(self, wave_aa: ArrayLike) -> NDArray[np.float64]:
        """Return the fractional bin index of wavelengths, NaN outside the grid.

        Inside, it is linear interpolation between lower edges, as QuasarNET does;
        within the last bin the grid's own law goes on to its upper edge.
        """
        wave = np.asarray(wave_aa, dtype=np.float64)
        edges = np.append(self.lower_edges_aa, self.end_aa)
        inside = (wave >= edges[0]) & (wave < edges[-1])
        return np.where(inside, np.interp(wave, edges, np.arange(len(edges))), np.nan)

    def wave_at(
        self, position: ArrayLike, *, red_end: Literal["clamp", "extrapolate"] = "extrapolate"
    ) -> NDArray[np.float64]:
        """Return the wavelength at fractional bin indices, Å.

        Args:
            position: (n,) fractional bin index; 0 is the lower edge of the first bin.
            red_end: past the last lower edge, ``"clamp"`` stays there (QuasarNP) and
                ``"extrapolate"`` follows the grid's own law (ours; QuasarNET extrapolates too).

        Returns:
            (n,) wavelengths, Å. Below 0 the grid's law goes on as well, or is clamped.
        """
        pos = np.asarray(position, dtype=np.float64)
        inside = np.interp(pos, np.arange(self.n_bins), self.lower_edges_aa)
        if red_end == "clamp":
            return inside
        outside = (pos < 0) | (pos > self.n_bins - 1)
        return np.where(outside, self._law_aa(pos), inside)

    def matches(self, other: "WaveGrid") -> bool:
        """Say whether both grids have the same bins to within a thousandth of a bin."""
        return (
            self.kind == other.kind
            and self.n_bins == other.n_bins
            and bool(
                np.all(
                    np.abs(self.lower_edges_aa - other.lower_edges_aa)
                    < _UNIFORM_TOLERANCE * np.gradient(self.lower_edges_aa)
                )
            )
        )

    def describe(self) -> str:
        """Return one line for messages and manifests."""
        unit = "dex" if self.kind == "log" else "Å"
        return (
            f"{self.kind} grid, {self.n_bins} bins of {self.step:g} {unit} "
            f"from {self.start_aa:g} to {self.end_aa:.1f} Å"
        )

    def _law_aa(self, position: NDArray[np.generic]) -> NDArray[np.float64]:
        pos = np.asarray(position, dtype=np.float64)
        if self.kind == "log":
            return np.asarray(10.0 ** (np.log10(self.start_aa) + pos * self.step))
        return self.start_aa + self.step * pos


# Source: INTEROP.md. n_bins = int((log10(10000) - log10(3600)) / 1e-3).
LOG_GRID: Final = WaveGrid("log", 3600.0, 1e-3, 443)
# Source: INTEROP.md. 13.6 Å = 17 DESI pixels of 0.8 Å.
LINEAR_GRID: Final = WaveGrid("linear", 3600.0, 13.6, 458)
_NAMED: Final = {"log": LOG_GRID, "linear": LINEAR_GRID}


def grid_named(name: str) -> WaveGrid:
    """Return ``"log"`` (443 bins) or ``"linear"`` (458 bins).

    Raises:
        GridError: another name.
    """
    try:
        return _NAMED[name]
    except KeyError as exc:
        raise GridError(f"no grid named {name!r}; known: {', '.join(_NAMED)}") from exc


def grid_from_edges(lower_edges_aa: ArrayLike) -> WaveGrid:
    """Recognise a uniform grid from its lower edges (a file's ``model_grid``).

    Args:
        lower_edges_aa: (n_bins,) Å, strictly increasing.

    Raises:
        GridError: fewer than two edges, not increasing, or uniform in neither λ nor log λ.

    >>> grid_from_edges(LINEAR_GRID.lower_edges_aa) == LINEAR_GRID
    True
    """
    edges = np.asarray(lower_edges_aa, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.isfinite(edges)) or edges[0] <= 0:  # noqa: PLR2004
        raise GridError(
            f"a grid needs at least two finite positive edges in one row; found shape {edges.shape}"
        )
    for known in _NAMED.values():
        if len(edges) == known.n_bins and np.allclose(edges, known.lower_edges_aa, rtol=1e-7):
            return known
    kinds: tuple[Literal["linear", "log"], ...] = ("linear", "log")
    for kind in kinds:
        values = edges if kind == "linear" else np.log10(edges)
        steps = np.diff(values)
        mean = float(steps.mean())
        if mean > 0 and np.all(np.abs(steps - mean) < _UNIFORM_TOLERANCE * mean):
            return WaveGrid(kind, float(edges[0]), mean, len(edges))
    raise GridError(
        f"{len(edges)} edges from {edges[0]:.2f} to {edges[-1]:.2f} Å are uniform neither in "
        "wavelength nor in its logarithm; a network needs a uniform grid"
    )


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


def rebin(arms: list[tuple[ArrayLike, ArrayLike, ArrayLike]], grid: WaveGrid) -> Rebinned:
    """Rebin spectra of one or several arms onto a grid.

    Args:
        arms: ``(wave_aa, flux, ivar)`` per arm: (n_pix,) increasing, (n, n_pix), (n, n_pix).
            Flux that is not finite must come with ivar 0 and flux 0 (`quality.clean_pixels`).
        grid: the bins to fill.

    Returns:
        The ivar-weighted mean in every bin.

    Raises:
        GridError: no arm, or wavelengths that do not increase.

    Source: INTEROP.md: sum flux·ivar and ivar per bin over all arms, divide where ivar > 0.
    """
    if not arms:
        raise GridError("no arm to rebin; a spectrum needs at least one")
    n_rows = np.shape(arms[0][1])[0]
    sums = np.zeros((2, n_rows, grid.n_bins), dtype=np.float32)  # ivar, flux·ivar
    # Numbers too large for float32 become inf here, and `normalise` refuses their rows.
    with np.errstate(over="ignore", invalid="ignore"):
        for wave_aa, flux, ivar in arms:
            plan = _plan(grid, np.asarray(wave_aa, dtype=np.float64).tobytes())
            if plan is not None:
                _add_pixels(sums, plan, np.asarray(flux), np.asarray(ivar))
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

    Source: INTEROP.md.
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
    np.divide(values, rms[:, None], out=out, casting="same_kind")
    out[~good] = 0.0
    return np.where(np.isfinite(rms), mean, np.nan), np.where(np.isfinite(rms), rms, np.nan)


class _Plan(NamedTuple):
    """How the pixels of an arm are summed into bins: as products with small 0/1 matrices.

    Pixels are cut into overlapping windows, `step` apart and wide enough that each bin lies
    whole in the window its first pixel is in. One batched matrix product then sums all bins
    of all spectra, several times faster than adding bin by bin.
    """

    pixels: slice  # those on the grid
    step: int
    members: NDArray[np.float32]  # (n_windows, width, n_slots): 1 where a pixel is in a slot's bin
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
    window = starts // _WINDOW_STEP
    slot = np.arange(len(starts)) - np.searchsorted(window, window)
    # At least two slots: with one, BLAS would take another path, of other rounding.
    n_slots = max(int(slot.max()) + 1, 2)
    shape = (int(window[-1]) + 1, _WINDOW_STEP + int(counts.max()) - 1, n_slots)
    members = np.zeros(shape, dtype=np.float32)
    pixel = np.arange(len(used))
    owner = np.repeat(np.arange(len(starts)), counts)
    members[window[owner], pixel - window[owner] * _WINDOW_STEP, slot[owner]] = 1.0
    filled = used[starts]
    whole = filled[-1] - filled[0] + 1 == len(filled)
    return _Plan(
        slice(first, last),
        _WINDOW_STEP,
        members,
        window * n_slots + slot,
        slice(int(filled[0]), int(filled[-1]) + 1) if whole else filled,
    )


def _add_pixels(sums: NDArray[np.float32], plan: _Plan, flux: Floats, ivar: Floats) -> None:
    n_windows, width, n_slots = plan.members.shape
    n_used = plan.pixels.stop - plan.pixels.start
    padded = (n_windows - 1) * plan.step + width
    # The same number of rows whatever is asked for: a spectrum's sums do not depend on company.
    pixels = np.zeros((2, _BLOCK_ROWS, padded), dtype=np.float32)  # ivar, flux·ivar
    row_bytes, item_bytes = pixels.strides[1:]
    windows = as_strided(
        pixels,
        (n_windows, 2 * _BLOCK_ROWS, width),
        (plan.step * item_bytes, row_bytes, item_bytes),
        writeable=False,
    )
    found = np.empty((2 * _BLOCK_ROWS, n_windows, n_slots), dtype=np.float32)
    for start in range(0, len(flux), _BLOCK_ROWS):
        rows = slice(start, min(start + _BLOCK_ROWS, len(flux)))
        n_rows = rows.stop - start
        weight, weighted = pixels[:, :n_rows, :n_used]
        np.copyto(weight, ivar[rows, plan.pixels], casting="same_kind")
        np.multiply(flux[rows, plan.pixels], weight, out=weighted, casting="same_kind")
        np.matmul(windows, plan.members, out=found.transpose(1, 0, 2))
        of_bins = found.reshape(2, _BLOCK_ROWS, n_windows * n_slots)[:, :n_rows]
        sums[:, rows, plan.bins] += of_bins.take(plan.slots, axis=2)
