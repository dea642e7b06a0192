"""From the outputs of the heads to lines, redshifts and quasars."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.classes import Thresholds
from quasarloop.errors import WeightsError
from quasarloop.grid import RED_END, RedEnd
from quasarloop.network.config import NetworkConfig

__all__ = [
    "Classification",
    "LineFinds",
    "LineOutputs",
    "best_lines",
    "classify_finds",
    "decode",
    "decode_boxes",
    "emission_lines",
]


@dataclass(frozen=True)
class LineOutputs:
    """Outputs of a network for each spectrum, box by box.

    Attributes:
        confidence: (n, n_lines, n_boxes) in (0, 1). float64: in float32 every confidence
            above 1 - 3e-8 is 1, and which of two such lines is the best would be chance.
        offset: (n, n_lines, n_boxes) float32, place in each box, in boxes.
        log_p: (n, n_z) float32 ln p(z), up to a constant, of a redshift head; None without one,
            or if it was not requested.
    """

    confidence: NDArray[np.floating]
    offset: NDArray[np.floating]
    log_p: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.confidence)

    def __getitem__(self, index: slice | NDArray[Any]) -> "LineOutputs":
        """Return the outputs of some rows."""
        log_p = None if self.log_p is None else self.log_p[index]
        return LineOutputs(self.confidence[index], self.offset[index], log_p)

    @property
    def is_finite(self) -> NDArray[np.bool_]:
        """(n,) whether all confidences and offsets are finite."""
        both = np.isfinite(self.confidence) & np.isfinite(self.offset)
        return np.asarray(both.all(axis=(1, 2)))

    def check_shape(self, config: NetworkConfig) -> None:
        """Raise WeightsError if the outputs are not of a network of that shape."""
        expected = (len(self), config.n_lines, config.n_boxes)
        if self.confidence.shape != expected or self.offset.shape != expected:
            raise WeightsError(
                f"confidences {self.confidence.shape} and offsets {self.offset.shape}; "
                f"expected (n, {config.n_lines} lines, {config.n_boxes} boxes)"
            )


@dataclass(frozen=True)
class LineFinds:
    """The best box of every line.

    Attributes:
        confidence: (n, n_lines) float64, of the most confident box.
        z: (n, n_lines) float64, the redshift that puts the line there.
    """

    confidence: NDArray[np.floating]
    z: NDArray[np.float64]


@dataclass(frozen=True)
class Classification:
    """The class one network gives each spectrum.

    Attributes:
        is_qso: (n,) bool, enough lines are confident.
        vote: (n,) int8 of `quasarloop.classes.Vote`.
        z_best: (n,) float64, redshift of the most confident emission line, quasar or not.
        best_line: (n,) int64, position of that line in `NetworkConfig.lines`.
        bal_confidence: (n,) float64, highest confidence of the finders of broad absorption;
            NaN for a network without any.
    """

    is_qso: NDArray[np.bool_]
    vote: NDArray[np.int8]
    z_best: NDArray[np.float64]
    best_line: NDArray[np.int64]
    bal_confidence: NDArray[np.floating]


def decode(
    outputs: LineOutputs,
    config: NetworkConfig,
    red_end: RedEnd = RED_END,
) -> LineFinds:
    """Return the most confident box of every line, and the redshift it means.

    Args:
        outputs: of the network.
        config: its lines, boxes and grid.
        red_end: beyond the lower edge of the last bin ``"clamp"`` gives that edge (QuasarNP)
            and ``"extrapolate"`` follows the grid (QuasarNET; our default). A network whose
            offsets reach below 0 can place a line before the first bin: the same holds there.

    Raises:
        WeightsError: the outputs are not of a network of that shape.

    Source: docs/reference/network.md, "Lines and boxes"; QuasarNET and QuasarNP utils.py.
    """
    outputs.check_shape(config)
    box = outputs.confidence.argmax(axis=2)[..., None]  # (n, n_lines, 1)
    best = outputs.confidence, outputs.offset
    confidence, offset = (np.take_along_axis(values, box, axis=2)[..., 0] for values in best)
    return decode_boxes(confidence, box[..., 0], offset, config, red_end)


def decode_boxes(
    confidence: NDArray[np.floating],
    box: NDArray[np.integer],
    offset: NDArray[np.floating],
    config: NetworkConfig,
    red_end: RedEnd = RED_END,
) -> LineFinds:
    """Return what the best boxes mean, (n, n_lines) each: confidence, number and offset of a box.

    Other arguments as of `decode`.
    """
    place = box + offset.astype(np.float64)  # in boxes
    wave_aa = config.grid.wave_at(place * config.grid.n_bins / config.n_boxes, red_end=red_end)
    rest_aa = np.array([line.wave_rest_aa for line in config.lines])
    return LineFinds(confidence, wave_aa / rest_aa - 1.0)


class BestLines(NamedTuple):
    """What decides of each spectrum: whether it is a quasar, and at which redshift.

    Attributes:
        confidence: (n,) of the ``n_lines``-th most confident emission line, in the precision
            given; -1 where there are fewer lines.
        z: (n,) float64, redshift of the most confident one, the first where several are equal.
        line: (n,) int64, its column.
    """

    confidence: NDArray[np.floating]
    z: NDArray[np.float64]
    line: NDArray[np.int64]


def best_lines(
    confidence: NDArray[np.floating], z: NDArray[np.floating], n_lines: int
) -> BestLines:
    """Find the confidence that decides, and the redshift of the most confident line.

    At least ``n_lines`` lines are above a threshold just where the ``n_lines``-th most confident
    one is: `quasarloop.classes.Thresholds.is_quasar` needs only that number.

    Args:
        confidence: (n, n_emission) of the emission lines; NaN where there is none.
        z: (n, n_emission).
        n_lines: lines that must count.

    Source: docs/reference/network.md, "Lines and boxes"; paper, Section 1.
    """
    known = np.where(np.isnan(confidence), confidence.dtype.type(-1), confidence)
    line = known.argmax(axis=1)
    z_best = np.take_along_axis(z, line[:, None], axis=1)[:, 0].astype(np.float64)
    if n_lines > known.shape[1]:
        return BestLines(np.full(len(known), -1, known.dtype), z_best, line)
    return BestLines(np.partition(known, -n_lines, axis=1)[:, -n_lines], z_best, line)


def emission_lines(finds: LineFinds, config: NetworkConfig, n_lines: int) -> BestLines:
    """Apply `best_lines` to the emission lines of a network; ``line`` is in `NetworkConfig.lines`.

    Raises:
        WeightsError: the network finds no emission line at all.
    """
    emission = np.array(config.emission_index, dtype=np.int64)
    if not len(emission):
        raise WeightsError("the network has no finder of an emission line: it cannot find quasars")
    best = best_lines(finds.confidence[:, emission], finds.z[:, emission], n_lines)
    return best._replace(line=emission[best.line])


def classify_finds(
    finds: LineFinds, config: NetworkConfig, thresholds: Thresholds | None = None
) -> Classification:
    """Classify spectra: quasars have enough confident emission lines.

    Args:
        finds: the lines found.
        config: which of them are emission lines.
        thresholds: what decides; None takes the package's.

    Raises:
        WeightsError: the network finds no emission line at all.

    Source: paper, Sections 1 and 3.
    """
    limits = thresholds or Thresholds()
    best = emission_lines(finds, config, limits.n_lines)
    bal = finds.confidence[:, list(config.bal_index)]
    return Classification(
        is_qso=limits.is_quasar(best.confidence),
        vote=limits.vote(best.confidence, best.z),
        z_best=best.z,
        best_line=best.line,
        bal_confidence=bal.max(axis=1) if bal.shape[1] else np.full(len(bal), np.nan),
    )
