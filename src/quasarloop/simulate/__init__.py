"""A sky with known truth, written as real surveys write theirs."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats32", "Floats64", "Rng", "SurveyFormat"]

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]
Rng = np.random.Generator
# Surveys whose files can be written.
SurveyFormat = Literal["desi", "sdss", "sdssv", "lamost", "4most", "weave"]
