from dataclasses import fields, replace

import numpy as np
import pytest

from quasarloop.lines import LYA_AA
from quasarloop.simulate import forest
from quasarloop.simulate.draw import quasars_at
from quasarloop.simulate.forest import (
    LYMAN_LIMIT_AA,
    absorb_forest,
    draw_absorbers,
    mean_transmission,
)
from quasarloop.simulate.lattice import Lattice, fine_lattice
from quasarloop.simulate.objects import Objects, blank
from quasarloop.simulate.population import QuasarPopulation


def sightlines(n: int, z: float, *, empty: bool = True) -> Objects:
    """Quasars with a forest, and if `empty` with no other system in front."""
    objects = quasars_at(
        QuasarPopulation(), np.full(n, z), np.full(n, 20.0), np.random.default_rng(11)
    )
    return replace(objects, absorbers=blank(objects.absorbers)) if empty else objects


def transmission(objects: Objects, lattice: Lattice) -> np.ndarray:
    flux = np.ones((len(objects), lattice.n_pix), np.float32)
    absorb_forest(flux, objects, lattice)
    return flux


@pytest.mark.parametrize("z_abs", [2.0, 2.4, 3.0, 3.6])
def test_the_mean_transmission_is_the_published_one(z_abs: float) -> None:
    # Behind Lyβ and beside the quasar only Lyα absorbs.
    objects = sightlines(150, (1 + z_abs) * 1.12 - 1)
    middle = LYA_AA * (1 + z_abs)
    lattice = fine_lattice(middle * 0.985, middle * 1.015)
    mean = transmission(objects, lattice).mean()
    assert mean == pytest.approx(float(mean_transmission(z_abs)), rel=0.035)


def test_the_published_mean_by_hand() -> None:
    # τ = 0.0018 × 4^3.92 = 0.412 at z = 3 (Faucher-Giguère et al. 2008).
    assert mean_transmission(3.0) == pytest.approx(np.exp(-0.4125), abs=1e-3)


def test_fluctuations_are_correlated_and_grow_with_redshift() -> None:
    lattice = fine_lattice(LYA_AA * 3.9, LYA_AA * 4.1)
    flux = transmission(sightlines(100, 3.4), lattice)
    delta = flux / flux.mean() - 1
    near = np.mean(delta[:, 1:] * delta[:, :-1]) / np.mean(delta**2)
    far = np.mean(delta[:, 60:] * delta[:, :-60]) / np.mean(delta**2)
    assert near > 0.3
    assert -0.05 < far < 0.2 < near
    # Flux variance of the forest at z = 3 and 69 km/s pixels: σ_F near 0.3 (McDonald et al. 2006).
    assert 0.22 < flux.std() < 0.42


def test_lyman_beta_adds_absorption_of_the_gas_seen_in_alpha() -> None:
    z = 3.2
    objects = sightlines(120, z)
    below = fine_lattice(1000 * (1 + z), 1020 * (1 + z))
    alpha_alone = float(mean_transmission(1010 * (1 + z) / LYA_AA - 1))
    beta = transmission(objects, below).mean() / alpha_alone
    # τ_eff of Lyβ is 0.2 to 0.4 of that of Lyα at the same gas (Becker et al. 2013, Section 5).
    assert 0.83 < beta < 0.95
    # τβ/τα = fβ λβ / (fα λα) = 0.0791 × 1025.72 / (0.4164 × 1215.67) = 0.1603.
    tau_lya, tau = np.zeros(5120, np.float32), np.zeros(5120, np.float32)
    tau_lya[2000] = 1.0
    forest._add_series(tau, tau_lya, 3.2, 1025.722, 0.07912)
    assert tau.max() == pytest.approx(0.1603, abs=2e-4)
    assert np.argmax(tau) == 2000 - 738


def test_nothing_is_absorbed_redward_of_the_quasar() -> None:
    z = 2.7
    lattice = fine_lattice(LYA_AA * (1 + z) * 1.003, 9000.0)
    assert (transmission(sightlines(5, z), lattice) == 1).all()
    low = sightlines(5, 1.2)
    assert (transmission(low, fine_lattice(3500.0, 9000.0)) == 1).all()


def test_the_forest_is_the_objects_own_whatever_is_asked_for() -> None:
    objects = sightlines(6, 2.9)
    long, short = fine_lattice(3500.0, 10_400.0), fine_lattice(3900.0, 4600.0)
    start = short.first - long.first
    whole = transmission(objects, long)[:, start : start + short.n_pix]
    assert transmission(objects, short) == pytest.approx(whole, abs=1e-6)
    assert transmission(objects[3:4], short)[0] == pytest.approx(whole[3], abs=1e-5)
    assert not np.allclose(whole[0], whole[1])


