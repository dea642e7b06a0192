"""Quasar spectra from traits: continuum, iron, lines, host, dust, then absorption."""

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.simulate.bal import absorb_bal
from quasarloop.simulate.iron import (
    CONTINUUM_PIVOT_AA,
    SMC_SLOPE,
    base_continuum,
    continuum_table,
    smc_extinction,
)
from quasarloop.simulate.lattice import Lattice, shifted_mix
from quasarloop.simulate.profiles import add_broad_lines, add_gaussians, line_centre
from quasarloop.simulate.quasar_lines import BROAD_LINES, QUASAR_LINES
from quasarloop.simulate.quasar_traits import MEAN_SLOPE, QuasarTraits

if TYPE_CHECKING:
    from quasarloop.simulate.objects import Objects

__all__ = ["absorb_broad", "bare_quasars", "dust"]

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]

# Width at which the iron rows of the continuum table are taken, log10 km/s; between them a mix.
_IRON_LOG_WIDTHS: Final = (3.26, 3.74)
# Skew of a line per km/s of its blueshift. Source: Richards et al. 2011, Fig. 12 (the blue wing
# grows, the red side stays), size ours.
_SKEW_PER_KMS: Final = 1.0 / 4000.0
_SKEW_MAX: Final = 0.8
_BALMER_LINES: Final = ("halpha", "hbeta", "hgamma", "hdelta")
# Red peak against blue peak of a disc. Source: Strateva et al. 2003, Section 5: blue is higher.
_BLUE_PEAK_SHARE: Final = 0.55
# A peak of a disc is narrower than the whole line.
_PEAK_WIDTH: Final = 0.7
_FWHM_OF_SIGMA: Final = 2.3548
_LN10_04: Final = 0.4 * float(np.log(10.0))
_KMS: Final = 299_792.458


def bare_quasars(objects: "Objects", lattice: Lattice) -> Floats32:
    """Return the nucleus of each quasar, its power law 1 at 3000 Å rest.

    Args:
        objects: (n) rows, quasars all.
        lattice: observed wavelengths.

    Returns:
        (n, n_pix) float32, without dust, absorption or host.
    """
    traits, z = objects.quasar, objects.z
    spectra = shifted_mix(continuum_table(), z, _weights(traits), lattice)
    _add_lines(spectra, lattice, z, traits)
    spectra *= _tilt(objects, lattice)
    return spectra


def dust(objects: "Objects", lattice: Lattice) -> Floats32:
    """Return the (n, n_pix) transmission of SMC dust in each quasar."""
    # The extinction curve is a power law in λ, hence an exponential of ln λ.
    per_pixel = smc_extinction(lattice.wave_aa).astype(np.float32)
    shift = (1.0 + objects.z) ** -SMC_SLOPE * objects.ebv * _LN10_04
    exponent = -shift.astype(np.float32)[:, None] * per_pixel[None, :]
    return np.asarray(np.exp(exponent, out=exponent))


def absorb_broad(spectra: Floats32, objects: "Objects", lattice: Lattice) -> None:
    """Put broad absorption into quasars, in place."""
    rows = np.flatnonzero(objects.quasar.bal.depth[:, 0] > 0)
    absorb_bal(spectra, lattice, objects.z, objects.quasar.bal, rows)


def _weights(traits: QuasarTraits) -> Floats32:
    """(n, 5) weights of `CONTINUUM_ROWS`."""
    low, high = _IRON_LOG_WIDTHS
    broad = np.clip((np.log10(traits.width_kms) - low) / (high - low), 0.0, 1.0)
    return np.stack(
        [
            np.ones_like(traits.balmer),
            traits.balmer,
            traits.iron_uv,
            traits.iron_optical * (1.0 - broad),
            traits.iron_optical * broad,
        ],
        axis=1,
    ).astype(np.float32)


def _tilt(objects: "Objects", lattice: Lattice) -> Floats32:
    """(n, n_pix) factor that turns the typical slope into each object's."""
    # α_λ = -2 - α_ν: a larger α_ν is bluer.
    pivot = np.log(CONTINUUM_PIVOT_AA * (1.0 + objects.z)).astype(np.float32)
    exponent = lattice.ln_wave[None, :] - pivot[:, None]
    exponent *= (MEAN_SLOPE - objects.quasar.slope)[:, None]
    return np.asarray(np.exp(exponent, out=exponent))


def _add_lines(spectra: Floats32, lattice: Lattice, z: Floats64, traits: QuasarTraits) -> None:
    n_broad = len(BROAD_LINES)
    for number, line in enumerate(QUASAR_LINES):
        shift = traits.line_shift_kms[:, number]
        fwhm = traits.line_fwhm_kms[:, number]
        # Equivalent width × continuum / wavelength = area in units of continuum per ln λ.
        strength = traits.line_ew_aa[:, number] * np.float32(
            base_continuum(line.wave_aa) / line.wave_aa
        )
        if number >= n_broad:
            _add_narrow(spectra, lattice, z, line.wave_aa, (shift, fwhm, strength))
        elif line.name in _BALMER_LINES:
            _add_disc(spectra, lattice, z, line.wave_aa, (shift, fwhm, strength), traits)
        else:
            _add_broad(spectra, lattice, z, line.wave_aa, (shift, fwhm, strength))


def _add_broad(
    spectra: Floats32,
    lattice: Lattice,
    z: Floats64,
    wave_aa: float,
    line: tuple[Floats32, Floats32, Floats32],
) -> None:
    shift, fwhm, strength = line
    centre = line_centre(lattice, wave_aa, z, shift)
    reach = 3.0 * fwhm / 69.0
    rows = np.flatnonzero((centre > -reach) & (centre < lattice.n_pix + reach) & (strength > 0))
    if len(rows):
        skew = np.clip(-shift[rows] * np.float32(_SKEW_PER_KMS), 0.0, _SKEW_MAX)
        add_broad_lines(spectra, rows, centre[rows], fwhm[rows], strength[rows], skew)


def _add_narrow(
    spectra: Floats32,
    lattice: Lattice,
    z: Floats64,
    wave_aa: float,
    line: tuple[Floats32, Floats32, Floats32],
) -> None:
    shift, fwhm, strength = line
    centre = line_centre(lattice, wave_aa, z, shift)
    rows = np.flatnonzero((centre > 0) & (centre < lattice.n_pix) & (strength > 0))
    if len(rows):
        sigma_ln = fwhm[rows] / np.float32(_FWHM_OF_SIGMA * _KMS)
        height = strength[rows] / (np.float32(np.sqrt(2.0 * np.pi)) * sigma_ln)
        add_gaussians(spectra, rows, centre[rows], fwhm[rows], height)


def _add_disc(
    spectra: Floats32,
    lattice: Lattice,
    z: Floats64,
    wave_aa: float,
    line: tuple[Floats32, Floats32, Floats32],
    traits: QuasarTraits,
) -> None:
    shift, fwhm, strength = line
    half = np.float32(0.5) * traits.peak_separation_kms
    double = half > 0
    width = np.where(double, np.float32(_PEAK_WIDTH) * fwhm, fwhm)
    blue = np.where(double, np.float32(_BLUE_PEAK_SHARE), np.float32(1.0)) * strength
    _add_broad(spectra, lattice, z, wave_aa, (shift - half, width, blue))
    if np.any(double):
        _add_broad(spectra, lattice, z, wave_aa, (shift + half, width, strength - blue))
