"""Saving labels, skips and decisions as versions; nothing is ever overwritten."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

import sqlalchemy as sa
from pydantic import AfterValidator, ConfigDict, Field, Strict
from sqlalchemy.orm import Session

from quasarloop.errors import InspectionError
from quasarloop.inspect.database import now
from quasarloop.inspect.questions import open_questions
from quasarloop.inspect.tables import Assignment, Decision, Event, Item, Label
from quasarloop.labels.merge import check_decision
from quasarloop.labels.verdict import MAX_Z_ERR, Verdict, clean, is_complete

__all__ = [
    "NEWEST",
    "NotAssignedError",
    "Save",
    "StaleError",
    "assignment_of",
    "current_label",
    "history",
    "item_of",
    "reveal_predictions",
    "save_decision",
    "save_label",
    "skip",
    "whole_quality",
]


Columns = dict[str, Any]

# Joins every turn at an object with its inspector's newest label.
NEWEST: Final = sa.and_(
    Assignment.item_id == Label.item_id,
    Assignment.user_id == Label.user_id,
    Assignment.version == Label.version,
)


class NotAssignedError(InspectionError):
    """A label for an object that is not assigned to its inspector."""

    def __init__(self, item: Item) -> None:
        super().__init__(f"object {item.target_id} is not assigned to you")


class StaleError(InspectionError):
    """Somebody (often oneself, in another tab) saved a newer version in between.

    Attributes:
        version: the newest one, 0 for none yet.
        verdict: of that version.
    """

    def __init__(self, current: Label | Decision | None) -> None:
        self.version = 0 if current is None else current.version
        self.verdict = Verdict() if current is None else current.verdict
        super().__init__(
            f"version {self.version} was saved in between; look at it before you go on"
        )


def _whole_quality(verdict: Verdict) -> Verdict:
    if verdict.quality is not None and not verdict.quality.is_integer():
        raise ValueError(f"quality is {verdict.quality}; inspectors give whole numbers")
    return verdict


whole_quality = AfterValidator(_whole_quality)


@dataclass(frozen=True)
class Save:
    """One change to store, as a request brings it.

    Attributes:
        verdict: the whole verdict after the change.
        base_version: the version it changes, 0 for the first.
        save_id: made by the sender, the same when a save is sent again.
        seconds: time spent on the object so far.
        note: ``""``, ``"undo"`` or ``"redo"``.
        z_err: standard deviation of the redshift, where a fit gave it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    verdict: Annotated[Verdict, whole_quality]
    base_version: Annotated[int, Strict(), Field(ge=0, lt=2**31 - 1)]
    save_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{8,64}$")]
    seconds: Annotated[float, Strict(), Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0
    note: Literal["", "undo", "redo"] = ""
    z_err: Annotated[float, Strict(), Field(ge=0, le=MAX_Z_ERR, allow_inf_nan=False)] | None = None


def item_of(session: Session, target_id: int) -> Item | None:
    """Return the worklist's entry for a target."""
    return session.scalar(sa.select(Item).where(Item.target_id == target_id))


def assignment_of(session: Session, item_id: int, user_id: int) -> Assignment | None:
    """Return an inspector's turn at an object, also one that was taken back."""
    return session.scalar(
        sa.select(Assignment).where(Assignment.item_id == item_id, Assignment.user_id == user_id)
    )


def current_label(session: Session, item_id: int, user_id: int) -> Label | None:
    """Return an inspector's newest label of an object."""
    return session.scalar(
        sa.select(Label)
        .where(Label.item_id == item_id, Label.user_id == user_id)
        .order_by(Label.version.desc())
        .limit(1)
    )


def history(session: Session, item_id: int, user_id: int | None = None) -> list[Label]:
    """Return every version of an object's labels, oldest first, of one inspector or of all."""
    query = sa.select(Label).where(Label.item_id == item_id).order_by(Label.id)
    if user_id is not None:
        query = query.where(Label.user_id == user_id)
    return list(session.scalars(query))


def save_label(
    session: Session, item: Item, user_id: int, save: Save, *, imported: Columns | None = None
) -> Label:
    """Add a version to an inspector's label; the same save sent twice is stored once.

    Args:
        session: to write with.
        item: the object.
        user_id: the inspector.
        save: the change.
        imported: the row of an imported file, word for word; later versions keep it.

    Raises:
        StaleError: `Save.base_version` is not the newest.
        NotAssignedError: it is not theirs.
        InspectionError: impossible values.
    """
    verdict = clean(save.verdict)
    turn = _locked(session, item.id, user_id)
    if turn is None:
        raise NotAssignedError(item)
    known = session.scalar(sa.select(Label).where(Label.save_id == save.save_id))
    if known is not None and (known.item_id, known.user_id) == (item.id, user_id):
        return known
    if save.base_version != turn.version or known is not None:
        raise StaleError(current_label(session, item.id, user_id))
    before = current_label(session, item.id, user_id) if turn.version else None
    extra = imported or (before.extra if before is not None else {})
    label = Label(
        **_columns(verdict, save, item.id, user_id, extra),
        source=item.source,
        row=item.row,
        note="import" if imported else save.note,
        saw_machine=turn.revealed,
        seconds=save.seconds,
    )
    session.add(label)
    turn.version = label.version
    # An object that was sent back is to do until its question has an answer.
    waits = (item.id, user_id) in open_questions(session, [item.id])
    turn.state = "done" if is_complete(verdict) and not waits else "todo"
    turn.seconds = max(turn.seconds, save.seconds)
    session.flush()
    return label


def save_decision(
    session: Session, item: Item, user_id: int, save: Save, *, imported: Columns | None = None
) -> Decision:
    """Add a version to the merger's decision on an object; arguments as in `save_label`.

    Raises:
        StaleError: another decision came in between.
        InspectionError: the decision is not complete, or has impossible values.
    """
    verdict = clean(save.verdict)
    check_decision(verdict)
    session.execute(sa.select(Item.id).where(Item.id == item.id).with_for_update())
    session.refresh(item)
    known = session.scalar(sa.select(Decision).where(Decision.save_id == save.save_id))
    if known is not None and (known.item_id, known.user_id) == (item.id, user_id):
        return known
    if save.base_version != item.decision_version or known is not None:
        newest = sa.select(Decision).where(Decision.item_id == item.id)
        raise StaleError(session.scalar(newest.order_by(Decision.version.desc()).limit(1)))
    decision = Decision(**_columns(verdict, save, item.id, user_id, imported or {}))
    session.add(decision)
    item.decision_version = decision.version
    session.flush()
    return decision


def skip(session: Session, item: Item, user_id: int, *, skipped: bool) -> Assignment:
    """Put an object aside for later, or back among those to do.

    Raises:
        NotAssignedError: it is not theirs.
    """
    turn = _locked(session, item.id, user_id)
    if turn is None:
        raise NotAssignedError(item)
    label = current_label(session, item.id, user_id)
    undone = label is None or not is_complete(label.verdict)
    if undone:
        turn.state = "skipped" if skipped else "todo"
        kind = "skip" if skipped else "unskip"
        session.add(Event(at=now(), user_id=user_id, item_id=item.id, kind=kind, detail=""))
    return turn


def reveal_predictions(session: Session, item: Item, user_id: int) -> None:
    """Record that an inspector looked at the networks' and redrock's results."""
    turn = _locked(session, item.id, user_id)
    if turn is not None and not turn.revealed:
        turn.revealed = True
        session.add(Event(at=now(), user_id=user_id, item_id=item.id, kind="ask", detail=""))


def _locked(session: Session, item_id: int, user_id: int) -> Assignment | None:
    """The assignment, held until the end of the transaction: saves of one label queue up here."""
    return session.scalar(
        sa.select(Assignment)
        .where(Assignment.item_id == item_id, Assignment.user_id == user_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _columns(verdict: Verdict, save: Save, item_id: int, user_id: int, extra: Columns) -> Columns:
    return {
        "item_id": item_id,
        "user_id": user_id,
        "version": save.base_version + 1,
        "created": now(),
        "save_id": save.save_id,
        "verdict": verdict,
        "z_err": save.z_err,
        "extra": extra,
    }
