"""How well a network in training does on spectra held out: loss, completeness, redshift."""

from typing import NamedTuple

import numpy as np
import torch

from quasarloop.constants import nmad
from quasarloop.network.decode import LineOutputs, classify_finds, decode
from quasarloop.network.labelled import TrainingData
from quasarloop.network.loss import (
    LossParts,
    TargetTensors,
    line_finder_loss,
    make_targets,
    redshift_loss,
    redshift_targets,
)
from quasarloop.network.model import LineFinder, Logits
from quasarloop.network.options import TrainingOptions

__all__ = ["Scores", "score", "target_tensors"]


class Scores(NamedTuple):
    """Numbers of one validation.

    Attributes:
        loss, positive, negative, offset, redshift: the loss and its terms, without dropout.
        completeness: true quasars found over true quasars; NaN without any.
        purity: true quasars found over all found; NaN if nothing is found.
        z_nmad: robust scatter of (z − z_true)/(1 + z_true) of quasars true and found.
        z_scatter: its standard deviation.
    """

    loss: float
    positive: float
    negative: float
    offset: float
    redshift: float
    completeness: float
    purity: float
    z_nmad: float
    z_scatter: float


def score(model: LineFinder, data: TrainingData, options: TrainingOptions) -> Scores:
    """Judge a network on labelled spectra; it is left as it was.

    Args:
        model: on any device.
        data: spectra whose labels may be trusted.
        options: threshold, batch size, and what the loss is averaged over.

    Source: paper, Eq. 4.1 (true AND found over true) and 4.2.
    """
    box, offset, redshift = _logits(model, data, options.batch_size)
    parts = line_finder_loss(
        box, offset, target_tensors(data, model, "cpu"), model.config, mean_over=options.mean_over
    )
    outputs = LineOutputs(model.confidences(box).numpy(), model.offsets(offset).numpy())
    found = classify_finds(decode(outputs, model.config), model.config, options.thresholds)
    both = found.is_qso & data.is_qso
    errors = (found.z_best[both] - data.z[both]) / (1 + data.z[both])
    return Scores(
        *_loss_numbers(parts, redshift),
        completeness=_part(int(both.sum()), int(data.is_qso.sum())),
        purity=_part(int(both.sum()), int(found.is_qso.sum())),
        z_nmad=nmad(errors),
        z_scatter=float(np.std(errors)) if len(errors) else np.nan,
    )


def target_tensors(
    data: TrainingData, model: LineFinder, device: torch.device | str
) -> TargetTensors:
    """Return what a network shall say of labelled spectra, on its device."""
    targets = make_targets(data.spectype, data.z, data.bal, data.trains, model.config)
    return TargetTensors(
        torch.from_numpy(targets.box).to(device),
        torch.from_numpy(targets.offset).to(device),
        torch.from_numpy(targets.weight).to(device),
    )


def _logits(
    model: LineFinder, data: TrainingData, batch_size: int
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Box and offset logits, and the redshift head's part of the loss."""
    device, head = model.box.get_parameter("weight").device, model.config.redshift
    parts, redshift, was_training = [], 0.0, model.training
    model.eval()
    with torch.no_grad():
        for start in range(0, len(data), batch_size):
            batch = data[slice(start, start + batch_size)]
            logits: Logits = model(torch.from_numpy(batch.flux).to(device))
            parts.append([out.float().cpu() for out in logits[:2]])
            if head is not None and logits.log_p is not None:
                true = redshift_targets(batch.spectype, batch.z, batch.trains, head)
                redshift += float(redshift_loss(logits.log_p, true)) * len(batch) * head.loss_weight
    model.train(was_training)
    box, offset = zip(*parts, strict=True)
    return torch.cat(box), torch.cat(offset), redshift / len(data)


def _loss_numbers(parts: LossParts, redshift: float) -> tuple[float, float, float, float, float]:
    positive, negative, offset = (float(term) for term in parts)
    return positive + negative + offset + redshift, positive, negative, offset, redshift


def _part(part: int, whole: int) -> float:
    return part / whole if whole else np.nan
