"""From what the heads say to lines, redshifts and quasars."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quasarloop.classes import CONFIDENCE_THRESHOLD, HIGH_Z_MIN, N_LINES_THRESHOLD, vote_class
from quasarloop.errors import WeightsError
from quasarloop.network.config import NetworkConfig

__all__ = ["Classification", "LineFinds", "LineOutputs", "classify_finds", "decode"]


@dataclass(frozen=True)
class LineOutputs:
    """What a network says of each spectrum, box by box.

    Attributes:
        confidence: (n, n_lines, n_boxes) in (0, 1). float64: in float32 every confidence
            above 1 - 3e-8 is 1, and which of two such lines is the best would be chance.
        offset: (n, n_lines, n_boxes) float32, place in each box, in boxes.
        log_p: (n, n_z) float32 ln p(z), up to a constant, of a redshift head; None without one,
            or if it was not asked for.
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


@dataclass(frozen=True)
class LineFinds:
    """The best box of every line.

    Attributes:
        confidence: (n, n_lines) float64, of the most confident box.
        z: (n, n_lines) float64, the redshift that puts the line there.
    """

    confidence: NDArray[np.floating]
    z: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.confidence)

    def __getitem__(self, index: slice | NDArray[Any]) -> "LineFinds":
        """Return the finds of some rows."""
        return LineFinds(self.confidence[index], self.z[index])


@dataclass(frozen=True)
class Classification:
    """What one network makes of each spectrum.

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

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.is_qso)


def decode(
    outputs: LineOutputs,
    config: NetworkConfig,
    red_end: Literal["extrapolate", "clamp"] = "extrapolate",
) -> LineFinds:
    """Return the most confident box of every line, and the redshift it means.

    Args:
        outputs: what the network said.
        config: its lines, boxes and grid.
        red_end: beyond the lower edge of the last bin ``"clamp"`` gives that edge (QuasarNP)
            and ``"extrapolate"`` follows the grid (QuasarNET; our default). A network whose
            offsets reach below 0 can place a line before the first bin: the same holds there.

    Raises:
        WeightsError: the outputs are not of a network of that shape.

    Source: INTEROP.md, "Decode".
    """
    expected = (len(outputs), config.n_lines, config.n_boxes)
    if outputs.confidence.shape != expected or outputs.offset.shape != expected:
        raise WeightsError(
            f"confidences {outputs.confidence.shape} and offsets {outputs.offset.shape}; "
            f"expected (n, {config.n_lines} lines, {config.n_boxes} boxes)"
        )
    box = outputs.confidence.argmax(axis=2)[..., None]  # (n, n_lines, 1)
    confidence = np.take_along_axis(outputs.confidence, box, axis=2)[..., 0]
    offset = np.take_along_axis(outputs.offset, box, axis=2)[..., 0]
    place = box[..., 0] + offset.astype(np.float64)  # in boxes
    wave_aa = config.grid.wave_at(place * config.grid.n_bins / config.n_boxes, red_end=red_end)
    rest_aa = np.array([line.wave_rest_aa for line in config.lines])
    return LineFinds(confidence, wave_aa / rest_aa - 1.0)


def classify_finds(
    finds: LineFinds,
    config: NetworkConfig,
    threshold: float = CONFIDENCE_THRESHOLD,
    n_lines: int = N_LINES_THRESHOLD,
    *,
    high_z_min: float = HIGH_Z_MIN,
) -> Classification:
    """Call quasars: spectra with enough confident emission lines.

    Args:
        finds: the lines found.
        config: which of them are emission lines.
        threshold: a line counts if its confidence is strictly above this.
        n_lines: lines that must count.
        high_z_min: lowest redshift of class HIGH_Z.

    Returns:
        One row per spectrum. The best line is the most confident emission line, the first of
        them in the network's order where confidences are equal.

    Raises:
        WeightsError: the network finds no emission line at all.

    Source: INTEROP.md, "Decode"; paper, Sections 1 and 3.
    """
    emission = list(config.emission_index)
    if not emission:
        raise WeightsError("the network has no finder of an emission line: it cannot find quasars")
    confidence = finds.confidence[:, emission]  # (n, n_emission)
    best_line = np.array(emission)[confidence.argmax(axis=1)]
    z_best = np.take_along_axis(finds.z, best_line[:, None], axis=1)[:, 0]
    is_qso = (confidence > threshold).sum(axis=1) >= n_lines
    bal = finds.confidence[:, list(config.bal_index)]
    return Classification(
        is_qso=is_qso,
        vote=vote_class(is_qso, z_best, high_z_min=high_z_min),
        z_best=z_best,
        best_line=best_line,
        bal_confidence=bal.max(axis=1) if bal.shape[1] else np.full(len(finds), np.nan),
    )
