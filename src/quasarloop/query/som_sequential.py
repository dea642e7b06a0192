"""The released code's training of a map: all cells move towards one spectrum after the other."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.query.som import CellGrid, SelfOrganizingMap

__all__ = ["SequentialOptions", "fit_sequential"]

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
