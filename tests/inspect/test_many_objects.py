"""What is done for many objects is done by few statements, without an object of the ORM each."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from quasarloop.inspect import campaign
from quasarloop.inspect.campaign import add_redrock, load_worklist, share_out
from quasarloop.inspect.inspect_api import my_list
from quasarloop.inspect.ledger import Save, item_of, save_label
from quasarloop.inspect.spectra_files import SpectrumFiles
from quasarloop.inspect.tables import Assignment, Item, Label
from quasarloop.inspect.worklist import Entry
from quasarloop.labels.verdict import Verdict, verdict_json
from quasarloop.truth import SpecType

GALAXY = Verdict(SpecType.GALAXY, 0.5, 3)


@contextmanager
def _counted(database):
    """Count statements of the database, and objects of the ORM that are loaded."""
    found = SimpleNamespace(statements=0, objects=0)

    def one_statement(*_):
        found.statements += 1

    def one_object(*_):
        found.objects += 1

    tables = (Item, Assignment, Label)
    sa.event.listen(database.engine, "before_cursor_execute", one_statement)
    for table in tables:
        sa.event.listen(table, "load", one_object)
    try:
        yield found
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", one_statement)
        for table in tables:
            sa.event.remove(table, "load", one_object)


def _entries(n, **predictions):
    return [Entry(100 + i, f"{i}.fits", i, predictions=predictions) for i in range(n)]


def _load(database, tmp_path, entries):
    with database.write() as session:
        return load_worklist(session, entries, SpectrumFiles({}, [], tmp_path))


def test_a_longer_worklist_takes_no_more_statements(database, tmp_path):
    with _counted(database) as few:
        assert _load(database, tmp_path, _entries(5)).added == 5
    with _counted(database) as many:
        assert _load(database, tmp_path, _entries(400)).added == 395
    assert many.statements <= few.statements + 1  # more of the same insertion
    with _counted(database) as again:
        done = _load(database, tmp_path, [*_entries(400, score=1.5), Entry(7)])
    assert (done.added, done.known, done.without_spectrum) == (1, 400, 1)
    assert again.statements <= few.statements + 1
    assert few.objects == many.objects == again.objects == 0
    with database.read() as session:
        items = session.scalars(sa.select(Item).order_by(Item.rank)).all()
    assert [item.target_id for item in items] == [*range(100, 500), 7]
    assert [item.rank for item in items] == list(range(401))
    assert items[399].predictions == {"score": 1.5}
    assert (items[399].source, items[399].row, items[400].source) == ("399.fits", 399, "")


def test_redrock_stays_where_a_worklist_is_loaded_again(database, tmp_path):
    _load(database, tmp_path, _entries(2))
    with database.write() as session:
        add_redrock(session, {101: [{"z": 0.5}]})
    _load(database, tmp_path, _entries(2, score=0.5))
    with database.read() as session:
        assert item_of(session, 101).predictions == {"redrock": [{"z": 0.5}], "score": 0.5}
        assert item_of(session, 100).predictions == {"score": 0.5}


def test_a_longer_list_takes_no_more_statements(database, add_person, add_items):
    ada = add_person("ada")
    for name in ("bea", "cyd"):
        add_person(name)
    found = []
    for n in (4, 60):
        items = add_items(n, first=1000 * n)
        share_out(database)
        with database.write() as session:
            save = Save(GALAXY, 0, f"save-{n:06}", seconds=2.5)
            save_label(session, item_of(session, items[1].target_id), ada.id, save)
        with _counted(database) as count:
            body = my_list(SimpleNamespace(database=database), ada).body
        found.append(count)
    assert found[1].statements == found[0].statements
    assert found[1].objects == 0
    content = json.loads(body)
    listed = {int(row["target_id"]): row for row in content["objects"]}
    assert listed.keys() == {*range(4000, 4004), *range(60_000, 60_060)}
    assert content["progress"]["done"] == 2
    plain, labelled = listed[60_000], listed[60_001]
    assert (plain["version"], plain["state"], plain["number"]) == (0, "todo", 1)
    assert plain["verdict"] == verdict_json(Verdict())
    assert (labelled["version"], labelled["state"], labelled["seconds"]) == (1, "done", 2.5)
    assert labelled["verdict"] == verdict_json(GALAXY)


@pytest.mark.parametrize("n", [20, 200])
def test_each_lot_of_a_share_takes_few_statements(database, add_person, add_items, monkeypatch, n):
    for name in ("ada", "bea", "cyd"):
        add_person(name)
    add_items(n)
    monkeypatch.setattr(campaign, "_LOT", n // 4)
    share_out(database)
    add_person("eve")
    with _counted(database) as count:
        plan = share_out(database)
    n_lots = len(campaign._lots(plan))
    assert n_lots >= 3
    # Of a lot: its beginning, inspectors, turns; those dropped, given back, new.
    assert count.statements <= 6 * n_lots + 8
    assert count.objects == 0


def test_a_shard_is_read_once_for_all_its_objects(tmp_path, monkeypatch):
    reads = []

    class Part(SimpleNamespace):
        def __len__(self):
            return len(self.row)

    def read(path, **_):
        reads.append(path)
        numbers = list(range(50))
        names = [f"{i}.fits" for i in numbers]
        return Part(keys=SimpleNamespace(target_id=numbers), source=names, row=numbers)

    monkeypatch.setattr("quasarloop.store.read_shard", read)
    store = SimpleNamespace(path=tmp_path, shard=lambda name: tmp_path / name)
    files = SpectrumFiles({}, [store], tmp_path)
    places = files.in_shards({i: ("ab", i) for i in range(40)} | {99: ("ab", 3), 4: ("ab", 80)})
    assert reads == [tmp_path / "ab"]
    assert places == {i: (f"{i}.fits", i) for i in range(40) if i != 4}
