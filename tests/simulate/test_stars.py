from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from quasarloop.simulate.draw import draw_objects
from quasarloop.simulate.lattice import Lattice, fine_lattice
from quasarloop.simulate.objects import STAR_KINDS, Objects
from quasarloop.simulate.population import Population
from quasarloop.simulate.stars import (
    carbon_star,
    cataclysmic,
    da_dwarf,
    db_dwarf,
    normal_star,
    planck,
    star_spectra,
)
from quasarloop.simulate.templates import read_templates
from quasarloop.truth import SpecType

WAVE = np.geomspace(3500.0, 10_000.0, 12_000)


def equivalent_width(flux: NDArray[np.float64], centre: float, half: float) -> float:
    inside = np.abs(WAVE - centre) < half
    sides = (np.abs(WAVE - centre) > half) & (np.abs(WAVE - centre) < 1.4 * half)
    fit = np.polyfit(WAVE[sides] - centre, flux[sides], 1)
    depth = 1 - flux[inside] / np.polyval(fit, WAVE[inside] - centre)
    return float(np.sum(depth * np.gradient(WAVE)[inside]))


@pytest.fixture(scope="module")
def stars() -> Objects:
    objects = draw_objects(Population(), 6000, np.random.SeedSequence(9))
    return objects[objects.spectype == SpecType.STAR]


def test_planck_by_hand() -> None:
    # hc/(λkT) at 5000 Å and 10,000 K is 2.8776; at 6400 Å 2.2481.
    expected = (6400 / 5000) ** 5 * np.expm1(2.24809) / np.expm1(2.87755)
    assert planck(np.array([5000.0]), 10_000.0)[0] == pytest.approx(expected, rel=1e-4)


def test_balmer_lines_peak_at_type_a() -> None:
    def hbeta(temperature: float, half: float) -> float:
        return equivalent_width(normal_star(WAVE, temperature), 4862.7, half)

    assert hbeta(9500, 60) > 10 > hbeta(5800, 60)
    assert hbeta(9500, 15) > 2 * hbeta(25_000, 15) > 2 * hbeta(4500, 15) > 0


def test_white_dwarf_lines_are_the_broadest() -> None:
    dwarf, main = da_dwarf(WAVE, 12_500.0), normal_star(WAVE, 9500.0)
    assert equivalent_width(dwarf, 4862.7, 150) > 2.5 * equivalent_width(main, 4862.7, 150)
    helium = db_dwarf(WAVE, 17_000.0)
    assert equivalent_width(helium, 4472.8, 90) > 12
    assert abs(equivalent_width(helium, 6564.6, 40)) < 2


def test_calcium_and_the_g_band_mark_cool_stars() -> None:
    sun, hot = normal_star(WAVE, 5800.0), normal_star(WAVE, 20_000.0)
    assert 6 < equivalent_width(sun, 3934.8, 16) < 25
    assert equivalent_width(hot, 3934.8, 16) < 1
    assert equivalent_width(sun, 4305.0, 20) > 3
    assert equivalent_width(normal_star(WAVE, 4300.0), 5893.0, 20) > 2


def test_m_dwarfs_have_sharp_titanium_heads() -> None:
    cool = normal_star(WAVE, 3000.0)

    def at(wave: float) -> float:
        return float(np.interp(wave, WAVE, cool))

    # TiO 7053 Å (Kirkpatrick et al. 1991): light falls by more than a third across the head.
    assert at(7065) < 0.66 * at(7045)
    assert at(5175) < 0.8 * at(5160)
    hotter = normal_star(WAVE, 4500.0)
    ratio = np.interp(7065, WAVE, hotter) / np.interp(7045, WAVE, hotter)
    assert ratio == pytest.approx(1.0, abs=0.02)


def test_carbon_bands_are_sharp_on_the_red_side() -> None:
    star = carbon_star(WAVE, 3600.0)
    assert np.interp(5150, WAVE, star) < 0.55 * np.interp(5180, WAVE, star)
    assert np.interp(4720, WAVE, star) < 0.6 * np.interp(4750, WAVE, star)


