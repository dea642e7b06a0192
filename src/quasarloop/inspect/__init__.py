"""The inspection page: spectra, verdicts, merging, and the campaign's database."""

import importlib.util
import socket
from typing import Final

from quasarloop.errors import InspectionError

__all__ = ["ADDRESS", "HOST", "LIVE_AFTER", "PORT", "listen", "require_extra"]

# Where the page is served unless the command names another place.
HOST: Final = "127.0.0.1"
PORT: Final = 8765
ADDRESS: Final = f"http://{HOST}:{PORT}"
# Merged labels between two rankings of the live queue. Source: our choice; docs/measurements/
# label_saving.md compares lots of 25 with longer ones.
LIVE_AFTER: Final = 25

_NEEDED: Final = (
    "argon2",
    "bokeh",
    "fastapi",
    "itsdangerous",
    "jinja2",
    "multipart",
    "sqlalchemy",
    "uvicorn",
)


# Connections that wait for a server that is still starting: more than people inspect at once.
_WAITING: Final = 2048


def listen(host: str, port: int) -> socket.socket:
    """Take the port, before anything large is loaded: whoever connects meanwhile waits.

    Raises:
        InspectionError: somebody else has it, or there is no such address here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_WAITING)
    except OSError as exc:
        raise InspectionError(
            f"the page cannot be served at {host}:{port} ({exc.strerror}); "
            "give another --host or --port"
        ) from exc
    # Its connections inherit it; asyncio sets it for those of its own making alone, and 40 ms pass
    # before the second part of an answer without.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def require_extra() -> None:
    """Check that the packages of the ``inspect`` extra are here.

    Raises:
        InspectionError: names those that are not.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InspectionError(
            f"not installed: {', '.join(missing)}; install them with "
            "`pip install 'quasarloop[inspect]'`"
        )
