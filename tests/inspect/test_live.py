"""The live queue with planted scores: what moves, what stays, and what a kill or a fault leaves."""

import logging
import os
import signal
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa
from tests.inspect.conftest import BIG_ID, Client

from quasarloop.engine.processes import ProcessPool, attempt
from quasarloop.errors import InspectionError, OutputError, TruthError
from quasarloop.inspect import live
from quasarloop.inspect.campaign import balance
from quasarloop.inspect.database import open_database, set_setting
from quasarloop.inspect.ledger import Save, item_of, save_label, skip
from quasarloop.inspect.live import LiveQueue, export_ranks, put_ranks
from quasarloop.inspect.people import person_called
from quasarloop.inspect.server import create_app
from quasarloop.inspect.spectra_files import open_spectra
from quasarloop.inspect.tables import Event, Item, Label, Ranking
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

N_ITEMS = 8
QSO = Verdict(SpecType.QSO, 2.1, 4)


@dataclass(frozen=True)
class Planted:
    """Scores that rise with the TARGETID and the number of labels; `fate` is met on the way."""

    fate: str = ""
    marker: Path | None = None

    def __call__(self, labels):
        if self.marker is not None:
            if self.fate == "kill" and not self.marker.exists():
                self.marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            self.marker.touch()
        if self.fate == "sleep":
            time.sleep(600)
        if self.fate == "fault":
            raise TruthError("labels of one class only")
        return [(BIG_ID + i, 10.0 * len(labels) + i) for i in reversed(range(N_ITEMS))]


@pytest.fixture
def desk(database, add_person, add_items):
    """A campaign of one inspector per object: ada has them all; returns what labels objects."""
    add_person("ada")
    add_items(N_ITEMS)
    with database.write() as session:
        set_setting(session, "per_object", "1")
        balance(session)

    def label(*numbers, verdict=QSO):
        with database.write() as session:
            ada = person_called(session, "ada")
            for number in numbers:
                save = Save(verdict, 0, f"save-of-{number}")
                save_label(session, item_of(session, BIG_ID + number), ada, save)

    return label


class InThisProcess(ProcessPool):
    """Does what the process does, without the seconds that its start takes."""

    def load(self, function, shared):
        self._work = function, shared

    def run(self, tasks, queue):
        function, shared = self._work
        yield attempt(function, queue[0], tasks[queue[0]], shared)


@pytest.fixture
def make_queue(database):
    made = []

    def make(rank=None, after=2, own_process=False):
        made.append(LiveQueue(database, rank or Planted(), after))
        if not own_process:
            made[-1]._pool = InThisProcess(1)
        return made[-1]

    yield make
    for queue in made:
        queue.close()


def order(database):
    with database.read() as session:
        query = sa.select(Item.target_id).order_by(Item.rank)
        return [target - BIG_ID for target in session.scalars(query)]


def test_what_nobody_has_begun_is_ranked_anew_and_every_rank_is_kept(
    desk, database, make_queue, tmp_path
):
    queue = make_queue()
    desk(1)
    assert not queue.look()  # one label is too few
    desk(0)
    desk(4, verdict=Verdict(quality=2))  # begun, not done
    with database.write() as session:
        skip(session, item_of(session, BIG_ID + 6), person_called(session, "ada"), skipped=True)
    assert queue.look()
    assert order(database) == [0, 1, 7, 5, 4, 3, 6, 2]
    assert not queue.look()  # nothing new
    out = tmp_path / "ranks.csv"
    with database.read() as session:
        assert export_ranks(session, out) == 8
        assert session.scalar(sa.select(Event.detail).where(Event.kind == "rank")) == (
            "4 objects ranked by 2 labels"
        )
        with pytest.raises(OutputError, match="exists"):
            export_ranks(session, out)
    ranks = pl.read_csv(out).with_columns(pl.col("TARGETID") - BIG_ID)
    first, anew = ranks[:4], ranks[4:]
    assert first.select("TARGETID", "N_LABELS", "RANK").rows() == [
        (7, 0, 8), (5, 0, 6), (3, 0, 4), (2, 0, 3),
    ]  # fmt: skip
    assert anew.select("TARGETID", "N_LABELS", "SCORE", "RANK").rows() == [
        (7, 2, 27.0, 3), (5, 2, 25.0, 4), (3, 2, 23.0, 6), (2, 2, 22.0, 8),
    ]  # fmt: skip
    desk(7, 5)
    assert queue.look()
    assert order(database) == [0, 1, 7, 5, 4, 3, 6, 2]
    with database.read() as session:
        assert export_ranks(session, tmp_path / "ranks.parquet") == 10


