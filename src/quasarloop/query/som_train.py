"""Training a map: in batches, shard after shard, or one spectrum at a time.

The batch rule only needs sums over the spectra of each cell, and sums of shards add up to the
sum of all: no spectrum is kept in memory longer than its shard, and the parts are tasks of the
shared engine, added in a fixed order so that any number of workers gives the same bytes.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from quasarloop.engine import Engine, run_tasks
from quasarloop.errors import SelectionError
from quasarloop.query.som import SelfOrganizingMap, nearest_two, start_on_plane, start_on_rows
from quasarloop.query.som_parts import Part, name_of_part, parts_of_array, parts_of_shards
from quasarloop.query.topology import CellGrid

__all__ = [
    "Epoch",
    "SequentialOptions",
    "SomOptions",
    "TrainedMap",
    "fit_map",
    "fit_sequential",
    "parts_of_array",
    "parts_of_shards",
]

# Parts and rows looked at to choose the first weights.
_SAMPLE_PARTS: Final = 16
_SAMPLE_ROWS: Final = 20_000
# Cells that no spectrum's neighbourhood reaches keep their weights.
_LEAST_WEIGHT: Final = 1e-12

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SomOptions:
    """How a map is trained.

    Attributes:
        n_epochs: passes over the data.
        first_width: neighbourhood at the start, in cells; None is half the mean separation of
            cells, where the released code's shrinks from (INTEROP.md, up to its exponent).
        last_width: neighbourhood of the last epoch, in cells (released code: 0.5).
        start: first weights: ``"plane"`` of principal components, or random ``"rows"``.
    """

    n_epochs: int = 30
    first_width: float | None = None
    last_width: float = 0.5
    start: Literal["plane", "rows"] = "plane"

    def __post_init__(self) -> None:
        if self.n_epochs < 1 or self.last_width <= 0:
            raise SelectionError(
                f"a map needs at least 1 epoch and a width above 0 cells; found "
                f"{self.n_epochs} epochs, last width {self.last_width}"
            )
        if self.start not in ("plane", "rows"):
            raise SelectionError(f"start is {self.start!r}; expected 'plane' or 'rows'")

    def widths(self, cells: CellGrid) -> list[float]:
        """Return the neighbourhood width of every epoch, in cells, shrinking geometrically."""
        first = self.first_width or max(0.5 * cells.mean_separation, self.last_width)
        return [float(w) for w in np.geomspace(first, self.last_width, self.n_epochs)]


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
    """What one part says: (n_cells, n_bins), (n_cells,), and three totals."""

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
    on_epoch: Callable[[Epoch], None] | None = None,
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
    for number, width in enumerate(options.widths(cells), start=1):
        sums = _pass(parts, weights, cells, engine)
        n = int(sums.members.sum())
        epoch = Epoch(number, width, sums.distance / n, sums.misses / n)
        weights = _updated(weights, sums, cells, width)
        history.append(epoch)
        log.debug("epoch %d, width %.2f cells: %s", number, width, epoch.describe())
        if on_epoch is not None:
            on_epoch(epoch)
    last = _pass(parts, weights, cells, engine)
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
    parts: Sequence[Part],
    weights: NDArray[np.float32],
    cells: CellGrid,
    engine: Engine | None,
) -> _Sums:
    report = run_tasks(
        _part_sums,
        list(parts),
        engine=engine,
        shared=SelfOrganizingMap(cells, weights),
        name_of=name_of_part,
    )
    total, *others = report.complete()
    flux, members, distance, misses = total
    for other in others:  # in the order of the parts, so that rounding is always the same
        flux += other.flux
        members += other.members
        distance += other.distance
        misses += other.misses
    if not members.any():
        raise SelectionError("no usable spectrum to train a map on; check the store's flags")
    return _Sums(flux, members, distance, misses)


def _part_sums(part: Part, som: SelfOrganizingMap) -> _Sums:
    weights = som.weights
    flux_sum = np.zeros(weights.shape, dtype=np.float64)
    members = np.zeros(len(weights), dtype=np.int64)
    distance, misses = 0.0, 0
    for flux in part.blocks():
        first, second = nearest_two(flux, weights)
        members += np.bincount(first, minlength=len(weights))
        flux_sum += _sum_by_cell(flux, first, len(weights))
        misses += int(np.count_nonzero(~som.cells.touching(first, second)))
        distance += float(
            sum(
                np.linalg.norm(flux[i : i + 512] - weights[first[i : i + 512]], axis=1).sum()
                for i in range(0, len(flux), 512)
            )
        )
    return _Sums(flux_sum, members, distance, misses)


def _sum_by_cell(
    flux: NDArray[np.float32], cell: NDArray[np.int32], n_cells: int
) -> NDArray[np.floating]:
    member = sparse.csr_array(
        (np.ones(len(cell), dtype=np.float32), (cell, np.arange(len(cell)))),
        shape=(n_cells, len(cell)),
    )
    return np.asarray(member @ flux)  # (n_cells, n_bins)


def _updated(
    weights: NDArray[np.float32], sums: _Sums, cells: CellGrid, width: float
) -> NDArray[np.float32]:
    """Move every cell to the mean of the spectra around it, weighted by distance on the map."""
    near = cells.smooth(sums.members.astype(np.float64), width)
    reached = near > _LEAST_WEIGHT
    mean = cells.smooth(sums.flux, width) / np.where(reached, near, 1.0)[:, None]
    return np.where(reached[:, None], mean, weights).astype(np.float32)


# Width scale of the released code's neighbourhood, in cells (INTEROP.md: 0.5 · mean separation^…).
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
    """Train a map by moving all cells towards one spectrum after the other.

    Args:
        flux: (n, n_bins) float32, normalised; all usable.
        cells: the map's cells.
        options: schedule.
        seed: first weights and draws.

    Source: INTEROP.md, "SOM training": 200 iterations, a 10 % random draw each, rate
    0.001^(i/n), width 0.5 · (mean separation)^(1 - i/n).
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
