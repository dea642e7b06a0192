"""The merger sends an object back to an inspector with a question; the answer is kept with it."""

from collections.abc import Collection
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from quasarloop.errors import InspectionError
from quasarloop.inspect.database import now
from quasarloop.inspect.tables import Assignment, Item, Label, Remark, User
from quasarloop.labels.verdict import is_complete

__all__ = ["MAX_QUESTION", "answer_question", "conversation", "open_questions", "send_back"]

MAX_QUESTION = 300
# Made once: making them takes longer than the database needs, and every request has one.
_REPLY: Final = aliased(Remark)
_OPEN: Final = sa.select(Remark.item_id, Remark.to_id, Remark.id).where(
    Remark.answers.is_(None), ~sa.select(_REPLY.id).where(_REPLY.answers == Remark.id).exists()
)
_OPEN_OF: Final = _OPEN.where(Remark.item_id.in_(sa.bindparam("items", expanding=True)))
_CONVERSATION: Final = (
    sa.select(User.name, Remark.at, Remark.text, _REPLY.text)
    .join(User, User.id == Remark.user_id)
    .outerjoin(_REPLY, _REPLY.answers == Remark.id)
    .where(Remark.item_id == sa.bindparam("item"), Remark.to_id == sa.bindparam("user"))
    .where(Remark.answers.is_(None))
    .order_by(Remark.id)
)


def send_back(session: Session, item: Item, merger_id: int, inspector: str, text: str) -> None:
    """Give an object back to one of its inspectors: it is to do again until they answer.

    Raises:
        InspectionError: an empty question, no complete verdict of that inspector, an inspector
            that cannot answer, or a question of theirs that waits already.
    """
    user = session.scalar(sa.select(User).where(User.name == inspector))
    turn = None if user is None else _turn(session, item.id, user.id)
    if user is None or turn is None or turn.version == 0:
        raise InspectionError(f"{inspector} has no verdict on this object")
    if not user.active or user.password_hash is None or "inspector" not in user.role.split(","):
        raise InspectionError(f"{inspector} inspects no longer here; decide without an answer")
    if open_questions(session, [item.id]).get((item.id, user.id)) is not None:
        raise InspectionError(f"{inspector} has a question on this object already")
    session.add(_remark(item.id, merger_id, user.id, text))
    turn.state = "todo"
    session.flush()


def answer_question(session: Session, item: Item, user_id: int, text: str) -> None:
    """Store an inspector's answer; their verdict, changed or not, counts as done again.

    Raises:
        InspectionError: an empty answer, or no question that waits.
    """
    turn = _turn(session, item.id, user_id)
    question = open_questions(session, [item.id]).get((item.id, user_id))
    if turn is None or question is None:
        raise InspectionError("no question waits here for your answer")
    session.add(_remark(item.id, user_id, user_id, text, answers=question))
    mine = sa.select(Label).where(Label.item_id == item.id, Label.user_id == user_id)
    label = session.scalar(mine.where(Label.version == turn.version))
    turn.state = "done" if label is not None and is_complete(label.verdict) else "todo"
    session.flush()


def open_questions(
    session: Session, items: Collection[int] | None = None
) -> dict[tuple[int, int], int]:
    """Return the questions without an answer: (entry, inspector) to the question's number."""
    query = _OPEN if items is None else _OPEN_OF
    found = session.execute(query, {} if items is None else {"items": list(items)})
    return {(item, user): number for item, user, number in found}


def conversation(session: Session, item_id: int, user_id: int) -> list[dict[str, Any]]:
    """Return the questions to an inspector on an object, the oldest first, with their answers."""
    found = session.execute(_CONVERSATION, {"item": item_id, "user": user_id})
    return [
        {"from": name, "at": at, "text": text, "answer": answer} for name, at, text, answer in found
    ]


def _remark(
    item_id: int, user_id: int, to_id: int, text: str, answers: int | None = None
) -> Remark:
    # One line that any database and encoding can hold.
    words = "".join(sign for sign in " ".join(text.split()) if sign.isprintable()).strip()
    if not words:
        raise InspectionError("the text is empty; write a few words")
    return Remark(
        item_id=item_id, user_id=user_id, to_id=to_id, at=now(), text=words, answers=answers
    )


def _turn(session: Session, item_id: int, user_id: int) -> Assignment | None:
    return session.scalar(
        sa.select(Assignment)
        .where(Assignment.item_id == item_id, Assignment.user_id == user_id)
        .with_for_update()
    )
