"""The pages themselves: login and joining as plain forms, the rest drawn by scripts."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Final

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates

from quasarloop.errors import InspectionError
from quasarloop.inspect.campaign import share_out
from quasarloop.inspect.database import setting
from quasarloop.inspect.people import (
    MIN_PASSWORD,
    Person,
    end_login,
    join,
    log_in,
    login_wait_s,
    open_invite,
)
from quasarloop.inspect.security import (
    CSRF_FIELD,
    InCampaign,
    Me,
    Visitor,
    campaign_of,
    fresh_visitor,
    require,
    set_cookie,
    visitor_of,
)
from quasarloop.inspect.tables import Practice

__all__ = ["make_router"]

Field = Annotated[str, Form(max_length=500)]
# Where each role starts.
HOME: Final = {"inspector": "/list", "merger": "/merge", "admin": "/people"}
# Path: template, roles, mode of the desk.
_PAGES: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "/list": ("list.html", ("inspector",), ""),
    "/inspect": ("inspect.html", ("inspector",), "inspect"),
    "/practice": ("inspect.html", ("inspector",), "practice"),
    "/merge": ("queue.html", ("merger",), ""),
    "/merge/object": ("inspect.html", ("merger",), "merge"),
    "/statistics": ("statistics.html", ("merger", "admin"), ""),
    "/people": ("people.html", ("admin",), ""),
}


def make_router(templates: Jinja2Templates) -> APIRouter:
    """Return the routes that answer with HTML."""
    router = APIRouter(default_response_class=HTMLResponse, include_in_schema=True, tags=["pages"])
    _add_doors(router, templates)
    _add_rooms(router, templates)
    return router


def _add_doors(router: APIRouter, templates: Jinja2Templates) -> None:
    """Routes for those outside: login, logout, joining."""

    @router.get("/login", name="login_page")
    def login_page(request: Request) -> Response:
        return _outside(request, templates, "login.html")

    @router.post("/login")
    def login(request: Request, campaign: InCampaign, name: Field, password: Field) -> Response:
        address = request.client.host if request.client else "?"
        with campaign.database.write() as session:
            wait_s = math.ceil(login_wait_s(session, name, address))
            if wait_s > 0:
                message = f"Too many failed logins. Wait {wait_s} seconds, then try again."
                response = _outside(request, templates, "login.html", message, status=429)
                response.headers["Retry-After"] = str(wait_s)
                return response
            key = log_in(session, name, password, address)
        if key is None:
            message = "Name and password do not fit together."
            return _outside(request, templates, "login.html", message, status=401)
        return _welcome(request, key)

    @router.post("/logout")
    def logout(request: Request, campaign: InCampaign) -> Response:
        with campaign.database.write() as session:
            end_login(session, visitor_of(request).key)
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(campaign.cookie_name)
        return response

    @router.get("/join/{token}", name="join_page")
    def join_page(request: Request, campaign: InCampaign, token: str) -> Response:
        with campaign.database.read() as session:
            invite = open_invite(session, token)
        if invite is None:
            message = (
                "This link was used, has expired or never existed. An admin can make a new one."
            )
            return _outside(request, templates, "message.html", message, status=404)
        return _outside(
            request,
            templates,
            "join.html",
            name=invite.name,
            role=invite.role.replace(",", " and "),
            resets=invite.resets is not None,
        )

    @router.post("/join/{token}")
    def joined(request: Request, campaign: InCampaign, token: str, password: Field) -> Response:
        address = request.client.host if request.client else "?"
        try:
            with campaign.database.write() as session:
                person = join(session, token, password)
                session.flush()
                key = log_in(session, person.name, password, address)
            if "inspector" in person.roles:
                share_out(campaign.database)
        except InspectionError as exc:
            return _outside(request, templates, "message.html", str(exc), status=409)
        return _welcome(request, key or "")


def _add_rooms(router: APIRouter, templates: Jinja2Templates) -> None:
    """Routes for those inside."""

    @router.get("/")
    def home(me: Me) -> Response:
        return RedirectResponse(HOME[me.roles[0]], status_code=303)

    for path, (template, roles, mode) in _PAGES.items():
        router.get(path)(_page(templates, template, roles, mode))


def _page(
    templates: Jinja2Templates, template: str, roles: tuple[str, ...], mode: str
) -> Callable[..., Response]:
    def page(request: Request, me: Annotated[Person, Depends(require(*roles))]) -> Response:
        return _inside(request, templates, template, me, mode=mode)

    return page


def _welcome(request: Request, key: str) -> Response:
    response = RedirectResponse("/", status_code=303)
    # A new name with every login: a token from before it is worth nothing after it.
    set_cookie(request, response, fresh_visitor(key))
    return response


def _outside(
    request: Request,
    templates: Jinja2Templates,
    page: str,
    message: str = "",
    *,
    status: int = 200,
    **more: Any,
) -> Response:
    visitor = visitor_of(request)
    context = {
        **_context(request, visitor),
        "min_password": MIN_PASSWORD,
        "message": message,
        **more,
    }
    response = templates.TemplateResponse(request, page, context, status_code=status)
    set_cookie(request, response, visitor)
    return response


def _inside(
    request: Request, templates: Jinja2Templates, page: str, me: Person, **more: Any
) -> Response:
    with campaign_of(request).database.read() as session:
        more["practice"] = session.scalar(sa.select(Practice.id).limit(1)) is not None
    context = {**_context(request, visitor_of(request)), "person": me, **more}
    return templates.TemplateResponse(request, page, context)


def _context(request: Request, visitor: Visitor) -> dict[str, Any]:
    campaign = campaign_of(request)
    with campaign.database.read() as session:
        title = setting(session, "title")
    return {"csrf": visitor.csrf(campaign.secret), "csrf_field": CSRF_FIELD, "title": title}
