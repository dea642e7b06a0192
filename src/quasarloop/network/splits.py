"""Which labelled spectra are held out to validate: by object, by class and redshift."""

import hashlib
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import TruthError
from quasarloop.truth import SpecType

__all__ = ["Labels", "hold_out", "split_groups"]

# Redshift groups of quasars: their edges are where lines enter and leave the spectrum.
# Source: our choice (MgII enters near 0.3, C IV near 1.3, Lyα near 2; few beyond 3).
_QSO_Z_EDGES: Final = (0.5, 1.0, 1.5, 2.1, 3.0)


class Labels(Protocol):
    """Labels of n rows: a `TruthTable` (one row per target) or `TrainingData`."""

    @property
    def object_id(self) -> NDArray[np.int64]:
        """(n,) equal for rows of one object."""

    @property
    def spectype(self) -> NDArray[np.int8]:
        """(n,) of `SpecType`."""

    @property
    def z(self) -> NDArray[np.float64]:
        """(n,) redshift."""

    @property
    def trains(self) -> NDArray[np.bool_]:
        """(n,) whether the label may train."""


def hold_out(labels: Labels, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose the rows held out; all rows of one object stay on one side.

    The choice depends on the set of objects and on the seed, never on the order of rows.

    Args:
        labels: of the rows; unusable ones form a group of their own.
        fraction: part of the objects to hold out, in [0, 1].
        seed: another seed, another choice.

    Returns:
        (n,) bool, True for validation. Of N objects, round(fraction · N) are held out, and of
        those of each class and redshift group the same fraction, to within one object.

    Raises:
        TruthError: a fraction outside [0, 1].

    >>> from quasarloop.truth import TruthTable
    >>> stars = TruthTable.make(np.arange(10), np.zeros(10), np.zeros(10))
    >>> int(hold_out(stars, 0.3, seed=1).sum())
    3
    """
    if not 0 <= fraction <= 1:
        raise TruthError(f"cannot hold out a fraction of {fraction}; expected 0 to 1")
    objects, inverse = np.unique(labels.object_id, return_inverse=True)
    group = np.full(len(objects), np.iinfo(np.int64).max)
    # An object whose rows disagree belongs to the lowest of their groups, in any order.
    np.minimum.at(group, inverse, split_groups(labels))
    order = np.lexsort((objects, _hashes(objects, seed), group))
    held = np.zeros(len(objects), dtype=bool)
    start = 0
    sizes = np.unique(group, return_counts=True)[1]
    for size, number in zip(sizes, _shares(sizes, fraction), strict=True):
        held[order[start : start + number]] = True
        start += size
    return np.asarray(held[inverse])


def split_groups(labels: Labels) -> NDArray[np.int64]:
    """Return the (n,) group of each row: its class, and for quasars a range of redshift."""
    z_group = np.digitize(np.nan_to_num(labels.z, nan=-1.0), _QSO_Z_EDGES)
    usable = np.where(labels.trains, labels.spectype.astype(np.int64), int(SpecType.UNKNOWN))
    quasar = np.where(usable == SpecType.QSO, z_group, 0)
    return np.asarray((usable + 1) * (len(_QSO_Z_EDGES) + 1) + quasar, dtype=np.int64)


def _hashes(objects: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    # BLAKE2 rather than numpy's generators: the hash of an object must not depend on the others.
    key = seed.to_bytes(32, "little", signed=True)
    digests = (
        hashlib.blake2b(number.to_bytes(8, "little", signed=True), key=key, digest_size=8).digest()
        for number in objects.tolist()
    )
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _shares(sizes: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    # Largest remainders: every group gets its fraction rounded down or up, and the sum is right.
    exact = sizes * fraction
    number = np.floor(exact).astype(np.int64)
    missing = round(float(sizes.sum() * fraction)) - int(number.sum())
    rounded_up = np.argsort(number - exact, kind="stable")[: max(missing, 0)]
    number[rounded_up] += 1
    return np.asarray(number, dtype=np.int64)
