"""Routes of the merger, and agreement statistics."""

from dataclasses import asdict
from typing import Any, Final, Literal

import numpy as np
from fastapi import APIRouter, HTTPException, Response

from quasarloop.artefacts import without_nan
from quasarloop.inspect.ledger import Save, history, save_decision
from quasarloop.inspect.results import (
    Result,
    agreement_of,
    control_found,
    count_states,
    results,
)
from quasarloop.inspect.security import InCampaign, Merger, Overseer
from quasarloop.inspect.shapes import TargetId, find_item, version_json
from quasarloop.labels.agreement import agreement_svg
from quasarloop.labels.merge import Merged, z_range
from quasarloop.labels.verdict import verdict_json
from quasarloop.truth import CLASSES

__all__ = ["router"]

router: Final = APIRouter(prefix="/api", tags=["merge"])

QueueState = Literal["all", "open", "merged", "conflict", "decided"]


@router.get("/merge")
def queue(campaign: InCampaign, _me: Merger, state: QueueState = "conflict") -> dict[str, Any]:
    """Return objects in one state (those to decide first), and how many are in each."""
    with campaign.database.read() as session:
        found = results(session)
    shown = [r for r in found if state in ("all", r.state)]
    return {"objects": [_row(r) for r in shown], "counts": count_states(found)}


@router.get("/merge/{target_id}")
def all_verdicts(target_id: TargetId, campaign: InCampaign, _me: Merger) -> dict[str, Any]:
    """Return every inspector's verdict on an object, with its history, and the decision."""
    with campaign.database.read() as session:
        item = find_item(session, target_id)
        (result,) = results(session, items=[item.id])
        versions = history(session, item.id)
    verdicts = [
        {
            "inspector": name,
            **version_json(label),
            "seconds": label.seconds,
            "saw_machine": label.saw_machine,
            "history": [version_json(v) for v in versions if v.user_id == label.user_id],
        }
        for name, label in result.labels.items()
    ]
    return {
        **_row(result),
        "source": item.source,
        "row": item.row,
        "verdicts": verdicts,
        "decision": version_json(result.decision),
    }


@router.put("/merge/{target_id}")
def decide(target_id: TargetId, given: Save, campaign: InCampaign, me: Merger) -> dict[str, Any]:
    """Store the decision on an object; 409 if another came in between."""
    with campaign.database.write() as session:
        item = find_item(session, target_id)
        (result,) = results(session, items=[item.id])
        if not result.labels and result.decision is None:
            raise HTTPException(409, "nobody has inspected this object yet; wait for an inspector")
        return version_json(save_decision(session, item, me.id, given))


@router.get("/statistics")
def statistics(campaign: InCampaign, _me: Overseer) -> dict[str, Any]:
    """Return how far the campaign is and how well its inspectors agree."""
    with campaign.database.read() as session:
        found = results(session)
        control = control_found(session, found).describe()
    agreed: dict[str, Any] = _plain(asdict(agreement_of(found)))
    classes = [spectype.word for spectype in CLASSES]
    return {"counts": count_states(found), "classes": classes, "control": control, **agreed}


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
