"""Prospect's inspection CSV: one file per scanner, columns in prospect's order.

Source: docs/reference/labels.md, "Prospect CSV".
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from quasarloop.artefacts import write_atomically
from quasarloop.columns import integer_id
from quasarloop.errors import InspectionError, check_regular, reading
from quasarloop.labels.verdict import (
    MAX_COMMENT,
    Verdict,
    clean,
    defuse,
    undo_defuse,
    z_err_of,
)
from quasarloop.tables import mended_csv
from quasarloop.truth import SpecType

__all__ = ["COLUMNS", "Inspection", "file_name", "read_inspections", "write_inspections"]

COLUMNS: Final[tuple[str, ...]] = (
    "TARGETID",
    "EXPID",
    "NIGHT",
    "TILEID",
    "Spec_version",
    "Redrock_version",
    "Template_version",
    "Redrock_spectype",
    "Redrock_z",
    "Redrock_deltachi2",
    "VI_scanner",
    "VI_quality",
    "VI_issue",
    "VI_z",
    "VI_spectype",
    "VI_comment",
)
_REQUIRED: Final[tuple[str, ...]] = ("TARGETID", "VI_scanner", "VI_quality", "VI_z", "VI_spectype")
_OURS: Final = tuple(name for name in COLUMNS if name.startswith("VI_"))
# Ours, after prospect's columns; its exact form has none.
_Z_ERR: Final = "VI_z_err"
# Prospect's own rounding of redshifts; a finer one typed here keeps its digits.
_Z_DECIMALS: Final = 4
# Prospect has no BAL column: its standard comment ends in "(BAL)", ours begins with "BAL".
_BAL_COMMENT: Final = "BAL"
_CONTAINS_BAL: Final = re.compile(rf"^{_BAL_COMMENT}(;|$)|\({_BAL_COMMENT}\)")


@dataclass(frozen=True)
class Inspection:
    """One row: one scanner's verdict on one target.

    Attributes:
        target_id: survey identifier.
        scanner: the inspector's name.
        verdict: theirs; redrock's values where they left these blank.
        z_err: standard deviation of the redshift, None where none is known.
        columns: the row's other columns, and of an imported row all of them, word for word.
    """

    target_id: int
    scanner: str
    verdict: Verdict
    z_err: float | None = field(default=None, kw_only=True)
    columns: Mapping[str, str] = field(default_factory=dict)


def file_name(title: str, scanner: str) -> str:
    """Return ``desi-vi_<title>_<name>.csv``.

    >>> file_name("round 1", "ada")
    'desi-vi_round-1_ada.csv'
    """
    title, scanner = (re.sub(r"[^A-Za-z0-9.-]+", "-", word).strip("-") for word in (title, scanner))
    return f"desi-vi_{title}_{scanner}.csv"


def read_inspections(path: str | Path) -> list[Inspection]:
    """Read a file of prospect's.

    Raises:
        InspectionError: unreadable, a column missing, or a row with impossible values.
    """
    file = Path(path)
    remedy = "give a file of prospect's"
    with reading(file, "CSV", remedy, InspectionError):
        text = mended_csv(check_regular(file).read_bytes()).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        rows = [(reader.line_num, row) for row in reader]
        names = reader.fieldnames or []
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise InspectionError(
            f"{file}: no column {', '.join(missing)}; expected prospect's columns "
            f"({', '.join(COLUMNS)})"
        )
    inspections = []
    for line, row in rows:
        try:
            inspections.append(_inspection(row))
        except (ValueError, InspectionError) as exc:
            raise InspectionError(f"{file}, line {line}: {exc}") from exc
    return inspections


def write_inspections(
    inspections: Sequence[Inspection], path: str | Path, *, exact: bool = False
) -> None:
    """Write rows as prospect does: absent columns omitted, unknown ones last.

    An imported row whose verdict is unchanged is written word for word.

    Args:
        inspections: of one scanner.
        path: the CSV file.
        exact: prospect's own form: without errors of redshifts, and with cells that spreadsheets
            take for formulas as they are.
    """
    cell = str if exact else defuse
    given = {name for row in inspections for name in row.columns} | set(_OURS) | {"TARGETID"}
    given -= {_Z_ERR}
    if not exact and any(row.z_err is not None for row in inspections):
        given |= {_Z_ERR}
    names = [name for name in COLUMNS if name in given]
    names += sorted(given - set(COLUMNS))
    with (
        write_atomically(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(map(cell, names))
        for row in map(_row, inspections):
            writer.writerow(cell(row.get(name, "")) for name in names)


def _inspection(row: Mapping[str, Any]) -> Inspection:
    if None in row or None in row.values():
        raise InspectionError("more or fewer fields than the header; is a comma unquoted?")
    words = {undo_defuse(name): undo_defuse(str(value)) for name, value in row.items()}
    return Inspection(
        target_id=integer_id(words["TARGETID"]),
        scanner=words["VI_scanner"].strip(),
        verdict=_verdict(words),
        z_err=_error(words),
        columns=words,
    )


def _verdict(words: Mapping[str, str]) -> Verdict:
    # Blank means that redrock's value, which was shown, was accepted.
    z = words["VI_z"].strip() or words.get("Redrock_z", "").strip()
    spectype = words["VI_spectype"].strip() or words.get("Redrock_spectype", "").strip()
    quality = words["VI_quality"].strip()
    comment = words.get("VI_comment", "").strip()
    return clean(
        Verdict(
            spectype=SpecType.from_word(spectype),
            z=float(z) if z else None,
            quality=None if quality in ("", "-1") else float(quality),
            is_bal=True if _CONTAINS_BAL.search(comment) else None,
            issues=words.get("VI_issue", ""),
            comment=comment,
        )
    )


def _error(words: Mapping[str, str]) -> float | None:
    return z_err_of(words.get(_Z_ERR))


def _row(inspection: Inspection) -> dict[str, str]:
    columns, verdict = inspection.columns, inspection.verdict
    error = inspection.z_err
    imported = set(_REQUIRED) <= set(columns) and (_verdict(columns), _error(columns))
    if imported == (verdict, error):
        return dict(columns)
    return {
        **columns,
        _Z_ERR: "" if error is None else repr(error),
        "TARGETID": str(inspection.target_id),
        "VI_scanner": inspection.scanner,
        "VI_quality": "" if verdict.quality is None else f"{verdict.quality:g}",
        "VI_issue": verdict.issues,
        "VI_z": "" if verdict.z is None else _z_text(verdict.z),
        "VI_spectype": verdict.spectype.word,
        "VI_comment": _with_bal(verdict),
    }


def _z_text(z: float) -> str:
    rounded = f"{z:.{_Z_DECIMALS}f}"
    return rounded if float(rounded) == z else repr(z)


def _with_bal(verdict: Verdict) -> str:
    """The comment, with the BAL flag spelled out where prospect has no column for it."""
    if not verdict.is_bal or _CONTAINS_BAL.search(verdict.comment):
        return verdict.comment
    return f"{_BAL_COMMENT}; {verdict.comment}"[:MAX_COMMENT] if verdict.comment else _BAL_COMMENT
