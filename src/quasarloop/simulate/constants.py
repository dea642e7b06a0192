"""Constants of physics and rest wavelengths that several parts of the simulated sky share."""

from typing import Final

import numpy as np

from quasarloop.lines import line_named

__all__ = [
    "AIR_TO_VACUUM",
    "BALMER_AA",
    "FWHM_OF_SIGMA",
    "LYA_AA",
    "NEBULAR_AA",
    "PER_MAGNITUDE",
    "PLANCK_AA_K",
    "SPEED_OF_LIGHT_KMS",
]

SPEED_OF_LIGHT_KMS: Final = 299_792.458  # exact, SI
PLANCK_AA_K: Final = 1.438777e8  # hc/k, CODATA 2018
FWHM_OF_SIGMA: Final = 2.0 * float(np.sqrt(2.0 * np.log(2.0)))
PER_MAGNITUDE: Final = 0.4 * float(np.log(10.0))  # -ln of a magnitude of dimming
AIR_TO_VACUUM: Final = 1.000278  # Morton 1991 (ApJS 77, 119), near 5000 Å

LYA_AA: Final = line_named("LYA").wave_rest_aa

# Hα to H12, vacuum Å. Source: NIST, Ritz wavelengths. (The network's Hα is another number.)
BALMER_AA: Final = (
    6564.61,
    line_named("Hbeta").wave_rest_aa,
    4341.68,
    4102.89,
    3971.20,
    3890.15,
    3836.47,
    3798.98,
    3771.70,
    3751.22,
    3735.43,
    3722.94,
    3712.97,
)

# Lines of ionised gas, vacuum Å. Source: NIST, Ritz wavelengths.
NEBULAR_AA: Final[dict[str, float]] = {
    "oii3727": 3727.09,
    "oii3730": 3729.88,
    "neiii3870": 3869.86,
    "hdelta": BALMER_AA[3],
    "hgamma": BALMER_AA[2],
    "hbeta": BALMER_AA[1],
    "oiii4960": 4960.30,
    "oiii5008": 5008.24,
    "hei5877": 5877.25,
    "oi6302": 6302.05,
    "nii6550": 6549.85,
    "halpha": BALMER_AA[0],
    "nii6585": 6585.28,
    "sii6718": 6718.29,
    "sii6733": 6732.67,
    "siii9071": 9071.1,
    "siii9533": 9533.2,
}
