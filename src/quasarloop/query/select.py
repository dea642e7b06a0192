"""The choice of what experts inspect next, in the paper's order (Section 3, steps 4 to 6).

Votes are scanned, never loaded: what is kept is one number per object and the few rows that
could be chosen. Every spectrum leaves with a reason, and every reason is counted.
"""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.artefacts import write_atomically
from quasarloop.errors import SelectionError
from quasarloop.query.choose import RANDOM, Features, choose, one_per_object, ranked
from quasarloop.query.eligibility import Reason, Step, prepare
from quasarloop.query.options import KnownObjects, SelectionOptions
from quasarloop.query.som_files import CellsFile
from quasarloop.query.votes_input import INDEX, VotesTable

__all__ = ["Selection", "reasons_of", "select", "write_reasons"]

_HISTOGRAM_BINS: Final = 80


class Selection(NamedTuple):
    """What was chosen, and what became of the rest.

    Attributes:
        chosen: all columns of the votes and `INDEX`, `CELL`, `DISTANCE`, `SCORE`, `RANK` (from
            1), `REASON`; best first.
        outliers: the same columns, of rejected outliers.
        steps: the count table.
        n_spectra: rows of the votes.
        counts: (n_cells,) what every cell holds; empty without a map.
        least_count: cells with fewer are outliers; NaN without a map.
        edges, histogram: (k+1,), (k,) scores of the objects that could be chosen (Fig. 3).
        decision: confidence that decided the votes' entropy.
    """

    chosen: pl.DataFrame
    outliers: pl.DataFrame
    steps: tuple[Step, ...]
    n_spectra: int
    counts: NDArray[np.int64]
    least_count: float
    edges: NDArray[np.float64]
    histogram: NDArray[np.int64]
    decision: float

    @property
    def score_cut(self) -> float:
        """Lowest score among the chosen; NaN if nothing was."""
        lowest = self.chosen["SCORE"].min()
        return float("nan") if lowest is None else float(lowest)  # type: ignore[arg-type]  # a float column

    @property
    def n_drawn_from(self) -> int:
        """Objects that were left when the random part was drawn, itself counted."""
        passed_over = (Reason.CELL_FULL, Reason.BELOW_CUT)
        n_random = int((self.chosen["REASON"] == RANDOM).sum())
        return n_random + sum(step.removed for step in self.steps if step.reason in passed_over)


def select(
    votes: VotesTable,
    cells_file: CellsFile | None = None,
    *,
    truth: KnownObjects | None = None,
    excluded: KnownObjects | None = None,
    options: SelectionOptions | None = None,
    features: Features | None = None,
) -> Selection:
    """Choose the objects to be inspected.

    Args:
        votes: of the ensemble.
        cells_file: the map's assignment of the same store; None rejects no outliers.
        truth: objects that have labels.
        excluded: objects not to be shown, e.g. of other campaigns.
        options: what to choose.
        features: rows (`SHARD`, `ROW`) → (n, d) array, for ``options.spread``.

    Raises:
        SelectionError: votes and cells of different stores, or options that do not fit together.

    Source: paper, Section 3, steps 4 to 6. Flags and lists come first, so that what is refused
    cannot represent its object; the order of the rest is the paper's.
    """
    options = options or SelectionOptions()
    if options.spread and features is None:
        raise SelectionError("choosing unlike spectra needs their flux; give the store")
    frame, in_truth, counts, least = prepare(votes, cells_file, truth, excluded, options)
    eligible = one_per_object(_with_reason(frame, Reason.ELIGIBLE), options.keep)
    by_object = eligible.group_by("OBJECT_ID").agg(pl.col("SCORE").max())
    by_reason = frame.group_by("REASON").agg(pl.len())
    counted, objects = pl.collect_all([by_reason, by_object], engine="streaming")  # in one pass
    free = objects.filter(~pl.col("OBJECT_ID").is_in(pl.Series(in_truth).implode()))
    chosen, n_full = choose(eligible, in_truth, options, features)
    taken = np.concatenate([in_truth, chosen["OBJECT_ID"].to_numpy()])
    rejected = one_per_object(_with_reason(frame, Reason.OUTLIER), options.keep)
    outliers = ranked(rejected, pl.col("SCORE"), taken, options.n_outliers)
    outliers = outliers.head(options.n_outliers).with_columns(HOW=pl.lit("outlier"))
    histogram, edges = np.histogram(free["SCORE"].to_numpy(), bins=_HISTOGRAM_BINS)
    by_rule = dict(counted.iter_rows())
    removed = [(r, by_rule.get(int(r), 0)) for r in Reason if Reason.ELIGIBLE < r < Reason.REPEAT]
    removed += [
        (Reason.REPEAT, by_rule.get(int(Reason.ELIGIBLE), 0) - len(objects)),
        (Reason.IN_TRUTH, len(objects) - len(free)),
        (Reason.CELL_FULL, n_full),
        (Reason.BELOW_CUT, len(free) - len(chosen) - n_full),
    ]
    left = votes.n_rows - np.cumsum([n for _, n in removed])
    return Selection(
        _whole_rows(frame, chosen),
        _whole_rows(frame, outliers),
        tuple(Step(*rule, rest) for rule, rest in zip(removed, left.tolist(), strict=True)),
        votes.n_rows,
        counts,
        least,
        edges,
        histogram,
        votes.decision,
    )


def _with_reason(frame: pl.LazyFrame, reason: Reason) -> pl.LazyFrame:
    return frame.filter(pl.col("REASON") == int(reason))


def _whole_rows(frame: pl.LazyFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Read all columns of a few rows, in their rank's order."""
    ranks = rows.select(INDEX, pl.col("HOW").alias("REASON")).with_row_index("RANK", offset=1)
    whole = (
        frame.drop("REASON")
        .filter(pl.col(INDEX).is_in(rows[INDEX].implode()))
        .collect(engine="streaming")
    )
    return whole.join(ranks, on=INDEX, how="inner").sort("RANK")


def reasons_of(
    votes: VotesTable,
    cells_file: CellsFile | None,
    selection: Selection,
    truth: KnownObjects | None,
    excluded: KnownObjects | None,
    options: SelectionOptions,
) -> pl.LazyFrame:
    """Return `SHARD`, `ROW`, `TARGETID`, `SCORE` and `REASON` of every spectrum, unread.

    All is as given to `select`; ``selection`` is what it returned.
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
    names = {int(member): member.name for member in Reason}
    words = reason.replace_strict(names, return_dtype=pl.String)
    return frame.with_columns(REASON=words).select("SHARD", "ROW", "TARGETID", "SCORE", "REASON")


def write_reasons(path: str | Path, reasons: pl.LazyFrame) -> None:
    """Write what `reasons_of` returned as Parquet, without holding it in memory."""
    with write_atomically(path) as temporary:
        reasons.sink_parquet(temporary, compression="zstd", statistics=False)


def _kept_rows(eligible: pl.LazyFrame) -> pl.Series:
    """Row numbers of the spectra that represent their objects, as `choose.ranked` keeps them."""
    ties = pl.col("MUTUAL_INFORMATION").fill_nan(0.0).fill_null(0.0)
    order = [-pl.col("SCORE"), -ties, pl.col("TARGETID"), pl.col(INDEX)]
    best = eligible.group_by("OBJECT_ID").agg(pl.col(INDEX).sort_by(order).first())
    return best.collect(engine="streaming")[INDEX]
