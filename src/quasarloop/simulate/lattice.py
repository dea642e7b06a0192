"""The fine log-wavelength lattice on which noiseless spectra are made, and line profiles on it.

Pixel ``j`` of the lattice is at 10**(1e-4 j) Å, so a redshift is a shift by a number of pixels,
and an object has the same forest at all wavelengths it is observed at. Lines are added to many
spectra at once, each in its own window of pixels.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import k1e

from quasarloop.constants import FWHM_OF_SIGMA, SPEED_OF_LIGHT_KMS
from quasarloop.errors import GridError
from quasarloop.simulate import Floats32, Floats64

__all__ = [
    "LATTICE_DEX",
    "PIXEL_KMS",
    "BroadProfile",
    "Lattice",
    "RestTable",
    "add_broad_lines",
    "add_gaussians",
    "fine_lattice",
    "gaussian_seen",
    "line_centre",
    "resample",
    "shifted_mix",
    "window_pixels",
]


# Our choice: 69 km/s, the pixel of SDSS and BOSS files; DESI's pixels are 24 to 67 km/s wide
# and its resolution 60 to 150 km/s (FWHM).
LATTICE_DEX: Final = 1e-4
PIXEL_KMS: Final = LATTICE_DEX * np.log(10.0) * SPEED_OF_LIGHT_KMS
# Rest-frame tables are kept at this many phases per pixel: shifts are then exact to 9 km/s.
_PHASES: Final = 4
# Wavelengths within this part of a pixel of the lattice need no interpolation.
_ON_LATTICE: Final = 1e-4


@dataclass(frozen=True)
class Lattice:
    """A run of lattice pixels.

    Attributes:
        first: number of the first pixel.
        n_pix: how many pixels.
    """

    first: int
    n_pix: int

    def __post_init__(self) -> None:
        if self.n_pix < 1:
            raise GridError(f"a lattice needs at least one pixel; found n_pix={self.n_pix}")

    @cached_property
    def wave_aa(self) -> Floats64:
        """(n_pix,) vacuum wavelengths, Å."""
        return np.asarray(10.0 ** (LATTICE_DEX * (self.first + np.arange(self.n_pix))))

    @cached_property
    def ln_wave(self) -> Floats32:
        """(n_pix,) natural logarithm of the wavelengths in Å."""
        return np.log(self.wave_aa).astype(np.float32)

    def position(self, wave_aa: ArrayLike) -> Floats64:
        """Return fractional pixel numbers (0 is the first pixel) of wavelengths, any shape."""
        return np.log10(np.asarray(wave_aa, dtype=np.float64)) / LATTICE_DEX - self.first


def fine_lattice(min_aa: float, max_aa: float) -> Lattice:
    """Return the shortest lattice that holds both wavelengths.

    Raises:
        GridError: limits that are not positive, finite and increasing.

    >>> fine_lattice(3600.0, 9800.0).n_pix
    4351
    """
    if not (0 < min_aa < max_aa < np.inf):
        raise GridError(f"wavelength limits must increase from above 0; found {min_aa}, {max_aa} Å")
    first = int(np.floor(np.log10(min_aa) / LATTICE_DEX + _ON_LATTICE))
    last = int(np.ceil(np.log10(max_aa) / LATTICE_DEX - _ON_LATTICE))
    return Lattice(first, last - first + 1)


def resample(values: Floats32, lattice: Lattice, wave_aa: Floats64) -> Floats32:
    """Read lattice spectra at other wavelengths by linear interpolation.

    Args:
        values: (n, lattice.n_pix).
        lattice: of `values`.
        wave_aa: (n_out,) Å, within the lattice.

    Returns:
        (n, n_out) float32; a plain cut where `wave_aa` is a run of lattice pixels.
    """
    position = lattice.position(wave_aa)
    nearest = np.rint(position)
    if np.all(np.abs(position - nearest) < _ON_LATTICE) and np.all(np.diff(nearest) == 1):
        start = int(nearest[0])
        return np.ascontiguousarray(values[:, start : start + len(wave_aa)])
    left = np.clip(np.floor(position).astype(np.int64), 0, lattice.n_pix - 2)
    right_part = (position - left).astype(np.float32)
    lower = values[:, left]  # (n, n_out)
    lower += right_part * (values[:, left + 1] - lower)
    return lower


@dataclass(frozen=True)
class RestTable:
    """Rest-frame spectra on the lattice's spacing, at several phases of a pixel.

    Attributes:
        first: rest lattice pixel (in units of 1/phases of a pixel) of element [0, :, 0].
        phases: (n_phases, n_spectra, n_pix) float32; ``phases[p, :, m]`` is fine pixel
            ``first + n_phases m + p``.
    """

    first: int
    phases: Floats32

    @classmethod
    def from_function(cls, spectra: ArrayLike, wave_aa: ArrayLike) -> "RestTable":
        """Tabulate spectra given on any increasing wavelengths.

        Args:
            spectra: (n_spectra, n_wave).
            wave_aa: (n_wave,) rest-frame vacuum Å.
        """
        wave = np.asarray(wave_aa, dtype=np.float64)
        values = np.atleast_2d(np.asarray(spectra, dtype=np.float64))
        step = LATTICE_DEX / _PHASES
        first = int(np.ceil(np.log10(wave[0]) / step))
        n_pix = int((np.floor(np.log10(wave[-1]) / step) - first + 1) // _PHASES)
        fine = 10.0 ** (step * (first + np.arange(n_pix * _PHASES)))
        table = np.stack([np.interp(fine, wave, row) for row in values])  # (n_spectra, fine)
        phased = table.reshape(len(values), n_pix, _PHASES).transpose(2, 0, 1)
        return cls(first, np.ascontiguousarray(phased, dtype=np.float32))

    def window(self, z: float, lattice: Lattice) -> Floats32:
        """Return (n_spectra, lattice.n_pix): every spectrum seen at redshift z.

        Outside the table its first or last values go on.
        """
        step = LATTICE_DEX / _PHASES
        start = _PHASES * lattice.first - round(float(np.log10(1.0 + z)) / step) - self.first
        pixel, phase = divmod(start, _PHASES)
        table = self.phases[phase]
        if pixel >= 0 and pixel + lattice.n_pix <= table.shape[1]:
            return np.asarray(table[:, pixel : pixel + lattice.n_pix])
        index = np.clip(np.arange(pixel, pixel + lattice.n_pix), 0, table.shape[1] - 1)
        return np.ascontiguousarray(table[:, index])


def shifted_mix(table: RestTable, z: Floats64, weights: Floats32, lattice: Lattice) -> Floats32:
    """Return Σ_k weights[i, k] · spectrum_k(λ / (1 + z_i)) on the lattice.

    Args:
        table: K rest-frame spectra.
        z: (n,) redshifts.
        weights: (n, K) float32.
        lattice: observed wavelengths.

    Returns:
        (n, lattice.n_pix) float32.
    """
    mixed = np.empty((len(z), lattice.n_pix), dtype=np.float32)
    for row, redshift in enumerate(z):
        np.dot(weights[row], table.window(float(redshift), lattice), out=mixed[row])
    return mixed


# The broad profile is exp(-(sqrt(u² + ε²) - ε)): a Gaussian core of roundness ε and exponential
# wings. Source of the wings, straight in log λ: Nagao, Marconi & Maiolino 2006 (A&A 447, 157).
# Wings are followed down to exp(-6) = 0.25 % of the peak.
_REACH_BROAD: Final = 6.0
# A line is drawn if its centre is within this many FWHM of the spectrum.
_SEEN_FWHM: Final = np.float32(6.0)
# A row's line ends there for any width of the others: spectra do not depend on other rows.
_BROAD_END: Final = np.float32(np.exp(-_REACH_BROAD))
_REACH_GAUSSIAN: Final = 4.0  # σ
# No narrow line reaches further than this, pixels: 4 σ at a FWHM of 1700 km/s.
_NARROW_REACH: Final = 42.0
_GAUSSIAN_END: Final = np.float32(np.exp(-0.5 * _REACH_GAUSSIAN**2))
_LN2: Final = float(np.log(2.0))
_LN_PER_PIXEL: Final = LATTICE_DEX * float(np.log(10.0))


class BroadProfile(NamedTuple):
    """Shapes of one line in several objects, (n,) each.

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


