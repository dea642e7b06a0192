"""Figures of the map: counts class by class (Fig. 2), walls, cells, where the chosen ones lie."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from quasarloop.classes import HIGH_Z_MIN, Vote
from quasarloop.errors import SelectionError
from quasarloop.evaluate.figures import COLOURS, new_figure, use_style
from quasarloop.query.som import CellGrid, SelfOrganizingMap, u_matrix
from quasarloop.truth import SpecType, TruthTable, match_truth

__all__ = ["cell_figure", "chosen_figure", "counts_by_class", "counts_figure", "walls_figure"]

Counts = NDArray[np.integer]

# Perceptually uniform, and read alike with every kind of colour vision; the darkest is the most, as
# empty cells are white.
_MAP_COLOURS: Final = "cividis_r"
_OUTLINE: Final = COLOURS[1]
_DOT: Final = 7  # square points, for one spectrum
_HIGHEST_WALL: Final = 99.5  # percentile
_MAP_INCHES: Final = 4.4
_BAND: Final = (16, 84)


def counts_by_class(
    target_id: NDArray[np.int64], cell: Counts, truth: TruthTable, cells: CellGrid
) -> dict[str, NDArray[np.int64]]:
    """Count labelled spectra of each class in every cell.

    Args:
        target_id: (n,) of the assignment.
        cell: (n,) its cells, -1 for none.
        truth: labels; only those good enough to train with are counted.
        cells: the map's cells.

    Returns:
        Class name -> (n_cells,) counts; quasars are split where the votes split them.
    """
    row = match_truth(target_id, truth)
    known = (row >= 0) & (cell >= 0)
    known[known] &= truth.trains[row[known]]
    spectype, votes = truth.spectype[row[known]], truth.votes()[row[known]]
    kinds = {
        "stars": spectype == SpecType.STAR,
        "galaxies": spectype == SpecType.GALAXY,
        f"quasars below z = {HIGH_Z_MIN}": votes == Vote.LOW_Z,
        f"quasars from z = {HIGH_Z_MIN}": votes == Vote.HIGH_Z,
    }
    return {
        name: np.bincount(cell[known][mask], minlength=cells.n_cells)
        for name, mask in kinds.items()
    }


@use_style()
def counts_figure(
    total: Counts, by_class: Mapping[str, Counts], cells: CellGrid, least_count: float
) -> Figure:
    """Draw how many spectra each cell holds: all of them, and class by class.

    Args:
        total: (n_cells,) all spectra.
        by_class: class -> (n_cells,) labelled spectra.
        cells: the map's cells.
        least_count: cells with fewer are outliers'; they are outlined. NaN outlines none.

    Source: paper, Figure 2.
    """
    places: list[Any] = [["all", "all", *row] for row in _in_two_rows(list(by_class))]
    figure = new_figure(_MAP_INCHES)
    panels = figure.subplot_mosaic(places or [["all"]], empty_sentinel="")
    sides = {"all": {"all": total}, "class": by_class}
    for side, every in sides.items():
        norm = _log_norm(*every.values())
        for name, counts in every.items():
            panel = panels[name]
            image = _draw_map(panel, np.where(counts > 0, counts, np.nan), cells, norm)
            title = "all spectra " if side == "all" else f"{name}\n"
            panel.set_title(f"{title}({int(counts.sum()):,})")
            _outline(panel, total < least_count, cells, _OUTLINE)
        if every:
            bar = figure.colorbar(image, ax=[panels[name] for name in every], location="bottom")
            _name_counts(bar, "spectra per cell" if side == "all" else "labelled spectra per cell")
    for name in by_class:  # too small for numbers of rows and columns
        panels[name].set(xticks=[], yticks=[], xlabel="", ylabel="")
    return figure


def _in_two_rows(names: list[str]) -> list[list[str]]:
    half = -(-len(names) // 2)
    rows = [names[:half], names[half:]] if half > 1 else [names] if names else []
    return [row + [""] * (half - len(row)) for row in rows]


@use_style()
def walls_figure(som: SelfOrganizingMap) -> Figure:
    """Draw the U-matrix: bright walls part regions of unlike spectra."""
    figure = new_figure(_MAP_INCHES)
    axes = figure.subplots()
    walls = u_matrix(som).ravel()
    # A few cells of broken spectra are so far off that the rest would look flat.
    norm = Normalize(vmin=0, vmax=float(np.percentile(walls, _HIGHEST_WALL)))
    image = _draw_map(axes, walls, som.cells, norm)
    bar = figure.colorbar(image, ax=axes, shrink=0.85, extend="max")
    bar.set_label("mean distance to touching cells")
    axes.set_title(f"walls of the map ({som.cells.describe()})")
    return figure


@use_style()
def chosen_figure(
    counts: Counts, cells: CellGrid, least_count: float, chosen_cell: Counts
) -> Figure:
    """Draw where on the map the chosen spectra lie; larger dots are more of them.

    Counts and outlines are as in `counts_figure`; a chosen spectrum of cell -1 is not drawn.
    """
    figure = new_figure(_MAP_INCHES)
    axes = figure.subplots()
    filled = np.where(counts > 0, counts, np.nan)
    image = _draw_map(axes, filled, cells, _log_norm(counts))
    axes.set_anchor("W")
    bar = figure.colorbar(image, cax=axes.inset_axes((1.04, 0, 0.04, 1)))
    _name_counts(bar, "spectra per cell")
    _outline(axes, counts < least_count, cells, "black")
    number = np.bincount(chosen_cell[chosen_cell >= 0], minlength=cells.n_cells)
    cell = np.flatnonzero(number)
    dots = axes.scatter(
        cell % cells.n_columns,
        cell // cells.n_columns,
        s=_DOT * number[cell],
        color=COLOURS[1],
        edgecolor="white",
        lw=0.4,
    )
    if there := np.unique(number[cell]).tolist():
        sizes = dots.legend_elements(
            "sizes", num=there, fmt="{x:.0f}", func=lambda size: np.asarray(size) / _DOT
        )
        axes.legend(*sizes, loc="upper left", bbox_to_anchor=(1.25, 1), title="chosen of a cell")
    axes.set_title(
        f"{int(number.sum()):,} chosen, in {len(cell)} cells (at most {number.max(initial=0)})",
    )
    return figure


@use_style()
def cell_figure(
    wave_aa: NDArray[np.floating],
    weights: NDArray[np.floating],
    flux: NDArray[np.floating],
    cell: int,
) -> Figure:
    """Draw a cell's weights and its spectra.

    Args:
        wave_aa: (n_bins,) Å.
        weights: (n_bins,) the cell's weights.
        flux: (n, n_bins) normalised spectra of the cell; n may be 0.
        cell: its number, for the title.
    """
    figure = new_figure(3.4)
    axes = figure.subplots()
    if len(flux):
        low, high = np.percentile(flux, _BAND, axis=0)
        band = f"{_BAND[0]} to {_BAND[1]} % of its spectra"
        axes.fill_between(wave_aa, low, high, color=COLOURS[5], alpha=0.35, lw=0, label=band)
        axes.plot(wave_aa, flux.mean(axis=0), color=COLOURS[0], lw=1.4, label="their mean")
    axes.plot(wave_aa, weights, color="0.15", lw=0.9, ls="--", label="the cell's weights")
    axes.set(xlabel="observed wavelength (Å)", ylabel="normalised flux")
    axes.set(xlim=(float(wave_aa[0]), float(wave_aa[-1])))
    axes.set_title(f"cell {cell}: {len(flux):,} spectra")
    axes.legend()
    return figure


def _log_norm(*counts: Counts) -> LogNorm:
    """Return a scale from the smallest count of a cell that is not empty to the largest."""
    filled = np.concatenate([c[c > 0] for c in counts]) if counts else np.zeros(0)
    least = int(filled.min()) if len(filled) else 1
    return LogNorm(vmin=least, vmax=max(least + 1, int(filled.max(initial=0))))


def _name_counts(bar: Colorbar, label: str) -> None:
    """Name a bar of colours and write whole numbers at it."""
    numbers = [n * 10**power for power in range(8) for n in (1, 2, 5)]
    shown = [n for n in numbers if bar.norm.vmin <= n <= bar.norm.vmax]
    bar.set_ticks(shown, labels=[f"{n:,}" for n in shown])
    bar.minorticks_off()
    bar.set_label(label)


def _draw_map(
    axes: Axes, values: NDArray[np.floating], cells: CellGrid, norm: Normalize
) -> AxesImage:
    if len(values) != cells.n_cells:
        raise SelectionError(f"{len(values)} values for a {cells.describe()}")
    table = values.reshape(cells.n_rows, cells.n_columns)
    axes.grid(visible=False)
    axes.set(xlabel="column", ylabel="row")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return axes.imshow(table, origin="lower", cmap=_MAP_COLOURS, norm=norm, interpolation="none")


def _outline(axes: Axes, marked: NDArray[np.bool_], cells: CellGrid, colour: str) -> None:
    """Draw the border between marked cells and others."""
    table = np.pad(marked.reshape(cells.n_rows, cells.n_columns), 1)
    lines = []
    for row, column in zip(*np.nonzero(table[:, 1:] != table[:, :-1]), strict=True):
        x, y = column - 0.5, row - 1.0
        lines.append([(x, y - 0.5), (x, y + 0.5)])
    for row, column in zip(*np.nonzero(table[1:] != table[:-1]), strict=True):
        x, y = column - 1.0, row - 0.5
        lines.append([(x - 0.5, y), (x + 0.5, y)])
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=0.8))
