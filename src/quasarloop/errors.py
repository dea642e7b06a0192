"""Every exception quasarloop raises on purpose, as one tree.

A message contains what was found, what was expected and what to do; the original exception is
kept as the cause (``raise ... from exc``).
"""

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "CampaignError",
    "DataFormatError",
    "GridError",
    "InspectionError",
    "OutputError",
    "QuasarloopError",
    "RedrockError",
    "SelectionError",
    "TaskError",
    "TruthError",
    "WeightsError",
    "check_regular",
    "naming",
    "reading",
]


class QuasarloopError(Exception):
    """Base of all errors of this package: catch this one to catch them all."""


class DataFormatError(QuasarloopError):
    """A spectrum file, catalogue or store is not what its format promises."""


class GridError(QuasarloopError):
    """A wavelength grid is not uniform, or two grids that must agree do not."""


class WeightsError(QuasarloopError):
    """A weights file or ensemble is incomplete, ambiguous or of another kind."""


class TruthError(QuasarloopError):
    """A truth table has wrong columns, impossible values or clashing rows."""


class SelectionError(QuasarloopError):
    """Votes, map and truth do not fit together, or nothing is left to choose."""


class InspectionError(QuasarloopError):
    """A worklist, label or inspector is not what was requested."""


class CampaignError(QuasarloopError):
    """A campaign folder is stale, inconsistent or misconfigured."""


class RedrockError(QuasarloopError):
    """Redrock or its templates are missing, or a run of redrock failed."""


class TaskError(QuasarloopError):
    """A task of the engine failed for good; the message names the task."""


class OutputError(QuasarloopError):
    """A result cannot be written: folder missing, not writable, file exists, disk full."""


def check_regular(path: str | Path) -> Path:
    """Check that an input is a file: reading a pipe or a device waits for ever.

    Raises:
        OSError: missing, or no file; then with what to do.
    """
    file = Path(path)
    mode = file.stat().st_mode
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, "a folder, not a file; give one of its files")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a pipe or a device, not a file; save what it gives as a file")
    return file


@contextmanager
def naming(error: type[QuasarloopError], *paths: str | Path) -> Iterator[None]:
    """Put names of files, or a database's URL, before errors of a kind that name none of them."""
    try:
        yield
    except error as exc:
        if not paths or any(Path(path).name in str(exc) for path in paths):
            raise
        raise type(exc)(f"{' and '.join(map(str, paths))}: {exc}") from exc


@contextmanager
def reading(
    path: str | Path, kind: str, remedy: str, error: type[QuasarloopError] = DataFormatError
) -> Iterator[None]:
    """Name a file in whatever is raised while it is read: damage has no end of kinds.

    Args:
        path: the file.
        kind: what it should be, e.g. ``"a shard"``.
        remedy: what to do about it.
        error: what an exception of others becomes; ours keep their kind.

    Raises:
        QuasarloopError: with the file's name, what was found and the remedy.
    """
    try:
        if Path(path).exists():
            check_regular(path)
    except OSError as exc:
        raise error(f"{path}: {exc.strerror}") from exc
    try:
        with naming(QuasarloopError, path):
            yield
    except QuasarloopError:
        raise
    except BaseException as exc:
        # Polars panics on some damaged files, which is no Exception.
        if not isinstance(exc, Exception) and type(exc).__name__ != "PanicException":
            raise
        found = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        found = " ".join(found.split())[:200] or type(exc).__name__
        found = f"{found} is missing" if isinstance(exc, KeyError) else found
        raise error(f"{path}: cannot be read as {kind} ({found}); {remedy}") from exc
