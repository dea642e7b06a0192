"""Sessions, CSRF tokens and roles: what a request must pass before it reaches the campaign."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final

from anyio import CapacityLimiter
from fastapi import Depends, HTTPException, Request, Response
from itsdangerous import BadSignature, URLSafeSerializer

from quasarloop.inspect.database import Database
from quasarloop.inspect.fit_worker import FitWorker
from quasarloop.inspect.people import LOGIN_DAYS, Person, person_of_login
from quasarloop.inspect.repeats import RepeatFinder
from quasarloop.inspect.spectra_files import SpectrumCache, SpectrumFiles

if TYPE_CHECKING:
    from quasarloop.inspect.redrock_models import RedrockModels

__all__ = [
    "Admin",
    "Campaign",
    "InCampaign",
    "Inspector",
    "Looker",
    "Me",
    "Merger",
    "NotLoggedInError",
    "Overseer",
    "Visitor",
    "campaign_of",
    "check_csrf",
    "fresh_visitor",
    "person_of",
    "require",
    "set_cookie",
    "visitor_of",
]

CSRF_HEADER: Final = "X-CSRF-Token"
CSRF_FIELD: Final = "csrf_token"
_SAFE: Final = {"GET", "HEAD", "OPTIONS"}
_DAY_S: Final = 86400
# Spectra read at once: a save in between waits for their threads again and again.
_READING: Final = 2


class NotLoggedInError(Exception):
    """A request without a valid session; pages lead to the login, the API answers 401."""


@dataclass(frozen=True)
class Campaign:
    """What every request needs.

    Attributes:
        database: labels and people.
        files: where spectra are.
        spectra: the same as the browser gets them, recent ones remembered.
        fits: fits templates to them.
        models: draws redrock's fits; None without its templates.
        repeats: finds other spectra of an object.
        secret: signs cookies and CSRF tokens.
        reading: how many spectra are read at once.
    """

    database: Database
    files: SpectrumFiles
    spectra: SpectrumCache
    fits: FitWorker
    models: "RedrockModels | None"
    repeats: RepeatFinder
    secret: str
    reading: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_READING))

    @property
    def cookie_name(self) -> str:
        """Its own for each campaign: ports of one machine share their cookies."""
        return "quasarloop_" + hashlib.sha256(self.secret.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Visitor:
    """A browser: with a random name of its own, and a session key once logged in."""

    name: str
    key: str = ""

    def csrf(self, secret: str) -> str:
        """The token that this browser's changes must carry."""
        message = f"csrf|{self.name}|{self.key}".encode()
        return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def campaign_of(request: Request) -> Campaign:
    """Return the campaign this server serves."""
    campaign: Campaign = request.app.state.campaign
    return campaign


def visitor_of(request: Request) -> Visitor:
    """Return the visitor of the signed cookie; a new one without a cookie or with a forged one."""
    campaign = campaign_of(request)
    try:
        name, key = _serializer(campaign).loads(request.cookies.get(campaign.cookie_name, ""))
        return Visitor(str(name), str(key))
    except (BadSignature, ValueError, TypeError):
        return fresh_visitor()


def fresh_visitor(key: str = "") -> Visitor:
    """Return a visitor with a name nobody had before."""
    return Visitor(secrets.token_urlsafe(16), key)


def set_cookie(request: Request, response: Response, visitor: Visitor) -> None:
    """Remember a visitor: signed, unreadable to scripts, not sent along from other sites."""
    campaign = campaign_of(request)
    response.set_cookie(
        campaign.cookie_name,
        _serializer(campaign).dumps([visitor.name, visitor.key]),
        max_age=LOGIN_DAYS * _DAY_S,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


async def check_csrf(request: Request) -> None:
    """Refuse every change that does not carry its browser's own token.

    Raises:
        HTTPException: 403.
    """
    if request.method in _SAFE:
        return
    given = request.headers.get(CSRF_HEADER, "")
    kind = request.headers.get("content-type", "")
    if not given and kind.startswith("application/x-www-form-urlencoded"):
        given = str((await request.form()).get(CSRF_FIELD, ""))
    expected = visitor_of(request).csrf(campaign_of(request).secret)
    if not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
        raise HTTPException(403, "this page is out of date: reload it and try again")


def person_of(request: Request) -> Person:
    """Return the person logged in.

    Raises:
        NotLoggedInError: nobody.
    """
    key = visitor_of(request).key
    if key:
        with campaign_of(request).database.read() as session:
            person = person_of_login(session, key)
        if person is not None:
            return person
    raise NotLoggedInError


def require(*roles: str) -> Callable[[Person], Person]:
    """Return a dependency that lets only these roles through (403 for others)."""

    def check(person: Annotated[Person, Depends(person_of)]) -> Person:
        if not {*roles} & {*person.roles}:
            raise HTTPException(403, f"this is for the role {' or '.join(roles)}")
        return person

    return check


# What routes declare as parameters.
InCampaign = Annotated[Campaign, Depends(campaign_of)]
Me = Annotated[Person, Depends(person_of)]
Admin = Annotated[Person, Depends(require("admin"))]
Inspector = Annotated[Person, Depends(require("inspector"))]
Merger = Annotated[Person, Depends(require("merger"))]
Looker = Annotated[Person, Depends(require("inspector", "merger"))]
Overseer = Annotated[Person, Depends(require("merger", "admin"))]


def _serializer(campaign: Campaign) -> URLSafeSerializer:
    return URLSafeSerializer(campaign.secret, salt="quasarloop-session")
