"""One redshift from all lines together: p(z) from every line's boxes, offsets and absence.

The classic redshift is that of the most confident line; if that line is mistaken for another,
the redshift is wrong, and where it lies in its box clumps. Here every line counts at every
redshift: where it falls into the grid, its boxes give its probability there; where it does not,
its empty boxes count. Only outputs are read, so any weights file serves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import WeightsError
from quasarloop.lines import Line
from quasarloop.network.config import Z_MAX, NetworkConfig
from quasarloop.network.decode import LineOutputs
from quasarloop.network.redshift_reading import (
    CONFUSION,
    JointRedshifts,
    Peaks,
    choose_peak,
    read_peaks,
    row_blocks,
)

__all__ = [
    "CALIBRATION",
    "FREEDOM",
    "Z_RANGE",
    "JointCalibration",
    "LineEvidence",
    "LineTrust",
    "joint_redshifts",
    "place_scale",
    "redshift_density",
    "stored_calibration",
]

Number = Any  # one number, or one per line


class LineTrust(NamedTuple):
    """How far one line can be trusted, or (n_lines,) arrays of it.

    Attributes:
        width: scale of the place error of a line found with confidence 1, boxes.
        tempering: power of the line's density: the heads of a network read the same features and
            are wrong together, some more than others.
        absence: weight of "no line in the grid" against one box, when a quasar's line is outside.
        floor: density per box left where a head finds nothing; no head can veto alone.
        shift: found place less true place, boxes; not 0 for a network trained on other bin edges
            than it is read with, or on lines as they are elsewhere.
    """

    width: Number
    tempering: Number
    absence: Number
    floor: Number
    shift: Number = 0.0


@dataclass(frozen=True)
class JointCalibration:
    """How far a line's box, place and absence can be trusted.

    Attributes:
        lines: line column -> its own numbers.
        growth: the scale of a place error is ``width * (1 + growth * (1 - confidence))``.
        error_scale: factor from the width of p(z) to the uncertainty.
    """

    lines: dict[str, LineTrust]
    growth: float
    error_scale: float

    def trust(self, lines: Sequence[Line]) -> LineTrust:
        """Return (n_lines,) arrays; a line never calibrated gets the median of all."""
        usual = LineTrust(*np.median(list(self.lines.values()), axis=0))
        return LineTrust(*np.array([self.lines.get(line.column, usual) for line in lines]).T)


# Source: our fit, `python studies/joint_table.py fit` with QuasarNP's four- and six-layer weights
# (its test data) on 2000 simulated quasars, half of them with DESI's n(z), half
# flat in z. What it gives on other quasars: docs/measurements/redshifts.md.
CALIBRATION: Final = JointCalibration(
    lines={
        "LYA": LineTrust(0.046335, 0.55693, 0.44945, 0.00022866),
        "CIV": LineTrust(0.048542, 0.43826, 0.29087, 0.00075322),
        "CIII": LineTrust(0.046884, 0.42487, 0.26188, 0.0016767),
        "MgII": LineTrust(0.046787, 0.45376, 0.11086, 0.0010832),
        "Hbeta": LineTrust(0.049819, 0.54709, 0.083218, 0.00051933),
        "Halpha": LineTrust(0.070296, 0.55004, 0.36047, 0.00052246),
    },
    growth=4.888,
    error_scale=0.886,
)


def stored_calibration(provenance: Mapping[str, Any]) -> JointCalibration:
    """Return the calibration in the provenance of weights, ours where it has none.

    It is there for a network without a redshift head whose lines were measured on a survey's labels
    (`network.calibration`).

    Raises:
        WeightsError: it is impossible.
    """
    stored = provenance.get("joint_calibration")
    if stored is None:
        return CALIBRATION
    try:
        lines = {
            column: trust._replace(
                **{k: float(v) for k, v in stored["lines"].get(column, {}).items()}
            )
            for column, trust in CALIBRATION.lines.items()
        }
        error_scale = float(stored["error_scale"])
        numbers = np.array([*lines.values()])
        possible = np.isfinite(numbers).all() and (numbers[:, :-1] > 0).all()
        possible = possible and 0 < error_scale < np.inf
    except (AttributeError, LookupError, TypeError, ValueError):
        possible = False
    if not possible:
        raise WeightsError(
            f"impossible joint_calibration in the provenance, {stored!r}; expected an error_scale "
            "and numbers of lines, as quasarloop weights calibrate writes them"
        )
    return replace(CALIBRATION, lines=lines, error_scale=error_scale)


Floats = NDArray[np.float64]

# Redshifts looked at; the prior is flat in ln(1 + z) between them.
Z_RANGE: Final = (0.0, Z_MAX)
# Place errors follow Student's t of this many degrees: a core with wings. Our choice: odd, so
# that the power below is whole.
FREEDOM: Final = 7
_T_NORM: Final = 0.3850  # Γ(4) / (sqrt(7 π) Γ(3.5)): its density at 0
# Boxes of a line that can matter: the two a line near an edge falls between, and a rival.
_N_BOXES_KEPT: Final = 3
# Of those, so many propose redshifts.
_N_PROPOSING: Final = 2
_N_PEAKS: Final = 3
# A peak is measured on so many points over so many scales to both sides.
_N_POINTS: Final = 25
_REACH: Final = 3.5
# Scales of a proposing box are cut here, boxes: points must not straddle a sharper line's peak.
_SCALE_MAX: Final = 0.12
# A line's presence fades over this many boxes at the ends of the grid, as places are uncertain.
_EDGE: Final = 0.2
_TINY: Final = 1e-12
# Where the second peak of a redshift head has more than this, boxes are weighed in its peaks, with
# this power. Source: our choice: half their own weight saved five of ten wrong redshifts of real
# quasars unlike those simulated, and cost no significant number on the simulated sky.
_DOUBT: Final = 1e-3
_BOX_POWER: Final = 0.5
_BLOCK_ROWS: Final = 64  # the arrays of a block stay in the processor's cache
_N_SHOWN: Final = 6000  # points of p(z): a tenth of a line's sharpest place error apart
_HEAD_ROWS: Final = 512  # as well where only a head's few peaks are evaluated


class LineEvidence(NamedTuple):
    """Evidence of the lines of some spectra, ready to be evaluated at any redshift.

    Attributes:
        log_z1: (n, n_lines, k) ln(1 + z) that each of the k likeliest boxes means.
        weight: (n, n_lines, k) probability of the box.
        scale: (n, n_lines, k) uncertainty of its place, in ln(1 + z).
        step: (n, n_lines, k) points around its place are so far apart at most, in ln(1 + z).
        peak: (n, n_lines, k) density at its place, per box.
        absent: (n, n_lines) probability that the line is in no box.
        first, last: (n_lines,) ln(1 + z) at which the line enters and leaves the grid.
        trust: (n_lines,) each: the calibration's.
        fade: the width of `_EDGE` boxes there, in ln(1 + z): blue, red end.
    """

    log_z1: Floats
    weight: Floats
    scale: Floats
    step: Floats
    peak: Floats
    absent: Floats
    first: Floats
    last: Floats
    trust: LineTrust
    fade: Floats

    @classmethod
    def of(
        cls, outputs: LineOutputs, config: NetworkConfig, calibration: JointCalibration
    ) -> "LineEvidence":
        """Read the emission lines' outputs; all must be finite."""
        lines = [config.lines[i] for i in config.emission_index]
        rest_aa = np.array([line.wave_rest_aa for line in lines])
        index = list(config.emission_index)
        every = np.minimum(outputs.confidence[:, index].astype(np.float64), 1 - _TINY)
        odds = every / (1 - every)  # (n, n_lines, n_boxes)
        absent = 1 / (1 + odds.sum(axis=2))
        kept = min(_N_BOXES_KEPT, config.n_boxes)
        box = np.argpartition(-every, kept - 1, axis=2)[..., :kept]  # (n, n_lines, k)
        confidence = np.take_along_axis(every, box, axis=2)
        # In order, likeliest first: argpartition leaves the kept ones in any.
        order = np.argsort(-confidence, axis=2, kind="stable")
        box, confidence = (np.take_along_axis(v, order, axis=2) for v in (box, confidence))
        offset = np.take_along_axis(outputs.offset[:, index], box, axis=2).astype(np.float64)
        weight = np.take_along_axis(odds, box, axis=2) * absent[..., None]
        bins = config.grid.n_bins / config.n_boxes
        trust = calibration.trust(lines)
        wave_aa = config.grid.wave_at((box + offset - trust.shift[:, None]) * bins)
        scale_boxes = trust.width[:, None] * place_scale(confidence, calibration)
        per_box = _log_step(config, wave_aa)  # ln λ of one box there
        ends = np.array([config.grid.start_aa, config.grid.end_aa])
        first, last = (np.log(end / rest_aa) for end in ends)
        return cls(
            log_z1=np.log(wave_aa / rest_aa[:, None]),
            weight=weight,
            scale=scale_boxes * per_box,
            step=np.minimum(scale_boxes, _SCALE_MAX) * per_box * (2 * _REACH / (_N_POINTS - 1)),
            peak=weight * _T_NORM / scale_boxes,
            absent=absent,
            first=first,
            last=last,
            trust=trust,
            fade=_log_step(config, ends) * _EDGE,
        )

    def log_density(self, log_z1: Floats) -> Floats:
        """Return ln p(ln(1 + z)) less its norm.

        Args:
            log_z1: (n, m) ln(1 + z) of each spectrum.

        Returns:
            (n, m); -inf outside `Z_RANGE`.
        """
        _, tempering, absence, floor, _ = self.trust
        total = np.zeros(log_z1.shape)
        for line in range(self.absent.shape[1]):
            here = np.zeros(log_z1.shape)
            for k in range(self.log_z1.shape[2]):
                apart = log_z1 - self.log_z1[:, line, k, None]  # (n, m)
                apart /= self.scale[:, line, k, None]
                apart *= apart
                apart /= FREEDOM
                apart += 1.0
                apart *= apart
                apart *= apart  # power (7 + 1) / 2
                here += self.peak[:, line, k, None] / apart
            inside = self.inside(log_z1, line)
            here *= inside
            here += (1 - inside) * (absence[line] * self.absent[:, line, None])
            here += floor[line]
            np.log(here, out=here)
            total += here * tempering[line]
        low, high = np.log1p(Z_RANGE)
        total[(log_z1 < low) | (log_z1 > high)] = -np.inf
        return total

    def inside(self, log_z1: Floats, line: int) -> Floats:
        """Return (n, m) how surely the line is on the grid: 0, 1, and a ramp at both ends."""
        blue = (log_z1 - self.first[line]) / self.fade[0]
        red = (self.last[line] - log_z1) / self.fade[1]
        return np.asarray(np.clip(np.minimum(blue, red) + 0.5, 0.0, 1.0))


