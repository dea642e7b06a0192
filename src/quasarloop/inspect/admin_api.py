"""Routes of the admin: people, invitations, assignments, settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Path

from quasarloop.errors import InspectionError
from quasarloop.inspect.campaign import progress, share_out
from quasarloop.inspect.database import now, set_setting, setting
from quasarloop.inspect.people import (
    invite,
    link,
    open_invites,
    reset_password,
    revoke,
    set_active,
    set_role,
)
from quasarloop.inspect.practice import scores
from quasarloop.inspect.security import Admin, InCampaign
from quasarloop.inspect.shapes import InviteIn, PersonIn, SettingsIn
from quasarloop.inspect.tables import Event, Item, User
from quasarloop.labels.rule import InspectionRule

__all__ = ["SETTINGS", "router"]

router: Final = APIRouter(prefix="/api", tags=["admin"])

UserNumber = Annotated[int, Path(ge=1, lt=2**31)]
SETTINGS: Final = ("title", "blind", "per_object")


@router.get("/people")
def everybody(campaign: InCampaign, _me: Admin) -> dict[str, Any]:
    """Return everybody with their progress, and the campaign's settings."""
    with campaign.database.read() as session:
        users = session.scalars(sa.select(User).order_by(User.role, User.name)).all()
        practised = scores(session)
        people = [
            {
                "id": user.id,
                "name": user.name,
                "role": user.role,
                "active": user.active,
                "joined": user.password_hash is not None,
                **progress(session, user.id).counts,
                "practice": practised.get(user.id),
            }
            for user in users
        ]
        n_objects = session.scalar(sa.select(sa.func.count()).select_from(Item)) or 0
        settings = {key: setting(session, key) for key in SETTINGS}
    return {"people": people, "n_objects": n_objects, "settings": settings}


@router.post("/invites")
def new_invite(given: InviteIn, campaign: InCampaign, me: Admin) -> dict[str, Any]:
    """Make a one-time link for a new person; it is shown once and kept nowhere."""
    with campaign.database.write() as session:
        token = invite(session, given.name, given.role)
        session.add(Event(at=now(), user_id=me.id, kind="invited", detail=given.name))
        return {"name": given.name, "link": link(session, token)}


@router.get("/invites")
def invites(campaign: InCampaign, _me: Admin) -> dict[str, Any]:
    """Return the links that somebody may still use, without their tokens."""
    with campaign.database.read() as session:
        found = [
            {
                "id": found.id,
                "name": found.name,
                "role": found.role,
                "expires": found.expires,
                "new_password": found.resets is not None,
            }
            for found in open_invites(session)
        ]
    return {"invites": found}


@router.delete("/invites/{invite_id}")
def take_back(invite_id: UserNumber, campaign: InCampaign, _me: Admin) -> dict[str, Any]:
    """End a link that nobody used."""
    with campaign.database.write() as session, _known():
        revoke(session, invite_id)
    return {"id": invite_id}


@router.post("/people/{user_id}/reset")
def new_password(user_id: UserNumber, campaign: InCampaign, _me: Admin) -> dict[str, Any]:
    """Make a one-time link with which a person chooses a new password."""
    with campaign.database.write() as session, _known():
        token = reset_password(session, user_id)
        return {"link": link(session, token)}


@router.put("/people/{user_id}")
def change_person(
    user_id: UserNumber, given: PersonIn, campaign: InCampaign, me: Admin
) -> dict[str, Any]:
    """Keep a person out, let them in again or change their role; open work is shared out anew."""
    if user_id == me.id:
        raise HTTPException(409, "you cannot change your own role or access; another admin can")
    with campaign.database.write() as session, _known():
        if given.role is not None:
            set_role(session, user_id, given.role)
        if given.active is not None:
            set_active(session, user_id, active=given.active)
    plan = share_out(campaign.database)
    return {"id": user_id, "moved": len(plan.add)}


@contextmanager
def _known() -> Iterator[None]:
    """Answer 404 for a number that nobody has."""
    try:
        yield
    except InspectionError as exc:
        raise HTTPException(404, str(exc)) from exc


@router.post("/balance")
def assign_anew(campaign: InCampaign, _me: Admin) -> dict[str, Any]:
    """Fit assignments to the present inspectors."""
    plan = share_out(campaign.database)
    return {"added": len(plan.add), "dropped": len(plan.drop), "short": len(plan.short)}


@router.put("/settings")
def change_settings(given: SettingsIn, campaign: InCampaign, me: Admin) -> dict[str, Any]:
    """Change campaign settings; a new number per object is shared out at once."""
    changes = {k: v for k, v in given.model_dump().items() if v is not None}
    if given.per_object is not None:
        InspectionRule.from_text(given.per_object)  # raises what is wrong
    with campaign.database.write() as session:
        for key, value in changes.items():
            set_setting(session, key, value)
            detail = f"{key} = {value}"
            session.add(Event(at=now(), user_id=me.id, kind="setting", detail=detail))
    if "per_object" in changes:
        share_out(campaign.database)
    with campaign.database.read() as session:
        return {key: setting(session, key) for key in SETTINGS}
