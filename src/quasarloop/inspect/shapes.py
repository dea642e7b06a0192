"""What the browser sends and gets: checked on the way in, plain JSON on the way out."""

from typing import Annotated, Any, Literal

from fastapi import HTTPException, Path
from pydantic import BaseModel, ConfigDict, Field

from quasarloop.inspect.ledger import Save, verdict_of
from quasarloop.inspect.tables import Decision, Label
from quasarloop.labels.verdict import Z_RANGE, Verdict, spectype_from_name, spectype_name

__all__ = [
    "FitIn",
    "InviteIn",
    "PersonIn",
    "SaveIn",
    "SettingsIn",
    "SkipIn",
    "TargetId",
    "judged_out",
    "target_number",
    "verdict_out",
]

# TARGETIDs travel as text: JavaScript's numbers would change their last digits.
TargetId = Annotated[str, Path(pattern=r"^-?[0-9]{1,19}$", description="TARGETID as text")]
Redshift = Annotated[float, Field(ge=Z_RANGE[0], le=Z_RANGE[1], allow_inf_nan=False)]
SpectypeName = Literal["", "STAR", "GALAXY", "QSO"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class VerdictIn(_Strict):
    """A verdict as the page holds it."""

    spectype: SpectypeName = ""
    z: Redshift | None = None
    quality: Annotated[int, Field(ge=0, le=4)] | None = None
    is_bal: bool | None = None
    issues: Annotated[str, Field(pattern=r"^[RCS]{0,3}$")] = ""
    comment: Annotated[str, Field(max_length=400)] = ""


class SaveIn(_Strict):
    """One change to a verdict or a decision."""

    verdict: VerdictIn
    base_version: Annotated[int, Field(ge=0, lt=2**31 - 1)]
    save_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{8,64}$")]
    seconds: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0
    note: Literal["", "undo", "redo"] = ""

    def save(self) -> Save:
        """Return it as the ledger takes it."""
        given = self.verdict
        verdict = Verdict(
            spectype=spectype_from_name(given.spectype),
            z=given.z,
            quality=given.quality,
            is_bal=given.is_bal,
            issues=given.issues,
            comment=given.comment,
        )
        return Save(verdict, self.base_version, self.save_id, self.seconds, self.note)


class SkipIn(_Strict):
    """Put aside, or take up again."""

    skipped: bool


class FitIn(_Strict):
    """Where to look for a redshift, and with what template."""

    z: Redshift
    spectype: SpectypeName = "QSO"
    wide: bool = False  # over all redshifts, not only near `z`


class InviteIn(_Strict):
    """Whom to invite as what."""

    name: Annotated[str, Field(max_length=64)]
    role: Literal["inspector", "merger", "admin"]


class PersonIn(_Strict):
    """Whether somebody may come in."""

    active: bool


class SettingsIn(_Strict):
    """Campaign settings; those left out stay."""

    blind: Literal["open", "ask", "verdict"] | None = None
    per_object: Annotated[int, Field(ge=1, le=9)] | None = None
    title: Annotated[str, Field(pattern=r"^[A-Za-z0-9 ._-]{1,40}$")] | None = None


def target_number(target_id: str) -> int:
    """Return a TARGETID as a number.

    Raises:
        HTTPException: 404, no 64-bit integer.
    """
    number = int(target_id)
    if not -(2**63) <= number < 2**63:
        raise HTTPException(404, "no such object")
    return number


def verdict_out(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as the page holds it."""
    return {
        "spectype": spectype_name(verdict.spectype),
        "z": verdict.z,
        "quality": verdict.quality,
        "is_bal": verdict.is_bal,
        "issues": verdict.issues,
        "comment": verdict.comment,
    }


def judged_out(judged: Label | Decision | None) -> dict[str, Any]:
    """Return a label or decision with its version; version 0 for none."""
    if judged is None:
        return {"version": 0, "created": "", "verdict": verdict_out(Verdict()), "note": ""}
    return {
        "version": judged.version,
        "created": judged.created,
        "verdict": verdict_out(verdict_of(judged)),
        "note": judged.note if isinstance(judged, Label) else "",
    }
