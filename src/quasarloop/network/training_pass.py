"""The forward pass of a network that learns: `LineFinder`'s numbers, arranged for speed.

On a CPU, convolutions over channels-last memory take three quarters of the time, zeros that
lie on both sides cost nothing if the convolution is told of them, and dropout is cheap.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from quasarloop.network.config import Padding
from quasarloop.network.dropout import DropoutSource, relu_dropout
from quasarloop.network.model import LineFinder, Logits

__all__ = ["training_logits", "validation_logits"]


def training_logits(
    model: LineFinder, flux: Tensor, *, rate: float, source: DropoutSource | None = None
) -> Logits:
    """Return what ``model.train().logits(flux)`` would, without biases in front of a normalisation.

    Args:
        model: in training mode; the running statistics of its normalisations move on. Biases
            in front of them must be folded (`norms.fold_biases`): they are not read here.
        flux: (n, n_bins) normalised spectra on the model's device.
        rate: part of the activations dropped after every convolution.
        source: masks for a CPU.
    """
    return _logits(model, flux, rate, source, training=True)


def validation_logits(model: LineFinder, flux: Tensor) -> Logits:
    """Return what ``model.eval().logits(flux)`` would, without biases in front of a normalisation.

    Args:
        model: its biases folded (`norms.fold_biases`); nothing of it is changed.
        flux: (n, n_bins) normalised spectra on the model's device.
    """
    return _logits(model, flux, 0.0, None, training=False)


def _logits(
    model: LineFinder, flux: Tensor, rate: float, source: DropoutSource | None, *, training: bool
) -> Logits:
    config, head = model.config, model.config.redshift
    n, n_bins = flux.shape
    # With a single channel both memory orders fit; these strides say which one is meant, or the
    # first, largest activations would be in the other.
    x = flux.contiguous().as_strided((n, 1, 1, n_bins), (n_bins, 1, n_bins, 1))
    layers = zip(model.convs, model.conv_norms, config.paddings(), strict=True)
    cells = []
    for number, (conv, norm, pad) in enumerate(layers, 1):
        x = _convolve(x, conv, pad, config.stride)  # (n, n_filters, 1, width')
        x = relu_dropout(_normalise(x, norm, training), rate, source)
        if head is not None and number in head.maps:
            cells.append(x[:, :, 0].transpose(1, 2))  # (n, width', n_filters)
    flat = x.permute(0, 2, 3, 1).flatten(1)  # (n, width' * n_filters), width by width as Keras
    common = functional.linear(flat, model.common.get_parameter("weight"))  # (n, n_dense)
    hidden = functional.relu(_normalise(common, model.common_norm, training))
    shape = (len(flux), config.n_lines, config.n_boxes)
    log_p = None
    if model.redshift is not None:
        log_p = model.redshift(cells, hidden)
    return Logits(model.box(hidden).view(shape), model.offset(hidden).view(shape), log_p)


def _convolve(x: Tensor, conv: nn.Module, pad: Padding, stride: int) -> Tensor:
    both, extra = min(pad), pad.right - pad.left
    if extra > 0:
        x = functional.pad(x, (0, extra))  # (n, channels, 1, width + 1)
    kernel = conv.get_parameter("weight").unsqueeze(2)  # (n_filters, channels, 1, kernel_width)
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    return functional.conv2d(x, kernel, stride=(1, stride), padding=(0, both))


def _normalise(x: Tensor, norm: nn.Module, training: bool) -> Tensor:
    assert isinstance(norm, nn.BatchNorm1d)  # for mypy: a ModuleList forgets types
    momentum = 0.0 if norm.momentum is None else norm.momentum
    return functional.batch_norm(
        x,
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        training=training,
        momentum=momentum,
        eps=norm.eps,
    )
