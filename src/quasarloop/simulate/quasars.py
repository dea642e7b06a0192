"""Quasar spectra from traits: broken power law, Balmer continuum, iron, lines, dust.

One rest-frame table holds every smooth component; an object mixes its rows. Strengths of the
iron complexes are in ``data/iron_ultraviolet.ecsv`` and ``iron_optical.ecsv``.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from quasarloop.constants import (
    AIR_TO_VACUUM,
    FWHM_OF_SIGMA,
    PER_MAGNITUDE,
    PLANCK_AA_K,
    SPEED_OF_LIGHT_KMS,
)
from quasarloop.simulate import Floats32, Floats64
from quasarloop.simulate.lattice import (
    BroadProfile,
    Lattice,
    RestTable,
    add_broad_lines,
    add_gaussians,
    line_centre,
    shifted_mix,
)
from quasarloop.simulate.objects import (
    BROAD_LINES,
    CONTINUUM_PIVOT_AA,
    HIGH_IONISATION_AA,
    MEAN_SLOPE,
    QUASAR_LINES,
    Objects,
    QuasarTraits,
)
from quasarloop.simulate.published import published

__all__ = ["bare_quasars", "base_continuum", "continuum_table", "dust", "smc_extinction"]


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

# FWHM at which the optical iron is tabulated, km/s; objects mix both.
_IRON_WIDTHS_KMS: Final = (1800.0, 5500.0)

_TABLE_WAVE_AA: Final = np.geomspace(560.0, 11_500.0, 15_000)

# Small Magellanic Cloud dust: A_λ / E(B-V) = 1.39 (λ/μm)^-1.2. One power law needs no library of
# extinction curves, and shifts with redshift by a factor (see `dust`).
# Source: Richards et al. 2003 (AJ 126, 1131), after Prevot et al. 1984.
_SMC_NORM: Final = 1.39
_SMC_SLOPE: Final = -1.2

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


def bare_quasars(objects: Objects, lattice: Lattice) -> Floats32:
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


def dust(objects: Objects, lattice: Lattice) -> Floats32:
    """Return the (n, n_pix) transmission of SMC dust in each quasar."""
    # The extinction curve is a power law in λ, hence an exponential of ln λ.
    per_pixel = smc_extinction(lattice.wave_aa).astype(np.float32)
    shift = (1.0 + objects.z) ** -_SMC_SLOPE * objects.ebv * PER_MAGNITUDE
    exponent = -shift.astype(np.float32)[:, None] * per_pixel[None, :]
    return np.asarray(np.exp(exponent, out=exponent))


def _weights(traits: QuasarTraits) -> Floats32:
    """(n, 5) weights of the rows of `continuum_table`."""
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


def _tilt(objects: Objects, lattice: Lattice) -> Floats32:
    """(n, n_pix) factor that gives each object its slope and curvature."""
    # α_λ = -2 - α_ν: a larger α_ν is bluer.
    pivot = np.log(CONTINUUM_PIVOT_AA * (1.0 + objects.z)).astype(np.float32)
    exponent = lattice.ln_wave[None, :] - pivot[:, None]
    bend = np.float32(0.5) * objects.quasar.curvature[:, None] * exponent
    bend += (MEAN_SLOPE - objects.quasar.slope)[:, None]
    exponent *= bend
    return np.asarray(np.exp(exponent, out=exponent))


def _add_lines(spectra: Floats32, lattice: Lattice, z: Floats64, traits: QuasarTraits) -> None:
    # From equivalent width to area in units of the continuum per ln λ.
    wave_aa = np.array([law.wave_aa for law in QUASAR_LINES])
    per_ew = (base_continuum(wave_aa) / wave_aa).astype(np.float32)
    for number, law in enumerate(QUASAR_LINES):
        shift_kms, fwhm_kms = traits.line_shift_kms[:, number], traits.line_fwhm_kms[:, number]
        strength = traits.line_ew_aa[:, number] * per_ew[number]
        if number >= len(BROAD_LINES):
            sigma_ln = fwhm_kms / np.float32(FWHM_OF_SIGMA * SPEED_OF_LIGHT_KMS)
            height = strength / (np.float32(np.sqrt(2.0 * np.pi)) * sigma_ln)
            centre = line_centre(lattice, law.wave_aa, z, shift_kms)
            add_gaussians(spectra, centre, fwhm_kms, height)
            continue
        peaks, roundness = [(shift_kms, fwhm_kms, strength)], traits.roundness
        if law.name in _BALMER_LINES:
            peaks = _disc_peaks(shift_kms, fwhm_kms, strength, traits.peak_separation_kms)
        elif law.wave_aa < HIGH_IONISATION_AA:
            roundness = np.float32(_HIGH_ROUNDNESS) * roundness
        for shift, fwhm, light in peaks:
            skew = np.clip(-shift * np.float32(_SKEW_PER_KMS), 0.0, _SKEW_MAX)
            centre = line_centre(lattice, law.wave_aa, z, shift)
            add_broad_lines(spectra, centre, BroadProfile(fwhm, light, skew, roundness))


def _disc_peaks(
    shift_kms: Floats32, fwhm_kms: Floats32, strength: Floats32, separation_kms: Floats32
) -> list[tuple[Floats32, Floats32, Floats32]]:
    """Split a line into blue and red peak where the object has a double-peaked disc."""
    half = np.float32(0.5) * separation_kms
    double = half > 0
    width = np.where(double, np.float32(_PEAK_WIDTH) * fwhm_kms, fwhm_kms)
    share = np.where(double, np.float32(_BLUE_PEAK_SHARE), np.float32(1.0))
    blue = (shift_kms - half, width, share * strength)
    return [blue, (shift_kms + half, width, (1 - share) * strength)]


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
    return np.asarray(_SMC_NORM * micron**_SMC_SLOPE)


@lru_cache(maxsize=1)
def continuum_table() -> RestTable:
    """Return power law, Balmer continuum, ultraviolet, narrow and broad optical iron as rows.

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
    for centre, fwhm, height in published("iron_ultraviolet").rows():
        total += height * np.exp(-0.5 * ((wave - centre) * FWHM_OF_SIGMA / fwhm) ** 2)
    return np.asarray(total / total.max())


def _optical_iron(wave: Floats64, fwhm_kms: float) -> Floats64:
    total = np.zeros_like(wave)
    sigma = fwhm_kms / FWHM_OF_SIGMA / SPEED_OF_LIGHT_KMS
    for air, strength in published("iron_optical").rows():
        total += (
            strength / sigma * np.exp(-0.5 * (np.log(wave / (air * AIR_TO_VACUUM)) / sigma) ** 2)
        )
    return total
