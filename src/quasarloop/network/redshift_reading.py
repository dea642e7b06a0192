"""From a redshift head's p(z) to a redshift, its uncertainty, and the next best one."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from quasarloop.network.config import RedshiftGrid
from quasarloop.network.labelled import TrainingData
from quasarloop.network.loss import redshift_targets
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import Weights

__all__ = [
    "CONFUSION",
    "JointRedshifts",
    "Peaks",
    "calibrate",
    "choose_peak",
    "fit_error_scale",
    "fit_temperature",
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
        z_err: (n,) float64, standard deviation of z.
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


def read_redshifts(log_p: NDArray[np.float32], head: RedshiftGrid) -> JointRedshifts:
    """Read p(z): the peak of most mass, and the next.

    Args:
        log_p: (n, n_z) ln p(z) up to a constant; rows that are not finite give NaN.
        head: its redshifts and calibration.
    """
    return choose_peak(read_peaks(log_p, head))


def choose_peak(peaks: Peaks) -> JointRedshifts:
    """Return the redshifts of the two peaks of most mass."""
    order = np.argsort(-peaks.mass, axis=1, kind="stable")
    log_z1, sigma, mass = (np.take_along_axis(v, order, axis=1) for v in peaks)
    there = ~(mass[:, 1] <= 0)
    z1 = np.exp(log_z1)
    return JointRedshifts(
        z1[:, 0] - 1,
        sigma[:, 0] * z1[:, 0],
        np.where(there, z1[:, 1] - 1, np.nan),
        np.where(there, mass[:, 1], 0.0),
    )


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


logger = logging.getLogger(__name__)

# Fewer quasars than this do not constrain the width of p(z).
_MIN_QUASARS: Final = 100
# The range of temperatures tried: from half to five times the width of the p(z) of the head.
_TEMPERATURES: Final = (0.5, 5.0)
_ONE_SIGMA: Final = 68.27  # per cent
_TWO_SIGMA: Final = 95.45


def calibrate(weights: Weights, held_out: TrainingData) -> Weights:
    """Return the same network with temperature and error scales of its redshift head fitted.

    Args:
        weights: a network; one without a redshift head comes back as it is.
        held_out: spectra that did not train it.
    """
    head = weights.config.redshift
    if head is None:
        return weights
    true = redshift_targets(held_out.spectype, held_out.z, held_out.trains, head)
    rows = np.flatnonzero(true.weight)
    if len(rows) < _MIN_QUASARS:
        logger.warning("%d quasars held out: too few to calibrate redshifts", len(rows))
        return weights
    log_p = Predictor(weights).predict(held_out.flux[rows], redshifts=True).log_p
    assert log_p is not None  # for mypy: the network has a head
    z = held_out.z[rows]
    fitted = replace(head, temperature=fit_temperature(log_p, z, head), error_scale=1.0)
    one, wide = fit_error_scale(log_p, z, fitted)
    fitted = replace(fitted, error_scale=one, wide=wide)
    return replace(weights, config=replace(weights.config, redshift=fitted))


def fit_temperature(
    log_p: NDArray[np.float32], z: NDArray[np.float64], head: RedshiftGrid
) -> float:
    """Return the temperature at which p(z) at the true redshifts is most likely.

    Args:
        log_p: (n, n_z) ln p(z) up to a constant, of quasars.
        z: (n,) their redshifts, on the grid.
        head: the grid.
    """
    place = np.log10(1 + z) / head.step
    lower = np.floor(place).astype(np.int64)
    row = np.arange(len(z))
    share = place - lower
    at_truth = (1 - share) * log_p[row, lower] + share * log_p[row, lower + 1]
    top = log_p.max(axis=1)

    def surprise(log_t: float) -> float:
        cold = np.float32(np.exp(-log_t))
        norm = np.log(np.exp((log_p - top[:, None]) * cold).sum(axis=1, dtype=np.float64))
        return float(np.mean(norm - (at_truth - top) * cold))

    bounds = tuple(np.log(_TEMPERATURES))
    return float(np.exp(minimize_scalar(surprise, bounds=bounds, method="bounded").x))


def fit_error_scale(
    log_p: NDArray[np.float32], z: NDArray[np.float64], head: RedshiftGrid
) -> tuple[float, float]:
    """Return the factor that puts 68.27 % of true redshifts within one uncertainty.

    And how many of these hold 95.45 %. Quasars whose best peak is another line's do not count:
    `P_ALT` is about those.
    """
    found = read_redshifts(log_p, head)
    near = np.abs(np.log((1 + found.z) / (1 + z))) < CONFUSION
    if not near.any():
        return head.error_scale, head.wide
    pull = np.abs(found.z - z)[near] / found.z_err[near]
    one, two = np.percentile(pull, (_ONE_SIGMA, _TWO_SIGMA))
    return head.error_scale * float(one), float(two / one)
