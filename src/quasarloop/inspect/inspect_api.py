"""Routes of an inspector: lists, objects, spectra, labels."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import sqlalchemy as sa
from anyio.to_thread import run_sync
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic_core import to_json
from sqlalchemy.orm import Session

from quasarloop.classes import HIGH_Z_MIN, Vote
from quasarloop.errors import InspectionError
from quasarloop.inspect.campaign import fit_team, progress
from quasarloop.inspect.database import setting
from quasarloop.inspect.fit_worker import FitTask, template_json
from quasarloop.inspect.ledger import (
    NotAssignedError,
    Save,
    assignment_of,
    current_label,
    history,
    reveal_predictions,
    save_label,
    skip,
)
from quasarloop.inspect.library import USUAL
from quasarloop.inspect.marks import MARKS, bands
from quasarloop.inspect.object_facts import LINKS
from quasarloop.inspect.people import Person
from quasarloop.inspect.practice import practice_of
from quasarloop.inspect.questions import answer_question, conversation, open_questions
from quasarloop.inspect.security import Campaign, InCampaign, Inspector, Looker, Me, visitor_of
from quasarloop.inspect.shapes import (
    AnswerIn,
    FitIn,
    SkipIn,
    TargetId,
    find_item,
    version_json,
)
from quasarloop.inspect.tables import Assignment, Item, Label, Practice, Ranking, Setting
from quasarloop.inspect.worklist import without_collection
from quasarloop.labels.verdict import ClassWord, IssueLetters, Quality, is_complete
from quasarloop.lines import NETWORK_LINES, line_label
from quasarloop.truth import SpecType

if TYPE_CHECKING:
    from quasarloop.inspect.redrock_models import RedrockModels

__all__ = ["router"]

router: Final = APIRouter(prefix="/api", tags=["inspect"])

# The same answer whether it exists or not: what others inspect is not for me to know.
_NOT_YOURS: Final = "no such object among yours"
ListState = Literal["all", "todo", "skipped", "done"]


@router.get("/me")
def my_login(request: Request, campaign: InCampaign, me: Me) -> dict[str, str]:
    """Return the person logged in here, and the token for changes (after a login elsewhere)."""
    return {"name": me.name, "role": me.role, "csrf": visitor_of(request).csrf(campaign.secret)}


@router.get("/reference")
async def reference(campaign: InCampaign, _me: Looker) -> dict[str, Any]:
    """Return what is drawn over every spectrum, names of lines and votes, and links outside."""
    links = await run_in_threadpool(_links, campaign)
    return {
        "marks": [asdict(mark) for mark in MARKS],
        "links": links,
        "bands": [asdict(band) for band in bands()],
        "usual": {spectype.word: subtype for spectype, subtype in USUAL.items()},
        "templates": json.loads(await campaign.fits.templates()),
        "lines": {line.column: line_label(line.column) for line in NETWORK_LINES},
        "votes": {
            Vote.NOT_QSO.name: "not a QSO",
            Vote.LOW_Z.name: f"QSO, z < {HIGH_Z_MIN}",
            Vote.HIGH_Z.name: f"QSO, z ≥ {HIGH_Z_MIN}",
        },
    }


@router.get("/list", response_class=Response)
def my_list(
    campaign: InCampaign,
    me: Inspector,
    state: ListState = "all",
    spectype: ClassWord = SpecType.UNKNOWN,
    max_quality: Quality | None = None,
    issue: IssueLetters = "",
) -> Response:
    """Return my objects, in the worklist's order, with my verdicts so far."""
    versions = (Label.version, Label.created, Label.note, Label.verdict)
    query = (
        sa.select(
            *(Item.id, Item.target_id, Item.rank, Assignment.state, Assignment.seconds),
            *versions,
        )
        .join(Item, Item.id == Assignment.item_id)
        .outerjoin(
            Label,
            sa.and_(
                Label.item_id == Assignment.item_id,
                Label.user_id == Assignment.user_id,
                Label.version == Assignment.version,
            ),
        )
        .where(Assignment.user_id == me.id)
        .where(Assignment.state == state if state != "all" else Assignment.state != "dropped")
        .order_by(Item.rank)
    )
    columns = Label.__table__.c
    if spectype != SpecType.UNKNOWN:
        query = query.where(columns.spectype == spectype)
    if max_quality is not None:
        query = query.where(columns.quality <= max_quality)
    if issue:
        query = query.where(columns.issues.contains(issue))
    with without_collection(), campaign.database.read() as session:
        waiting = open_questions(session)
        unlabelled = version_json(None)
        found: Iterable[Any] = session.execute(query)  # rows, not objects: a third of the time
        rows = [
            {
                "target_id": str(row.target_id),
                "number": row.rank + 1,
                "state": row.state,
                "seconds": round(row.seconds, 1),
                "question": (row.id, me.id) in waiting,
                **(unlabelled if row.version is None else version_json(row)),
            }
            for row in found
        ]
        content = {"objects": rows, "progress": _progress(session, me.id)}
    # FastAPI's own way of writing 100,000 objects looks at every value and takes ten times as long.
    return Response(to_json(content), media_type="application/json")


