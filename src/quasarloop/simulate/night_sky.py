"""The night sky between the stars: a dark continuum and the airglow lines on it."""

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["sky_continuum", "sky_lines", "sky_spectrum"]

Floats = NDArray[np.float64]

# Moonless continuum between the lines, 1e-17 erg/s/cm²/Å/arcsec² at Å. Anchored to broad-band
# brightness of a dark site, B 22.6 and V 21.8 mag/arcsec² less the share of the lines.
# Source: Neugent & Massey 2010, PASP 122, 1246 (Kitt Peak); the rounding to a few anchors is ours.
_CONTINUUM: Final = (
    (3500.0, 0.75), (4000.0, 0.60), (5000.0, 0.60), (6000.0, 0.70),
    (7000.0, 0.65), (8000.0, 0.60), (9000.0, 0.60), (10400.0, 0.70),
)  # fmt: skip
_LINES_FILE: Final = Path(__file__).parent / "data" / "sky_lines.csv"
_REACH_SIGMA: Final = 5.0


def sky_continuum(wave_aa: Floats) -> Floats:
    """Return the sky between the lines, (n,) 1e-17 erg/s/cm²/Å/arcsec²."""
    anchors = np.array(_CONTINUUM)
    return np.asarray(np.interp(wave_aa, anchors[:, 0], anchors[:, 1]), dtype=np.float64)


@cache
def sky_lines() -> tuple[Floats, Floats]:
    """Return vacuum wavelengths (Å) and fluxes (1e-17 erg/s/cm²/arcsec²) of the airglow.

    [O I] 5577, 6300, 6364, Na I D, Hg I, the O2 bands and the OH bands from 6-1 to 3-0.

    Source: identifications and wavelengths as in Osterbrock et al. 1996, PASP 108, 277, and
        Hanuschik 2003, A&A 407, 1157, blended to DESI's resolution; strengths measured by us on
        the inverse variance of real DESI spectra (``tools/fit_instrument.py``).
    """
    table = np.loadtxt(_LINES_FILE, delimiter=",", comments="#")
    return table[:, 0], table[:, 1]


def sky_spectrum(wave_aa: Floats, sigma_aa: Floats) -> Floats:
    """Return the whole sky as a spectrograph sees it.

    Args:
        wave_aa: (n,) pixel centres, Å, increasing.
        sigma_aa: (n,) Gaussian resolution at each pixel, Å.

    Returns:
        (n,) 1e-17 erg/s/cm²/Å/arcsec².
    """
    sky = sky_continuum(wave_aa)
    for centre, flux in zip(*sky_lines(), strict=True):
        sigma = float(np.interp(centre, wave_aa, sigma_aa))
        first, last = np.searchsorted(
            wave_aa, [centre - _REACH_SIGMA * sigma, centre + _REACH_SIGMA * sigma]
        )
        offset = (wave_aa[first:last] - centre) / sigma
        sky[first:last] += flux * np.exp(-0.5 * offset**2) / (np.sqrt(2 * np.pi) * sigma)
    return sky
