"""Figures 3 and 4: scores of what could be chosen, and the rejected outliers."""

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
from quasarloop.evaluate.figures import COLOURS, use_style
from quasarloop.query.scores import SCORES
from quasarloop.read import read_spectra
from quasarloop.spectra import Spectra

__all__ = ["SpectrumPanel", "outlier_panels", "outliers_figure", "score_figure", "smooth"]


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
        _draw(place, panel, COLOURS[index % 6])
    for place in axes.ravel()[len(panels) :]:
        place.set_axis_off()
    figure.supxlabel("observed wavelength (Å)", fontsize=10)
    figure.supylabel("flux (10⁻¹⁷ erg s⁻¹ cm⁻² Å⁻¹)", fontsize=10)
    return figure


def _draw(axes: Axes, panel: SpectrumPanel, colour: str) -> None:
    smoothed = []
    for arm in panel.spectra.arms:
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
    axes.set_title(panel.title, fontsize=9, loc="left")


def _title(row: dict[str, Any]) -> str:
    text = f"{row['TARGETID']}   entropy {row['ENTROPY']:.2f} bits"
    z = row.get("Z_Q50")
    return text if z is None or np.isnan(z) else f"{text}   z ≈ {z:.2f}"