@router.get("/progress")
def my_progress(campaign: InCampaign, me: Inspector) -> dict[str, Any]:
    """Return how far I am, and my time per object."""
    with campaign.database.read() as session:
        return _progress(session, me.id)


@router.get("/objects/{target_id}")
def one_object(target_id: TargetId, campaign: InCampaign, me: Inspector) -> dict[str, Any]:
    """Return an object of mine with every version of my label."""
    with campaign.database.read() as session:
        item, turn = _mine(session, target_id, me)
        versions = history(session, item.id, me.id)
        complete = bool(versions) and is_complete(versions[-1].verdict)
        return {
            "target_id": str(item.target_id),
            "number": item.rank + 1,
            "state": turn.state,
            "seconds": turn.seconds,
            "source": Path(item.source).name,
            "row": item.row,
            "machine": _machine_access(setting(session, "blind"), turn, complete),
            "label": version_json(versions[-1] if versions else None),
            "history": [version_json(label) for label in versions],
            "questions": conversation(session, item.id, me.id),
            # So that an open page notices when the live queue has another order.
            "ranked": session.scalar(sa.select(sa.func.max(Ranking.id))) or 0,
        }


@router.get("/objects/{target_id}/spectrum", response_class=Response)
async def spectrum(
    target_id: TargetId, campaign: InCampaign, me: Looker, repeat: Annotated[int, Query(ge=0)] = 0
) -> Response:
    """Return an object's spectrum at full resolution; 404 with the reason if there is none.

    `repeat` counts its other spectra from 1, as `repeats` lists them.
    """
    read = partial(_spectrum, target_id, campaign, me, repeat)
    body = await run_sync(read, limiter=campaign.reading)
    return Response(body, media_type="application/json")


def _spectrum(target_id: str, campaign: Campaign, me: Person, repeat: int) -> bytes:
    item = _to_look_at(campaign, target_id, me)
    place = (item.source, item.row, item.target_id)
    if repeat:
        found = campaign.repeats.of(item.target_id) or ()
        if repeat > len(found):
            raise HTTPException(404, f"this object has {len(found)} other spectra")
        other = found[repeat - 1]
        place = (other.source, other.row, other.target_id)
    try:
        return campaign.spectra.json_of(*place)
    except InspectionError as exc:
        raise HTTPException(404, str(exc)) from exc


@router.get("/objects/{target_id}/repeats")
def repeats(target_id: TargetId, campaign: InCampaign, me: Looker) -> dict[str, Any]:
    """Return what other spectra of an object there are; none yet while they are looked for."""
    item = _to_look_at(campaign, target_id, me)
    found = campaign.repeats.of(item.target_id)
    return {"complete": found is not None, "repeats": [repeat.label for repeat in found or ()]}


@router.post("/objects/{target_id}/machine")
def machine(target_id: TargetId, campaign: InCampaign, me: Looker) -> dict[str, Any]:
    """Return predictions, and record that I looked; 403 while they are closed to me."""
    with campaign.database.write() as session:
        item = _visible(session, target_id, me)
        turn = assignment_of(session, item.id, me.id)
        if turn is not None and "inspector" in me.roles:
            label = current_label(session, item.id, me.id)
            complete = label is not None and is_complete(label.verdict)
            if _machine_access(setting(session, "blind"), turn, complete) == "closed":
                raise HTTPException(403, "this campaign shows it only after your first verdict")
            reveal_predictions(session, item, me.id)
        predictions = {**item.predictions}
    if campaign.models is not None and "redrock" in predictions:
        fits = predictions["redrock"]
        predictions["redrock"] = [_drawn(campaign.models, fit) for fit in fits]
    return {"target_id": str(item.target_id), "predictions": predictions}


