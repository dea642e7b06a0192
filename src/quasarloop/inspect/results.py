"""Results of a campaign: labels merged, in conflict or open, and how far it is."""

from collections import Counter
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.orm import Session

from quasarloop.inspect.campaign import progress, rule_of
from quasarloop.inspect.ledger import NEWEST
from quasarloop.inspect.questions import open_questions
from quasarloop.inspect.tables import Assignment, Decision, Item, Label, User
from quasarloop.labels.agreement import Agreement, agreement
from quasarloop.labels.drift import Given, InspectorTrend, trends
from quasarloop.labels.merge import Merged, conflicts, from_decision, merge_verdicts
from quasarloop.labels.prospect_csv import Inspection
from quasarloop.labels.rule import Control, InspectionRule, control_of
from quasarloop.labels.verdict import Verdict, is_complete

__all__ = [
    "Result",
    "agreement_of",
    "control_found",
    "count_states",
    "final_labels",
    "inspections",
    "people_rows",
    "results",
    "state_rows",
    "trends_of",
]

State = Literal["open", "merged", "conflict", "returned", "decided"]
_STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Result:
    """The state of one object.

    Attributes:
        item: the worklist's entry.
        labels: newest label of each inspector, by name.
        n_open: inspectors yet to finish it.
        state: ``open`` (not all are done), ``merged`` (they agree), ``conflict`` (a merger must
            decide), ``returned`` (an inspector has the merger's question) or ``decided``.
        disagree_in: any of ``quality``, ``redshift``, ``class``.
        merged: the final label, None while there is none.
        decision: the merger's newest decision.
        changed_since: an inspector changed their label after the decision.
        returned_to: inspectors that have a question to answer, by name.
    """

    item: Item
    labels: dict[str, Label]
    n_open: int
    state: State
    disagree_in: tuple[str, ...]
    merged: Merged | None
    decision: Decision | None
    changed_since: bool
    returned_to: tuple[str, ...] = ()

    @property
    def verdicts(self) -> list[Verdict]:
        """Complete verdicts, in the order of the inspectors' names."""
        return [lab.verdict for lab in self.labels.values() if is_complete(lab.verdict)]


def results(
    session: Session, *, at_least: int | None = None, items: Collection[int] | None = None
) -> list[Result]:
    """Return every object's state, in the order of the worklist.

    Args:
        session: to read with.
        at_least: complete verdicts an object needs before it merges by itself; the campaign's
            number per object by default.
        items: only these entries, by number.
    """
    rule = rule_of(session) if at_least is None else InspectionRule(at_least)
    labels: dict[int, dict[str, Label]] = {}
    query = sa.select(Label, User.name).join(Assignment, NEWEST)
    query = query.join(User, User.id == Label.user_id).order_by(User.name)
    for label, name in session.execute(query.where(_among(Label.item_id, items))):
        labels.setdefault(label.item_id, {})[name] = label
    waiting = (
        sa.select(Assignment.item_id)
        .join(User, User.id == Assignment.user_id)
        .where(Assignment.state.in_(("todo", "skipped")), User.active.is_(True))
        .where(_among(Assignment.item_id, items))
    )
    n_open = Counter(session.scalars(waiting))
    questions = open_questions(session, items)
    decided = sa.select(Decision).where(_among(Decision.item_id, items))
    decisions = {d.item_id: d for d in session.scalars(decided.order_by(Decision.version))}
    every = session.scalars(sa.select(Item).where(_among(Item.id, items)).order_by(Item.rank))
    return [
        _result(
            item,
            labels.get(item.id, {}),
            n_open.get(item.id, 0),
            decisions.get(item.id),
            rule,
            questions,
        )
        for item in every
    ]


def count_states(found: Iterable[Result]) -> dict[str, int]:
    """Return how many objects are in each state."""
    counts = Counter(result.state for result in found)
    return {state: counts[state] for state in _STATES}


def final_labels(found: Iterable[Result]) -> dict[int, Merged]:
    """Return the final label of every object that has one."""
    return {r.item.target_id: r.merged for r in found if r.merged is not None}


def agreement_of(found: Iterable[Result]) -> Agreement:
    """Return how the inspectors agree."""
    return agreement(
        {
            result.item.target_id: {n: label.verdict for n, label in result.labels.items()}
            for result in found
        }
    )


def control_found(session: Session, found: Iterable[Result]) -> Control:
    """Return what the first inspectors of a rule such as ``2+1`` let through, by its control."""
    in_order = (
        (result.item.target_id, sorted(result.labels.values(), key=lambda label: label.id))
        for result in found
    )
    complete = (
        (target, [label.verdict for label in labels if is_complete(label.verdict)])
        for target, labels in in_order
    )
    return control_of(rule_of(session), complete)


