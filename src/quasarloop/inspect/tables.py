"""The tables of an inspection campaign. Labels, decisions and events only ever grow."""

from dataclasses import fields
from typing import Any, Final

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Dialect,
    Double,
    ForeignKey,
    Index,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    event,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, composite, declared_attr, mapped_column

from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

__all__ = [
    "Assignment",
    "Attempt",
    "Base",
    "Decision",
    "Event",
    "Invite",
    "Item",
    "Label",
    "Login",
    "Practice",
    "PracticeAnswer",
    "Ranking",
    "Remark",
    "Setting",
    "User",
]


class _ClassWord(TypeDecorator[SpecType]):
    """A class, stored as its word."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: SpecType | None, dialect: Dialect) -> str | None:
        return None if value is None else value.word

    def process_result_value(self, value: str | None, dialect: Dialect) -> SpecType | None:
        return None if value is None else SpecType.from_word(value)


class Base(DeclarativeBase):
    """Parent of all tables. Times are ISO 8601 text in UTC, so that they sort anywhere."""

    type_annotation_map = {  # noqa: RUF012 -- SQLAlchemy's own
        float: Double,
        dict[str, Any]: JSON,
        SpecType: _ClassWord,
    }


class Setting(Base):
    """A campaign setting, e.g. whether inspection is blind."""

    __tablename__ = "setting"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class User(Base):
    """A person; without a password hash they cannot log in (imported scanners)."""

    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    password_hash: Mapped[str | None]
    active: Mapped[bool] = mapped_column(default=True)
    created: Mapped[str]


class Invite(Base):
    """A one-time link; only the hash of its token is kept."""

    __tablename__ = "invite"
    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    name: Mapped[str]
    created: Mapped[str]
    expires: Mapped[str]
    used: Mapped[str | None]
    resets: Mapped[int | None] = mapped_column(ForeignKey("person.id"))  # whose password


class Login(Base):
    """A session in a browser; only the hash of its key is kept."""

    __tablename__ = "login"
    key_hash: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    created: Mapped[str]
    expires: Mapped[str]
    ended: Mapped[str | None]


class Attempt(Base):
    """A failed login, to slow down guessing."""

    __tablename__ = "attempt"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    address: Mapped[str]
    at: Mapped[str] = mapped_column(index=True)


class Item(Base):
    """One entry of the worklist: an object and its spectrum."""

    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    target_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    rank: Mapped[int] = mapped_column(index=True)
    source: Mapped[str]
    row: Mapped[int]
    predictions: Mapped[dict[str, Any]] = mapped_column("opinion")
    decision_version: Mapped[int] = mapped_column(default=0)


class Assignment(Base):
    """An object given to an inspector; its version is that of their newest label."""

    __tablename__ = "assignment"
    __table_args__ = (
        UniqueConstraint("item_id", "user_id"),
        Index("assignment_of_user", "user_id", "state"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    created: Mapped[str]
    state: Mapped[str] = mapped_column(default="todo")  # todo, skipped, done, dropped
    version: Mapped[int] = mapped_column(default=0)
    revealed: Mapped[bool] = mapped_column("asked_machine", default=False)
    seconds: Mapped[float] = mapped_column(default=0.0)


class _Versioned:
    """One version of a verdict, of an inspector or of the merger."""

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    version: Mapped[int]
    created: Mapped[str]
    save_id: Mapped[str] = mapped_column(unique=True)
    z_err: Mapped[float | None]  # of the redshift, where a fit gave it
    extra: Mapped[dict[str, Any]]  # an imported file's columns, word for word

    @declared_attr
    def verdict(self) -> Mapped[Verdict]:
        """One column for each of its fields."""
        return composite(Verdict, *(mapped_column(field.name) for field in fields(Verdict)))


class Label(_Versioned, Base):
    """One version of one inspector's verdict, and the spectrum it is of."""

    __tablename__ = "label"
    __table_args__ = (UniqueConstraint("item_id", "user_id", "version"),)
    source: Mapped[str]
    row: Mapped[int]
    note: Mapped[str]  # "", "undo", "redo", "import"
    saw_machine: Mapped[bool]
    seconds: Mapped[float]


class Decision(_Versioned, Base):
    """One version of the merger's decision on one object."""

    __tablename__ = "decision"
    __table_args__ = (UniqueConstraint("item_id", "version"),)


class Event(Base):
    """What else happened, for the record: joined, skipped, assigned and so on."""

    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[str]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    item_id: Mapped[int | None] = mapped_column(ForeignKey("item.id"))
    kind: Mapped[str]
    detail: Mapped[str]


class Remark(Base):
    """A question of a merger on an inspector's verdict; or, with `answers`, its answer."""

    __tablename__ = "remark"
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    to_id: Mapped[int] = mapped_column(ForeignKey("person.id"))  # whose verdict it is about
    at: Mapped[str]
    text: Mapped[str]
    answers: Mapped[int | None] = mapped_column(ForeignKey("remark.id"))


class Ranking(Base):
    """One rank that one object had: since when, and by how many final labels."""

    __tablename__ = "ranking"
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), index=True)
    at: Mapped[str]
    n_labels: Mapped[int]  # 0: as the worklist had it
    score: Mapped[float | None]
    rank: Mapped[int]


class Practice(Base):
    """An object with a known answer, for practice; none of the campaign's own."""

    __tablename__ = "practice"
    id: Mapped[int] = mapped_column(primary_key=True)
    target_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    source: Mapped[str]
    row: Mapped[int]
    spectype: Mapped[SpecType]
    z: Mapped[float]


class PracticeAnswer(Base):
    """A newcomer's verdict on one of them; it is no label."""

    __tablename__ = "practice_answer"
    __table_args__ = (UniqueConstraint("practice_id", "user_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    practice_id: Mapped[int] = mapped_column(ForeignKey("practice.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    at: Mapped[str]
    verdict: Mapped[Verdict] = composite(
        Verdict, *(mapped_column(field.name) for field in fields(Verdict))
    )


_SQLITE_GUARD: Final = """
CREATE TRIGGER {table}_keeps_{what} BEFORE {what} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END
"""
_POSTGRES_FUNCTION: Final = """
CREATE OR REPLACE FUNCTION quasarloop_append_only() RETURNS trigger AS $$
BEGIN RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME; END
$$ LANGUAGE plpgsql
"""
_POSTGRES_GUARD: Final = """
CREATE TRIGGER {table}_keeps BEFORE UPDATE OR DELETE ON {table}
FOR EACH ROW EXECUTE FUNCTION quasarloop_append_only()
"""


def _guard(table: str) -> None:
    """Let the database itself refuse to change or delete rows."""
    target = Base.metadata.tables[table]
    for what in ("UPDATE", "DELETE"):
        _after_create(target, _SQLITE_GUARD.format(table=table, what=what), "sqlite")
    for text in (_POSTGRES_FUNCTION, _POSTGRES_GUARD.format(table=table)):
        _after_create(target, text, "postgresql")


def _after_create(table: Table, text: str, dialect: str) -> None:
    statement = DDL(text)  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", statement.execute_if(dialect=dialect))


for _name in ("label", "decision", "event", "remark", "practice_answer", "ranking"):
    _guard(_name)
