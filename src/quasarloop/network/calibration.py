"""Calibration of joint redshifts on labels: what p(z) and ZERR_JOINT promise is then true.

A redshift head gets a temperature, by which ln p(z) is divided, and an error scale. For boxes and
offsets of other networks, each line gets its shift and the width of its place errors, and all an
error scale. What quasars themselves add (`redshift_reading.line_floor`) is fitted to nothing.
"""

import logging
from dataclasses import dataclass, fields, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import t as student
from sklearn.model_selection import GroupKFold

from quasarloop.errors import TruthError
from quasarloop.grid import WaveGrid
from quasarloop.network.config import Z_MAX, NetworkConfig, RedshiftGrid
from quasarloop.network.decode import LineOutputs
from quasarloop.network.joint import CALIBRATION, FREEDOM, joint_redshifts, place_scale
from quasarloop.network.labelled import TrainingData
from quasarloop.network.options import TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.redshift_reading import CONFUSION, JointRedshifts, line_floor
from quasarloop.network.weights import Weights

__all__ = [
    "MIN_QUASARS",
    "Pulls",
    "Recalibration",
    "by_folds",
    "calibrate",
    "fit_error_scale",
    "fit_temperature",
    "place_errors",
    "recalibrate",
]

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

# Fewer quasars than this do not constrain the width of p(z).
MIN_QUASARS: Final = 100
# Parts of the objects; each is judged by what the others give.
_N_FOLDS: Final = 5
# The range of temperatures tried: from half to five times the width of the p(z) of the head.
_TEMPERATURES: Final = (0.5, 5.0)
_ONE_SIGMA: Final = 68.27  # per cent
_TWO_SIGMA: Final = 95.45
_MIDDLE: Final = (50 - _ONE_SIGMA / 2, 50.0, 50 + _ONE_SIGMA / 2)
_FAR: Final = 3.0
# Where the floor alone explains the errors, something of p(z) has to be left.
_LEAST_SCALE: Final = 0.05
# Places that measure a line: with this confidence, in the right box (farther off, in boxes, it is
# another one), at least so many.
_SURE: Final = 0.9
_BOX_HALF: Final = 0.64
_MIN_PLACES: Final = 30
# Place errors follow Student's t (`network.joint`): |t| that holds 68.27 %.
_T_ONE_SIGMA: Final = float(student.ppf(0.5 + _ONE_SIGMA / 200, FREEDOM))


class Pulls(NamedTuple):
    """(Z_JOINT - z) / ZERR_JOINT of quasars; wanted are 0, 1, 0.683, 0.954, 0.003.

    Attributes:
        n: quasars.
        confused: as many more, whose redshift is another line's; `P_ALT` is about those.
        median: of the pulls.
        width: half the range of their central 68.27 %.
        within_1, within_2, beyond_3: shares within one and two and beyond three uncertainties.
    """

    n: int
    confused: int
    median: float
    width: float
    within_1: float
    within_2: float
    beyond_3: float

    @classmethod
    def of(cls, found: JointRedshifts, z: Floats) -> "Pulls":
        """Measure redshifts against the truth, (n,) each."""
        near = _is_near(found.z, z)
        pull = (found.z - z)[near] / found.z_err[near]
        if not len(pull):
            return cls(0, len(z), *[float("nan")] * 5)
        low, middle, high = np.percentile(pull, _MIDDLE)
        size = np.abs(pull)
        shares = (float(np.mean(part)) for part in (size < 1, size < 2, size > _FAR))  # noqa: PLR2004
        n = len(pull)
        return cls(n, len(z) - n, float(middle), float(high - low) / 2, *shares)


class Recalibration(NamedTuple):
    """Weights calibrated anew, and what that did.

    Attributes:
        weights: calibrated on all quasars.
        before: pulls with the weights as they were.
        after: pulls of each fifth of the objects with what the other four give.
        n_objects: objects among the quasars.
    """

    weights: Weights
    before: Pulls
    after: Pulls
    n_objects: int


@dataclass(frozen=True)
class _Quasars:
    """Outputs for quasars of known redshift; an object's spectra share a weight of 1."""

    outputs: LineOutputs
    z: Floats
    object_id: NDArray[np.int64]
    rows: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        weights: Weights,
        data: TrainingData,
        outputs: LineOutputs | None = None,
        device: str = TrainingOptions.device,
    ) -> "_Quasars":
        head = weights.config.redshift
        z_max = Z_MAX if head is None else float(head.z[-1])
        known = data.is_qso & data.trains & (data.z > 0) & (data.z < z_max)
        rows = np.flatnonzero(known)
        found = (
            Predictor(weights, device).predict(data.flux[rows], redshifts=True)
            if outputs is None
            else outputs[rows]
        )
        return cls(found, data.z[rows], data.object_id[rows], rows)

    def __getitem__(self, rows: NDArray[np.intp]) -> "_Quasars":
        return _Quasars(self.outputs[rows], self.z[rows], self.object_id[rows], self.rows[rows])

    @property
    def share(self) -> Floats:
        _, inverse, repeats = np.unique(self.object_id, return_inverse=True, return_counts=True)
        return np.asarray(1.0 / repeats[inverse])

    def read(self, weights: Weights) -> JointRedshifts:
        return joint_redshifts(self.outputs, weights.config, weights.joint)


