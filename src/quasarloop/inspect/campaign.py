"""Filling a campaign's database with its worklist, and keeping assignments balanced."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from quasarloop.inspect.assign import Plan, rebalance
from quasarloop.inspect.database import now, setting
from quasarloop.inspect.spectra_files import SpectrumFiles
from quasarloop.inspect.tables import Assignment, Event, Item, User
from quasarloop.inspect.worklist import Entry

__all__ = ["Loaded", "Progress", "balance", "inspectors", "load_worklist", "progress"]


@dataclass(frozen=True)
class Loaded:
    """What loading a worklist did.

    Attributes:
        added: objects new to the campaign.
        known: objects it had already; their spectrum is looked up again, their labels stay.
        without_spectrum: objects for which no file was found.
    """

    added: int
    known: int
    without_spectrum: int


@dataclass(frozen=True)
class Progress:
    """How far one inspector is.

    Attributes:
        todo, skipped, done: objects in each state.
        seconds: time spent on objects done.
    """

    todo: int
    skipped: int
    done: int
    seconds: float

    @property
    def total(self) -> int:
        """All objects of theirs."""
        return self.todo + self.skipped + self.done


def load_worklist(session: Session, entries: Sequence[Entry], files: SpectrumFiles) -> Loaded:
    """Add a worklist's objects to the campaign, in its order, after those it has."""
    homeless = [e.target_id for e in entries if not e.source or e.row < 0]
    places = files.locate(homeless) if homeless else {}
    known = {item.target_id: item for item in session.scalars(sa.select(Item))}
    rank = max((item.rank for item in known.values()), default=-1)
    added = missing = 0
    for entry in entries:
        source, row = entry.source, entry.row
        if not source or row < 0:
            source, row = places.get(entry.target_id, ("", -1))
        missing += not source
        item = known.get(entry.target_id)
        if item is None:
            rank, added = rank + 1, added + 1
            item = Item(target_id=entry.target_id, rank=rank, source="", row=-1, opinion={})
            known[entry.target_id] = item
            session.add(item)
        item.source, item.row, item.opinion = source, row, entry.opinion
    session.flush()
    return Loaded(added, len(entries) - added, missing)


def inspectors(session: Session) -> list[int]:
    """Return the ids of those who inspect now."""
    query = sa.select(User.id).where(
        User.role == "inspector", User.active.is_(True), User.password_hash.is_not(None)
    )
    return list(session.scalars(query.order_by(User.id)))


def balance(session: Session) -> Plan:
    """Give every object its inspectors, late joiners their share, leavers' work to others."""
    people = inspectors(session)
    active = set(people)
    items = list(session.scalars(sa.select(Item.id).order_by(Item.rank)))
    current: dict[int, dict[int, bool]] = {item: {} for item in items}
    turns = {
        (turn.item_id, turn.user_id): turn
        for turn in session.scalars(sa.select(Assignment).with_for_update())
    }
    for (item, user), turn in turns.items():
        # Who is here keeps whatever they touched; of a leaver only finished work counts.
        touched = turn.version > 0 or turn.state == "skipped"
        begun = touched if user in active else turn.state == "done"
        if turn.state != "dropped":
            current[item][user] = begun
    # The same people and work give the same plan, whenever it is made.
    rng = np.random.default_rng([len(items), *people])
    plan = rebalance(current, people, rng, per_object=int(setting(session, "per_object")))
    for item, user in plan.drop:
        turns[item, user].state = "dropped"
    for item, user in plan.add:
        known = turns.get((item, user))
        if known is None:
            session.add(Assignment(item_id=item, user_id=user, created=now()))
        else:
            known.state = "todo"
    if plan.add or plan.drop:
        detail = f"{len(plan.add)} given, {len(plan.drop)} taken back"
        session.add(Event(at=now(), kind="assign", detail=detail))
    session.flush()
    return plan


def progress(session: Session, user_id: int) -> Progress:
    """Count an inspector's objects by state, and the time they spent."""
    query = (
        sa.select(Assignment.state, sa.func.count(), sa.func.sum(Assignment.seconds))
        .where(Assignment.user_id == user_id)
        .group_by(Assignment.state)
    )
    found = {state: (count, seconds) for state, count, seconds in session.execute(query)}
    counts = {state: found.get(state, (0, 0.0))[0] for state in ("todo", "skipped", "done")}
    return Progress(**counts, seconds=float(found.get("done", (0, 0.0))[1] or 0.0))
