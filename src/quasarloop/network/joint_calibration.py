"""Numbers the joint redshift needs and a weights file does not say, fitted once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.lines import Line

__all__ = ["CALIBRATION", "JointCalibration"]


@dataclass(frozen=True)
class JointCalibration:
    """How far a line's box, place and absence can be trusted.

    Attributes:
        tempering: power of the product over lines: below 1, as the heads of a network read the
            same features and are wrong together.
        absence: weight of "no line in the grid" against one box, when a quasar's line is outside.
        floor: density per box left where a head says there is nothing; no head can veto alone.
        width: line column -> scale of the place error of a line found with confidence 1, boxes.
        growth: the scale grows to ``width * (1 + growth * (1 - confidence))``.
        error_scale: factor from the width of p(z) to the uncertainty.
        error_floor: least uncertainty, relative to 1 + z.
    """

    tempering: float
    absence: float
    floor: float
    width: dict[str, float]
    growth: float
    error_scale: float
    error_floor: float

    def widths(self, lines: Sequence[Line]) -> NDArray[np.float64]:
        """Return the scale of each line, boxes; the median of all for a line never calibrated."""
        usual = float(np.median(list(self.width.values())))
        return np.array([self.width.get(line.column, usual) for line in lines])


CALIBRATION: Final = JointCalibration(
    tempering=0.5,
    absence=0.3,
    floor=0.01,
    width={
        "LYA": 0.045,
        "CIV": 0.045,
        "CIII": 0.045,
        "MgII": 0.045,
        "Hbeta": 0.05,
        "Halpha": 0.06,
    },
    growth=5.0,
    error_scale=1.0,
    error_floor=0.0005,
)
