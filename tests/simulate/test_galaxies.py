from dataclasses import replace

import numpy as np
import pytest

from quasarloop.lines import NEBULAR_AA
from quasarloop.simulate.draw import draw_objects
from quasarloop.simulate.galaxies import (
    draw_galaxy_traits,
    galaxy_spectra,
    galaxy_table,
)
from quasarloop.simulate.lattice import fine_lattice
from quasarloop.simulate.objects import GALAXY_KINDS, Objects
from quasarloop.simulate.population import Population
from quasarloop.truth import SpecType

KINDS = {name: number for number, name in enumerate(GALAXY_KINDS)}


@pytest.fixture(scope="module")
def galaxies() -> Objects:
    objects = draw_objects(Population(), 4096, np.random.SeedSequence(4))
    return objects[objects.spectype == SpecType.GALAXY]


def line_flux(objects: Objects, name: str, half_width: float = 0.0025) -> np.ndarray:
    """Flux of a line above the stars, at z = 0.3, without dust."""
    moved = replace(objects, z=np.full(len(objects), 0.3), ebv=np.zeros(len(objects), np.float32))
    centre = NEBULAR_AA[name] * 1.3
    lattice = fine_lattice(centre * (1 - half_width), centre * (1 + half_width))
    none = replace(objects.galaxy, halpha_ew_aa=np.zeros_like(objects.galaxy.halpha_ew_aa))
    excess = galaxy_spectra(moved, lattice) - galaxy_spectra(replace(moved, galaxy=none), lattice)
    return np.sum(excess * np.gradient(lattice.wave_aa / 1.3), axis=1)


def test_lines_have_case_b_and_atomic_ratios(galaxies: Objects) -> None:
    hbeta = line_flux(galaxies, "hbeta")
    star_forming = galaxies.subtype != "type2_agn"
    decrement = line_flux(galaxies, "halpha", 0.0008) / hbeta
    assert np.median(decrement[star_forming]) == pytest.approx(2.86, rel=0.05)
    assert line_flux(galaxies, "oiii5008") / line_flux(galaxies, "oiii4960") == pytest.approx(
        2.98, rel=0.01
    )
    ratio = np.log10(line_flux(galaxies, "oiii5008") / hbeta)
    assert ratio == pytest.approx(galaxies.galaxy.log_oiii_hbeta, abs=0.01)


def test_the_oii_doublet_is_two_lines(galaxies: Objects) -> None:
    narrow = replace(galaxies.galaxy, line_fwhm_kms=np.full(len(galaxies), 110.0, np.float32))
    some = replace(galaxies, galaxy=narrow)[galaxies.subtype == "strong_line"]
    some = replace(some, z=np.zeros(len(some)))
    lattice = fine_lattice(3720.0, 3737.0)
    flux = galaxy_spectra(some, lattice)
    middle = np.argmin(np.abs(lattice.wave_aa - 3728.5))
    assert (flux[:, middle] < 0.8 * flux.max(axis=1)).all()


def test_star_forming_galaxies_stay_below_the_starburst_line() -> None:
    kind = np.repeat([KINDS["star_forming"], KINDS["strong_line"]], 2000)
    traits, _ = draw_galaxy_traits(kind, np.random.default_rng(1))
    # Kewley et al. 2001 (ApJ 556, 121), eq. 5.
    limit = 0.61 / (traits.log_nii_halpha - 0.47) + 1.19
    assert np.mean(traits.log_oiii_hbeta < limit) > 0.97
    agn, _ = draw_galaxy_traits(np.full(2000, KINDS["type2_agn"]), np.random.default_rng(1))
    above = (agn.log_nii_halpha > 0.47) | (
        agn.log_oiii_hbeta > 0.61 / np.minimum(agn.log_nii_halpha - 0.47, -1e-3) + 1.19
    )
    assert np.mean(above) > 0.9


def test_equivalent_widths_are_the_traits(galaxies: Objects) -> None:
    lattice = fine_lattice(6540.0, 6590.0)
    no_lines = np.zeros_like(galaxies.galaxy.halpha_ew_aa)
    bare = replace(
        galaxies,
        z=np.zeros(len(galaxies)),
        ebv=np.zeros(len(galaxies), np.float32),
        galaxy=replace(galaxies.galaxy, halpha_ew_aa=no_lines),
    )
    continuum = galaxy_spectra(bare, lattice).mean(axis=1)
    measured = line_flux(galaxies, "halpha", 0.0008) / continuum
    strong = galaxies.galaxy.line_fwhm_kms < 250  # the rest reach beyond the window
    assert measured[strong] == pytest.approx(galaxies.galaxy.halpha_ew_aa[strong], rel=0.12)