def place_scale(confidence: Floats, calibration: JointCalibration) -> Floats:
    """Return how many times a line's ``width`` its place errors are, at any confidence."""
    return np.asarray(1 + calibration.growth * (1 - confidence))


def joint_redshifts(
    outputs: LineOutputs, config: NetworkConfig, calibration: JointCalibration = CALIBRATION
) -> JointRedshifts:
    """Return the redshift that all lines together point to.

    Args:
        outputs: of the network; rows that are not finite come back as NaN. If they hold
            ln p(z) of a redshift head, that is read; boxes and `calibration` only where it is in
            doubt between two peaks.
        config: its lines, boxes and grid.
        calibration: how far lines are trusted.

    Returns:
        One row per spectrum; a row does not depend on its company.

    Raises:
        WeightsError: the network has no emission line, or outputs of another shape.

    Source: our choice (docs/measurements/redshifts.md).
    """
    if not config.emission_index:
        raise WeightsError("the network has no finder of an emission line: it has no redshift")
    outputs.check_shape(config)
    if outputs.log_p is not None and config.redshift is not None:
        return _of_head(outputs, config, calibration)
    result = JointRedshifts(*(np.full(len(outputs), np.nan) for _ in range(4)))
    for rows in row_blocks(np.flatnonzero(outputs.is_finite), _BLOCK_ROWS):
        evidence = LineEvidence.of(outputs[rows], config, calibration)
        found = choose_peak(_of_block(evidence, calibration), config.grid)
        for field in fields(result):
            getattr(result, field.name)[rows] = getattr(found, field.name)
    return result


