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


# Source: our fit, `python tools/joint_table.py fit` with QuasarNP's four- and six-layer weights
# (../shared/data/quasarnp_fixture) on 2000 simulated quasars, half of them with DESI's n(z), half
# flat in z. What it gives on other quasars: docs/redshifts.md.
CALIBRATION: Final = JointCalibration(
    lines={
        "LYA": LineTrust(0.046335, 0.55693, 0.44945, 0.00022866),
        "CIV": LineTrust(0.048542, 0.43826, 0.29087, 0.00075322),
        "CIII": LineTrust(0.046884, 0.42487, 0.26188, 0.0016767),
        "MgII": LineTrust(0.046787, 0.45376, 0.11086, 0.0010832),
        "Hbeta": LineTrust(0.049819, 0.54709, 0.083218, 0.00051933),
        "Halpha": LineTrust(0.070296, 0.55004, 0.36047, 0.00052246),
    },
    growth=4.888,
    shift=0.0000,
    error_scale=0.886,
)
