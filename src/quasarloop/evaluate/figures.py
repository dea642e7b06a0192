"""The house's figure style, and figures of completeness and purity: catalogues and training."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from quasarloop.artefacts import write_atomically
from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.evaluate.judge import FIXED_PURITIES, Judgement
from quasarloop.evaluate.metrics import RIGHT_WITHIN
from quasarloop.network.records import EpochRecord

__all__ = [
    "COLOURS",
    "FIGURE_INCHES",
    "AtPurity",
    "PlainFigure",
    "bootstrap_figure",
    "equal_size_figure",
    "history_figure",
    "judgement_figure",
    "labels_figure",
    "learning_figure",
    "legend_above",
    "new_figure",
    "save_figure",
    "threshold_figure",
    "use_style",
]

# Okabe & Ito (2008): distinguishable with every kind of colour vision; grey in place of their
# yellow, which white paper hides.
COLOURS: Final = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#808080",
)
_MARKERS: Final = ("o", "s", "*", "^", "D", "v", "P", "X")
# Differences of redshift below this are drawn as this on the logarithmic axis.
_SMALLEST_ERROR: Final = 1e-4
# As wide as the text of an A4 page: all figures have one size of text there and in reports.
FIGURE_INCHES: Final = 7.2
_TEXT_POINTS: Final = 9
# So many letters are as wide as a figure; a line of the legend before its text takes some, too.
_LETTERS_ACROSS: Final = 96
_HANDLE_LETTERS: Final = 8


@contextmanager
def use_style() -> Iterator[None]:
    """Draw in the house's style: for a block, or as decorator."""
    style: Any = {
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.constrained_layout.use": True,
        "figure.dpi": 120,
        "figure.labelsize": "medium",
        "axes.titlesize": "medium",
        "figure.titlesize": "medium",
        "font.size": _TEXT_POINTS,
        "grid.alpha": 0.25,
        "legend.fontsize": "medium",
        "legend.frameon": False,
        "savefig.dpi": 160,
        "svg.hashsalt": "quasarloop",
        "text.parse_math": False,  # a $ of a file's name is a $
    }
    with mpl.rc_context(style):
        yield


class PlainFigure(Figure):
    """A figure whose text is drawn as it is, except for the powers of ten on logarithmic axes."""

    def draw(self, renderer: Any) -> None:
        """Draw all of it."""
        for axes in self.axes:
            for axis in (axes.xaxis, axes.yaxis):
                if axis.get_scale() == "log":
                    for label in axis.get_ticklabels(which="both"):
                        label.set_parse_math(True)
        super().draw(renderer)


def new_figure(height_inches: float) -> Figure:
    """Return an empty figure of the width that all have."""
    return PlainFigure(figsize=(FIGURE_INCHES, height_inches))


