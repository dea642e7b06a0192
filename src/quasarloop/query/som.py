"""The self-organizing map: its first weights, and which cell each spectrum belongs to.

Spectra are the network's own input, rebinned and normalised (paper, Section 3). A map is a
frozen table of weights, one spectrum per cell; training is in `som_train`, files in `som_files`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.engine import Engine
from quasarloop.errors import SelectionError
from quasarloop.options import check_options, option
from quasarloop.quality import UNUSABLE

__all__ = [
    "NO_CELL",
    "CellGrid",
    "SelfOrganizingMap",
    "engine_for",
    "find_winners",
    "nearest_two",
    "u_matrix",
]

# Starting workers takes longer than so many spectra through a map. Source: docs (scaling).
_ALONE_ROWS: Final = 200_000


@dataclass(frozen=True)
class CellGrid:
    """A rectangle of map cells; cell ``i`` lies in row ``i // n_columns``."""

    n_rows: int = option(45, "Cells along one side.", source="paper, Section 3: 45 x 45", low=1)
    n_columns: int = option(45, "Cells along the other side.", low=1)
    torus: bool = option(True, "Opposite edges touch.", source="released code")

    def __post_init__(self) -> None:
        check_options(self, SelectionError)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.n_rows * self.n_columns

    @cached_property
    def _axes(self) -> list[NDArray[np.float64]]:
        """Distances between rows, and between columns, in cells."""
        apart = [
            np.abs(np.arange(n)[:, None] - np.arange(n)) for n in (self.n_rows, self.n_columns)
        ]
        return [(np.minimum(a, len(a) - a) if self.torus else a).astype(np.float64) for a in apart]

    @cached_property
    def separations(self) -> NDArray[np.float64]:
        """(n_cells, n_cells) distance between cells, in cells, the short way round a torus."""
        rows, columns = self._axes
        squared = rows[:, None, :, None] ** 2 + columns[None, :, None, :] ** 2
        return np.asarray(np.sqrt(squared).reshape(self.n_cells, self.n_cells))

    @property
    def mean_separation(self) -> float:
        """Mean distance between all pairs of cells, a cell and itself included.

        The released code's neighbourhood starts from it.

        Source: docs/reference/active_learning.md, "Paper and released code".
        """
        return float(self.separations.mean())

    def smooth(self, values: NDArray[np.float64], width: float) -> NDArray[np.float64]:
        """Spread values over neighbouring cells with a Gaussian, without normalising.

        Args:
            values: (n_cells, d) or (n_cells,).
            width: standard deviation of the Gaussian, in cells.

        Returns:
            The same shape: ``sum over j of exp(-separation_ij² / 2 width²) · values_j``. A Gaussian
            of a sum of squares is a product, so each axis is smoothed by itself.
        """
        rows, columns = (np.exp(-0.5 * np.square(apart / width)) for apart in self._axes)
        stacked = values.reshape(self.n_rows, self.n_columns, -1)
        along_columns = np.matmul(columns, stacked)  # (n_rows, n_columns, d)
        spread = rows @ along_columns.reshape(self.n_rows, -1)
        return np.asarray(spread.reshape(values.shape))

    def touching(self, first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which pairs of (n,) cells touch, corners included; a cell touches itself."""
        rows, columns = self._axes
        apart_rows = rows[first // self.n_columns, second // self.n_columns]
        apart_columns = columns[first % self.n_columns, second % self.n_columns]
        return np.asarray(np.maximum(apart_rows, apart_columns) <= 1)

    def describe(self) -> str:
        """Return one line for messages and manifests."""
        return f"{self.n_rows} x {self.n_columns} {'torus' if self.torus else 'sheet'}"


# Cell of a spectrum that cannot be mapped: no data, or no variation.
NO_CELL: Final = -1
# Rows whose distances to all cells are worked out at once: 512 × 2025 float32 stay in the cache.
_BLOCK_ROWS: Final = 512


@dataclass(frozen=True)
class SelfOrganizingMap:
    """A trained map.

    Attributes:
        cells: where the cells lie.
        weights: (n_cells, n_bins) float32, the spectrum of each cell.
    """

    cells: CellGrid
    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or len(self.weights) != self.cells.n_cells:  # noqa: PLR2004 -- a table
            raise SelectionError(
                f"weights of a {self.cells.describe()} need shape ({self.cells.n_cells}, n_bins); "
                f"found {self.weights.shape}"
            )


class Winners(NamedTuple):
    """The nearest cell of each spectrum.

    Attributes:
        cell: (n,) int32; the lowest number where two are equally near; `NO_CELL` if refused.
        distance: (n,) float32 Euclidean distance to that cell's weights; NaN if refused.
    """

    cell: NDArray[np.int32]
    distance: NDArray[np.float32]


def find_winners(
    flux: NDArray[np.float32],
    weights: NDArray[np.float32],
    flags: NDArray[np.integer] | None = None,
) -> Winners:
    """Find the nearest cell of each spectrum, by float32 matrix products.

    Args:
        flux: (n, n_bins) float32, normalised.
        weights: (n_cells, n_bins) float32.
        flags: (n,) `Flag` bits; rows no network could use (`UNUSABLE`) get no cell.

    Raises:
        SelectionError: spectra and map differ in bins, or a weight is not finite.
    """
    _check_bins(flux, weights)
    cell = np.empty(len(flux), dtype=np.int32)
    distance = np.empty(len(flux), dtype=np.float32)
    for rows, scores in _scores(flux, weights):
        cell[rows] = scores.argmin(axis=1)
        # Distances from differences: |x|² + |w|² - 2 x·w would lose digits where they are small.
        apart = flux[rows] - weights[cell[rows]]  # (n, n_bins)
        distance[rows] = np.sqrt(np.einsum("ij,ij->i", apart, apart))
    if flags is not None:
        refused = (flags & UNUSABLE) != 0
        cell[refused] = NO_CELL
        distance[refused] = np.nan
    return Winners(cell, distance)


def engine_for(n_passed: int, engine: Engine | None) -> Engine:
    """Return where to bring spectra through a map: this process if they are few.

    Args:
        n_passed: spectra, times passes.
        engine: where many would be worked on; None is this process.
    """
    return Engine() if engine is None or n_passed < _ALONE_ROWS else engine


def nearest_two(
    flux: NDArray[np.float32], weights: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Find the nearest and the second nearest cell of each spectrum.

    Where they do not touch, the map tears what belongs together: the share of such spectra is
    its topographic error.

    Returns:
        Two (n,) int32; both 0 on a map of one cell.
    """
    _check_bins(flux, weights)
    first = np.zeros(len(flux), dtype=np.int32)
    second = np.zeros(len(flux), dtype=np.int32)
    for rows, scores in _scores(flux, weights):
        first[rows] = scores.argmin(axis=1)
        if len(weights) > 1:
            scores[np.arange(len(scores)), first[rows]] = np.inf
            second[rows] = scores.argmin(axis=1)
    return first, second


def u_matrix(som: SelfOrganizingMap) -> NDArray[np.float64]:
    """Mean distance between each cell's weights and those of the cells it touches.

    Returns:
        (n_rows, n_columns); high walls part regions of unlike spectra.
    """
    cells = som.cells
    index = np.arange(cells.n_cells)
    result = np.zeros(cells.n_cells)
    for i in index:
        near = np.flatnonzero(cells.touching(np.full_like(index, i), index) & (index != i))
        if len(near):
            apart = som.weights[near].astype(np.float64) - som.weights[i]
            result[i] = np.linalg.norm(apart, axis=1).mean()
    return result.reshape(cells.n_rows, cells.n_columns)


def _scores(
    flux: NDArray[np.float32], weights: NDArray[np.float32]
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Give |w|² - 2 x·w block by block; |x|² is the same for all cells and left out."""
    n_cells, n_bins = weights.shape
    # A last column of ones against |w|² makes the sum part of the matrix product.
    table = np.empty((n_bins + 1, n_cells), dtype=np.float32)
    table[:n_bins] = -2 * weights.T
    table[n_bins] = np.einsum("ij,ij->i", weights, weights, dtype=np.float64)
    padded = np.ones((_BLOCK_ROWS, n_bins + 1), dtype=np.float32)
    scores = np.empty((_BLOCK_ROWS, n_cells), dtype=np.float32)
    for start in range(0, len(flux), _BLOCK_ROWS):
        rows = slice(start, min(start + _BLOCK_ROWS, len(flux)))
        n = rows.stop - start
        padded[:n, :n_bins] = flux[rows]
        # Always the full block, so a row's result cannot depend on where the data end.
        np.matmul(padded, table, out=scores)  # (_BLOCK_ROWS, n_cells)
        yield rows, scores[:n]


def _check_bins(flux: NDArray[Any], weights: NDArray[np.float32]) -> None:
    if flux.ndim != 2 or flux.shape[1] != weights.shape[1]:  # noqa: PLR2004 -- a table
        raise SelectionError(
            f"spectra of shape {flux.shape} do not fit a map of {weights.shape[1]} bins; "
            "ingest them on the map's grid, or fit a map on theirs"
        )
    if not np.isfinite(weights).all():
        raise SelectionError("the map holds weights that are not finite; fit it again")
