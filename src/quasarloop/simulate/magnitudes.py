"""Magnitudes and distances: how bright an object's spectrum is."""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.simulate.lattice import Lattice

__all__ = ["R_BAND_AA", "distance_modulus", "scale_to_magnitude"]

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]

# Corners of a trapezoid close to the DECam r band of the DESI Legacy Surveys
# (half-power points near 5650 and 7150 Å). Source: Flaugher et al. 2015 (AJ 150, 150).
R_BAND_AA: Final = (5500.0, 5800.0, 7000.0, 7300.0)
# f_ν of AB magnitude 0, erg/s/cm²/Hz. Source: Oke & Gunn 1983 (ApJ 266, 713).
_AB_ZERO: Final = 3.631e-20
_AA_S_OF_KMS: Final = 1e13
# Unit of the spectra. Source: DESI and SDSS data models.
_FLUX_UNIT: Final = 1e-17
# Flat ΛCDM. Source: our choice, the usual concordance values.
_HUBBLE_KMS_MPC: Final = 70.0
_OMEGA_MATTER: Final = 0.3
# A band flux below this part of the spectrum's own mean is not scaled up further.
_FAINTEST_PART: Final = 1e-3


def scale_to_magnitude(flux: Floats32, lattice: Lattice, r_mag: ArrayLike) -> None:
    """Scale spectra in place so that each has its AB magnitude in the r band.

    Args:
        flux: (n, n_pix) any units of f_λ.
        lattice: its wavelengths; must cover the r band.
        r_mag: (n,) AB magnitudes.
    """
    weight = _band_weight(lattice)
    # Row by row, not as a matrix product, whose rounding may depend on the number of rows.
    mean = np.einsum("ij,j->i", flux, weight)
    # A spectrum with no light in r (a quasar beyond z = 5 behind thick forest) stays finite.
    mean = np.maximum(mean, _FAINTEST_PART * flux.mean(axis=1))
    band_flux = _ab_flux(r_mag)
    scale = np.divide(band_flux, mean, out=np.zeros_like(band_flux), where=mean > 0)
    flux *= scale.astype(np.float32)[:, None]


def distance_modulus(z: ArrayLike) -> Floats64:
    """Return m − M (no K correction) at redshifts, NaN at and below 0.

    >>> round(float(distance_modulus(1.0)), 1)
    44.1
    """
    grid, modulus = _modulus_table()
    redshift = np.asarray(z, dtype=np.float64)
    return np.where(redshift > 0, np.interp(redshift, grid, modulus), np.nan)


@lru_cache(maxsize=8)
def _band_weight(lattice: Lattice) -> Floats32:
    """Photon-counting weights with Σ weight = 1, (n_pix,)."""
    wave = lattice.wave_aa
    response = np.interp(wave, R_BAND_AA, (0.0, 1.0, 1.0, 0.0)) * wave**2  # λ dλ on a log lattice
    return np.asarray(response / response.sum(), dtype=np.float32)


def _ab_flux(r_mag: ArrayLike) -> Floats64:
    """Mean f_λ in units of 1e-17 erg/s/cm²/Å of AB magnitudes, at the band's pivot."""
    pivot_aa = 0.5 * (R_BAND_AA[1] + R_BAND_AA[2])
    per_aa = _AB_ZERO * SPEED_OF_LIGHT_KMS * _AA_S_OF_KMS / pivot_aa**2 / _FLUX_UNIT
    magnitude = np.asarray(r_mag, dtype=np.float64)
    return np.asarray(per_aa * 10.0 ** (-0.4 * magnitude))


@lru_cache(maxsize=1)
def _modulus_table() -> tuple[Floats64, Floats64]:
    z = np.concatenate([[1e-6], np.geomspace(1e-4, 10.0, 2000)])
    inverse_hubble = 1.0 / np.sqrt(_OMEGA_MATTER * (1 + z) ** 3 + 1 - _OMEGA_MATTER)
    steps = 0.5 * (inverse_hubble[1:] + inverse_hubble[:-1]) * np.diff(z)
    comoving = np.concatenate([[z[0]], z[0] + np.cumsum(steps)])
    distance_mpc = (1 + z) * comoving * SPEED_OF_LIGHT_KMS / _HUBBLE_KMS_MPC
    return z, 5.0 * np.log10(distance_mpc) + 25.0
