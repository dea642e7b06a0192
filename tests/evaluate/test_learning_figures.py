"""Learning curves hold the numbers they are drawn from."""

import numpy as np

from quasarloop.evaluate.figures import bootstrap_figure, learning_figure, save_figure
from quasarloop.network.records import EpochRecord


def history(shift=0.0):
    return [
        EpochRecord(e, 1e-3, 1 / e, 0, 0, 0, completeness=0.9 - 0.5 / e - shift, purity=0.98)
        for e in range(1, 21)
    ]


def test_curves_are_the_history(tmp_path):
    figure = learning_figure({"T0": history(0.1), "T1": history()})
    lines = figure.axes[0].get_lines()
    np.testing.assert_allclose(lines[0].get_ydata()[-1], 0.9 - 0.5 / 20 - 0.1)
    np.testing.assert_allclose(lines[1].get_ydata(), 5 * 0.02)
    save_figure(figure, tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 5000


def test_the_legend_lies_off_the_curves():
    figure = learning_figure({f"T{i}": history(i / 10) for i in range(4)})
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().y0 >= figure.axes[0].get_window_extent().y1
    assert legend.get_window_extent().x1 <= figure.bbox.x1


def test_bootstraps_are_counted_in_the_legend():
    figure = bootstrap_figure({"T0": history(0.1), "T1": history()}, {"T0": [history(0.2)] * 3})
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert texts == ["T0, dashed: 3 bootstraps", "T1"]
    assert len(figure.axes[0].get_lines()) == 5
