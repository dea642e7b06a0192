"""Entropy of votes: the paper's numbers, and the properties any confusion must have."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quasarloop.classes import Vote
from quasarloop.ensemble.entropy import (
    MAX_ENTROPY_BITS,
    class_fractions,
    count_votes,
    entropy_bits,
    mutual_information,
    soft_classes,
    vote_entropy,
)

votes_tables = hnp.arrays(
    np.int8, st.tuples(st.integers(1, 40), st.integers(1, 8)), elements=st.integers(0, 2)
)
unit = st.floats(0, 1, allow_subnormal=False)


def test_three_classes_equally_split_give_log2_of_three():
    assert vote_entropy([[70, 70, 70]])[0] == math.log2(3) == MAX_ENTROPY_BITS


@pytest.mark.parametrize(
    ("counts", "bits"),
    [
        ([200, 0, 0], 0.0),
        ([100, 100, 0], 1.0),
        ([100, 50, 50], 1.5),
        ([150, 50, 0], 2.0 - 0.75 * math.log2(3)),
        ([120, 80], 0.9709505944546686),  # repeats: two classes, 60 % to 40 %
        ([80, 120], 0.9709505944546686),
    ],
)
def test_hand_computed_entropies(counts, bits):
    assert vote_entropy([counts])[0] == pytest.approx(bits, abs=1e-15)


def test_fractions_are_counts_over_networks_and_nan_without_any():
    fractions = class_fractions([[150, 30, 20], [0, 0, 0]])
    assert fractions[0].tolist() == [0.75, 0.15, 0.1]
    assert np.isnan(fractions[1]).all()
    assert np.isnan(vote_entropy([[0, 0, 0]])[0])


def test_counts_follow_the_order_of_the_classes():
    votes = [[Vote.NOT_QSO], [Vote.HIGH_Z], [Vote.HIGH_Z], [Vote.LOW_Z], [Vote.HIGH_Z]]
    assert count_votes(votes).tolist() == [[1, 1, 3]]


@given(votes_tables)
def test_entropy_is_bounded_and_zero_only_when_unanimous(votes):
    counts = count_votes(votes)
    entropy = vote_entropy(counts)
    assert counts.sum(axis=1).tolist() == [len(votes)] * votes.shape[1]
    assert np.all((entropy >= 0) & (entropy <= MAX_ENTROPY_BITS + 1e-15))
    assert np.array_equal(entropy == 0, counts.max(axis=1) == len(votes))


@given(votes_tables, st.permutations(range(3)), st.randoms(use_true_random=False))
def test_entropy_ignores_names_of_classes_and_order_of_members(votes, names, random):
    entropy = vote_entropy(count_votes(votes))
    renamed = np.asarray(names, dtype=np.int8)[votes]
    order = list(range(len(votes)))
    random.shuffle(order)
    assert np.array_equal(vote_entropy(count_votes(renamed)), entropy)
    assert np.array_equal(vote_entropy(count_votes(votes[order])), entropy)


@given(st.integers(0, 50), st.integers(0, 50))
def test_two_class_case_is_the_binary_entropy(yes, no):
    entropy = vote_entropy([[yes, no]])[0]
    with_empty_third = vote_entropy([[yes, no, 0]])[0]
    if yes + no == 0:
        assert np.isnan(entropy)
    else:
        part = yes / (yes + no)
        binary = sum(-p * math.log2(p) for p in (part, 1 - part) if p > 0)
        assert entropy == pytest.approx(binary, abs=1e-12)
        assert entropy == with_empty_third


@given(votes_tables)
def test_merging_two_classes_never_adds_entropy(votes):
    counts = count_votes(votes)
    merged = np.stack([counts[:, 0], counts[:, 1] + counts[:, 2]], axis=1)
    assert np.all(vote_entropy(merged) <= vote_entropy(counts) + 1e-12)


def test_soft_classes_send_all_confidence_to_one_redshift_class():
    soft = soft_classes([0.9, 0.9, 0.2], np.array([2.0999, 2.1, 3.0]) >= 2.1)
    expected = [[0.1, 0.9, 0.0], [0.1, 0.0, 0.9], [0.8, 0.0, 0.2]]
    assert soft == pytest.approx(np.array(expected))


def test_mutual_information_tells_disagreement_from_shared_doubt():
    disagreeing = [[[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]]]
    doubting = [[[0.5, 0.0, 0.5]], [[0.5, 0.0, 0.5]]]
    assert mutual_information(disagreeing)[0] == 1.0
    assert mutual_information(doubting)[0] == 0.0
    assert entropy_bits(np.mean(doubting, axis=0))[0] == 1.0


def test_mutual_information_by_hand():
    # Two members, P(qso) 0.9 and 0.5, same redshift class: H(0.7) - (H(0.9) + H(0.5)) / 2.
    def binary(p):
        return -p * math.log2(p) - (1 - p) * math.log2(1 - p)

    soft = soft_classes([[0.9], [0.5]], 0.0)
    expected = binary(0.7) - (binary(0.9) + binary(0.5)) / 2
    assert mutual_information(soft)[0] == pytest.approx(expected, abs=1e-15)


@given(
    hnp.arrays(np.float64, (5, 4), elements=unit),
    hnp.arrays(np.float64, (5, 4), elements=st.floats(0, 6)),
)
def test_mutual_information_lies_between_zero_and_the_entropy_of_the_mean(confidence, z):
    soft = soft_classes(confidence, z >= 2.1)
    assert soft.sum(axis=-1) == pytest.approx(np.ones((5, 4)))
    information = mutual_information(soft)
    assert np.all(information >= 0)
    assert np.all(information <= entropy_bits(soft.mean(axis=0)) + 1e-12)
