"""The edge of the command line: whatever ends a command becomes one line and an exit status."""

import errno
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from quasarloop.artefacts import versions
from quasarloop.cli.common import print_error
from quasarloop.errors import QuasarloopError

__all__ = ["guard"]

_INTERRUPTED: Final = 130  # as typer ends a command on Ctrl+C: 128 and SIGINT
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
# What libraries write of a full disk where they do not give its errno.
_FULL_WORDS: Final = re.compile(r"No space left on device|disk is full|Disk quota exceeded")
_NO_MEMORY: Final = re.compile(r"can't allocate memory|not enough memory|out of memory", re.I)


@contextmanager
def guard() -> Iterator[None]:
    """Run a command; print what ends it badly as one line on stderr, and set the exit status.

    An error of a kind that nobody expected also gets a report with its traceback, whose path is
    printed.

    Raises:
        SystemExit: always after an error, with a status other than 0.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # a closed pipe or a full disk is noticed here, not after the end
    except BaseException as exc:  # noqa: BLE001 -- panics of polars are no Exceptions
        message, status = _ending(exc)
        if message:
            print_error("error:", message)
            _drop_stdout()
        raise SystemExit(status) from None


def _ending(exc: BaseException) -> tuple[str, int]:
    """Return the line to print, empty for none, and the exit status."""
    status = exc.code if isinstance(exc, SystemExit) else 1
    if isinstance(exc, KeyboardInterrupt) or status == _INTERRUPTED:
        line = "stopped by Ctrl+C; nothing is half-written, and the command can be run again"
        return line, _INTERRUPTED
    if any(isinstance(cause, BrokenPipeError) for cause in _causes(exc)):
        return "the program that read the output closed it; the rest was not printed", 1
    if isinstance(exc, SystemExit):
        return "", status if isinstance(status, int) else int(status is not None)
    return _line(exc), 1


def _line(exc: BaseException) -> str:
    causes = _causes(exc)
    full = any(c.errno in _FULL for c in causes if isinstance(c, OSError))
    if isinstance(exc, QuasarloopError):
        line = str(exc)
    elif full or any(_FULL_WORDS.search(str(c)) for c in causes):
        line = f"the disk is full ({_short(exc)}); free some space and run the command again"
    elif any(isinstance(c, MemoryError) or _NO_MEMORY.search(str(c)) for c in causes):
        line = f"not enough memory ({_short(exc)}); use fewer --workers or smaller files"
    elif isinstance(exc, PermissionError) and exc.filename:
        line = f"{exc.filename}: no permission; change its owner or mode, or use another place"
    elif isinstance(exc, OSError) and exc.filename:
        line = f"{exc.filename}: {exc.strerror}; check this file and run the command again"
    else:
        line = f"unexpected {_short(exc)}; {_report(exc)}"
    return line


def _causes(exc: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while exc is not None and exc not in found:
        found.append(exc)
        exc = exc.__cause__ or exc.__context__
    return found


def _short(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {' '.join(str(exc).split())}"[:300]


def _report(exc: BaseException) -> str:
    """Write the traceback to a file of its own and return where."""
    arguments = re.sub(r"://[^@\s]*@", "://…@", " ".join(sys.argv))  # passwords of databases
    content = [arguments, *(f"{name} {number}" for name, number in versions().items()), ""]
    text = "\n".join(content) + "\n" + "".join(traceback.format_exception(exc))
    try:
        handle, name = tempfile.mkstemp(prefix="quasarloop-report-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
    except OSError as problem:
        return f"its report could not be written ({problem})"
    return f"please send the report {name} to the developers"


def _drop_stdout() -> None:
    """Let the interpreter end without another error where stdout is closed or full."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
