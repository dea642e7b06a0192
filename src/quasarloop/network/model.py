"""The line-finder network and its one forward pass, in training and in use.

A spectrum passes through the trunk, convolutions of stride 2 and one dense layer, then through
one pair of heads per emission line: which of the boxes holds the line, and where in that box. A
network may have one more head, which gives one p(z) for all lines (`redshift_head`).

`forward` computes all of it. Training and prediction differ in the weights (`Layers`: as they
are learned, or with normalisations folded in) and in what follows each layer (`Activate`).
On a CPU, convolutions over channels-last memory take three quarters of the time, and zeros on
both sides cost nothing if the convolution adds them itself.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from quasarloop.network.config import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, NetworkConfig, Padding
from quasarloop.network.dropout import DropoutSource, relu_dropout
from quasarloop.network.redshift_head import (
    HeadArrays,
    Reader,
    RedshiftHead,
    glorot,
    head_logits,
)

__all__ = [
    "Layers",
    "LineFinder",
    "Logits",
    "fold_biases",
    "folded_layers",
    "forward",
    "stacked_layers",
    "use_mean_statistics",
]


class Logits(NamedTuple):
    """Outputs of the heads, before any sigmoid or softmax.

    Attributes:
        box, offset: (n, n_lines, n_boxes).
        log_p: (n, n_z) ln p(z) up to a constant; None for a network without a redshift head.
        hidden: (n, n_dense) what all heads read.
    """

    box: Tensor
    offset: Tensor
    log_p: Tensor | None
    hidden: Tensor


class Affine(NamedTuple):
    """Weights of one layer: a convolution's as an image of height 1, or a matrix (out, in).

    The kernel of a convolution of one channel may be a matrix, too: (n_filters, kernel_width).
    """

    weight: Tensor
    bias: Tensor


class Layers(NamedTuple):
    """The weights of a forward pass.

    Attributes:
        trunk: convolutions in their order, then the dense layer.
        heads: of all boxes, then of all offsets, (n_lines * n_boxes, n_dense) each; or both as one.
        redshift: weights and reader of the redshift head; None without one.
    """

    trunk: Sequence[Affine]
    heads: Sequence[Affine]
    redshift: tuple[HeadArrays, Reader] | None


Activate = Callable[[Tensor, int], Tensor]  # output of a trunk layer, its number from 0


def forward(layers: Layers, config: NetworkConfig, flux: Tensor, activate: Activate) -> Logits:
    """Return the outputs of all heads.

    Args:
        layers: the weights, on the device of the spectra.
        config: the network.
        flux: (n, n_bins) normalised spectra.
        activate: applied to the output of every layer of the trunk: the normalisation (where it
            is not folded in), ReLU and dropout.
    """
    *convs, dense = layers.trunk
    n, n_bins = flux.shape
    read = () if layers.redshift is None or config.redshift is None else config.redshift.maps
    cells = []  # the maps the redshift head reads, (n, width, n_filters) each
    # With a single channel both memory orders fit; these strides decide which one is meant, or the
    # first, largest activations would be in the other.
    x = flux.contiguous().as_strided((n, 1, 1, n_bins), (n_bins, 1, n_bins, 1))
    for number, (conv, pad) in enumerate(zip(convs, config.paddings(), strict=True)):
        x = activate(_convolve(x, conv, config.stride, pad), number)  # (n, n_filters, 1, width)
        if number + 1 in read:
            cells.append(x[:, :, 0].transpose(1, 2))
    # Keras keeps channels last and flattens width by width; so do its dense kernels.
    flat = x.permute(0, 2, 3, 1).flatten(1)  # (n, width * n_filters)
    hidden = activate(functional.linear(flat, *dense), len(convs))  # (n, n_dense)
    log_p = None if layers.redshift is None else head_logits(cells, hidden, *layers.redshift)
    shape = (n, -1, config.n_lines, config.n_boxes)
    parts = [functional.linear(hidden, *head).view(shape).unbind(1) for head in layers.heads]
    box, offset = (outputs for part in parts for outputs in part)
    return Logits(box, offset, log_p, hidden)


class LineFinder(nn.Module):
    """The network of a `NetworkConfig`.

    Args:
        config: its shape.
        generator: draws the first weights (Glorot uniform; biases zero); None draws from
            torch's global generator.

    Source: Busca & Balland 2018; docs/reference/network.md, "Networks".
    """

    def __init__(self, config: NetworkConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.convs = nn.ModuleList(
            glorot(
                nn.Conv1d,
                1 if i == 0 else config.n_filters,
                config.n_filters,
                config.kernel_width,
                stride=config.stride,
                generator=generator,
            )
            for i in range(config.n_conv)
        )
        eps, momentum = BATCH_NORM_EPS, 1 - BATCH_NORM_MOMENTUM
        self.conv_norms = nn.ModuleList(
            nn.BatchNorm2d(config.n_filters, eps, momentum) for _ in range(config.n_conv)
        )
        self.common = _dense(config.n_flat, config.n_dense, 1, generator)
        self.common_norm = nn.BatchNorm1d(config.n_dense, eps, momentum)
        self.box = _dense(config.n_dense, config.n_boxes, config.n_lines, generator)
        self.offset = _dense(config.n_dense, config.n_boxes, config.n_lines, generator)
        # Last, so that the draws of the others do not depend on it.
        self.redshift = None if config.redshift is None else RedshiftHead(config, generator)

    def trunk(self) -> Iterator[tuple[nn.Conv1d | nn.Linear, nn.BatchNorm2d | nn.BatchNorm1d]]:
        """Yield the layers shared by all heads, each with its normalisation, in their order."""
        layers, norms = (*self.convs, self.common), (*self.conv_norms, self.common_norm)
        for layer, norm in zip(layers, norms, strict=True):
            assert isinstance(layer, nn.Conv1d | nn.Linear)  # for mypy: a ModuleList forgets types
            assert isinstance(norm, nn.BatchNorm2d | nn.BatchNorm1d)
            yield layer, norm

    def forward(
        self, flux: Tensor, *, dropout: float = 0.0, source: DropoutSource | None = None
    ) -> Logits:
        """Return the outputs of all heads; in training mode running statistics move on.

        Args:
            flux: (n, n_bins) normalised spectra on the network's device.
            dropout: part of the activations dropped after every convolution.
            source: masks for a CPU.
        """
        layers, norms = zip(*self.trunk(), strict=True)
        rates = [dropout] * len(self.convs) + [0.0]

        def activate(x: Tensor, number: int) -> Tensor:
            return relu_dropout(norms[number](x), rates[number], source)

        trunk = [Affine(_as_image(layer.weight), layer.bias) for layer in layers]
        return forward(self._layers(trunk), self.config, flux, activate)

    def _layers(self, trunk: Sequence[Affine]) -> Layers:
        heads = [Affine(head.weight, head.bias) for head in (self.box, self.offset)]
        head = self.redshift
        return Layers(trunk, heads, None if head is None else (head.arrays(), head.reader))

    def offsets(self, offset_logits: Tensor) -> Tensor:
        """Return the offset in every box, in (offset_low, offset_high)."""
        span = self.config.offset_high - self.config.offset_low
        return self.config.offset_low + span * torch.sigmoid(offset_logits)


def folded_layers(model: LineFinder, device: torch.device) -> Layers:
    """Return a trained network's weights with every normalisation folded into the layer before.

    Args:
        model: left as it is.
        device: of the result.
    """
    with torch.no_grad():
        first, *others = (_fold(layer, norm) for layer, norm in model.trunk())
        # One matrix product: its result has channels last, where a convolution of a single
        # channel would have to be put in order afterwards.
        trunk = [Affine(first.weight[:, 0], first.bias)]
        trunk += [Affine(_as_image(other.weight), other.bias) for other in others]
        _, heads, redshift = model._layers(trunk)
        both = Affine(*(torch.cat(tensors) for tensors in zip(*heads, strict=True)))
        if redshift is not None:
            arrays, reader = redshift
            redshift = HeadArrays(*(a.detach().to(device) for a in arrays)), reader.to(device)
    return Layers([_to(layer, device) for layer in trunk], [_to(both, device)], redshift)


def stacked_layers(networks: Sequence[Layers]) -> Layers:
    """Return layers whose tensors are those of several networks of one shape, network first.

    A redshift head is left out.
    """

    def stack(layers: Iterable[Sequence[Affine]]) -> list[Affine]:
        return [
            Affine(*map(torch.stack, zip(*one, strict=True))) for one in zip(*layers, strict=True)
        ]

    return Layers(stack(n.trunk for n in networks), stack(n.heads for n in networks), None)


def fold_biases(model: LineFinder) -> None:
    """Move biases in front of batch normalisations into their running means, for good.

    A bias there changes nothing: its batch's mean is subtracted straight after. Folded, the
    network gives the same output, and training need not carry a gradient that is only rounding.
    """
    with torch.no_grad():
        for layer, norm in model.trunk():
            assert layer.bias is not None
            assert norm.running_mean is not None
            norm.running_mean -= layer.bias
            layer.bias.zero_().requires_grad_(False)


def use_mean_statistics(model: LineFinder, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of batch normalisation to their mean over batches, dropout off.

    QuasarNET keeps 0.99 of the old value at each step. On 600 labelled spectra that is three
    steps per epoch: after ten epochs three quarters of the statistics would still be the
    meaningless ones a network starts with. And dropout makes activations vary more than they do
    in use, so statistics gathered while training are those of another network (Li et al. 2018,
    arXiv:1801.05134).

    Args:
        model: in training mode; its statistics change.
        batches: (n, n_bins) each, at least one; each counts by its number of spectra.
    """
    seen = 0
    with torch.no_grad():
        for flux in batches:
            seen += len(flux)
            for _, norm in model.trunk():
                norm.momentum = len(flux) / seen  # the part this batch contributes
            model(flux)


