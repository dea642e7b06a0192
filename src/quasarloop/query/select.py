"""The choice of what experts inspect next, in the paper's order (Section 3, steps 4 to 6).

Votes are scanned, never loaded: what is kept is one number per object and the few rows that
could be chosen. Every spectrum leaves with a reason, and every reason is counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.artefacts import write_atomically
from quasarloop.errors import SelectionError, reading
from quasarloop.quality import UNUSABLE
from quasarloop.query import RANDOM
from quasarloop.query.choose import Features, choose, one_per_object, ranked
from quasarloop.query.options import KnownObjects, SelectionOptions
from quasarloop.query.scores import score_expression
from quasarloop.query.som_files import CellsFile, count_cells
from quasarloop.query.votes_input import INDEX, VotesTable, beside_cells

__all__ = [
    "Reason",
    "Selection",
    "Step",
    "prepare",
    "reasons_of",
    "select",
    "write_reasons",
]


class Reason(IntEnum):
    """What became of a spectrum, in the order of the rules."""

    ELIGIBLE = 0
    NO_SCORE = 1
    FLAGGED = 2
    OTHER_SURVEY = 3
    EXCLUDED = 4
    OUTLIER = 5
    REPEAT = 6
    IN_TRUTH = 7
    CELL_FULL = 8
    BELOW_CUT = 9
    CHOSEN = 10


_SENTENCES: Final[Mapping[Reason, str]] = {
    Reason.NO_SCORE: "no score: no data, or no votes",
    Reason.FLAGGED: "flagged: masked arm, corrupted, sky, repeat row or too few bins",
    Reason.OTHER_SURVEY: "of another survey or program than requested",
    Reason.EXCLUDED: "object on an exclusion list",
    Reason.OUTLIER: "outlier: its map cell holds too few spectra, or it lies too far from it",
    Reason.REPEAT: "another spectrum of the same object is kept",
    Reason.IN_TRUTH: "object already in the truth table",
    Reason.CELL_FULL: "its map cell or class already gave its share",
    Reason.BELOW_CUT: "less confusing than the chosen",
}


@dataclass(frozen=True)
class Step:
    """One line of the count table.

    Attributes:
        reason: the rule.
        removed: spectra (of `Reason.IN_TRUTH` and later: objects) that left here.
        left: how many remain.
    """

    reason: Reason
    removed: int
    left: int

    @property
    def sentence(self) -> str:
        """The rule, in words."""
        return _SENTENCES[self.reason]


def _row_reason(
    options: SelectionOptions,
    excluded: NDArray[np.int64],
    sparse_cells: NDArray[np.int64],
    farthest: float,
) -> pl.Expr:
    """Return the first rule each row breaks, `Reason.ELIGIBLE` if none; needs column `SCORE`."""
    missing = pl.col("SCORE").is_null() | pl.col("SCORE").is_nan()
    rules: list[tuple[Reason, pl.Expr]] = [
        (Reason.NO_SCORE, missing | ((pl.col("FLAGS") & int(UNUSABLE)) != 0)),
        (Reason.FLAGGED, (pl.col("FLAGS") & int(options.refused)) != 0),
    ]
    for column, allowed in (("SURVEY", options.surveys), ("PROGRAM", options.programs)):
        if allowed:
            rules.append((Reason.OTHER_SURVEY, ~pl.col(column).is_in(list(allowed))))
    if len(excluded):
        on_list = pl.col("OBJECT_ID").is_in(pl.Series(excluded).implode())
        rules.append((Reason.EXCLUDED, on_list))
    if len(sparse_cells):
        sparse = pl.Series(sparse_cells, dtype=pl.Int32).implode()
        rules.append((Reason.OUTLIER, pl.col("CELL").is_in(sparse)))
    if np.isfinite(farthest):
        # Spectra without a cell have no distance; polars counts NaN as the largest number.
        far = (pl.col("DISTANCE") > farthest) & pl.col("DISTANCE").is_not_nan()
        rules.append((Reason.OUTLIER, far))
    found = pl.lit(int(Reason.ELIGIBLE))
    for reason, breaks in reversed(rules):  # the first rule is applied last, so that it wins
        found = pl.when(breaks).then(int(reason)).otherwise(found)
    return found.cast(pl.UInt8)


def prepare(
    votes: VotesTable,
    cells_file: CellsFile | None,
    truth: KnownObjects | None,
    excluded: KnownObjects | None,
    options: SelectionOptions,
) -> tuple[pl.LazyFrame, NDArray[np.int64], NDArray[np.int64], float]:
    """Give every spectrum its score, and the reason it goes at once, if any.

    Returns:
        The votes with `CELL`, `SCORE` and `REASON`, unread; the (k,) objects that have labels;
        counts and least count as in `Selection`.
    """
    if options.keep == "coadd" and cells_file is None:
        raise SelectionError("which spectra are coadds is recorded in the map's cells; give them")
    counts, least, sparse = _sparse_cells(cells_file, options)
    frame = beside_cells(votes, cells_file)
    farthest = _farthest(cells_file, options.far_percentile)
    reason = _row_reason(options, _objects(frame, excluded), sparse, farthest)
    score = score_expression(options.score, votes.thresholds, seed=options.seed)
    scored = frame.with_columns(SCORE=score.cast(pl.Float64))
    return scored.with_columns(REASON=reason), _objects(frame, truth), counts, least


def _sparse_cells(
    cells_file: CellsFile | None, options: SelectionOptions
) -> tuple[NDArray[np.int64], float, NDArray[np.int64]]:
    if cells_file is None:
        return np.empty(0, np.int64), float("nan"), np.empty(0, np.int64)
    counts = count_cells(cells_file, options.count_by)
    # Over ALL cells, empty ones too; "below" is strict, so cells that tie with it stay.
    least = float(np.percentile(counts, options.percentile))
    return counts, least, np.flatnonzero(counts < least)


def _farthest(cells_file: CellsFile | None, percentile: float) -> float:
    if cells_file is None or percentile == 100:  # noqa: PLR2004 -- per cent: rejects none
        return float("inf")
    distance = pl.col("DISTANCE").drop_nulls().drop_nans()
    share = cells_file.scan().select(distance.quantile(percentile / 100, "linear"))
    found = share.collect(engine="streaming").item()
    return float("inf") if found is None else float(found)


def _objects(frame: pl.LazyFrame, known: KnownObjects | None) -> NDArray[np.int64]:
    """Objects of these targets, wherever a spectrum of theirs ended up."""
    if known is None:
        return np.empty(0, np.int64)
    of_targets = (
        frame.filter(pl.col("TARGETID").is_in(pl.Series(known.target_ids).implode()))
        .select(pl.col("OBJECT_ID").unique())
        .collect(engine="streaming")
    )
    return np.union1d(of_targets["OBJECT_ID"].to_numpy(), known.object_ids).astype(np.int64)


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

    def __repr__(self) -> str:
        """Return one line: tables are not printed."""
        return (
            f"Selection({self.chosen.height} chosen of {self.n_spectra} spectra, "
            f"{self.outliers.height} rejected outliers to inspect)"
        )

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
    files = votes.record["path"] + (f" and {cells_file.path}" if cells_file else ", without a map")
    with reading(files, "votes and cells", "make them again"):
        return _selected(votes, cells_file, truth, excluded, options, features)


def _selected(
    votes: VotesTable,
    cells_file: CellsFile | None,
    truth: KnownObjects | None,
    excluded: KnownObjects | None,
    options: SelectionOptions,
    features: Features | None,
) -> Selection:
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
