"""Why a spectrum was not chosen: one reason for every row, and the count of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.errors import SelectionError
from quasarloop.quality import UNUSABLE
from quasarloop.spectra import Flag

__all__ = [
    "REFUSED",
    "Reason",
    "RowRules",
    "Step",
    "refused_flags",
    "row_reason",
    "steps_table",
]

# Flags a spectrum to be labelled must not have. Source: INTEROP.md (masked arms, corrupt spectra
# in the released code; sky fibres under "known faults"); low coverage and repeats are our choice.
REFUSED: Final = (
    UNUSABLE
    | Flag.ARM_B_MASKED
    | Flag.ARM_R_MASKED
    | Flag.ARM_Z_MASKED
    | Flag.LOW_COVERAGE
    | Flag.CORRUPTED
    | Flag.NOT_TARGET
    | Flag.DUPLICATE_ROW
    | Flag.BAD_TARGETID
)


class Reason(IntEnum):
    """What became of a spectrum, in the order the questions are asked."""

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
    Reason.NO_SCORE: "no network could say anything (no data, no votes)",
    Reason.FLAGGED: "flagged: masked arm, corrupted, sky, repeat row or too few bins",
    Reason.OTHER_SURVEY: "of another survey or program than asked for",
    Reason.EXCLUDED: "object on an exclusion list",
    Reason.OUTLIER: "outlier: its map cell holds too few spectra, or it lies too far from it",
    Reason.REPEAT: "another spectrum of the same object is kept",
    Reason.IN_TRUTH: "object already in the truth table",
    Reason.CELL_FULL: "its map cell or class already gave its share",
    Reason.BELOW_CUT: "less confusing than the chosen",
}


@dataclass(frozen=True)
class RowRules:
    """Rules that look at one spectrum alone.

    Attributes:
        refused: flags a spectrum must not have.
        surveys: allowed values of `SURVEY`; empty allows all.
        programs: allowed values of `PROGRAM`; empty allows all.
        excluded_objects: (k,) `OBJECT_ID` on exclusion lists.
        sparse_cells: (k,) cells whose spectra are outliers.
        farthest: spectra at a larger `DISTANCE` from their cell are outliers too.
    """

    refused: Flag
    surveys: tuple[str, ...]
    programs: tuple[str, ...]
    excluded_objects: NDArray[np.int64]
    sparse_cells: NDArray[np.int64]
    farthest: float


@dataclass(frozen=True)
class Step:
    """One line of the count table.

    Attributes:
        reason: what was asked.
        removed: spectra (of `Reason.IN_TRUTH` and later: objects) that left here.
        left: how many remain.
    """

    reason: Reason
    removed: int
    left: int

    @property
    def sentence(self) -> str:
        """What happened, in words."""
        return _SENTENCES[self.reason]


def refused_flags(allowed: Iterable[str]) -> Flag:
    """Return `REFUSED` without the flags of these names.

    Raises:
        SelectionError: no such flag, or one nothing can be said of.
    """
    refused = REFUSED
    for name in allowed:
        if name not in Flag.__members__ or Flag[name] & UNUSABLE:
            can = ", ".join(str(flag.name) for flag in REFUSED if not flag & UNUSABLE)
            raise SelectionError(f"cannot allow flag {name!r}; these can be: {can}")
        refused &= ~Flag[name]
    return refused


def row_reason(rules: RowRules) -> pl.Expr:
    """Return the first rule each row breaks, `Reason.ELIGIBLE` if none; needs column `SCORE`."""
    asked: list[tuple[Reason, pl.Expr]] = [
        (Reason.NO_SCORE, _missing("SCORE") | ((pl.col("FLAGS") & int(UNUSABLE)) != 0)),
        (Reason.FLAGGED, (pl.col("FLAGS") & int(rules.refused)) != 0),
    ]
    for column, allowed in (("SURVEY", rules.surveys), ("PROGRAM", rules.programs)):
        if allowed:
            asked.append((Reason.OTHER_SURVEY, ~pl.col(column).is_in(list(allowed))))
    if len(rules.excluded_objects):
        excluded = pl.col("OBJECT_ID").is_in(pl.Series(rules.excluded_objects).implode())
        asked.append((Reason.EXCLUDED, excluded))
    if len(rules.sparse_cells):
        sparse = pl.Series(rules.sparse_cells, dtype=pl.Int32).implode()
        asked.append((Reason.OUTLIER, pl.col("CELL").is_in(sparse)))
    if np.isfinite(rules.farthest):
        # Spectra without a cell have no distance; polars counts NaN as the largest number.
        far = (pl.col("DISTANCE") > rules.farthest) & pl.col("DISTANCE").is_not_nan()
        asked.append((Reason.OUTLIER, far))
    found = pl.lit(int(Reason.ELIGIBLE))
    for reason, breaks in reversed(asked):  # the first rule is asked last, so that it wins
        found = pl.when(breaks).then(int(reason)).otherwise(found)
    return found.cast(pl.UInt8)


def steps_table(n_spectra: int, removed: Sequence[tuple[Reason, int]]) -> tuple[Step, ...]:
    """Return the count table from what each step took away."""
    steps, left = [], n_spectra
    for reason, n in removed:
        left -= n
        steps.append(Step(reason, n, left))
    return tuple(steps)


def _missing(column: str) -> pl.Expr:
    return pl.col(column).is_null() | pl.col(column).is_nan()
