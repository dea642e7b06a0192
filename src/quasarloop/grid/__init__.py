"""Uniform wavelength grids, and spectra brought onto them."""

from quasarloop.grid.rebin import normalise, rebin
from quasarloop.grid.waves import (
    LINEAR_GRID,
    LOG_GRID,
    RED_END,
    RedEnd,
    WaveGrid,
    grid_from_edges,
    grid_named,
)

__all__ = [
    "LINEAR_GRID",
    "LOG_GRID",
    "RED_END",
    "RedEnd",
    "WaveGrid",
    "grid_from_edges",
    "grid_named",
    "normalise",
    "rebin",
]
