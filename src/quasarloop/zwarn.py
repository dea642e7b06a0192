"""What redrock's numbers mean: warning bits, and the bounds behind them."""

from enum import IntFlag
from typing import Final

__all__ = ["BAD_FIT", "LEAST_DELTA_CHI2", "N_COEFF", "Zwarn"]


class Zwarn(IntFlag):
    """Bits of ZWARN that we read or write.

    Source: redrock.zwarning.ZWarningMask.
    """

    SKY = 1 << 0
    SMALL_DELTA_CHI2 = 1 << 2
    NEGATIVE_MODEL = 1 << 3
    MANY_OUTLIERS = 1 << 4
    Z_FITLIMIT = 1 << 5
    NEGATIVE_EMISSION = 1 << 6
    NODATA = 1 << 9
    BAD_MINFIT = 1 << 10


# A fit with one of these comes after all without. Source: redrock.zwarning.badfit_mask.
BAD_FIT: Final = (
    Zwarn.NEGATIVE_MODEL
    | Zwarn.MANY_OUTLIERS
    | Zwarn.Z_FITLIMIT
    | Zwarn.NEGATIVE_EMISSION
    | Zwarn.BAD_MINFIT
)
# Below it the best fit is ambiguous. Source: redrock.zfind, redrock.constants.
LEAST_DELTA_CHI2: Final = 9.0
# Coefficients of redrock's largest template set: the width of COEFF.
N_COEFF: Final = 10
