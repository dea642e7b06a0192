"""The figure of labels saved: learning curves above, speed-up factors below."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from learning_curves import LearningCurve, mean_curve, speed_up
from quasarloop.evaluate.figures import COLOURS, use_style

__all__ = ["label_saving_figure"]

# Random labels, which others are compared with, are black.
_CONTROL_COLOUR: Final = "#000000"

Curves = Mapping[int, LearningCurve]


def label_saving_figure(
    skies: Mapping[str, Mapping[str, Curves]], control: str, figure_name: str
) -> Figure:
    """Draw what labels buy, and how many the control needs for the same.

    Args:
        skies: name of a sky → way of choosing → seed → curve; one column of panels per sky.
        control: the way of choosing that others are compared with.
        figure_name: what the curves measure, for the axis.
    """
    with use_style():
        figure = Figure(figsize=(5.0 * len(skies), 7.2))
        panels = figure.subplots(2, len(skies), squeeze=False, sharey="row")
        others = list(dict.fromkeys(a for arms in skies.values() for a in arms if a != control))
        colours = {control: _CONTROL_COLOUR, **dict(zip(others, COLOURS * 3, strict=False))}
        for column, (sky, arms) in enumerate(skies.items()):
            _draw_curves(panels[0, column], arms, colours)
            panels[0, column].set_title(sky, fontsize=10)
            _draw_factors(panels[1, column], arms, control, colours)
            for axes in panels[:, column]:
                axes.set_xlabel("labels spent")
        panels[0, 0].set_ylabel(figure_name)
        panels[0, 0].legend(fontsize=8, loc="lower right")
        panels[1, 0].set_ylabel(f"{control} needed ÷ labels spent")
        # Only now: a limit ends the scaling that the columns share.
        panels[1, 0].set_ylim(bottom=0)
        return figure


def _draw_curves(axes: Axes, arms: Mapping[str, Curves], colours: Mapping[str, str]) -> None:
    for arm, curves in arms.items():
        for curve in curves.values():
            axes.plot(curve.labels, curve.figure, color=colours[arm], lw=0.6, alpha=0.35)
        mean = mean_curve(curves)
        error = np.nan_to_num(mean.error)
        axes.errorbar(
            mean.labels,
            mean.figure,
            yerr=error,
            fmt="o-",
            color=colours[arm],
            ms=4,
            capsize=2,
            lw=1.6,
            label=f"{arm} ({len(curves)} seed{'s' * (len(curves) > 1)})",
        )


def _draw_factors(
    axes: Axes, arms: Mapping[str, Curves], control: str, colours: Mapping[str, str]
) -> None:
    axes.axhline(1.0, color="0.4", lw=1, ls="--")
    spans = [int(mean_curve(c).labels[-1]) for a, c in arms.items() if a != control]
    shift = 0.012 * max(spans, default=0)
    for number, (arm, curves) in enumerate(a for a in arms.items() if a[0] != control):
        labels = [int(n) for n in mean_curve(curves).labels if n > 0]
        found = [speed_up(curves, arms.get(control, {}), n) for n in labels]
        places = np.array(labels) + number * shift  # beside each other
        axes.errorbar(
            places,
            [f.value for f in found],
            yerr=[0.0 if f.is_limit else float(np.nan_to_num(f.error)) for f in found],
            fmt="o-",
            color=colours[arm],
            ms=4,
            capsize=2,
        )
        limits = [(x, f.value) for x, f in zip(places, found, strict=True) if f.is_limit]
        if limits:
            axes.plot(*zip(*limits, strict=True), "^", color=colours[arm], ms=9)
    axes.set_xlim(left=0)
