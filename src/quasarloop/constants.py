"""Numbers of physics and statistics, each named once, and robust scatter."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "AIR_TO_VACUUM",
    "FWHM_OF_SIGMA",
    "MAD_TO_SIGMA",
    "PER_MAGNITUDE",
    "PLANCK_AA_K",
    "SPEED_OF_LIGHT_KMS",
    "nmad",
]

SPEED_OF_LIGHT_KMS: Final = 299_792.458  # exact, SI
PLANCK_AA_K: Final = 1.438777e8  # hc/k, CODATA 2018
FWHM_OF_SIGMA: Final = 2.0 * float(np.sqrt(2.0 * np.log(2.0)))
PER_MAGNITUDE: Final = 0.4 * float(np.log(10.0))  # -ln of a magnitude of dimming
AIR_TO_VACUUM: Final = 1.000278  # Morton 1991 (ApJS 77, 119), near 5000 Å
MAD_TO_SIGMA: Final = 1.4826  # σ of a Gaussian over its median absolute deviation


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
