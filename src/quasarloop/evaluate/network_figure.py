"""A figure of networks, drawn from their configurations (paper, Fig. 1)."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from quasarloop.evaluate.figures import COLOURS, new_figure, use_style
from quasarloop.lines import line_label
from quasarloop.network.config import NetworkConfig

__all__ = ["network_figure"]

_ROW_INCHES: Final = 2.3
_CHANGED: Final = COLOURS[1]
_FILL: Final = "#D6E6F0"
_HIGH: Final = 1.0  # of the input
_LINE: Final = 0.13  # of text


class _Block(NamedTuple):
    """One layer: its place and height, and what is written in it, above and below it."""

    x: float
    high: float
    size: str
    name: str
    settings: tuple[str, ...] = ()
    wide: float = 0.5  # in steps from one layer to the next


@use_style()
def network_figure(networks: Mapping[str, NetworkConfig]) -> Figure:
    """Draw each network as a row of layers; orange is what differs from the first network.

    Args:
        networks: name → configuration.
    """
    figure = new_figure(_ROW_INCHES * len(networks) + 0.1)
    n_conv = max(config.n_conv for config in networks.values())
    first: dict[str, _Block] = {}
    for axes, (name, config) in zip(
        figure.subplots(len(networks), squeeze=False)[:, 0], networks.items(), strict=True
    ):
        blocks = list(_blocks(config, n_conv))
        first = first or {block.name: block for block in blocks}
        for before, block in pairwise(blocks):
            if block.high:
                ends = (block.x - block.wide / 2, 0), (before.x + before.wide / 2, 0)
                axes.annotate("", *ends, arrowprops={"arrowstyle": "->"})
        for block in blocks:
            _draw(axes, block, first.get(block.name))
        lines = ", ".join(
            f"{line_label(line.name)}{' (BAL)' if line.is_bal else ''}" for line in config.lines
        )
        axes.set_title(f"{name}: {lines}", loc="left")
        axes.set(xlim=(-0.4, n_conv + 3.2), ylim=(-1.05 * _HIGH, 0.75 * _HIGH))
        axes.set_axis_off()
    return figure


def _blocks(config: NetworkConfig, n_conv: int) -> Iterator[_Block]:
    """Yield the layers; dense layers are behind the longest row of convolutions."""
    n_bins, *widths = config.widths
    yield _Block(0, _HIGH, f"{n_bins}", "bins")
    for k, (width, pad) in enumerate(zip(widths, config.paddings(), strict=True), start=1):
        settings = (
            f"width {config.kernel_width}",
            f"stride {config.stride}",
            f"pad {pad.left}+{pad.right}" if any(pad) else "no pad",
            *([f"drop {config.dropout:g}"] if config.dropout else []),
        )
        high = _HIGH * max(0.32, (width / n_bins) ** 0.5)
        yield _Block(k, high, f"{width}\n×{config.n_filters}", f"conv {k}", settings)
    yield _Block(n_conv + 1, 0.4 * _HIGH, f"{config.n_dense}", "dense")
    x, n, k = n_conv + 2.3, config.n_lines, config.n_boxes
    yield _Block(x, 0.6 * _HIGH, f"{n} × {k} boxes\n{n} × {k} offsets", "line finders", wide=1.5)
    if config.redshift is not None:
        head = config.redshift
        maps = ", ".join(f"conv {k}" for k in head.maps)
        text = f"p(z): {head.n_z} redshifts,", f"from {maps},", "dense"
        yield _Block(x, 0, "", "redshift head", text)


def _draw(axes: Axes, block: _Block, first: _Block | None) -> None:
    def colour(same: bool) -> str:
        return "black" if same else _CHANGED

    middle: Any = {"ha": "center", "va": "center"}
    if block.high:
        corner = block.x - block.wide / 2, -block.high / 2
        style: Any = {"facecolor": _FILL, "edgecolor": "black", "lw": 0.8}
        axes.add_patch(Rectangle(corner, block.wide, block.high, **style))
        above = block.x, block.high / 2 + _LINE / 2
        axes.text(*above, block.name, color=colour(first is not None), **middle)
        same = first is not None and first.size == block.size
        axes.text(block.x, 0, block.size, color=colour(same), **middle)
    below = max(block.high, 0.6 * _HIGH) / 2
    for number, line in enumerate(block.settings, start=1):
        same = first is not None and line in first.settings
        axes.text(block.x, -below - number * _LINE, line, color=colour(same), **middle)
