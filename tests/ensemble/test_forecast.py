"""Forecasts of the whole ensemble's score: calibrated on members that are what they should be."""

import numpy as np
import pytest

from quasarloop.classes import Thresholds
from quasarloop.ensemble.entropy import (
    entropy_bits,
    mutual_information,
    soft_classes,
    vote_entropy,
)
from quasarloop.ensemble.forecast import N_DRAWS, Forecaster, Scatter, measure_scatter
from quasarloop.ensemble.votes import vote_counts

M = 40


@pytest.fixture(scope="module")
def answers(fakes):
    return fakes.made_up_answers(6000, M, seed=4)


def forecast(answers, asked, score="entropy", n_networks=M):
    confidence, z = answers[0][:asked], answers[1][:asked]
    scatter = measure_scatter(confidence, z, decision=Thresholds(), score=score)
    return Forecaster(scatter, n_networks, Thresholds(), score).draws(confidence, z)


def exact(answers, score="entropy"):
    if score == "entropy":
        return vote_entropy(vote_counts(*answers, Thresholds()))
    soft = soft_classes(*answers, high_z_min=2.1)
    if score == "mutual_information":
        return mutual_information(soft)
    return entropy_bits(soft.mean(axis=0))


@pytest.mark.parametrize("score", ["entropy", "soft_entropy", "mutual_information"])
@pytest.mark.parametrize("asked", [4, 8, 20])
def test_chances_add_up_to_what_happens(answers, asked, score):
    """Of all spectra, about as many reach a score as the forecast says, or fewer."""
    draws, truth = forecast(answers, asked, score), exact(answers, score)
    for floor in np.sort(truth)[[-600, -300, -100]]:
        expected = (draws >= floor).mean(axis=1).sum()
        found = np.count_nonzero(truth >= floor)
        # How wide members scatter is known badly from four of them: mutual information suffers.
        most = 2.0 if score == "mutual_information" else 1.5
        assert 0.7 * found < expected < most * found


@pytest.mark.parametrize("asked", [4, 8, 20])
def test_those_called_hopeless_are_hopeless(answers, asked):
    """Drop spectra with chances adding up to 5: not many more than 5 of them reach the floor."""
    floor = np.sort(exact(answers))[-300]
    chance = (forecast(answers, asked) >= floor).mean(axis=1)
    order = np.argsort(chance, kind="stable")
    dropped = order[np.cumsum(chance[order]) <= 5]
    assert len(dropped) > 4000
    assert np.count_nonzero(exact(answers)[dropped] >= floor) <= 10


def test_more_members_make_sharper_forecasts(answers):
    truth = exact(answers)
    errors = [np.abs(forecast(answers, m).mean(axis=1) - truth).mean() for m in (4, 10, 30, 39)]
    assert errors == sorted(errors, reverse=True)
    # With one member missing the entropy can move by one vote only.
    assert np.abs(forecast(answers, 39) - truth[:, None]).max() < 0.26


def test_everybody_asked_leaves_no_doubt(answers):
    draws = forecast(answers, M)
    assert np.allclose(draws, exact(answers)[:, None], atol=1e-6)
    for score in ("soft_entropy", "mutual_information"):
        assert np.allclose(forecast(answers, M, score), exact(answers, score)[:, None], atol=1e-5)


def test_a_spectrum_has_its_draws_whoever_stands_beside_it(answers):
    confidence, z = answers[0][:6], answers[1][:6]
    forecaster = Forecaster(measure_scatter(confidence, z, decision=Thresholds()), M, Thresholds())
    whole = forecaster.draws(confidence, z)
    alone = forecaster.draws(confidence[:, 70:73], z[:, 70:73])
    assert whole.shape == (6000, N_DRAWS)
    assert np.allclose(alone, whole[70:73], atol=1e-6)
    assert forecaster.draws(confidence[:, :0], z[:, :0]).shape == (0, N_DRAWS)


def test_scatter_of_parts_is_the_scatter_of_the_whole(answers):
    confidence, z = answers[0][:6], answers[1][:6]
    whole = measure_scatter(confidence, z, decision=Thresholds())
    parts = Scatter.empty()
    for rows in (slice(0, 1000), slice(1000, 6000)):
        parts += measure_scatter(confidence[:, rows], z[:, rows], decision=Thresholds())
    assert np.allclose(parts.variance, whole.variance)
    assert np.allclose(parts.shares, whole.shares)
    # Made with widths from 0.4 to 1: the mean square is 0.52.
    assert np.median(whole.prior_variance) == pytest.approx(0.52, abs=0.08)
    # Far from the border members agree on the side; near it they do not.
    border = whole.prior_share[8]
    assert 0.2 < border[0] / border.sum() < 0.8
    far = whole.prior_share[[1, 15]]
    assert np.all((far.min(axis=1) / far.sum(axis=1)) < 0.02)


def test_nothing_measured_gives_vague_priors():
    assert np.all(Scatter.empty().prior_variance == 1.0)
    assert np.all(Scatter.empty().prior_share == 0.1)
