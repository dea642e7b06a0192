"""What the merger asks and tells, and agreement statistics."""

import math
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, HTTPException, Response

from quasarloop.inspect.ledger import history, item_of, save_decision
from quasarloop.inspect.people import Person
from quasarloop.inspect.results import Result, agreement_of, results
from quasarloop.inspect.security import Campaign, campaign_of, require
from quasarloop.inspect.shapes import SaveIn, TargetId, target_number, version_json
from quasarloop.inspect.tables import Item
from quasarloop.labels.agreement import Agreement
from quasarloop.labels.agreement_figure import agreement_svg
from quasarloop.labels.merge import Merged, z_range
from quasarloop.labels.verdict import verdict_json
from quasarloop.truth import CLASSES

__all__ = ["router", "statistics_out"]

router: Final = APIRouter(prefix="/api", tags=["merge"])

InCampaign = Annotated[Campaign, Depends(campaign_of)]
Merger = Annotated[Person, Depends(require("merger"))]
Overseer = Annotated[Person, Depends(require("merger", "admin"))]
QueueState = Literal["all", "open", "merged", "conflict", "decided"]


@router.get("/merge")
def queue(campaign: InCampaign, _me: Merger, state: QueueState = "conflict") -> dict[str, Any]:
    """Return objects in one state (those to decide first), and how many are in each."""
    with campaign.database.read() as session:
        found = results(session)
    counts = {name: sum(r.state == name for r in found) for name in _STATES}
    shown = [r for r in found if state in ("all", r.state)]
    return {"objects": [_row(r) for r in shown], "counts": counts}


@router.get("/merge/{target_id}")
def all_verdicts(target_id: TargetId, campaign: InCampaign, _me: Merger) -> dict[str, Any]:
    """Return every inspector's verdict on an object, with its history, and the decision."""
    with campaign.database.read() as session:
        item = item_of(session, target_number(target_id))
        if item is None:
            raise HTTPException(404, "no such object")
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
def decide(target_id: TargetId, given: SaveIn, campaign: InCampaign, me: Merger) -> dict[str, Any]:
    """Store the decision on an object; 409 if another came in between."""
    with campaign.database.write() as session:
        item = item_of(session, target_number(target_id))
        if item is None:
            raise HTTPException(404, "no such object")
        _check_inspected(session, item)
        return version_json(save_decision(session, item, me.id, given.save()))


@router.get("/statistics")
def statistics(campaign: InCampaign, _me: Overseer) -> dict[str, Any]:
    """Return how far the campaign is and how well its inspectors agree."""
    with campaign.database.read() as session:
        found = results(session)
    return statistics_out(found)


@router.get("/statistics/figure.svg", response_class=Response)
def figure(campaign: InCampaign, _me: Overseer) -> Response:
    """Return the agreement figure."""
    with campaign.database.read() as session:
        found = agreement_of(results(session))
    return Response(agreement_svg(found), media_type="image/svg+xml")


def statistics_out(found: list[Result]) -> dict[str, Any]:
    """Return the campaign's numbers, JSON-ready."""
    agreed = agreement_of(found)
    return {
        "counts": {name: sum(r.state == name for r in found) for name in _STATES},
        "n_compared": agreed.n_objects,
        "alpha_class": _finite(agreed.alpha_class),
        "alpha_quality": _finite(agreed.alpha_quality),
        "z_scatter_kms": _finite(agreed.z_scatter_kms),
        "z_outliers": _finite(agreed.z_outliers),
        "classes": [spectype.word for spectype in CLASSES],
        "confusion": agreed.confusion.tolist(),
        "pairs": _pairs(agreed),
    }


_STATES: Final = ("open", "merged", "conflict", "decided")


def _check_inspected(session: Any, item: Item) -> None:
    (result,) = results(session, items=[item.id])
    if not result.labels and result.decision is None:
        raise HTTPException(409, "nobody has inspected this object yet; wait for an inspector")


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


def _pairs(agreed: Agreement) -> list[dict[str, Any]]:
    return [
        {
            "first": pair.first,
            "second": pair.second,
            "n_common": pair.n_common,
            "alpha_class": _finite(pair.alpha_class),
            "alpha_quality": _finite(pair.alpha_quality),
            "same_class": _finite(pair.same_class),
            "quality_difference": _finite(pair.quality_difference),
            "z_scatter_kms": _finite(pair.z_scatter_kms),
            "z_outliers": _finite(pair.z_outliers),
            "confusion": pair.confusion.tolist(),
        }
        for pair in agreed.pairs
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
