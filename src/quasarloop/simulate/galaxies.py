"""Galaxies: old, middle-aged and young stars, dust, and nebular lines in realistic ratios."""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import FWHM_OF_SIGMA, PER_MAGNITUDE, SPEED_OF_LIGHT_KMS
from quasarloop.lines import NEBULAR_AA
from quasarloop.simulate import Floats32, Floats64, Rng
from quasarloop.simulate.lattice import Lattice, RestTable, add_gaussians, line_centre, shifted_mix
from quasarloop.simulate.objects import GALAXY_KINDS, GalaxyTraits, Objects
from quasarloop.simulate.stars import normal_star

__all__ = ["draw_galaxy_traits", "galaxy_spectra", "galaxy_table"]


# Light at 5500 Å of each age by stellar temperature (K) and share. Source: mixtures that give the
# 4000 Å breaks of Kauffmann et al. 2003 (MNRAS 341, 33) (old 1.9, 1 Gyr 1.45, young 1.1).
_AGES: Final = {
    "old": ((3600.0, 0.14), (4300.0, 0.30), (4800.0, 0.28), (5700.0, 0.22), (6400.0, 0.06)),
    "middle": ((4600.0, 0.22), (6300.0, 0.18), (7800.0, 0.25), (9300.0, 0.35)),
    "young": ((4800.0, 0.10), (8500.0, 0.15), (12_000.0, 0.20), (22_000.0, 0.35), (38_000.0, 0.20)),
}
# Breaks of the middle ultraviolet: wavelength, and the factor that light of each age loses below.
# Source: Spinrad et al. 1997 (ApJ 484, 581): 1.8 and 1.6 in old galaxies, part of which the
# colours of the stars make; the rest ours.
_BREAKS: Final = ((2640.0, (1.6, 1.25, 1.02)), (2900.0, (1.3, 1.1, 1.0)))
_BREAK_AA: Final = 8.0
# Interstellar lines before middle-aged and young stars, Fe II and Mg II: wavelength and equivalent
# width, Å. Source: Zhu et al. 2015 (ApJ 815, 48), star-forming galaxies at 0.6 < z < 1.2, rounded.
_INTERSTELLAR: Final = (
    (2344.2, 1.3), (2374.5, 1.1), (2382.8, 1.6), (2586.7, 1.5), (2600.2, 1.8),
    (2796.4, 1.8), (2803.5, 1.6),
)  # fmt: skip
_INTERSTELLAR_AA: Final = 1.6  # σ; 400 km/s FWHM
_DISPERSION_KMS: Final = 190.0  # of the stars; Source: Bernardi et al. 2003 (AJ 125, 1817)
_TABLE_WAVE_AA: Final = np.geomspace(1100.0, 10_900.0, 24_000)
_NORM_AA: Final = 5500.0

# Case B, 10⁴ K, relative to Hβ. Source: Osterbrock & Ferland 2006, Table 4.4.
_CASE_B: Final = {"halpha": 2.86, "hbeta": 1.0, "hgamma": 0.468, "hdelta": 0.259}
# Fixed by atomic physics. Source: Storey & Zeippen 2000 (MNRAS 312, 813), 2.98 and 3.05.
_OIII_RATIO: Final = 2.98
_NII_RATIO: Final = 3.05
# Calzetti et al. 2000 (ApJ 533, 682), as a power law k = 4.05 (λ/5500 Å)^-0.9
# (ours, within 10 %).
_DUST_RV: Final = 4.05
_DUST_SLOPE: Final = -0.9
# Upper end of the star-forming branch in log [N II]/Hα. Source: Kewley et al. 2006.
_N2_MAX: Final = -0.28

# By kind: light shares old, middle, young (Dirichlet parameters), mean and scatter of E(B-V), of
# log EW(Hα), and of log [N II]/Hα. Sources: EW: Kennicutt 1992 (ApJ 388, 310); [N II]/Hα:
# Kewley et al. 2006 (MNRAS 372, 961); green peas: Cardamone et al. 2009 (MNRAS 399, 1191).
_KINDS: Final[dict[str, tuple[tuple[float, float, float], tuple[float, ...]]]] = {
    "passive": ((30.0, 2.0, 0.15), (0.03, 0.02, -1.0, 0.3, 0.0, 0.1)),
    "star_forming": ((4.0, 4.0, 6.0), (0.18, 0.10, 1.55, 0.30, -0.65, 0.22)),
    "post_starburst": ((3.0, 12.0, 0.5), (0.08, 0.05, 0.0, 0.4, -0.2, 0.1)),
    "strong_line": ((1.0, 2.0, 12.0), (0.10, 0.06, 2.45, 0.25, -1.25, 0.22)),
    "type2_agn": ((10.0, 4.0, 2.0), (0.15, 0.08, 1.50, 0.25, 0.0, 0.15)),
}


