"""Starting an inspection campaign: its database filled, its page served."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import fitsio
import sqlalchemy as sa
import uvicorn

from quasarloop.errors import InspectionError, check_regular
from quasarloop.inspect.app import create_app
from quasarloop.inspect.campaign import add_redrock, balance, find_missing, load_worklist
from quasarloop.inspect.database import Database
from quasarloop.inspect.people import invite
from quasarloop.inspect.spectra_files import SpectrumFiles
from quasarloop.inspect.tables import Item, User
from quasarloop.inspect.worklist import read_worklist

__all__ = ["first_admin", "prepare", "read_redrock", "serve"]

# Older versions of redrock wrote zbest files.
_HDUS: Final = ("REDSHIFTS", "ZBEST")
_COLUMNS: Final = ("TARGETID", "Z", "ZERR", "ZWARN", "SPECTYPE", "SUBTYPE", "DELTACHI2")


def read_redrock(paths: Iterable[str | Path]) -> dict[int, list[dict[str, Any]]]:
    """Read best fits from redrock files.

    Args:
        paths: ``redrock-*.fits`` or ``zbest-*.fits``; several (another version, a rerun) give
            several fits.

    Returns:
        Per TARGETID its fits, in the files' order, JSON-ready.

    Raises:
        InspectionError: not a redrock file.
    """
    fits: dict[int, list[dict[str, Any]]] = {}
    for path in paths:
        try:
            with fitsio.FITS(str(check_regular(path))) as file:
                version = str(file[0].read_header().get("RRVER", "") or "")
                hdu = next((name for name in _HDUS if name in file), _HDUS[0])
                table = file[hdu].read(columns=list(_COLUMNS))
        except (OSError, ValueError) as exc:
            raise InspectionError(
                f"{path}: no redrock results ({exc}); expected HDU {_HDUS[0]} with "
                f"{', '.join(_COLUMNS)}"
            ) from exc
        for row in table:
            fit = {
                "z": float(row["Z"]),
                "zerr": float(row["ZERR"]),
                "zwarn": int(row["ZWARN"]),
                "spectype": _word(row["SPECTYPE"]),
                "subtype": _word(row["SUBTYPE"]),
                "deltachi2": float(row["DELTACHI2"]),
                "version": version,
            }
            fits.setdefault(int(row["TARGETID"]), []).append(fit)
    return fits


def _word(value: Any) -> str:
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip()


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
    """Load a worklist into the campaign and share it out among its inspectors.

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
