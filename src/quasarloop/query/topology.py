"""Where the cells of a map lie: a rectangle of cells, wrapped to a torus by default."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import SelectionError

__all__ = ["MAP_SIDE", "CellGrid"]

# Source: paper, Figure 2: "45 cells on each side".
MAP_SIDE: Final = 45


@dataclass(frozen=True)
class CellGrid:
    """A rectangle of map cells; cell ``i`` lies in row ``i // n_columns``.

    Attributes:
        n_rows: cells along the first axis.
        n_columns: cells along the second axis.
        torus: opposite edges touch (released code; INTEROP.md).
    """

    n_rows: int = MAP_SIDE
    n_columns: int = MAP_SIDE
    torus: bool = True

    def __post_init__(self) -> None:
        if self.n_rows < 1 or self.n_columns < 1:
            raise SelectionError(
                f"a map needs at least one row and one column of cells; found "
                f"{self.n_rows} x {self.n_columns}"
            )

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.n_rows * self.n_columns

    @cached_property
    def separations(self) -> NDArray[np.float64]:
        """(n_cells, n_cells) distance between cells, in cells, the short way round a torus."""
        rows = _axis_separation(self.n_rows, torus=self.torus)
        columns = _axis_separation(self.n_columns, torus=self.torus)
        squared = rows[:, None, :, None] ** 2 + columns[None, :, None, :] ** 2
        return np.asarray(np.sqrt(squared).reshape(self.n_cells, self.n_cells))

    @property
    def mean_separation(self) -> float:
        """Mean distance between all pairs of cells, a cell and itself included.

        It is the scale the released code starts its neighbourhood from (INTEROP.md).
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
        rows = _gaussian(_axis_separation(self.n_rows, torus=self.torus), width)
        columns = _gaussian(_axis_separation(self.n_columns, torus=self.torus), width)
        stacked = values.reshape(self.n_rows, self.n_columns, -1)
        along_columns = np.matmul(columns, stacked)  # (n_rows, n_columns, d)
        spread = rows @ along_columns.reshape(self.n_rows, -1)
        return np.asarray(spread.reshape(values.shape))

    def touching(self, first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
        """Say which pairs of cells touch, corners included; a cell touches itself.

        Args:
            first: (n,) cells.
            second: (n,) cells.
        """
        rows = _axis_separation(self.n_rows, torus=self.torus)
        columns = _axis_separation(self.n_columns, torus=self.torus)
        apart_rows = rows[first // self.n_columns, second // self.n_columns]
        apart_columns = columns[first % self.n_columns, second % self.n_columns]
        return np.asarray(np.maximum(apart_rows, apart_columns) <= 1)

    def describe(self) -> str:
        """Return one line for messages and manifests."""
        return f"{self.n_rows} x {self.n_columns} {'torus' if self.torus else 'sheet'}"


def _axis_separation(n: int, *, torus: bool) -> NDArray[np.float64]:
    index = np.arange(n)
    apart = np.abs(index[:, None] - index).astype(np.float64)
    return np.asarray(np.minimum(apart, n - apart)) if torus else apart


def _gaussian(separation: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * np.square(separation / width)))
