"""Labels saved: planted factors, hand-computed interpolation, errors over seeds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_curves import (
    LearningCurve,
    labels_needed,
    mean_curve,
    speed_up,
)
from quasarloop.errors import TruthError

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
    assert labels_needed(curve, 0.7) == pytest.approx(200 * 2**0.5)  # half way in logarithms
    assert labels_needed(curve, 0.81) == np.inf


def test_a_falling_point_is_levelled_with_its_neighbour():
    # Isotonic: 0.7 and 0.5 become 0.6 and 0.6.
    curve = LearningCurve.make([0, 100, 200, 300], [0.4, 0.7, 0.5, 0.8])
    assert labels_needed(curve, 0.6) == 100
    assert labels_needed(curve, 0.7) == pytest.approx((200 * 300) ** 0.5)


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
    # What is read between the points of a curved law is off by some per cent.
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
    # A second seed whose control gets there: of four equal draws one, twice the second, reaches it.
    ours[2], control[2] = ours[1], LearningCurve.make([0, 100, 300], [0.5, 0.6, 0.95])
    found = speed_up(ours, control, 100)
    assert found.is_limit
    assert found.unreached == pytest.approx(0.75, abs=0.06)
    assert str(found) == f"> 3.00 ({found.unreached:.0%})"


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
