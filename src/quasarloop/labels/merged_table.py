"""The merged truth table, read and written as CSV, FITS or Parquet.

Source: docs/reference/labels.md, "Merging". IS_BAL is ours: 1 yes, 0 no, -1 unknown.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from quasarloop.columns import integer_id
from quasarloop.errors import InspectionError, reading
from quasarloop.labels.merge import Merged
from quasarloop.labels.verdict import QUALITIES, clean_issues
from quasarloop.tables import read_table, write_table
from quasarloop.truth import SpecType, TruthTable

__all__ = ["MERGED_COLUMNS", "read_merged", "to_truth", "write_merged"]

_SCHEMA: Final = {
    "TARGETID": pl.Int64,
    "best_z": pl.Float64,
    "best_quality": pl.Float64,
    "best_spectype": pl.String,
    "N_VI": pl.Int64,
    "all_VI_issues": pl.String,
    "all_VI_comments": pl.String,
    "merger_comment": pl.String,
    "IS_BAL": pl.Int64,
}
MERGED_COLUMNS: Final = tuple(_SCHEMA)
_REQUIRED: Final = MERGED_COLUMNS[:4]
_BAL_CODE: Final = {True: 1, False: 0, None: -1}


def write_merged(merged: Mapping[int, Merged], path: str | Path) -> None:
    """Write final labels; the suffix (.csv, .fits, .parquet) decides the kind.

    Raises:
        OutputError: another suffix, or the file cannot be written.
    """
    write_table(_frame(merged), path, hdu="MERGED")


def read_merged(path: str | Path) -> dict[int, Merged]:
    """Read final labels back, losing nothing.

    Raises:
        InspectionError: unreadable, columns missing, values out of range, or repeated targets.
    """
    file = Path(path)
    with reading(file, "merged labels", "give a CSV, FITS or Parquet file", InspectionError):
        table = read_table(file, as_text=True)
        rows = [
            dict(zip(table, row, strict=True))
            for row in zip(*(column.tolist() for column in table.values()), strict=True)
        ]
    merged: dict[int, Merged] = {}
    missing = [name for name in _REQUIRED if name not in table]
    if missing:
        raise InspectionError(f"{file}: no column {', '.join(missing)}")
    for number, row in enumerate(rows):
        try:
            target, value = integer_id(row["TARGETID"]), _merged(row)
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
        source=source,
    )


def _frame(merged: Mapping[int, Merged]) -> pl.DataFrame:
    rows = [
        (
            target,
            label.z,
            label.quality,
            label.spectype.word,
            label.n_inspections,
            label.issues,
            label.comments,
            label.comment,
            _BAL_CODE[label.is_bal],
        )
        for target, label in merged.items()
    ]
    return pl.DataFrame(rows, _SCHEMA, orient="row")


def _merged(row: Mapping[str, Any]) -> Merged:
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
        comment=str(row.get("merger_comment") or ""),
        n_inspections=int(_number(row.get("N_VI")) or 0),
        comments=str(row.get("all_VI_comments") or ""),
    )


def _number(value: Any) -> float | None:
    if value is None or str(value).strip() == "":
        return None
    number = float(value)
    return number if math.isfinite(number) else None
