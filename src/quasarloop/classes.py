"""The three classes of a spectrum, and the thresholds that decide between them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.options import option

__all__ = [
    "CONFIDENCE_THRESHOLD",
    "HIGH_Z_MIN",
    "N_LINES_THRESHOLD",
    "Origin",
    "ThresholdOptions",
    "Thresholds",
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
    """The class one network gives one spectrum (paper, Section 3)."""

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


# Where a threshold comes from: this package, the weights file, a catalogue, the caller.
Origin = Literal["default", "weights", "catalogue", "option"]


@dataclass(frozen=True)
class Thresholds:
    """What makes a quasar, and which quasars are of high redshift.

    Attributes:
        confidence: a line counts if its confidence is strictly above this.
        n_lines: emission lines that must count.
        high_z_min: lowest redshift of `Vote.HIGH_Z`.
        origin: where each of the three comes from, in this order.

    Raises:
        ValueError: a confidence outside 0 to 1, no line at all, or an impossible redshift.
    """

    confidence: float = CONFIDENCE_THRESHOLD
    n_lines: int = N_LINES_THRESHOLD
    high_z_min: float = HIGH_Z_MIN
    origin: tuple[Origin, Origin, Origin] = field(default=("default",) * 3, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"threshold is {self.confidence}; a confidence lies between 0 and 1")
        if self.n_lines < 1:
            raise ValueError(f"n_lines is {self.n_lines}; at least one line must count")
        if not (math.isfinite(self.high_z_min) and self.high_z_min >= 0):
            raise ValueError(f"high_z_min is {self.high_z_min}; expected a redshift, 0 or more")

    def replaced(
        self,
        confidence: float | None = None,
        n_lines: int | None = None,
        high_z_min: float | None = None,
        *,
        origin: Origin = "option",
    ) -> "Thresholds":
        """Return these thresholds with the given ones in their place.

        >>> Thresholds().replaced(n_lines=2).origin
        ('default', 'option', 'default')
        """
        first, second, third = (
            own if new is None else origin
            for own, new in zip(self.origin, (confidence, n_lines, high_z_min), strict=True)
        )
        return Thresholds(
            self.confidence if confidence is None else float(confidence),
            self.n_lines if n_lines is None else int(n_lines),
            self.high_z_min if high_z_min is None else float(high_z_min),
            (first, second, third),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the three numbers by name, as a weights file keeps them."""
        return {
            "confidence": self.confidence,
            "n_lines": self.n_lines,
            "high_z_min": self.high_z_min,
        }

    @property
    def origins(self) -> dict[str, Origin]:
        """Where each of the three comes from, by name, for the record of an output."""
        return dict(zip(self.to_dict(), self.origin, strict=True))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], origin: Origin = "weights") -> "Thresholds":
        """Return the thresholds `to_dict` gave; those not stored are the package's."""
        return cls().replaced(**{name: stored.get(name) for name in cls().to_dict()}, origin=origin)

    def is_quasar(self, confidence: ArrayLike) -> NDArray[np.bool_]:
        """Decide from the confidence of the line that decides (`network.decode.best_lines`).

        Args:
            confidence: (...) of the ``n_lines``-th most confident emission line; compared in its
                own precision. NaN, where there is no prediction, is no quasar.
        """
        return np.asarray(np.asarray(confidence) > self.confidence)

    def vote(self, confidence: ArrayLike, z_best: ArrayLike) -> NDArray[np.int8]:
        """Return the class of each spectrum: (...) int8 of `Vote` values.

        Args:
            confidence: (...) as in `is_quasar`.
            z_best: (...) redshift of the most confident emission line.
        """
        return vote_class(self.is_quasar(confidence), z_best, high_z_min=self.high_z_min)


@dataclass(frozen=True)
class ThresholdOptions:
    """Thresholds given in place of those of the weights (`Thresholds`); None leaves those."""

    threshold: float | None = option(
        None, "A line counts above this confidence; default: the weights'.", low=0, high=1
    )
    n_lines: int | None = option(None, "Lines that must count; default: the weights'.", low=1)
    high_z_min: float | None = option(
        None, "Lowest redshift of class HIGH_Z; default: the weights'.", low=0
    )

    def __post_init__(self) -> None:
        self.over(Thresholds())

    def over(self, own: Thresholds) -> Thresholds:
        """Return the thresholds to use, given those of the weights."""
        return own.replaced(self.threshold, self.n_lines, self.high_z_min)
