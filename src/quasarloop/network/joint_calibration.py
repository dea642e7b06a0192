"""Numbers the joint redshift needs and a weights file does not say, fitted once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from quasarloop.lines import Line

__all__ = ["CALIBRATION", "JointCalibration", "LineTrust"]

Number = Any  # one number, or one per line


class LineTrust(NamedTuple):
    """How far one line can be trusted, or (n_lines,) arrays of it.

    Attributes:
        width: scale of the place error of a line found with confidence 1, boxes.
        tempering: power of the line's say: the heads of a network read the same features and
            are wrong together, some more than others.
        absence: weight of "no line in the grid" against one box, when a quasar's line is outside.
        floor: density per box left where a head says there is nothing; no head can veto alone.
    """

    width: Number
    tempering: Number
    absence: Number
    floor: Number


@dataclass(frozen=True)
class JointCalibration:
    """How far a line's box, place and absence can be trusted.

    Attributes:
        lines: line column -> its own numbers.
        growth: the scale of a place error is ``width * (1 + growth * (1 - confidence))``.
        shift: found place less true place of all lines, boxes; not 0 for a network trained on
            other bin edges than it is read with.
        error_scale: factor from the width of p(z) to the uncertainty.
    """

    lines: dict[str, LineTrust]
    growth: float
    shift: float
    error_scale: float

    def trust(self, lines: Sequence[Line]) -> LineTrust:
        """Return (n_lines,) arrays; a line never calibrated gets the median of all."""
        usual = LineTrust(*np.median(list(self.lines.values()), axis=0))
        return LineTrust(*np.array([self.lines.get(line.column, usual) for line in lines]).T)


CALIBRATION: Final = JointCalibration(
    lines={
        "LYA": LineTrust(0.045, 1.05, 0.275, 0.0020),
        "CIV": LineTrust(0.045, 0.295, 0.710, 0.0019),
        "CIII": LineTrust(0.045, 0.177, 0.120, 0.0213),
        "MgII": LineTrust(0.045, 0.684, 0.127, 0.0007),
        "Hbeta": LineTrust(0.05, 0.599, 0.023, 0.0081),
        "Halpha": LineTrust(0.06, 1.847, 0.430, 0.0028),
    },
    growth=5.0,
    shift=0.0,
    error_scale=1.0,
)