def test_the_4000_aa_break_grows_with_age() -> None:
    lattice = fine_lattice(3840.0, 4110.0)
    light = galaxy_table().window(0.0, lattice) * lattice.wave_aa**2  # f_ν
    red = light[:, (lattice.wave_aa > 4000) & (lattice.wave_aa < 4100)].mean(axis=1)
    blue = light[:, (lattice.wave_aa > 3850) & (lattice.wave_aa < 3950)].mean(axis=1)
    old, middle, young = red / blue  # D_n(4000), Balogh et al. 1999
    assert 1.55 < old < 2.1
    assert 1.1 < middle < 1.5
    assert 0.9 < young < 1.15


def test_old_galaxies_have_the_breaks_of_the_middle_ultraviolet() -> None:
    lattice = fine_lattice(2550.0, 2960.0)
    light = galaxy_table().window(0.0, lattice)

    def mean(low: float, high: float) -> np.ndarray:
        return light[:, (lattice.wave_aa > low) & (lattice.wave_aa < high)].mean(axis=1)

    # Bands and values (1.8 and 1.6): Spinrad et al. 1997 (ApJ 484, 581).
    b2640 = mean(2645, 2675) / mean(2615, 2645)
    b2900 = mean(2915, 2945) / mean(2855, 2885)
    assert 1.4 < b2640[0] < 2.2
    assert 1.3 < b2900[0] < 1.9
    assert (np.diff(b2640) < 0).all()  # the younger the weaker
    assert b2640[2] < 1.2


def test_interstellar_lines_have_their_strengths() -> None:
    lattice = fine_lattice(2337.0, 2351.0)
    young = galaxy_table().window(0.0, lattice)[2]
    sides = np.interp(lattice.wave_aa, lattice.wave_aa[[0, -1]], young[[0, -1]])
    assert np.sum((1 - young / sides) * np.gradient(lattice.wave_aa)) == pytest.approx(1.3, rel=0.2)


def test_post_starbursts_have_deep_balmer_and_no_lines(galaxies: Objects) -> None:
    post = galaxies[galaxies.subtype == "post_starburst"]
    old = galaxies[galaxies.subtype == "passive"]

    def hdelta_aa(objects: Objects) -> float:
        at_rest = replace(objects, z=np.zeros(len(objects)))
        lattice = fine_lattice(4030.0, 4180.0)
        flux = galaxy_spectra(at_rest, lattice)
        sides = (np.abs(lattice.wave_aa - 4048) < 15) | (np.abs(lattice.wave_aa - 4160) < 15)
        inside = np.abs(lattice.wave_aa - 4102.9) < 20
        depth = 1 - flux[:, inside] / flux[:, sides].mean(axis=1, keepdims=True)
        return float(np.median(np.sum(depth * np.gradient(lattice.wave_aa[inside]), axis=1)))

    assert hdelta_aa(post) > 3.5  # Hδ_A of k+a galaxies: more than 3 to 4 Å
    assert hdelta_aa(old) < 2.0
    assert np.median(post.galaxy.halpha_ew_aa) < 3


def test_dust_reddens(galaxies: Objects) -> None:
    lattice = fine_lattice(3600.0, 9800.0)
    clean = replace(galaxies, ebv=np.zeros(len(galaxies), np.float32))
    dusty = replace(galaxies, ebv=np.full(len(galaxies), 0.3, np.float32))
    ratio = galaxy_spectra(dusty, lattice) / galaxy_spectra(clean, lattice)
    assert (np.diff(ratio, axis=1) > -1e-4).all()
    # A(5500) = 4.05 E(B-V) (Calzetti et al. 2000): 10^(-0.4 × 1.215) = 0.327.
    at_rest = replace(dusty, z=np.zeros(len(dusty)))
    clean_rest = replace(clean, z=np.zeros(len(clean)))
    green = fine_lattice(5495.0, 5505.0)
    ratio = galaxy_spectra(at_rest, green) / galaxy_spectra(clean_rest, green)
    assert ratio == pytest.approx(0.327, abs=0.002)
