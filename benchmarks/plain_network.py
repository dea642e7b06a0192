"""The line finder as one first writes it with torch: the reference of benchmarks and tests.

It shares the parameters with `LineFinder`, and no line of its forward pass.
"""

import torch
from torch import Tensor
from torch.nn import functional

from quasarloop.network.decode import LineOutputs
from quasarloop.network.model import LineFinder, Logits
from quasarloop.network.weights import Weights, to_module


def plain_logits(model: LineFinder, flux: Tensor, dropout: float = 0.0) -> Logits:
    """Return what ``model(flux)`` does, in the model's mode."""
    config = model.config
    x = flux.unsqueeze(1)  # (n, 1, n_bins)
    maps = []
    for conv, norm, pad in zip(model.convs, model.conv_norms, config.paddings(), strict=True):
        normed = norm(conv(functional.pad(x, pad)).unsqueeze(2)).squeeze(2)
        x = functional.dropout(functional.relu(normed), dropout, model.training)
        maps.append(x)
    flat = x.transpose(1, 2).flatten(1)
    hidden = functional.relu(model.common_norm(model.common(flat)))
    shape = (len(flux), config.n_lines, config.n_boxes)
    log_p = None
    if model.redshift is not None:
        cells = [maps[number - 1].transpose(1, 2) for number in config.redshift.maps]
        log_p = model.redshift(cells, hidden)
    box, offset = model.box(hidden).view(shape), model.offset(hidden).view(shape)
    return Logits(box, offset, log_p, hidden)


def plain_predict(weights: Weights, flux) -> LineOutputs:
    """Return what ``Predictor(weights).predict(flux, redshifts=True)`` does."""
    model = to_module(weights)
    with torch.inference_mode():
        logits = plain_logits(model, torch.tensor(flux, dtype=torch.float32))
        return LineOutputs(
            logits.box.double().sigmoid().numpy(),
            model.offsets(logits.offset).numpy(),
            None if logits.log_p is None else logits.log_p.numpy(),
        )
