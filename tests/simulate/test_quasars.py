from dataclasses import fields, replace

import numpy as np
import pytest

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.simulate.bal import absorb_bal, balnicity, draw_bal
from quasarloop.simulate.draw import quasars_at
from quasarloop.simulate.lattice import fine_lattice
from quasarloop.simulate.model import observed_flux
from quasarloop.simulate.objects import BROAD_LINES, QUASAR_LINES, BalTraits, Objects, line_number
from quasarloop.simulate.population import QuasarPopulation
from quasarloop.simulate.quasars import (
    bare_quasars,
    base_continuum,
    continuum_table,
    dust,
    smc_extinction,
)

PLAIN = QuasarPopulation(
    bal_fraction=0, mini_bal_fraction=0, weak_line_fraction=0, double_peaked_fraction=0
)


def quasars(n: int, z: float, r_mag: float = 20.0, **rates: float) -> Objects:
    config = PLAIN.model_copy(update=rates)
    return quasars_at(config, np.full(n, z), np.full(n, r_mag), np.random.default_rng(7))


def alone(objects: Objects, line: str) -> Objects:
    """The same quasars with one line on a bare power law."""
    traits = objects.quasar
    ew = np.zeros_like(traits.line_ew_aa)
    ew[:, line_number(line)] = traits.line_ew_aa[:, line_number(line)]
    zero = np.zeros_like(traits.balmer)
    bare = replace(
        traits, line_ew_aa=ew, balmer=zero, iron_uv=zero, iron_optical=zero, curvature=zero
    )
    return replace(objects, quasar=bare)


@pytest.mark.parametrize("line", ["lya", "civ", "mgii", "hbeta", "oiii5008", "halpha"])
def test_measured_equivalent_widths_are_the_traits(line: str) -> None:
    law = QUASAR_LINES[line_number(line)]
    objects = alone(quasars(40, z=0.5), line)
    lattice = fine_lattice(law.wave_aa * 1.5 / 1.35, law.wave_aa * 1.5 * 1.35)
    flux = bare_quasars(objects, lattice)
    none = replace(objects.quasar, line_ew_aa=np.zeros_like(objects.quasar.line_ew_aa))
    continuum = bare_quasars(replace(objects, quasar=none), lattice)
    excess = flux / continuum - 1
    rest_aa = lattice.wave_aa / 1.5
    measured = np.sum(excess * np.gradient(rest_aa), axis=1)
    expected = objects.quasar.line_ew_aa[:, line_number(line)]
    assert measured == pytest.approx(expected, rel=0.08)
    assert np.median(measured / expected) == pytest.approx(1.0, abs=0.03)


def test_civ_peaks_where_its_blueshift_says() -> None:
    objects = alone(quasars(30, z=2.0), "civ")
    lattice = fine_lattice(4200.0, 5100.0)
    flux = bare_quasars(objects, lattice) * (lattice.wave_aa / 4600.0) ** 1.5
    peak = lattice.wave_aa[np.argmax(flux, axis=1)]
    velocity = (peak / (1549.06 * 3.0) - 1) * SPEED_OF_LIGHT_KMS
    shift = objects.quasar.line_shift_kms[:, line_number("civ")]
    assert velocity == pytest.approx(shift, abs=150)
    # And the law of that shift: blueshifts of hundreds of km/s, more for brighter quasars.
    bright, faint = quasars(2000, 2.0, 17.0).quasar, quasars(2000, 2.0, 22.0).quasar
    assert 300 < np.median(faint.civ_blueshift_kms) < np.median(bright.civ_blueshift_kms) < 1800


def test_the_baldwin_effect_is_there() -> None:
    column = line_number("civ")
    magnitudes = np.repeat([17.0, 19.0, 21.0, 23.0], 1500)
    objects = quasars_at(PLAIN, np.full(6000, 2.0), magnitudes, np.random.default_rng(5))
    log_ew = np.log10(objects.quasar.line_ew_aa[:, column])
    slope = np.polyfit(objects.quasar.log_l3000, log_ew, 1)[0]
    assert slope == pytest.approx(BROAD_LINES[column].baldwin, abs=0.02)
    # Scatter about it near 0.2 dex (Shen et al. 2011).
    assert np.std(log_ew[:1500]) == pytest.approx(0.20, abs=0.03)


