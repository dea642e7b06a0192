"""The truth table: what trains, matching, joining."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.errors import TruthError
from quasarloop.truth import SpecType, TruthTable, join_truth, match_truth


def table(ids, z=1.0, source=""):
    n = len(ids)
    return TruthTable.make(np.array(ids), np.full(n, 2), np.full(n, z), source=source)


def test_what_is_unknown_is_filled():
    truth = table([5, 7])
    assert truth.object_id.tolist() == [5, 7]
    assert truth.quality.tolist() == [4, 4]
    assert truth.bal.tolist() == [-1, -1]
    assert truth.source.tolist() == ["", ""]


def test_only_known_secure_labels_train():
    truth = TruthTable.make(
        np.arange(7),
        np.array([2, 2, 2, 1, 0, -1, 0]),
        np.array([2.0, 2.0, np.nan, np.nan, 0.0, 1.0, 0.0]),
        quality=np.array([2.5, 2.4, 4, 4, 4, 4, 0]),
    )
    # A quasar needs a redshift; a galaxy or star does not; unknown and unsure never train.
    assert truth.trains.tolist() == [True, False, False, True, True, False, False]


def test_votes_split_at_z_2_1():
    truth = TruthTable.make(
        np.arange(5), np.array([2, 2, 1, 0, -1]), np.array([2.1, 2.09, 3.0, 0.0, np.nan])
    )
    assert truth.votes().tolist() == [2, 1, 0, 0, 0]
    assert truth.votes(high_z_min=2.0).tolist() == [2, 2, 0, 0, 0]
    assert truth.is_qso.tolist() == [True, True, False, False, False]


def test_repeated_targets_and_ragged_columns_are_refused():
    with pytest.raises(TruthError, match=r"1 TARGETIDs are more than once .*first: 5"):
        table([5, 7, 5])
    with pytest.raises(TruthError, match="differ in length"):
        TruthTable.make(np.array([1, 2]), np.array([2]), np.array([1.0, 2.0]))


def test_rows_are_taken():
    some = table([5, 7, 9])[np.array([2, 0])]
    assert some.target_id.tolist() == [9, 5]
    assert len(some) == 2


@given(
    st.lists(st.integers(-5, 20), unique=True, max_size=15),
    st.lists(st.integers(-5, 20), max_size=30),
)
def test_matching_equals_a_dictionary(ids, wanted):
    rows = match_truth(np.array(wanted, dtype=np.int64), table(ids))
    where = {target: row for row, target in enumerate(ids)}
    assert rows.tolist() == [where.get(target, -1) for target in wanted]


def test_joining_lets_the_last_label_win():
    joined = join_truth(
        [table([1, 2], 1.0, "first"), table([2, 3], 2.0, "second"), table([4], 3.0)]
    )
    assert joined.target_id.tolist() == [1, 2, 3, 4]
    assert joined.z.tolist() == [1.0, 2.0, 2.0, 3.0]
    assert joined.source.tolist() == ["first", "second", "second", ""]
    with pytest.raises(TruthError, match="no truth table"):
        join_truth([])


def test_spectral_types_are_the_inspectors_words():
    assert [kind.name for kind in SpecType] == ["UNKNOWN", "STAR", "GALAXY", "QSO"]
