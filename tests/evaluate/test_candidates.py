"""The pool's numbers from chosen labels: planted truth; and the rule that picks."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from quasarloop.errors import TruthError
from quasarloop.evaluate.candidates import judge_candidates, pool_weights
from quasarloop.evaluate.metrics import completeness_at_purity, threshold_curve

N = 4000


def pool(seed=0):
    """Confidences of a network that is right as often as it states, and the truth."""
    rng = np.random.default_rng(seed)
    confidence = rng.beta(0.3, 0.3, N)
    return confidence, rng.random(N) < confidence


def campaign(confidence, rng, n_first=0, chosen=(150, 150), drawn=(100, 50)):
    """Label the most confusing and some random ones, round after round; return as arrays."""
    left, label = np.arange(N), []
    left_over = {}
    if n_first:
        first = rng.choice(left, n_first, replace=False)
        left_over[0] = len(left)
        label += [(i, 0, True) for i in first]
        left = np.setdiff1d(left, first)
    for number, (n_chosen, n_drawn) in enumerate(zip(chosen, drawn, strict=True), start=1):
        doubt = np.abs(confidence[left] - 0.5)
        best = left[np.argsort(doubt)[:n_chosen]]
        left = np.setdiff1d(left, best)
        left_over[number] = len(left)
        random = rng.choice(left, n_drawn, replace=False)
        left = np.setdiff1d(left, random)
        label += [(i, number, False) for i in best] + [(i, number, True) for i in random]
    index, number, at_random = map(np.array, zip(*label, strict=True))
    return index, number, at_random, left_over


def log_loss(confidence, true):
    right = np.clip(np.where(true, confidence, 1 - confidence), 1e-3, 1 - 1e-3)
    return -np.log(right)


@pytest.mark.parametrize("n_first", [0, 100])
def test_weights_recover_the_pool_from_chosen_labels(n_first):
    confidence, true = pool()
    rng = np.random.default_rng(1)
    truth = [log_loss(confidence, true).mean(), true.mean()]
    weighted, plain = [], []
    for _ in range(400):
        index, number, at_random, left = campaign(confidence, rng, n_first)
        weight = pool_weights(number, at_random, left)
        values = np.array([log_loss(confidence, true)[index], true[index]])
        weighted.append(values @ weight / N)
        plain.append(values.mean(axis=1))
    mean, error = np.mean(weighted, axis=0), np.std(weighted, axis=0) / np.sqrt(400)
    assert (np.abs(mean - truth) < 3.5 * error).all()
    assert np.abs(np.mean(plain, axis=0) - truth)[0] > 20 * error[0]  # chosen ones are confusing


def test_completeness_at_purity_of_the_pool():
    confidence, true = pool(3)
    rng = np.random.default_rng(4)
    truth = completeness_at_purity(confidence, true, 0.9)
    weighted, plain = [], []
    for _ in range(100):
        index, number, at_random, left = campaign(confidence, rng, 300, (300,), (300,))
        weight = pool_weights(number, at_random, left)
        c, t = confidence[index], true[index]
        weighted.append(completeness_at_purity(c, t, 0.9, weight=weight))
        plain.append(completeness_at_purity(c, t, 0.9))
    assert abs(np.mean(weighted) - truth) < 0.04
    assert abs(np.mean(plain) - truth) > 0.1


@given(
    first=st.integers(0, 30),
    rounds=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=4),
)
def test_weights_add_up_to_the_pool(first, rounds):
    confidence, _ = pool()
    chosen, drawn = zip(*rounds, strict=True)
    if not first + sum(drawn):
        return
    rng = np.random.default_rng(0)
    _, number, at_random, left = campaign(confidence, rng, first, chosen, drawn)
    assert pool_weights(number, at_random, left).sum() == pytest.approx(N)


def test_a_first_t_of_another_survey_counts_for_nothing():
    number, at_random = np.array([0, 0, 1, 1]), np.array([False, False, False, True])
    assert pool_weights(number, at_random, {1: 7}).tolist() == [0, 0, 1, 7]


def test_rounds_by_hand():
    # Round 1: one chosen, one of 8 at random; round 2: one chosen, three of 6 at random.
    number = np.array([1, 1, 2, 2, 2, 2])
    at_random = np.array([False, True, False, True, True, True])
    weight = pool_weights(number, at_random, {1: 8, 2: 6})
    # A quarter of round 1's (1, 8, 0, 0, 0, 0) and three of round 2's (1, 1, 1, 2, 2, 2).
    assert weight.tolist() == [1.0, 2.75, 0.75, 1.5, 1.5, 1.5]


def test_without_a_random_part_nothing_can_be_weighted():
    with pytest.raises(TruthError, match="random_share"):
        pool_weights(np.array([1, 1]), np.array([False, False]), {1: 10})
    with pytest.raises(TruthError, match="drawn at random from 1"):
        pool_weights(np.array([1, 1]), np.array([True, True]), {1: 1})


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(1, 4)), min_size=1))
def test_whole_weights_are_repeated_rows(rows):
    value, true, weight = (np.array(column) for column in zip(*rows, strict=True))
    cuts = np.arange(11) / 10
    one = threshold_curve(value / 10, true, cuts, weight=weight)
    many = threshold_curve(np.repeat(value / 10, weight), np.repeat(true, weight), cuts)
    np.testing.assert_array_equal(one.completeness, many.completeness)
    np.testing.assert_array_equal(one.purity, many.purity)


def blurred(confidence, scatter, seed):
    logit = np.log(confidence / (1 - confidence))
    noise = np.random.default_rng(seed).normal(0, scatter, len(logit))
    return 1 / (1 + np.exp(-logit - noise))


def judged(true, seed=0, weight=None, object_id=None, z=None, z_true=None, **confidence):
    """Judge networks; if no redshifts are given all are right."""
    n = len(true)
    return judge_candidates(
        confidence,
        dict.fromkeys(confidence, np.ones(n)) if z is None else z,
        true,
        np.ones(n) if z_true is None else z_true,
        np.ones(n) if weight is None else weight,
        np.arange(n) if object_id is None else object_id,
        seed=seed,
    )


def test_the_clearly_better_network_leaves():
    confidence, true = pool(5)
    result = judged(true, head=blurred(confidence, 1.5, 1), tuned=confidence)
    assert result.leaves == "tuned"
    head, tuned = result.scores["head"], result.scores["tuned"]
    assert head.better_by == head.better_by_error == 0
    assert tuned.better_by == pytest.approx(head.log_loss - tuned.log_loss)
    assert tuned.better_by > 3 * tuned.better_by_error > 0


def test_of_equals_the_simpler_network_leaves():
    confidence, true = pool(6)
    nearly = blurred(confidence, 0.02, 2)
    assert judged(true, head=nearly, tuned=confidence).leaves == "head"
    assert judged(true, head=confidence, tuned=nearly).leaves == "head"


def test_few_labels_replace_the_simplest_network_as_seldom_as_one_error_allows():
    wins, skies, n = 0, 60, 60
    for seed in range(skies):
        confidence, true = (values[:n] for values in pool(seed))
        noisy = {str(k): blurred(confidence, 0.3, [seed, k]) for k in range(2)}
        wins += judged(true, start=confidence, **noisy).leaves == "start"
    assert wins > (1 - 2 * norm.sf(1)) * skies  # two others, hardly worse


def test_a_network_is_compared_with_the_one_that_leads():
    confidence, true = pool(9)
    result = judged(true, a=blurred(confidence, 2, 1), b=confidence, c=blurred(confidence, 1, 2))
    assert result.leaves == "b"
    b, c = result.scores["b"], result.scores["c"]
    assert c.better_by == pytest.approx(b.log_loss - c.log_loss)
    assert c.better_by < 0 < b.better_by


def test_labels_a_network_has_learned_from_do_not_count():
    confidence, true = pool(10)
    learned = np.arange(N) % 4 > 0
    by_heart = np.where(learned, np.where(true, 0.999, 0.001), blurred(confidence, 1.5, 1))
    assert judged(true, start=confidence, tuned=by_heart).leaves == "tuned"
    result = judged(true, start=confidence, tuned=np.where(learned, np.nan, by_heart))
    assert result.leaves == "start"
    assert (result.scores["start"].n_labels, result.scores["tuned"].n_labels) == (N, N // 4)


def test_a_network_that_cannot_be_judged_does_not_leave():
    confidence, true = pool(11)
    result = judged(true, start=confidence, tuned=np.where(true, 1.0, np.nan))
    assert result.leaves == "start"
    assert list(result.scores) == ["start"]


def test_errors_are_the_scatter_over_skies():
    skies = [(c[::4], t[::4]) for c, t in map(pool, range(60))]
    made = [judged(t, one=c).scores["one"] for c, t in skies]
    scatter = np.std([score.log_loss for score in made])
    assert np.mean([score.log_loss_error for score in made]) == pytest.approx(scatter, rel=0.3)


def test_spectra_of_one_object_are_drawn_together():
    confidence, true = pool(7)
    alone = judged(true, one=confidence).scores["one"]
    objects = np.repeat(np.arange(N), 4)
    four = judged(true[objects], object_id=objects, one=confidence[objects]).scores["one"]
    assert four.log_loss == pytest.approx(alone.log_loss)
    assert four.log_loss_error == pytest.approx(alone.log_loss_error)


def test_labels_of_weight_0_are_left_out_and_one_class_is_no_test():
    confidence, true = pool(8)
    weight = (np.arange(N) % 2).astype(float)
    result = judged(true, weight=weight, one=confidence)
    assert result.scores["one"].n_labels == N // 2
    assert judged(true[1::2], one=confidence[1::2]).scores == result.scores
    with pytest.raises(TruthError, match="quasars and 0 others"):
        judged(true, weight=true.astype(float), one=confidence)


def redshifts(share, seed):
    """Redshifts of 1, and of another line for a planted share of the rows."""
    return np.where(np.random.default_rng(seed).random(N) < share, 2.0, 1.01)


def test_of_equals_in_class_the_one_with_fewer_wrong_redshifts_leaves():
    confidence, true = pool(12)
    many, few = redshifts(0.05, 1), redshifts(0.01, 2)
    result = judged(true, z={"head": many, "tuned": few}, head=confidence, tuned=confidence)
    assert result.leaves == "tuned"
    head, tuned = result.scores["head"], result.scores["tuned"]
    assert head.wrong_z == pytest.approx((many[true] == 2).mean())
    assert tuned.fewer_wrong_by == pytest.approx(head.wrong_z - tuned.wrong_z)
    p = np.array([head.wrong_z, tuned.wrong_z])
    assert tuned.fewer_wrong_by_error == pytest.approx(
        np.sqrt((p * (1 - p)).sum() / true.sum()), rel=0.15
    )
    other_way = judged(true, z={"head": few, "tuned": many}, head=confidence, tuned=confidence)
    assert other_way.leaves == "head"


def test_classes_decide_before_redshifts():
    confidence, true = (values[:1000] for values in pool(13))
    worse = blurred(confidence, 1.5, 1)
    z = {"head": redshifts(0.05, 1)[:1000], "tuned": np.ones(1000)}
    assert judged(true, z=z, head=confidence, tuned=worse).leaves == "head"
    tuned = judged(true, z=z, head=confidence, tuned=worse).scores["tuned"]
    within = replace(tuned, better_by=-0.01, better_by_error=0.1)
    assert within.fewer_wrong_by > within.fewer_wrong_by_error
    assert not within.leads  # higher within the error is no tie: with few labels it is wide
    assert replace(within, better_by=0.01).leads
    z = {"head": z["tuned"], "tuned": z["head"]}
    assert judged(true, z=z, head=worse, tuned=confidence).leaves == "tuned"


def test_as_many_wrong_redshifts_win_as_seldom_as_one_error_allows():
    skies, n = 40, 200
    confidence, true = (values[:n] for values in pool(14))
    wins = [
        judged(
            true,
            seed,
            z={name: redshifts(0.2, [seed, k])[:n] for k, name in enumerate(("head", "tuned"))},
            head=confidence,
            tuned=confidence,
        ).leaves
        for seed in range(skies)
    ]
    low, high = binom.ppf([0.001, 0.999], skies, norm.sf(1))
    assert low <= wins.count("tuned") <= high


def test_redshifts_count_only_where_they_are_known_and_for_quasars():
    n = 1000
    confidence, true = (values[:n] for values in pool(15))
    unknown = np.arange(n) % 2 == 0
    z_true = np.where(unknown, np.nan, 1.0)
    z = {"head": np.where(unknown | ~true, 2.0, 1.0), "tuned": np.ones(n)}
    result = judged(true, z=z, z_true=z_true, head=confidence, tuned=confidence)
    assert result.leaves == "head"
    assert result.scores["head"].wrong_z == 0
    none = judged(true, z={"head": np.full(n, np.nan)}, head=confidence)
    assert none.scores["head"].wrong_z == 1


def test_wrong_redshifts_of_the_pool_from_chosen_labels():
    confidence, true = pool(16)
    # Wrong where the class is doubtful, as chosen labels are.
    z = np.where(np.abs(confidence - 0.5) < 0.1, 2.0, 1.0)
    rng, weighted, plain = np.random.default_rng(2), [], []
    for _ in range(30):
        index, number, at_random, left = campaign(confidence, rng)
        for weight, found in ((pool_weights(number, at_random, left), weighted), (None, plain)):
            score = judged(true[index], weight=weight, z={"a": z[index]}, a=confidence[index])
            found.append(score.scores["a"].wrong_z)
    truth = (z[true] == 2).mean()
    assert np.mean(weighted) == pytest.approx(
        truth, abs=3.5 * np.std(weighted) / np.sqrt(30) + 0.005
    )
    assert np.mean(plain) > 2 * truth
