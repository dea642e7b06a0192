"""Objects are shared out while labels are saved: no save waits for all of it, none is lost."""

from collections import Counter

import pytest
import sqlalchemy as sa

from quasarloop.inspect import campaign
from quasarloop.inspect.campaign import balance, progress, share_out
from quasarloop.inspect.ledger import Save, item_of, save_label
from quasarloop.inspect.tables import Assignment, Event
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

STAR = Verdict(SpecType.STAR, 0.0, 3)


def _turns(database):
    with database.read() as session:
        query = sa.select(Assignment.item_id, Assignment.user_id, Assignment.state)
        return sorted(tuple(turn) for turn in session.execute(query))


def test_sharing_out_in_lots_is_balancing(database, add_person, add_items, monkeypatch):
    people = [add_person(name) for name in ("ada", "bea", "cyd")]
    add_items(30)
    monkeypatch.setattr(campaign, "_LOT", 7)
    plan = share_out(database)
    assert (len(plan.add), plan.drop) == (90, ())
    people.append(add_person("eve"))
    plan = share_out(database)
    assert share_out(database).add == ()
    with database.read() as session:
        todo = [progress(session, person.id).todo for person in people]
        assert max(todo) - min(todo) <= 1
        assert sum(todo) == 90
    by_lots = _turns(database)
    with database.write() as session:
        assert balance(session) == campaign.Plan((), (), ())
        noted = session.scalars(sa.select(Event.detail).where(Event.kind == "assign")).all()
    assert noted[-1] == f"{len(plan.add)} given, {len(plan.drop)} taken back"
    assert _turns(database) == by_lots


def test_after_an_end_in_the_middle_the_next_share_reaches_the_same(
    database, add_person, add_items, monkeypatch
):
    people = [add_person(name) for name in ("ada", "bea", "cyd")]
    add_items(40)
    share_out(database)
    people.append(add_person("eve"))
    monkeypatch.setattr(campaign, "_LOT", 7)
    lots, apply = [], campaign._apply

    def ends(session, changes):
        lots.append(apply(session, changes))
        if len(lots) == 3:
            raise KeyboardInterrupt
        return lots[-1]

    with monkeypatch.context() as patch:
        patch.setattr(campaign, "_apply", ends)
        with pytest.raises(KeyboardInterrupt):
            share_out(database)
    # Two lots are whole, the third is not there at all; no object lacks an inspector.
    teams = Counter(item for item, _, state in _turns(database) if state != "dropped")
    assert len(teams) == 40
    assert set(teams.values()) == {3}
    with database.read() as session:
        assert progress(session, people[-1].id).todo == 14
    share_out(database)
    with database.read() as session:
        assert [progress(session, person.id).todo for person in people] == [30, 30, 30, 30]


def test_what_is_begun_while_the_plan_is_made_stays(database, add_person, add_items, monkeypatch):
    ada, *_ = people = [add_person(name) for name in ("ada", "bea", "cyd")]
    items = {item.id: item for item in add_items(40)}
    share_out(database)
    late = add_person("eve")
    saved = []

    def overtake(plan):
        """Ada begins two of the objects that the first plan takes from her."""
        found = lots(plan)
        if not saved:
            saved.extend([item for item, user in plan.drop if user == ada.id][:2])
            for item in saved:
                with database.write() as session:
                    save = Save(STAR, 0, f"save-{item}")
                    save_label(session, item_of(session, items[item].target_id), ada.id, save)
        return found

    lots = campaign._lots
    monkeypatch.setattr(campaign, "_lots", overtake)
    share_out(database)
    state = {(item, user): state for item, user, state in _turns(database)}
    assert [state[item, ada.id] for item in saved] == ["done", "done"]
    teams = [item for (item, _), state in state.items() if state != "dropped"]
    assert all(teams.count(item) == 3 for item in items)
    with database.read() as session:
        todo = [progress(session, person.id).todo for person in [*people, late]]
    assert max(todo) - min(todo) <= 1


def test_two_who_share_out_at_once_do_it_once(database, add_person, add_items, monkeypatch):
    people = [add_person(name) for name in ("ada", "bea", "cyd")]
    add_items(40)
    share_out(database)
    people.append(add_person("eve"))
    lots, inner = campaign._lots, []

    def overtake(plan):
        if not inner:
            inner.append(None)  # the plan of the second is made as usual
            inner.append(share_out(database))
        return lots(plan)

    monkeypatch.setattr(campaign, "_lots", overtake)
    share_out(database)
    assert len(inner[1].add) == 30
    teams = Counter(item for item, _, state in _turns(database) if state != "dropped")
    assert (len(teams), {*teams.values()}) == (40, {3})
    with database.read() as session:
        assert [progress(session, person.id).todo for person in people] == [30, 30, 30, 30]
