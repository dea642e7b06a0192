"""A redshift head: one p(z) from a map of the spectrum, trained on redshifts themselves.

Boxes and offsets are guessed from a hundred numbers that have forgotten places; so offsets
clump. The map of an early convolution still knows them. Every cell of it, told what the whole
network makes of the spectrum, gives evidence for each emission line, bin by bin. At a trial
redshift the lines' evidence is read where they would stand and added up; outside the map it is
0. What the whole network thinks of the redshift, coarsely, is added. The sum is ln p(z).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from quasarloop.network.redshift_grid import RedshiftTargets, line_reads

if TYPE_CHECKING:
    from quasarloop.network.model import NetworkConfig

__all__ = ["HeadArrays", "Reader", "RedshiftHead", "head_logits", "redshift_loss"]


class HeadArrays(NamedTuple):
    """The weights of a head, (out, in) each, and their biases.

    Attributes:
        local, local_bias: features of a cell from the maps, (n_channels, n_filters x maps).
        whole: features of every cell from the whole network, (n_channels, n_dense).
        lines, lines_bias: evidence from features, (bins of a cell x lines, n_channels).
        knots, knots_bias: the coarse part, (n_knots, n_dense).
    """

    local: Tensor
    local_bias: Tensor
    whole: Tensor
    lines: Tensor
    lines_bias: Tensor
    knots: Tensor
    knots_bias: Tensor


class Reader(NamedTuple):
    """How evidence becomes ln p(z), as tensors on the network's device.

    Attributes:
        lower: (n_lines, n_z) place of the lower neighbour, as `LineReads`.
        fraction: (n_lines, n_z, 1).
        knot: (n_z,) the knot below each redshift.
        knot_fraction: (n_z, 1) how far towards the next.
        cells: (n_maps, width) the cell of each map that lies under a cell of the first.
    """

    lower: Tensor
    fraction: Tensor
    knot: Tensor
    knot_fraction: Tensor
    cells: Tensor

    @classmethod
    def of(cls, config: "NetworkConfig") -> "Reader":
        """Work out a network's."""
        head = config.redshift
        assert head is not None  # for mypy: only networks with a head come here
        lines = tuple(config.lines[i] for i in config.emission_index)
        n_places = config.widths[head.conv] * config.stride**head.conv
        reads = line_reads(head, lines, config.grid, _first_bin(config, head.conv), n_places)
        step = torch.arange(head.n_z)
        knot = torch.clamp(step // head.knot_steps, max=head.n_knots - 2)
        return cls(
            torch.from_numpy(reads.lower.T.copy()),
            torch.from_numpy(reads.fraction.T.copy()).unsqueeze(2),
            knot,
            (step / head.knot_steps - knot).float().unsqueeze(1),
            torch.from_numpy(np.stack([_under(config, head.conv, n) for n in head.maps])),
        )

    def to(self, device: torch.device) -> "Reader":
        """Return it on a device."""
        return Reader(*(tensor.to(device) for tensor in self))

    def log_p(self, evidence: Tensor, knots: Tensor) -> Tensor:
        """Add evidence up at every redshift.

        Args:
            evidence: (n, n_places, n_lines).
            knots: (n, n_knots).

        Returns:
            (n, n_z), ln p(z) up to a constant.
        """
        # Spectra last: what is picked are then whole rows of memory.
        places = functional.pad(evidence.permute(2, 1, 0), (0, 0, 1, 1))  # (n_lines, places + 2, n)
        total = _between(knots.t(), self.knot, self.knot_fraction)  # (n_z, n)
        for line, lower, fraction in zip(places, self.lower, self.fraction, strict=True):
            total = total + _between(line, lower, fraction)
        return total.t()  # (n, n_z)


class RedshiftHead(nn.Module):
    """The head of a network whose configuration has one.

    Args:
        config: the network's.
        generator: draws the first weights (Glorot uniform; biases zero).
    """

    def __init__(self, config: "NetworkConfig", generator: torch.Generator | None = None) -> None:
        super().__init__()
        head = config.redshift
        assert head is not None  # for mypy: built only for networks with a head
        self.bins_per_cell = config.stride**head.conv
        n_out = self.bins_per_cell * len(config.emission_index)
        self.local = _linear(config.n_filters * head.n_maps, head.n_channels, generator)
        self.whole = _linear(config.n_dense, head.n_channels, generator, bias=False)
        self.lines = _linear(head.n_channels, n_out, generator)
        self.knots = _linear(config.n_dense, head.n_knots, generator)
        self.reader = Reader.of(config)

    def arrays(self) -> HeadArrays:
        """Return its weights."""
        return HeadArrays(*(self.get_parameter(name) for name in _PARAMETERS))

    def forward(self, cells: Sequence[Tensor], hidden: Tensor) -> Tensor:
        """Return (n, n_z) ln p(z) up to a constant; arguments as `head_logits`."""
        return head_logits(cells, hidden, self.arrays(), self.reader)


def head_logits(
    cells: Sequence[Tensor], hidden: Tensor, arrays: HeadArrays, reader: Reader
) -> Tensor:
    """Return (n, n_z) ln p(z) up to a constant.

    Args:
        cells: the maps, finest first, (n, width, n_filters) each.
        hidden: (n, n_dense) what all heads share.
        arrays: the head's weights.
        reader: how its evidence is read.
    """
    whole = functional.linear(hidden, arrays.whole, arrays.local_bias)
    reader = reader.to(hidden.device)
    kernels = arrays.local.chunk(len(cells), dim=1)
    features = _linear_of(cells[0], kernels[0]).add_(whole.unsqueeze(1))
    for coarser, kernel, under in zip(cells[1:], kernels[1:], reader.cells[1:], strict=True):
        features += _linear_of(coarser, kernel).index_select(1, under)
    features.relu_()  # (n, width, n_channels)
    # Half precision would round evidence to parts of what tells neighbouring bins apart.
    with torch.autocast(features.device.type, enabled=False):
        evidence = functional.linear(features.float(), arrays.lines, arrays.lines_bias)
        knots = functional.linear(hidden.float(), arrays.knots, arrays.knots_bias)
        # A cell's outputs are bin after bin, in each of them line after line.
        places = evidence.view(len(hidden), -1, len(reader.lower))  # (n, n_places, n_lines)
        return reader.log_p(places, knots)


def redshift_loss(log_p: Tensor, targets: RedshiftTargets) -> Tensor:
    """Return the mean cross-entropy over a batch, spectra of weight 0 counted in its number.

    Args:
        log_p: (n, n_z) up to a constant.
        targets: of the same n spectra.
    """
    device = log_p.device
    lower = torch.from_numpy(targets.lower).to(device).unsqueeze(1)
    fraction, weight = (torch.from_numpy(a).to(device) for a in targets[1:])
    normed = functional.log_softmax(log_p, dim=1)
    low, high = normed.gather(1, lower)[:, 0], normed.gather(1, lower + 1)[:, 0]
    return -(torch.lerp(low, high, fraction) * weight).sum() / len(log_p)


_PARAMETERS = (
    "local.weight",
    "local.bias",
    "whole.weight",
    "lines.weight",
    "lines.bias",
    "knots.weight",
    "knots.bias",
)


def _linear_of(cells: Tensor, kernel: Tensor) -> Tensor:
    """Return (n, width, n_channels) as one matrix product: torch would take n, twice as slow."""
    flat = cells.flatten(0, 1)  # (n * width, n_filters)
    return functional.linear(flat, kernel.contiguous()).view(len(cells), -1, len(kernel))


def _between(rows: Tensor, lower: Tensor, fraction: Tensor) -> Tensor:
    """Return what lies between neighbouring rows, (n_rows, n) -> (n_z, n)."""
    rows = rows.contiguous()
    return torch.lerp(rows.index_select(0, lower), rows.index_select(0, lower + 1), fraction)


def _under(config: "NetworkConfig", finest: int, conv: int) -> NDArray[np.int64]:
    """Return the cell of a map that lies under the middle of each cell of the finest."""
    fine, coarse = config.stride**finest, config.stride**conv
    middle = _first_bin(config, finest) + (np.arange(config.widths[finest]) + 0.5) * fine
    cell = np.floor((middle - _first_bin(config, conv)) / coarse)
    return np.asarray(np.clip(cell, 0, config.widths[conv] - 1), dtype=np.int64)


def _first_bin(config: "NetworkConfig", conv: int) -> float:
    """Return the bin that the first place of a convolution's map stands for.

    The middle of what a convolution's first output reads, in bins, is found layer by layer;
    the bins of its cell lie around that.
    """
    middle, stride = 0.0, 1
    for pad in config.paddings()[:conv]:
        middle += stride * ((config.kernel_width - 1) / 2 - pad.left)
        stride *= config.stride
    return middle - (stride - 1) / 2


def _linear(
    n_in: int, n_out: int, generator: torch.Generator | None, *, bias: bool = True
) -> nn.Module:
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out, bias=bias)  # type: ignore[no-untyped-call]
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    if bias:
        nn.init.zeros_(layer.get_parameter("bias"))
    return layer
