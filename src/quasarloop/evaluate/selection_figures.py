"""Figure 3: how confused the ensemble is about what could be chosen, and where the choice cuts."""

from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quasarloop.evaluate.figures import COLOURS, use_style
from quasarloop.query.scores import SCORES

__all__ = ["score_figure"]

_BAR: Final = COLOURS[0]
_CUT: Final = COLOURS[1]


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
    with use_style():
        figure = Figure(figsize=(6.4, 4.0))
        axes = figure.subplots()
        axes.stairs(histogram, edges, fill=True, color=_BAR, alpha=0.35)
        axes.stairs(histogram, edges, color=_BAR, lw=1.2)
        if histogram.any():
            axes.set_yscale("log")
            axes.set_ylim(bottom=0.7, top=3.0 * int(histogram.max()))
        axes.set_xlim(float(edges[0]), float(edges[-1]))
        axes.set_xlabel(_label(score))
        axes.set_ylabel("objects")
        axes.set_title(f"{int(histogram.sum()):,} objects that could be chosen", fontsize=10)
        if np.isfinite(cut):
            axes.axvline(cut, color=_CUT, lw=1.8)
            left = cut > 0.5 * (edges[0] + edges[-1])
            axes.annotate(
                f"chosen from\n{cut:.4g}",
                (cut, 0.97),
                xycoords=("data", "axes fraction"),
                xytext=(-6 if left else 6, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="top",
                color=_CUT,
            )
        return figure


def _label(score: str) -> str:
    if score not in SCORES:
        return score
    unit = SCORES[score].unit
    return f"{score.replace('_', ' ')}{f' ({unit})' if unit else ''}"
