"""Fit a `JointCalibration` to the outputs of a network for quasars of known redshift."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from quasarloop.network.calibration import fit_error_scale, place_errors
from quasarloop.network.config import NetworkConfig
from quasarloop.network.decode import LineOutputs, classify_finds, decode
from quasarloop.network.joint import (
    CALIBRATION,
    Z_RANGE,
    JointCalibration,
    LineEvidence,
    LineTrust,
    joint_redshifts,
)

# Redshifts of the fit, in ln(1 + z); a tenth of a box of the log grid is 0.008.
_STEP = 0.004
# A redshift counts as found within this, in ln(1 + z): half of `joint.CONFUSION`.
_NEAR = 0.024
_FREEDOM = 7
_SURE = 0.99
_MIN_LINES = 50
_STEPS = 60
_RATE = 0.1
_MIN_FLOOR = 1e-5
# Lines are taken to be alike: spread of ln(tempering), ln(absence), ln(floor) over them. Few
# quasars are confused, and lines fitted freely would follow those few.
_ALIKE = (0.05, 0.3, 0.3)


class Answer(NamedTuple):
    """Outputs of a network for quasars, and their truth; rows agree."""

    outputs: LineOutputs
    z: NDArray[np.float64]
    sn: NDArray[np.float32]


def fit_calibration(answers: list[Answer], config: NetworkConfig) -> JointCalibration:
    """Fit widths to place errors, trust to p(z) at the true redshift, the scale to pulls.

    Args:
        answers: of one network, or of several of one shape. Several are brought to their common
            place first, and the calibration is then one for any network: its shift is 0.
        config: lines, boxes and grid.
    """
    columns = [config.lines[i].column for i in config.emission_index]
    shift = 0.0
    if len(answers) == 1:
        shift = _shift(answers[0], config)
        answer = answers[0]
    else:
        answer = _together([_moved(a, _shift(a, config)) for a in answers])
    error, confidence = place_errors(answer.outputs, answer.z, config)
    widths, growth = _fit_widths(error - shift, confidence)
    start = {c: LineTrust(w, 0.5, 0.2, 0.002, shift) for c, w in zip(columns, widths, strict=True)}
    first = JointCalibration(start, growth, 1.0)
    power, absence, floor = _fit_trust(answer, config, first)
    lines = {
        c: LineTrust(*(float(v) for v in values), shift)
        for c, *values in zip(columns, widths, power, absence, floor, strict=True)
    }
    second = JointCalibration(lines, growth, 1.0)
    called = np.flatnonzero(classify_finds(decode(answer.outputs, config), config).is_qso)
    found = joint_redshifts(answer.outputs[called], config, second)
    scale, _ = fit_error_scale(found, answer.z[called], config.grid)
    return JointCalibration(lines, growth, scale)


def as_code(calibration: JointCalibration) -> str:
    """Print it as `joint_calibration.py` holds it."""
    rows = [
        f'        "{column}": LineTrust({", ".join(f"{v:.5g}" for v in trust)}),'
        for column, trust in calibration.lines.items()
    ]
    return "\n".join(
        [
            "CALIBRATION: Final = JointCalibration(",
            "    lines={",
            *rows,
            "    },",
            f"    growth={calibration.growth:.3f},",
            f"    error_scale={calibration.error_scale:.3f},",
            ")",
        ]
    )


def _shift(answer: Answer, config: NetworkConfig) -> float:
    error, confidence = place_errors(answer.outputs, answer.z, config)
    return float(np.nanmedian(error[confidence > _SURE]))


def _moved(answer: Answer, shift: float) -> Answer:
    outputs = LineOutputs(answer.outputs.confidence, answer.outputs.offset - np.float32(shift))
    return Answer(outputs, answer.z, answer.sn)


def _together(answers: list[Answer]) -> Answer:
    confidence, offset = (
        np.concatenate([getattr(a.outputs, name) for a in answers])
        for name in ("confidence", "offset")
    )
    z, sn = (np.concatenate([getattr(a, name) for a in answers]) for name in ("z", "sn"))
    return Answer(LineOutputs(confidence, offset), z, sn)


def _fit_widths(
    error: NDArray[np.float64], confidence: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Most likely scales of Student's t per line, and how they grow with doubt."""
    known = np.isfinite(error)
    rare = known.sum(axis=0) < _MIN_LINES
    usual = np.array([list(t) for t in CALIBRATION.lines.values()])[:, 0].mean()

    def loss(x: NDArray[np.float64]) -> float:
        scale = np.exp(x[:-1]) * (1 + np.exp(x[-1]) * (1 - confidence))
        apart = (error / scale)[known]
        return float(
            np.mean((_FREEDOM + 1) / 2 * np.log1p(apart**2 / _FREEDOM) + np.log(scale[known]))
        )

    start = np.log([*np.full(error.shape[1], usual), 5.0])
    best = np.exp(minimize(loss, start, method="L-BFGS-B").x)
    return np.where(rare, usual, best[:-1]), float(best[-1])


