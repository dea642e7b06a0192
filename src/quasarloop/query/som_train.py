"""Training a map: in batches, shard after shard, or one spectrum at a time.

The batch rule only needs sums over the spectra of each cell, and sums of shards add up to the
sum of all: no spectrum is kept in memory longer than its shard, and the parts are tasks of the
shared engine. What is added is rounded so that the sums are exact: any number of workers, and any
order, give the same bytes. The released code moves all cells towards one spectrum after the other.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from quasarloop.engine import Engine, keep_workers, run_tasks
from quasarloop.errors import SelectionError
from quasarloop.query.options import SomOptions
from quasarloop.query.som import CellGrid, SelfOrganizingMap, engine_for, nearest_two
from quasarloop.query.som_parts import Part, name_of_parts

__all__ = [
    "Epoch",
    "SequentialOptions",
    "fit_map",
    "fit_sequential",
    "start_on_plane",
    "start_on_rows",
]

# Tasks of a pass per worker process: a few, for each returns its sums. Source: our choice.
_TASKS_PER_WORKER: Final = 2
# Values are rounded to multiples of this: float64 adds 4e8 rows of them exactly, for a normalised
# value is at most the root of the number of bins. Source: our choice.
_STEP: Final = 2.0**-20


# Parts and rows looked at to choose the first weights.
_SAMPLE_PARTS: Final = 16
_SAMPLE_ROWS: Final = 20_000
# Rows in float64 at once.
_BLOCK_ROWS: Final = 512
# Cells that no spectrum's neighbourhood reaches keep their weights.
_LEAST_WEIGHT: Final = 1e-12

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Epoch:
    """One pass: errors are those of the map the pass started from.

    Attributes:
        number: from 1.
        width: neighbourhood, in cells.
        quantization_error: mean distance of a spectrum to its cell's weights.
        topographic_error: share of spectra whose two nearest cells do not touch.
    """

    number: int
    width: float
    quantization_error: float
    topographic_error: float

    def describe(self) -> str:
        """Return a few words for a progress line."""
        return f"error {self.quantization_error:.4f}, torn {self.topographic_error:.3f}"


class TrainedMap(NamedTuple):
    """A map and how it came to be.

    Attributes:
        som: the map.
        history: one entry per epoch.
        quantization_error: of the finished map.
        topographic_error: of the finished map.
        n_spectra: usable spectra it was trained on.
    """

    som: SelfOrganizingMap
    history: tuple[Epoch, ...]
    quantization_error: float
    topographic_error: float
    n_spectra: int

    def summary(self) -> dict[str, Any]:
        """Return the history as plain values, for a manifest."""
        return {
            "epochs": [asdict(epoch) for epoch in self.history],
            "quantization_error": self.quantization_error,
            "topographic_error": self.topographic_error,
            "n_spectra": self.n_spectra,
        }


class _Sums(NamedTuple):
    """Sums over one part: (n_cells, n_bins), (n_cells,), and two totals."""

    flux: NDArray[np.float64]
    members: NDArray[np.int64]
    distance: float
    misses: int


def fit_map(
    parts: Sequence[Part],
    cells: CellGrid,
    options: SomOptions | None = None,
    *,
    seed: int = 0,
    engine: Engine | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> TrainedMap:
    """Train a map by the batch rule.

    Args:
        parts: the data, from `parts_of_array` or `parts_of_shards`.
        cells: the map's cells.
        options: schedule and first weights.
        seed: chooses the sample that the first weights come from, and random rows.
        engine: where the parts are worked on.
        on_epoch: called after each pass.

    Raises:
        SelectionError: no usable spectrum.

    Source: T. Kohonen 1982 (paper, reference [32]); batch rule and widths are our choice.
    """
    options = options or SomOptions()
    weights = _first_weights(parts, cells, options, np.random.default_rng(seed))
    history = []
    passed = sum(part.n_rows for part in parts) * (options.n_epochs + 1)
    with keep_workers(engine_for(passed, engine)) as kept:
        for number, width in enumerate(options.widths(cells), start=1):
            sums = _pass(parts, weights, cells, kept)
            n = int(sums.members.sum())
            epoch = Epoch(number, width, sums.distance / n, sums.misses / n)
            weights = _updated(weights, sums, cells, width)
            history.append(epoch)
            log.debug("epoch %d, width %.2f cells: %s", number, width, epoch.describe())
            on_epoch(epoch)
        last = _pass(parts, weights, cells, kept)
    n = int(last.members.sum())
    som = SelfOrganizingMap(cells, weights)
    return TrainedMap(som, tuple(history), last.distance / n, last.misses / n, n)


def _first_weights(
    parts: Sequence[Part], cells: CellGrid, options: SomOptions, rng: np.random.Generator
) -> NDArray[np.float32]:
    chosen = sorted(rng.permutation(len(parts))[:_SAMPLE_PARTS])
    most = -(-_SAMPLE_ROWS // max(1, len(chosen)))
    drawn = [_some_rows(parts[index], most, rng) for index in chosen]
    if not any(len(rows) for rows in drawn):
        raise SelectionError(
            "no usable spectrum to train a map on: all are flagged without data or without "
            "variation; check the store with 'quasarloop store info'"
        )
    sample = np.concatenate(drawn)
    if options.start == "rows":
        return start_on_rows(sample, cells, rng)
    return start_on_plane(sample, cells)


def _some_rows(part: Part, most: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw rows of a part without holding more than one of its blocks."""
    kept = [block[np.sort(rng.permutation(len(block))[:most])] for block in part.blocks()]
    rows = np.concatenate(kept)
    return rows if len(rows) <= most else rows[np.sort(rng.permutation(len(rows))[:most])]


