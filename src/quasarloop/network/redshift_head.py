"""A redshift head: one p(z) from a map of the spectrum, trained on redshifts themselves.

Boxes and offsets are computed from a hundred features without positions; so offsets clump. The
map of an early convolution still has positions. Every cell of it, together with the features of
the whole spectrum, gives evidence for each emission line, bin by bin. At a trial redshift the
evidence of each line is read at its position and added up; outside the map it is 0. A coarse
ln p(z) from the features of the whole spectrum is added. The sum is ln p(z).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from quasarloop.grid import WaveGrid
from quasarloop.lines import Line
from quasarloop.network.config import NetworkConfig, RedshiftGrid

__all__ = ["HeadArrays", "Reader", "RedshiftHead", "glorot", "head_logits", "line_reads"]


def line_reads(
    head: RedshiftGrid, lines: tuple[Line, ...], grid: WaveGrid, first_bin: float, n_places: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return where to read the lines' maps at every redshift: between two neighbours.

    Args:
        head: the redshifts.
        lines: emission lines.
        grid: the network's bins.
        first_bin: the bin of the map's first place; each next place is one bin further.
        n_places: places of the map.

    Returns:
        (n_z, n_lines) place of the lower neighbour in a map with one more place, for "outside",
        before its first and one after its last; and (n_z, n_lines) the weight of the next place,
        1 less that of the lower.
    """
    wave = np.multiply.outer(1.0 + head.z, [line.wave_rest_aa for line in lines])  # (n_z, lines)
    if grid.kind == "log":
        position = np.log10(wave / grid.start_aa) / grid.step
    else:
        position = (wave - grid.start_aa) / grid.step
    # Half a bin: a place is the middle of its bin. One: for the place before the first.
    place = np.clip(position - 0.5 - first_bin + 1.0, 0.0, n_places + 0.999)
    lower = np.floor(place).astype(np.int64)
    return lower, (place - lower).astype(np.float32)


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

    ln p(z) is a weighted sum of a few rows of a table: every line's places, line after line,
    then zeros, for lines outside, then the knots.

    Attributes:
        rows: (n_z, 2 n_lines + 2) the rows summed: two neighbours of every line and the knots.
        weight: (n_z, 2 n_lines + 2).
        cells: (n_maps, width) the cell of each map that lies under a cell of the first.
    """

    rows: Tensor
    weight: Tensor
    cells: Tensor

    @classmethod
    def of(cls, config: NetworkConfig) -> "Reader":
        """Return the reader of a network."""
        head = config.redshift
        assert head is not None  # for mypy: only networks with a head come here
        lines = tuple(config.lines[i] for i in config.emission_index)
        n_places = config.widths[head.conv] * config.stride**head.conv
        first_bin = _first_bin(config, head.conv)
        places, fraction = line_reads(head, lines, config.grid, first_bin, n_places)
        outside = n_places * len(lines)
        first = n_places * np.arange(len(lines))
        # Of a line's places, 0 and the last are outside.
        low, high = (
            np.where((place >= 1) & (place <= n_places), place - 1 + first, outside)
            for place in (places, places + 1)
        )
        step = np.arange(head.n_z)
        knot = np.minimum(step // head.knot_steps, head.n_knots - 2)
        lower = np.column_stack([low, outside + 1 + knot])  # (n_z, n_lines + 1)
        upper = np.column_stack([high, outside + 2 + knot])
        above = np.column_stack([fraction, step / head.knot_steps - knot])
        return cls(
            torch.from_numpy(np.hstack([lower, upper])),
            torch.from_numpy(np.hstack([1 - above, above]).astype(np.float32)),
            torch.from_numpy(np.stack([_under(config, head.conv, n) for n in head.maps])),
        )

    @property
    def n_lines(self) -> int:
        """Number of emission lines."""
        return self.rows.shape[1] // 2 - 1

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
        # Spectra last: what is summed are then whole rows of memory.
        places = evidence.permute(2, 1, 0).unbind()  # (n_places, n) of each line
        table = torch.cat([*places, torch.zeros_like(places[0][:1]), knots.t()])
        return _sum_of_rows(table, self.rows, self.weight).t()  # (n, n_z)


class RedshiftHead(nn.Module):
    """The head of a network whose configuration has one.

    Args:
        config: the network's.
        generator: draws the first weights (Glorot uniform; biases zero).
    """

    def __init__(self, config: NetworkConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        head = config.redshift
        assert head is not None  # for mypy: built only for networks with a head
        self.bins_per_cell = config.stride**head.conv
        n_out = self.bins_per_cell * len(config.emission_index)
        n_local = config.n_filters * head.n_maps
        self.local = glorot(nn.Linear, n_local, head.n_channels, generator=generator)
        self.whole = glorot(
            nn.Linear, config.n_dense, head.n_channels, bias=False, generator=generator
        )
        self.lines = glorot(nn.Linear, head.n_channels, n_out, generator=generator)
        self.knots = glorot(nn.Linear, config.n_dense, head.n_knots, generator=generator)
        self.reader = Reader.of(config)

    def arrays(self) -> HeadArrays:
        """Return its weights."""
        return HeadArrays(*self.parameters())  # in the order of their layers above

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
    coarse = [_linear_of(*pair) for pair in zip(cells[1:], kernels[1:], strict=True)]
    if coarse:
        coarse[0] += whole.unsqueeze(1)  # there, cells are fewer
    spread = [
        one.index_select(1, under) for one, under in zip(coarse, reader.cells[1:], strict=True)
    ]
    features = sum(spread[1:], spread[0]) if spread else whole.unsqueeze(1)
    features = _plus_linear(features, cells[0], kernels[0])
    features.relu_()  # (n, width, n_channels)
    # Half precision would round evidence to parts of the difference of neighbouring bins.
    with torch.autocast(features.device.type, enabled=False):
        evidence = functional.linear(features.float(), arrays.lines, arrays.lines_bias)
        knots = functional.linear(hidden.float(), arrays.knots, arrays.knots_bias)
        # A cell's outputs are bin after bin, in each of them line after line.
        places = evidence.view(len(hidden), -1, reader.n_lines)  # (n, n_places, n_lines)
        return reader.log_p(places, knots)


def _linear_of(cells: Tensor, kernel: Tensor) -> Tensor:
    """Return (n, width, n_channels) as one matrix product: torch would take n, twice as slow."""
    flat = cells.flatten(0, 1)  # (n * width, n_filters)
    return functional.linear(flat, kernel.contiguous()).view(len(cells), -1, len(kernel))


def _plus_linear(features: Tensor, cells: Tensor, kernel: Tensor) -> Tensor:
    """Return features + `_linear_of` cells; in place of the features where nothing learns."""
    if torch.is_grad_enabled() or features.shape[1] != cells.shape[1]:
        return _linear_of(cells, kernel) + features
    features.flatten(0, 1).addmm_(cells.flatten(0, 1), kernel.t())
    return features


def _sum_of_rows(table: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    """Return weighted sums of rows of a table (n_rows, n): (n_z, k) of them -> (n_z, n)."""
    if table.device.type == "mps":  # where embedding_bag is missing
        return torch.einsum("zkn,zk->zn", table[rows], weight)
    return functional.embedding_bag(rows, table, per_sample_weights=weight, mode="sum")


def _under(config: NetworkConfig, finest: int, conv: int) -> NDArray[np.int64]:
    """Return the cell of a map that lies under the middle of each cell of the finest."""
    fine, coarse = config.stride**finest, config.stride**conv
    middle = _first_bin(config, finest) + (np.arange(config.widths[finest]) + 0.5) * fine
    cell = np.floor((middle - _first_bin(config, conv)) / coarse)
    return np.asarray(np.clip(cell, 0, config.widths[conv] - 1), dtype=np.int64)


def _first_bin(config: NetworkConfig, conv: int) -> float:
    """Return the bin of the first place of a convolution's map.

    The middle of what a convolution's first output reads, in bins, is found layer by layer;
    the bins of its cell lie around that.
    """
    middle, stride = 0.0, 1
    for pad in config.paddings()[:conv]:
        middle += stride * ((config.kernel_width - 1) / 2 - pad.left)
        stride *= config.stride
    return middle - (stride - 1) / 2


def glorot(
    kind: type[nn.Module], *shape: int, generator: torch.Generator | None, **settings: Any
) -> nn.Module:
    """Return a layer whose first weights are drawn uniformly after Glorot, its biases zero."""
    layer: nn.Module = nn.utils.skip_init(kind, *shape, **settings)  # type: ignore[no-untyped-call]
    nn.init.xavier_uniform_(layer.get_parameter("weight"), generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.get_parameter("bias"))
    return layer
