"""The history of labels: nothing is lost, the right ones count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.campaign.ledger import (
    Origin,
    active_truth,
    add_labels,
    new_ledger,
    read_ledger,
    withdraw,
    write_ledger,
)
from quasarloop.errors import CampaignError, TruthError
from quasarloop.truth import TruthTable


def table(ids, z=1.0, spectype=2):
    n = len(ids)
    return TruthTable.make(np.array(ids, dtype=np.int64), np.full(n, spectype), np.full(n, z))


def test_rounds_grow_and_borrowed_labels_leave():
    ledger = new_ledger(table([1, 2]), borrowed=table([2, 3], z=3.0))
    first = active_truth(ledger, with_borrowed=True)
    assert first.target_id.tolist() == [1, 2, 3]
    assert first.z.tolist() == [1.0, 1.0, 3.0]  # of target 2 the survey's own label counts
    ledger = add_labels(ledger, table([4], z=2.0), origin=Origin.LOOP, round_number=1)
    assert active_truth(ledger).target_id.tolist() == [1, 2, 4]
    assert active_truth(ledger, up_to_round=0).target_id.tolist() == [1, 2]


def test_relabelled_target_keeps_its_past():
    ledger = new_ledger(table([1, 2]))
    ledger = add_labels(ledger, table([2], z=2.5), origin=Origin.LOOP, round_number=1)
    assert len(ledger) == 3
    old, new = ledger.filter(ledger["TARGETID"] == 2).rows(named=True)
    assert (old["STATUS"], old["REASON"]) == ("superseded", "labelled again in round 1")
    assert (new["STATUS"], new["VERSION"], new["ROUND"]) == ("active", 2, 1)
    assert active_truth(ledger).z.tolist() == [1.0, 2.5]
    assert active_truth(ledger, up_to_round=0).z.tolist() == [1.0, 1.0]


def test_withdrawn_target_is_out_of_every_truth_set():
    ledger = withdraw(new_ledger(table([1, 2])), [2], "a third of the grid is corrupted")
    assert active_truth(ledger).target_id.tolist() == [1]
    assert active_truth(ledger, up_to_round=0).target_id.tolist() == [1]
    assert ledger["REASON"].to_list() == ["", "a third of the grid is corrupted"]
    with pytest.raises(CampaignError, match="2 has no active label"):
        withdraw(ledger, [2], "again")
    with pytest.raises(CampaignError, match="needs a reason"):
        withdraw(ledger, [1], "  ")


def test_round_trip_and_same_bytes(tmp_path):
    big = 39627945488154697  # loses digits as a float
    ledger = new_ledger(table([big, 2]))
    write_ledger(ledger, tmp_path / "a.parquet")
    write_ledger(read_ledger(tmp_path / "a.parquet"), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert active_truth(read_ledger(tmp_path / "a.parquet")).target_id[0] == big


def test_unreadable_history_is_named(tmp_path):
    (tmp_path / "l.parquet").write_bytes(b"nothing")
    with pytest.raises(TruthError, match=r"l\.parquet"):
        read_ledger(tmp_path / "l.parquet")
    new_ledger(table([1])).drop("Z", "ROUND").write_parquet(tmp_path / "short.parquet")
    with pytest.raises(TruthError, match=r"short\.parquet.*without columns ROUND, Z"):
        read_ledger(tmp_path / "short.parquet")


@given(st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=5, unique=True), max_size=4))
def test_active_truth_equals_a_dictionary(rounds):
    ledger = new_ledger(table([1, 2, 3], z=0.5))
    expected = {1: 0.5, 2: 0.5, 3: 0.5}
    for number, ids in enumerate(rounds, start=1):
        ledger = add_labels(ledger, table(ids, z=number), origin=Origin.LOOP, round_number=number)
        expected |= dict.fromkeys(ids, float(number))
    truth = active_truth(ledger)
    assert dict(zip(truth.target_id.tolist(), truth.z.tolist(), strict=True)) == expected
    assert ledger.filter(ledger["STATUS"] == "active")["TARGETID"].is_unique().all()
