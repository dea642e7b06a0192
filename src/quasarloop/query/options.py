"""Options of maps and selections, and the objects that are known already.

A small random round first shows a network what its first truth table never held; larger rounds
by score follow (docs/measurements/label_saving.md).
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from quasarloop.classes import Vote
from quasarloop.errors import SelectionError
from quasarloop.options import check_options, option
from quasarloop.quality import REFUSED, UNUSABLE, flag_names
from quasarloop.query.som import CellGrid
from quasarloop.spectra import Flag

__all__ = [
    "RECOMMENDED_PER_CELL",
    "CountBy",
    "KnownObjects",
    "SelectionOptions",
    "SomOptions",
    "of_round",
    "refused_flags",
]

Value = TypeVar("Value", int, float, str)


def of_round(value: Value | tuple[Value, ...] | list[Value], number: int) -> Value:
    """Return the value of a round.

    Args:
        value: one for all rounds, or one per round; the last holds for all later rounds.
        number: of the round, from 1.

    Raises:
        SelectionError: no value, or no such round.

    >>> [of_round((75, 75, 150, 300), number) for number in (1, 3, 4, 5)]
    [75, 150, 300, 300]
    """
    if number < 1:
        raise SelectionError(f"round {number}; rounds are counted from 1")
    if not isinstance(value, tuple | list):
        return value
    if not value:
        raise SelectionError("an option per round has no value; give at least one")
    return value[min(number, len(value)) - 1]


# At most so many objects of one map cell, beside the default score. Source:
# docs/measurements/label_saving.md.
RECOMMENDED_PER_CELL: Final = 2
CountBy = Literal["spectrum", "exposure", "object"]


@dataclass(frozen=True)
class SelectionOptions:
    """What to choose.

    Attributes:
        refused: flags a spectrum must not have.
        class_shares: share of each predicted class (`Vote` → share); empty leaves it free.

    Raises:
        SelectionError: values that are impossible, or do not go together.
    """

    n: int = option(1000, "Objects to choose.", source="paper, Section 3: 1000", low=1)
    score: str = option(
        "soft_entropy",
        "Score to rank by; docs/measurements/selection.md compares all.",
        source="paper, Section 3: entropy; measured against random labels at fixed purity in "
        "docs/measurements/label_saving.md",
    )
    draw: Literal["top", "proportional"] = option(
        "top", "Take the top scores, or draw at random in proportion to them.", source="paper: top"
    )
    random_share: float = option(
        0.0, "Share of n drawn at random from all that are eligible.", low=0, high=1
    )
    percentile: float = option(
        15.0,
        "Map cells with counts below this percentile of all cells hold outliers.",
        source="paper, Section 3: 15th",
        low=0,
        high=100,
    )
    far_percentile: float = option(
        100.0,
        "Spectra farther from their cell's weights than this percentile are outliers too; 100 "
        "rejects none, as the paper.",
        low=0,
        high=100,
    )
    count_by: CountBy = option("spectrum", "What counts once in a map cell.")
    keep: Literal["score", "coadd"] = option(
        "score", "Spectrum kept of an object: the one of highest score, or its coadd if it has one."
    )
    refused: Flag = REFUSED
    surveys: tuple[str, ...] = option((), "Only these surveys.")
    programs: tuple[str, ...] = option((), "Only these programs.")
    per_cell: int | None = option(None, "At most so many objects of one map cell.", low=1)
    class_shares: Mapping[int, float] = field(default_factory=dict)
    spread: bool = option(False, "Choose unlike spectra among the highest scores (needs a store).")
    n_outliers: int = option(
        0,
        "Rejected outliers of highest score listed apart.",
        source="paper, Section 4: 100, in round 2",
        low=0,
    )
    seed: int = option(0, "Same seed, same choice.", low=0)

    def __post_init__(self) -> None:
        check_options(self, SelectionError)
        if self.spread and self.limited:
            raise SelectionError(
                "choose unlike spectra, or set limits per cell and class: not both"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON keeps."""
        shares = {Vote(key).name: share for key, share in self.class_shares.items()}
        return {**asdict(self), "refused": flag_names(int(self.refused)), "class_shares": shares}

    @property
    def limited(self) -> bool:
        """Whether cells or classes have limits, besides the rank."""
        return self.per_cell is not None or bool(self.class_shares)


@dataclass(frozen=True)
class KnownObjects:
    """What has labels already, or must not be shown: by target and by object."""

    target_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    object_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


def refused_flags(allowed: Iterable[str]) -> Flag:
    """Return `REFUSED` without the flags of these names.

    Raises:
        SelectionError: no such flag, or one that leaves nothing to classify.
    """
    refused = REFUSED
    for name in allowed:
        if name not in Flag.__members__ or Flag[name] & UNUSABLE:
            can = ", ".join(str(flag.name) for flag in REFUSED if not flag & UNUSABLE)
            raise SelectionError(f"cannot allow flag {name!r}; these can be: {can}")
        refused &= ~Flag[name]
    return refused


@dataclass(frozen=True)
class SomOptions:
    """How a map is trained."""

    n_epochs: int = option(
        30, "Passes over the spectra.", source="our choice; the paper gives none", low=1
    )
    first_width: float | None = option(
        None,
        "Neighbourhood at the start, in cells. Default: half the mean separation of cells.",
        source="released code, up to its exponent",
        above=0,
    )
    last_width: float = option(
        0.5, "Neighbourhood of the last epoch, in cells.", source="released code", above=0
    )
    start: Literal["plane", "rows"] = option(
        "plane", "First weights: plane of principal components, or random rows of the data."
    )

    def __post_init__(self) -> None:
        check_options(self, SelectionError)

    def widths(self, cells: CellGrid) -> list[float]:
        """Return the neighbourhood width of every epoch, in cells, shrinking geometrically."""
        first = self.first_width or max(0.5 * cells.mean_separation, self.last_width)
        return [float(w) for w in np.geomspace(first, self.last_width, self.n_epochs)]
