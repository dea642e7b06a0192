"""Uniform wavelength grids: bins, positions, rebinning and normalising.

The numbers a QuasarNET network sees are made here, and only here: for every
survey, for the map and for training alike.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.errors import GridError

__all__ = [
    "LINEAR_GRID",
    "LOG_GRID",
    "Normalised",
    "Rebinned",
    "WaveGrid",
    "add_rebinned",
    "grid_from_edges",
    "grid_named",
    "normalise",
    "rebin",
]

Floats = NDArray[np.floating]

# Rows handled at once: their products stay in the cache (measured, see make bench).
_BLOCK_ROWS: Final = 128
# Decimals kept of a linear bin number before floor, so that pixels that divide the
# bins exactly do not fall one bin low by rounding. Source: INTEROP.md (QuasarNP).
_LINEAR_DECIMALS: Final = 10
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
            exact = np.round((wave - self.start_aa) / self.step, _LINEAR_DECIMALS)
        return np.asarray(np.floor(exact), dtype=np.int64)

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
        flux: (n, n_bins) float64, ivar-weighted mean flux; 0 where ivar is 0.
        ivar: (n, n_bins) float64, summed inverse variance.
    """

    flux: NDArray[np.float64]
    ivar: NDArray[np.float64]


class Normalised(NamedTuple):
    """Rebinned spectra brought to zero mean and unit rms.

    Attributes:
        flux: (n, n_bins) float32 network input; all 0 where `mean_flux` or `rms_flux` is unusable.
        mean_flux: (n,) float64 ivar-weighted mean, input units; NaN without any ivar.
        rms_flux: (n,) float64 ivar-weighted rms about the mean; NaN without any ivar.
    """

    flux: NDArray[np.float32]
    mean_flux: NDArray[np.float64]
    rms_flux: NDArray[np.float64]


def rebin(arms: list[tuple[ArrayLike, ArrayLike, ArrayLike]], grid: WaveGrid) -> Rebinned:
    """Rebin spectra of one or several arms onto a grid.

    Args:
        arms: ``(wave_aa, flux, ivar)`` per arm: (n_pix,) increasing, (n, n_pix), (n, n_pix).
            Flux that is not finite must come with ivar 0 and flux 0 (`spectra.clean` does it).
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
    weighted = np.zeros((n_rows, grid.n_bins))
    ivar_sum = np.zeros((n_rows, grid.n_bins))
    for wave_aa, flux, ivar in arms:
        add_rebinned(
            weighted, ivar_sum, np.asarray(wave_aa), np.asarray(flux), np.asarray(ivar), grid
        )
    np.divide(weighted, ivar_sum, out=weighted, where=ivar_sum > 0)
    return Rebinned(weighted, ivar_sum)


def add_rebinned(
    weighted: NDArray[np.float64],
    ivar_sum: NDArray[np.float64],
    wave_aa: Floats,
    flux: Floats,
    ivar: Floats,
    grid: WaveGrid,
) -> None:
    """Add one arm's flux·ivar and ivar to running sums, in place."""
    if np.any(np.diff(wave_aa) <= 0):
        raise GridError("wavelengths of an arm must increase; sort the pixels first")
    bins = grid.bin_of(wave_aa)
    first, last = np.searchsorted(bins, [0, grid.n_bins])
    if first == last:
        return
    used = bins[first:last]
    starts = np.flatnonzero(np.r_[True, np.diff(used) > 0])  # first pixel of every filled bin
    targets = used[starts]
    for row in range(0, len(flux), _BLOCK_ROWS):
        rows = slice(row, row + _BLOCK_ROWS)
        weight = ivar[rows, first:last].astype(np.float64)  # (rows, used)
        ivar_sum[rows, targets] += np.add.reduceat(weight, starts, axis=1)
        weight *= flux[rows, first:last]
        weighted[rows, targets] += np.add.reduceat(weight, starts, axis=1)


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
    values = np.asarray(flux, dtype=np.float64)
    weights = np.asarray(ivar, dtype=np.float64)
    total = weights.sum(axis=1)
    usable = total > 0
    scale = np.where(usable, total, 1.0)
    mean = np.einsum("ij,ij->i", values, weights) / scale
    centred = values - mean[:, None]
    rms = np.sqrt(np.einsum("ij,ij,ij->i", centred, centred, weights) / scale)
    # A constant spectrum leaves rounding dust of its mean, not an exact zero.
    rms = np.where(rms > np.abs(mean) * np.finfo(np.float32).eps, rms, 0.0)
    good = usable & (rms > 0)
    centred /= np.where(good, rms, 1.0)[:, None]
    centred[~good] = 0.0
    nan = np.full(len(values), np.nan)
    return Normalised(
        centred.astype(np.float32), np.where(usable, mean, nan), np.where(usable, rms, nan)
    )