def _drawn(models: "RedrockModels", fit: dict[str, Any]) -> dict[str, Any]:
    """A fit of redrock with its model; with the reason where it cannot be drawn."""
    try:
        return {**fit, "template": template_json(*models.model(fit))}
    except InspectionError as exc:
        return {**fit, "problem": str(exc)}


@router.put("/objects/{target_id}/label")
def label(target_id: TargetId, given: Save, campaign: InCampaign, me: Inspector) -> dict[str, Any]:
    """Store a change to my label; 409 if it was changed elsewhere meanwhile."""
    with campaign.database.write() as session:
        item = find_item(session, target_id, _NOT_YOURS)
        try:
            saved = save_label(session, item, me.id, given)
        except NotAssignedError as exc:
            raise HTTPException(404, _NOT_YOURS) from exc
        fit_team(session, item)
        return version_json(saved)


@router.put("/objects/{target_id}/answer")
def answer(
    target_id: TargetId, given: AnswerIn, campaign: InCampaign, me: Inspector
) -> dict[str, Any]:
    """Answer the merger's question on my verdict."""
    with campaign.database.write() as session:
        item, turn = _mine(session, target_id, me)
        answer_question(session, item, me.id, given.text)
        return {"state": turn.state, "questions": conversation(session, item.id, me.id)}


@router.put("/objects/{target_id}/skip")
def put_aside(
    target_id: TargetId, given: SkipIn, campaign: InCampaign, me: Inspector
) -> dict[str, Any]:
    """Put an object aside, or take it up again."""
    with campaign.database.write() as session:
        item, _ = _mine(session, target_id, me)
        return {"state": skip(session, item, me.id, skipped=given.skipped).state}


@router.post("/objects/{target_id}/fit", response_class=Response)
async def fit(target_id: TargetId, given: FitIn, campaign: InCampaign, me: Looker) -> Response:
    """Return the best fits: of every class over all redshifts, or of one near a redshift."""
    item = await run_in_threadpool(_to_look_at, campaign, target_id, me)
    place = (item.source, item.row, item.target_id)
    task = FitTask(*place) if given.z is None else FitTask(*place, given.spectype, given.z)
    return Response(await campaign.fits.fit(task), media_type="application/json")


def _links(campaign: Campaign) -> dict[str, str]:
    with campaign.database.read() as session:
        stored = session.get(Setting, "links")
    return json.loads(stored.value) if stored is not None else LINKS


def _to_look_at(campaign: Campaign, target_id: str, me: Person) -> Item | Practice:
    with campaign.database.read() as session:
        known = practice_of(session, int(target_id)) if abs(int(target_id)) < 2**63 else None
        if known is not None:  # everybody's, and never the campaign's
            return known
        return _visible(session, target_id, me)


def _mine(session: Session, target_id: str, me: Person) -> tuple[Item, Assignment]:
    item = find_item(session, target_id, _NOT_YOURS)
    turn = assignment_of(session, item.id, me.id)
    if turn is None:
        raise HTTPException(404, _NOT_YOURS)
    return item, turn


def _visible(session: Session, target_id: str, me: Person) -> Item:
    """An object that I may look at: any for mergers, else those of mine."""
    if "merger" in me.roles:
        return find_item(session, target_id)
    return _mine(session, target_id, me)[0]


def _machine_access(blind: str, turn: Assignment, complete: bool) -> str:
    """Whether predictions are ``shown``, ``hidden`` behind a button, or ``closed``."""
    if blind == "open" or complete or turn.revealed:
        return "shown"
    return "closed" if blind == "verdict" else "hidden"


def _progress(session: Session, user_id: int) -> dict[str, Any]:
    counts = progress(session, user_id)
    return {
        **counts.counts,
        "total": counts.total,
        "seconds_per_object": round(counts.seconds / counts.done, 1) if counts.done else None,
    }
