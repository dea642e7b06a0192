"""What to choose: the options of a selection, and what is known already.

A small random round first shows a network what its first truth table never held; larger rounds
by score follow (docs/label_saving.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from quasarloop.classes import Vote
from quasarloop.errors import SelectionError
from quasarloop.quality import UNUSABLE, flag_names
from quasarloop.query.scores import RECOMMENDED_SCORE
from quasarloop.query.som_files import CountBy
from quasarloop.spectra import Flag

__all__ = [
    "N_CHOSEN",
    "OUTLIER_PERCENTILE",
    "REFUSED",
    "KnownObjects",
    "SelectionOptions",
    "of_round",
    "refused_flags",
]

# Flags a spectrum to be labelled must not have. Source: masked arms and corrupt spectra as in
# docs/reference/active_learning.md, "Paper and released code"; the others are our choice.
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


Number = TypeVar("Number", int, float)


def of_round(value: Number | Sequence[Number], number: int) -> Number:
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
    if not isinstance(value, Sequence):
        return value
    if not value:
        raise SelectionError("a setting per round names no round; give at least one number")
    return value[min(number, len(value)) - 1]


# Source: paper, Section 3: "the 15th percentile of spectra counts in all cells".
OUTLIER_PERCENTILE: Final = 15.0
# Source: paper, Section 3, step 6.
N_CHOSEN: Final = 1000


@dataclass(frozen=True)
class SelectionOptions:
    """What to choose.

    Attributes:
        n: objects to choose.
        score: one of `scores.SCORES` or ``"random"``; the paper's is ``"entropy"``.
        draw: ``"top"`` takes the highest scores; ``"proportional"`` draws at random in
            proportion to the score.
        random_share: share of the n that is drawn at random from all that is eligible.
        percentile: cells with fewer spectra than this percentile of all cells' counts hold
            outliers.
        far_percentile: spectra farther from their cell's weights than this percentile of
            all spectra are outliers too; 100 rejects none, as the paper.
        count_by: what the counts count.
        keep: which spectrum represents an object: the one of highest ``"score"``, or the
            ``"coadd"`` where there is one (of those, the highest score).
        refused: flags a spectrum must not have.
        surveys, programs: allowed words; empty allows all.
        per_cell: at most so many objects of one map cell.
        class_shares: share of each predicted class (`Vote` → share); empty leaves it free.
        spread: choose unlike spectra among the highest scores (needs their flux).
        n_outliers: rejected outliers of highest score to list apart.
        seed: of everything random.
    """

    n: int = N_CHOSEN
    score: str = RECOMMENDED_SCORE
    draw: Literal["top", "proportional"] = "top"
    random_share: float = 0.0
    percentile: float = OUTLIER_PERCENTILE
    far_percentile: float = 100.0
    count_by: CountBy = "spectrum"
    keep: Literal["score", "coadd"] = "score"
    refused: Flag = REFUSED
    surveys: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    per_cell: int | None = None
    class_shares: Mapping[int, float] = field(default_factory=dict)
    spread: bool = False
    n_outliers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        words = {"draw": ("top", "proportional"), "keep": ("score", "coadd")}
        for name, allowed in words.items():
            if getattr(self, name) not in allowed:
                raise SelectionError(
                    f"{name} is {getattr(self, name)!r}; expected one of {allowed}"
                )
        if self.spread and self.limited:
            raise SelectionError(
                "choose unlike spectra, or set limits per cell and class: not both"
            )
        if self.n < 1 or self.n_outliers < 0 or (self.per_cell is not None and self.per_cell < 1):
            raise SelectionError("choose at least 1 object, and at least 1 of each cell")
        if not 0 <= self.random_share <= 1:
            raise SelectionError(f"random_share is {self.random_share}; it lies between 0 and 1")
        for percentile in (self.percentile, self.far_percentile):
            if not 0 <= percentile <= 100:  # noqa: PLR2004 -- per cent
                raise SelectionError(f"percentile {percentile} does not lie between 0 and 100")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON keeps."""
        shares = {Vote(key).name: share for key, share in self.class_shares.items()}
        return {**asdict(self), "refused": flag_names(int(self.refused)), "class_shares": shares}

    @property
    def limited(self) -> bool:
        """Whether anything but rank decides what is taken."""
        return self.per_cell is not None or bool(self.class_shares)


@dataclass(frozen=True)
class KnownObjects:
    """What has labels already, or must not be shown: by target and by object."""

    target_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    object_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


def refused_flags(allowed: Iterable[str]) -> Flag:
    """Return `REFUSED` without the flags of these names.

    Raises:
        SelectionError: no such flag, or one without which there is no score.
    """
    refused = REFUSED
    for name in allowed:
        if name not in Flag.__members__ or Flag[name] & UNUSABLE:
            can = ", ".join(str(flag.name) for flag in REFUSED if not flag & UNUSABLE)
            raise SelectionError(f"cannot allow flag {name!r}; these can be: {can}")
        refused &= ~Flag[name]
    return refused
