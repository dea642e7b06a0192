"""Adding line profiles to many spectra at once, each in its own window of pixels."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import k1e

from quasarloop.constants import FWHM_OF_SIGMA, SPEED_OF_LIGHT_KMS
from quasarloop.simulate.lattice import LATTICE_DEX, PIXEL_KMS, Lattice

__all__ = [
    "BroadProfile",
    "add_broad_lines",
    "add_gaussians",
    "gaussian_seen",
    "line_centre",
    "window_pixels",
]

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]
Rows = NDArray[np.int64]

# The broad profile is exp(-(sqrt(u² + ε²) - ε)): a Gaussian core of roundness ε and exponential
# wings. Source of the wings, straight in log λ: Nagao, Marconi & Maiolino 2006 (A&A 447, 157).
# Wings are followed down to exp(-6) = 0.25 % of the peak.
_REACH_BROAD: Final = 6.0
# A row's line ends there whatever the others' widths: spectra do not depend on their company.
_BROAD_END: Final = np.float32(np.exp(-_REACH_BROAD))
_REACH_GAUSSIAN: Final = 4.0  # σ
# No narrow line reaches further than this, pixels: 4 σ at a FWHM of 1700 km/s.
_NARROW_REACH: Final = 42.0
_GAUSSIAN_END: Final = np.float32(np.exp(-0.5 * _REACH_GAUSSIAN**2))
_LN2: Final = float(np.log(2.0))
_LN_PER_PIXEL: Final = LATTICE_DEX * float(np.log(10.0))


class BroadProfile(NamedTuple):
    """Shapes of one line in several objects, (m,) each.

    Attributes:
        fwhm_kms: full width at half maximum.
        strength: equivalent width × continuum / wavelength, so that heights come out in units of
            the continuum.
        skew: blue scale over red scale minus 1; 0 is symmetric.
        roundness: ε of the profile, > 0.
    """

    fwhm_kms: Floats32
    strength: Floats32
    skew: Floats32
    roundness: Floats32


def add_broad_lines(spectra: Floats32, rows: Rows, centre: Floats64, profile: BroadProfile) -> None:
    """Add one broad line to each of some rows, in place.

    Args:
        spectra: (n, n_pix) C-contiguous.
        rows: (m,) rows to add to, no row twice.
        centre: (m,) pixel position of the peak, may lie outside.
        profile: (m,) shapes.
    """
    fwhm_kms, strength, skew, roundness = profile
    fwhm_of_scale = 2.0 * np.sqrt(_LN2**2 + 2.0 * _LN2 * roundness)
    area_of_scale = 2.0 * roundness * k1e(roundness)  # ∫ of the profile: 2 ε K1(ε) e^ε
    scale = fwhm_kms / (fwhm_of_scale * PIXEL_KMS)  # pixels
    height = strength / (area_of_scale * scale * (1.0 + 0.5 * skew) * _LN_PER_PIXEL)
    wing = scale * (1.0 + skew) * np.sqrt(_REACH_BROAD**2 + 2.0 * _REACH_BROAD * roundness)
    index, offset = window_pixels(rows, centre, float(np.max(wing)), spectra.shape[1])
    side = np.where(offset < 0, (scale * (1.0 + skew))[:, None], scale[:, None])
    np.divide(offset, side, out=offset)
    np.square(offset, out=offset)
    offset += np.square(roundness)[:, None]
    np.sqrt(offset, out=offset)
    np.subtract(roundness[:, None], offset, out=offset)
    np.exp(offset, out=offset)
    offset *= offset > _BROAD_END
    offset *= height[:, None]
    spectra.reshape(-1)[index] += offset


def add_gaussians(
    spectra: Floats32, rows: Rows, centre: Floats64, fwhm_kms: Floats32, height: Floats32
) -> None:
    """Add one Gaussian of given height to each of some rows, in place.

    Args:
        spectra: (n, n_pix) C-contiguous.
        rows: (m,) rows to add to, no row twice.
        centre: (m,) pixel position of the peak.
        fwhm_kms: (m,) full width at half maximum.
        height: (m,) value at the peak.
    """
    sigma = fwhm_kms / (FWHM_OF_SIGMA * PIXEL_KMS)
    index, offset = window_pixels(
        rows, centre, float(np.max(sigma)) * _REACH_GAUSSIAN, spectra.shape[1]
    )
    offset /= sigma[:, None]
    np.square(offset, out=offset)
    offset *= np.float32(-0.5)
    np.exp(offset, out=offset)
    offset *= offset > _GAUSSIAN_END
    offset *= height[:, None]
    spectra.reshape(-1)[index] += offset


def gaussian_seen(centre: Floats64, lattice: Lattice) -> NDArray[np.bool_]:
    """Say which narrow lines touch a lattice, (m,) bool, given their pixels."""
    return np.asarray((centre > -_NARROW_REACH) & (centre < lattice.n_pix + _NARROW_REACH))


def window_pixels(
    rows: Rows, centre: Floats64, reach: float, n_pix: int
) -> tuple[NDArray[np.int64], Floats32]:
    """Return flat indices and pixel offsets from the centres, one window per row.

    Windows are moved, not cut, at the ends of the spectra: every index is valid and none occurs
    twice in a row.

    Args:
        rows: (m,) rows of an (n, n_pix) array.
        centre: (m,) fractional pixels.
        reach: half width of the windows, pixels.
        n_pix: length of a row.

    Returns:
        Two (m, width) arrays.
    """
    half = int(np.ceil(reach)) + 1
    width = min(2 * half + 1, n_pix)
    start = np.clip(np.rint(centre).astype(np.int64) - half, 0, n_pix - width)
    step = np.arange(width)
    offset = ((start - centre)[:, None] + step).astype(np.float32)  # (m, width)
    return (rows * n_pix + start)[:, None] + step, offset


def line_centre(lattice: Lattice, wave_aa: float, z: Floats64, shift_kms: Floats32) -> Floats64:
    """Return the pixel positions of a rest wavelength seen at (1 + z)(1 + v/c)."""
    return lattice.position(wave_aa * (1.0 + z) * (1.0 + shift_kms / SPEED_OF_LIGHT_KMS))
