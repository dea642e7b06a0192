"""Routes of the admin: people, invitations, assignments, settings."""

from typing import Annotated, Any, Final

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Path

from quasarloop.errors import InspectionError
from quasarloop.inspect.campaign import progress, share_out
from quasarloop.inspect.database import now, set_setting, setting
from quasarloop.inspect.people import invite, link, set_active
from quasarloop.inspect.security import Admin, InCampaign
from quasarloop.inspect.shapes import InviteIn, PersonIn, SettingsIn
from quasarloop.inspect.tables import Event, Item, User

__all__ = ["SETTINGS", "router"]

router: Final = APIRouter(prefix="/api", tags=["admin"])

UserNumber = Annotated[int, Path(ge=1, lt=2**31)]
SETTINGS: Final = ("title", "blind", "per_object")


@router.get("/people")
def everybody(campaign: InCampaign, _me: Admin) -> dict[str, Any]:
    """Return everybody with their progress, and the campaign's settings."""
    with campaign.database.read() as session:
        users = session.scalars(sa.select(User).order_by(User.role, User.name)).all()
        people = [
            {
                "id": user.id,
                "name": user.name,
                "role": user.role,
                "active": user.active,
                "joined": user.password_hash is not None,
                **progress(session, user.id).counts,
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


@router.put("/people/{user_id}")
def let_in(user_id: UserNumber, given: PersonIn, campaign: InCampaign, me: Admin) -> dict[str, Any]:
    """Keep a person out, or let them in again; open work is shared out anew."""
    if user_id == me.id:
        raise HTTPException(409, "you cannot shut yourself out; another admin can")
    with campaign.database.write() as session:
        try:
            user = set_active(session, user_id, active=given.active)
        except InspectionError as exc:
            raise HTTPException(404, str(exc)) from exc
    plan = share_out(campaign.database)
    return {"id": user.id, "active": user.active, "moved": len(plan.add)}


@router.post("/balance")
def assign_anew(campaign: InCampaign, _me: Admin) -> dict[str, Any]:
    """Fit assignments to the present inspectors."""
    plan = share_out(campaign.database)
    return {"added": len(plan.add), "dropped": len(plan.drop), "short": len(plan.short)}


@router.put("/settings")
def change_settings(given: SettingsIn, campaign: InCampaign, me: Admin) -> dict[str, Any]:
    """Change campaign settings; a new number per object is shared out at once."""
    changes = {k: str(v) for k, v in given.model_dump().items() if v is not None}
    with campaign.database.write() as session:
        for key, value in changes.items():
            set_setting(session, key, value)
            detail = f"{key} = {value}"
            session.add(Event(at=now(), user_id=me.id, kind="setting", detail=detail))
    if "per_object" in changes:
        share_out(campaign.database)
    with campaign.database.read() as session:
        return {key: setting(session, key) for key in SETTINGS}