def draw_galaxy_traits(kind: NDArray[np.int64], rng: Rng) -> tuple[GalaxyTraits, Floats32]:
    """Draw the traits of galaxies.

    Args:
        kind: (n,) number in `GALAXY_KINDS`.
        rng: source of randomness.

    Returns:
        The traits, and (n,) E(B-V).
    """
    n = len(kind)
    shares = np.array([_KINDS[name][0] for name in GALAXY_KINDS])[kind]
    laws = np.array([_KINDS[name][1] for name in GALAXY_KINDS])[kind]  # (n, 6)
    light = rng.gamma(shares)
    light /= light.sum(axis=1, keepdims=True)
    ebv = np.clip(rng.normal(laws[:, 0], laws[:, 1]), 0.0, None)
    ew = 10.0 ** rng.normal(laws[:, 2], laws[:, 3])
    n2 = np.clip(rng.normal(laws[:, 4], laws[:, 5]), -1.9, 0.35)
    is_agn = kind == GALAXY_KINDS.index("type2_agn")
    n2 = np.where(is_agn | (n2 < _N2_MAX), n2, _N2_MAX)
    # Log [O III]/Hβ of star-forming galaxies. Source: Kewley et al. 2013 (ApJ 774, 100).
    star_forming = np.clip(1.1 + 0.61 / (n2 + 0.08), -1.2, 0.9)
    o3 = np.where(is_agn, rng.normal(0.8, 0.15, n), star_forming + rng.normal(0, 0.1, n))
    o3 = np.where(kind == GALAXY_KINDS.index("passive"), rng.normal(0.3, 0.15, n), o3)
    traits = GalaxyTraits(
        light=light.astype(np.float32),
        halpha_ew_aa=ew.astype(np.float32),
        log_nii_halpha=n2.astype(np.float32),
        log_oiii_hbeta=o3.astype(np.float32),
        line_fwhm_kms=np.clip(rng.normal(220.0, 60.0, n), 110.0, 500.0).astype(np.float32),
        line_ratio=_line_ratios(n2, o3, is_agn, rng).astype(np.float32),
    )
    return traits, ebv.astype(np.float32)


def galaxy_spectra(objects: Objects, lattice: Lattice) -> Floats32:
    """Return spectra of galaxies, stars 1 at 5500 Å before dust.

    Args:
        objects: (n) rows, galaxies all.
        lattice: observed wavelengths.

    Returns:
        (n, n_pix) float32.
    """
    traits, z = objects.galaxy, objects.z
    spectra = shifted_mix(galaxy_table(), z, traits.light, lattice)
    halpha = list(NEBULAR_AA).index("halpha")
    near_halpha = Lattice(38_100, 120)  # 6457 to 6638 Å
    continuum = traits.light @ galaxy_table().window(0.0, near_halpha).mean(axis=1)
    per_hbeta = traits.halpha_ew_aa * continuum / traits.line_ratio[:, halpha]
    for number, wave_aa in enumerate(NEBULAR_AA.values()):
        centre = line_centre(lattice, wave_aa, z, np.zeros(len(z), np.float32))
        fwhm = traits.line_fwhm_kms
        sigma_aa = np.float32(wave_aa / (FWHM_OF_SIGMA * SPEED_OF_LIGHT_KMS)) * fwhm
        flux = per_hbeta * traits.line_ratio[:, number]
        height = flux / (np.float32(np.sqrt(2.0 * np.pi)) * sigma_aa)
        add_gaussians(spectra, centre, fwhm, height)
    spectra *= _dust(objects, lattice)
    return spectra


