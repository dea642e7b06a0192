"""Bootstrap samples of labelled objects, and the seeds that make members differ."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import TruthError

__all__ = ["MemberSeeds", "bootstrap_rows", "member_seeds"]


class MemberSeeds(NamedTuple):
    """What makes one member differ from the others.

    Attributes:
        bootstrap: seeds the draw of its training objects.
        training: seeds its first weights, its batches and its dropout.
    """

    bootstrap: np.random.SeedSequence
    training: np.random.SeedSequence


def member_seeds(seed: int, n_networks: int) -> list[MemberSeeds]:
    """Spawn every member's seeds from one root.

    Member k has the same seeds in an ensemble of any size, so an ensemble can grow.
    """
    roots = np.random.SeedSequence(seed).spawn(n_networks)
    return [MemberSeeds(*root.spawn(2)) for root in roots]


def bootstrap_rows(
    object_id: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw as many objects as there are, with replacement, and return their rows.

    Objects are drawn, not spectra: all spectra of a drawn object come along, as often as it is
    drawn. With one spectrum per object (the paper) that is a plain bootstrap of the rows.

    Args:
        object_id: (n,) object of every training row.
        generator: the member's own.

    Returns:
        (m,) int64 row numbers, repeats included, in the order drawn; m equals n if every object
        has one row.

    Raises:
        TruthError: nothing to draw from.

    Source: paper, Section 3: "each network has the same amount of training data, but different
    (and possibly duplicated) subsets of the possible data pool".

    >>> bootstrap_rows(np.array([7, 7, 9]), np.random.default_rng(1)).tolist()
    [0, 1, 2]
    """
    if len(object_id) == 0:
        raise TruthError(
            "no spectrum to train with; the truth table must label spectra of the store, with "
            "secure quality"
        )
    objects, inverse, n_rows = np.unique(object_id, return_inverse=True, return_counts=True)
    drawn = generator.integers(len(objects), size=len(objects))
    by_object = np.argsort(inverse, kind="stable")  # rows, object after object
    first = np.cumsum(n_rows) - n_rows
    lengths = n_rows[drawn]
    starts = np.cumsum(lengths) - lengths
    within = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    return np.asarray(by_object[np.repeat(first[drawn], lengths) + within], dtype=np.int64)
