"""Labels saved: planted factors, hand-computed interpolation, errors over seeds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_curves import (
    LearningCurve,
    label_saving_figure,
    labels_needed,
    mean_curve,
    speed_up,
)
from quasarloop.errors import TruthError
from quasarloop.evaluate.figures import save_figure

_OURS = np.array([0, 200, 400, 600, 800])
_CONTROL = np.array([0, 200, 400, 600, 800, 1200, 1800, 2700, 4000])


def _law(labels):
    """Completeness that a network would reach with so many random labels."""
    return 0.95 - 0.4 * np.exp(-labels / 600)


def _seeds(labels, factor, noise, n, rng):
    return {
        seed: LearningCurve.make(
            labels, _law(factor * labels) + noise * rng.normal(size=len(labels))
        )
        for seed in range(n)
    }


def test_labels_needed_by_hand():
    curve = LearningCurve.make([0, 100, 200, 400], [0.5, 0.6, 0.6, 0.8])
    assert labels_needed(curve, 0.5) == 0
    assert labels_needed(curve, 0.4) == 0
    assert labels_needed(curve, 0.55) == pytest.approx(50)
    assert labels_needed(curve, 0.6) == 100  # the first that has it
    assert labels_needed(curve, 0.7) == pytest.approx(300)
    assert labels_needed(curve, 0.81) == np.inf


def test_a_falling_point_is_levelled_with_its_neighbour():
    # Isotonic: 0.7 and 0.5 become 0.6 and 0.6.
    curve = LearningCurve.make([0, 100, 200, 300], [0.4, 0.7, 0.5, 0.8])
    assert labels_needed(curve, 0.6) == 100
    assert labels_needed(curve, 0.7) == pytest.approx(250)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_figure_never_needs_fewer_labels(figure, one, other):
    curve = LearningCurve.make(np.arange(len(figure)) * 100, figure)
    low, high = sorted([one, other])
    assert labels_needed(curve, low) <= labels_needed(curve, high)


def test_mean_over_seeds_with_error_by_hand():
    curves = {
        1: LearningCurve.make([0, 100, 200], [0.5, 0.6, 0.9]),
        2: LearningCurve.make([0, 100], [0.5, 0.8]),
    }
    mean = mean_curve(curves)
    assert mean.labels.tolist() == [0, 100]  # where both were measured
    assert mean.figure == pytest.approx([0.5, 0.7])
    assert mean.error == pytest.approx([0.0, 0.1])  # 0.2 / √2 / √2


@pytest.mark.parametrize("factor", [0.7, 1.0, 2.0, 3.0])
def test_a_planted_factor_is_found_without_noise(factor):
    ours = _seeds(_OURS, factor, 0.0, 2, np.random.default_rng(0))
    control = _seeds(_CONTROL, 1.0, 0.0, 2, np.random.default_rng(0))
    found = speed_up(ours, control, 400)
    # Lines between the points of a curved law are off by some per cent.
    assert found.value == pytest.approx(factor, rel=0.08)
    assert found.error == pytest.approx(0.0, abs=1e-9)
    assert not found.is_limit


def test_a_planted_factor_lies_within_its_error_as_often_as_it_should():
    inside, width = 0, []
    for trial in range(60):
        rng = np.random.default_rng(trial)
        ours = _seeds(_OURS, 2.0, 0.01, 5, rng)
        control = _seeds(_CONTROL, 1.0, 0.01, 5, rng)
        found = speed_up(ours, control, 400, n_bootstraps=200, seed=trial)
        inside += abs(found.value - 2.0) < 2 * found.error
        width.append(found.error)
    assert inside >= 48  # 95 % of 60 were 57; five seeds have heavier tails
    assert 0.02 < np.median(width) < 0.4


def test_what_the_control_never_reaches_is_a_limit():
    ours = {1: LearningCurve.make([0, 100], [0.5, 0.9])}
    control = {1: LearningCurve.make([0, 100, 300], [0.5, 0.6, 0.8])}
    found = speed_up(ours, control, 100)
    assert (found.value, found.is_limit, str(found)) == (3.0, True, "> 3.00")


def test_worse_than_no_label_at_all_is_a_factor_of_nothing():
    ours = {1: LearningCurve.make([0, 100], [0.5, 0.4])}
    control = {1: LearningCurve.make([0, 100], [0.5, 0.6])}
    # Our rising curve is level at 0.45: the control had that before it began.
    assert speed_up(ours, control, 100).value == 0.0


def test_only_seeds_of_both_count():
    ours = _seeds(_OURS, 2.0, 0.0, 3, np.random.default_rng(0))
    control = {1: _seeds(_CONTROL, 1.0, 0.0, 3, np.random.default_rng(0))[1]}
    found = speed_up(ours, control, 400)
    assert found.n_seeds == 1
    assert np.isnan(found.error)
    assert str(speed_up(ours, {9: control[1]}, 400)) == "–"


def test_same_seed_same_error():
    rng = np.random.default_rng(0)
    ours, control = _seeds(_OURS, 2, 0.02, 4, rng), _seeds(_CONTROL, 1, 0.02, 4, rng)
    assert speed_up(ours, control, 600) == speed_up(ours, control, 600)


def test_faults_are_named():
    with pytest.raises(TruthError, match="must increase"):
        LearningCurve.make([0, 100, 100], [0.1, 0.2, 0.3])
    with pytest.raises(TruthError, match="as many"):
        LearningCurve.make([0, 100], [0.1])
    with pytest.raises(TruthError, match="no learning curve"):
        mean_curve({})
    with pytest.raises(TruthError, match="share no number"):
        mean_curve({1: LearningCurve.make([0], [0.1]), 2: LearningCurve.make([5], [0.1])})
    curve = {1: LearningCurve.make([0, 100], [0.5, 0.9])}
    with pytest.raises(TruthError, match="with 50 labels"):
        speed_up(curve, curve, 50)


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
