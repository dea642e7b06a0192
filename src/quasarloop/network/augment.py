"""Spectra moved along a logarithmic grid: the same quasar at another redshift."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.grid import WaveGrid
from quasarloop.network.loss import shift_redshift

__all__ = ["Shifted", "shift_flux", "shift_randomly"]


class Shifted(NamedTuple):
    """Moved spectra and the redshifts that belong to them.

    Attributes:
        flux: (n, n_bins) float32.
        z: (n,) float64.
        bins: (n,) int64, how far each was moved; positive towards the red.
    """

    flux: NDArray[np.float32]
    z: NDArray[np.float64]
    bins: NDArray[np.int64]


def shift_randomly(
    flux: NDArray[np.float32],
    z: NDArray[np.float64],
    empty: NDArray[np.float32],
    grid: WaveGrid,
    largest: int,
    rng: np.random.Generator,
) -> Shifted:
    """Move each spectrum by a random whole number of bins, and its redshift with it.

    Args:
        flux: (n, n_bins) normalised spectra.
        z: (n,) their redshifts (of stars too: a star moved by 40 bins is no star any more,
            but still not a quasar).
        empty: (n,) the value of a bin without data in each spectrum.
        grid: a grid uniform in log λ.
        largest: shifts are uniform in -largest … +largest.
        rng: one draw per spectrum.

    Raises:
        GridError: the grid is uniform in λ.
    """
    bins = rng.integers(-largest, largest, size=len(flux), endpoint=True)
    return Shifted(shift_flux(flux, bins, empty), shift_redshift(z, bins, grid), bins)


def shift_flux(
    flux: NDArray[np.float32], bins: NDArray[np.int64], empty: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Move each row towards the red by its number of bins; what comes in has no data.

    >>> row = np.array([[1, 2, 3]], dtype=np.float32)
    >>> shift_flux(row, np.array([1]), np.array([-9], dtype=np.float32)).tolist()
    [[-9.0, 1.0, 2.0]]
    """
    n_bins = flux.shape[1]
    origin = np.arange(n_bins) - bins[:, None]  # (n, n_bins)
    inside = (origin >= 0) & (origin < n_bins)
    moved = np.take_along_axis(flux, np.clip(origin, 0, n_bins - 1), axis=1)
    return np.where(inside, moved, empty[:, None]).astype(np.float32)
