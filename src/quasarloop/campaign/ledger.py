"""The truth table's history: where each label came from, and what took its place."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from quasarloop.errors import CampaignError, TruthError, reading
from quasarloop.tables import write_table
from quasarloop.truth import TruthTable

__all__ = [
    "Origin",
    "active_truth",
    "add_labels",
    "new_ledger",
    "read_ledger",
    "withdraw",
    "write_ledger",
]


class Origin(StrEnum):
    """How a label came into the campaign."""

    INITIAL = "initial"  # the first T
    BORROWED = "borrowed"  # another survey's, round 1 only
    LOOP = "loop"  # chosen and labelled in a round
    OUTLIER = "outlier"  # a rejected outlier, inspected besides


_SCHEMA: Final = {
    "TARGETID": pl.Int64,
    "OBJECT_ID": pl.Int64,
    "SPECTYPE": pl.Int8,
    "Z": pl.Float64,
    "QUALITY": pl.Float32,
    "IS_BAL": pl.Int8,
    "SOURCE": pl.String,
    "ORIGIN": pl.String,
    "ROUND": pl.Int32,
    "VERSION": pl.Int32,  # counts the labels of one target from 1
    "STATUS": pl.String,  # active, superseded, withdrawn
    "REASON": pl.String,  # why it is no longer active
}
_ACTIVE: Final = "active"


def new_ledger(initial: TruthTable, borrowed: TruthTable | None = None) -> pl.DataFrame:
    """Start a history with the first truth table and, for round 1 only, borrowed labels.

    Where both have a target, the survey's own label counts.
    """
    ledger = _rows(initial, Origin.INITIAL, round_number=0)
    if borrowed is None:
        return ledger
    fresh = borrowed[~np.isin(borrowed.target_id, initial.target_id)]
    return pl.concat([ledger, _rows(fresh, Origin.BORROWED, round_number=0)])


def add_labels(
    ledger: pl.DataFrame, labels: TruthTable, *, origin: Origin, round_number: int
) -> pl.DataFrame:
    """Append labels of a round; earlier labels of the same targets stay as superseded."""
    reason = f"labelled again in round {round_number}"
    old = _end(ledger, labels.target_id.tolist(), "superseded", reason)
    new = _rows(labels, origin, round_number)
    seen = ledger.group_by("TARGETID").agg(pl.col("VERSION").max().alias("_before"))
    new = (
        new.join(seen, on="TARGETID", how="left", maintain_order="left")
        .with_columns(VERSION=(pl.col("_before").fill_null(0) + 1).cast(pl.Int32))
        .drop("_before")
    )
    return pl.concat([old, new])


def withdraw(ledger: pl.DataFrame, target_id: Sequence[int], reason: str) -> pl.DataFrame:
    """Take targets out of T with a reason (the paper's two corrupted spectra).

    Raises:
        CampaignError: no reason, or a target without an active label.
    """
    if not reason.strip():
        raise CampaignError("a withdrawal needs a reason: why the label cannot train")
    active = set(ledger.filter(pl.col("STATUS") == _ACTIVE)["TARGETID"].to_list())
    unknown = sorted(set(target_id) - active)
    if unknown:
        raise CampaignError(f"TARGETID {unknown[0]} has no active label; nothing to withdraw")
    return _end(ledger, list(target_id), "withdrawn", reason)


def _end(ledger: pl.DataFrame, target_id: list[int], status: str, reason: str) -> pl.DataFrame:
    """Return the history with the active labels of targets no longer active."""
    ended = pl.col("TARGETID").is_in(target_id) & (pl.col("STATUS") == _ACTIVE)
    return ledger.with_columns(
        STATUS=pl.when(ended).then(pl.lit(status)).otherwise(pl.col("STATUS")),
        REASON=pl.when(ended).then(pl.lit(reason)).otherwise(pl.col("REASON")),
    )


def active_truth(
    ledger: pl.DataFrame, *, up_to_round: int | None = None, with_borrowed: bool = False
) -> TruthTable:
    """Return the truth table T as it is, or as it was after a round.

    Withdrawn targets are never in it; another survey's labels only `with_borrowed` (round 1).
    """
    rows = ledger
    if up_to_round is not None:
        rows = rows.filter(pl.col("ROUND") <= up_to_round)
    if not with_borrowed:
        rows = rows.filter(pl.col("ORIGIN") != Origin.BORROWED.value)
    withdrawn = ledger.filter(pl.col("STATUS") == "withdrawn")["TARGETID"].to_list()
    rows = rows.filter(~pl.col("TARGETID").is_in(withdrawn))
    # Of each target the last label known by then.
    rows = rows.with_row_index("_order").sort("VERSION", "_order")
    rows = rows.unique("TARGETID", keep="last", maintain_order=True).sort("_order")
    return TruthTable.make(
        rows["TARGETID"].to_numpy(),
        rows["SPECTYPE"].to_numpy(),
        rows["Z"].to_numpy(),
        object_id=rows["OBJECT_ID"].to_numpy(),
        quality=rows["QUALITY"].to_numpy(),
        bal=rows["IS_BAL"].to_numpy(),
        source=np.array(rows["SOURCE"].to_list(), dtype=np.str_),
    )


def write_ledger(ledger: pl.DataFrame, path: str | Path) -> None:
    """Write the history as Parquet, atomically."""
    write_table(ledger.select(list(_SCHEMA)), path, statistics=False)


def read_ledger(path: str | Path) -> pl.DataFrame:
    """Read a history.

    Raises:
        TruthError: missing, unreadable, or with other columns.
    """
    with reading(path, "a truth history", "restore it from a copy", TruthError):
        ledger = pl.read_parquet(path)
    missing = set(_SCHEMA) - set(ledger.columns)
    if missing:
        raise TruthError(f"{path}: truth history without columns {', '.join(sorted(missing))}")
    return ledger


def _rows(labels: TruthTable, origin: Origin, round_number: int) -> pl.DataFrame:
    n = len(labels)
    return pl.DataFrame(
        {
            "TARGETID": labels.target_id,
            "OBJECT_ID": labels.object_id,
            "SPECTYPE": labels.spectype,
            "Z": labels.z,
            "QUALITY": labels.quality,
            "IS_BAL": labels.bal,
            "SOURCE": labels.source.tolist(),
            "ORIGIN": [origin.value] * n,
            "ROUND": np.full(n, round_number, np.int32),
            "VERSION": np.ones(n, np.int32),
            "STATUS": [_ACTIVE] * n,
            "REASON": [""] * n,
        },
        schema=_SCHEMA,
    )
