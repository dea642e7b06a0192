import sqlite3

import pytest
import sqlalchemy as sa

from quasarloop.errors import InspectionError
from quasarloop.inspect.campaign import add_redrock, balance
from quasarloop.inspect.database import open_database
from quasarloop.inspect.exchange import export_inspections, import_inspections, import_merged
from quasarloop.inspect.ledger import Save, item_of, save_label
from quasarloop.inspect.results import final_labels, results
from quasarloop.inspect.tables import Event, Label
from quasarloop.labels.merge import Merged, read_merged, write_merged
from quasarloop.labels.prospect_csv import read_inspections
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

BIG_ID = 39627945488154697
HEADER = "TARGETID,TILEID,Redrock_spectype,Redrock_z,VI_scanner,VI_quality,VI_issue,VI_z,"
HEADER += "VI_spectype,VI_comment\n"


@pytest.fixture
def files(tmp_path):
    ada, bea = tmp_path / "in-ada.csv", tmp_path / "in-bea.csv"
    ada.write_text(
        f'{HEADER}{BIG_ID},80609,QSO,2.1034,ada,4,,,,"clear, broad"\n'
        f"{BIG_ID + 1},80609,STAR,0.0001,ada,3,R,0.5,GALAXY,\n",
        encoding="utf-8",
    )
    bea.write_text(
        f"{HEADER}{BIG_ID},80609,QSO,2.1034,bea,3,,2.104,QSO,\n"
        f"{BIG_ID + 1},80609,STAR,0.0001,bea,4,,,,\n",
        encoding="utf-8",
    )
    return ada, bea


def test_an_existing_campaign_comes_in_merges_and_goes_out_again(database, files, tmp_path):
    with database.write() as session:
        done = [import_inspections(session, read_inspections(path)) for path in files]
        assert [(d.new, d.same, d.new_objects) for d in done] == [(2, 0, 2), (2, 0, 0)]
        again = import_inspections(session, read_inspections(files[0]))
        assert (again.new, again.same, again.new_objects) == (0, 2, 0)
    with database.read() as session:
        found = results(session, at_least=1)
        assert [r.state for r in found] == ["merged", "conflict"]
        assert found[0].merged is not None
        assert found[0].merged.z == pytest.approx((2.1034 + 2.104) / 2)
        assert found[0].merged.comments == "clear; broad"
        assert [r.state for r in results(session)] == ["open", "open"], "three are wanted"
        out = export_inspections(session, tmp_path / "out")
    assert [path.name for path in out] == [
        "desi-vi_quasarloop_ada.csv",
        "desi-vi_quasarloop_bea.csv",
    ]
    assert [p.read_bytes() for p in out] == [p.read_bytes() for p in files]


def test_what_was_imported_can_be_changed_and_keeps_its_other_columns(database, files, tmp_path):
    with database.write() as session:
        import_inspections(session, read_inspections(files[0]))
        item = item_of(session, BIG_ID)
        (label,) = session.scalars(sa.select(Label).where(Label.item_id == item.id))
        change = Save(Verdict(SpecType.QSO, 2.2, 4, comment="revised"), 1, "change-1")
        save_label(session, item, label.user_id, change)
    with database.read() as session:
        (out,) = export_inspections(session, tmp_path / "out")
    line = out.read_text(encoding="utf-8").splitlines()[1]
    assert line == f"{BIG_ID},80609,QSO,2.1034,ada,4,,2.2000,QSO,revised"


@pytest.mark.parametrize("suffix", [".csv", ".fits", ".parquet"])
def test_a_merged_table_comes_in_and_goes_out_unchanged(database, tmp_path, suffix):
    labels = {
        BIG_ID: Merged(SpecType.QSO, 2.1034, 11 / 3, True, "R", "Mg II", 3, "a b"),
        7: Merged(quality=0.5, n_inspections=2),
    }
    path = tmp_path / f"merged{suffix}"
    write_merged(labels, path)
    with database.write() as session:
        assert import_merged(session, read_merged(path), "vi-team").new == 2
        assert import_merged(session, read_merged(path), "vi-team").same == 2
    with database.read() as session:
        assert final_labels(results(session)) == labels


def test_own_labels_carry_redrocks_values_where_they_are_known(
    database, add_person, add_items, tmp_path
):
    people = [add_person(name) for name in ("ada", "bea", "cyd")]
    items = add_items(1)
    fit = {"z": 2.10336, "spectype": "QSO", "deltachi2": 1234.56, "version": "0.21.0"}
    with database.write() as session:
        balance(session)
        assert add_redrock(session, {items[0].target_id: [fit], 99: [fit]}) == 1
    with database.write() as session:
        item = item_of(session, items[0].target_id)
        verdict = Verdict(SpecType.QSO, 2.1034, 4, is_bal=True)
        save_label(session, item, people[1].id, Save(verdict, 0, "save-1"))
    with database.read() as session:
        (out,) = export_inspections(session, tmp_path / "out")
    header, line = out.read_text(encoding="utf-8").splitlines()
    assert header == (
        "TARGETID,Redrock_version,Redrock_spectype,Redrock_z,Redrock_deltachi2,VI_scanner,"
        "VI_quality,VI_issue,VI_z,VI_spectype,VI_comment"
    )
    assert line == f"{BIG_ID},0.21.0,QSO,2.1034,1234.6,bea,4,,2.1034,QSO,BAL"


@pytest.mark.parametrize("target", ["9223372036854775808", "1" * 40, "0x10", ""])
def test_an_identifier_of_more_than_64_bits_is_named(tmp_path, target):
    path = tmp_path / "m.csv"
    path.write_text(f"TARGETID,best_z,best_quality,best_spectype\n{target},1.0,4,QSO\n")
    with pytest.raises(InspectionError, match=r"m\.csv: row 0: TARGETID is"):
        read_merged(path)


def test_a_database_of_others_is_refused_untouched(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE item (name TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(InspectionError, match=r"other\.db lacks item\.id.*found: item"):
        open_database(f"sqlite:///{path}")
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE item")
        other.execute("CREATE TABLE stars (name TEXT)")
    other.close()
    with pytest.raises(InspectionError, match="has not the tables of a campaign"):
        open_database(f"sqlite:///{path}")
    assert len(before) == len(path.read_bytes())


def test_a_full_disk_is_one_clear_line(database):
    with database.write() as session:
        pages = session.execute(sa.text("PRAGMA page_count")).scalar()

    def fill(connection, _record):
        connection.execute(f"PRAGMA max_page_count={pages}")  # as SQLite on a full disk

    sa.event.listen(database.engine, "connect", fill)
    database.close()  # new connections from here on
    with (
        pytest.raises(InspectionError, match=r"is full\); free some space"),
        database.write() as new,
    ):
        for _ in range(300):
            new.add(Event(at="x" * 4000, kind="k", detail=""))
            new.flush()
