"""Which spectra may be chosen: a score and a reason for every row, and the count of each reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.errors import SelectionError
from quasarloop.quality import UNUSABLE
from quasarloop.query.options import KnownObjects, SelectionOptions
from quasarloop.query.scores import score_expression
from quasarloop.query.som_files import CellsFile, count_cells
from quasarloop.query.votes_input import VotesTable, beside_cells

__all__ = ["Reason", "Step", "prepare"]


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