def test_a_ranking_that_fails_is_logged_and_the_queue_stays(desk, database, make_queue, caplog):
    queue = make_queue(Planted("fault"))
    desk(0, 1)
    with caplog.at_level(logging.ERROR):
        assert not queue.look()
    assert "the live queue stays as it is: TruthError: labels of one class only" in caplog.text
    caplog.clear()
    desk(2)
    assert not queue.look()  # not again before two more labels
    assert not caplog.records
    desk(3)
    queue.look()
    assert "one class" in caplog.text
    assert order(database) == list(range(N_ITEMS))
    with database.read() as session, pytest.raises(InspectionError, match="not served with --live"):
        export_ranks(session, "ranks.csv")


def test_a_killed_process_loses_nothing_and_the_next_ranks(
    desk, database, make_queue, tmp_path, caplog
):
    rank = Planted("kill", tmp_path / "killed")
    desk(0, 1)
    assert not make_queue(rank, own_process=True).look()
    assert "killed by SIGKILL" in caplog.text
    assert order(database) == list(range(N_ITEMS))
    assert make_queue(rank).look()  # a server started again
    assert order(database) == [0, 1, 7, 6, 5, 4, 3, 2]
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count(Label.id))) == 2


def _put_and_die(ranked, url):
    with open_database(url).write() as session:
        put_ranks(session, ranked, 2)
        os.kill(os.getpid(), signal.SIGKILL)


def test_ranks_are_all_written_or_none(desk, database):
    desk(0, 1)
    pool = ProcessPool(1)
    try:
        pool.load(_put_and_die, str(database.engine.url))
        outcome = next(iter(pool.run([Planted()(())], deque([0]))))
    finally:
        pool.close()
    assert "SIGKILL" in outcome.error
    assert order(database) == list(range(N_ITEMS))
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count(Ranking.id))) == 0


def _wait_for(what):
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_server_ranks_as_labels_come_in(desk, database, make_queue, monkeypatch):
    monkeypatch.setattr(live, "_EVERY_S", 0.1)
    queue = make_queue()
    client = Client(create_app(database, open_spectra([]), live=queue), "ada")
    with client.http:
        verdict = {"spectype": "QSO", "z": 2.1, "quality": 4}
        for number in (0, 1):
            save = {"verdict": verdict, "base_version": 0, "save_id": f"by-the-page-{number}"}
            path = f"/api/objects/{BIG_ID + number}/label"
            assert client.put(path, save).status_code == 200
        _wait_for(lambda: order(database) != list(range(N_ITEMS)))
        assert client.get(f"/api/objects/{BIG_ID}").json()["ranked"] == 2 * (N_ITEMS - 2)
        shown = [int(o["target_id"]) - BIG_ID for o in client.get("/api/list").json()["objects"]]
    assert shown == [0, 1, 7, 6, 5, 4, 3, 2]


def test_closing_does_not_wait_for_a_ranking(desk, make_queue, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(live, "_EVERY_S", 0.1)
    queue = make_queue(Planted("sleep", tmp_path / "begun"), own_process=True)
    desk(0, 1)
    queue.start()
    _wait_for((tmp_path / "begun").exists)
    queue.close()
    assert not queue._thread.is_alive()
    assert not caplog.records
