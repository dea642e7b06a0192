"""Uniform wavelength grids: bins, and positions on them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.errors import GridError

__all__ = [
    "LINEAR_GRID",
    "LOG_GRID",
    "RED_END",
    "RedEnd",
    "WaveGrid",
    "grid_from_edges",
    "grid_named",
]

# A position past the grid's red end: QuasarNP clamps it; QuasarNET, and we, extrapolate.
RedEnd = Literal["clamp", "extrapolate"]
RED_END: Final[RedEnd] = "extrapolate"

# Decimals kept of a bin number before floor, so that a pixel on an edge does not fall one bin
# low by rounding. Source: quasarnp.utils.regrid for the linear grid; our choice for the log one.
_BIN_DECIMALS: Final = 10
# More than any spectrograph has pixels: a damaged number must not become gigabytes. Our choice.
_MOST_BINS: Final = 1_000_000
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
        enough = 2 <= self.n_bins <= _MOST_BINS  # noqa: PLR2004 -- one bin has no step
        if not (self.start_aa > 0 and self.step > 0 and enough):
            raise GridError(
                f"a grid needs start > 0 Å, step > 0 and 2 to {_MOST_BINS:,} bins; found "
                f"start={self.start_aa}, step={self.step}, n_bins={self.n_bins}"
            )

    @cached_property
    def lower_edges_aa(self) -> NDArray[np.float64]:
        """(n_bins,) lower edge of every bin, Å (QuasarNET's grid values)."""
        return self._law_aa(np.arange(self.n_bins))

    @property
    def end_aa(self) -> float:
        """Upper edge of the last bin, Å."""
        return float(self._law_aa(np.array([self.n_bins]))[0])

    def bin_of(self, wave_aa: ArrayLike) -> NDArray[np.int64]:
        """Return the bin each wavelength falls into; outside bins are < 0 or >= n_bins.

        Source: docs/reference/spectra.md, "Wavelength grids".

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

    def wave_at(self, position: ArrayLike, *, red_end: RedEnd = RED_END) -> NDArray[np.float64]:
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
        """Return whether both grids have the same bins to within a thousandth of a bin."""
        if (self.kind, self.n_bins) != (other.kind, other.n_bins):
            return False
        apart = np.abs(self.lower_edges_aa - other.lower_edges_aa)
        return bool(np.all(apart < _UNIFORM_TOLERANCE * np.gradient(self.lower_edges_aa)))

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


# Source: quasarnet/io.py; n_bins = int((log10(10000) - log10(3600)) / 1e-3).
LOG_GRID: Final = WaveGrid("log", 3600.0, 1e-3, 443)
# Source: quasarnp.utils.linear_wave. 13.6 Å = 17 DESI pixels of 0.8 Å.
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
    """Recognise a uniform grid from its (n_bins,) lower edges (a file's ``model_grid``).

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
    scales: dict[Literal["linear", "log"], NDArray[np.float64]]
    scales = {"linear": edges, "log": np.log10(edges)}
    for kind, values in scales.items():
        steps = np.diff(values)
        mean = float(steps.mean())
        if mean > 0 and np.all(np.abs(steps - mean) < _UNIFORM_TOLERANCE * mean):
            return WaveGrid(kind, float(edges[0]), mean, len(edges))
    raise GridError(
        f"{len(edges)} edges from {edges[0]:.2f} to {edges[-1]:.2f} Å are uniform neither in "
        "wavelength nor in its logarithm; a network needs a uniform grid"
    )
