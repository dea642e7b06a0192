"""The figure of labels saved shows what the curves say."""

import numpy as np

from label_saving_figure import label_saving_figure
from learning_curves import LearningCurve, speed_up
from quasarloop.evaluate.figures import save_figure


def _curves(shift, labels):
    return {
        seed: LearningCurve.make(labels, 0.5 + shift + 0.0002 * np.array(labels) + 0.001 * seed)
        for seed in (1, 2, 3)
    }


def _skies():
    arms = {"random": _curves(0.0, [0, 500, 1000]), "loop": _curves(0.05, [250, 500])}
    return {"one": arms, "other": {**arms, "loop": _curves(0.2, [250, 500])}}


def test_factors_are_drawn_where_they_are(tmp_path):
    skies = _skies()
    figure = label_saving_figure(skies, "random", "completeness")
    upper, _, lower, limits = figure.axes
    assert upper.get_xlabel() == lower.get_xlabel() == "labels spent"
    assert lower.get_ylabel() == "random needed ÷ labels spent"
    # 0.05 more of what grows by 0.0002 a label is 250 labels: factors 2 and 1.5.
    drawn = next(
        line
        for line in lower.get_lines()
        if len(line.get_xdata()) == 2 and line.get_marker() == "o"
    )
    np.testing.assert_allclose(np.asarray(drawn.get_ydata(), float), [2.0, 1.5], rtol=1e-6)
    assert speed_up(skies["other"]["loop"], skies["other"]["random"], 500).is_limit
    triangles = [line for line in limits.get_lines() if line.get_marker() == "^"]
    assert len(triangles) == 1
    save_figure(figure, tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 5000


def test_seeds_are_counted_in_the_legend():
    figure = label_saving_figure(_skies(), "random", "completeness")
    texts = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert texts == ["random (3 seeds)", "loop (3 seeds)"]