def _convolve(x: Tensor, layer: Affine, stride: int, pad: Padding) -> Tensor:
    """Convolve (n, channels, 1, width) rows; the result has its channels last in memory."""
    if layer.weight.dim() == 2:  # noqa: PLR2004 -- the matrix of a single channel
        reads = functional.pad(x[:, 0, 0], pad).unfold(1, layer.weight.shape[1], stride)
        product = functional.linear(reads, *layer)  # (n, n_reads, n_filters)
        return product.unsqueeze(1).permute(0, 3, 1, 2)  # (n, n_filters, 1, n_reads)
    if pad.right > pad.left:
        x = functional.pad(x, (0, pad.right - pad.left))
    return functional.conv2d(x, *layer, stride=(1, stride), padding=(0, pad.left))


def _as_image(weight: Tensor) -> Tensor:
    """Return a kernel (n_filters, channels, kernel_width) as an image of height 1."""
    if weight.dim() == 2:  # noqa: PLR2004 -- a dense layer's matrix
        return weight
    return weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def _fold(layer: nn.Module, norm: nn.Module) -> Affine:
    """Fold a normalisation in, in double precision: the result is rounded once."""
    state = {name: value.double() for name, value in norm.state_dict().items()}
    scale = state["weight"] / torch.sqrt(state["running_var"] + BATCH_NORM_EPS)
    weight = layer.get_parameter("weight").double()
    bias = layer.get_parameter("bias").double()
    folded = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    return Affine(folded.float(), ((bias - state["running_mean"]) * scale + state["bias"]).float())


def _to(layer: Affine, device: torch.device) -> Affine:
    return Affine(*(tensor.detach().to(device) for tensor in layer))


def _dense(n_in: int, n_out: int, n_heads: int, generator: torch.Generator | None) -> nn.Linear:
    dense: nn.Linear = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Linear, n_in, n_out * n_heads
    )
    # Glorot's bound is that of one head: in Keras each is a layer of its own.
    bound = math.sqrt(6.0 / (n_in + n_out))
    nn.init.uniform_(dense.weight, -bound, bound, generator=generator)
    nn.init.zeros_(dense.bias)
    return dense
