"""Filling a campaign's database with its worklist, and keeping assignments balanced."""

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from quasarloop.inspect.assign import Plan, rebalance
from quasarloop.inspect.database import Database, now, setting
from quasarloop.inspect.ledger import NEWEST
from quasarloop.inspect.spectra_files import SpectrumFiles
from quasarloop.inspect.tables import Assignment, Event, Item, Label, Setting, User
from quasarloop.inspect.worklist import Entry, without_collection
from quasarloop.labels.rule import InspectionRule
from quasarloop.labels.verdict import Verdict

__all__ = [
    "Loaded",
    "Progress",
    "add_redrock",
    "balance",
    "find_missing",
    "fit_team",
    "inspectors",
    "load_worklist",
    "progress",
    "rule_of",
    "share_out",
]


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
    def counts(self) -> dict[str, int]:
        """Objects by state."""
        return {"todo": self.todo, "skipped": self.skipped, "done": self.done}

    @property
    def total(self) -> int:
        """All objects of theirs."""
        return sum(self.counts.values())


@without_collection()
def load_worklist(session: Session, entries: Sequence[Entry], files: SpectrumFiles) -> Loaded:
    """Add a worklist's objects to the campaign, in its order, after those it has."""
    places = _places(entries, files)
    columns = (Item.target_id, Item.id, Item.rank, Item.source, Item.row, Item.predictions)
    known = {item.target_id: item for item in session.execute(sa.select(*columns))}
    last = max((item.rank for item in known.values()), default=-1)
    new: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    missing = 0
    for entry in entries:
        source, row = places.get(entry.target_id, ("", -1))
        missing += not source
        found = {"source": source, "row": row, "predictions": entry.predictions}
        item = known.get(entry.target_id)
        if item is None:
            new.append({"target_id": entry.target_id, "rank": last + 1 + len(new), **found})
            continue
        if "redrock" in item.predictions:
            kept = {"redrock": item.predictions["redrock"]}
            found["predictions"] = kept | entry.predictions
        if (source, row, found["predictions"]) != (item.source, item.row, item.predictions):
            changed.append({"id": item.id, **found})
    # All at once: 100,000 objects one by one take a minute.
    if new:
        session.execute(sa.insert(Item), new)
    if changed:
        session.execute(sa.update(Item), changed)
    return Loaded(len(new), len(entries) - len(new), missing)


def find_missing(session: Session, files: SpectrumFiles) -> int:
    """Look for spectra of objects that have none yet (imported labels); return how many now do."""
    homeless = {
        item.target_id: item for item in session.scalars(sa.select(Item).where(Item.source == ""))
    }
    places = files.locate(list(homeless)) if homeless else {}
    for target, (source, row) in places.items():
        homeless[target].source, homeless[target].row = source, row
    return len(places)


def add_redrock(session: Session, fits: Mapping[int, list[dict[str, Any]]]) -> int:
    """Put redrock's best fits beside the other predictions; return how many objects have some."""
    items = [i for i in session.scalars(sa.select(Item)) if i.target_id in fits]
    for item in items:
        item.predictions = {**item.predictions, "redrock": fits[item.target_id]}
    return len(items)


def inspectors(session: Session) -> list[int]:
    """Return the ids of the present inspectors."""
    query = sa.select(User.id).where(
        User.role.contains("inspector"), User.active.is_(True), User.password_hash.is_not(None)
    )
    return list(session.scalars(query.order_by(User.id)))


def rule_of(session: Session) -> InspectionRule:
    """Return how many inspectors the campaign's objects need."""
    seed = session.get(Setting, "seed")
    return InspectionRule.from_text(
        setting(session, "per_object"), 0 if seed is None else int(seed.value)
    )


def _needed(session: Session, item: Item | None = None) -> dict[int, int]:
    """Return the inspectors that every entry (or that one) needs after its verdicts so far."""
    rule, verdicts = rule_of(session), defaultdict[int, list[Verdict]](list)
    items = sa.select(Item.id, Item.target_id).order_by(Item.rank)
    if item is not None:
        items = items.where(Item.id == item.id)
    if rule.more:
        labels = sa.select(Label.item_id, Label.verdict).join(Assignment, NEWEST)
        if item is not None:
            labels = labels.where(Label.item_id == item.id)
        for number, verdict in session.execute(labels):
            verdicts[number].append(verdict)
    found = session.execute(items).all()
    return {number: rule.needed(target, verdicts[number]) for number, target in found}


def fit_team(session: Session, item: Item) -> None:
    """Give an object the inspectors that its verdicts need, take back those not begun or needed.

    An added one is of the least loaded; `balance` levels what is open once more.
    """
    if not rule_of(session).more:
        return
    session.execute(sa.select(Item.id).where(Item.id == item.id).with_for_update())
    present = inspectors(session)
    query = sa.select(Assignment, _begun(present)).where(Assignment.item_id == item.id)
    found = session.execute(query.order_by(Assignment.id)).all()
    turns = {turn.user_id: turn for turn, _ in found}
    team = [turn for turn in turns.values() if turn.state != "dropped"]
    lacking = _needed(session, item)[item.id] - len(team)
    unbegun = [turn for turn, begun in reversed(found) if turn in team and not begun]
    for turn in unbegun[: max(0, -lacking)]:
        turn.state = "dropped"
    if lacking <= 0:
        return
    mine = {turn.user_id for turn in team}
    count = sa.select(Assignment.user_id, sa.func.count()).group_by(Assignment.user_id)
    open_work = count.where(Assignment.state.in_(("todo", "skipped")))
    load = {row[0]: row[1] for row in session.execute(open_work)}
    free = [(load.get(u, 0), (i - item.id) % len(present), u) for i, u in enumerate(present)]
    for _, _, user in sorted(part for part in free if part[-1] not in mine)[:lacking]:
        if user in turns:
            turns[user].state = "todo"
        else:
            session.add(Assignment(item_id=item.id, user_id=user, created=now()))


