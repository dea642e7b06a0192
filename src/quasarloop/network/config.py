"""The shape of a network: its configuration, the published ones by name, JSON and back.

Nothing here needs torch: `model` builds the network of a configuration.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import WeightsError
from quasarloop.grid import LOG_GRID, WaveGrid
from quasarloop.lines import NETWORK_LINES, Line

__all__ = [
    "BATCH_NORM_EPS",
    "BATCH_NORM_MOMENTUM",
    "OFFSET_RANGE",
    "PLAIN_OFFSET_RANGE",
    "PRESETS",
    "Z_MAX",
    "NetworkConfig",
    "Padding",
    "RedshiftGrid",
    "config_from_dict",
    "config_to_dict",
    "preset",
    "same_padding",
]

# Keras' defaults, never changed by QuasarNET. The momentum is the part of the old mean that is
# kept; torch counts the part of the new one. Source: docs/reference/network.md, "Networks".
BATCH_NORM_EPS: Final = 1e-3
BATCH_NORM_MOMENTUM: Final = 0.99
# offset = -0.1 + 1.2 sigmoid, in boxes. Source: docs/reference/network.md, "Lines and boxes".
OFFSET_RANGE: Final = (-0.1, 1.1)
# Of a network without that rescaling: the bare sigmoid.
PLAIN_OFFSET_RANGE: Final = (0.0, 1.0)
# Each halves what is left of a few hundred bins: more is a damaged number. Our choice.
_MOST_CONVS: Final = 100
# Beyond 7 no line but Lyman alpha is on the grid, and none of the published catalogues' quasars.
# Source: our choice.
Z_MAX: Final = 7.0


@dataclass(frozen=True)
class RedshiftGrid:
    """The shape of a redshift head, and the calibration of its p(z).

    Attributes:
        n_channels: features of every cell of the map.
        conv: the convolution whose map it reads, 1 for the first: its cells are the head's.
        n_maps: how many maps it reads, this and those after; theirs are spread over its cells.
        z_max: the grid, uniform in log10(1 + z), runs from 0 to here.
        step: of the grid, in log10(1 + z).
        knot_steps: steps between the knots of the part that the whole network predicts.
        loss_weight: of its cross-entropy beside the loss of boxes and offsets.
        temperature: its logits are divided by this, fitted on spectra held out.
        error_scale: factor from the width of p(z) to the uncertainty, fitted there too.
        wide: so many uncertainties hold 95.45 % of redshifts; 2 if errors were Gaussian. Fitted.

    Raises:
        WeightsError: a value no head can have.

    Source: our choice, measured in docs/measurements/redshifts.md.
    """

    n_channels: int = 64
    conv: int = 2
    n_maps: int = 2
    z_max: float = Z_MAX
    step: float = 1e-3
    knot_steps: int = 20
    loss_weight: float = 1.0
    temperature: float = 1.0
    error_scale: float = 1.0
    wide: float = 2.0

    def __post_init__(self) -> None:
        for name in ("n_channels", "conv", "n_maps", "knot_steps"):
            if getattr(self, name) < 1:
                raise WeightsError(
                    f"redshift head: {name} is {getattr(self, name)}; it must be at least 1"
                )
        for name in ("z_max", "step", "temperature", "error_scale", "wide"):
            if not getattr(self, name) > 0:
                raise WeightsError(
                    f"redshift head: {name} is {getattr(self, name)}; it must be positive"
                )

    @property
    def maps(self) -> range:
        """The convolutions whose maps are read, 1 for the first."""
        return range(self.conv, self.conv + self.n_maps)

    @property
    def n_z(self) -> int:
        """Number of redshifts.

        >>> RedshiftGrid().n_z
        904
        """
        return math.floor(math.log10(1 + self.z_max) / self.step) + 1

    @property
    def n_knots(self) -> int:
        """Number of knots across them."""
        return -(-(self.n_z - 1) // self.knot_steps) + 1

    @property
    def z(self) -> NDArray[np.float64]:
        """(n_z,) the redshifts."""
        return np.asarray(10.0 ** (self.step * np.arange(self.n_z)) - 1.0)


class Padding(NamedTuple):
    """Zeros put before and after the bins a convolution reads; never more before than after."""

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

    Source: docs/reference/network.md, "Networks"; docs/reference/spectra.md, "Wavelength grids".
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
        names = ("n_conv", "n_filters", "kernel_width", "stride", "n_dense", "n_boxes")
        counts = {name: getattr(self, name) for name in names} | {"number of lines": self.n_lines}
        for name, value in counts.items():
            if value < 1:
                raise WeightsError(f"{name} is {value}; a network needs at least 1")
        if self.n_conv > _MOST_CONVS:
            raise WeightsError(f"n_conv is {self.n_conv}; at most {_MOST_CONVS} are computed")
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

    Source: TensorFlow, ``tf.nn.convolution``: with width 10 and stride 2 the left gets 4, the
    right 4 or 5.

    >>> same_padding(222, 10, 2), same_padding(443, 10, 2)
    (Padding(left=4, right=4), Padding(left=4, right=5))
    """
    n_reads = -(-width // stride)
    total = max((n_reads - 1) * stride + kernel_width - width, 0)
    return Padding(total // 2, total - total // 2)


# The released code drops 20 % of the activations where the paper writes that 0.8 are zeroed;
# `preset("green2025", dropout=0.8)` gives the latter.
# Source: docs/reference/network.md, "Networks".
PRESETS: Final[dict[str, NetworkConfig]] = {
    "busca2018": NetworkConfig(n_conv=4, padding="valid", dropout=0.0),
    "green2025": NetworkConfig(n_conv=6, padding="same", dropout=0.2),
    # Ours: green2025 with a redshift head. Its boxes and offsets are read by the same tools.
    "quasarloop2026": NetworkConfig(n_conv=6, padding="same", dropout=0.2, redshift=RedshiftGrid()),
}


def preset(name: str, grid: WaveGrid = LOG_GRID, **changes: Any) -> NetworkConfig:
    """Return a published network, on any grid, with any field changed.

    Args:
        name: ``"busca2018"`` (4 convolutions, no padding) or ``"green2025"`` (6, "same"
            padding, dropout) or ``"quasarloop2026"`` (that, with a redshift head).
        grid: the bins of the input.
        **changes: fields of `NetworkConfig`, e.g. ``dropout=0.8`` or ``n_filters=25``.

    Raises:
        WeightsError: no such preset or field.

    >>> preset("green2025").widths
    (443, 222, 111, 56, 28, 14, 7)
    """
    if name not in PRESETS:
        raise WeightsError(f"no network preset named {name!r}; known: {', '.join(PRESETS)}")
    try:
        return replace(PRESETS[name], grid=grid, **changes)
    except TypeError as exc:
        raise WeightsError(f"network preset {name!r} cannot be changed so: {exc}") from exc


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
        head = plain.get("redshift")
        parts = {
            "lines": tuple(Line(**line) for line in plain["lines"]),
            "grid": WaveGrid(**plain["grid"]),
            "redshift": None if head is None else RedshiftGrid(**head),
        }
        return replace(NetworkConfig(), **{**plain, **parts})
    except (KeyError, TypeError) as exc:
        raise WeightsError(f"not a stored network configuration: {exc}") from exc
