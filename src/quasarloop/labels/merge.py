"""From several inspectors' verdicts to one label, by the rules of the DESI merges.

Source: docs/reference/labels.md, "Merging".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final

from quasarloop.errors import InspectionError
from quasarloop.labels.verdict import Verdict, clean_issues, is_complete

__all__ = [
    "MAX_QUALITY_RANGE",
    "MAX_Z_RANGE",
    "Merged",
    "check_decision",
    "conflicts",
    "from_decision",
    "merge_verdicts",
    "z_range",
]

# Verdicts conflict from these differences on, or where classes differ.
MAX_QUALITY_RANGE: Final = 2
MAX_Z_RANGE: Final = 0.0033


@dataclass(frozen=True)
class Merged(Verdict):
    """One object's final label: a verdict with mean redshift and quality, and its inspections.

    Attributes:
        issues: every issue letter anyone gave.
        comment: the merger's; empty where nobody had to decide.
        is_bal: True or False where all given values are equal, None otherwise.
        n_inspections: number of verdicts behind it.
        comments: the inspectors' different comments, in order, a space between them.
    """

    n_inspections: int = 0
    comments: str = ""

    @property
    def verdict(self) -> Verdict:
        """The label alone."""
        return Verdict(**{field.name: getattr(self, field.name) for field in fields(Verdict)})


def conflicts(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """Return where complete verdicts disagree: any of ``quality``, ``redshift``, ``class``.

    Fewer than two verdicts never disagree; a redshift left open differs from none.
    """
    known = [verdict for verdict in verdicts if is_complete(verdict)]
    qualities = [v.quality for v in known if v.quality is not None]
    if not known:
        return ()
    found = {
        "quality": max(qualities) - min(qualities) >= MAX_QUALITY_RANGE,
        "redshift": z_range(v.z for v in known) >= MAX_Z_RANGE,
        "class": len({v.spectype for v in known}) > 1,
    }
    return tuple(part for part, differs in found.items() if differs)


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
    is_bal = {v.is_bal for v in known if v.is_bal is not None}
    mean = Verdict(
        spectype=known[0].spectype,
        z=sum(redshifts) / len(redshifts) if redshifts else None,
        quality=sum(qualities) / len(qualities),
        is_bal=is_bal.pop() if len(is_bal) == 1 else None,
    )
    return _final(mean, known)


def from_decision(decision: Verdict, verdicts: Sequence[Verdict]) -> Merged:
    """Return the merger's decision with what the inspectors wrote.

    Args:
        decision: the merger's verdict.
        verdicts: the inspectors' complete verdicts.

    Raises:
        InspectionError: the decision is not complete.
    """
    check_decision(decision)
    return _final(decision, [verdict for verdict in verdicts if is_complete(verdict)])


def check_decision(decision: Verdict) -> None:
    """Check that a merger's verdict is complete.

    Raises:
        InspectionError: it is not.
    """
    if not is_complete(decision):
        raise InspectionError(
            "a decision needs a quality, and from quality 2 on a class and a redshift"
        )


def _final(verdict: Verdict, inspections: Sequence[Verdict]) -> Merged:
    letters = "".join(v.issues for v in (*inspections, verdict))
    return Merged(
        **{**vars(verdict), "issues": clean_issues(letters)},
        n_inspections=len(inspections),
        comments=" ".join(dict.fromkeys(v.comment for v in inspections if v.comment)),
    )