def _fit_trust(
    answer: Answer, config: NetworkConfig, calibration: JointCalibration
) -> tuple[NDArray[np.float64], ...]:
    """Minimise the surprise at the true redshift: of its density, and of its neighbourhood."""
    grid = np.arange(*np.log1p(Z_RANGE), _STEP)
    here, absent = _features(LineEvidence.of(answer.outputs, config, calibration), grid)
    true = torch.tensor(np.clip(np.round(np.log1p(answer.z) / _STEP), 0, len(grid) - 1)).long()
    logs = [
        torch.full((here.shape[1],), float(np.log(v)), requires_grad=True)
        for v in (0.45, 0.3, 0.005)
    ]
    optimiser = torch.optim.Adam(logs, _RATE)
    for _ in range(_STEPS):
        optimiser.zero_grad()
        power, absence, floor = (v.exp()[:, None] for v in logs)
        log_p = (power * (here + absence * absent + floor + _MIN_FLOOR).log()).sum(dim=1)
        unlike = sum(
            ((v - v.mean()) ** 2).sum() / (2 * s**2) for v, s in zip(logs, _ALIKE, strict=True)
        )
        loss = _surprise(log_p, true) + unlike / len(true)
        loss.backward()
        optimiser.step()
    power, absence, floor = (v.detach().exp().double().numpy() for v in logs)
    return power, absence, floor + _MIN_FLOOR


def _surprise(log_p: Tensor, true: Tensor) -> Tensor:
    rows = torch.arange(len(true))
    p = log_p.softmax(dim=1)
    cumulative = torch.cat([torch.zeros(len(p), 1), p.cumsum(dim=1)], dim=1)
    reach = round(_NEAR / _STEP)
    high = (true + reach + 1).clamp(max=p.shape[1])
    near = cumulative[rows, high] - cumulative[rows, (true - reach).clamp(min=0)]
    point = log_p[rows, true] - log_p.logsumexp(dim=1)
    return -(point + (near + 1e-9).log()).mean()


def _features(evidence: LineEvidence, grid: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Density where each line would be, and its absence where it is outside, (n, lines, m)."""
    shape = (*evidence.absent.shape, len(grid))
    here, absent = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for line in range(shape[1]):
        inside = evidence.inside(grid[None], line)
        for k in range(evidence.log_z1.shape[2]):
            apart = (grid - evidence.log_z1[:, line, k, None]) / evidence.scale[:, line, k, None]
            tail = (1 + apart**2 / _FREEDOM) ** ((_FREEDOM + 1) // 2)
            here[:, line] += evidence.peak[:, line, k, None] / tail
        here[:, line] *= inside
        absent[:, line] = (1 - inside) * evidence.absent[:, line, None]
    return torch.tensor(here), torch.tensor(absent)
