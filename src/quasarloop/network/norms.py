"""The running mean and variance of batch normalisation, kept honest on small samples.

QuasarNET keeps 0.99 of the old value at each step. On 600 labelled spectra that is three
steps per epoch: after ten epochs three quarters of the statistics would still be the
meaningless ones a network starts with. So they are measured anew when they are needed.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from quasarloop.network.model import LineFinder
from quasarloop.network.training_pass import training_logits

__all__ = ["fold_biases", "norms_of", "set_momentum", "use_mean_statistics"]


def norms_of(model: LineFinder) -> Iterator[nn.BatchNorm1d]:
    """Yield the batch normalisations in the order data meets them."""
    for module in (*model.conv_norms, model.common_norm):
        assert isinstance(module, nn.BatchNorm1d)  # for mypy: ModuleList forgets
        yield module


def set_momentum(model: LineFinder, momentum: float) -> None:
    """Let the next batch contribute that part to the running statistics."""
    for norm in norms_of(model):
        norm.momentum = momentum


def fold_biases(model: LineFinder) -> None:
    """Move biases in front of batch normalisations into their running means.

    A bias there changes nothing: its batch's mean is subtracted straight after. Folded, the
    network gives the same output, and training need not carry a gradient that is only rounding.
    """
    with torch.no_grad():
        for layer, norm in zip((*model.convs, model.common), norms_of(model), strict=True):
            bias, running = layer.bias, norm.running_mean
            if isinstance(bias, Tensor) and running is not None:
                running -= bias
                bias.zero_()


def use_mean_statistics(model: LineFinder, batches: Iterable[Tensor]) -> None:
    """Set the running statistics to their mean over batches, dropout off.

    Dropout makes activations vary more than they do in use, so statistics gathered while
    training are those of another network (Li et al. 2018, arXiv:1801.05134).

    Args:
        model: changed in place; left in training mode if it was.
        batches: (n, n_bins) each, at least one; each counts by its number of spectra.
    """
    seen = 0
    with torch.no_grad():
        for flux in batches:
            seen += len(flux)
            set_momentum(model, len(flux) / seen)
            training_logits(model, flux, rate=0.0)
