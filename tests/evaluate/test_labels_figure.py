"""Completeness against labels: every number is in the panel of its purity, at its labels."""

import numpy as np

from quasarloop.evaluate.figures import AtPurity, labels_figure, save_figure
from quasarloop.evaluate.judge import FIXED_PURITIES

CHOSEN = [AtPurity(0, (0.80, 0.70), (0.01, 0.03)), AtPurity(100, (0.90, 0.85), (0.02, 0.04))]
RANDOM = [AtPurity(100, (0.86, 0.75), (0.02, 0.04))]


def test_one_panel_per_purity_holds_its_numbers(tmp_path):
    figure = labels_figure({"chosen": CHOSEN, "random": RANDOM})
    assert [axes.get_title() for axes in figure.axes] == [f"at purity {p}" for p in FIXED_PURITIES]
    for k, axes in enumerate(figure.axes):
        heights = [container.lines[0].get_xydata()[:, 1] for container in axes.containers]
        np.testing.assert_allclose(heights[0], [point.completeness[k] for point in CHOSEN])
        np.testing.assert_allclose(heights[1], [point.completeness[k] for point in RANDOM])
        np.testing.assert_allclose(axes.containers[0].lines[0].get_xydata()[:, 0], [0, 100])
        (bars,) = axes.containers[0].lines[2]
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        np.testing.assert_allclose(np.ptp(ends, axis=1), [2 * p.error[k] for p in CHOSEN])
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["chosen", "random"]
    save_figure(figure, tmp_path / "labels.png")
    assert (tmp_path / "labels.png").stat().st_size > 5000


def test_repeats_are_dots_in_the_colour_of_their_set():
    again = [AtPurity(100, (c, c - 0.1), (0.0, 0.0)) for c in (0.81, 0.82, 0.83)]
    figure = labels_figure({"T0": CHOSEN[:1], "T1": CHOSEN[1:]}, {"T0": again})
    for k, axes in enumerate(figure.axes):
        first, second = axes.containers
        dots = [line for line in axes.lines if line.get_marker() == "."]
        (own,) = dots  # T1 has no repeats
        assert own.get_color() == first.lines[0].get_color() != second.lines[0].get_color()
        np.testing.assert_allclose(own.get_ydata(), [p.completeness[k] for p in again])
        np.testing.assert_allclose(own.get_xdata(), 100)
