"""First weights of a map: spread along principal components, or random spectra."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.query.topology import CellGrid

__all__ = ["start_on_plane", "start_on_rows"]

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
