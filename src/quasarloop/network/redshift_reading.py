"""From a redshift head's p(z) to a redshift, its uncertainty, and the next best one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.grid import WaveGrid
from quasarloop.lines import SCATTER_KMS
from quasarloop.network.config import NetworkConfig, RedshiftGrid

__all__ = [
    "CONFUSION",
    "JointRedshifts",
    "Peaks",
    "choose_peak",
    "line_floor",
    "read_peaks",
    "read_redshifts",
    "row_blocks",
]

Floats = NDArray[np.float64]

# Peaks nearer than this in ln(1 + z) are one: 15,000 km/s. Source: our choice.
CONFUSION: Final = 0.05
_N_PEAKS: Final = 3
# A peak is measured this far to both sides, in ln(1 + z): 6000 km/s. Our choice.
_REACH: Final = 0.02
_BLOCK_ROWS: Final = 128  # the arrays of a block stay in the processor's cache


@dataclass(frozen=True)
class JointRedshifts:
    """Redshifts from all lines together.

    Attributes:
        z: (n,) float64; NaN where the outputs are not finite or no line proposes a redshift.
        z_err: (n,) float64, standard deviation of z, that of the quasar's lines (`line_floor`)
            included.
        z_alt: (n,) float64, the next peak of p(z) more than `CONFUSION` away; NaN without any.
        p_alt: (n,) float64, its probability, at most 0.5; 0 without any, NaN where z is.
    """

    z: Floats
    z_err: Floats
    z_alt: Floats
    p_alt: Floats

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.z)


class Peaks(NamedTuple):
    """The highest peaks of p(z), (n, 3) float64 each, highest first; NaN in rows not finite.

    Attributes:
        log_z1: mean ln(1 + z) of p(z) around the peak.
        sigma: uncertainty of that.
        mass: share of p(z) within `CONFUSION`; 0 for a peak that is none.
    """

    log_z1: Floats
    sigma: Floats
    mass: Floats


def read_redshifts(log_p: NDArray[np.float32], config: NetworkConfig) -> JointRedshifts:
    """Read p(z): the peak of most mass, and the next.

    Args:
        log_p: (n, n_z) ln p(z) up to a constant; rows that are not finite give NaN.
        config: of the network; it has a redshift head.
    """
    assert config.redshift is not None  # for mypy
    return choose_peak(read_peaks(log_p, config.redshift), config.grid)


def choose_peak(peaks: Peaks, grid: WaveGrid) -> JointRedshifts:
    """Return the redshifts of the two peaks of most mass; ``grid`` is the network's."""
    order = np.argsort(-peaks.mass, axis=1, kind="stable")
    log_z1, sigma, mass = (np.take_along_axis(v, order, axis=1) for v in peaks)
    there = ~(mass[:, 1] <= 0)
    z1 = np.exp(log_z1)
    return JointRedshifts(
        z1[:, 0] - 1,
        np.hypot(sigma[:, 0], line_floor(log_z1[:, 0], grid)) * z1[:, 0],
        np.where(there, z1[:, 1] - 1, np.nan),
        np.where(there, mass[:, 1], 0.0),
    )


def line_floor(log_z1: Floats, grid: WaveGrid) -> Floats:
    """Return how uncertain a quasar's redshift is, however well its lines are measured.

    Lines are shifted against each other and the systemic redshift. What those on the grid leave
    together is added to every uncertainty in quadrature.

    Args:
        log_z1: (n,) ln(1 + z).
        grid: the network's.

    Returns:
        (n,) standard deviation of ln(1 + z): 1 / sqrt(sum of 1 / scatter²) over the lines on the
        grid; the largest scatter where there is none.

    Source: `quasarloop.lines.SCATTER_KMS`; compared with other floors in
    docs/measurements/redshifts.md.
    """
    rest_aa = np.array(list(SCATTER_KMS))
    scatter = np.array(list(SCATTER_KMS.values())) / SPEED_OF_LIGHT_KMS
    wave_aa = np.exp(log_z1)[:, None] * rest_aa  # (n, lines)
    seen = (wave_aa >= grid.start_aa) & (wave_aa < grid.end_aa)
    precision = np.maximum(seen @ scatter**-2.0, scatter.max() ** -2.0)
    return np.asarray(1 / np.sqrt(precision))


def read_peaks(log_p: NDArray[np.float32], head: RedshiftGrid) -> Peaks:
    """Find and measure the highest peaks; arguments as `read_redshifts`."""
    result = Peaks(*(np.full((len(log_p), _N_PEAKS), np.nan) for _ in range(3)))
    finite = np.flatnonzero(np.isfinite(log_p).all(axis=1))
    for rows in row_blocks(finite, _BLOCK_ROWS):
        for whole, part in zip(result, _of_block(log_p[rows], head), strict=True):
            whole[rows] = part
    return result


def _of_block(log_p: NDArray[np.float32], head: RedshiftGrid) -> Peaks:
    log_step = head.step * np.log(10)  # in ln(1 + z)
    apart, reach = round(CONFUSION / log_step), max(round(_REACH / log_step), 1)
    # What no peak has taken yet, with room on both sides.
    left = np.zeros((len(log_p), log_p.shape[1] + 2 * apart), np.float32)
    p = left[:, apart:-apart]
    np.subtract(log_p, log_p.max(axis=1, keepdims=True), out=p)
    p /= np.float32(head.temperature)
    np.exp(p, out=p)
    whole = p.sum(axis=1, dtype=np.float64)
    windows = sliding_window_view(left, 2 * apart + 1, axis=1, writeable=True)
    row, around = np.arange(len(p)), np.arange(-reach, reach + 1)
    mass, mean, spread = (np.zeros((len(p), _N_PEAKS)) for _ in range(3))
    for peak in range(_N_PEAKS):
        best = p.argmax(axis=1)
        here = windows[row, best]  # (n, 2 apart + 1)
        near = here[:, apart - reach : apart + reach + 1].astype(np.float64)
        mass[:, peak] = here.sum(axis=1, dtype=np.float64)
        norm = np.maximum(near.sum(axis=1), np.finfo(float).tiny)
        middle = near @ around / norm
        mean[:, peak] = best + middle
        spread[:, peak] = near @ around**2 / norm - middle**2
        windows[row, best] = 0.0
    # Between two neighbours of the grid p(z) has no more detail: a twelfth of a step squared.
    sigma = head.error_scale * np.sqrt(np.maximum(spread, 1 / 12)) * log_step
    return Peaks(mean * log_step, sigma, mass / whole[:, None])


def row_blocks(rows: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    """Yield row numbers, so many at a time."""
    return (rows[start : start + size] for start in range(0, len(rows), size))
