import threading

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from quasarloop.errors import InspectionError
from quasarloop.inspect.campaign import balance, progress
from quasarloop.inspect.database import open_database, set_setting
from quasarloop.inspect.ledger import (
    Save,
    StaleError,
    history,
    item_of,
    reveal_predictions,
    save_decision,
    save_label,
    skip,
)
from quasarloop.inspect.results import agreement_of, final_labels, results
from quasarloop.inspect.tables import Assignment, Label
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

QSO = Verdict(SpecType.QSO, 2.1034, 4, comment="clear, broad")
STAR = Verdict(SpecType.STAR, 0.0, 3)


@pytest.fixture
def team(database, add_person, add_items):
    people = [add_person(name) for name in ("ada", "bea", "cyd")]
    items = add_items(4)
    with database.write() as session:
        balance(session)
    return people, items


def _save(database, item, person, verdict, base=0, save_id=None, **more):
    with database.write() as session:
        item = item_of(session, item.target_id)
        save_id = save_id or f"{item.id}-{person.id}-{base}-{verdict}"
        return save_label(session, item, person.id, Save(verdict, base, save_id, **more))


def test_every_version_is_kept_with_who_when_what_and_where(database, team):
    (ada, *_), (item, *_) = team
    _save(database, item, ada, Verdict(SpecType.QSO, 2.1))
    _save(database, item, ada, QSO, base=1, seconds=7.5)
    with database.read() as session:
        first, second = history(session, item.id, ada.id)
        assert (first.version, second.version) == (1, 2)
        assert second.verdict == Verdict(SpecType.QSO, 2.1034, 4, comment="clear; broad")
        assert (second.source, second.row) == (item.source, item.row)
        assert second.created >= first.created
        assert second.created.endswith("+00:00")
        done = progress(session, ada.id)
        assert (done.todo, done.skipped, done.done, done.seconds) == (3, 0, 1, 7.5)


def test_a_save_sent_twice_is_stored_once(database, team):
    (ada, *_), (item, *_) = team
    first = _save(database, item, ada, QSO, save_id="abc")
    again = _save(database, item, ada, QSO, save_id="abc")
    assert first.id == again.id
    with database.read() as session:
        assert len(history(session, item.id)) == 1


def test_a_stale_version_is_refused_and_shows_what_stands(database, team):
    (ada, *_), (item, *_) = team
    _save(database, item, ada, QSO)
    with pytest.raises(StaleError) as caught:
        _save(database, item, ada, STAR, base=0)
    assert (caught.value.version, caught.value.verdict.spectype) == (1, SpecType.QSO)
    with database.read() as session:
        assert len(history(session, item.id)) == 1


def test_another_inspectors_save_id_cannot_be_taken_over(database, team):
    (ada, bea, _), (item, *_) = team
    _save(database, item, ada, QSO, save_id="abc")
    with pytest.raises(StaleError):
        _save(database, item, bea, STAR, save_id="abc")


def test_the_database_itself_refuses_to_change_or_delete_labels(database, team):
    (ada, *_), (item, *_) = team
    _save(database, item, ada, QSO)
    for statement in (sa.update(Label).values(z=1.0), sa.delete(Label)):
        with pytest.raises(InspectionError, match="append-only"), database.write() as session:
            session.execute(statement)


def test_nobody_labels_what_is_not_theirs(database, team, add_person):
    _, (item, *_) = team
    stranger = add_person("dan", "merger")
    with pytest.raises(InspectionError, match="not assigned"):
        _save(database, item, stranger, QSO)
    with pytest.raises(InspectionError, match="not assigned"), database.write() as session:
        skip(session, item, stranger.id, skipped=True)


def test_skipping_and_coming_back(database, team):
    (ada, *_), (item, other, *_) = team
    with database.write() as session:
        skip(session, item, ada.id, skipped=True)
        assert progress(session, ada.id).skipped == 1
        skip(session, item, ada.id, skipped=False)
        assert progress(session, ada.id).skipped == 0
    _save(database, other, ada, QSO)
    with database.write() as session:
        assert skip(session, other, ada.id, skipped=True).state == "done"


def test_having_asked_the_machine_is_remembered_in_the_label(database, team):
    (ada, bea, _), (item, *_) = team
    with database.write() as session:
        reveal_predictions(session, item, ada.id)
    assert _save(database, item, ada, QSO).saw_machine is True
    assert _save(database, item, bea, QSO).saw_machine is False


