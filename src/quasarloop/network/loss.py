"""The loss of a line finder: is there a line, in which box, and where in the box.

Computed from logits, so that no confidence is ever clipped.
"""

from typing import Literal, NamedTuple

from torch import Tensor
from torch.nn import functional

from quasarloop.network.model import NetworkConfig

__all__ = ["LossParts", "MeanOver", "TargetTensors", "line_finder_loss"]

MeanOver = Literal["spectrum", "batch"]


class TargetTensors(NamedTuple):
    """A batch of `Targets` as tensors on the network's device.

    Attributes:
        box: (n, n_lines, n_boxes) float32, 1 in the box that holds the line.
        offset: (n, n_lines) float32, place within that box.
        weight: (n, n_lines) float32, 0 where the label may not train.
    """

    box: Tensor
    offset: Tensor
    weight: Tensor


class LossParts(NamedTuple):
    """The three terms of the loss, each a scalar summed over lines.

    Attributes:
        positive: mean cross-entropy of the true boxes.
        negative: mean cross-entropy of the empty boxes.
        offset: mean squared error of the offset in the true boxes, in boxes².
    """

    positive: Tensor
    negative: Tensor
    offset: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.positive + self.negative + self.offset


def line_finder_loss(
    box_logits: Tensor,
    offset_logits: Tensor,
    targets: TargetTensors,
    config: NetworkConfig,
    *,
    mean_over: MeanOver = "spectrum",
) -> LossParts:
    """Return the loss of a batch.

    ``mean_over="spectrum"`` is today's released code, and the paper's: each spectrum's own
    boxes are averaged (its one true box; its 12 or 13 empty ones), then the weighted sum over
    spectra is divided by their number, those of weight 0 included. ``"batch"`` is the formula
    of 2018: all true boxes of the batch are averaged, and all empty ones, so that a rare line
    weighs as much as a common one. (There, weights had no effect; here they have.)

    Args:
        box_logits: (n, n_lines, n_boxes) before the sigmoid.
        offset_logits: (n, n_lines, n_boxes) before the sigmoid.
        targets: of the same n spectra.
        config: for the range of the offsets.
        mean_over: what the boxes are averaged over.

    Source: Busca & Balland 2018, eq. 1; INTEROP.md, "Loss of a line"; QuasarNET,
    ``models.custom_loss`` (axis=1 today, none in 2018). There, probabilities are clipped at
    1e-7; here nothing is.
    """
    box, empty = targets.box, 1.0 - targets.box
    span = config.offset_high - config.offset_low
    offset = config.offset_low + span * offset_logits.sigmoid()
    found = functional.softplus(-box_logits) * box  # (n, n_lines, n_boxes): -ln(confidence)
    false = functional.softplus(box_logits) * empty  # -ln(1 - confidence)
    misplaced = (targets.offset.unsqueeze(2) - offset).square() * box
    mean = _mean_per_spectrum if mean_over == "spectrum" else _mean_per_batch
    return LossParts(
        positive=mean(found, box, targets.weight),
        negative=mean(false, empty, targets.weight),
        offset=mean(misplaced, box, targets.weight),
    )


def _mean_per_spectrum(value: Tensor, counted: Tensor, weight: Tensor) -> Tensor:
    own = value.sum(2) / counted.sum(2).clamp_min(1.0)  # (n, n_lines)
    return (own * weight).sum() / len(value)


def _mean_per_batch(value: Tensor, counted: Tensor, weight: Tensor) -> Tensor:
    total = (value.sum(2) * weight).sum(0)  # (n_lines,)
    number = (counted.sum(2) * weight).sum(0)
    # A line without a single such box in the batch has nothing to say.
    return (total / number.where(number > 0, 1.0)).sum()
