"""How networks learn on growing truth sets: Figs. 5, 6 and 7 of the paper."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from quasarloop.evaluate.figures import COLOURS, plot_thresholds, use_style
from quasarloop.evaluate.judge import Judgement
from quasarloop.network.history import EpochRecord

__all__ = ["IMPURITY_SCALE", "bootstrap_figure", "learning_figure", "threshold_figure"]

# Source: paper, Fig. 5: "5 × impurity for visual clarity".
IMPURITY_SCALE = 5.0

Histories = Mapping[str, Sequence[EpochRecord]]


def learning_figure(histories: Histories) -> Figure:
    """Draw completeness (solid) and 5 × impurity (dashed) per epoch (paper, Fig. 5).

    Args:
        histories: label of the truth set -> its epochs on the common validation set.
    """
    with use_style():
        figure = Figure(figsize=(7.5, 4.6))
        axes = figure.subplots()
        for (label, epochs), colour in zip(histories.items(), COLOURS * 3, strict=False):
            _plot(axes, epochs, colour, label=label)
            impurity = [IMPURITY_SCALE * (1 - epoch.purity) for epoch in epochs]
            axes.plot([e.epoch for e in epochs], impurity, "--", color=colour, lw=1)
        axes.plot([], [], "--", color="0.4", lw=1, label=f"{IMPURITY_SCALE:g} × impurity")
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"completeness, {IMPURITY_SCALE:g} × impurity")
        axes.legend(fontsize=8, loc="center right")
        return figure


def bootstrap_figure(
    histories: Histories, bootstraps: Mapping[str, Sequence[Sequence[EpochRecord]]]
) -> Figure:
    """Draw completeness against bootstraps of the smaller sets to equal size (paper, Fig. 6).

    Args:
        histories: label -> epochs.
        bootstraps: label of a smaller set -> epochs of each of its bootstraps.
    """
    with use_style():
        figure = Figure(figsize=(7.5, 4.6))
        axes = figure.subplots()
        for (label, epochs), colour in zip(histories.items(), COLOURS * 3, strict=False):
            repeats = bootstraps.get(label, [])
            for repeat in repeats:
                axes.plot(
                    [e.epoch for e in repeat],
                    [e.completeness for e in repeat],
                    "--",
                    color=colour,
                    lw=0.7,
                    alpha=0.6,
                )
            text = f"{label}, dashed: {len(repeats)} bootstraps" if repeats else label
            _plot(axes, epochs, colour, label=text)
        lowest = [
            e.completeness for epochs in histories.values() for e in epochs[len(epochs) // 4 :]
        ]
        axes.set_ylim(max(0.0, float(np.nanmin(lowest, initial=1.0)) - 0.1), 1.01)
        axes.set_xlabel("epoch")
        axes.set_ylabel("completeness")
        axes.legend(fontsize=8, loc="lower right")
        return figure


def threshold_figure(judgements: Mapping[str, Judgement]) -> Figure:
    """Draw completeness against purity over thresholds from 0 to 1 (paper, Fig. 7)."""
    with use_style():
        figure = Figure(figsize=(6, 5))
        plot_thresholds(figure.subplots(), judgements)
        return figure


def _plot(axes: Axes, epochs: Sequence[EpochRecord], colour: str, *, label: str) -> None:
    axes.plot(
        [e.epoch for e in epochs], [e.completeness for e in epochs], "-", color=colour, label=label
    )