def test_agreement_merges_conflict_waits_and_a_decision_settles(database, team):
    people, items = team
    for person in people:
        _save(database, items[0], person, QSO)
        _save(database, items[1], person, STAR if person.name == "cyd" else QSO)
    _save(database, items[2], people[0], QSO)
    with database.read() as session:
        found = results(session)
        assert [r.state for r in found] == ["merged", "conflict", "open", "open"]
        assert found[1].disagree_in == ("redshift", "class")
        assert set(final_labels(found)) == {items[0].target_id}
        assert agreement_of(found).n_objects == 2
    with database.write() as session:
        item = item_of(session, items[1].target_id)
        decision = Save(Verdict(SpecType.QSO, 2.11, 3, comment="Mg II"), 0, "decision-1")
        save_decision(session, item, people[0].id, decision)
        with pytest.raises(StaleError):
            save_decision(session, item, people[0].id, Save(QSO, 0, "decision-2"))
    with database.read() as session:
        settled = results(session, items=[items[1].id])[0]
        assert (settled.state, settled.changed_since) == ("decided", False)
        assert settled.merged is not None
        assert (settled.merged.z, settled.merged.comment) == (2.11, "Mg II")
    _save(database, items[1], people[2], QSO, base=1)
    with database.read() as session:
        assert results(session, items=[items[1].id])[0].changed_since


def test_a_late_joiner_and_a_leaver(database, team, add_person):
    people, items = team
    _save(database, items[0], people[0], QSO)
    late = add_person("eve")
    with database.write() as session:
        balance(session)
        counts = [progress(session, p.id).todo for p in [*people, late]]
        assert max(counts) - min(counts) <= 1
        from quasarloop.inspect.people import set_active

        set_active(session, people[0].id, active=False)
        balance(session)
        active = session.execute(
            sa.select(Assignment.item_id, sa.func.count())
            .where(Assignment.state != "dropped")
            .group_by(Assignment.item_id)
        ).all()
        assert sorted(count for _, count in active) == [3, 3, 3, 3]
        assert progress(session, people[0].id).total == 1


def test_a_label_for_an_object_that_moved_on_meanwhile_still_counts(database, team, add_person):
    people, items = team
    add_person("eve")
    with database.write() as session:
        plan = balance(session)
    item_id, user_id = plan.drop[0]
    item = next(i for i in items if i.id == item_id)
    person = next(p for p in people if p.id == user_id)
    _save(database, item, person, QSO)
    with database.read() as session:
        assert results(session, items=[item_id])[0].labels[person.name].verdict.z == QSO.z


def test_concurrent_saves_of_one_label_keep_exactly_one(database, team):
    (ada, *_), (item, *_) = team
    outcomes = []

    def attempt(number):
        try:
            _save(database, item, ada, QSO, save_id=f"thread-{number}")
            outcomes.append("saved")
        except StaleError:
            outcomes.append("stale")

    threads = [threading.Thread(target=attempt, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["saved"] + ["stale"] * 7


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=12))
def test_versions_count_up_whatever_happens(tmp_path_factory, changes):
    database = open_database(f"sqlite:///{tmp_path_factory.mktemp('h') / 'x.db'}")
    from quasarloop.inspect.people import person_named
    from quasarloop.inspect.tables import Item

    with database.write() as session:
        user = person_named(session, "ada", role="inspector")
        items = [Item(target_id=i, rank=i, source="", row=-1, predictions={}) for i in range(3)]
        session.add_all(items)
        session.flush()
        session.add_all(Assignment(item_id=i.id, user_id=user, created="") for i in items)
    expected = [0, 0, 0]
    for number, (which, stale) in enumerate(changes):
        base = expected[which] - 1 if stale else expected[which]
        try:
            with database.write() as session:
                save_label(session, items[which], user, Save(QSO, base, str(number)))
            assert not stale
            expected[which] += 1
        except StaleError:
            assert stale
    with database.read() as session:
        counts = [[h.version for h in history(session, i.id)] for i in items]
    assert counts == [list(range(1, n + 1)) for n in expected]
    database.close()


def test_databases_of_other_kinds_and_versions_are_refused(tmp_path, database):
    with pytest.raises(InspectionError, match="expected sqlite"):
        open_database("mysql://localhost/x")
    with pytest.raises(InspectionError, match="expected sqlite"):
        open_database("not a url")
    with pytest.raises(InspectionError, match="cannot be used"):
        open_database(f"sqlite:///{tmp_path}/missing/labels.db")
    with database.write() as session:
        set_setting(session, "schema", "0")
    with pytest.raises(InspectionError, match="version 0"):
        open_database(str(database.engine.url))


def test_a_campaign_of_an_older_version_keeps_its_labels_and_takes_uncertainties(tmp_path):
    url = f"sqlite:///{tmp_path / 'old.db'}"
    old = open_database(url)
    with old.write() as session:
        session.execute(sa.text("ALTER TABLE label DROP COLUMN z_err"))
    old.close()
    opened = open_database(url)
    with opened.read() as session:
        assert session.execute(sa.text("SELECT z_err FROM label")).all() == []
    opened.close()
