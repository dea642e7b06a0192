"""The three classes a network votes for, and the thresholds that make them."""

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CONFIDENCE_THRESHOLD",
    "HIGH_Z_MIN",
    "N_LINES_THRESHOLD",
    "Vote",
    "vote_class",
]

# Source: paper, Section 3: "a confidence threshold of 0.95 ... the same used in DESI".
CONFIDENCE_THRESHOLD: Final = 0.95
# Source: paper, Section 1: number threshold of one line.
N_LINES_THRESHOLD: Final = 1
# Source: paper, Section 3: Lyman alpha becomes visible to DESI near z = 2.1.
HIGH_Z_MIN: Final = 2.1


class Vote(IntEnum):
    """What one network says of one spectrum (paper, Section 3)."""

    NOT_QSO = 0
    LOW_Z = 1
    HIGH_Z = 2


def vote_class(
    is_qso: ArrayLike, z_best: ArrayLike, *, high_z_min: float = HIGH_Z_MIN
) -> NDArray[np.int8]:
    """Split quasars at ``high_z_min`` and return the vote of each spectrum.

    Args:
        is_qso: (n,) bool.
        z_best: (n,) redshift of the most confident line; ignored where not a quasar.
        high_z_min: lowest redshift of ``HIGH_Z``.

    Returns:
        (n,) int8 of `Vote` values.

    Source: paper, Section 3.

    >>> vote_class([False, True, True], [3.0, 2.0, 2.1]).tolist()
    [0, 1, 2]
    """
    quasar = np.asarray(is_qso, dtype=bool)
    high = np.asarray(z_best, dtype=np.float64) >= high_z_min
    return np.where(quasar, np.where(high, Vote.HIGH_Z, Vote.LOW_Z), Vote.NOT_QSO).astype(np.int8)
