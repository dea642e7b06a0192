"""The oracle answers truly, and errs at the rates asked for."""

import numpy as np
import pytest

from quasarloop.campaign.config import OracleSection
from quasarloop.campaign.steps.labels import label_by_oracle
from quasarloop.errors import CampaignError
from quasarloop.truth import TruthTable

N = 4000
TRUTH = TruthTable.make(np.arange(1, N + 1), np.arange(N) % 3, np.linspace(0.5, 3.5, N))


def ask(mistakes, seed=1):
    return label_by_oracle(TRUTH.target_id[::-1], TRUTH, mistakes, np.random.default_rng(seed))


def test_without_mistakes_it_is_the_truth_in_the_order_asked():
    answer = ask(OracleSection())
    assert np.array_equal(answer.target_id, TRUTH.target_id[::-1])
    assert np.array_equal(answer.spectype, TRUTH.spectype[::-1])
    assert np.array_equal(answer.z, TRUTH.z[::-1])
    assert answer.trains.all()


def test_mistakes_come_at_their_rates():
    answer = ask(OracleSection(wrong_class=0.1, wrong_redshift=0.2, unsure=0.05))
    truth = TRUTH[::-1]
    wrong_class = np.mean(answer.spectype != truth.spectype)
    quasar = truth.is_qso
    wrong_z = np.mean(answer.z[quasar] != truth.z[quasar])
    unsure = np.mean(answer.quality < 2.5)
    # Four standard deviations of the binomial.
    assert abs(wrong_class - 0.1) < 4 * np.sqrt(0.1 * 0.9 / N)
    assert abs(wrong_z - 0.2) < 4 * np.sqrt(0.2 * 0.8 / quasar.sum())
    assert abs(unsure - 0.05) < 4 * np.sqrt(0.05 * 0.95 / N)
    assert set(answer.spectype.tolist()) == {0, 1, 2}
    assert (answer.z > 0).all()


def test_wrong_redshifts_are_line_confusions():
    answer, truth = ask(OracleSection(wrong_redshift=1.0)), TRUTH[::-1]
    quasar = truth.is_qso & (answer.z > 0.02)
    ratio = (1 + answer.z[quasar]) / (1 + truth.z[quasar])
    waves = np.array([1215.67, 1548.2049, 1908.734, 2796.3511])
    known = (waves[:, None] / waves[None, :]).ravel()
    assert np.abs(ratio[:, None] - known).min(axis=1).max() < 1e-9
    assert (np.abs(ratio - 1) > 0.1).all()


def test_same_seed_same_answers():
    mistakes = OracleSection(wrong_class=0.3)
    assert np.array_equal(ask(mistakes, 5).spectype, ask(mistakes, 5).spectype)
    assert not np.array_equal(ask(mistakes, 5).spectype, ask(mistakes, 6).spectype)


def test_unknown_target_is_named():
    with pytest.raises(CampaignError, match=r"knows nothing of 1 of 2 targets .first: 99999."):
        label_by_oracle(np.array([1, 99999]), TRUTH, OracleSection(), np.random.default_rng(0))
