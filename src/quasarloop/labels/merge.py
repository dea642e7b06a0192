"""From several inspectors' verdicts to one label, by the rules of the DESI merges.

Source: INTEROP.md, "Visual inspection".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from quasarloop.errors import InspectionError
from quasarloop.labels.verdict import ISSUES, Verdict, is_complete
from quasarloop.truth import SpecType

__all__ = [
    "MAX_QUALITY_RANGE",
    "MAX_Z_RANGE",
    "Merged",
    "conflicts",
    "from_decision",
    "merge_verdicts",
    "z_range",
]

# Source: INTEROP.md: "quality range >= 2, or (zmax - zmin)/(1 + zmin) >= 0.0033, or types differ".
MAX_QUALITY_RANGE: Final = 2
MAX_Z_RANGE: Final = 0.0033


@dataclass(frozen=True)
class Merged:
    """One object's final label.

    Attributes:
        spectype: class, unknown if nobody named one.
        z: mean redshift, None if nobody gave one.
        quality: mean quality, 0–4.
        is_bal: True or False where all who judged agree, None otherwise.
        n_inspections: number of verdicts behind it.
        issues: every issue letter anyone gave, in the order R, C, S.
        comments: different comments, in order, a space between them.
        merger_comment: what the merger wrote; empty where nobody had to decide.
    """

    spectype: SpecType
    z: float | None
    quality: float
    is_bal: bool | None
    n_inspections: int
    issues: str = ""
    comments: str = ""
    merger_comment: str = ""


def conflicts(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """Say in what complete verdicts disagree: any of ``quality``, ``redshift``, ``class``.

    Fewer than two verdicts never disagree; a redshift left open differs from none.
    """
    known = [verdict for verdict in verdicts if is_complete(verdict)]
    found: list[str] = []
    qualities = [v.quality for v in known if v.quality is not None]
    if len(known) >= 2:  # noqa: PLR2004 -- the rule speaks of at least two inspections
        if max(qualities) - min(qualities) >= MAX_QUALITY_RANGE:
            found.append("quality")
        if z_range(v.z for v in known) >= MAX_Z_RANGE:
            found.append("redshift")
        if len({v.spectype for v in known}) > 1:
            found.append("class")
    return tuple(found)


def z_range(redshifts: Iterable[float | None]) -> float:
    """Return ``(zmax - zmin) / (1 + zmin)``, 0 for fewer than two redshifts."""
    known = [z for z in redshifts if z is not None]
    if not known:
        return 0.0
    return (max(known) - min(known)) / (1 + min(known))


def merge_verdicts(verdicts: Sequence[Verdict]) -> Merged | None:
    """Merge verdicts that agree; None where a merger must decide.

    Args:
        verdicts: of one object, in the inspectors' order; incomplete ones are left out.

    Raises:
        InspectionError: not one complete verdict.
    """
    known = [verdict for verdict in verdicts if is_complete(verdict)]
    if not known:
        raise InspectionError("nothing to merge: no complete verdict; wait for an inspector")
    if conflicts(known):
        return None
    redshifts = [v.z for v in known if v.z is not None]
    qualities = [v.quality for v in known if v.quality is not None]
    return Merged(
        spectype=known[0].spectype,
        z=sum(redshifts) / len(redshifts) if redshifts else None,
        quality=sum(qualities) / len(qualities),
        is_bal=_agreed_bal(known),
        n_inspections=len(known),
        issues=_all_issues(known),
        comments=_all_comments(known),
    )


def from_decision(decision: Verdict, verdicts: Sequence[Verdict]) -> Merged:
    """Return the merger's decision with what the inspectors wrote.

    Args:
        decision: what the merger says; its comment becomes the merger's comment.
        verdicts: the inspectors' complete verdicts.

    Raises:
        InspectionError: the decision is not complete.
    """
    if not is_complete(decision) or decision.quality is None:
        raise InspectionError(
            "a decision needs a quality, and from quality 2 on a class and a redshift"
        )
    known = [verdict for verdict in verdicts if is_complete(verdict)]
    return Merged(
        spectype=decision.spectype,
        z=decision.z,
        quality=decision.quality,
        is_bal=decision.is_bal,
        n_inspections=len(known),
        issues=_all_issues([*known, decision]),
        comments=_all_comments(known),
        merger_comment=decision.comment,
    )


def _agreed_bal(verdicts: Sequence[Verdict]) -> bool | None:
    said = {v.is_bal for v in verdicts if v.is_bal is not None}
    return said.pop() if len(said) == 1 else None


def _all_issues(verdicts: Sequence[Verdict]) -> str:
    given = {letter for v in verdicts for letter in v.issues}
    return "".join(letter for letter in ISSUES if letter in given)


def _all_comments(verdicts: Sequence[Verdict]) -> str:
    return " ".join(dict.fromkeys(v.comment for v in verdicts if v.comment))