def test_eigenvector_1_ties_iron_to_oiii() -> None:
    traits = quasars(4000, z=0.4, r_mag=18.0).quasar
    oiii = np.log10(traits.line_ew_aa[:, line_number("oiii5008")])
    iron = np.log10(traits.iron_optical)
    assert np.corrcoef(oiii, iron)[0, 1] < -0.3
    assert np.corrcoef(np.log10(traits.width_kms), iron)[0, 1] < -0.2


def test_luminosities_are_those_of_an_absolute_magnitude() -> None:
    # M_r = -25 at 6400 Å: νLν = 4π(10 pc)² 3.631e-20 × 10^10 × ν = 2.03e45 erg/s.
    z = 6400.0 / 3000.0 - 1.0  # the r band then sees 3000 Å
    from quasarloop.simulate.population import distance_modulus

    objects = quasars(3, z, r_mag=float(distance_modulus(z)) - 25.0)
    assert objects.quasar.log_l3000 == pytest.approx(45.308, abs=0.002)


def test_hosts_fade_with_luminosity() -> None:
    faint, bright = quasars(500, 0.3, 21.0), quasars(500, 2.0, 18.0)
    assert np.median(faint.quasar.host_fraction) > 0.4
    assert np.median(bright.quasar.host_fraction) == 0.0


def test_dust_is_the_smc_law_in_the_rest_frame() -> None:
    objects = replace(quasars(1, z=1.0), ebv=np.array([0.1], np.float32))
    lattice = fine_lattice(4000.0, 8000.0)
    transmission = dust(objects, lattice)[0]
    expected = 10 ** (-0.4 * 0.1 * smc_extinction(lattice.wave_aa / 2.0))
    assert transmission == pytest.approx(expected, rel=1e-4)
    # A(2000 Å)/E(B-V) = 1.39 × 0.2^-1.2 = 9.59 mag.
    assert smc_extinction(2000.0) == pytest.approx(9.59, abs=0.01)


def test_the_power_law_has_the_published_slopes() -> None:
    def slope(low: float, high: float) -> float:
        return float(np.log(base_continuum(high) / base_continuum(low)) / np.log(high / low))

    assert base_continuum(3000.0) == pytest.approx(1.0)
    assert slope(1300, 4500) == pytest.approx(-1.54)
    assert slope(600, 900) == pytest.approx(-0.3)


def test_smooth_components_are_positive_and_peak_at_one() -> None:
    table = continuum_table().phases[0]
    assert (table >= 0).all()
    assert table[2:].max() < 3.0  # iron is a hump on the power law
    # Balmer continuum: nearly flat in f_λ from 3000 Å to its edge, gone at Hβ (Grandi 1982).
    window = continuum_table().window(0.0, fine_lattice(2990.0, 4900.0))[1]
    assert window[14] == pytest.approx(1.0, abs=0.01)
    assert 0.9 < window.max() < 1.1
    assert window[-1] < 1e-3


@pytest.mark.parametrize(
    ("velocity", "width", "depth", "expected"),
    [
        # Black trough, w = 3288 km/s: below 0.9 within 1.232 w of 9000 km/s, from 4950 km/s on; its
        # first 2000 km/s do not count, ∫ (1 - f/0.9) dv from 6950 to 13,050 km/s = 4806 km/s.
        (9000.0, 6000.0, 1.0, 4806.0),
        # 10 % deep: never below 0.9 of the continuum.
        (9000.0, 6000.0, 0.099, 0.0),
        # Too narrow.
        (9000.0, 1500.0, 1.0, 0.0),
        # Wholly below 3000 km/s.
        (1500.0, 1500.0, 1.0, 0.0),
    ],
)
def test_balnicity_by_hand(velocity: float, width: float, depth: float, expected: float) -> None:
    value = balnicity(np.array([velocity]), np.array([width]), np.array([depth]))
    assert value == pytest.approx(expected, abs=60 if expected else 0.0)


