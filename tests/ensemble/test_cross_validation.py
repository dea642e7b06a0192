"""What heads decide of labels that they have not seen."""

import numpy as np
import pytest
from scipy.special import log_expit
from tests.ensemble.test_heads import CONFIG, made_up

from quasarloop.ensemble import train_heads
from quasarloop.ensemble.heads import deciding_logit, fit_head
from quasarloop.ensemble.train_heads import cross_validated_logits
from quasarloop.errors import TruthError


def loss(logit, labelled):
    return -np.mean(log_expit((2 * labelled.is_qso - 1) * logit))


def losses(labelled):
    """Of the network as it is, of heads by cross-validation, and of a head on its own labels."""
    as_is = deciding_logit(labelled.features, CONFIG)
    own = fit_head(labelled, CONFIG).logits(labelled.features, CONFIG)[0]
    unseen = cross_validated_logits(labelled, CONFIG, seed=1)
    return [loss(logit, labelled) for logit in (as_is, unseen, own)]


def test_a_planted_head_is_better_where_it_has_seen_nothing():
    as_is, unseen, own = losses(made_up(400))
    assert own < unseen < as_is


def test_labels_that_teach_nothing_show_no_gain():
    found = np.array([losses(made_up(60, seed, truth=(1.0, 0.0, 0.0))) for seed in range(8)])
    as_is, unseen, own = found.mean(axis=0)
    assert own < as_is  # by heart
    assert unseen > as_is


def test_no_head_has_seen_the_object_it_decides(monkeypatch):
    labelled, seen = made_up(90, per_object=3), []

    def recorded(part, *args, **kwargs):
        seen.append((np.unique(part.object_id), part.is_qso.mean()))
        return fit_head(part, *args, **kwargs)

    monkeypatch.setattr(train_heads, "fit_head", recorded)
    logit = cross_validated_logits(labelled, CONFIG, seed=2)
    left_out = [np.setdiff1d(labelled.object_id, objects) for objects, _ in seen]
    assert sorted(np.concatenate(left_out)) == list(range(30))
    for objects, (trained, share) in zip(left_out, seen, strict=True):
        rows = np.isin(labelled.object_id, objects)
        head = fit_head(labelled[np.isin(labelled.object_id, trained)], CONFIG)
        np.testing.assert_allclose(head.logits(labelled.features[rows], CONFIG)[0], logit[rows])
        assert share == pytest.approx(labelled.is_qso.mean(), abs=0.1)  # classes shared out


def test_two_quasars_are_too_few():
    labelled = made_up(40)
    quasars, others = (np.flatnonzero(labelled.is_qso == true) for true in (True, False))
    with pytest.raises(TruthError, match="heads need at least"):
        cross_validated_logits(labelled[np.append(quasars[:2], others)], CONFIG, seed=3)
