"""Errors of fitted redshifts, from the page's saves through every export and back."""

import pytest

from quasarloop.inspect.exchange import (
    export_final,
    export_inspections,
    final_truth,
    import_file,
    import_inspections,
    import_merged,
)
from quasarloop.inspect.ledger import Save, item_of, save_decision, save_label
from quasarloop.inspect.people import person_named
from quasarloop.inspect.results import final_labels, results
from quasarloop.inspect.tables import Assignment
from quasarloop.labels.merge import Merged, read_merged
from quasarloop.labels.prospect_csv import read_inspections
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

BIG_ID = 39627945488154697
Z_ERR = 0.000321


@pytest.fixture
def fitted(database, add_items):
    """Objects 0 and 1 fitted by ada; of the second bea disagrees, and max decides for ada."""
    items = add_items(2)
    given = [("ada", 0, 2.1, Z_ERR), ("ada", 1, 1.5, 0.0002), ("bea", 1, 0.3, None)]
    with database.write() as session:
        for name, number, z, z_err in given:
            user = person_named(session, name, role="inspector")
            item = item_of(session, items[number].target_id)
            session.add(Assignment(item_id=item.id, user_id=user, created=""))
            session.flush()
            verdict = Verdict(SpecType.QSO, z, 4)
            save_label(session, item, user, Save(verdict, 0, f"{name}-{number}-save", z_err=z_err))
        user = person_named(session, "max", role="merger")
        adopted = Save(Verdict(SpecType.QSO, 1.5, 3), 0, "decision-1")
        save_decision(session, item_of(session, BIG_ID + 1), user, adopted)
    return database


def test_saves_merges_and_decisions_reach_the_tables(fitted, tmp_path):
    expected = {BIG_ID: Z_ERR, BIG_ID + 1: 0.0002}
    with fitted.read() as session:
        export_final(session, tmp_path / "merged.fits", "merged", at_least=1)
        truth = final_truth(session, at_least=1)
        paths = export_inspections(session, tmp_path / "out")
    merged = read_merged(tmp_path / "merged.fits")
    assert {target: label.z_err for target, label in merged.items()} == expected
    assert dict(zip(truth.target_id.tolist(), truth.z_err.tolist(), strict=True)) == expected
    assert [row.z_err for row in read_inspections(paths[0])] == [Z_ERR, 0.0002]
    assert [row.z_err for row in read_inspections(paths[1])] == [None]
    with fitted.read() as session:
        exact = export_inspections(session, tmp_path / "exact", exact=True)
    assert [b"z_err" in path.read_bytes() for path in exact] == [False, False]


def test_a_decision_fitted_by_the_merger_has_its_own(fitted):
    with fitted.write() as session:
        user = person_named(session, "max", role="merger")
        own = Save(Verdict(SpecType.QSO, 1.5001, 4), 1, "decision-2", z_err=0.0005)
        save_decision(session, item_of(session, BIG_ID + 1), user, own)
    with fitted.read() as session:
        assert final_labels(results(session, at_least=1))[BIG_ID + 1].z_err == 0.0005


def test_files_come_back_with_it(fitted, tmp_path, database):
    with fitted.read() as session:
        paths = export_inspections(session, tmp_path / "out")
        export_final(session, tmp_path / "truth.csv", "truth", at_least=1)
    label = Merged(SpecType.QSO, 0.5, 4.0, z_err=0.0007)
    with database.write() as session:
        ours = read_inspections(paths[0])
        import_inspections(session, ours)
        assert import_merged(session, {77: label}, "old").new == 1
        assert import_merged(session, {77: label}, "old").same == 1
        import_file(session, tmp_path / "truth.csv", "table")
    with database.read() as session:
        found = {result.item.target_id: result for result in results(session)}
        assert found[BIG_ID].labels["ada"].z_err == Z_ERR
        assert (found[BIG_ID].merged.z_err, found[77].merged) == (Z_ERR, label)
