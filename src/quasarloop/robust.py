"""Scatter that outliers do not move."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["MAD_TO_SIGMA", "nmad"]

# Median absolute deviation of a unit Gaussian, inverted.
MAD_TO_SIGMA: Final = 1.4826


def nmad(values: ArrayLike) -> float:
    """Return 1.4826 times the median absolute deviation: σ of a Gaussian core.

    Args:
        values: (n,); NaN for none.

    >>> round(nmad([1.0, 2.0, 3.0, 4.0, 100.0]), 4)
    1.4826
    """
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        return float("nan")
    return float(MAD_TO_SIGMA * np.median(np.abs(array - np.median(array))))
