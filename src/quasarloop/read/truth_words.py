"""Words and numbers of truth tables: what every kind of them shares."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from quasarloop.columns import integer_ids
from quasarloop.errors import TruthError
from quasarloop.truth import SpecType

__all__ = [
    "Columns",
    "Kind",
    "Table",
    "bal_of",
    "each",
    "floats",
    "known",
    "labels",
    "number",
    "one_per_target",
    "refuse_unvetted",
    "text",
]

Table = Mapping[str, NDArray[Any]]  # names in capitals -> values; text where unsure
Columns = dict[str, NDArray[Any]]  # fields of TruthTable; those a file lacks are left out

# Redshifts outside this range are typing errors. Our choice.
_Z_RANGE: Final = (-0.1, 20.0)
_QUALITY_RANGE: Final = (0.0, 4.0)
# What prospect writes for a row that was only commented: not judged.
_NOT_JUDGED: Final = ("-1", "-1.0")
_LOGICALS: Final = {"True": "1", "true": "1", "False": "0", "false": "0"}
# Nulls make floats of integer columns, and some tables hold logicals.
_BAL_WORDS: Final = {
    **dict.fromkeys(("", "nan", "-1", "-1.0"), -1),
    **dict.fromkeys(("0", "0.0", "False"), 0),
    **dict.fromkeys(("1", "1.0", "True"), 1),
}


@dataclass(frozen=True)
class Kind:
    """A kind of truth table.

    Attributes:
        marks: columns that all its tables have; the first kind whose marks are there is taken.
        others: further columns that are read, where there are such.
        convert: makes the columns of a `TruthTable`; the flag is True if labels that nobody has
            inspected are taken, too.
    """

    marks: frozenset[str]
    others: tuple[str, ...]
    convert: Callable[[Path, Table, bool], Columns]


def refuse_unvetted(file: Path, what: str) -> TruthError:
    """Return the error for a table whose labels nobody has inspected."""
    return TruthError(
        f"{file}: {what}, whose labels nobody has inspected; give inspections; where there "
        "is an option --unvetted (unvetted=True), it takes those without a warning"
    )


def one_per_target(columns: Columns, *preference: NDArray[Any]) -> Columns:
    """Keep one row of each target: of its rows the one with the largest preference.

    Args:
        columns: with ``target_id`` of each row.
        preference: (n,) each; the first decides, then the next.
    """
    ids = columns["target_id"]
    order = np.lexsort([-np.asarray(values, np.float64) for values in preference[::-1]])
    keep = np.sort(order[np.unique(ids[order], return_index=True)[1]])
    return {name: values[keep] for name, values in columns.items()}


def floats(table: Table, name: str, missing: float | None = None) -> NDArray[np.float64]:
    """Return a column of numbers, in a FITS file or as words.

    Args:
        table: the columns.
        name: which.
        missing: its value everywhere if there is no such column.

    Raises:
        ValueError: a word that is no number; names its row.
    """
    if name not in table and missing is not None:
        return np.full(len(next(iter(table.values()))), missing)
    values = table[name]
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    return each(
        table, name, lambda word: number(_LOGICALS.get(word, word), (-np.inf, np.inf)), np.float64
    )


def labels(table: Table, spectype: str, z: str, quality: str) -> Columns:
    """Return the labels of targets named by TARGETID.

    Raises:
        ValueError: an impossible value; names its row.
    """
    return {
        "target_id": integer_ids(table["TARGETID"], "TARGETID"),
        "spectype": each(table, spectype, SpecType.from_word, np.int8),
        "z": each(table, z, number, np.float64),
        **known(table, quality=(quality, _quality, np.float64)),
    }


def known(table: Table, **columns: tuple[str, Callable[[str], Any], Any]) -> Columns:
    """Convert those columns that the table has: field -> name, conversion, type."""
    return {
        field: integer_ids(table[name], name)
        if convert is int
        else each(table, name, convert, dtype)
        for field, (name, convert, dtype) in columns.items()
        if name in table
    }


def each(table: Table, name: str, convert: Callable[[str], Any], dtype: DTypeLike) -> NDArray[Any]:
    """Convert every word of a column.

    Raises:
        ValueError: of a word; names its row.
    """
    values = []
    for row, word in enumerate(text(table[name]).tolist()):
        try:
            values.append(convert(word))
        except ValueError as exc:
            raise ValueError(f"row {row}: {name} {exc}") from exc
    return np.array(values, dtype)


def bal_of(word: str) -> int:
    """Return 1, 0 or -1 (unknown) of a word for broad absorption.

    Raises:
        ValueError: another word.
    """
    if word not in _BAL_WORDS:
        raise ValueError(f"{word!r} is none of 0, 1, empty or -1")
    return _BAL_WORDS[word]


def number(word: str, allowed: tuple[float, float] = _Z_RANGE) -> float:
    """Return the number in a word, NaN of an empty one.

    Raises:
        ValueError: no number, or outside the range.
    """
    try:
        value = float(word) if word not in ("", "None") else math.nan
    except ValueError as exc:
        raise ValueError(f"{word!r} is not a number") from exc
    if not (math.isnan(value) or allowed[0] <= value <= allowed[1]):
        raise ValueError(f"{value} is outside {allowed[0]} … {allowed[1]}")
    return value


def z_err_of(word: str) -> float:
    """Return a standard deviation of a redshift; NaN of an empty word, or a code for none.

    Raises:
        ValueError: no number.
    """
    value = number(word, (-math.inf, math.inf))
    return value if 0 < value < math.inf else math.nan


def text(values: NDArray[Any]) -> NDArray[np.str_]:
    """Return values as words without blanks around them, missing ones empty."""
    return np.array([str(v).strip() if v is not None else "" for v in values], np.str_)


def _quality(word: str) -> float:
    if word in _NOT_JUDGED:
        return 0.0
    quality = number(word, _QUALITY_RANGE)
    return 0.0 if math.isnan(quality) else quality