@lru_cache(maxsize=1)
def galaxy_table() -> RestTable:
    """Return old, middle-aged and young stars (in this order), each 1 at 5500 Å."""
    wave = _TABLE_WAVE_AA
    rows: list[Floats64] = []
    for mixture in _AGES.values():
        light = np.zeros_like(wave)
        for temperature, share in mixture:
            star = normal_star(wave, temperature)
            light += share * star / np.interp(_NORM_AA, wave, star)
        rows.append(_broadened(light * _middle_ultraviolet(len(rows))))
    return RestTable.from_function(np.stack(rows), wave)


def _line_ratios(n2: Floats64, o3: Floats64, is_agn: NDArray[np.bool_], rng: Rng) -> Floats64:
    """(n, n_lines) intrinsic fluxes relative to Hβ."""
    n = len(n2)
    halpha = np.where(is_agn, 3.1, _CASE_B["halpha"])
    nii, oiii = 10.0**n2 * halpha, 10.0**o3
    # [O II]/Hβ near 3.4 at high metallicity (Kewley et al. 2004, AJ 127, 2002, dereddened),
    # falling to 1.5 for metal-poor, highly ionised gas.
    oii = 10.0 ** (np.interp(n2, [-1.8, -1.2, -0.6, -0.3], [0.15, 0.38, 0.53, 0.35]))
    oii *= 10.0 ** rng.normal(0.0, 0.08, n)
    density = rng.uniform(1.2, 1.45, n)  # 3730/3727 and 6718/6733, low-density limit 1.45
    # [S II]/Hα: Kewley et al. 2006; total 0.35 of Hα, less in metal-poor gas.
    sii = halpha * 10.0 ** np.where(is_agn, -0.25, np.interp(n2, [-1.8, -0.6], [-1.0, -0.45]))
    ratios = {name: np.full(n, value) for name, value in _CASE_B.items()} | {
        "halpha": halpha,
        "oii3727": oii / (1.0 + density),
        "oii3730": oii * density / (1.0 + density),
        "neiii3870": 0.08 * oiii,
        "oiii4960": oiii / _OIII_RATIO,
        "oiii5008": oiii,
        "hei5877": np.full(n, 0.12),
        "oi6302": halpha * np.where(is_agn, 0.12, 0.03),
        "nii6550": nii / _NII_RATIO,
        "nii6585": nii,
        "sii6718": sii * density / (1.0 + density),
        "sii6733": sii / (1.0 + density),
        "siii9071": np.full(n, 0.25),
        "siii9533": np.full(n, 0.62),
    }
    return np.stack([ratios[name] for name in NEBULAR_AA], axis=1)


def _dust(objects: Objects, lattice: Lattice) -> Floats32:
    ln_z = np.log1p(objects.z).astype(np.float32)[:, None]
    exponent = np.float32(_DUST_SLOPE) * (lattice.ln_wave - np.float32(np.log(_NORM_AA)) - ln_z)
    np.exp(exponent, out=exponent)
    exponent *= (-PER_MAGNITUDE * _DUST_RV * objects.ebv).astype(np.float32)[:, None]
    return np.asarray(np.exp(exponent, out=exponent))


def _middle_ultraviolet(age: int) -> Floats64:
    """Return what breaks and interstellar lines leave of light of one age."""
    wave = _TABLE_WAVE_AA
    left = np.ones_like(wave)
    for edge_aa, factors in _BREAKS:
        blue = 1.0 / (1.0 + np.exp(np.clip((wave - edge_aa) / _BREAK_AA, -50, 50)))
        left *= factors[age] ** -blue
    if age > 0:
        for line_aa, ew_aa in _INTERSTELLAR:
            depth = ew_aa / (np.sqrt(2.0 * np.pi) * _INTERSTELLAR_AA)
            left *= 1.0 - depth * np.exp(-0.5 * ((wave - line_aa) / _INTERSTELLAR_AA) ** 2)
    return left


def _broadened(light: Floats64) -> Floats64:
    step_kms = np.log(_TABLE_WAVE_AA[1] / _TABLE_WAVE_AA[0]) * SPEED_OF_LIGHT_KMS
    offsets = np.arange(-40, 41) * step_kms
    kernel = np.exp(-0.5 * (offsets / _DISPERSION_KMS) ** 2)
    padded = np.pad(light, 40, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")