def trends_of(found: Iterable[Result]) -> list[InspectorTrend]:
    """Return how every inspector agrees with the others as time goes on, and their pace."""
    return trends(
        Given(result.item.target_id, name, label.id, label.verdict, label.seconds)
        for result in found
        for name, label in result.labels.items()
    )


def inspections(found: Iterable[Result]) -> dict[str, list[Inspection]]:
    """Return every scanner's newest labels as rows of prospect's file."""
    groups: dict[str, list[Inspection]] = {}
    for result in found:
        shown = _shown_columns(result.item.predictions)
        for name, label in result.labels.items():
            columns = {str(k): str(v) for k, v in (label.extra or shown).items()}
            row = Inspection(result.item.target_id, name, label.verdict, columns, z_err=label.z_err)
            groups.setdefault(name, []).append(row)
    return groups


def _result(
    item: Item,
    labels: dict[str, Label],
    n_open: int,
    decision: Decision | None,
    rule: InspectionRule,
    questions: Container[tuple[int, int]],
) -> Result:
    whole = [label for label in labels.values() if is_complete(label.verdict)]
    complete = [label.verdict for label in whole]
    disagree = conflicts(complete)
    returned_to = tuple(n for n, lab in labels.items() if (item.id, lab.user_id) in questions)
    state: State = "open"
    merged = None
    changed = False
    if decision is not None:
        state = "decided"
        merged = from_decision(decision.verdict, complete, _decided_error(decision, labels))
        if decision.extra:
            merged = _imported(decision)
        changed = any(label.created > decision.created for label in labels.values())
    elif returned_to:
        state = "returned"
    elif n_open == 0 and len(complete) >= rule.needed(item.target_id, complete):
        state = "conflict" if disagree else "merged"
        merged = merge_verdicts(complete, [label.z_err for label in whole])
    return Result(item, labels, n_open, state, disagree, merged, decision, changed, returned_to)


def _imported(decision: Decision) -> Merged:
    """A final label from another campaign's table, with its number of inspections and comments."""
    extra = decision.extra
    return Merged(
        **{**vars(decision.verdict), "comment": str(extra.get("merger_comment", ""))},
        n_inspections=int(extra.get("N_VI", 0)),
        comments=str(extra.get("all_VI_comments", "")),
        z_err=decision.z_err,
    )


def _decided_error(decision: Decision, labels: dict[str, Label]) -> float | None:
    """The error of a decision's redshift: of its own fit, or of the label it was adopted from."""
    if decision.z_err is not None or decision.verdict.z is None:
        return decision.z_err
    adopted = (label.z_err for label in labels.values() if label.verdict.z == decision.verdict.z)
    return next((error for error in adopted if error is not None), None)


def _shown_columns(predictions: dict[str, Any]) -> dict[str, str]:
    """Prospect's columns about redrock and exposures, as far as the worklist knows them."""
    shown = {
        name.upper(): str(predictions[name])
        for name in ("expid", "night", "tileid")
        if name in predictions
    }
    fits = predictions.get("redrock") or []
    if fits:
        best = fits[0]
        if best.get("version"):
            shown["Redrock_version"] = str(best["version"])
        shown |= {
            "Redrock_spectype": str(best["spectype"]),
            "Redrock_z": f"{best['z']:.4f}",
            "Redrock_deltachi2": f"{best['deltachi2']:.1f}",
        }
    return shown


def _among(column: Any, items: Collection[int] | None) -> sa.ColumnElement[bool]:
    return sa.true() if items is None else column.in_(list(items))


Rows = list[tuple[str, ...]]


def state_rows(found: list[Result]) -> Rows:
    """List how many objects are in each state."""
    states = {
        "still open": "open",
        "agreed": "merged",
        "to decide": "conflict",
        "sent back": "returned",
        "decided": "decided",
    }
    counts = count_states(found)
    rows = [(name, str(counts[state])) for name, state in states.items()]
    return [("state", "objects"), *rows, ("all", str(len(found)))]


def people_rows(session: Session) -> Rows:
    """List everybody with their progress and pace."""
    rows: Rows = [("name", "role", "to do", "skipped", "done", "s per object")]
    for user in session.scalars(sa.select(User).order_by(User.role, User.name)):
        work = progress(session, user.id)
        pace = f"{work.seconds / work.done:.1f}" if work.done and work.seconds else "–"
        numbers = (str(work.todo), str(work.skipped), str(work.done), pace)
        rows.append((user.name, user.role if user.active else f"{user.role}, out", *numbers))
    return rows