def legend_above(axes: Axes) -> None:
    """Put a panel's legend above all panels, where it hides no curve."""
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.get_figure(root=True)
    if figure is None or not labels:
        return
    most = max(1, _LETTERS_ACROSS // (max(map(len, labels)) + _HANDLE_LETTERS))
    n_rows = -(-len(labels) // most)
    figure.legend(handles, labels, loc="outside upper left", ncols=-(-len(labels) // n_rows))


def save_figure(figure: Figure, path: str | Path) -> None:
    """Save a figure atomically, the same bytes for the same figure."""
    with write_atomically(path) as temporary:
        # Without a date and software name the file depends on the figure alone.
        key = {".png": "Software", ".pdf": "CreationDate"}.get(Path(path).suffix.lower(), "Date")
        figure.savefig(temporary, metadata={key: None})


@use_style()
def judgement_figure(judgements: Mapping[str, Judgement]) -> Figure:
    """Draw completeness against purity, and redshift against truth for the last judgement."""
    figure = new_figure(7.2)
    panels = figure.subplot_mosaic([["curve", "curve"], ["z", "dz"]])
    plot_thresholds(panels["curve"], judgements)
    last = list(judgements.values())[-1]
    _plot_redshifts(panels["z"], last.z, last.z_true)
    _plot_errors(panels["dz"], last.z, last.z_true)
    return figure


def plot_thresholds(axes: Axes, judgements: Mapping[str, Judgement]) -> None:
    """Draw completeness against purity over thresholds 0 to 1, a dot at the quoted one (Fig. 7)."""
    for k, (label, judgement) in enumerate(judgements.items()):
        curve, colour = judgement.curve, COLOURS[k % len(COLOURS)]
        style = "-" if k < len(COLOURS) else "--"
        axes.plot(curve.purity, curve.completeness, style, color=colour, lw=1.5, label=label)
        x, y = judgement.purity, judgement.completeness
        xerr, yerr = ([[s.value - s.low], [s.high - s.value]] for s in (x, y))
        axes.errorbar(x.value, y.value, yerr, xerr, fmt="o", color=colour, ms=6, capsize=2)
    floor = min(
        (min(j.purity.low, j.completeness.low) for j in judgements.values() if j.purity.whole),
        default=0.0,
    )
    bottom = max(0.0, min(0.9, floor - 0.05))
    axes.set(xlabel="purity", ylabel="completeness", xlim=(bottom, 1.003), ylim=(bottom, 1.003))
    legend_above(axes)


def _plot_redshifts(axes: Axes, z: NDArray[np.float64], z_true: NDArray[np.float64]) -> None:
    top = float(np.nanmax(z_true, initial=1.0)) + 0.3
    axes.plot([0, top], [0, top], color="0.6", lw=1)
    axes.plot(z_true, z, ".", ms=3, alpha=0.6)
    axes.set(xlabel="true redshift", ylabel="redshift of the most confident line")
    axes.set(xlim=(0, top), ylim=(-0.1, top + 1))
    axes.set_title(f"{len(z)} quasars true and found")


def _plot_errors(axes: Axes, z: NDArray[np.float64], z_true: NDArray[np.float64]) -> None:
    error = np.maximum(np.abs(z - z_true) / (1 + z_true), _SMALLEST_ERROR)
    bins = np.geomspace(_SMALLEST_ERROR, 10, 41).tolist()
    axes.hist(error, bins=bins)
    axes.axvline(RIGHT_WITHIN, color=COLOURS[1], ls="--", lw=1)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="|Δz| / (1 + z)", ylabel="quasars")
    wrong = int(np.count_nonzero(error > RIGHT_WITHIN))
    axes.set_title(f"{wrong} beyond {RIGHT_WITHIN:g} (dashed)")


# Source: paper, Fig. 5: "5 × impurity for visual clarity".
IMPURITY_SCALE = 5.0
_BESIDE: Final = 0.25  # of sets drawn to equal size, in steps of the axis

Histories = Mapping[str, Sequence[EpochRecord]]


@use_style()
def learning_figure(histories: Histories) -> Figure:
    """Draw completeness (solid) and 5 × impurity (dashed) per epoch (paper, Fig. 5).

    All truth sets are judged on the common validation set.
    """
    figure = new_figure(4.2)
    axes = figure.subplots()
    for (label, epochs), colour in zip(histories.items(), COLOURS * 3, strict=False):
        axes.plot(*_curve(epochs, "completeness"), color=colour, label=label)
        axes.plot(*_impurity(epochs), "--", color=colour, lw=1)
    axes.plot([], [], "--", color="0.4", lw=1, label=f"{IMPURITY_SCALE:g} × impurity")
    axes.set(
        ylim=(-0.02, 1.02), xlabel="epoch", ylabel=f"completeness, {IMPURITY_SCALE:g} × impurity"
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(axes)
    return figure


@use_style()
def bootstrap_figure(
    histories: Histories, bootstraps: Mapping[str, Sequence[Sequence[EpochRecord]]]
) -> Figure:
    """Draw completeness against bootstraps of the smaller sets to equal size (paper, Fig. 6).

    Args:
        histories: label -> epochs.
        bootstraps: label of a smaller set -> epochs of each of its bootstraps.
    """
    figure = new_figure(4.2)
    axes = figure.subplots()
    for (label, epochs), colour in zip(histories.items(), COLOURS * 3, strict=False):
        repeats = bootstraps.get(label, [])
        for repeat in repeats:
            axes.plot(*_curve(repeat, "completeness"), "--", color=colour, lw=0.7, alpha=0.6)
        text = f"{label}, dashed: {len(repeats)} bootstraps" if repeats else label
        axes.plot(*_curve(epochs, "completeness"), color=colour, label=text)
    lowest = [e.completeness for epochs in histories.values() for e in epochs[len(epochs) // 4 :]]
    bottom = max(0.0, float(np.nanmin(lowest, initial=1.0)) - 0.1)
    axes.set(ylim=(bottom, 1.01), xlabel="epoch", ylabel="completeness")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(axes)
    return figure


class AtPurity(NamedTuple):
    """Completeness at each of `FIXED_PURITIES` with so many labelled spectra, and its 1 σ error."""

    n_labels: int
    completeness: tuple[float, ...]
    error: tuple[float, ...]


@use_style()
def labels_figure(series: Mapping[str, Sequence[AtPurity]]) -> Figure:
    """Draw completeness against the number of labelled spectra, one panel per purity.

    Args:
        series: label -> points, joined by a line.
    """
    figure = new_figure(3.8)
    for k, axes in enumerate(_panels_of_purities(figure)):
        for (label, points), colour, marker in zip(
            series.items(), COLOURS * 3, _MARKERS * 3, strict=False
        ):
            n, value, error = _columns(points, k)
            axes.errorbar(n, value, error, fmt=f"-{marker}", color=colour, capsize=2, label=label)
        axes.set_xlabel(f"labelled spectra; purity {FIXED_PURITIES[k]}")
    legend_above(figure.axes[0])
    return figure


@use_style()
def equal_size_figure(
    points: Mapping[str, AtPurity], repeats: Mapping[str, Sequence[Sequence[float]]]
) -> Figure:
    """Draw truth sets as they are and, beside, drawn to equal size (paper, Fig. 6, without epochs).

    Args:
        points: label -> completeness with a truth set.
        repeats: label of a smaller set -> completeness at each purity of every set drawn from it
            with replacement, of the largest set's size.
    """
    figure = new_figure(3.2)
    for k, axes in enumerate(_panels_of_purities(figure)):
        for x, (label, point) in enumerate(points.items()):
            value, error, colour = point.completeness[k], point.error[k], COLOURS[x % len(COLOURS)]
            axes.errorbar(x, value, error, fmt="o", color=colour, capsize=3)
            drawn = [one[k] for one in repeats.get(label, ())]
            axes.plot(np.full(len(drawn), x + _BESIDE), drawn, "o", color=colour, mfc="none", ms=4)
        names = [f"{label}\n{point.n_labels:,}" for label, point in points.items()]
        axes.set_xticks(range(len(names)), names)
        axes.set(xlim=(-0.5, len(names)), xlabel=f"labelled spectra; purity {FIXED_PURITIES[k]}")
    return figure


def _panels_of_purities(figure: Figure) -> Sequence[Axes]:
    panels: Sequence[Axes] = figure.subplots(1, len(FIXED_PURITIES), sharey=True)
    panels[0].set_ylabel("completeness")
    return panels


def _columns(points: Iterable[AtPurity], k: int) -> tuple[list[int], list[float], list[float]]:
    chosen = [(point.n_labels, point.completeness[k], point.error[k]) for point in points]
    n, value, error = zip(*chosen, strict=True)
    return list(n), list(value), list(error)


@use_style()
def threshold_figure(judgements: Mapping[str, Judgement]) -> Figure:
    """Draw completeness against purity over thresholds from 0 to 1 (paper, Fig. 7)."""
    figure = new_figure(5)
    plot_thresholds(figure.subplots(), judgements)
    return figure


@use_style()
def history_figure(epochs: Sequence[EpochRecord], title: str = "") -> Figure:
    """Draw what happened in each epoch of one training.

    Without validation rows only the training loss is drawn.

    Source: paper, Fig. 5, for completeness and 5 × impurity.
    """
    judged = not np.isnan([epoch.validation_loss for epoch in epochs]).all()
    figure = new_figure(8 if judged else 3)
    panels = figure.subplots(3 if judged else 1, squeeze=False, sharex=True)[:, 0]
    _plot_loss(panels[0], epochs, judged=judged)
    if judged:
        _plot_shares(panels[1], epochs)
        _plot_scatter(panels[2], epochs)
    best = [epoch.epoch for epoch in epochs if epoch.is_best][-1:]
    panels[-1].set_xlabel("epoch")
    for axes in panels:
        for number in best:
            axes.axvline(number, color="0.7", lw=1, ls=":")
    figure.suptitle(title)
    return figure


def _plot_loss(axes: Axes, epochs: Sequence[EpochRecord], *, judged: bool) -> None:
    axes.plot(*_curve(epochs, "loss"), color="0.5", label="training (with dropout)")
    if judged:
        axes.plot(*_curve(epochs, "validation_loss"), color=COLOURS[0], label="validation")
        for name, style in (("positive", ":"), ("negative", "--"), ("offset", "-.")):
            curve = _curve(epochs, f"validation_{name}")
            axes.plot(*curve, style, color=COLOURS[5], lw=1, label=f"  its {name} term")
    axes.set(yscale="log", ylabel="loss, summed over lines")
    axes.legend()


def _plot_shares(axes: Axes, epochs: Sequence[EpochRecord]) -> None:
    axes.plot(*_curve(epochs, "completeness"), color=COLOURS[0], label="completeness")
    label = f"{IMPURITY_SCALE:g} × impurity"
    axes.plot(*_impurity(epochs), "--", color=COLOURS[1], lw=1.2, label=label)
    axes.set(ylim=(0, 1.02), ylabel=f"completeness, {IMPURITY_SCALE:g} × impurity")
    axes.legend(loc="center right")


def _plot_scatter(axes: Axes, epochs: Sequence[EpochRecord]) -> None:
    for name, colour, label in (
        ("z_nmad", COLOURS[0], "NMAD"),
        ("z_scatter", COLOURS[4], "standard deviation"),
    ):
        number, scatter = _curve(epochs, name)
        axes.plot(number, SPEED_OF_LIGHT_KMS * np.array(scatter), color=colour, label=label)
    # With one quasar or none found there is no scatter to draw, and nothing for a log scale.
    if any(epoch.z_nmad > 0 or epoch.z_scatter > 0 for epoch in epochs):
        axes.set_yscale("log")
    axes.set_ylabel("scatter of redshift, km/s")
    axes.legend()


def _impurity(epochs: Sequence[EpochRecord]) -> tuple[list[int], list[float]]:
    number, purity = _curve(epochs, "purity")
    return number, [IMPURITY_SCALE * (1 - value) for value in purity]


def _curve(epochs: Sequence[EpochRecord], name: str) -> tuple[list[int], list[float]]:
    return [epoch.epoch for epoch in epochs], [getattr(epoch, name) for epoch in epochs]
