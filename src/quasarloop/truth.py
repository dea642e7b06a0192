"""The truth table: class and redshift of each target from experts or a simulator.

An unlabelled or low-quality row is never a negative: it has training weight 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.classes import HIGH_Z_MIN, vote_class
from quasarloop.errors import TruthError

__all__ = ["CLASSES", "MIN_QUALITY", "SpecType", "TruthTable", "join_truth", "match_truth"]

# Source: paper, Section 4: "only uses spectra whose final merged quality is above 2.5";
# docs/reference/labels.md, "Merging": trains only if best_quality >= 2.5.
MIN_QUALITY: Final = 2.5
# Quality of labels that come without one but are as good as inspected (simulated truth).
SECURE_QUALITY: Final = 4.0


class SpecType(IntEnum):
    """Spectral class of an object (VI_spectype)."""

    UNKNOWN = -1
    STAR = 0
    GALAXY = 1
    QSO = 2

    @property
    def word(self) -> str:
        """``"STAR"``, ``"GALAXY"``, ``"QSO"``, or ``""`` while unknown: the form in files."""
        return "" if self == SpecType.UNKNOWN else self.name

    @classmethod
    def from_word(cls, word: str) -> "SpecType":
        """Return the class of that name, in either case; ``""`` is unknown.

        Raises:
            ValueError: another name.
        """
        known = {kind.word: kind for kind in cls}
        name = word.strip().upper()
        if name not in known:
            raise ValueError(f"class is {word!r}; expected STAR, GALAXY, QSO or nothing")
        return known[name]


# The classes an object can have, in the order of their numbers.
CLASSES: Final = (SpecType.STAR, SpecType.GALAXY, SpecType.QSO)


@dataclass(frozen=True)
class TruthTable:
    """Labels, one row per target; every field is an (n,) array.

    Attributes:
        target_id: int64, unique.
        object_id: int64, equal for repeat observations of one object.
        spectype: int8 of `SpecType`.
        z: float64 redshift, NaN if unknown.
        quality: float32 merged inspection quality 0–4; `SECURE_QUALITY` if the source has none.
        bal: int8: 1 confident BAL, 0 confident non-BAL, -1 unknown or indicators disagree.
        z_err: float64 standard deviation of z, NaN if unknown.
        source: where the label came from, e.g. ``"DR12Q superset"``.
    """

    target_id: NDArray[np.int64]
    object_id: NDArray[np.int64]
    spectype: NDArray[np.int8]
    z: NDArray[np.float64]
    quality: NDArray[np.float32]
    bal: NDArray[np.int8]
    z_err: NDArray[np.float64]
    source: NDArray[np.str_]

    def __post_init__(self) -> None:
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(lengths.values())) > 1:
            raise TruthError(f"truth columns differ in length: {lengths}")
        values, counts = np.unique(self.target_id, return_counts=True)
        repeated = values[counts > 1]
        if len(repeated):
            raise TruthError(
                f"{len(repeated)} TARGETIDs are more than once in the truth table (first: "
                f"{repeated[0]}); merge them first: one row per target"
            )

    def __len__(self) -> int:
        """Return the number of labelled targets."""
        return len(self.target_id)

    def __repr__(self) -> str:
        """Return one line: arrays are not printed."""
        counts = ((kind.name, np.count_nonzero(self.spectype == kind)) for kind in SpecType)
        return f"TruthTable({len(self)}: {', '.join(f'{n} {name}' for name, n in counts if n)})"

    def __getitem__(self, index: slice | NDArray[Any]) -> "TruthTable":
        """Return some rows."""
        return TruthTable(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @classmethod
    def make(
        cls,
        target_id: NDArray[Any],
        spectype: NDArray[Any],
        z: NDArray[Any],
        *,
        object_id: NDArray[Any] | None = None,
        quality: NDArray[Any] | None = None,
        bal: NDArray[Any] | None = None,
        z_err: NDArray[Any] | None = None,
        source: str | NDArray[Any] = "",
    ) -> "TruthTable":
        """Build a table from what is known; the rest is filled with its 'unknown'."""
        n = len(target_id)
        ids = np.asarray(target_id, dtype=np.int64)
        return cls(
            target_id=ids,
            object_id=ids if object_id is None else np.asarray(object_id, np.int64),
            spectype=np.asarray(spectype, np.int8),
            z=np.asarray(z, np.float64),
            quality=np.full(n, SECURE_QUALITY, np.float32)
            if quality is None
            else np.asarray(quality, np.float32),
            bal=np.full(n, -1, np.int8) if bal is None else np.asarray(bal, np.int8),
            z_err=np.full(n, np.nan) if z_err is None else np.asarray(z_err, np.float64),
            source=np.full(n, source) if isinstance(source, str) else np.asarray(source, np.str_),
        )

    @property
    def is_qso(self) -> NDArray[np.bool_]:
        """(n,) True for quasars."""
        return np.asarray(self.spectype == SpecType.QSO)

    @property
    def trains(self) -> NDArray[np.bool_]:
        """(n,) True where the label may train: class known, quality high, z known for quasars."""
        known = self.spectype != SpecType.UNKNOWN
        with_z = np.isfinite(self.z) | ~self.is_qso
        return np.asarray(known & with_z & (self.quality >= MIN_QUALITY))

    def votes(self, high_z_min: float = HIGH_Z_MIN) -> NDArray[np.int8]:
        """Return the true `Vote` of each row (unknown classes count as not a quasar)."""
        return vote_class(self.is_qso, np.nan_to_num(self.z, nan=-1.0), high_z_min=high_z_min)


def match_truth(target_id: NDArray[np.int64], truth: TruthTable) -> NDArray[np.int64]:
    """Return the truth row of each target, -1 where there is none.

    Args:
        target_id: (n,) int64, repeats allowed (several exposures of one target).
        truth: the table.

    >>> truth = TruthTable.make(np.array([5, 3]), np.array([2, 0]), np.array([1.0, 0.0]))
    >>> match_truth(np.array([3, 9, 5]), truth).tolist()
    [1, -1, 0]
    """
    if len(truth) == 0:
        return np.full(len(target_id), -1, dtype=np.int64)
    order = np.argsort(truth.target_id, kind="stable")
    found = np.searchsorted(truth.target_id, target_id, sorter=order)
    row = order[np.minimum(found, len(truth) - 1)]
    return np.where(truth.target_id[row] == target_id, row, -1).astype(np.int64)


def join_truth(tables: Sequence[TruthTable]) -> TruthTable:
    """Join tables; of one target's labels the last table's wins.

    Raises:
        TruthError: no table.
    """
    if not tables:
        raise TruthError("no truth table to join; give at least one")
    columns = {
        f.name: np.concatenate([getattr(table, f.name) for table in tables])
        for f in fields(TruthTable)
    }
    reverse = columns["target_id"][::-1]
    _, last = np.unique(reverse, return_index=True)
    keep = np.sort(len(reverse) - 1 - last)
    return TruthTable(**{name: column[keep] for name, column in columns.items()})
