"""What one inspector says of one spectrum, and what makes it complete."""

import math
import unicodedata
from dataclasses import dataclass, replace
from typing import Final

from quasarloop.errors import InspectionError
from quasarloop.truth import SpecType

__all__ = [
    "ISSUES",
    "MAX_COMMENT",
    "QUALITIES",
    "Verdict",
    "clean",
    "clean_comment",
    "clean_issues",
    "is_complete",
    "spectype_from_name",
    "spectype_name",
]

# Source: INTEROP.md, "Visual inspection" (DESI practice). Shown on the page as they stand.
QUALITIES: Final = {
    4: "two or more secure features",
    3: "one secure feature and continuum, or many weak ones",
    2: "one strong feature, unsure",
    1: "signal, unidentified",
    0: "no signal",
}
ISSUES: Final = {"R": "bad redshift", "C": "bad class", "S": "bad spectrum"}
MAX_COMMENT: Final = 100
# From this quality on a verdict says what the object is and where; below, it may leave it open.
_MIN_IDENTIFIED: Final = 2
# Our choice: redshifts outside are typing errors (blueshifted stars reach about -0.005).
Z_RANGE: Final = (-0.02, 10.0)
_ASCII_MAX: Final = 127
# The signs prospect spells out; everything else outside ASCII becomes "?" there and here.
_SPELLED: Final = {
    "Å": "Angstrom",
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "λ": "lambda",
}


@dataclass(frozen=True)
class Verdict:
    """One inspector's label; every part may still be open.

    Attributes:
        spectype: class, `SpecType.UNKNOWN` while open.
        z: redshift, None while open.
        quality: 0–4, None while open; whole for inspectors, a mean in imported merges.
        is_bal: broad absorption seen (True), looked for and not seen (False), not judged (None).
        issues: letters of `ISSUES`, in that order, e.g. ``"RS"``.
        comment: at most `MAX_COMMENT` ASCII characters without commas.
    """

    spectype: SpecType = SpecType.UNKNOWN
    z: float | None = None
    quality: float | None = None
    is_bal: bool | None = None
    issues: str = ""
    comment: str = ""


def clean(verdict: Verdict) -> Verdict:
    """Bring comment and issues to their stored form and check the numbers.

    Raises:
        InspectionError: quality or redshift outside its range, an unknown issue letter.
    """
    if verdict.quality is not None and not min(QUALITIES) <= verdict.quality <= max(QUALITIES):
        raise InspectionError(f"quality is {verdict.quality}; expected 0 to 4")
    low, high = Z_RANGE
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

    Source: INTEROP.md, "Visual inspection".

    >>> clean_comment("broad C IV, λ 4500 Å")
    'broad C IV; lambda 4500 Angstrom'
    """
    spelled = "".join(_spell(sign) for sign in unicodedata.normalize("NFC", text))
    # A quote or a line break inside a field is where CSV readers part ways.
    one_line = " ".join(spelled.replace(",", ";").replace('"', "'").split())
    return one_line[:MAX_COMMENT].rstrip()


def clean_issues(letters: str) -> str:
    """Return issue letters once each, in the order R, C, S.

    Raises:
        InspectionError: a letter that is none of these.

    >>> clean_issues("SR S")
    'RS'
    """
    found = {letter for letter in letters.upper() if not letter.isspace()}
    unknown = found - set(ISSUES)
    if unknown:
        raise InspectionError(
            f"unknown issue {', '.join(sorted(unknown))!r}; expected letters of {''.join(ISSUES)}"
        )
    return "".join(letter for letter in ISSUES if letter in found)


def is_complete(verdict: Verdict) -> bool:
    """Say whether a verdict can be merged: quality given, and from 2 on class and redshift too."""
    if verdict.quality is None:
        return False
    identified = verdict.spectype != SpecType.UNKNOWN and verdict.z is not None
    return identified or verdict.quality < _MIN_IDENTIFIED


def spectype_name(spectype: SpecType) -> str:
    """Return ``"STAR"``, ``"GALAXY"``, ``"QSO"`` or ``""`` while unknown."""
    return "" if spectype == SpecType.UNKNOWN else spectype.name


def spectype_from_name(name: str) -> SpecType:
    """Return the class of that name; ``""`` is unknown.

    Raises:
        InspectionError: another name.
    """
    word = name.strip().upper()
    if not word:
        return SpecType.UNKNOWN
    if word not in ("STAR", "GALAXY", "QSO"):
        raise InspectionError(f"class is {name!r}; expected STAR, GALAXY, QSO or nothing")
    return SpecType[word]


def _spell(sign: str) -> str:
    if sign in _SPELLED:
        return _SPELLED[sign]
    if sign.isspace():
        return " "
    return sign if sign >= " " and ord(sign) < _ASCII_MAX else "?"