def add_broad_lines(spectra: Floats32, centre: Floats64, profile: BroadProfile) -> None:
    """Add one broad line to each spectrum that it reaches, in place.

    Args:
        spectra: (n, n_pix) C-contiguous.
        centre: (n,) pixel position of the peak; outside or NaN for no line.
        profile: (n,) shapes.
    """
    reach = _SEEN_FWHM * profile.fwhm_kms / np.float32(PIXEL_KMS)
    seen = (centre > -reach) & (centre < spectra.shape[1] + reach) & (profile.strength > 0)
    rows = np.flatnonzero(seen)
    if len(rows) == 0:
        return
    fwhm_kms, strength, skew, roundness = (values[rows] for values in profile)
    fwhm_of_scale = 2.0 * np.sqrt(_LN2**2 + 2.0 * _LN2 * roundness)
    area_of_scale = 2.0 * roundness * k1e(roundness)  # ∫ of the profile: 2 ε K1(ε) e^ε
    scale = fwhm_kms / (fwhm_of_scale * PIXEL_KMS)  # pixels
    height = strength / (area_of_scale * scale * (1.0 + 0.5 * skew) * _LN_PER_PIXEL)
    wing = scale * (1.0 + skew) * np.sqrt(_REACH_BROAD**2 + 2.0 * _REACH_BROAD * roundness)
    index, offset = window_pixels(rows, centre[rows], float(np.max(wing)), spectra.shape[1])
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
    spectra: Floats32, centre: Floats64, fwhm_kms: Floats32, height: Floats32
) -> None:
    """Add one Gaussian of given height to each spectrum that it reaches, in place.

    Args:
        spectra: (n, n_pix) C-contiguous.
        centre: (n,) pixel position of the peak; outside or NaN for no line.
        fwhm_kms: (n,) full width at half maximum.
        height: (n,) value at the peak.
    """
    n_pix = spectra.shape[1]
    rows = np.flatnonzero(gaussian_seen(centre, n_pix) & (height > 0))
    if len(rows) == 0:
        return
    sigma = fwhm_kms[rows] / (FWHM_OF_SIGMA * PIXEL_KMS)
    reach = float(np.max(sigma)) * _REACH_GAUSSIAN
    index, offset = window_pixels(rows, centre[rows], reach, n_pix)
    offset /= sigma[:, None]
    np.square(offset, out=offset)
    offset *= np.float32(-0.5)
    np.exp(offset, out=offset)
    offset *= offset > _GAUSSIAN_END
    offset *= height[rows, None]
    spectra.reshape(-1)[index] += offset


def gaussian_seen(centre: Floats64, n_pix: int) -> NDArray[np.bool_]:
    """Return which narrow lines reach spectra of n_pix pixels, (m,) bool, given their centres."""
    return np.asarray((centre > -_NARROW_REACH) & (centre < n_pix + _NARROW_REACH))


def window_pixels(
    rows: NDArray[np.int64], centre: Floats64, reach: float, n_pix: int
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
