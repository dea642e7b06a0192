"""Light that is nearly all in narrow lines: real, however bright, so never CORRUPTED or mended."""

import numpy as np
import pytest
from scipy.special import erf

from quasarloop.constants import FWHM_OF_SIGMA
from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.quality import prepare
from quasarloop.spectra import Arm, Flag, Keys, Spectra

# A planetary nebula of high excitation, Hβ = 100; vacuum Å.
# Source: Osterbrock & Ferland 2006, "Astrophysics of Gaseous Nebulae", chapters 4 and 5, rounded.
NEBULA = {
    3727.1: 50, 3729.9: 40, 3751.2: 3, 3771.7: 4, 3799.0: 5, 3836.5: 7, 3869.9: 100, 3890.2: 19,
    3968.6: 31, 3971.2: 16, 4069.7: 3, 4102.9: 26, 4341.7: 47, 4364.4: 15, 4472.7: 5, 4687.0: 30,
    4712.7: 4, 4741.5: 4, 4862.7: 100, 4960.3: 400, 5008.2: 1200, 5199.3: 1, 5413.0: 3, 5756.2: 2,
    5877.2: 15, 6302.0: 10, 6313.8: 2, 6365.5: 3, 6549.9: 30, 6564.6: 285, 6585.3: 90, 6680.0: 4,
    6718.3: 8, 6732.7: 10, 7067.2: 6, 7137.8: 20, 7321.9: 4, 7332.2: 4, 7753.2: 5, 8547.7: 1,
    8600.8: 1, 8667.4: 1, 8753.0: 1, 8865.3: 1, 9017.8: 2, 9071.1: 30, 9231.5: 3, 9533.2: 75,
    9548.6: 4,
}  # fmt: skip
GALAXY = {3727.1: 200, 3729.9: 280, 4341.7: 46, 4862.7: 100, 4960.3: 200, 5008.2: 600, 6564.6: 290}
ARMS = {
    "sdss": [("brz", 10 ** (3.5563 + 1e-4 * np.arange(4600)))],
    "desi": [
        ("b", np.arange(3600, 5800.4, 0.8)),
        ("r", np.arange(5760, 7620.4, 0.8)),
        ("z", np.arange(7520, 9824.4, 0.8)),
    ],
}


def light(wave_aa, lines, fwhm_pix, continuum):
    """Lines and a faint continuum, where the pixel of [O III] 5007 has height 1."""
    edges = np.concatenate([[1.5 * wave_aa[0] - 0.5 * wave_aa[1]],
                            (wave_aa[1:] + wave_aa[:-1]) / 2,
                            [1.5 * wave_aa[-1] - 0.5 * wave_aa[-2]]])  # fmt: skip
    total = np.full(len(wave_aa), continuum)
    for place_aa, strength in lines.items():
        sigma_aa = fwhm_pix / FWHM_OF_SIGMA * np.interp(place_aa, wave_aa, np.diff(edges))
        part = np.diff(erf((edges - place_aa) / (np.sqrt(2) * sigma_aa)))
        total += strength / 1200 * part / erf(0.5 * FWHM_OF_SIGMA / np.sqrt(2) / fwhm_pix) / 2
    return total


def observed(survey, lines, fwhm_pix, height, continuum, seed):
    """One spectrum with noise 1 where there is no light, and that of photons in lines."""
    rng = np.random.default_rng(seed)
    arms = []
    for name, wave_aa in ARMS[survey]:
        flux = height * light(wave_aa, lines, fwhm_pix, continuum)
        sigma = np.sqrt(1 + flux / 10)
        noisy = (flux + rng.normal(0, sigma)).astype("f4")[None]
        arms.append(Arm(name, wave_aa, noisy, (1 / sigma**2).astype("f4")[None]))
    keys = Keys.make(target_id=np.array([1]))
    return Spectra(tuple(arms), keys, np.zeros(1, np.int32), "nebula", np.zeros(1, np.int64))


@pytest.mark.parametrize("lines", [NEBULA, GALAXY], ids=["nebula", "galaxy"])
@pytest.mark.parametrize("survey", ARMS)
@pytest.mark.parametrize("grid", [LOG_GRID, LINEAR_GRID], ids=["log", "linear"])
@pytest.mark.parametrize(("continuum", "highest"), [(0.0, 1e4), (1e-4, 3e4)])
def test_light_in_narrow_lines_is_light(lines, survey, grid, continuum, highest):
    # Pixels hold at most some 10⁵ electrons; their noise without light is a few.
    flagged = []
    for height in np.geomspace(10, highest, 5):
        for seed, fwhm_pix in enumerate((2.0, 2.5, 3.5, 5.0)):
            spectra = observed(survey, lines, fwhm_pix, height, continuum, seed)
            (flags,) = prepare(spectra, grid).flags
            if flags & (Flag.CORRUPTED | Flag.OUTLIER_PIXELS):
                flagged.append((round(height), fwhm_pix, Flag(flags)))
    assert not flagged
