"""Two inspectors, and a third only where it is needed: assignments follow the verdicts."""

import pytest
import sqlalchemy as sa

from quasarloop.inspect.campaign import balance, fit_team, rule_of, share_out
from quasarloop.inspect.database import set_setting
from quasarloop.inspect.ledger import Save, item_of, save_label
from quasarloop.inspect.results import control_found, results
from quasarloop.inspect.server import prepare
from quasarloop.inspect.spectra_files import open_spectra
from quasarloop.inspect.tables import Assignment
from quasarloop.labels.rule import InspectionRule
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

QSO = Verdict(SpecType.QSO, 2.1, 4.0)
FAR = Verdict(SpecType.QSO, 2.5, 4.0)
UNSURE = Verdict(SpecType.QSO, 2.1, 2.0)
SEED = 3
N = 40


@pytest.fixture
def team(database, add_person, add_items):
    people = [add_person(name) for name in ("ada", "bea", "cyd", "eve")]
    items = add_items(N, first=1000)
    with database.write() as session:
        set_setting(session, "per_object", "2+1")
        set_setting(session, "seed", str(SEED))
        session.flush()
        balance(session)
    return people, items


def _turns(database, item):
    with database.read() as session:
        mine = sa.select(Assignment).where(Assignment.item_id == item.id)
        found = session.scalars(mine.order_by(Assignment.id)).all()
        return [turn for turn in found if turn.state != "dropped"]


def _give(database, item, user_id, verdict, base=0):
    with database.write() as session:
        entry = item_of(session, item.target_id)
        save_label(session, entry, user_id, Save(verdict, base, f"{item.id}-{user_id}-{base:04}"))
        fit_team(session, entry)


def _state(database, item):
    with database.read() as session:
        return results(session, items=[item.id])[0].state


def test_two_look_and_three_at_the_control(database, team):
    _, items = team
    rule = InspectionRule(2, 1, SEED)
    sizes = {item.target_id: len(_turns(database, item)) for item in items}
    assert sizes == {t: 3 if rule.is_control(t) else 2 for t in sizes}
    assert 0 < sum(size == 3 for size in sizes.values()) < N


@pytest.mark.parametrize("second", [FAR, UNSURE])
def test_a_third_comes_when_the_two_differ_or_are_unsure_and_goes_again(database, team, second):
    item = _not_control(team[1])
    first, other = (turn.user_id for turn in _turns(database, item))
    _give(database, item, first, QSO)
    assert len(_turns(database, item)) == 2
    _give(database, item, other, second)
    assert len(_turns(database, item)) == 3
    assert _state(database, item) == "open", "the third is yet to come"
    # They changed their mind before the third began.
    _give(database, item, other, QSO, base=1)
    assert len(_turns(database, item)) == 2
    assert _state(database, item) == "merged"
    # And back: the same third, whose verdict settles it.
    _give(database, item, other, second, base=2)
    *_, third = _turns(database, item)
    assert third.user_id not in (first, other)
    _give(database, item, third.user_id, QSO)
    assert _state(database, item) == "conflict"
    _give(database, item, other, QSO, base=3)
    assert len(_turns(database, item)) == 3, "what somebody gave is kept"
    assert _state(database, item) == "merged"


def test_thirds_go_to_the_least_loaded_and_sharing_out_agrees(database, team):
    people, items = team
    item = _not_control(items)
    here = [turn.user_id for turn in _turns(database, item)]
    for user_id, verdict in zip(here, (QSO, FAR), strict=True):
        _give(database, item, user_id, verdict)
    with database.read() as session:
        todo = sa.select(Assignment.user_id, sa.func.count()).group_by(Assignment.user_id)
        load = {row[0]: row[1] for row in session.execute(todo.where(Assignment.state == "todo"))}
    third = _turns(database, item)[-1].user_id
    others = {person.id for person in people} - {*here}
    assert load[third] - 1 == min(load[u] - (u == third) for u in others)
    plan = share_out(database)
    assert item.id not in {target for target, _ in (*plan.add, *plan.drop)}


def test_the_control_shows_what_two_let_through(database, team):
    _, items = team
    rule = InspectionRule(2, 1, SEED)
    for item in (item for item in items if rule.is_control(item.target_id)):
        for turn, verdict in zip(_turns(database, item), (QSO, QSO, FAR), strict=True):
            _give(database, item, turn.user_id, verdict)
    with database.read() as session:
        assert rule_of(session) == rule
        found = control_found(session, results(session))
    n = sum(rule.is_control(item.target_id) for item in items)
    assert (found.n_settled, found.n_differ) == (n, n)


def test_the_page_assigns_the_third_at_once(client, database):
    root, merger = client("root"), client("max")
    root.put("/api/settings", {"per_object": "2+1"})
    target, teams = next(iter(_teams(client).items()))
    for number, name in enumerate(teams):
        save = {
            "verdict": {"spectype": "QSO", "z": 2.0 + number, "quality": 4},
            "base_version": 0,
            "save_id": f"{name}-0000001",
        }
        assert client(name).put(f"/api/objects/{target}/label", save).status_code == 200
    assert len(_teams(client)[target]) == 3
    (row,) = [o for o in merger.get("/api/merge?state=all").json()["objects"] if o["n_verdicts"]]
    assert (row["target_id"], row["n_open"]) == (target, 1)
    assert merger.get("/api/statistics").json()["control"] == ""


def _teams(client):
    teams = {}
    for name in ("ada", "bea", "cyd"):
        for row in client(name).get("/api/list").json()["objects"]:
            teams.setdefault(row["target_id"], []).append(name)
    return teams


def _not_control(items):
    rule = InspectionRule(2, 1, SEED)
    return next(item for item in items if not rule.is_control(item.target_id))


def test_a_restart_keeps_the_rule_that_people_set_and_takes_one_that_was_changed(
    database, add_items
):
    add_items(1)
    files, three = open_spectra([]), InspectionRule(3, 0, SEED)

    def served_with(rule):
        prepare(database, files, rule=rule)
        with database.read() as session:
            return str(rule_of(session))

    assert served_with(three) == "3"
    with database.write() as session:  # on the page, or by `inspect assign --per-object`
        set_setting(session, "per_object", "2+1")
    assert served_with(three) == "2+1"
    assert served_with(None) == "2+1"
    assert served_with(InspectionRule(4, 0, SEED)) == "4"