def _pass(
    parts: Sequence[Part], weights: NDArray[np.float32], cells: CellGrid, engine: Engine
) -> _Sums:
    som = SelfOrganizingMap(cells, weights)
    n_tasks = (
        len(parts) if engine.scheduler else min(len(parts), _TASKS_PER_WORKER * engine.workers)
    )
    edges = np.linspace(0, len(parts), n_tasks + 1).astype(int)
    tasks = [parts[start:stop] for start, stop in pairwise(edges)]
    report = run_tasks(_part_sums, tasks, engine=engine, shared=som, name_of=name_of_parts)
    total, *others = report.complete()
    flux, members, distance, misses = total
    for other in others:
        flux += other.flux
        members += other.members
        distance += other.distance
        misses += other.misses
    return _Sums(flux, members, distance, misses)


def _part_sums(parts: Sequence[Part], som: SelfOrganizingMap) -> _Sums:
    weights = som.weights
    flux_sum = np.zeros(weights.shape, dtype=np.float64)
    members = np.zeros(len(weights), dtype=np.int64)
    distance, misses = 0.0, 0
    for flux in (block for part in parts for block in part.blocks()):
        first, second = nearest_two(flux, weights)
        members += np.bincount(first, minlength=len(weights))
        of_cell = (np.ones(len(flux)), (first, np.arange(len(flux))))
        members_of = sparse.csr_array(of_cell, shape=(len(weights), len(flux)))
        flux_sum += np.asarray(members_of @ _rounded(flux))
        misses += int(np.count_nonzero(~som.cells.touching(first, second)))
        for start in range(0, len(flux), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            apart = np.linalg.norm(flux[rows] - weights[first[rows]], axis=1)
            distance += float(_rounded(apart).sum())
    return _Sums(flux_sum, members, distance, misses)


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return values whose sums are exact, and so the same in any order."""
    rounded: NDArray[np.float64] = np.rint(values.astype(np.float64) / _STEP) * _STEP
    return rounded


def _updated(
    weights: NDArray[np.float32], sums: _Sums, cells: CellGrid, width: float
) -> NDArray[np.float32]:
    """Move every cell to the mean of the spectra around it, weighted by distance on the map."""
    near = cells.smooth(sums.members.astype(np.float64), width)
    reached = near > _LEAST_WEIGHT
    mean = cells.smooth(sums.flux, width) / np.where(reached, near, 1.0)[:, None]
    return np.where(reached[:, None], mean, weights).astype(np.float32)


# A spectrum of broken pixels can outweigh all others in the variance; none counts for more
# than this many times the median norm. Source: our choice.
_LARGEST_NORM: Final = 3.0


def start_on_rows(
    sample: NDArray[np.float32], cells: CellGrid, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Take (n_cells, n_bins) random spectra, with repeats only where there are fewer than cells."""
    chosen = rng.choice(len(sample), cells.n_cells, replace=len(sample) < cells.n_cells)
    return sample[chosen].copy()


def start_on_plane(sample: NDArray[np.float32], cells: CellGrid) -> NDArray[np.float32]:
    """Spread the cells over the leading principal components of a (n, n_bins) sample.

    A sheet lies on the plane of the first two. A torus has no plane to lie on: its two angles
    go round in the planes of components 1, 2 and 3, 4, so that opposite edges meet.

    Returns:
        (n_cells, n_bins) float32; the same bytes for the same sample.
    """
    norm = np.sqrt(np.einsum("ij,ij->i", sample, sample, dtype=np.float64))
    limit = _LARGEST_NORM * float(np.median(norm))
    scale = np.minimum(1.0, limit / np.maximum(norm, np.finfo(float).tiny))[:, None]
    blocks = [slice(start, start + _BLOCK_ROWS) for start in range(0, len(sample), _BLOCK_ROWS)]
    mean = sum((scale[rows] * sample[rows]).sum(axis=0) for rows in blocks) / len(sample)
    covariance = np.zeros((sample.shape[1], sample.shape[1]))
    for rows in blocks:  # in float64 the whole sample would be most of a command's memory
        apart = scale[rows] * sample[rows] - mean
        covariance += apart.T @ apart
    variance, axes = np.linalg.eigh(covariance / len(sample))
    directions = axes.T[::-1] * np.sqrt(np.maximum(variance[::-1], 0.0))[:, None]
    # An eigenvector's sign is free; fix it so that every machine starts alike.
    largest = np.abs(directions).argmax(axis=1)[:, None]
    directions *= np.where(np.take_along_axis(directions, largest, axis=1) < 0, -1.0, 1.0)
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


# Width scale of the released code's neighbourhood, in cells.
_WIDTH_SCALE: Final = 0.5


@dataclass(frozen=True)
class SequentialOptions:
    """The released code's schedule.

    Attributes:
        n_iterations: times a new draw is made.
        draw_share: share of the spectra drawn each time, with replacement.
        last_rate: the rate falls geometrically from 1 to this.
    """

    n_iterations: int = 200
    draw_share: float = 0.1
    last_rate: float = 0.001

    @property
    def n_epochs(self) -> float:
        """How many times each spectrum is shown, on average."""
        return self.n_iterations * self.draw_share


def fit_sequential(
    flux: NDArray[np.float32],
    cells: CellGrid,
    options: SequentialOptions | None = None,
    *,
    seed: int = 0,
) -> SelfOrganizingMap:
    """Train a map by moving all cells towards one of (n, n_bins) usable spectra after the other.

    200 iterations, a 10 % random draw each, rate 0.001^(i/n), width
    0.5 · (mean separation)^(1 - i/n).

    Source: docs/reference/active_learning.md, "Paper and released code".
    """
    options = options or SequentialOptions()
    rng = np.random.default_rng(seed)
    spread = flux.std(axis=0, dtype=np.float64)
    weights = (spread * rng.standard_normal((cells.n_cells, flux.shape[1]))).astype(np.float32)
    n_drawn = max(1, round(options.draw_share * len(flux)))
    for iteration in range(options.n_iterations):
        progress = iteration / options.n_iterations
        rate = options.last_rate**progress
        width = _WIDTH_SCALE * cells.mean_separation ** (1.0 - progress)
        near = np.exp(-0.5 * np.square(cells.separations / width)) * rate  # (n_cells, n_cells)
        pull = near.astype(np.float32)
        for row in rng.integers(len(flux), size=n_drawn):
            apart = flux[row] - weights  # (n_cells, n_bins)
            winner = int(np.einsum("ij,ij->i", apart, apart).argmin())
            weights += pull[winner, :, None] * apart
    return SelfOrganizingMap(cells, weights)
