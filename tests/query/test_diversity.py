import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.errors import SelectionError
from quasarloop.query.choose import class_quotas, spread_out, take_in_order


def test_at_most_k_per_cell_by_hand():
    cell = np.array([3, 3, 3, -1, -1, 3, 5])
    taken = take_in_order(5, cell, np.zeros(7, int), per_cell=2)
    assert taken.tolist() == [True, True, False, True, True, False, True]


def test_quotas_by_hand_and_their_filling():
    group = np.array([1, 1, 1, 0, 1, 2])
    none = np.full(6, -1)
    exact = take_in_order(4, none, group, quotas={0: 2, 1: 2}, fill=False)
    assert exact.tolist() == [True, True, False, True, False, True]
    short = take_in_order(5, none, group, quotas={0: 3, 1: 2, 2: 0}, fill=False)
    assert short.tolist() == [True, True, False, True, False, False]
    filled = take_in_order(5, none, group, quotas={0: 3, 1: 2, 2: 0})
    assert filled.tolist() == [True, True, True, True, True, False]


@given(
    st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 2)), max_size=40),
    st.integers(1, 20),
    st.integers(1, 4),
)
def test_limits_always_hold(rows, n, k):
    cell = np.array([c for c, _ in rows], dtype=int)
    group = np.array([g for _, g in rows], dtype=int)
    quotas = class_quotas(n, {0: 1, 1: 1, 2: 2})
    taken = take_in_order(n, cell, group, per_cell=k, quotas=quotas)
    assert taken.sum() <= n
    in_cells = np.bincount(cell[taken & (cell >= 0)], minlength=1)
    assert in_cells.max(initial=0) <= k
    if taken.sum() < n:  # then nothing more could be had
        left = ~taken
        assert all(c >= 0 and in_cells[c] == k for c in cell[left])
    strict = take_in_order(n, cell, group, per_cell=k, quotas=quotas, fill=False)
    assert all(np.count_nonzero(group[strict] == g) <= quota for g, quota in quotas.items())


@given(st.integers(0, 500), st.lists(st.floats(0.01, 10), min_size=1, max_size=3))
def test_quotas_add_up(n, shares):
    quotas = class_quotas(n, dict(enumerate(shares)))
    assert sum(quotas.values()) == n
    for key, share in enumerate(shares):
        assert abs(quotas[key] - n * share / sum(shares)) < 1 + 1e-9


@pytest.mark.parametrize("shares", [{0: 0.0}, {0: -1.0, 1: 2.0}])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(SelectionError, match="shares"):
        class_quotas(5, shares)


def test_spreading_takes_one_of_each_clump_first():
    features = np.array([[0, 0], [0.1, 0], [10, 0], [10, 0.1], [0, 10.0]])
    score = np.array([1.0, 0.9, 0.8, 0.7, 0.6])
    assert spread_out(features, score, 3).tolist() == [0, 2, 4]
    assert sorted(spread_out(features, score, 9).tolist()) == [0, 1, 2, 3, 4]


def test_spreading_equals_the_written_out_greedy():
    rng = np.random.default_rng(0)
    features, score = rng.normal(size=(30, 3)), rng.uniform(size=30)
    chosen = [int(score.argmax())]
    while len(chosen) < 10:
        worth = [
            -1.0
            if i in chosen
            else score[i] * min(np.linalg.norm(features[i] - features[j]) for j in chosen)
            for i in range(30)
        ]
        chosen.append(int(np.argmax(worth)))
    assert spread_out(features, score, 10).tolist() == chosen


def test_copies_are_chosen_once_each():
    assert sorted(spread_out(np.zeros((4, 2)), np.zeros(4), 4).tolist()) == [0, 1, 2, 3]