@without_collection()
def balance(session: Session) -> Plan:
    """Give every object its inspectors, late joiners their share, leavers' work to others.

    The session's lock is held meanwhile; beside a server that saves labels use `share_out`.
    """
    plan = _plan(session, lock=True)
    for lot in _lots(plan):
        _apply(session, lot)
    _note(session, plan)
    session.flush()
    return plan


@without_collection()
def share_out(database: Database) -> Plan:
    """Do what `balance` does while labels are saved: a save waits for one lot at most.

    The plan is made from one state of the database. Of an object that somebody began meanwhile
    nothing changes; it is in the next plan.
    """
    add: set[tuple[int, int]] = set()
    drop: set[tuple[int, int]] = set()
    for _ in range(_PLANS):
        with database.read() as session:
            plan = _plan(session)
        overtaken = 0
        for lot in _lots(plan):
            with database.write() as session:
                overtaken += _apply(session, lot)
            time.sleep(_PAUSE_S)
        add, drop = add | {*plan.add}, drop | {*plan.drop}
        if not overtaken:
            break
    done = Plan(tuple(sorted(add)), tuple(sorted(drop)), plan.short)
    with database.write() as session:
        _note(session, done)
    return done


# Objects whose assignments change in one transaction. Source: our choice; some 40 ms.
_LOT: Final = 2000
# Between two: SQLite has no queue, so that whatever waits for its lock has to find it free.
_PAUSE_S: Final = 0.03
# Plans made in a row where saves overtake them.
_PLANS: Final = 2
# Assignments made or taken back for one object: inspectors to add, inspectors to drop.
_Change = tuple[list[int], list[int]]


def _plan(session: Session, *, lock: bool = False) -> Plan:
    people, needed = inspectors(session), _needed(session)
    current: dict[int, dict[int, bool]] = {item: {} for item in needed}
    columns = Assignment.item_id, Assignment.user_id, _begun(people)
    turns = sa.select(*columns).where(Assignment.state != "dropped")
    # Rows without the ORM, here and below: a third of the time.
    rows = session.connection().execute(turns.with_for_update() if lock else turns)
    for item, user, begun in rows:
        current[item][user] = begun
    # The same people and work give the same plan, whenever it is made.
    rng = np.random.default_rng([len(needed), *people])
    return rebalance(current, people, rng, needed)


def _begun(active: Collection[int]) -> sa.ColumnElement[bool]:
    """The present keep whatever they touched; of a leaver only finished work counts."""
    touched = sa.or_(Assignment.version > 0, Assignment.state == "skipped")
    finished = Assignment.state == "done"
    return sa.case((Assignment.user_id.in_(active), touched), else_=finished).label("begun")


def _lots(plan: Plan) -> list[dict[int, _Change]]:
    changes: dict[int, _Change] = defaultdict(lambda: ([], []))
    for number, pairs in enumerate((plan.add, plan.drop)):
        for item, user in pairs:
            changes[item][number].append(user)
    items = list(changes)
    return [
        {item: changes[item] for item in items[start : start + _LOT]}
        for start in range(0, len(items), _LOT)
    ]


def _apply(session: Session, changes: Mapping[int, _Change]) -> int:
    """Change the assignments of some objects; return those left alone, begun since the plan."""
    columns = Assignment.id, Assignment.item_id, Assignment.user_id, Assignment.state
    query = sa.select(*columns, _begun(inspectors(session))).with_for_update()
    core = session.connection()
    new = {(item, user) for item, (add, _) in changes.items() for user in add}
    dropped: dict[int, int] = {}  # turn: object
    back: dict[int, int] = {}
    overtaken: set[int] = set()
    some = query.where(Assignment.item_id.in_(list(changes)))
    for turn, item, user, state, begun in core.execute(some):
        if user in changes[item][1]:
            dropped[turn] = item
            if begun or state == "dropped":
                overtaken.add(item)
        elif (item, user) in new:
            back[turn] = item
            new.remove((item, user))
            if state != "dropped":
                overtaken.add(item)
    pairs, at = sorted(pair for pair in new if pair[0] not in overtaken), now()
    made = [{"item_id": item, "user_id": user, "created": at} for item, user in pairs]
    # A statement of each kind: a save waits for this.
    for state, turns in (("dropped", dropped), ("todo", back)):
        numbers = [turn for turn, item in turns.items() if item not in overtaken]
        if numbers:
            these = Assignment.id.in_(numbers)
            core.execute(sa.update(Assignment).where(these).values(state=state))
    if made:
        core.execute(sa.insert(Assignment), made)
    return len(overtaken)


def _note(session: Session, plan: Plan) -> None:
    if plan.add or plan.drop:
        detail = f"{len(plan.add)} given, {len(plan.drop)} taken back"
        session.add(Event(at=now(), kind="assign", detail=detail))


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


def _places(entries: Sequence[Entry], files: SpectrumFiles) -> dict[int, tuple[str, int]]:
    """File and row of every entry that has a spectrum: named, by its shard, or searched for."""
    named = {e.target_id: (e.source, e.row) for e in entries if e.source and e.row >= 0}
    in_shards = {
        e.target_id: (e.shard, e.shard_row)
        for e in entries
        if e.target_id not in named and e.shard and e.shard_row >= 0
    }
    places = files.in_shards(in_shards) | named
    return files.locate([e.target_id for e in entries if e.target_id not in places]) | places
