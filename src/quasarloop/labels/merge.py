"""From several inspectors' verdicts to one label, by the rules of the DESI merges, and its table.

Source: docs/reference/labels.md, "Merging". IS_BAL of the table is ours: 1 yes, 0 no, -1 unknown.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from quasarloop.columns import integer_id
from quasarloop.errors import InspectionError, reading
from quasarloop.labels.verdict import (
    QUALITIES,
    Verdict,
    clean_issues,
    defuse,
    is_complete,
    undo_defuse,
    z_err_of,
)
from quasarloop.tables import read_table, write_table
from quasarloop.truth import SpecType, TruthTable

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "MAX_QUALITY_RANGE",
    "MAX_Z_RANGE",
    "MERGED_COLUMNS",
    "Merged",
    "check_decision",
    "conflicts",
    "from_decision",
    "from_truth",
    "merge_verdicts",
    "read_merged",
    "to_truth",
    "write_merged",
    "z_range",
]

logger = logging.getLogger(__name__)

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
        z_err: standard deviation of the redshift; None unless fits gave all that it is made of.
    """

    n_inspections: int = 0
    comments: str = ""
    z_err: float | None = field(default=None, repr=False)

    @property
    def verdict(self) -> Verdict:
        """The label alone."""
        return Verdict(**{part.name: getattr(self, part.name) for part in fields(Verdict)})


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


