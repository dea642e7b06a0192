"""Continuum of a quasar: broken power law, Balmer continuum, iron humps, dust.

One rest-frame table holds every smooth component; an object mixes its rows.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.constants import AIR_TO_VACUUM, FWHM_OF_SIGMA, PLANCK_AA_K, SPEED_OF_LIGHT_KMS
from quasarloop.simulate.lattice import RestTable

__all__ = [
    "CONTINUUM_PIVOT_AA",
    "CONTINUUM_ROWS",
    "SMC_SLOPE",
    "base_continuum",
    "continuum_table",
    "smc_extinction",
]

Floats64 = NDArray[np.float64]

# Order of the spectra in `continuum_table`.
CONTINUUM_ROWS: Final = ("power_law", "balmer", "iron_uv", "iron_narrow", "iron_broad")
# Where every component is measured against the power law, and where power laws cross.
CONTINUUM_PIVOT_AA: Final = 3000.0

# f_λ ∝ λ^slope up to each wavelength (Å). Source: Lusso et al. 2015 (MNRAS 449, 4204):
# α_ν = -1.70 below 912 Å; Vanden Berk et al. 2001 (AJ 122, 549): α_λ = -1.54 up to
# 4661 Å and -0.42 beyond, half of which flattening we leave to the host light added separately.
_SLOPES: Final = ((912.0, -0.3), (1216.0, -1.0), (5000.0, -1.54), (np.inf, -0.9))

# Optically thin-to-thick Balmer continuum. Source: Grandi 1982 (ApJ 255, 25);
# T = 15,000 K and τ = 1 at the edge: Dietrich et al. 2003 (ApJ 596, 817).
_BALMER_EDGE_AA: Final = 3646.0
_BALMER_TEMPERATURE_K: Final = 15_000.0
# The high Balmer series, blended by its width, carries the edge on to about Hε; e-folding length.
# Source: Wills, Netzer & Wills 1985 (ApJ 288, 94); rounded.
_BALMER_BLEND_AA: Final = 140.0

# Ultraviolet Fe II and Fe III complexes: centre (Å), FWHM (Å), relative height. Source: multiplets
# of Vestergaard & Wilkes 2001 (ApJS 134, 1), drawn as Gaussian humps by us.
_IRON_UV: Final = (
    (1785.0, 30.0, 0.10),
    (1920.0, 45.0, 0.16),
    (2000.0, 70.0, 0.16),
    (2075.0, 50.0, 0.40),
    (2120.0, 70.0, 0.25),
    (2220.0, 80.0, 0.40),
    (2295.0, 60.0, 0.50),
    (2345.0, 45.0, 0.62),
    (2388.0, 50.0, 0.90),
    (2435.0, 45.0, 0.75),
    (2485.0, 50.0, 1.00),
    (2530.0, 45.0, 0.90),
    (2575.0, 50.0, 0.80),
    (2615.0, 40.0, 0.65),
    (2660.0, 55.0, 0.25),
    (2715.0, 45.0, 0.45),
    (2750.0, 40.0, 0.55),
    (2785.0, 40.0, 0.35),
    (2840.0, 45.0, 0.50),
    (2880.0, 50.0, 0.55),
    (2940.0, 45.0, 0.55),
    (2985.0, 45.0, 0.45),
    (3080.0, 70.0, 0.25),
    (3170.0, 70.0, 0.38),
    (3215.0, 60.0, 0.38),
    (3275.0, 70.0, 0.38),
    (3370.0, 90.0, 0.22),
    (3480.0, 90.0, 0.25),
)
# Optical Fe II: air wavelength (Å), relative strength. Source: Kovačević, Popović & Dimitrijević
# 2010 (ApJS 189, 15) (transitions of groups F, S, G); strengths rounded from
# Véron-Cetty, Joly & Véron 2004 (A&A 417, 515) (I Zw 1).
_IRON_OPTICAL: Final = (
    (4178.9, 0.45),
    (4233.2, 0.75),
    (4273.3, 0.20),
    (4303.2, 0.40),
    (4351.8, 0.55),
    (4385.4, 0.35),
    (4416.8, 0.35),
    (4472.9, 0.20),
    (4489.2, 0.30),
    (4491.4, 0.35),
    (4508.3, 0.55),
    (4515.3, 0.55),
    (4520.2, 0.50),
    (4522.6, 0.70),
    (4549.5, 1.00),
    (4555.9, 0.60),
    (4582.8, 0.30),
    (4583.8, 0.95),
    (4620.5, 0.25),
    (4629.3, 0.60),
    (4666.8, 0.30),
    (4731.4, 0.30),
    (4923.9, 0.80),
    (5018.4, 1.00),
    (5169.0, 1.05),
    (5197.6, 0.55),
    (5234.6, 0.65),
    (5264.8, 0.45),
    (5276.0, 0.80),
    (5284.1, 0.35),
    (5316.7, 1.15),
    (5325.6, 0.30),
    (5337.7, 0.25),
    (5362.9, 0.55),
    (5414.1, 0.20),
    (5425.3, 0.25),
    (5534.8, 0.30),
    (5991.4, 0.10),
    (6084.1, 0.08),
    (6149.3, 0.12),
    (6247.6, 0.18),
    (6456.4, 0.18),
    (6516.1, 0.15),
)
# FWHM at which the optical iron is tabulated, km/s; objects mix both.
_IRON_WIDTHS_KMS: Final = (1800.0, 5500.0)

_TABLE_WAVE_AA: Final = np.geomspace(560.0, 11_500.0, 15_000)

# Small Magellanic Cloud dust: A_λ / E(B-V) = 1.39 (λ/μm)^-1.2.
# Source: Richards et al. 2003 (AJ 126, 1131), after Prevot et al. 1984.
_SMC_NORM: Final = 1.39
SMC_SLOPE: Final = -1.2


def base_continuum(wave_aa: ArrayLike) -> Floats64:
    """Return the typical power law at rest wavelengths, 1 at 3000 Å.

    Args:
        wave_aa: any shape, Å.
    """
    ln_wave = np.log(np.asarray(wave_aa, dtype=np.float64))
    return np.asarray(np.exp(_ln_power_law(ln_wave) - _ln_power_law(np.log(CONTINUUM_PIVOT_AA))))


def smc_extinction(wave_aa: ArrayLike) -> Floats64:
    """Return A_λ / E(B-V) of SMC dust at rest wavelengths, magnitudes."""
    micron = np.asarray(wave_aa, dtype=np.float64) * 1e-4
    return np.asarray(_SMC_NORM * micron**SMC_SLOPE)


@lru_cache(maxsize=1)
def continuum_table() -> RestTable:
    """Return the smooth components as rows `CONTINUUM_ROWS`.

    Power law and Balmer continuum are 1 at 3000 Å; iron is relative to the power law, ultraviolet
    iron 1 at its highest, optical iron at the highest of its narrow form.
    """
    wave = _TABLE_WAVE_AA
    base = base_continuum(wave)
    narrow, broad = (_optical_iron(wave, width) for width in _IRON_WIDTHS_KMS)
    rows = [base, _balmer_continuum(wave), base * _ultraviolet_iron(wave)]
    rows += [base * narrow / narrow.max(), base * broad / narrow.max()]
    return RestTable.from_function(np.stack(rows), wave)


def _ln_power_law(ln_wave: ArrayLike) -> Floats64:
    value = np.zeros_like(np.asarray(ln_wave, dtype=np.float64))
    lower = np.log(100.0)
    for limit_aa, slope in _SLOPES:
        upper = np.log(limit_aa)
        value += slope * (np.clip(ln_wave, lower, upper) - lower)
        lower = upper
    return value


def _balmer_continuum(wave: Floats64) -> Floats64:
    planck = wave**-5.0 / np.expm1(PLANCK_AA_K / (wave * _BALMER_TEMPERATURE_K))
    thick = planck * -np.expm1(-((wave / _BALMER_EDGE_AA) ** 3))
    beyond = np.clip((wave - _BALMER_EDGE_AA) / _BALMER_BLEND_AA, 0.0, 50.0)
    at_edge = np.interp(_BALMER_EDGE_AA, wave, thick)
    whole = np.where(wave > _BALMER_EDGE_AA, at_edge * np.exp(-beyond), thick)
    return np.asarray(whole / np.interp(CONTINUUM_PIVOT_AA, wave, thick))


def _ultraviolet_iron(wave: Floats64) -> Floats64:
    total = np.zeros_like(wave)
    for centre, fwhm, height in _IRON_UV:
        total += height * np.exp(-0.5 * ((wave - centre) * FWHM_OF_SIGMA / fwhm) ** 2)
    return np.asarray(total / total.max())


def _optical_iron(wave: Floats64, fwhm_kms: float) -> Floats64:
    total = np.zeros_like(wave)
    sigma = fwhm_kms / FWHM_OF_SIGMA / SPEED_OF_LIGHT_KMS
    for air, strength in _IRON_OPTICAL:
        total += (
            strength / sigma * np.exp(-0.5 * (np.log(wave / (air * AIR_TO_VACUUM)) / sigma) ** 2)
        )
    return total
