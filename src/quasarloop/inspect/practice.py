"""Practice for newcomers: objects with known answers, judged at once, apart from all labels."""

from collections import Counter
from dataclasses import replace
from typing import Annotated, Any, Final

import numpy as np
import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Path
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from quasarloop.errors import InspectionError
from quasarloop.inspect.database import now
from quasarloop.inspect.ledger import whole_quality
from quasarloop.inspect.security import InCampaign, Inspector
from quasarloop.inspect.spectra_files import SpectrumFiles
from quasarloop.inspect.tables import Item, Practice, PracticeAnswer
from quasarloop.labels.merge import check_decision, conflicts
from quasarloop.labels.verdict import Verdict, clean, verdict_json
from quasarloop.truth import SpecType, TruthTable

__all__ = ["judge", "load_practice", "practice_of", "router", "scores"]

router: Final = APIRouter(prefix="/api/practice", tags=["practice"])


# As `shapes.TargetId`: a TARGETID as text, here of the practice set.
KnownId = Annotated[str, Path(pattern=r"^-?[0-9]{1,19}$", description="TARGETID as text")]


class _AnswerIn(BaseModel):
    """A newcomer's verdict; the first one counts."""

    model_config = ConfigDict(extra="forbid", strict=True)
    verdict: Annotated[Verdict, whole_quality]


def load_practice(session: Session, truth: TruthTable, files: SpectrumFiles) -> int:
    """Add objects of known class and redshift to the practice set; return how many are new.

    Objects of the campaign are left out: their answers would be given away.

    Raises:
        InspectionError: no secure label of an object with a spectrum.
    """
    known = {*session.scalars(sa.select(Practice.target_id))}
    taken = {*session.scalars(sa.select(Item.target_id))}
    usable = truth[truth.trains & np.isfinite(truth.z) & (truth.spectype != SpecType.UNKNOWN)]
    rows = {int(target): i for i, target in enumerate(usable.target_id) if target not in taken}
    places = files.locate(list(rows))
    if not places:
        raise InspectionError(
            f"none of the {len(truth)} labels of the practice set is secure, has a spectrum among "
            "--spectra and is not in the worklist; give other labels, or their spectra"
        )
    for target, (source, row) in places.items():
        if target not in known:
            kind, z = SpecType(int(usable.spectype[rows[target]])), float(usable.z[rows[target]])
            session.add(Practice(target_id=target, source=source, row=row, spectype=kind, z=z))
    session.flush()
    return len(places.keys() - known)


def practice_of(session: Session, target_id: int) -> Practice | None:
    """Return an object of the practice set."""
    return session.scalar(sa.select(Practice).where(Practice.target_id == target_id))


def judge(known: Practice, verdict: Verdict) -> tuple[str, ...]:
    """Return what is wrong with a verdict, by the merge rules: any of ``class``, ``redshift``.

    ``unidentified`` where it leaves one of them open; quality is not judged.
    """
    if verdict.spectype == SpecType.UNKNOWN or verdict.z is None:
        return ("unidentified",)
    right = replace(verdict, spectype=known.spectype, z=known.z)
    return conflicts([right, verdict])


def scores(session: Session) -> dict[int, dict[str, int]]:
    """Return, per person with practice: objects given, right, and wrong in each way."""
    query = sa.select(PracticeAnswer, Practice).join(
        Practice, Practice.id == PracticeAnswer.practice_id
    )
    found: dict[int, Counter[str]] = {}
    for answer, known in session.execute(query):
        wrong = judge(known, answer.verdict)
        found.setdefault(answer.user_id, Counter()).update(["given", *(wrong or ["right"])])
    parts = ("given", "right", "class", "redshift", "unidentified")
    return {user: {part: counts[part] for part in parts} for user, counts in found.items()}


@router.get("")
def practice_set(campaign: InCampaign, me: Inspector) -> dict[str, Any]:
    """Return the practice set, and how I did."""
    with campaign.database.read() as session:
        objects = session.scalars(sa.select(Practice).order_by(Practice.id)).all()
        mine = sa.select(PracticeAnswer.practice_id).where(PracticeAnswer.user_id == me.id)
        given = {*session.scalars(mine)}
        rows = [
            {"target_id": str(one.target_id), "state": "done" if one.id in given else "todo"}
            for one in objects
        ]
        return {"objects": rows, "progress": _progress(session, me.id)}


@router.get("/{known_id}")
def one_object(known_id: KnownId, campaign: InCampaign, me: Inspector) -> dict[str, Any]:
    """Return my verdict on an object and, once it is given, what was right."""
    with campaign.database.read() as session:
        return _shown(session, _find(session, known_id), me.id)


@router.put("/{known_id}")
def give(
    known_id: KnownId, given: _AnswerIn, campaign: InCampaign, me: Inspector
) -> dict[str, Any]:
    """Store my verdict, and return what was right; 409 if I gave one already."""
    verdict = clean(given.verdict)
    check_decision(verdict)
    with campaign.database.write() as session:
        known = _find(session, known_id)
        if _answer(session, known, me.id) is not None:
            raise HTTPException(409, "your first verdict counts")
        values = {"practice_id": known.id, "user_id": me.id, "at": now()}
        session.add(PracticeAnswer(**values, verdict=verdict))
        session.flush()
        return _shown(session, known, me.id)


def _find(session: Session, target_id: str) -> Practice:
    number = int(target_id)
    known = practice_of(session, number) if -(2**63) <= number < 2**63 else None
    if known is None:
        raise HTTPException(404, "no such object in the practice set")
    return known


def _answer(session: Session, known: Practice, user_id: int) -> PracticeAnswer | None:
    return session.scalar(
        sa.select(PracticeAnswer).where(
            PracticeAnswer.practice_id == known.id, PracticeAnswer.user_id == user_id
        )
    )


def _shown(session: Session, known: Practice, user_id: int) -> dict[str, Any]:
    answer = _answer(session, known, user_id)
    shown: dict[str, Any] = {"target_id": str(known.target_id), "result": None}
    if answer is not None:
        shown["result"] = {
            "verdict": verdict_json(answer.verdict),
            "wrong": list(judge(known, answer.verdict)),
            "spectype": known.spectype.word,
            "z": known.z,
        }
    return shown | {"progress": _progress(session, user_id)}


def _progress(session: Session, user_id: int) -> dict[str, int]:
    total = session.scalar(sa.select(sa.func.count()).select_from(Practice)) or 0
    none = {"given": 0, "right": 0, "class": 0, "redshift": 0, "unidentified": 0}
    return {"total": total, **scores(session).get(user_id, none)}
