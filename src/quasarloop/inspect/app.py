"""The inspection server: routes, error answers, headers, files for the browser."""

import importlib.util
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from quasarloop import __version__
from quasarloop.errors import InspectionError, QuasarloopError
from quasarloop.inspect import admin_api, inspect_api, merge_api
from quasarloop.inspect.database import Database, setting
from quasarloop.inspect.ledger import StaleError
from quasarloop.inspect.pages import make_router
from quasarloop.inspect.security import Campaign, NotLoggedInError, check_csrf
from quasarloop.inspect.shapes import verdict_out
from quasarloop.inspect.spectra_files import SpectrumFiles
from quasarloop.inspect.verdict import ISSUES, MAX_COMMENT, QUALITIES

__all__ = ["create_app"]

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
_MAX_BODY_BYTES: Final = 64 * 1024


def create_app(database: Database, files: SpectrumFiles) -> FastAPI:
    """Return the web application of one campaign.

    Args:
        database: opened with `database.open_database`.
        files: where spectra are.
    """
    with database.read() as session:
        campaign = Campaign(database, files, setting(session, "secret"))
    # No /docs: its scripts would come from the internet, and strangers need no map.
    app = FastAPI(
        title="quasarloop inspection",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(check_csrf)],
    )
    app.state.campaign = campaign
    for router in (inspect_api.router, merge_api.router, admin_api.router):
        app.include_router(router)
    app.include_router(make_router(_templates()))
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    app.mount("/bokeh", StaticFiles(directory=_bokeh_folder()), name="bokeh")
    app.middleware("http")(_guard)
    _answer_errors(app)
    return app


@cache
def _templates() -> Jinja2Templates:
    templates = Jinja2Templates(_HERE / "templates")
    templates.env.globals.update(qualities=QUALITIES, issues=ISSUES, max_comment=MAX_COMMENT)
    return templates


async def _guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse large bodies; add headers that keep other sites and caches out."""
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
        return JSONResponse({"detail": "too much at once"}, 413)
    if "transfer-encoding" in request.headers:
        return JSONResponse({"detail": "say how long the body is"}, 411)
    response = await call_next(request)
    response.headers.update(_HEADERS)
    if not request.url.path.startswith(("/static", "/bokeh")):
        response.headers["Cache-Control"] = "no-store"
    return response


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(NotLoggedInError)
    async def not_logged_in(request: Request, _exc: Exception) -> Response:
        if request.url.path.startswith("/api/"):
            return JSONResponse({"detail": "log in first"}, 401)
        return RedirectResponse("/login", status_code=303)

    @app.exception_handler(StaleError)
    async def stale(_request: Request, exc: StaleError) -> Response:
        answer: dict[str, Any] = {"detail": str(exc), "version": exc.version}
        return JSONResponse({**answer, "verdict": verdict_out(exc.verdict)}, 409)

    @app.exception_handler(InspectionError)
    async def refused(_request: Request, exc: InspectionError) -> Response:
        return JSONResponse({"detail": str(exc)}, 422)

    @app.exception_handler(QuasarloopError)
    async def failed(_request: Request, exc: QuasarloopError) -> Response:
        return JSONResponse({"detail": str(exc)}, 422)


def _bokeh_folder() -> Path:
    """Where the installed Bokeh keeps its JavaScript (without importing Bokeh)."""
    found = importlib.util.find_spec("bokeh")
    if found is None or found.origin is None:
        raise InspectionError("Bokeh is not installed; install quasarloop[inspect]")
    return Path(found.origin).parent / "server" / "static" / "js"