def test_cataclysmic_variables_emit() -> None:
    star = cataclysmic(WAVE, -1.0, 1.0, 1500.0)
    assert equivalent_width(star, 6564.6, 62) == pytest.approx(-75, rel=0.05)
    assert equivalent_width(star, 4862.7, 38) < -45


def test_the_balmer_jump_is_that_of_its_type() -> None:
    a_star = normal_star(WAVE, 9500.0)
    smooth = planck(WAVE, 15_500.0)
    drop = np.log10(np.interp(4010, WAVE, a_star / smooth) / np.interp(3600, WAVE, a_star / smooth))
    assert 0.3 < drop < 0.55  # 0.48 dex with the lines' own bite at 4010 Å


def test_radial_velocities_move_the_lines(stars: Objects) -> None:
    hot = stars[stars.subtype == "A"]
    moved = replace(hot, z=np.where(np.arange(len(hot)) % 2, 1e-3, -1e-3))
    lattice = fine_lattice(4820.0, 4900.0)
    flux = star_spectra(moved, lattice)
    light = flux.max(axis=1, keepdims=True) - flux
    centroid = np.sum(light**4 * lattice.wave_aa, axis=1) / np.sum(light**4, axis=1)
    assert centroid / 4862.68 - 1 == pytest.approx(moved.z, abs=1.2e-4)


def test_every_kind_is_finite_positive_and_slow(stars: Objects) -> None:
    flux = star_spectra(stars, fine_lattice(3500.0, 10_400.0))
    assert np.isfinite(flux).all()
    assert (flux > 0).all()
    assert np.abs(stars.z).max() < 0.002
    assert np.allclose(stars.z, stars.star.velocity_kms / 299_792.458)
    for kind in STAR_KINDS:
        temperature = stars.star.temperature_k[stars.subtype == kind.name]
        if kind.name == "CV":
            assert np.isnan(temperature).all()
        else:
            assert temperature.min() >= kind.low_k * (1 - 1e-5)
            assert temperature.max() <= kind.high_k * (1 + 1e-5)


# Types next to each other in temperature cannot be told apart for sure.
NEIGHBOURS = {
    "B": {"B", "A", "WD"},
    "A": {"A", "B", "F"},
    "F": {"F", "A", "G"},
    "G": {"G", "F", "K"},
    "K": {"K", "G", "M"},
    "M": {"M", "K"},
    "CV": {"CV"},
}


@pytest.mark.parametrize("kind", list(NEIGHBOURS))
def test_redrock_templates_recognise_each_kind(
    stars: Objects, shared_data: Path, kind: str
) -> None:
    library = read_templates(shared_data / "templates" / "redrock")
    some = stars[stars.subtype == kind][:12]
    lattice = Lattice(35_600, 4200)
    spectra = smoothed(star_spectra(some, lattice))
    best: dict[str, NDArray[np.float64]] = {}
    for name, template in library.stars.items():
        basis = smoothed(template.table.window(0.0, lattice))
        fit = np.linalg.lstsq(basis.T, spectra.T, rcond=None)[0]
        residual = (spectra - (basis.T @ fit).T) / spectra.mean(axis=1, keepdims=True)
        best[name] = np.sqrt(np.mean(residual**2, axis=1))
    chosen = np.array(list(best))[np.argmin(np.stack(list(best.values())), axis=0)]
    assert np.mean([name in NEIGHBOURS[kind] for name in chosen]) >= 0.75
    assert np.median(np.min(np.stack(list(best.values())), axis=0)) < (
        0.25 if kind == "CV" else 0.12
    )


def smoothed(flux: NDArray[np.float32]) -> NDArray[np.float64]:
    n = flux.shape[1] // 6 * 6
    return flux[:, :n].reshape(len(flux), -1, 6).mean(axis=2).astype(np.float64)