def calibrate(
    weights: Weights,
    held_out: TrainingData,
    outputs: LineOutputs | None = None,
    *,
    device: str = TrainingOptions.device,
) -> Weights:
    """Return the same network with its joint redshifts calibrated; unchanged if quasars are few.

    Args:
        weights: a network.
        held_out: spectra that did not train it.
        outputs: of these spectra, by networks like it that they did not train, where it learned
            from all; None to predict them with the network.
        device: where to predict.
    """
    quasars = _Quasars.of(weights, held_out, outputs, device)
    if len(quasars.z) < MIN_QUASARS:
        logger.warning("%d quasars held out: too few to calibrate redshifts", len(quasars.z))
        return weights
    return _fitted(weights, quasars)


def recalibrate(weights: Weights, data: TrainingData) -> Recalibration:
    """Calibrate joint redshifts on a survey's own labels, and judge that on other objects.

    Args:
        weights: a network.
        data: spectra that did not train it; its quasars of known redshift are used.

    Returns:
        The calibrated weights, with ``provenance["calibrated"]``, and pulls before and after.

    Raises:
        TruthError: too few quasars.
    """
    quasars = _Quasars.of(weights, data)
    after, n_objects = _by_folds(weights, quasars), len(np.unique(quasars.object_id))
    record = {
        "quasars": len(quasars.z), "objects": n_objects, "from_sha256": weights.digest(),
    }  # fmt: skip
    fitted = _fitted(weights, quasars)
    fitted = replace(fitted, provenance={**fitted.provenance, "calibrated": record})
    before = Pulls.of(quasars.read(weights), quasars.z)
    return Recalibration(fitted, before, Pulls.of(after, quasars.z), n_objects)


def by_folds(
    weights: Weights, data: TrainingData, outputs: LineOutputs | None = None
) -> tuple[NDArray[np.intp], JointRedshifts]:
    """Return joint redshifts of labelled quasars, each calibrated on other objects.

    Args:
        weights: a network.
        data: spectra that did not train it.
        outputs: as in `calibrate`.

    Returns:
        (m,) rows of the quasars of known redshift, and their redshifts.

    Raises:
        TruthError: too few quasars.
    """
    quasars = _Quasars.of(weights, data, outputs)
    return quasars.rows, _by_folds(weights, quasars)


def _by_folds(weights: Weights, quasars: _Quasars) -> JointRedshifts:
    n_objects = len(np.unique(quasars.object_id))
    if n_objects < MIN_QUASARS:
        raise TruthError(
            f"{n_objects} quasars of known redshift ({len(quasars.z)} spectra) are too few to "
            f"calibrate redshifts; {MIN_QUASARS} are needed: label more, or keep the calibration "
            "of the weights"
        )
    found = JointRedshifts(*(np.full(len(quasars.z), np.nan) for _ in range(4)))
    for others, fold in GroupKFold(_N_FOLDS).split(quasars.z, groups=quasars.object_id):
        part = quasars[fold].read(_fitted(weights, quasars[others]))
        for field in fields(found):
            getattr(found, field.name)[fold] = getattr(part, field.name)
    return found


def _fitted(weights: Weights, quasars: _Quasars) -> Weights:
    head, grid, share = weights.config.redshift, weights.config.grid, quasars.share
    if head is None:
        return _fitted_boxes(weights, quasars)
    log_p = quasars.outputs.log_p
    assert log_p is not None  # for mypy: the network has a head
    temperature = fit_temperature(log_p, quasars.z, head, share)
    plain = _with_head(weights, replace(head, temperature=temperature, error_scale=1.0))
    one, wide = fit_error_scale(quasars.read(plain), quasars.z, grid, share)
    return _with_head(weights, replace(head, temperature=temperature, error_scale=one, wide=wide))


def _with_head(weights: Weights, head: RedshiftGrid) -> Weights:
    return replace(weights, config=replace(weights.config, redshift=head))


