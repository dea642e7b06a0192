"""The two published networks by name, and one of ours."""

from dataclasses import replace
from typing import Any, Final

from quasarloop.errors import WeightsError
from quasarloop.grid import LOG_GRID, WaveGrid
from quasarloop.network.model import NetworkConfig
from quasarloop.network.redshift_grid import RedshiftGrid

__all__ = ["PRESETS", "preset"]

# Source: INTEROP.md, "Networks". The released code drops 20 % of the activations where the
# paper writes that 0.8 are zeroed; `preset("green2025", dropout=0.8)` gives the latter.
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
