"""The fine log-wavelength lattice on which noiseless spectra are made.

Pixel ``j`` of the lattice stands at 10**(1e-4 j) Å, so a redshift is a shift by a number
of pixels, and an object has the same forest whatever wavelengths are asked for.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.errors import GridError

__all__ = [
    "LATTICE_DEX",
    "PIXEL_KMS",
    "SPEED_OF_LIGHT_KMS",
    "Lattice",
    "RestTable",
    "fine_lattice",
    "resample",
    "shifted_mix",
]

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]

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
        lattice: where `values` stand.
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
        phases: (n_phases, n_spectra, n_pix) float32; ``phases[p, :, m]`` stands at fine pixel
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
