"""The same rules on a real PostgreSQL."""

import threading

import pytest
import sqlalchemy as sa

from quasarloop.errors import InspectionError
from quasarloop.inspect.campaign import balance
from quasarloop.inspect.database import open_database
from quasarloop.inspect.ledger import Save, StaleError, item_of, save_label
from quasarloop.inspect.people import invite, join
from quasarloop.inspect.results import results
from quasarloop.inspect.tables import Item, Label
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

BIG_ID = 39627945488154697
QSO = Verdict(SpecType.QSO, 2.1034, 4, comment="clear")


@pytest.fixture
def team(new_postgres_database):
    database = open_database(new_postgres_database())
    with database.write() as session:
        names = ("ada", "bea", "cyd")
        people = [join(session, invite(session, n, "inspector"), "a long password") for n in names]
        session.add(
            Item(target_id=BIG_ID, rank=0, source="f", row=0, predictions={"votes": [1, 2]})
        )
        session.flush()
        balance(session)
    yield database, people
    database.close()


def _save(database, person, base, save_id, verdict=QSO):
    with database.write() as session:
        return save_label(
            session, item_of(session, BIG_ID), person.id, Save(verdict, base, save_id)
        )


def test_labels_keep_every_digit_and_merge(team):
    database, people = team
    for person in people:
        _save(database, person, 0, f"save-{person.id}")
    with database.read() as session:
        (result,) = results(session)
    assert result.item.target_id == BIG_ID
    assert result.item.predictions == {"votes": [1, 2]}
    assert (result.state, result.merged.z, result.merged.quality) == ("merged", 2.1034, 4)


def test_concurrent_saves_of_one_label_keep_exactly_one(team):
    database, (ada, *_) = team
    outcomes = []

    def attempt(number):
        try:
            _save(database, ada, 0, f"thread-{number}")
            outcomes.append("saved")
        except StaleError:
            outcomes.append("stale")

    threads = [threading.Thread(target=attempt, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["saved"] + ["stale"] * 7


def test_the_database_itself_refuses_to_change_or_delete_labels(team):
    database, (ada, *_) = team
    _save(database, ada, 0, "save-1")
    for statement in (sa.update(Label).values(z=1.0), sa.delete(Label)):
        with pytest.raises(InspectionError, match="append-only"), database.write() as session:
            session.execute(statement)


def test_two_servers_may_open_an_empty_database_at_once(new_postgres_database):
    url = new_postgres_database()
    failures = []

    def attempt():
        try:
            open_database(url).close()
        except InspectionError as exc:
            failures.append(exc)

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