def test_the_trough_in_the_spectrum_has_the_stated_balnicity() -> None:
    n = 60
    bal = draw_bal(1.0, 0.0, 0.0, n, np.random.default_rng(2))
    assert bal.is_bal.all()
    lattice = fine_lattice(1380 * 3.0, 1560 * 3.0)
    spectra = np.ones((n, lattice.n_pix), np.float32)
    # Silicon's trough overlaps carbon's only beyond 25,000 km/s.
    absorb_bal(spectra, lattice, np.full(n, 2.0), bal)
    velocity = (1 - lattice.wave_aa / (1549.06 * 3.0)) * SPEED_OF_LIGHT_KMS
    inside = np.flatnonzero((velocity > 3000) & (velocity < 25_000))[::-1]
    step = np.abs(np.gradient(velocity))[inside]
    measured = []
    for row in spectra[:, inside]:
        bracket, run, total = 1 - row / 0.9, 0.0, 0.0
        for value, width in zip(bracket, step, strict=True):  # Weymann et al. 1991, literally
            run = run + width if value > 0 else 0.0
            total += value * width if run > 2000 else 0.0
        measured.append(total)
    assert np.array(measured) == pytest.approx(bal.bi_civ_kms, rel=0.08, abs=120)


def test_low_ions_and_mini_troughs() -> None:
    bal = draw_bal(0.5, 0.3, 0.4, 4000, np.random.default_rng(3))
    assert np.mean(bal.is_lobal[bal.is_bal]) == pytest.approx(0.4, abs=0.03)
    mini = (bal.ai_civ_kms > 0) & ~bal.is_bal
    assert np.mean(mini) == pytest.approx(0.25, abs=0.08)
    assert bal.bi_civ_kms[mini].max() == 0
    lattice = fine_lattice(3600.0, 9800.0)
    spectra = np.ones((50, lattice.n_pix), np.float32)
    few = BalTraits(**{field.name: getattr(bal, field.name)[:50] for field in fields(bal)})
    absorb_bal(spectra, lattice, np.full(50, 1.5), few)
    near_mgii = np.abs(lattice.wave_aa / 2.5 / 2690 - 1) < 0.036
    deepest = spectra[:, near_mgii].min(axis=1)
    assert (deepest[bal.is_lobal[:50]] < 0.95).all()
    assert (deepest[~bal.is_lobal[:50]] > 0.999).all()
    assert (spectra >= 0).all()


def test_double_peaks_are_two_and_hold_the_light() -> None:
    objects = alone(quasars(20, 0.2, 17.0, double_peaked_fraction=1.0), "halpha")
    lattice = fine_lattice(6400.0, 9600.0)
    flux = bare_quasars(objects, lattice)
    single = replace(
        objects.quasar, peak_separation_kms=np.zeros_like(objects.quasar.peak_separation_kms)
    )
    one = bare_quasars(replace(objects, quasar=single), lattice)
    assert np.sum(flux, axis=1) == pytest.approx(np.sum(one, axis=1), rel=0.02)
    assert (flux.max(axis=1) < one.max(axis=1)).all()


def test_weak_line_quasars_are_weak() -> None:
    weak = quasars(300, 3.0, weak_line_fraction=1.0).quasar.line_ew_aa[:, line_number("lya")]
    plain = quasars(300, 3.0).quasar.line_ew_aa[:, line_number("lya")]
    assert np.median(weak) < 0.25 * np.median(plain)


def test_a_quasar_shows_its_lines_in_the_end() -> None:
    objects = quasars(200, 2.5)
    wave = np.geomspace(3600.0, 9800.0, 4000)
    composite = np.median(observed_flux(objects, wave), axis=0)

    def over(line: float, beside: float) -> float:
        return float(
            np.interp(line * 3.5, wave, composite) / np.interp(beside * 3.5, wave, composite)
        )

    assert over(1215.67, 1290) > 2.5
    assert over(1546, 1460) > 1.5
    assert over(1906, 2010) > 1.25
    assert over(2799, 2660) > 1.2