def merge_verdicts(
    verdicts: Sequence[Verdict], z_errs: Sequence[float | None] = ()
) -> Merged | None:
    """Merge verdicts that agree; None where a merger must decide.

    Args:
        verdicts: of one object, in the inspectors' order; incomplete ones are left out.
        z_errs: standard deviations of their redshifts, None where none is known. That of the mean
            is their mean: the fits are of one spectrum, with one noise (our choice).

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
    errors = [
        error
        for verdict, error in zip(verdicts, z_errs, strict=False)
        if verdict.z is not None and is_complete(verdict)
    ]
    fitted = [error for error in errors if error is not None]
    whole = fitted and len(fitted) == len(errors)
    return _final(mean, known, sum(fitted) / len(fitted) if whole else None)


def from_decision(
    decision: Verdict, verdicts: Sequence[Verdict], z_err: float | None = None
) -> Merged:
    """Return the merger's decision with what the inspectors wrote.

    Args:
        decision: the merger's verdict.
        verdicts: the inspectors' complete verdicts.
        z_err: standard deviation of the decision's redshift, None where none is known.

    Raises:
        InspectionError: the decision is not complete.
    """
    check_decision(decision)
    return _final(decision, [verdict for verdict in verdicts if is_complete(verdict)], z_err)


def check_decision(decision: Verdict) -> None:
    """Check that a merger's verdict is complete.

    Raises:
        InspectionError: it is not.
    """
    if not is_complete(decision):
        raise InspectionError(
            "a decision needs a quality, and from quality 2 on a class and a redshift"
        )


def _final(verdict: Verdict, inspections: Sequence[Verdict], z_err: float | None) -> Merged:
    letters = "".join(v.issues for v in (*inspections, verdict))
    return Merged(
        **{**vars(verdict), "issues": clean_issues(letters)},
        n_inspections=len(inspections),
        comments=" ".join(dict.fromkeys(v.comment for v in inspections if v.comment)),
        z_err=z_err,
    )


_SCHEMA: Final = {
    "TARGETID": int,
    "best_z": float,
    "best_quality": float,
    "best_spectype": str,
    "N_VI": int,
    "all_VI_issues": str,
    "all_VI_comments": str,
    "merger_comment": str,
    "IS_BAL": int,
    "best_z_err": float,
}
MERGED_COLUMNS: Final = tuple(_SCHEMA)
_REQUIRED: Final = MERGED_COLUMNS[:4]
_BAL_CODE: Final[Mapping[bool | None, int]] = {True: 1, False: 0, None: -1}


def write_merged(merged: Mapping[int, Merged], path: str | Path, *, exact: bool = False) -> None:
    """Write final labels; the suffix (.csv, .fits, .parquet) decides the kind.

    Args:
        merged: by TARGETID.
        path: the file.
        exact: leave cells of CSV that spreadsheets take for formulas as they are.

    Raises:
        OutputError: another suffix, or the file cannot be written.
    """
    as_it_is = exact or not _is_csv(path)
    write_table(_frame(merged, str if as_it_is else defuse), path, hdu="MERGED")


def read_merged(path: str | Path) -> dict[int, Merged]:
    """Read final labels back, losing nothing.

    Raises:
        InspectionError: unreadable, columns missing, values out of range, or repeated targets.
    """
    file = Path(path)
    with reading(file, "merged labels", "give a CSV, FITS or Parquet file", InspectionError):
        table = read_table(file, as_text=True)
        columns = (column.tolist() for column in table.values())
        rows = [dict(zip(table, row, strict=True)) for row in zip(*columns, strict=True)]
    merged: dict[int, Merged] = {}
    missing = [name for name in _REQUIRED if name not in table]
    if missing:
        raise InspectionError(f"{file}: no column {', '.join(missing)}")
    for number, row in enumerate(rows):
        try:
            target, value = integer_id(row["TARGETID"]), _merged(row, in_csv=_is_csv(file))
        except (ValueError, TypeError, OverflowError, InspectionError) as exc:
            raise InspectionError(f"{file}: row {number}: {exc}") from exc
        if target in merged:
            raise InspectionError(f"{file}: row {number}: TARGETID {target} is there twice")
        merged[target] = value
    return merged


def to_truth(merged: Mapping[int, Merged], source: str) -> TruthTable:
    """Return final labels as a truth table to train with."""
    labels = list(merged.values())
    return TruthTable.make(
        np.array(list(merged), dtype=np.int64),
        np.array([label.spectype for label in labels], dtype=np.int8),
        np.array([label.z for label in labels], dtype=np.float64),  # None becomes NaN
        quality=np.array([label.quality for label in labels], dtype=np.float32),
        bal=np.array([_BAL_CODE[label.is_bal] for label in labels], dtype=np.int8),
        z_err=np.array([label.z_err for label in labels], dtype=np.float64),
        source=source,
    )


def from_truth(truth: TruthTable) -> dict[int, Merged]:
    """Return final labels of a truth table; rows without class or redshift are left out."""
    known = (truth.spectype != SpecType.UNKNOWN) & np.isfinite(truth.z)
    if not known.all():
        n = len(truth) - np.count_nonzero(known)
        logger.warning("%d of %d labels have no class or no redshift: left out", n, len(truth))
    code = {value: bal for bal, value in _BAL_CODE.items()}
    rows = truth[known]
    values = zip(
        *(rows.target_id, rows.spectype, rows.z, rows.quality, rows.bal, rows.z_err), strict=True
    )
    return {
        int(target): Merged(
            spectype=SpecType(int(kind)),
            z=float(z),
            quality=float(quality),
            is_bal=code[int(bal)],
            z_err=z_err_of(z_err),
        )
        for target, kind, z, quality, bal, z_err in values
    }


def _frame(merged: Mapping[int, Merged], text: Callable[[str], str]) -> "pl.DataFrame":
    import polars as pl  # noqa: PLC0415 -- the page starts without

    rows = [
        (
            target,
            label.z,
            label.quality,
            text(label.spectype.word),
            label.n_inspections,
            text(label.issues),
            text(label.comments),
            text(label.comment),
            _BAL_CODE[label.is_bal],
            label.z_err,
        )
        for target, label in merged.items()
    ]
    return pl.DataFrame(rows, _SCHEMA, orient="row")


def _is_csv(path: str | Path) -> bool:
    return Path(path).suffix == ".csv"


def _merged(row: Mapping[str, Any], *, in_csv: bool) -> Merged:
    text = undo_defuse if in_csv else str
    quality = _number(row["best_quality"])
    if quality is None or not min(QUALITIES) <= quality <= max(QUALITIES):
        raise InspectionError(f"best_quality is {row['best_quality']!r}; expected 0 to 4")
    bal = _number(row.get("IS_BAL"))
    return Merged(
        spectype=SpecType.from_word(str(row["best_spectype"] or "")),
        z=_number(row["best_z"]),
        quality=quality,
        is_bal=None if bal is None or bal < 0 else bool(bal),
        issues=clean_issues(str(row.get("all_VI_issues") or "")),
        comment=text(str(row.get("merger_comment") or "")),
        n_inspections=int(_number(row.get("N_VI")) or 0),
        comments=text(str(row.get("all_VI_comments") or "")),
        z_err=z_err_of(row.get("best_z_err")),
    )


def _number(value: Any) -> float | None:
    if value is None or str(value).strip() == "":
        return None
    number = float(value)
    return number if math.isfinite(number) else None
