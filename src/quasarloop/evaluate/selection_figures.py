"""Figures of a selection, 2 to 4: the map, scores of what could be chosen, rejected outliers."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from quasarloop.classes import HIGH_Z_MIN, Vote
from quasarloop.errors import QuasarloopError, SelectionError
from quasarloop.evaluate.figures import COLOURS, use_style
from quasarloop.query.scores import SCORES
from quasarloop.query.som import CellGrid, SelfOrganizingMap, u_matrix
from quasarloop.read import read_spectra
from quasarloop.spectra import Spectra
from quasarloop.truth import SpecType, TruthTable, match_truth

__all__ = [
    "SpectrumPanel",
    "cell_figure",
    "chosen_figure",
    "counts_by_class",
    "counts_figure",
    "draw_spectrum",
    "outlier_panels",
    "outliers_figure",
    "score_figure",
    "smooth",
    "walls_figure",
]


@use_style()
def score_figure(
    edges: NDArray[np.floating], histogram: NDArray[np.integer], cut: float, score: str
) -> Figure:
    """Draw the histogram of scores, one per object, with the lowest score chosen.

    Args:
        edges: (k+1,) of the bins.
        histogram: (k,) objects that could be chosen.
        cut: lowest score among the chosen; NaN draws no line.
        score: its name, for the axis.

    Source: paper, Figure 3.
    """
    figure = Figure(figsize=(6.4, 4.0))
    axes = figure.subplots()
    axes.stairs(histogram, edges, fill=True, color=COLOURS[0], alpha=0.35)
    axes.stairs(histogram, edges, color=COLOURS[0], lw=1.2)
    if histogram.any():
        axes.set(yscale="log", ylim=(0.7, 3.0 * int(histogram.max())))
    axes.set(xlim=(float(edges[0]), float(edges[-1])), xlabel=_label(score), ylabel="objects")
    axes.set_title(f"{int(histogram.sum()):,} objects that could be chosen", fontsize=10)
    if np.isfinite(cut):
        axes.axvline(cut, color=COLOURS[1], lw=1.8)
        left = cut > 0.5 * (edges[0] + edges[-1])
        axes.annotate(
            f"chosen from\n{cut:.4g}",
            (cut, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(-6 if left else 6, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="top",
            color=COLOURS[1],
        )
    return figure


def _label(score: str) -> str:
    if score not in SCORES:
        return score
    unit = SCORES[score].unit
    return f"{score.replace('_', ' ')}{f' ({unit})' if unit else ''}"


# Source: paper, Figure 4: "a Savgol filter with window size 75 pixels and polynomial order 3".
SMOOTH_PIXELS: Final = 75
SMOOTH_ORDER: Final = 3
# Our choice.
MAX_PANELS: Final = 9
# Up to this number of panels, so many columns, each so many inches wide.
_COLUMNS: Final = ((4, 1), (6, 2), (MAX_PANELS, 3))
_WIDTHS: Final = {1: 7.2, 2: 6.0, 3: 5.0}
# Part of the smoothed flux's range left free above and below it; raw noise may go beyond.
_MARGIN: Final = 0.6

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpectrumPanel:
    """One spectrum to draw.

    Attributes:
        spectra: one row.
        title: above the panel.
    """

    spectra: Spectra
    title: str


def smooth(flux: NDArray[np.floating], ivar: NDArray[np.floating]) -> NDArray[np.float64]:
    """Smooth one arm as the paper does; masked pixels are bridged first, and stay masked.

    Args:
        flux: (n_pix,).
        ivar: (n_pix,); 0 is masked.

    Returns:
        (n_pix,) with NaN where masked; all NaN where fewer pixels are left than one window.
    """
    good = ivar > 0
    if np.count_nonzero(good) < SMOOTH_PIXELS:
        return np.full(len(flux), np.nan)
    pixel = np.arange(len(flux))
    whole = np.interp(pixel, pixel[good], np.asarray(flux, dtype=np.float64)[good])
    smoothed = savgol_filter(whole, SMOOTH_PIXELS, SMOOTH_ORDER)
    return np.where(good, smoothed, np.nan)


def outlier_panels(outliers: pl.DataFrame, n: int = MAX_PANELS) -> list[SpectrumPanel]:
    """Read the first outliers as observed.

    Args:
        outliers: of a selection with `SOURCE` and `SOURCE_ROW` (`selection_files.with_sources`);
            without these columns there is nothing to read.
        n: at most so many.

    Returns:
        Panels; files that cannot be read any more are left out with a warning.
    """
    if "SOURCE" not in outliers.columns:
        return []
    panels = []
    for row in outliers.head(n).iter_rows(named=True):
        try:
            source, at = Path(row["SOURCE"]), int(row["SOURCE_ROW"])
            panels.append(SpectrumPanel(read_spectra(source, slice(at, at + 1)), _title(row)))
        except QuasarloopError as exc:
            log.warning("TARGETID %s is not drawn: %s", row["TARGETID"], exc)
    return panels


@use_style()
def outliers_figure(panels: Sequence[SpectrumPanel]) -> Figure:
    """Draw up to nine spectra as observed (light) and smoothed (dark).

    Source: paper, Figure 4.
    """
    panels = panels[:MAX_PANELS]
    n_columns = next(k for most, k in _COLUMNS if len(panels) <= most)
    n_rows = -(-len(panels) // n_columns)
    figure = Figure(figsize=(_WIDTHS[n_columns] * n_columns, 2.0 * n_rows + 0.5))
    axes = np.atleast_1d(np.asarray(figure.subplots(n_rows, n_columns, sharex=True)))
    for index, (place, panel) in enumerate(zip(axes.ravel(), panels, strict=False)):
        draw_spectrum(place, panel.spectra, panel.title, COLOURS[index % 6])
    for place in axes.ravel()[len(panels) :]:
        place.set_axis_off()
    figure.supxlabel("observed wavelength (Å)", fontsize=10)
    figure.supylabel("flux (10⁻¹⁷ erg s⁻¹ cm⁻² Å⁻¹)", fontsize=10)
    return figure


def draw_spectrum(axes: Axes, spectra: Spectra, title: str, colour: str) -> None:
    """Draw one spectrum as observed (light) and smoothed (dark)."""
    smoothed = []
    for arm in spectra.arms:
        flux, ivar = arm.flux[0], arm.ivar[0]
        dark = smooth(flux, ivar)
        raw = np.where(ivar > 0, flux, np.nan)
        axes.plot(arm.wave_aa, raw, color=colour, alpha=0.3, lw=0.5)
        axes.plot(arm.wave_aa, dark, color=colour, lw=1.3)
        smoothed.append(dark)
    values = np.concatenate(smoothed)
    values = values[np.isfinite(values)]
    if len(values):
        low, high = np.percentile(values, [0.5, 99.5])
        room = _MARGIN * max(high - low, 1e-3)
        axes.set_ylim(low - room, high + room)
    axes.set_title(title, fontsize=9, loc="left")


def _title(row: dict[str, Any]) -> str:
    text = f"{row['TARGETID']}   entropy {row['ENTROPY']:.2f} bits"
    z = row.get("Z_Q50")
    return text if z is None or np.isnan(z) else f"{text}   z ≈ {z:.2f}"


Counts = NDArray[np.integer]

# Perceptually uniform, and read alike with every kind of colour vision.
_MAP_COLOURS: Final = "cividis"
_OUTLINE: Final = COLOURS[1]
_HIGHEST_WALL: Final = 99.5  # percentile
_PANEL_INCHES: Final = 3.2
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
    panels: dict[str, Counts] = {"all spectra": total, **by_class}
    norm = _log_norm(*panels.values())
    n_columns = min(3, len(panels))
    n_rows = -(-len(panels) // n_columns)
    figure = Figure(figsize=(_PANEL_INCHES * n_columns + 0.8, _PANEL_INCHES * n_rows + 0.4))
    axes = np.atleast_1d(np.asarray(figure.subplots(n_rows, n_columns))).ravel()
    for panel, (name, counts) in zip(axes, panels.items(), strict=False):
        image = _draw_map(panel, np.where(counts > 0, counts, np.nan), cells, norm)
        panel.set_title(f"{name} ({int(counts.sum()):,})", fontsize=10)
        _outline(panel, total < least_count, cells, _OUTLINE)
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    figure.colorbar(image, ax=list(axes), shrink=0.6).set_label("spectra per cell")
    if np.isfinite(least_count):
        n_out = int(np.count_nonzero(total < least_count))
        text = f"outlined: {n_out} cells with fewer than {least_count:g} spectra; white: empty"
        figure.supxlabel(text, fontsize=9, color=_OUTLINE)
    return figure


@use_style()
def walls_figure(som: SelfOrganizingMap) -> Figure:
    """Draw the U-matrix: bright walls part regions of unlike spectra."""
    figure = Figure(figsize=(_PANEL_INCHES + 1.4, _PANEL_INCHES + 0.6))
    axes = figure.subplots()
    walls = u_matrix(som).ravel()
    # A few cells of broken spectra are so far off that the rest would look flat.
    norm = Normalize(vmin=0, vmax=float(np.percentile(walls, _HIGHEST_WALL)))
    image = _draw_map(axes, walls, som.cells, norm)
    bar = figure.colorbar(image, ax=axes, shrink=0.85, extend="max")
    bar.set_label("mean distance to touching cells")
    axes.set_title(f"walls of the map ({som.cells.describe()})", fontsize=10)
    return figure


@use_style()
def chosen_figure(
    counts: Counts, cells: CellGrid, least_count: float, chosen_cell: Counts
) -> Figure:
    """Draw where on the map the chosen spectra lie; larger dots are more of them.

    Counts and outlines are as in `counts_figure`; a chosen spectrum of cell -1 is not drawn.
    """
    figure = Figure(figsize=(_PANEL_INCHES + 1.8, _PANEL_INCHES + 0.9))
    axes = figure.subplots()
    filled = np.where(counts > 0, counts, np.nan)
    image = _draw_map(axes, filled, cells, _log_norm(counts))
    figure.colorbar(image, ax=axes, shrink=0.85).set_label("spectra per cell")
    _outline(axes, counts < least_count, cells, "0.75")
    number = np.bincount(chosen_cell[chosen_cell >= 0], minlength=cells.n_cells)
    cell = np.flatnonzero(number)
    axes.scatter(
        cell % cells.n_columns,
        cell // cells.n_columns,
        s=7 * number[cell],
        color=COLOURS[1],
        edgecolor="white",
        lw=0.4,
    )
    axes.set_title(
        f"{int(number.sum()):,} chosen, in {len(cell)} cells (at most {number.max(initial=0)})",
        fontsize=10,
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
    figure = Figure(figsize=(7.2, 3.4))
    axes = figure.subplots()
    if len(flux):
        low, high = np.percentile(flux, _BAND, axis=0)
        band = f"{_BAND[0]} to {_BAND[1]} % of its spectra"
        axes.fill_between(wave_aa, low, high, color=COLOURS[5], alpha=0.35, lw=0, label=band)
        axes.plot(wave_aa, flux.mean(axis=0), color=COLOURS[0], lw=1.4, label="their mean")
    axes.plot(wave_aa, weights, color="0.15", lw=0.9, ls="--", label="the cell's weights")
    axes.set(xlabel="observed wavelength (Å)", ylabel="normalised flux")
    axes.set(xlim=(float(wave_aa[0]), float(wave_aa[-1])))
    axes.set_title(f"cell {cell}: {len(flux):,} spectra", fontsize=10)
    axes.legend(fontsize=8)
    return figure


def _log_norm(*counts: Counts) -> LogNorm:
    return LogNorm(vmin=1, vmax=max(2, *(int(c.max(initial=0)) for c in counts)))


def _draw_map(
    axes: Axes, values: NDArray[np.floating], cells: CellGrid, norm: Normalize
) -> AxesImage:
    if len(values) != cells.n_cells:
        raise SelectionError(f"{len(values)} values for a {cells.describe()}")
    table = values.reshape(cells.n_rows, cells.n_columns)
    axes.grid(visible=False)
    axes.set(xlabel="column", ylabel="row")
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
