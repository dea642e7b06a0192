"""The same objects observed several times, and the coadd of those exposures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quasarloop.simulate.noise import Conditions, NoisyArm

__all__ = ["Exposure", "coadd_arm", "coadd_exposures"]


@dataclass(frozen=True)
class Exposure:
    """One exposure of a set of objects.

    Attributes:
        arms: arm name -> what it recorded.
        conditions: how it went.
    """

    arms: dict[str, NoisyArm]
    conditions: Conditions


def coadd_exposures(exposures: Sequence[Exposure]) -> dict[str, NoisyArm]:
    """Coadd every arm over the exposures."""
    return {
        name: coadd_arm([exposure.arms[name] for exposure in exposures])
        for name in exposures[0].arms
    }


def coadd_arm(parts: Sequence[NoisyArm]) -> NoisyArm:
    """Average exposures weighted by inverse variance.

    A pixel masked in all exposures has flux 0, ivar 0 and its mask bits; one masked in only
    some is as good as what is left and has mask 0 (redrock ignores every pixel with a mask bit).

    Args:
        parts: exposures of the same rows and pixels.

    Returns:
        One row per object; the input itself where there is but one exposure.
    """
    if len(parts) == 1:
        return parts[0]
    ivar = np.add.reduce([part.ivar for part in parts])
    flux = np.add.reduce([part.flux * part.ivar for part in parts])
    np.divide(flux, ivar, out=flux, where=ivar > 0)
    mask: NDArray[np.int32] = np.bitwise_or.reduce([part.mask for part in parts])
    mask[ivar > 0] = 0
    return NoisyArm(flux, ivar, mask)
