"""The reason of every single spectrum, for whoever asks why theirs was not chosen."""

from pathlib import Path
from typing import Final

import polars as pl

from quasarloop.artefacts import write_atomically
from quasarloop.query.cells import CellsFile
from quasarloop.query.choose import one_per_object
from quasarloop.query.options import KnownObjects, SelectionOptions
from quasarloop.query.reasons import Reason
from quasarloop.query.select import Selection, prepare
from quasarloop.query.votes_input import INDEX, VotesTable

__all__ = ["reasons_of", "write_reasons"]

_NAMES: Final = {int(reason): reason.name for reason in Reason}


def reasons_of(
    votes: VotesTable,
    cells_file: CellsFile | None,
    selection: Selection,
    truth: KnownObjects | None,
    excluded: KnownObjects | None,
    options: SelectionOptions,
) -> pl.LazyFrame:
    """Return `SHARD`, `ROW`, `TARGETID`, `SCORE` and `REASON` of every spectrum, unread.

    Args:
        votes: as given to `select`.
        cells_file: as given to `select`.
        selection: what `select` returned.
        truth: as given to `select`.
        excluded: as given to `select`.
        options: as given to `select`.
    """
    frame, in_truth, *_ = prepare(votes, cells_file, truth, excluded, options)
    eligible = pl.col("REASON") == int(Reason.ELIGIBLE)
    best = _kept_rows(one_per_object(frame.filter(eligible), options.keep))
    known = pl.col("OBJECT_ID").is_in(pl.Series(in_truth).implode())
    chosen = pl.col(INDEX).is_in(selection.chosen[INDEX].implode())
    ahead = pl.col("SCORE") >= selection.score_cut
    # Of limits it is enough to know that one was met: the object ranked high enough.
    passed_over = ahead & pl.lit(options.limited and options.draw == "top")
    reason = (
        pl.when(~eligible)
        .then(pl.col("REASON"))
        .when(~pl.col(INDEX).is_in(best.implode()))
        .then(int(Reason.REPEAT))
        .when(known)
        .then(int(Reason.IN_TRUTH))
        .when(chosen)
        .then(int(Reason.CHOSEN))
        .when(passed_over)
        .then(int(Reason.CELL_FULL))
        .otherwise(int(Reason.BELOW_CUT))
    )
    words = reason.replace_strict(_NAMES, return_dtype=pl.String)
    return frame.with_columns(REASON=words).select("SHARD", "ROW", "TARGETID", "SCORE", "REASON")


def write_reasons(path: str | Path, reasons: pl.LazyFrame) -> None:
    """Write what `reasons_of` returned as Parquet, without holding it in memory."""
    with write_atomically(path) as temporary:
        reasons.sink_parquet(temporary, compression="zstd", statistics=False)


def _kept_rows(eligible: pl.LazyFrame) -> pl.Series:
    """Row numbers of the spectra that stand for their objects, as `choose.ranked` keeps them."""
    ties = pl.col("MUTUAL_INFORMATION").fill_nan(0.0).fill_null(0.0)
    order = [-pl.col("SCORE"), -ties, pl.col("TARGETID"), pl.col(INDEX)]
    best = eligible.group_by("OBJECT_ID").agg(pl.col(INDEX).sort_by(order).first())
    return best.collect(engine="streaming")[INDEX]