def redshift_density(
    outputs: LineOutputs, config: NetworkConfig, calibration: JointCalibration = CALIBRATION
) -> tuple[Floats, Floats]:
    """Return p(z) to look at: that of the redshift head, else that of boxes and offsets.

    Args:
        outputs: of the network, all finite.
        config: its lines, boxes and grid.
        calibration: how far lines are trusted.

    Returns:
        (m,) redshifts, and (n, m) p per ln(1 + z), highest 1.
    """
    if outputs.log_p is not None and config.redshift is not None:
        head = config.redshift
        log_z1 = np.log(10) * head.step * np.arange(head.n_z)
        log_p = outputs.log_p.astype(np.float64) / head.temperature
    else:
        log_z1 = np.linspace(np.log1p(Z_RANGE[0]), np.log1p(Z_RANGE[1]), _N_SHOWN)
        evidence = LineEvidence.of(outputs, config, calibration)
        log_p = evidence.log_density(np.broadcast_to(log_z1, (len(outputs), _N_SHOWN)).copy())
    return np.expm1(log_z1), np.exp(log_p - log_p.max(axis=1, keepdims=True))


def _of_head(
    outputs: LineOutputs, config: NetworkConfig, calibration: JointCalibration
) -> JointRedshifts:
    """Read p(z) of the head; in doubt weigh its peaks with boxes and offsets."""
    assert outputs.log_p is not None  # for mypy
    assert config.redshift is not None
    peaks = read_peaks(outputs.log_p, config.redshift)
    doubt = np.partition(peaks.mass, -2, axis=1)[:, -2] > _DOUBT
    for rows in row_blocks(np.flatnonzero(doubt & outputs.is_finite), _HEAD_ROWS):
        evidence = LineEvidence.of(outputs[rows], config, calibration)
        log_density = evidence.log_density(np.maximum(peaks.log_z1[rows], 0.0))
        factor = np.exp(_BOX_POWER * (log_density - log_density.max(axis=1, keepdims=True)))
        before = peaks.mass[rows]
        after = before * factor
        # What lies outside all peaks keeps its share.
        share = before.sum(axis=1, keepdims=True) / np.maximum(after.sum(axis=1), _TINY)[:, None]
        peaks.mass[rows] = after * share
    return choose_peak(peaks, config.grid)


