"""A redshift head's p(z) made honest on spectra it did not learn from."""

import logging
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from quasarloop.network.labelled import TrainingData
from quasarloop.network.predict import Predictor
from quasarloop.network.redshift_grid import RedshiftGrid, redshift_targets
from quasarloop.network.redshift_reading import CONFUSION, read_redshifts
from quasarloop.network.weights import Weights

__all__ = ["calibrate", "fit_error_scale", "fit_temperature"]

logger = logging.getLogger(__name__)

# Fewer quasars than this cannot say how wide p(z) should be.
_MIN_QUASARS: Final = 100
# The range of temperatures tried: half as sure to five times less sure than the head says.
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
    said = (1 - share) * log_p[row, lower] + share * log_p[row, lower + 1]
    top = log_p.max(axis=1)

    def surprise(log_t: float) -> float:
        cold = np.float32(np.exp(-log_t))
        norm = np.log(np.exp((log_p - top[:, None]) * cold).sum(axis=1, dtype=np.float64))
        return float(np.mean(norm - (said - top) * cold))

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
