"""The inspection server: routes, error answers, headers; a campaign filled, its page served."""

import importlib.util
import json
import logging
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import sqlalchemy as sa
import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from sqlalchemy.orm import Session
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quasarloop import __version__
from quasarloop.errors import InspectionError, QuasarloopError
from quasarloop.inspect import ADDRESS, admin_api, inspect_api, merge_api, practice
from quasarloop.inspect.campaign import add_redrock, balance, find_missing, load_worklist
from quasarloop.inspect.database import (
    BLINDNESS,
    Database,
    UnusableDatabaseError,
    set_setting,
    setting,
)
from quasarloop.inspect.fit_worker import FitWorker
from quasarloop.inspect.ledger import StaleError
from quasarloop.inspect.live import LiveQueue
from quasarloop.inspect.pages import make_router
from quasarloop.inspect.people import ROLE_SETS, invite, link
from quasarloop.inspect.questions import MAX_QUESTION
from quasarloop.inspect.repeats import RepeatFinder
from quasarloop.inspect.security import Campaign, NotLoggedInError, check_csrf
from quasarloop.inspect.spectra_files import SpectrumCache, SpectrumFiles
from quasarloop.inspect.tables import Item, Setting, User
from quasarloop.inspect.worklist import read_worklist
from quasarloop.labels.merge import MAX_Z_RANGE
from quasarloop.labels.rule import RULE_PATTERN, InspectionRule
from quasarloop.labels.verdict import verdict_definition, verdict_json
from quasarloop.truth import TruthTable

__all__ = [
    "create_app",
    "first_admin",
    "prepare",
    "serve",
]

_LOG: Final = logging.getLogger(__name__)
_HERE: Final = Path(__file__).parent
# Everything the browser runs or draws comes from this server; nothing from the internet.
# Bokeh writes style elements, hence 'unsafe-inline' for styles only.
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}
# Measured on a saturated machine (studies/inspect_load.py): with 40 threads, the default, the
# slowest saves take four times as long as with 8, with 4 threads no less.
_THREADS: Final = 8
# So that a save, which needs Python's lock a dozen times, does not wait for 5 ms each time.
_SWITCH_S: Final = 1e-3
_HSTS_S: Final = 365 * 86400
_MAX_BODY_BYTES: Final = 64 * 1024