def _of_block(evidence: LineEvidence, calibration: JointCalibration) -> Peaks:
    centre, step = _highest_peaks(evidence)  # (n, p)
    # Points around every peak, all evaluated at once; places of peaks that are none are any number.
    ladder = np.arange(_N_POINTS) - (_N_POINTS - 1) / 2
    points = np.nan_to_num(centre)[..., None] + step[..., None] * ladder  # (n, p, points)
    log_p = evidence.log_density(points.reshape(len(points), -1)).reshape(points.shape)
    log_p[np.isnan(centre)] = -np.inf
    top = log_p.max(axis=(1, 2), keepdims=True)
    p = np.exp(log_p - np.where(np.isfinite(top), top, 0.0))
    norm = p.sum(axis=2)
    mass = norm * step
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.einsum("npk,k->np", p, ladder) / norm  # in steps
        variance = np.einsum("npk,k->np", p, ladder**2) / norm - mean**2
        mass /= mass.sum(axis=1, keepdims=True)
    sigma = calibration.error_scale * np.sqrt(np.maximum(variance, 0.0)) * step
    return Peaks(centre + mean * step, sigma, mass)


def _highest_peaks(evidence: LineEvidence) -> tuple[Floats, Floats]:
    """Return (n, p) places of the highest peaks, and the steps to take there.

    A peak lies near the place that some line's box proposes; NaN where there are no more.
    """
    n = len(evidence.log_z1)
    proposed = evidence.log_z1[..., :_N_PROPOSING].reshape(n, -1)  # (n, c)
    steps = evidence.step[..., :_N_PROPOSING].reshape(n, -1)
    height = evidence.log_density(proposed)
    centre, step = np.full((n, _N_PEAKS), np.nan), np.ones((n, _N_PEAKS))
    row = np.arange(n)
    for peak in range(_N_PEAKS):
        best = height.argmax(axis=1)
        there = np.isfinite(height[row, best])
        centre[:, peak] = np.where(there, proposed[row, best], np.nan)
        step[:, peak] = steps[row, best]
        height[np.abs(proposed - proposed[row, best][:, None]) <= CONFUSION] = -np.inf
    return centre, step


def _log_step(config: NetworkConfig, wave_aa: Floats) -> Floats:
    """Return the width of a box in ln λ at wavelengths, on either kind of grid."""
    bins = config.grid.n_bins / config.n_boxes
    if config.grid.kind == "log":
        return np.full(wave_aa.shape, np.log(10) * config.grid.step * bins)
    return np.asarray(config.grid.step * bins / wave_aa)