@pytest.mark.parametrize("log_nhi", [20.3, 21.0, 21.7])
def test_a_damped_line_has_the_equivalent_width_of_its_column(log_nhi: float) -> None:
    tau = np.zeros(5120, np.float32)
    forest._add_damped(tau, 2.5, log_nhi)
    wave = forest._FIELD.wave_aa
    width = np.sum((1 - np.exp(-tau)) * np.gradient(wave)) / 3.5
    # W = 7.3 Å (N / 10²⁰)^½ for a damped Lyα line (Draine 2011, Section 9.4).
    assert width == pytest.approx(7.3 * 10 ** (0.5 * (log_nhi - 20)), rel=0.06)


def test_a_limit_system_takes_the_light_below_its_edge() -> None:
    objects = sightlines(40, 3.6)
    lls_z = np.full((40, 2), np.nan, np.float32)
    lls_tau = lls_z.copy()
    lls_z[:, 0], lls_tau[:, 0] = 3.4, 1.0
    with_limit = replace(
        objects, absorbers=replace(objects.absorbers, lls_z=lls_z, lls_tau=lls_tau)
    )
    edge = LYMAN_LIMIT_AA * 4.4
    lattice = fine_lattice(3500.0, edge * 1.02)
    clear = np.maximum(transmission(objects, lattice), 1e-3)
    ratio = transmission(with_limit, lattice) / clear
    ratio[clear <= 1e-3] = np.nan
    above = ratio[:, lattice.wave_aa > edge * 1.001]
    assert np.nanmax(np.abs(above - 1)) < 1e-4
    just_below = np.argmin(np.abs(lattice.wave_aa - edge * 0.999))
    assert np.nanmedian(ratio[:, just_below]) == pytest.approx(np.exp(-0.997), abs=5e-3)
    # τ ∝ λ³.
    far_below = np.argmin(np.abs(lattice.wave_aa - edge * 0.9))
    assert np.nanmedian(ratio[:, far_below]) == pytest.approx(np.exp(-(0.9**3)), abs=2e-3)


def test_metal_lines_have_their_equivalent_width() -> None:
    objects = sightlines(1, 1.8)
    columns = {f.name: getattr(objects.absorbers, f.name).copy() for f in fields(objects.absorbers)}
    columns["metal_z"][0, 2], columns["metal_ew_aa"][0, 2] = 0.9, 0.8
    columns["metal_is_low"][0, 2] = True
    seen = replace(objects, absorbers=type(objects.absorbers)(**columns))
    lattice = fine_lattice(2785 * 1.9, 2800 * 1.9)
    flux = transmission(seen, lattice)[0]
    width = np.sum((1 - flux) * np.gradient(lattice.wave_aa)) / 1.9
    assert width == pytest.approx(0.8, rel=0.05)  # Mg II 2796, the strongest


def test_rates_of_systems_are_the_published_ones() -> None:
    n = 20_000
    systems = draw_absorbers(QuasarPopulation(), np.full(n, 3.2), np.random.default_rng(8))
    # ∫ 0.044 (1+z)^1.27 dz from 1.9 to 3.2 = 0.285 (Rao et al. 2006).
    grid = np.linspace(1.9, 3.2, 1000)
    expected = np.trapezoid(0.044 * (1 + grid) ** 1.27, grid)
    assert systems.n_dla.mean() == pytest.approx(expected, rel=0.06)
    dla = systems.dla_z[np.isfinite(systems.dla_z)]
    assert dla.min() >= 1.9
    assert dla.max() <= 3.2
    assert np.nanmin(systems.dla_log_nhi) >= 19.5
    assert np.nanmax(systems.dla_log_nhi) <= 22.0
    # The systems kept are the highest: each row's first is above its second.
    both = np.isfinite(systems.lls_z).all(axis=1)
    assert (systems.lls_z[both, 0] >= systems.lls_z[both, 1]).all()
    none = draw_absorbers(
        QuasarPopulation(dla_rate=0, lls_rate=0, metal_rate=0, associated_fraction=0),
        np.full(100, 3.2),
        np.random.default_rng(8),
    )
    assert np.isnan(none.dla_z).all()
    assert np.isnan(none.lls_z).all()
    assert np.isnan(none.metal_z).all()