def _fitted_boxes(weights: Weights, quasars: _Quasars) -> Weights:
    error, confidence = place_errors(quasars.outputs, quasars.z, weights.config)
    share = quasars.share
    lines: dict[str, dict[str, float]] = {}
    for column, line in enumerate(weights.config.emission_index):
        rows = np.isfinite(error[:, column]) & (confidence[:, column] > _SURE)
        if rows.sum() >= _MIN_PLACES:
            found, weight = error[rows, column], share[rows]
            shift = _percentile(found, 50.0, weight)
            scaled = np.abs(found - shift) / place_scale(confidence[rows, column], CALIBRATION)
            width = _percentile(scaled, _ONE_SIGMA, weight) / _T_ONE_SIGMA
            lines[weights.config.lines[line].column] = {"width": width, "shift": shift}

    def with_scale(error_scale: float) -> Weights:
        numbers = {"lines": lines, "error_scale": error_scale}
        return replace(weights, provenance={**weights.provenance, "joint_calibration": numbers})

    found_at_1 = quasars.read(with_scale(1.0))
    return with_scale(fit_error_scale(found_at_1, quasars.z, weights.config.grid, share)[0])


def fit_temperature(
    log_p: NDArray[np.float32], z: Floats, head: RedshiftGrid, share: Floats | None = None
) -> float:
    """Return the temperature at which p(z) at the true redshifts is most likely.

    Args:
        log_p: (n, n_z) ln p(z) up to a constant, of quasars.
        z: (n,) their redshifts, on the grid.
        head: the grid.
        share: (n,) weights of the quasars; None weighs all alike.
    """
    place = np.log10(1 + z) / head.step
    lower = np.floor(place).astype(np.int64)
    row = np.arange(len(z))
    part = place - lower
    at_truth = (1 - part) * log_p[row, lower] + part * log_p[row, lower + 1]
    top = log_p.max(axis=1)

    def surprise(log_t: float) -> float:
        cold = np.float32(np.exp(-log_t))
        norm = np.log(np.exp((log_p - top[:, None]) * cold).sum(axis=1, dtype=np.float64))
        return float(np.average(norm - (at_truth - top) * cold, weights=share))

    bounds = tuple(np.log(_TEMPERATURES))
    return float(np.exp(minimize_scalar(surprise, bounds=bounds, method="bounded").x))


def fit_error_scale(
    found: JointRedshifts, z: Floats, grid: WaveGrid, share: Floats | None = None
) -> tuple[float, float]:
    """Return the factor that puts 68.27 % of true redshifts within one uncertainty.

    And how many of these hold 95.45 %. The factor is of the width of p(z) alone; `line_floor` is
    added after. Quasars whose best peak is another line's do not count: `P_ALT` is about those.

    Args:
        found: (n,) redshifts of quasars, read with an error scale of 1.
        z: (n,) true ones.
        grid: the network's.
        share: (n,) weights of the quasars; None weighs all alike.

    Returns:
        Factor and number; 1 and 2 where no redshift is near the truth.
    """
    near = np.flatnonzero(_is_near(found.z, z))
    if not len(near):
        return 1.0, 2.0
    log_z1 = np.log1p(found.z[near])
    floor = line_floor(log_z1, grid)
    error = np.abs(log_z1 - np.log1p(z[near]))
    width = np.sqrt(np.maximum((found.z_err[near] / (1 + found.z[near])) ** 2 - floor**2, 1e-12))
    weight = None if share is None else share[near]
    # |error| < hypot(scale · width, floor) just where this is less than the scale.
    own = np.sqrt(np.maximum(error**2 - floor**2, 0)) / width
    scale = max(_percentile(own, _ONE_SIGMA, weight), _LEAST_SCALE)
    return scale, _percentile(error / np.hypot(scale * width, floor), _TWO_SIGMA, weight)


def _percentile(values: Floats, level: float, weight: Floats | None) -> float:
    if weight is None:
        return float(np.percentile(values, level))
    return float(np.percentile(values, level, weights=weight, method="inverted_cdf"))


def place_errors(outputs: LineOutputs, z: Floats, config: NetworkConfig) -> tuple[Floats, Floats]:
    """Return how far lines are found from their true places.

    Args:
        outputs: of the network, for quasars.
        z: (n,) true redshifts.
        config: its lines, boxes and grid.

    Returns:
        (n, n_emission) errors in boxes, NaN where another box is the most confident; and the
        confidence of that box.
    """
    index = list(config.emission_index)
    rest_aa = np.array([config.lines[i].wave_rest_aa for i in index])
    every, offset = outputs.confidence[:, index], outputs.offset[:, index]
    box = every.argmax(axis=2)[..., None]
    place = (box + np.take_along_axis(offset, box, axis=2))[..., 0].astype(np.float64)
    true = config.grid.position_of(rest_aa * (1 + z[:, None])) * config.n_boxes / config.grid.n_bins
    near = np.isfinite(true) & (np.abs(place - true) < _BOX_HALF)
    error = np.where(near, place - true, np.nan)
    return error, np.take_along_axis(every, box, axis=2)[..., 0].astype(np.float64)


def _is_near(found: Floats, z: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.abs(np.log((1 + found) / (1 + z))) < CONFUSION)
