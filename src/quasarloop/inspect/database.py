"""Opening the campaign's database, and transactions on it."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any, Final

import sqlalchemy as sa
from pydantic_core import to_json
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session

from quasarloop.errors import InspectionError, reading
from quasarloop.inspect.tables import Base, Setting
from quasarloop.labels.rule import PER_OBJECT

__all__ = [
    "BLINDNESS",
    "Database",
    "UnusableDatabaseError",
    "now",
    "open_database",
    "set_setting",
    "setting",
    "utc_after",
]

# Bump when tables change in a way that older data do not fit.
SCHEMA_VERSION: Final = "1"
# When inspectors may see predictions.
BLINDNESS: Final = {
    "open": "at once",
    "ask": "on request, or after the first verdict",
    "verdict": "only after the first verdict",
}
_BUSY_SECONDS: Final = 30
_RESTORE: Final = "give the database that quasarloop inspect made, or restore it from a copy"
_POOL: Final = 20
_OURS_ALONE: Final = 0o600
# Tables that campaigns of earlier versions have not; they are made when one is opened.
_LATER: Final = {"remark", "practice", "practice_answer", "ranking"}


class UnusableDatabaseError(InspectionError):
    """The database itself failed: locked, full, gone or damaged; the request may be all right."""


class Database:
    """A campaign's database: short transactions, for reading or for writing."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._writing = engine.execution_options(quasarloop_writes=True)
        self._reading = engine
        # One writer at a time; waiting for it in SQLite is sleeping, 0.1 s each time in the end.
        self._turn: AbstractContextManager[Any] = (
            Lock() if engine.dialect.name == "sqlite" else nullcontext()
        )
        if engine.dialect.name == "postgresql":  # SQLite readers see one state anyhow
            self._reading = engine.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session to read with; it sees one state of the database."""
        with self._named(), Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a session whose changes are kept, on disk, once the block ends well."""
        with (
            self._turn,
            self._named(),
            Session(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def closing(self, *, write: bool = False) -> Iterator[Session]:
        """Give one session, then close the database; every error names it."""
        try:
            with (
                reading(self.name, "the database of a campaign", _RESTORE, InspectionError),
                self.write() if write else self.read() as session,
            ):
                yield session
        finally:
            self.close()

    @property
    def name(self) -> str:
        """Its URL without a password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn errors of the database into ours, without the SQL."""
        try:
            yield
        except (SQLAlchemyError, json.JSONDecodeError, UnicodeDecodeError) as exc:
            reason = str(getattr(exc, "orig", None) or exc).splitlines()[0]
            full = "disk is full" in reason or "No space left" in reason
            remedy = "free some space and run the command again" if full else _RESTORE
            raise UnusableDatabaseError(
                f"database {self.name} cannot be used ({reason}); {remedy}"
            ) from exc

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open a campaign's database, creating its tables where there are none.

    Args:
        url: ``sqlite:///labels.db`` or ``postgresql+psycopg://user@host/name``.

    Raises:
        InspectionError: a URL of another kind, a driver that is not installed, no connection,
            or tables of another version.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise InspectionError(f"database {url}: expected sqlite:///… or postgresql+psycopg://…")
        engine = _engine(parsed)
    except (ArgumentError, NoSuchModuleError, ImportError) as exc:
        raise InspectionError(
            f"database {url}: {exc}; expected sqlite:///labels.db or postgresql+psycopg://… "
            "(which needs the package psycopg)"
        ) from exc
    database = Database(engine)
    try:
        _create(database)
    except BaseException:
        database.close()
        raise
    _close_to_others(engine)
    return database


def setting(session: Session, key: str) -> str:
    """Return a campaign setting.

    Raises:
        InspectionError: no such setting.
    """
    row = session.get(Setting, key)
    if row is None:
        raise InspectionError(f"the campaign has no setting {key!r}; was this database made by us?")
    return row.value


def set_setting(session: Session, key: str, value: str) -> None:
    """Set a campaign setting."""
    session.merge(Setting(key=key, value=value))


def now() -> str:
    """Return the time in UTC as ISO 8601 text with milliseconds."""
    return utc_after()


def utc_after(**span: float) -> str:
    """Return the time some days, hours, minutes, … from now, like `now`."""
    return (datetime.now(UTC) + timedelta(**span)).isoformat(timespec="milliseconds")


def _engine(url: sa.URL) -> sa.Engine:
    options: dict[str, Any] = {
        "pool_size": _POOL,
        "max_overflow": _POOL,
        "json_serializer": lambda value: to_json(value).decode(),  # a quarter of json's time
    }
    if url.get_backend_name() == "postgresql":
        return sa.create_engine(url, pool_pre_ping=True, **options)
    if url.database and not Path(url.database).exists():
        # SQLite would make it, and its journals, as the umask has it: readable by everybody.
        with suppress(OSError):
            os.close(os.open(url.database, os.O_CREAT | os.O_RDWR, _OURS_ALONE))
    engine = sa.create_engine(
        url,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        poolclass=sa.QueuePool,
        **options,
    )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _close_to_others(engine: sa.Engine) -> None:
    """Let nobody else read labels, sessions and names, in a file of an older version either."""
    path = engine.url.database
    if engine.dialect.name != "sqlite" or not path:
        return
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(OSError):  # not there, or somebody else's
            Path(name).chmod(_OURS_ALONE)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours, below
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes the write lock at once and waits for it; one that began as a reader would
    # fail without waiting if another writer came between.
    writes = connection.get_execution_options().get("quasarloop_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _create(database: Database) -> None:
    with database.write() as session:
        if session.connection().dialect.name == "postgresql":
            # Two servers started at once would both create the tables.
            session.execute(sa.text("SELECT pg_advisory_xact_lock(20260)"))
        _add_new_columns(session.connection())
        _check_tables(database, session.connection())
        Base.metadata.create_all(session.connection())
        found = session.get(Setting, "schema")
        if found is None:
            defaults = {
                "schema": SCHEMA_VERSION,
                "secret": secrets.token_urlsafe(32),
                "blind": "ask",
                "per_object": str(PER_OBJECT),
                "title": "quasarloop",
            }
            session.add_all(Setting(key=key, value=value) for key, value in defaults.items())
        elif found.value != SCHEMA_VERSION:
            raise InspectionError(
                f"this database has tables of version {found.value}, and this program expects "
                f"{SCHEMA_VERSION}; export its labels with the program that wrote it"
            )


def _add_new_columns(connection: sa.Connection) -> None:
    """Give a campaign of an older version the columns that may be empty; labels stay."""
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    if not there.issuperset({"label", "setting"}):
        return
    for name, table in Base.metadata.tables.items():
        if name not in there:
            continue
        known = {found["name"] for found in inspector.get_columns(name)}
        for column in table.columns:
            if column.nullable and column.name not in known:
                kind = column.type.compile(connection.dialect)
                connection.execute(sa.text(f"ALTER TABLE {name} ADD COLUMN {column.name} {kind}"))


def _check_tables(database: Database, connection: sa.Connection) -> None:
    """Refuse a database of somebody else's before anything is written into it."""
    inspector = sa.inspect(connection)
    there, ours = set(inspector.get_table_names()), Base.metadata.tables
    lacking = [
        f"{name}.{column.name}"
        for name in sorted(there.intersection(ours))
        for column in ours[name].columns
        if column.name not in {found["name"] for found in inspector.get_columns(name)}
    ]
    # A PostgreSQL database may be shared with tables of others, a SQLite file is ours alone.
    others = there if database.engine.dialect.name == "sqlite" else there.intersection(ours)
    if lacking or (others and not there.issuperset({*ours} - _LATER)):
        what = f"lacks {', '.join(lacking[:5])}" if lacking else "has not the tables of a campaign"
        raise InspectionError(
            f"database {database.name} {what} (found: {', '.join(sorted(there)) or 'none'}); "
            f"{_RESTORE}"
        )
