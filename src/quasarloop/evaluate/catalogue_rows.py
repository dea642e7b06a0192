"""Rows of catalogues made ready to be compared: objects, usable rows, grids."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import TruthError
from quasarloop.evaluate.repeats import ObjectRepeats, repeat_objects
from quasarloop.quality import UNUSABLE
from quasarloop.truth import TruthTable, match_truth

__all__ = ["catalogue_repeats", "object_ids", "repeat_rows", "same_rows", "usable_rows"]

Block = Mapping[str, NDArray[Any]]


def object_ids(catalogue: Block, truth: TruthTable | None = None) -> NDArray[np.int64]:
    """Return the object of each row: the truth table's where it knows the target.

    Args:
        catalogue: columns TARGETID and OBJECT_ID.
        truth: says which targets are one object (SDSS gives each fibre its own TARGETID).
    """
    ids = catalogue["OBJECT_ID"].astype(np.int64)
    if truth is None or not len(truth):
        return ids
    row = match_truth(catalogue["TARGETID"].astype(np.int64), truth)
    return np.where(row >= 0, truth.object_id[row], ids)


def usable_rows(catalogue: Block) -> NDArray[np.bool_]:
    """Return (n,) True where a network could say something."""
    return np.asarray((catalogue["FLAGS"].astype(np.int64) & int(UNUSABLE)) == 0)


def catalogue_repeats(
    catalogue: Block, z_column: str, truth: TruthTable | None = None
) -> ObjectRepeats:
    """Measure how consistent a catalogue is on objects seen several times.

    Args:
        catalogue: columns TARGETID, OBJECT_ID, IS_QSO, FLAGS, EXPID where there is one.
        z_column: name of the redshifts.
        truth: as `object_ids` takes it.

    Raises:
        TruthError: no object has two usable exposures.
    """
    objects = object_ids(catalogue, truth)
    return repeat_objects(
        objects, catalogue["IS_QSO"], catalogue[z_column], repeat_rows(catalogue, objects)
    )


def repeat_rows(catalogue: Block, object_id: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (n,) True for usable rows that are independent looks at their object.

    A coadd of exposures that are rows themselves is no further look: an object with two or more
    single exposures is judged on those, any other on its coadds.

    Args:
        catalogue: columns FLAGS, and EXPID, -1 in coadds (without it every row is a look).
        object_id: (n,) the object of each row.
    """
    usable = usable_rows(catalogue)
    if "EXPID" not in catalogue:
        return usable
    single = usable & (catalogue["EXPID"].astype(np.int64) >= 0)
    _, place = np.unique(object_id, return_inverse=True)
    by_exposure = np.bincount(place, weights=single) > 1
    return np.asarray(usable & (single == by_exposure[place]))


def same_rows(first: Block, second: Block) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair the rows of two catalogues by target, source file and row.

    Returns:
        Row numbers in the first and in the second, equally long.

    Raises:
        TruthError: no spectrum in common.
    """
    keys = [
        [f"{t}|{r}|{s}" for t, r, s in zip(c["TARGETID"], c["ROW"], c["SOURCE"], strict=True)]
        for c in (first, second)
    ]
    place = {key: row for row, key in enumerate(keys[1])}
    pairs = [(row, place[key]) for row, key in enumerate(keys[0]) if key in place]
    if not pairs:
        raise TruthError("the catalogues have no spectrum in common; classify the same files twice")
    rows = np.array(pairs, dtype=np.int64)
    return rows[:, 0], rows[:, 1]