def create_app(
    database: Database,
    files: SpectrumFiles,
    templates: Path | None = None,
    live: LiveQueue | None = None,
) -> FastAPI:
    """Return the web application of one campaign.

    Args:
        database: opened with `database.open_database`.
        files: where spectra are.
        templates: folder of redrock's templates, to draw its fits.
        live: ranks objects anew while the page is served.
    """
    with database.read() as session:
        secret = setting(session, "secret")
    models = None
    if templates is not None:
        from quasarloop.inspect.redrock_models import RedrockModels  # noqa: PLC0415 -- scipy

        models = RedrockModels(templates)
    campaign = Campaign(
        *(database, files, SpectrumCache(files), FitWorker(files), models),
        RepeatFinder(files, database),
        secret,
    )
    # No /docs: its scripts would come from the internet, and strangers need no map.
    app = FastAPI(
        title="quasarloop inspection",
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(check_csrf)],
    )
    app.state.campaign, app.state.live = campaign, live
    for router in (inspect_api.router, merge_api.router, admin_api.router, practice.router):
        app.include_router(router)
    app.include_router(make_router(_templates()))
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    app.mount("/bokeh", StaticFiles(directory=_bokeh_folder()), name="bokeh")
    app.add_middleware(_Guard)
    _answer_errors(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Handle few requests at once: more threads only take Python's lock from one another."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
    sys.setswitchinterval(_SWITCH_S)
    workers = [work for work in (app.state.campaign.fits, app.state.live) if work is not None]
    for work in workers:
        work.start()
    yield
    for work in workers:
        work.close()


@cache
def _templates() -> Jinja2Templates:
    templates = Jinja2Templates(_HERE / "templates")
    templates.env.globals.update(
        definition=verdict_definition(),
        blindness=BLINDNESS,
        roles=ROLE_SETS,
        max_question=MAX_QUESTION,
        rule_pattern=RULE_PATTERN,
        max_z_range=MAX_Z_RANGE,
    )
    return templates


class _Guard:
    """Refuse large bodies; add headers that keep other sites and caches out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        extra = dict(_HEADERS)
        # Our scripts are loaded anew each time: half of an old version would break the page.
        if scope["scheme"] == "https":  # a proxy's TLS, where --proxy names the proxy
            extra["Strict-Transport-Security"] = f"max-age={_HSTS_S}"
        public = scope["path"].startswith(("/static", "/bokeh"))
        extra["Cache-Control"] = "no-cache" if public else "no-store"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(extra)
            await send(message)

        app = self.app
        if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
            app = JSONResponse({"detail": "too much at once"}, 413)
        elif "transfer-encoding" in headers:
            app = JSONResponse({"detail": "the length of the body is missing"}, 411)
        await app(scope, receive, send_with_headers)


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(NotLoggedInError)
    async def not_logged_in(request: Request, _exc: Exception) -> Response:
        if request.url.path.startswith("/api/"):
            return JSONResponse({"detail": "log in first"}, 401)
        return RedirectResponse("/login", status_code=303)

    @app.exception_handler(StaleError)
    async def stale(_request: Request, exc: StaleError) -> Response:
        answer: dict[str, Any] = {"detail": str(exc), "version": exc.version}
        return JSONResponse({**answer, "verdict": verdict_json(exc.verdict)}, 409)

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, exc: RequestValidationError) -> Response:
        # FastAPI's own answer repeats the input, which JSON may not be able to hold (NaN).
        return _refusal("; ".join(map(_what_is_wrong, exc.errors())))

    @app.exception_handler(InspectionError)
    async def refused(_request: Request, exc: InspectionError) -> Response:
        return _refusal(str(exc))

    # What names files and databases goes into the log, not to the page.
    @app.exception_handler(UnusableDatabaseError)
    async def unusable(_request: Request, exc: UnusableDatabaseError) -> Response:
        _LOG.error("%s", exc)
        return _refusal("the database cannot be used now; the server's log has the reason", 503)

    @app.exception_handler(QuasarloopError)
    async def failed(_request: Request, exc: QuasarloopError) -> Response:
        _LOG.error("%s", exc)
        return _refusal("this failed; the server's log has the reason")


def _what_is_wrong(error: Any) -> str:
    return f"{'.'.join(str(part) for part in error['loc'][1:])}: {error['msg']}"


def _refusal(message: str, status: int = 422) -> JSONResponse:
    # Lone surrogates, which no encoding has, become escapes.
    return JSONResponse({"detail": message.encode("utf-8", "backslashreplace").decode()}, status)


def _bokeh_folder() -> Path:
    """Where the installed Bokeh keeps its JavaScript (without importing Bokeh)."""
    found = importlib.util.find_spec("bokeh")
    if found is None or found.origin is None:
        raise InspectionError("Bokeh is not installed; install quasarloop[inspect]")
    return Path(found.origin).parent / "server" / "static" / "js"


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
    links: Sequence[str] = (),
    address: str = ADDRESS,
    rule: InspectionRule | None = None,
    known: TruthTable | None = None,
) -> None:
    """Load a worklist into the campaign and share it out among its inspectors.

    A `rule` takes the place of the inspectors per object, unless it is the one that was given
    last: what people have set since then stays. `known` are labels to practise on.

    Raises:
        InspectionError: a bad worklist, or none at all in a new campaign; a bad link or address.
    """
    if not address.startswith(("https://", "http://")):
        raise InspectionError(f"address {address!r}: expected one with https:// or http://")
    named = dict(_link(text) for text in links)
    entries = read_worklist(worklist) if worklist is not None else []
    fits: dict[int, list[dict[str, Any]]] = {}
    if redrock:
        from quasarloop.inspect.redrock_models import read_redrock  # noqa: PLC0415 -- scipy

        fits = read_redrock(redrock)
    with database.write() as session:
        set_setting(session, "address", address)
        if rule is not None:
            _take_rule(session, rule)
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
        if named:
            set_setting(session, "links", json.dumps(named))
        session.flush()
        if known is not None:
            n = practice.load_practice(session, known, files)
            _LOG.info("%d objects new in the practice set", n)
        balance(session)


def _take_rule(session: Session, rule: InspectionRule) -> None:
    given = session.get(Setting, "given_rule")
    if given is None or given.value != str(rule):
        set_setting(session, "per_object", str(rule))
        set_setting(session, "given_rule", str(rule))
    set_setting(session, "seed", str(rule.seed))


def _link(text: str) -> tuple[str, str]:
    name, _, address = text.partition("=")
    if not name or not address.startswith(("https://", "http://")):
        raise InspectionError(
            f"link {text!r}: expected NAME=ADDRESS, the address with https:// and {{ra}}, {{dec}}"
        )
    return name, address


def first_admin(database: Database) -> str | None:
    """Return the link of an invitation for the first admin, None once there is one."""
    with database.write() as session:
        known = sa.select(User.id).where(
            User.role.contains("admin"), User.password_hash.is_not(None)
        )
        if session.scalar(known.limit(1)) is not None:
            return None
        return link(session, invite(session, FIRST_ADMIN, "admin"))


def serve(
    database: Database,
    files: SpectrumFiles,
    listener: socket.socket,
    *,
    templates: Path | None = None,
    proxies: Sequence[str] = (),
    live: LiveQueue | None = None,
) -> None:
    """Serve the page until interrupted.

    Args:
        database: as in `create_app`.
        files: where spectra are.
        listener: from `quasarloop.inspect.listen`.
        templates: folder of redrock's templates.
        proxies: addresses or networks of web servers whose X-Forwarded-For and
            X-Forwarded-Proto are believed; anybody else could invent an address.
        live: as in `create_app`.
    """
    config = uvicorn.Config(
        create_app(database, files, templates, live),
        log_level="warning",
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
