"""The figure of a training's history: loss, completeness and impurity, redshift scatter."""

from collections.abc import Sequence

import numpy as np
from astropy.constants import c as light_speed
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from quasarloop.evaluate.figures import COLOURS, use_style
from quasarloop.evaluate.learning_figures import IMPURITY_SCALE
from quasarloop.network.history import EpochRecord

__all__ = ["history_figure"]

_C_KMS = float(light_speed.to_value("km/s"))


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
        axes.plot(number, _C_KMS * np.array(scatter), color=colour, label=label)
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
