"""The line-finder network: from a spectrum on the grid to boxes and offsets per line.

A spectrum passes through convolutions of stride 2, one dense layer, and one pair of
heads per emission line: which of the boxes holds the line, and where in that box. A network
may have one more head, which gives one p(z) for all lines (`redshift_head`).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from quasarloop.errors import WeightsError
from quasarloop.grid import LOG_GRID, WaveGrid
from quasarloop.lines import NETWORK_LINES, Line
from quasarloop.network.redshift_grid import RedshiftGrid
from quasarloop.network.redshift_head import RedshiftHead

__all__ = [
    "BATCH_NORM_EPS",
    "BATCH_NORM_MOMENTUM",
    "OFFSET_RANGE",
    "PLAIN_OFFSET_RANGE",
    "LineFinder",
    "Logits",
    "NetworkConfig",
    "Padding",
    "config_from_dict",
    "config_to_dict",
    "same_padding",
]

# Source: INTEROP.md, "Networks" (Keras default, never changed by QuasarNET).
BATCH_NORM_EPS: Final = 1e-3
# Source: INTEROP.md: as Keras means it, the part of the old mean kept; torch counts the
# part of the new one.
BATCH_NORM_MOMENTUM: Final = 0.99
# Source: INTEROP.md: offset = -0.1 + 1.2 sigmoid, in boxes.
OFFSET_RANGE: Final = (-0.1, 1.1)
# Of a network without that rescaling: the bare sigmoid.
PLAIN_OFFSET_RANGE: Final = (0.0, 1.0)


class Logits(NamedTuple):
    """What the heads say, before any sigmoid or softmax.

    Attributes:
        box, offset: (n, n_lines, n_boxes).
        log_p: (n, n_z) ln p(z) up to a constant; None for a network without a redshift head.
    """

    box: Tensor
    offset: Tensor
    log_p: Tensor | None


class Padding(NamedTuple):
    """Zeros put before and after the bins a convolution reads."""

    left: int
    right: int


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that shapes a network and its decoding; the weights are apart.

    Attributes:
        n_conv: number of convolutions.
        n_filters: filters of each convolution.
        kernel_width: bins a convolution reads at once.
        stride: bins between two reads.
        padding: ``"valid"`` (none) or ``"same"`` (TensorFlow's: width divided by the
            stride, rounded up; the odd zero goes to the right).
        n_dense: width of the common dense layer.
        dropout: part of the activations dropped after every convolution in training.
        n_boxes: boxes the grid is divided into.
        lines: what the heads look for, in order.
        grid: the bins of the input.
        offset_low: smallest offset a head can give, in boxes.
        offset_high: largest offset a head can give, in boxes.
        redshift: the redshift head; None for a network of the published kind, without one.

    Raises:
        WeightsError: a value no network can have, or a grid too short for the convolutions.

    Source: INTEROP.md, "Networks" and "Wavelength grids and preprocessing".
    """

    n_conv: int = 6
    n_filters: int = 100
    kernel_width: int = 10
    stride: int = 2
    padding: Literal["valid", "same"] = "same"
    n_dense: int = 100
    dropout: float = 0.0
    n_boxes: int = 13
    lines: tuple[Line, ...] = NETWORK_LINES
    grid: WaveGrid = LOG_GRID
    offset_low: float = OFFSET_RANGE[0]
    offset_high: float = OFFSET_RANGE[1]
    redshift: RedshiftGrid | None = None

    def __post_init__(self) -> None:
        counts = {
            "n_conv": self.n_conv,
            "n_filters": self.n_filters,
            "kernel_width": self.kernel_width,
            "stride": self.stride,
            "n_dense": self.n_dense,
            "n_boxes": self.n_boxes,
            "number of lines": len(self.lines),
        }
        for name, value in counts.items():
            if value < 1:
                raise WeightsError(f"{name} is {value}; a network needs at least 1")
        if self.padding not in ("valid", "same"):
            raise WeightsError(f"padding is {self.padding!r}; expected 'valid' or 'same'")
        if not 0 <= self.dropout < 1:
            raise WeightsError(f"dropout is {self.dropout}; expected a part in [0, 1)")
        if not self.offset_low < self.offset_high:
            raise WeightsError(
                f"offsets run from {self.offset_low} to {self.offset_high}; expected low < high"
            )
        if min(self.widths) < 1:
            raise WeightsError(
                f"{self.n_conv} convolutions of width {self.kernel_width} without padding leave "
                f"nothing of {self.grid.n_bins} bins ({' → '.join(map(str, self.widths))}); "
                "use fewer convolutions, padding='same' or a longer grid"
            )
        if self.redshift is not None and self.redshift.maps[-1] > self.n_conv:
            raise WeightsError(
                f"the redshift head reads convolution {self.redshift.maps[-1]} of {self.n_conv}"
            )
        if self.redshift is not None and not self.emission_index:
            raise WeightsError("a redshift head needs an emission line to read")

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """(n_conv + 1,) width of the input and after every convolution.

        >>> NetworkConfig(n_conv=4, padding="valid").widths
        (443, 217, 104, 48, 20)
        """
        widths = [self.grid.n_bins]
        for _ in range(self.n_conv):
            if self.padding == "same":
                widths.append(-(-widths[-1] // self.stride))
            else:
                widths.append((widths[-1] - self.kernel_width) // self.stride + 1)
        return tuple(widths)

    @property
    def n_flat(self) -> int:
        """Numbers that reach the dense layer."""
        return self.widths[-1] * self.n_filters

    @property
    def n_lines(self) -> int:
        """Number of line finders, the one for broad absorption included."""
        return len(self.lines)

    @property
    def emission_index(self) -> tuple[int, ...]:
        """Positions in `lines` of the emission lines, which alone decide about a quasar."""
        return tuple(i for i, line in enumerate(self.lines) if not line.is_bal)

    @property
    def bal_index(self) -> tuple[int, ...]:
        """Positions in `lines` of the finders of broad absorption."""
        return tuple(i for i, line in enumerate(self.lines) if line.is_bal)

    @property
    def rescales_offsets(self) -> bool:
        """Whether offsets are more than a bare sigmoid."""
        return (self.offset_low, self.offset_high) != PLAIN_OFFSET_RANGE

    def paddings(self) -> tuple[Padding, ...]:
        """(n_conv,) zeros put around the input of every convolution."""
        if self.padding == "valid":
            return (Padding(0, 0),) * self.n_conv
        return tuple(
            same_padding(width, self.kernel_width, self.stride) for width in self.widths[:-1]
        )


def same_padding(width: int, kernel_width: int, stride: int) -> Padding:
    """Return the zeros TensorFlow's "same" puts around a row.

    Args:
        width: bins of the row.
        kernel_width: bins a convolution reads at once.
        stride: bins between two reads.

    Source: INTEROP.md: with width 10 and stride 2 the left gets 4, the right 4 or 5.

    >>> same_padding(222, 10, 2), same_padding(443, 10, 2)
    (Padding(left=4, right=4), Padding(left=4, right=5))
    """
    n_reads = -(-width // stride)
    total = max((n_reads - 1) * stride + kernel_width - width, 0)
    return Padding(total // 2, total - total // 2)


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


def config_to_dict(config: NetworkConfig) -> dict[str, Any]:
    """Return plain numbers, strings and lists that JSON keeps."""
    plain = asdict(config)
    plain["lines"] = [asdict(line) for line in config.lines]
    if config.redshift is None:  # as before there was such a head: same network, same digest
        del plain["redshift"]
    return plain


def config_from_dict(plain: Mapping[str, Any]) -> NetworkConfig:
    """Return the configuration `config_to_dict` gave.

    Raises:
        WeightsError: a key is missing, unknown or of the wrong kind.

    >>> config_from_dict(config_to_dict(NetworkConfig())) == NetworkConfig()
    True
    """
    try:
        lines = tuple(Line(**line) for line in plain["lines"])
        head = plain.get("redshift")
        parts = {
            "lines": lines,
            "grid": WaveGrid(**plain["grid"]),
            "redshift": None if head is None else RedshiftGrid(**head),
        }
        return replace(NetworkConfig(), **{**plain, **parts})
    except (KeyError, TypeError) as exc:
        raise WeightsError(f"not a stored network configuration: {exc}") from exc


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
