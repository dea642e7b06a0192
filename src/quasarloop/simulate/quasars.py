"""Quasar spectra from traits: continuum, iron, lines, host, dust, then absorption."""

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import FWHM_OF_SIGMA, PER_MAGNITUDE, SPEED_OF_LIGHT_KMS
from quasarloop.simulate.bal import absorb_bal
from quasarloop.simulate.iron import (
    CONTINUUM_PIVOT_AA,
    SMC_SLOPE,
    base_continuum,
    continuum_table,
    smc_extinction,
)
from quasarloop.simulate.lattice import (
    PIXEL_KMS,
    Lattice,
    shifted_mix,
)
from quasarloop.simulate.profiles import (
    BroadProfile,
    add_broad_lines,
    add_gaussians,
    gaussian_seen,
    line_centre,
)
from quasarloop.simulate.quasar_lines import BROAD_LINES, QUASAR_LINES
from quasarloop.simulate.quasar_traits import HIGH_IONISATION_AA, MEAN_SLOPE, QuasarTraits

if TYPE_CHECKING:
    from quasarloop.simulate.objects import Objects

__all__ = ["absorb_broad", "bare_quasars", "dust"]

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]

# Width at which the iron rows of the continuum table are taken, log10 km/s; between them a mix.
_IRON_LOG_WIDTHS: Final = (3.26, 3.74)
# Skew of a line per km/s of its blueshift. Source: Richards et al. 2011 (the blue wing
# grows, the red side stays), size ours.
_SKEW_PER_KMS: Final = 1.0 / 4000.0
_SKEW_MAX: Final = 0.8
# Lyα, C IV and their like are more peaked, with more extended wings, than Mg II and Hβ. Source:
# Wills et al. 1993 (ApJ 415, 563), intermediate and very broad line regions; size ours.
_HIGH_ROUNDNESS: Final = 0.35
_BALMER_LINES: Final = ("halpha", "hbeta", "hgamma", "hdelta")
# Red peak against blue peak of a disc. Source: Strateva et al. 2003: blue is higher.
_BLUE_PEAK_SHARE: Final = 0.55
# A peak of a disc is narrower than the whole line.
_PEAK_WIDTH: Final = 0.7
# A line is drawn if its centre is within this many FWHM of the spectrum.
_SEEN_FWHM: Final = np.float32(6.0)


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
    shift = (1.0 + objects.z) ** -SMC_SLOPE * objects.ebv * PER_MAGNITUDE
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
    """(n, n_pix) factor that gives each object its slope and curvature."""
    # α_λ = -2 - α_ν: a larger α_ν is bluer.
    pivot = np.log(CONTINUUM_PIVOT_AA * (1.0 + objects.z)).astype(np.float32)
    exponent = lattice.ln_wave[None, :] - pivot[:, None]
    bend = np.float32(0.5) * objects.quasar.curvature[:, None] * exponent
    bend += (MEAN_SLOPE - objects.quasar.slope)[:, None]
    exponent *= bend
    return np.asarray(np.exp(exponent, out=exponent))


class _Line(NamedTuple):
    """One line in every object: (n,) arrays, and its rest wavelength, Å."""

    wave_aa: float
    shift_kms: Floats32
    fwhm_kms: Floats32
    strength: Floats32


def _add_lines(spectra: Floats32, lattice: Lattice, z: Floats64, traits: QuasarTraits) -> None:
    n_broad = len(BROAD_LINES)
    per_ew = _continuum_per_wavelength()
    for number, law in enumerate(QUASAR_LINES):
        line = _Line(
            law.wave_aa,
            traits.line_shift_kms[:, number],
            traits.line_fwhm_kms[:, number],
            traits.line_ew_aa[:, number] * per_ew[number],
        )
        if number >= n_broad:
            _add_narrow(spectra, lattice, z, line)
        elif law.name in _BALMER_LINES:
            for peak in _disc_peaks(line, traits.peak_separation_kms):
                _add_broad(spectra, lattice, z, peak, traits.roundness)
        else:
            is_high = law.wave_aa < HIGH_IONISATION_AA
            peaked = np.float32(_HIGH_ROUNDNESS if is_high else 1.0)
            _add_broad(spectra, lattice, z, line, peaked * traits.roundness)


def _add_broad(
    spectra: Floats32, lattice: Lattice, z: Floats64, line: _Line, roundness: Floats32
) -> None:
    centre = line_centre(lattice, line.wave_aa, z, line.shift_kms)
    reach = _SEEN_FWHM * line.fwhm_kms / np.float32(PIXEL_KMS)
    seen = (centre > -reach) & (centre < lattice.n_pix + reach) & (line.strength > 0)
    rows = np.flatnonzero(seen)
    if len(rows):
        skew = np.clip(-line.shift_kms[rows] * np.float32(_SKEW_PER_KMS), 0.0, _SKEW_MAX)
        profile = BroadProfile(line.fwhm_kms[rows], line.strength[rows], skew, roundness[rows])
        add_broad_lines(spectra, rows, centre[rows], profile)


def _add_narrow(spectra: Floats32, lattice: Lattice, z: Floats64, line: _Line) -> None:
    centre = line_centre(lattice, line.wave_aa, z, line.shift_kms)
    rows = np.flatnonzero(gaussian_seen(centre, lattice) & (line.strength > 0))
    if len(rows):
        fwhm = line.fwhm_kms[rows]
        sigma_ln = fwhm / np.float32(FWHM_OF_SIGMA * SPEED_OF_LIGHT_KMS)
        height = line.strength[rows] / (np.float32(np.sqrt(2.0 * np.pi)) * sigma_ln)
        add_gaussians(spectra, rows, centre[rows], fwhm, height)


@lru_cache(maxsize=1)
def _continuum_per_wavelength() -> Floats32:
    """(n_lines,) factor from equivalent width to area in units of continuum per ln λ."""
    wave_aa = np.array([law.wave_aa for law in QUASAR_LINES])
    return np.asarray(base_continuum(wave_aa) / wave_aa, dtype=np.float32)


def _disc_peaks(line: _Line, separation_kms: Floats32) -> list[_Line]:
    """Split a line into blue and red peak where the object has a double-peaked disc."""
    half = np.float32(0.5) * separation_kms
    double = half > 0
    width = np.where(double, np.float32(_PEAK_WIDTH) * line.fwhm_kms, line.fwhm_kms)
    share = np.where(double, np.float32(_BLUE_PEAK_SHARE), np.float32(1.0))
    blue = _Line(line.wave_aa, line.shift_kms - half, width, share * line.strength)
    red = _Line(line.wave_aa, line.shift_kms + half, width, (1 - share) * line.strength)
    return [blue, red] if np.any(double) else [blue]
