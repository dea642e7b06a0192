"""Starting an inspection campaign: its database filled, its page served."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import sqlalchemy as sa
import uvicorn

from quasarloop.errors import InspectionError
from quasarloop.inspect.app import create_app
from quasarloop.inspect.campaign import add_redrock, balance, find_missing, load_worklist
from quasarloop.inspect.database import Database
from quasarloop.inspect.people import invite
from quasarloop.inspect.redrock import read_redrock
from quasarloop.inspect.spectra_files import SpectrumFiles
from quasarloop.inspect.tables import Item, User
from quasarloop.inspect.worklist import read_worklist

__all__ = ["first_admin", "prepare", "serve"]

_LOG: Final = logging.getLogger(__name__)
FIRST_ADMIN: Final = "admin"
# Longer than anybody looks at one spectrum: a connection closed at the moment of a save costs a
# second try.
_KEEP_ALIVE_S: Final = 120


def prepare(
    database: Database,
    files: SpectrumFiles,
    *,
    worklist: Path | None = None,
    redrock: Sequence[Path] = (),
) -> None:
    """Load a worklist into the campaign and share it out among those who are here.

    Raises:
        InspectionError: a bad worklist, or none at all in a new campaign.
    """
    entries = read_worklist(worklist) if worklist is not None else []
    fits = read_redrock(redrock)
    with database.write() as session:
        if entries:
            done = load_worklist(session, entries, files)
            _LOG.info(
                "%d objects new, %d known, %d without a spectrum",
                done.added,
                done.known,
                done.without_spectrum,
            )
        find_missing(session, files)
        if not session.scalar(sa.select(sa.func.count()).select_from(Item)):
            raise InspectionError("this campaign has no objects yet; give a --worklist")
        if fits:
            _LOG.info("redrock's fits of %d objects", add_redrock(session, fits))
        session.flush()
        balance(session)


def first_admin(database: Database) -> str | None:
    """Return an invitation for the first admin, None once there is one."""
    with database.write() as session:
        known = sa.select(User.id).where(User.role == "admin", User.password_hash.is_not(None))
        if session.scalar(known.limit(1)) is not None:
            return None
        return invite(session, FIRST_ADMIN, "admin")


def serve(database: Database, files: SpectrumFiles, *, host: str, port: int) -> None:
    """Serve the page until interrupted."""
    app = create_app(database, files)
    try:
        uvicorn.run(
            app,
            host=host,
            port=port,
            log_level="warning",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
    finally:
        database.close()
