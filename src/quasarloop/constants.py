"""Numbers of physics and statistics, each named once."""

from typing import Final

import numpy as np

__all__ = [
    "AIR_TO_VACUUM",
    "FWHM_OF_SIGMA",
    "PER_MAGNITUDE",
    "PLANCK_AA_K",
    "SPEED_OF_LIGHT_KMS",
]

SPEED_OF_LIGHT_KMS: Final = 299_792.458  # exact, SI
PLANCK_AA_K: Final = 1.438777e8  # hc/k, CODATA 2018
FWHM_OF_SIGMA: Final = 2.0 * float(np.sqrt(2.0 * np.log(2.0)))
PER_MAGNITUDE: Final = 0.4 * float(np.log(10.0))  # -ln of a magnitude of dimming
AIR_TO_VACUUM: Final = 1.000278  # Morton 1991 (ApJS 77, 119), near 5000 Å
