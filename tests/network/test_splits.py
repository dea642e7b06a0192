"""Held-out sets: grouped by object, exact in number, blind to the order of rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasarloop.errors import TruthError
from quasarloop.network.labelled import hold_out, split_groups
from quasarloop.truth import TruthTable


def make_truth(n, n_objects, seed=0):
    rng = np.random.default_rng(seed)
    object_id = rng.integers(-(2**40), 2**40, n_objects)[rng.integers(0, n_objects, n)]
    spectype = {o: rng.integers(-1, 3) for o in object_id}
    z = {o: rng.uniform(0, 4) for o in object_id}
    return TruthTable.make(
        rng.permutation(n) + 10,
        np.array([spectype[o] for o in object_id], dtype=np.int8),
        np.array([z[o] for o in object_id]),
        object_id=object_id,
    )


@given(
    n=st.integers(1, 300),
    share=st.floats(0.05, 1),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=60)
def test_properties(n, share, fraction, seed):
    truth = make_truth(n, max(1, int(n * share)), seed % 1000)
    held = hold_out(truth, fraction, seed)
    objects = np.unique(truth.object_id)
    sides = [set(truth.object_id[held].tolist()), set(truth.object_id[~held].tolist())]
    assert not sides[0] & sides[1]  # repeats never straddle
    assert len(sides[0]) == round(len(objects) * fraction)
    group_of = dict(zip(truth.object_id.tolist(), split_groups(truth).tolist(), strict=True))
    for group in set(group_of.values()):
        members = [o for o in objects.tolist() if group_of[o] == group]
        number = sum(o in sides[0] for o in members)
        assert abs(number - len(members) * fraction) < 1 + 1e-9
    order = np.random.default_rng(seed).permutation(n)
    np.testing.assert_array_equal(hold_out(truth[order], fraction, seed), held[order])


def test_another_seed_another_choice():
    truth = make_truth(400, 300)
    one, two = hold_out(truth, 0.3, 1), hold_out(truth, 0.3, 2)
    assert (one != two).any()
    np.testing.assert_array_equal(one, hold_out(truth, 0.3, 1))


def test_every_object_of_a_group_is_held_out_equally_often():
    truth = make_truth(60, 60)
    objects, first = np.unique(truth.object_id, return_index=True)
    times = sum(hold_out(truth, 0.3, seed).astype(int) for seed in range(1000))[first] / 1000
    groups = split_groups(truth)[first]
    for group in np.unique(groups):
        share = times[groups == group]
        error = np.sqrt(share.mean() * (1 - share.mean()) / 1000)
        assert np.all(np.abs(share - share.mean()) <= 4.5 * error)
    assert times.mean() == pytest.approx(round(0.3 * len(objects)) / len(objects), abs=1e-9)


def test_negative_ids_and_seeds():
    truth = TruthTable.make(
        np.array([1, 2]), np.array([0, 0]), np.array([0.0, 0.0]), object_id=np.array([-5, 7])
    )
    assert hold_out(truth, 0.5, -3).sum() == 1


def test_impossible_fraction():
    with pytest.raises(TruthError, match=r"1\.5"):
        hold_out(make_truth(5, 5), 1.5, 0)
