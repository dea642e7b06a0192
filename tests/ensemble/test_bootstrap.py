"""Bootstrap by object: counts, reproducibility, and independence of the ensemble's size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.ensemble.bootstrap import bootstrap_rows, member_seeds
from quasarloop.errors import TruthError


def test_one_row_per_object_is_a_plain_bootstrap_of_the_same_size():
    ids = np.arange(1000, 2000)
    rows = bootstrap_rows(ids, np.random.default_rng(5))
    assert rows.shape == (1000,)
    # The same draw written out: indices with replacement.
    assert np.array_equal(rows, np.random.default_rng(5).integers(1000, size=1000))
    # About 1/e of the objects are left out.
    assert 1 - len(np.unique(rows)) / 1000 == pytest.approx(np.exp(-1), abs=0.05)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.integers(0, 2**32))
def test_all_spectra_of_a_drawn_object_come_along(ids, seed):
    object_id = np.array(ids, dtype=np.int64)
    rows = bootstrap_rows(object_id, np.random.default_rng(seed))
    times = np.bincount(rows, minlength=len(ids))
    n_objects = len(set(ids))
    drawn = 0
    for one in set(ids):
        of_object = times[object_id == one]
        assert len(set(of_object)) == 1
        drawn += of_object[0]
    assert drawn == n_objects


def test_members_have_seeds_of_their_own_in_an_ensemble_of_any_size():
    def numbers(seeds):
        return np.random.default_rng(seeds.bootstrap).random(), np.random.default_rng(
            seeds.training
        ).random()

    few, many = member_seeds(3, 2), member_seeds(3, 9)
    assert [numbers(s) for s in few] == [numbers(s) for s in many[:2]]
    assert len({value for s in many for value in numbers(s)}) == 18
    assert numbers(member_seeds(4, 1)[0]) != numbers(few[0])


def test_nothing_to_draw_from_is_an_error():
    with pytest.raises(TruthError, match="no spectrum to train with"):
        bootstrap_rows(np.array([], dtype=np.int64), np.random.default_rng(1))
