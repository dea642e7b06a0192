"""The house's figure style, and the figures that judge a catalogue."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quasarloop.artefacts import write_atomically
from quasarloop.evaluate.judge import Judgement
from quasarloop.evaluate.metrics import RIGHT_WITHIN

__all__ = ["COLOURS", "judgement_figure", "plot_thresholds", "save_figure", "use_style"]

# Okabe & Ito (2008): distinguishable with every kind of colour vision.
COLOURS: Final = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#F0E442",
)
# Differences of redshift below this are drawn as this on the logarithmic axis.
_SMALLEST_ERROR: Final = 1e-4


@contextmanager
def use_style() -> Iterator[None]:
    """Draw in the house's style while the block lasts."""
    style: Any = {
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.constrained_layout.use": True,
        "figure.dpi": 120,
        "font.size": 10,
        "grid.alpha": 0.25,
        "legend.frameon": False,
        "savefig.dpi": 160,
        "svg.hashsalt": "quasarloop",
    }
    with mpl.rc_context(style):
        yield


def save_figure(figure: Figure, path: str | Path) -> None:
    """Save a figure atomically, the same bytes for the same figure."""
    with write_atomically(path) as temporary:
        # Without a date and software name the file depends on the figure alone.
        kind = Path(path).suffix.lower()
        metadata: dict[str, None] = (
            {"Software": None}
            if kind == ".png"
            else {"CreationDate": None}
            if kind == ".pdf"
            else {"Date": None}
        )
        figure.savefig(temporary, metadata=metadata)


def judgement_figure(judgements: Mapping[str, Judgement]) -> Figure:
    """Draw completeness against purity, and redshift against truth.

    Args:
        judgements: label -> judgement; redshifts are drawn for the last one.
    """
    with use_style():
        figure = Figure(figsize=(11, 4.2))
        left, middle, right = figure.subplots(1, 3)
        plot_thresholds(left, judgements)
        last = list(judgements.values())[-1]
        _plot_redshifts(middle, last.z, last.z_true)
        _plot_errors(right, last.z, last.z_true)
        return figure


def plot_thresholds(axes: Axes, judgements: Mapping[str, Judgement]) -> None:
    """Draw completeness against purity over thresholds 0 to 1, a dot at the quoted one (Fig. 7)."""
    for colour, (label, judgement) in zip(COLOURS * 3, judgements.items(), strict=False):
        curve = judgement.curve
        axes.plot(curve.purity, curve.completeness, color=colour, lw=1.5, label=label)
        low = [
            [judgement.purity.value - judgement.purity.low],
            [judgement.purity.high - judgement.purity.value],
        ]
        side = [
            [judgement.completeness.value - judgement.completeness.low],
            [judgement.completeness.high - judgement.completeness.value],
        ]
        axes.errorbar(
            judgement.purity.value,
            judgement.completeness.value,
            xerr=low,
            yerr=side,
            fmt="o",
            color=colour,
            ms=6,
            capsize=2,
        )
    axes.set_xlabel("purity")
    axes.set_ylabel("completeness")
    floor = min(
        (min(j.purity.low, j.completeness.low) for j in judgements.values() if j.purity.whole),
        default=0.0,
    )
    bottom = max(0.0, min(0.9, floor - 0.05))
    axes.set_xlim(bottom, 1.003)
    axes.set_ylim(bottom, 1.003)
    threshold = next(iter(judgements.values())).threshold
    axes.set_title(f"thresholds 0 to 1; dot: {threshold:g}", fontsize=10)
    axes.legend(loc="lower left", fontsize=8)


def _plot_redshifts(axes: Axes, z: NDArray[np.float64], z_true: NDArray[np.float64]) -> None:
    top = float(np.nanmax(z_true, initial=1.0)) + 0.3
    axes.plot([0, top], [0, top], color="0.6", lw=1)
    axes.plot(z_true, z, ".", ms=3, alpha=0.6)
    axes.set_xlabel("true redshift")
    axes.set_ylabel("redshift of the most confident line")
    axes.set_xlim(0, top)
    axes.set_ylim(-0.1, top + 1)
    axes.set_title(f"{len(z)} quasars true and found", fontsize=10)


def _plot_errors(axes: Axes, z: NDArray[np.float64], z_true: NDArray[np.float64]) -> None:
    error = np.maximum(np.abs(z - z_true) / (1 + z_true), _SMALLEST_ERROR)
    bins = np.geomspace(_SMALLEST_ERROR, 10, 41).tolist()
    axes.hist(error, bins=bins)
    axes.axvline(RIGHT_WITHIN, color=COLOURS[1], ls="--", lw=1)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_xlabel("|Δz| / (1 + z)")
    axes.set_ylabel("quasars")
    wrong = int(np.count_nonzero(error > RIGHT_WITHIN))
    axes.set_title(f"{wrong} beyond {RIGHT_WITHIN:g} (dashed)", fontsize=10)
