"""Bodies of requests, checked, and of answers."""

from typing import Annotated, Any

from fastapi import HTTPException, Path
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from quasarloop.inspect.database import BLINDNESS
from quasarloop.inspect.ledger import item_of
from quasarloop.inspect.people import ROLE_SETS
from quasarloop.inspect.questions import MAX_QUESTION
from quasarloop.inspect.tables import Decision, Item, Label
from quasarloop.labels.rule import RULE_PATTERN
from quasarloop.labels.verdict import ClassWord, Redshift, Verdict, verdict_json
from quasarloop.truth import SpecType

__all__ = [
    "AnswerIn",
    "FitIn",
    "InviteIn",
    "PersonIn",
    "QuestionIn",
    "SettingsIn",
    "SkipIn",
    "TargetId",
    "find_item",
    "version_json",
]

# TARGETIDs travel as text: JavaScript's numbers would change their last digits.
TargetId = Annotated[str, Path(pattern=r"^-?[0-9]{1,19}$", description="TARGETID as text")]


Role = Annotated[str, Field(pattern=f"^({'|'.join(ROLE_SETS)})$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SkipIn(_Strict):
    """Put aside, or take up again."""

    skipped: bool


class QuestionIn(_Strict):
    """A question to one of an object's inspectors."""

    inspector: Annotated[str, Field(max_length=64)]
    text: Annotated[str, Field(max_length=MAX_QUESTION)]


class AnswerIn(_Strict):
    """The answer to it."""

    text: Annotated[str, Field(max_length=MAX_QUESTION)]


class FitIn(_Strict):
    """Fit every class over all redshifts, or one class near a redshift."""

    z: Redshift | None = None
    spectype: ClassWord = SpecType.UNKNOWN


class InviteIn(_Strict):
    """A name and a role."""

    name: Annotated[str, Field(max_length=64)]
    role: Role


class PersonIn(_Strict):
    """Whether a person may log in, and their role; what is left out stays."""

    active: bool | None = None
    role: Role | None = None


class SettingsIn(_Strict):
    """Campaign settings; those left out stay."""

    blind: Annotated[str, Field(pattern=f"^({'|'.join(BLINDNESS)})$")] | None = None
    per_object: Annotated[str, Field(pattern=f"^{RULE_PATTERN}$")] | None = None
    title: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}$")] | None = None


def find_item(session: Session, target_id: str, missing: str = "no such object") -> Item:
    """Return the worklist's entry for a TARGETID.

    Raises:
        HTTPException: 404 with the message `missing`.
    """
    number = int(target_id)
    item = item_of(session, number) if -(2**63) <= number < 2**63 else None
    if item is None:
        raise HTTPException(404, missing)
    return item


def version_json(version: Label | Decision | None) -> dict[str, Any]:
    """Return one version of a label or decision, JSON-ready; version 0 for none."""
    if version is None:
        return {"version": 0, "created": "", "verdict": verdict_json(Verdict()), "note": ""}
    return {
        "version": version.version,
        "created": version.created,
        "verdict": verdict_json(version.verdict),
        "note": "" if isinstance(version, Decision) else version.note,
    }
