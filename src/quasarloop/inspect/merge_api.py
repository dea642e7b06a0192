"""Routes of the merger, and agreement statistics."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Response
from sqlalchemy.orm import Session

from quasarloop.artefacts import without_nan
from quasarloop.inspect.ledger import Save, history, save_decision
from quasarloop.inspect.people import Person
from quasarloop.inspect.questions import conversation, send_back
from quasarloop.inspect.results import (
    Result,
    agreement_of,
    control_found,
    count_states,
    results,
    trends_of,
)
from quasarloop.inspect.security import InCampaign, Merger, Overseer
from quasarloop.inspect.shapes import QuestionIn, TargetId, find_item, version_json
from quasarloop.inspect.tables import Assignment, Item
from quasarloop.labels.agreement import agreement_svg
from quasarloop.labels.merge import Merged, z_range
from quasarloop.labels.verdict import verdict_json
from quasarloop.truth import CLASSES

__all__ = ["router"]

router: Final = APIRouter(prefix="/api", tags=["merge"])

QueueState = Literal["all", "open", "merged", "conflict", "returned", "decided"]


@router.get("/merge")
def queue(campaign: InCampaign, me: Merger, state: QueueState = "conflict") -> dict[str, Any]:
    """Return objects in one state (those to decide first), and how many are in each."""
    with campaign.database.read() as session:
        mine = _still_mine(session, me)
        found = [result for result in results(session) if result.item.id not in mine]
    shown = [r for r in found if state in ("all", r.state)]
    return {"objects": [_row(r) for r in shown], "counts": count_states(found)}


@router.get("/merge/{target_id}")
def all_verdicts(target_id: TargetId, campaign: InCampaign, me: Merger) -> dict[str, Any]:
    """Return every inspector's verdict on an object, with its history, and the decision."""
    with campaign.database.read() as session:
        item = _to_merge(session, target_id, me)
        (result,) = results(session, items=[item.id])
        talk = {
            name: conversation(session, item.id, label.user_id)
            for name, label in result.labels.items()
        }
        versions = history(session, item.id)
    verdicts = [
        {
            "inspector": name,
            **version_json(label),
            "seconds": label.seconds,
            "saw_machine": label.saw_machine,
            "questions": talk[name],
            "history": [version_json(v) for v in versions if v.user_id == label.user_id],
        }
        for name, label in result.labels.items()
    ]
    return {
        **_row(result),
        "source": Path(item.source).name,
        "row": item.row,
        "verdicts": verdicts,
        "decision": version_json(result.decision),
    }


@router.put("/merge/{target_id}")
def decide(target_id: TargetId, given: Save, campaign: InCampaign, me: Merger) -> dict[str, Any]:
    """Store the decision on an object; 409 if another came in between."""
    with campaign.database.write() as session:
        item = _to_merge(session, target_id, me)
        (result,) = results(session, items=[item.id])
        if not result.labels and result.decision is None:
            raise HTTPException(409, "nobody has inspected this object yet; wait for an inspector")
        return version_json(save_decision(session, item, me.id, given))


@router.post("/merge/{target_id}/question")
def question(
    target_id: TargetId, given: QuestionIn, campaign: InCampaign, me: Merger
) -> dict[str, Any]:
    """Send an object back to one of its inspectors, with a question."""
    with campaign.database.write() as session:
        item = _to_merge(session, target_id, me)
        send_back(session, item, me.id, given.inspector, given.text)
        return {"returned_to": given.inspector}


def _still_mine(session: Session, me: Person) -> set[int]:
    """Entries that an inspecting merger has yet to label: others' verdicts are closed."""
    turns = sa.select(Assignment.item_id).where(Assignment.user_id == me.id)
    if "inspector" not in me.roles:
        return set()
    return {*session.scalars(turns.where(Assignment.state.in_(("todo", "skipped"))))}


def _to_merge(session: Session, target_id: str, me: Person) -> Item:
    item = find_item(session, target_id)
    if item.id in _still_mine(session, me):
        raise HTTPException(403, "you inspect this object: give your own verdict first")
    return item


@router.get("/statistics")
def statistics(campaign: InCampaign, _me: Overseer) -> dict[str, Any]:
    """Return how far the campaign is and how well its inspectors agree."""
    with campaign.database.read() as session:
        found = results(session)
        control = control_found(session, found).describe()
    people = [_plain(asdict(trend)) for trend in trends_of(found)]
    agreed: dict[str, Any] = _plain(asdict(agreement_of(found)))
    classes = [spectype.word for spectype in CLASSES]
    counts = count_states(found)
    return {"counts": counts, "classes": classes, "control": control, "people": people, **agreed}


@router.get("/statistics/figure.svg", response_class=Response)
def figure(campaign: InCampaign, _me: Overseer) -> Response:
    """Return the agreement figure."""
    with campaign.database.read() as session:
        found = agreement_of(results(session))
    return Response(agreement_svg(found), media_type="image/svg+xml")


def _row(result: Result) -> dict[str, Any]:
    every = [label.verdict.z for label in result.labels.values()]
    return {
        "target_id": str(result.item.target_id),
        "number": result.item.rank + 1,
        "state": result.state,
        "n_verdicts": len(result.verdicts),
        "n_open": result.n_open,
        "disagree_in": list(result.disagree_in),
        "returned_to": list(result.returned_to),
        "z_range": z_range(every),
        "changed_since": result.changed_since,
        "merged": None if result.merged is None else _merged_json(result.merged),
    }


def _merged_json(merged: Merged) -> dict[str, Any]:
    counts = {"n_inspections": merged.n_inspections, "comments": merged.comments}
    return verdict_json(merged.verdict) | counts


def _plain(value: Any) -> Any:
    """Lists for arrays, and None for NaN, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return without_nan(value)
