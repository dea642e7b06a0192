"""The line-finder network: from a spectrum on the grid to boxes and offsets per line.

A spectrum passes through convolutions of stride 2, one dense layer, and one pair of
heads per emission line: which of the boxes holds the line, and where in that box. A network
may have one more head, which gives one p(z) for all lines (`redshift_head`).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from quasarloop.network.config import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, NetworkConfig
from quasarloop.network.redshift_head import RedshiftHead

__all__ = ["LineFinder", "Logits"]


class Logits(NamedTuple):
    """What the heads say, before any sigmoid or softmax.

    Attributes:
        box, offset: (n, n_lines, n_boxes).
        log_p: (n, n_z) ln p(z) up to a constant; None for a network without a redshift head.
    """

    box: Tensor
    offset: Tensor
    log_p: Tensor | None


class LineFinder(nn.Module):
    """The network of a `NetworkConfig`.

    Args:
        config: its shape.
        generator: draws the first weights (Glorot uniform; biases zero); None draws from
            torch's global generator.

    Source: INTEROP.md, "Networks"; Busca & Balland 2018.
    """

    def __init__(self, config: NetworkConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.convs = nn.ModuleList(
            _conv(1 if i == 0 else config.n_filters, config, generator)
            for i in range(config.n_conv)
        )
        self.conv_norms = nn.ModuleList(_norm(config.n_filters) for _ in range(config.n_conv))
        self.dropouts = nn.ModuleList(nn.Dropout(config.dropout) for _ in range(config.n_conv))
        self.common = _dense(config.n_flat, config.n_dense, 1, generator)
        self.common_norm = _norm(config.n_dense)
        self.box = _dense(config.n_dense, config.n_boxes, config.n_lines, generator)
        self.offset = _dense(config.n_dense, config.n_boxes, config.n_lines, generator)
        # Last, so that the draws of the others do not depend on it.
        self.redshift = None if config.redshift is None else RedshiftHead(config, generator)

    def forward(self, flux: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the heads say, before any sigmoid.

        Args:
            flux: (n, n_bins) normalised spectra.

        Returns:
            Box logits and offset logits, each (n, n_lines, n_boxes). `confidences` and
            `offsets` turn them into what QuasarNET gives.
        """
        said = self.logits(flux)
        return said.box, said.offset

    def logits(self, flux: Tensor) -> Logits:
        """Return what all heads say, the redshift head included; arguments as `forward`."""
        head = self.config.redshift
        maps: list[Tensor] = []
        hidden = self.features(flux, maps)  # (n, n_dense)
        log_p = None
        if self.redshift is not None and head is not None:
            cells = [maps[number - 1].transpose(1, 2) for number in head.maps]
            log_p = self.redshift(cells, hidden)
        shape = (len(flux), self.config.n_lines, self.config.n_boxes)
        return Logits(self.box(hidden).view(shape), self.offset(hidden).view(shape), log_p)

    def features(self, flux: Tensor, maps: list[Tensor] | None = None) -> Tensor:
        """Return the (n, n_dense) activations all heads share.

        Args:
            flux: (n, n_bins) normalised spectra.
            maps: the output of every convolution is appended here.
        """
        x = flux.unsqueeze(1)  # (n, 1, n_bins)
        layers = zip(
            self.convs, self.conv_norms, self.dropouts, self.config.paddings(), strict=True
        )
        for conv, norm, dropout, pad in layers:
            padded = functional.pad(x, pad) if any(pad) else x  # (n, channels, width + pad)
            x = dropout(functional.relu(norm(conv(padded))))  # (n, n_filters, width')
            if maps is not None:
                maps.append(x)
        # Keras keeps channels last and flattens width by width; so do its dense kernels.
        flat = x.transpose(1, 2).flatten(1)  # (n, width' * n_filters)
        return functional.relu(self.common_norm(self.common(flat)))

    def confidences(self, box_logits: Tensor) -> Tensor:
        """Return the confidence of every box, in (0, 1)."""
        return torch.sigmoid(box_logits)

    def offsets(self, offset_logits: Tensor) -> Tensor:
        """Return the offset in every box, in (offset_low, offset_high)."""
        span = self.config.offset_high - self.config.offset_low
        return self.config.offset_low + span * torch.sigmoid(offset_logits)


def _conv(n_in: int, config: NetworkConfig, generator: torch.Generator | None) -> nn.Module:
    conv: nn.Conv1d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv1d, n_in, config.n_filters, config.kernel_width, stride=config.stride
    )
    nn.init.xavier_uniform_(conv.weight, generator=generator)
    nn.init.zeros_(conv.get_parameter("bias"))
    return conv


def _dense(n_in: int, n_out: int, n_heads: int, generator: torch.Generator | None) -> nn.Module:
    dense: nn.Linear = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Linear, n_in, n_out * n_heads
    )
    # Glorot's bound is that of one head: in Keras each is a layer of its own.
    bound = math.sqrt(6.0 / (n_in + n_out))
    nn.init.uniform_(dense.weight, -bound, bound, generator=generator)
    nn.init.zeros_(dense.bias)
    return dense


def _norm(n_channels: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(n_channels, eps=BATCH_NORM_EPS, momentum=1 - BATCH_NORM_MOMENTUM)
