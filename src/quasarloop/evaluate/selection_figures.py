"""Figures of a selection, 3 and 4: scores of what could be chosen, rejected outliers."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from quasarloop.errors import QuasarloopError
from quasarloop.evaluate.figures import COLOURS, legend_above, new_figure, use_style
from quasarloop.query import RANDOM
from quasarloop.query.scores import SCORES
from quasarloop.read import read_spectra
from quasarloop.spectra import Spectra

__all__ = [
    "SpectrumPanel",
    "draw_spectrum",
    "outlier_panels",
    "outliers_figure",
    "score_figure",
    "score_text",
    "smooth",
]


@use_style()
def score_figure(
    edges: NDArray[np.floating], histogram: NDArray[np.integer], chosen: pl.DataFrame, score: str
) -> Figure:
    """Draw the histogram of scores, one per object, those chosen, and the lowest chosen by rank.

    Args:
        edges: (k+1,) of the bins.
        histogram: (k,) objects that could be chosen.
        chosen: `SCORE` and `REASON` of a selection; those drawn at random have no lowest score.
        score: its name, for the axis.

    Source: paper, Figure 3.
    """
    figure = new_figure(3.6)
    axes = figure.subplots()
    axes.stairs(histogram, edges, fill=True, color=COLOURS[0], alpha=0.35)
    could = f"{int(histogram.sum()):,} that could be chosen"
    axes.stairs(histogram, edges, color=COLOURS[0], lw=1.2, label=could)
    if histogram.any():
        axes.set(yscale="log", ylim=(0.7, 2.0 * int(histogram.max())))
    axes.set(xlim=(float(edges[0]), float(edges[-1])), xlabel=_label(score), ylabel="objects")
    at_random = chosen["REASON"] == RANDOM
    for label, part, style in (
        ("chosen by rank", chosen.filter(~at_random)["SCORE"], "-"),
        ("drawn at random", chosen.filter(at_random)["SCORE"], "--"),
    ):
        if len(part):
            counts, _ = np.histogram(part, edges)
            text = f"{len(part):,} {label}"
            axes.stairs(counts, edges, color=COLOURS[1], lw=1.2, ls=style, label=text)
    if len(ranked := chosen.filter(~at_random)) and score != RANDOM:
        cut = float(ranked["SCORE"].min())  # type: ignore[arg-type]  # a float column
        axes.axvline(cut, color=COLOURS[1], lw=1.8, label=f"by rank from {cut:.3g}")
    legend_above(axes)
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
MAX_PANELS: Final = 8
_MOST_IN_ONE_COLUMN: Final = 4
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


def outlier_panels(outliers: pl.DataFrame, score: str, n: int = MAX_PANELS) -> list[SpectrumPanel]:
    """Read the first outliers as observed.

    Args:
        outliers: of a selection with `SOURCE` and `SOURCE_ROW` (`selection_files.with_sources`);
            without these columns there is nothing to read.
        score: that ranked them, for the titles.
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
            panels.append(
                SpectrumPanel(read_spectra(source, slice(at, at + 1)), _title(row, score))
            )
        except QuasarloopError as exc:
            log.warning("TARGETID %s is not drawn: %s", row["TARGETID"], exc)
    return panels


@use_style()
def outliers_figure(panels: Sequence[SpectrumPanel]) -> Figure:
    """Draw up to eight spectra as observed (light) and smoothed (dark).

    Source: paper, Figure 4.
    """
    panels = panels[:MAX_PANELS]
    n_columns = 1 if len(panels) <= _MOST_IN_ONE_COLUMN else 2
    n_rows = -(-len(panels) // n_columns)
    figure = new_figure(2 * n_rows + 0.4)
    axes = np.atleast_1d(np.asarray(figure.subplots(n_rows, n_columns, sharex=True)))
    for index, (place, panel) in enumerate(zip(axes.ravel(), panels, strict=False)):
        draw_spectrum(place, panel.spectra, panel.title, COLOURS[index % 6])
    for place in axes.ravel()[len(panels) :]:
        place.set_axis_off()
    figure.supxlabel("observed wavelength (Å)")
    figure.supylabel("flux (10⁻¹⁷ erg s⁻¹ cm⁻² Å⁻¹)")
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
    axes.set_title(title, loc="left")


def _title(row: dict[str, Any], score: str) -> str:
    z = row.get("Z_Q50")
    known = "" if z is None or np.isnan(z) else f", z ≈ {z:.2f}"
    return f"{row['TARGETID']}\n{score_text(score, row['SCORE'])}{known}"


def score_text(score: str, value: float) -> str:
    """Return a score with its name and unit, such as ``entropy 0.98 bits``."""
    unit = f" {SCORES[score].unit}" if score in SCORES and SCORES[score].unit else ""
    return f"{score.replace('_', ' ')} {value:.3g}{unit}"
