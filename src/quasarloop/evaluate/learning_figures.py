"""How networks learn: over epochs, and on growing truth sets (Figs. 5, 6 and 7)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.evaluate.figures import COLOURS, plot_thresholds, use_style
from quasarloop.evaluate.judge import Judgement
from quasarloop.network.history import EpochRecord

__all__ = [
    "IMPURITY_SCALE",
    "bootstrap_figure",
    "history_figure",
    "learning_figure",
    "threshold_figure",
]

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


def history_figure(epochs: Sequence[EpochRecord], title: str = "") -> Figure:
    """Draw what happened in each epoch of one training.

    Without validation rows only the training loss is drawn.

    Args:
        epochs: the history.
        title: e.g. the name of the weights file.

    Source: paper, Fig. 5, for completeness and 5 × impurity.
    """
    judged = not np.isnan([epoch.validation_loss for epoch in epochs]).all()
    with use_style():
        figure = Figure(figsize=(12, 3.9) if judged else (5, 3.9))
        panels = figure.subplots(1, 3 if judged else 1, squeeze=False)[0]
        _plot_loss(panels[0], epochs, judged=judged)
        if judged:
            _plot_shares(panels[1], epochs)
            _plot_scatter(panels[2], epochs)
        for axes in panels:
            axes.set_xlabel("epoch")
            _mark_best(axes, epochs)
        figure.suptitle(title, fontsize=10)
        return figure


def _plot_loss(axes: Axes, epochs: Sequence[EpochRecord], *, judged: bool) -> None:
    axes.plot(*_curve(epochs, "loss"), color="0.5", label="training (with dropout)")
    if judged:
        axes.plot(*_curve(epochs, "validation_loss"), color=COLOURS[0], label="validation")
        for name, style in (("positive", ":"), ("negative", "--"), ("offset", "-.")):
            curve = _curve(epochs, f"validation_{name}")
            axes.plot(*curve, style, color=COLOURS[5], lw=1, label=f"  its {name} term")
    axes.set_yscale("log")
    axes.set_ylabel("loss, summed over lines")
    axes.legend(fontsize=8)


def _plot_shares(axes: Axes, epochs: Sequence[EpochRecord]) -> None:
    axes.plot(*_curve(epochs, "completeness"), color=COLOURS[0], label="completeness")
    number, purity = _curve(epochs, "purity")
    impurity = IMPURITY_SCALE * (1 - np.array(purity))
    axes.plot(
        number, impurity, "--", color=COLOURS[1], lw=1.2, label=f"{IMPURITY_SCALE:g} × impurity"
    )
    axes.set_ylim(0, 1.02)
    axes.set_ylabel(f"completeness, {IMPURITY_SCALE:g} × impurity")
    axes.legend(fontsize=8, loc="center right")


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
    axes.legend(fontsize=8)


def _mark_best(axes: Axes, epochs: Sequence[EpochRecord]) -> None:
    best = [epoch.epoch for epoch in epochs if epoch.is_best]
    if best:
        axes.axvline(best[-1], color="0.7", lw=1, ls=":")


def _curve(epochs: Sequence[EpochRecord], name: str) -> tuple[list[int], list[float]]:
    return [epoch.epoch for epoch in epochs], [getattr(epoch, name) for epoch in epochs]
