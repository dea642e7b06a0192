"""Completeness against labels: every number is in the panel of its purity, at its labels."""

import numpy as np

from quasarloop.evaluate.figures import AtPurity, equal_size_figure, labels_figure, save_figure
from quasarloop.evaluate.judge import FIXED_PURITIES

CHOSEN = [AtPurity(0, (0.80, 0.70), (0.01, 0.03)), AtPurity(100, (0.90, 0.85), (0.02, 0.04))]
RANDOM = [AtPurity(100, (0.86, 0.75), (0.02, 0.04))]


def test_one_panel_per_purity_holds_its_numbers(tmp_path):
    figure = labels_figure({"chosen": CHOSEN, "random": RANDOM})
    panels = [axes.get_xlabel() for axes in figure.axes]
    assert panels == [f"labelled spectra; purity {p}" for p in FIXED_PURITIES]
    for k, axes in enumerate(figure.axes):
        heights = [container.lines[0].get_xydata()[:, 1] for container in axes.containers]
        np.testing.assert_allclose(heights[0], [point.completeness[k] for point in CHOSEN])
        np.testing.assert_allclose(heights[1], [point.completeness[k] for point in RANDOM])
        np.testing.assert_allclose(axes.containers[0].lines[0].get_xydata()[:, 0], [0, 100])
        (bars,) = axes.containers[0].lines[2]
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        np.testing.assert_allclose(np.ptp(ends, axis=1), [2 * p.error[k] for p in CHOSEN])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["chosen", "random"]
    save_figure(figure, tmp_path / "labels.png")
    assert (tmp_path / "labels.png").stat().st_size > 5000


def test_sets_drawn_to_equal_size_are_beside_their_set_in_its_colour():
    again = [(c, c - 0.1) for c in (0.81, 0.82, 0.83)]
    figure = equal_size_figure({"T0": CHOSEN[0], "T1": CHOSEN[1]}, {"T0": again})
    for k, axes in enumerate(figure.axes):
        first, second = (container.lines[0] for container in axes.containers)
        assert first.get_ydata() == CHOSEN[0].completeness[k]
        assert second.get_ydata() == CHOSEN[1].completeness[k]
        drawn = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
        own, none = drawn
        assert own.get_color() == first.get_color() != second.get_color()
        np.testing.assert_allclose(own.get_ydata(), [values[k] for values in again])
        assert (own.get_xdata() > first.get_xdata()).all()
        assert (own.get_xdata() < second.get_xdata()).all()
        assert len(none.get_xdata()) == 0  # the largest set is drawn as it is
        assert [text.get_text() for text in axes.get_xticklabels()] == ["T0\n0", "T1\n100"]
