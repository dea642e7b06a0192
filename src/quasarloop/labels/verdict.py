"""A verdict: one inspector's label of one spectrum. Its fields and limits are defined here only.

The page's JavaScript, its requests, the database and the files all read this definition.
"""

import math
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Final

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    StrictBool,
    TypeAdapter,
    WithJsonSchema,
)

from quasarloop.errors import InspectionError
from quasarloop.truth import CLASSES, SpecType

__all__ = [
    "ISSUES",
    "MAX_COMMENT",
    "MAX_Z_ERR",
    "QUALITIES",
    "ClassWord",
    "IssueLetters",
    "Quality",
    "Redshift",
    "Verdict",
    "clean",
    "clean_comment",
    "clean_issues",
    "defuse",
    "is_complete",
    "undo_defuse",
    "verdict_definition",
    "verdict_json",
    "z_err_of",
]

# Source: docs/reference/labels.md, "Verdicts" (DESI practice). The page shows these texts.
QUALITIES: Final = {
    4: "two or more secure features",
    3: "one secure feature and continuum, or many weak ones",
    2: "one strong feature, unsure",
    1: "signal, unidentified",
    0: "no signal",
}
ISSUES: Final = {"R": "bad redshift", "C": "bad class", "S": "bad spectrum"}
# Source: docs/reference/labels.md, "Prospect CSV".
MAX_COMMENT: Final = 100
# Before it is cleaned: the text is cut then, and Greek letters become words.
_MAX_TYPED: Final = 400
# From this quality on class and redshift must be given; below, they may be left open.
_MIN_IDENTIFIED: Final = 2
# Our choice: redshifts outside are typing errors (blueshifted stars reach about -0.005).
_Z_RANGE: Final = (-0.02, 10.0)
# Our choice: a redshift less sure than this was not fitted.
MAX_Z_ERR: Final = 1.0
_ASCII_MAX: Final = 127
# What spreadsheets take for a formula (but numbers may be numbers). The apostrophe that makes it
# text goes before one that is there, too, so that every cell comes back.
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r].*[\w(]", re.DOTALL)
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# The signs prospect spells out; everything else outside ASCII becomes "?" there and here.
_SPELLED: Final = {
    "Å": "Angstrom",
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "λ": "lambda",
}


def _class_of(value: Any) -> SpecType:
    return value if isinstance(value, SpecType) else SpecType.from_word(str(value))


# The types of the fields: as they are in Python, and how JSON writes and limits them.
ClassWord = Annotated[
    SpecType,
    BeforeValidator(_class_of),
    PlainSerializer(lambda spectype: spectype.word, return_type=str),
    WithJsonSchema({"type": "string", "enum": [kind.word for kind in SpecType]}),
]
Redshift = Annotated[float, Strict(), Field(ge=_Z_RANGE[0], le=_Z_RANGE[1], allow_inf_nan=False)]
Quality = Annotated[float, Field(ge=min(QUALITIES), le=max(QUALITIES), allow_inf_nan=False)]
IssueLetters = Annotated[str, Field(pattern=f"^[{''.join(ISSUES)}]{{0,{len(ISSUES)}}}$")]


@dataclass(frozen=True)
class Verdict:
    """One inspector's label; every part may still be open.

    Attributes:
        spectype: class, `SpecType.UNKNOWN` while open.
        z: redshift, None while open.
        quality: 0–4, None while open; whole for inspectors, a mean in merged labels.
        is_bal: broad absorption seen (True), looked for and not seen (False), not judged (None).
        issues: letters of `ISSUES`, in that order, e.g. ``"RS"``.
        comment: at most `MAX_COMMENT` ASCII characters without commas.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    spectype: ClassWord = SpecType.UNKNOWN
    z: Redshift | None = None
    # Strict: true is not 1. Quality alone also limits queries, which are text.
    quality: Annotated[Quality, Strict()] | None = None
    is_bal: StrictBool | None = None
    issues: IssueLetters = ""
    comment: Annotated[str, Field(max_length=_MAX_TYPED)] = ""


_ADAPTER: Final = TypeAdapter(Verdict)


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON holds it: the class as a word."""
    content: dict[str, Any] = _ADAPTER.dump_python(verdict, mode="json")
    return content


def verdict_definition() -> dict[str, Any]:
    """Return the fields, values and limits of a verdict, JSON-ready, for the page."""
    return {
        "blank": verdict_json(Verdict()),
        "classes": [kind.word for kind in CLASSES],
        "qualities": QUALITIES,
        "issues": ISSUES,
        "max_comment": MAX_COMMENT,
        "min_identified": _MIN_IDENTIFIED,
        "z_range": _Z_RANGE,
    }


def clean(verdict: Verdict) -> Verdict:
    """Bring comment and issues to their stored form and check the numbers.

    Raises:
        InspectionError: quality or redshift outside its range, an unknown issue letter.
    """
    if verdict.quality is not None and not min(QUALITIES) <= verdict.quality <= max(QUALITIES):
        raise InspectionError(f"quality is {verdict.quality}; expected 0 to 4")
    low, high = _Z_RANGE
    if verdict.z is not None and not (math.isfinite(verdict.z) and low <= verdict.z <= high):
        raise InspectionError(f"redshift is {verdict.z}; expected {low:g} to {high:g}")
    return replace(
        verdict,
        issues=clean_issues(verdict.issues),
        comment=clean_comment(verdict.comment),
        # Only a quasar can be a broad-absorption-line quasar.
        is_bal=verdict.is_bal if verdict.spectype == SpecType.QSO else None,
    )


def clean_comment(text: str) -> str:
    """Return a comment as prospect's CSV can hold it: ASCII, no comma, at most 100 characters.

    Source: docs/reference/labels.md, "Prospect CSV".

    >>> clean_comment("broad C IV, λ 4500 Å")
    'broad C IV; lambda 4500 Angstrom'
    """
    spelled = "".join(_spell(sign) for sign in unicodedata.normalize("NFC", text))
    # A quote or a line break inside a field is where CSV readers part ways.
    one_line = " ".join(spelled.replace(",", ";").replace('"', "'").split())
    return one_line[:MAX_COMMENT].rstrip()


def defuse(cell: str) -> str:
    """Return a cell of CSV that no spreadsheet takes for a formula: an apostrophe goes before it.

    >>> defuse("=1+1"), defuse("-0.0012"), defuse("blue")
    ("'=1+1", '-0.0012', 'blue')
    """
    risky = _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if risky else cell


def undo_defuse(cell: str) -> str:
    """Return the cell that `defuse` was given.

    >>> undo_defuse("'=1+1")
    '=1+1'
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def z_err_of(cell: Any) -> float | None:
    """Return the standard deviation of a redshift in a cell of a table; None of an empty one.

    Raises:
        InspectionError: no number, or outside its range.
    """
    try:
        value = math.nan if cell is None or str(cell).strip() == "" else float(cell)
    except ValueError as exc:
        raise InspectionError(f"error of the redshift is {cell!r}; expected a number") from exc
    if math.isnan(value):
        return None
    if not 0 <= value <= MAX_Z_ERR:
        raise InspectionError(f"error of the redshift is {value}; expected 0 to {MAX_Z_ERR:g}")
    return value


def clean_issues(letters: str) -> str:
    """Return issue letters once each, in the order R, C, S; prospect's ``-`` is none.

    Raises:
        InspectionError: a letter that is none of these.

    >>> clean_issues("SR S")
    'RS'
    """
    found = {letter for letter in letters.upper() if not letter.isspace()} - {"-"}
    unknown = found - set(ISSUES)
    if unknown:
        raise InspectionError(
            f"unknown issue {', '.join(sorted(unknown))!r}; expected letters of {''.join(ISSUES)}"
        )
    return "".join(letter for letter in ISSUES if letter in found)


def is_complete(verdict: Verdict) -> bool:
    """Return whether a verdict can be merged: quality, and from 2 on class and redshift too."""
    if verdict.quality is None:
        return False
    identified = verdict.spectype != SpecType.UNKNOWN and verdict.z is not None
    return identified or verdict.quality < _MIN_IDENTIFIED


def _spell(sign: str) -> str:
    if sign in _SPELLED:
        return _SPELLED[sign]
    if sign.isspace():
        return " "
    return sign if sign >= " " and ord(sign) < _ASCII_MAX else "?"
