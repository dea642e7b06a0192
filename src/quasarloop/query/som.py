"""The self-organizing map: its first weights, and which cell each spectrum belongs to.

Spectra are the network's own input, rebinned and normalised (paper, Section 3). A map is a
frozen table of weights, one spectrum per cell; training is in `som_train`, files in `som_file`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import SelectionError
from quasarloop.quality import UNUSABLE
from quasarloop.query.topology import CellGrid

__all__ = [
    "NO_CELL",
    "SelfOrganizingMap",
    "Winners",
    "cell_counts",
    "find_winners",
    "nearest_two",
    "start_on_plane",
    "start_on_rows",
    "u_matrix",
]

# Cell of a spectrum that cannot be mapped: no data, or no variation.
NO_CELL: Final = -1
# Rows whose distances to all cells are worked out at once: 512 × 2025 float32 stay in the cache.
_BLOCK_ROWS: Final = 512


@dataclass(frozen=True)
class SelfOrganizingMap:
    """A trained map.

    Attributes:
        cells: where the cells lie.
        weights: (n_cells, n_bins) float32, the spectrum each cell stands for.
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

    Returns:
        Cells and distances.

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


def cell_counts(cell: NDArray[np.integer], cells: CellGrid) -> NDArray[np.int64]:
    """Count spectra in every cell, the empty ones too, up to the last.

    Args:
        cell: (n,) cells; `NO_CELL` is not counted.
        cells: the map's cells.

    Returns:
        (n_cells,) int64.

    >>> cell_counts(np.array([0, 0, -1]), CellGrid(2, 2)).tolist()
    [2, 0, 0, 0]
    """
    known = cell[cell != NO_CELL]
    if len(known) and (known.min() < 0 or known.max() >= cells.n_cells):
        raise SelectionError(
            f"cells run from {known.min()} to {known.max()}, but a {cells.describe()} has "
            f"{cells.n_cells}; the assignment belongs to another map"
        )
    return np.bincount(known, minlength=cells.n_cells)


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


# A spectrum of broken pixels can outweigh all others in the variance; none counts for more
# than this many times the median norm. Source: our choice.
_LARGEST_NORM: Final = 3.0


def start_on_rows(
    sample: NDArray[np.float32], cells: CellGrid, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Take random spectra, with repeats only where there are fewer than cells.

    Args:
        sample: (n, n_bins) float32.
        cells: the map's cells.
        rng: source of randomness.

    Returns:
        (n_cells, n_bins) float32.
    """
    chosen = rng.choice(len(sample), cells.n_cells, replace=len(sample) < cells.n_cells)
    return sample[chosen].copy()


def start_on_plane(sample: NDArray[np.float32], cells: CellGrid) -> NDArray[np.float32]:
    """Spread the cells over the leading principal components of a sample.

    A sheet lies on the plane of the first two. A torus has no plane to lie on: its two angles
    go round in the planes of components 1, 2 and 3, 4, so that opposite edges meet.

    Args:
        sample: (n, n_bins) float32.
        cells: the map's cells.

    Returns:
        (n_cells, n_bins) float32; the same bytes for the same sample.
    """
    values = sample.astype(np.float64)
    norm = np.linalg.norm(values, axis=1)
    limit = _LARGEST_NORM * float(np.median(norm))
    values *= np.minimum(1.0, limit / np.maximum(norm, np.finfo(float).tiny))[:, None]
    mean = values.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov(values - mean, rowvar=False, bias=True))
    directions = axes.T[::-1] * np.sqrt(np.maximum(variance[::-1], 0.0))[:, None]
    directions *= _signs(directions)[:, None]
    row, column = np.divmod(np.arange(cells.n_cells), cells.n_columns)
    if cells.torus:
        angles = 2 * np.pi * np.stack([row / cells.n_rows, column / cells.n_columns])
        steps = np.stack(
            [np.cos(angles[0]), np.sin(angles[0]), np.cos(angles[1]), np.sin(angles[1])]
        )
    else:
        steps = np.stack([_centred(row, cells.n_rows), _centred(column, cells.n_columns)])
    used = min(len(steps), len(directions))
    return np.asarray(mean + steps[:used].T @ directions[:used], dtype=np.float32)


def _centred(index: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    return 2.0 * index / max(1, n - 1) - 1.0


def _signs(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    # An eigenvector's sign is free; fix it so that every machine starts alike.
    largest = np.abs(directions).argmax(axis=1)
    return np.where(directions[np.arange(len(directions)), largest] < 0, -1.0, 1.0)
