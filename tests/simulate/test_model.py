import numpy as np
import pytest

from quasarloop.errors import GridError
from quasarloop.simulate.draw import draw_objects, quasars_at
from quasarloop.simulate.lattice import fine_lattice
from quasarloop.simulate.model import R_BAND_AA, observed_flux, scale_to_magnitude
from quasarloop.simulate.objects import Objects
from quasarloop.simulate.population import Population, QuasarPopulation
from quasarloop.truth import SpecType


@pytest.fixture(scope="module")
def objects() -> Objects:
    return draw_objects(Population(), 300, np.random.SeedSequence(12))


def test_synthetic_magnitudes_are_the_objects(objects: Objects) -> None:
    # Our own photometry: photon-weighted mean of f_ν through the trapezoid, AB zero 3631 Jy.
    wave = np.linspace(5400.0, 7400.0, 4000)
    flux = observed_flux(objects, wave)
    response = np.interp(wave, R_BAND_AA, (0, 1, 1, 0)) * wave
    mean = flux @ response / response.sum() * 1e-17
    pivot = 6400.0
    magnitude = -2.5 * np.log10(mean * pivot**2 / 2.99792458e18 / 3.631e-20)
    light = (objects.spectype != SpecType.QSO) | (objects.z < 4.6)
    assert magnitude[light] == pytest.approx(objects.r_mag[light], abs=0.02)


def test_any_wavelengths_give_the_lattice_spectrum(objects: Objects) -> None:
    lattice = fine_lattice(3500.0, 10_400.0)
    whole = observed_flux(objects, lattice.wave_aa)
    assert whole.shape == (300, lattice.n_pix)
    assert whole.dtype == np.float32
    wave = np.arange(3600.0, 9824.0, 0.8)  # DESI's own pixels
    expected = np.stack([np.interp(wave, lattice.wave_aa, row) for row in whole])
    np.testing.assert_allclose(observed_flux(objects, wave), expected, rtol=2e-3, atol=1e-4)


def test_an_object_looks_the_same_in_any_company(objects: Objects) -> None:
    wave = np.geomspace(3600.0, 9800.0, 800)
    together = observed_flux(objects, wave)
    rows = np.array([297, 3, 3, 150, 41])
    np.testing.assert_allclose(
        observed_flux(objects[rows], wave), together[rows], rtol=1e-4, atol=1e-5
    )


def test_the_same_call_gives_the_same_bytes(objects: Objects) -> None:
    wave = np.geomspace(3600.0, 9800.0, 800)
    assert observed_flux(objects, wave).tobytes() == observed_flux(objects, wave).tobytes()


def test_no_objects_give_no_rows(objects: Objects) -> None:
    assert observed_flux(objects[:0], np.array([5000.0, 6000.0])).shape == (0, 2)


@pytest.mark.parametrize(
    "wave", [[5000.0, 5000.0], [6000.0, 5000.0], [-1.0, 5.0], [], [[1.0, 2.0]], [np.nan, 5.0]]
)
def test_impossible_wavelengths_are_refused(objects: Objects, wave: list[float]) -> None:
    with pytest.raises(GridError):
        observed_flux(objects, wave)


@pytest.mark.bench
def test_a_thousand_objects_take_less_than_a_second_of_one_core(objects: Objects) -> None:
    import time

    many = draw_objects(Population(), 1024, np.random.SeedSequence(1))
    wave = fine_lattice(3500.0, 10_400.0).wave_aa
    observed_flux(many[:64], wave)
    times = []
    for _ in range(3):
        start = time.process_time()
        observed_flux(many, wave)
        times.append(time.process_time() - start)
    assert min(times) < 1.0


def test_a_nanomaggie_is_magnitude_22_5() -> None:
    # f_ν = 3.631e-29 erg/s/cm²/Hz everywhere: f_λ = f_ν c / λ².
    lattice = fine_lattice(5000.0, 8000.0)
    f_lambda = 3.631e-29 * 2.99792458e18 / lattice.wave_aa**2 / 1e-17
    flux = np.stack([7 * f_lambda, 0.3 * f_lambda]).astype(np.float32)
    scale_to_magnitude(flux, lattice, np.array([22.5, 20.0]))
    assert flux[0] == pytest.approx(f_lambda, rel=0.01)
    assert flux[1] == pytest.approx(10 * f_lambda, rel=0.01)


def test_no_light_in_the_band_stays_finite() -> None:
    lattice = fine_lattice(5000.0, 8000.0)
    flux = np.zeros((2, lattice.n_pix), np.float32)
    flux[1, lattice.wave_aa > 7500] = 1.0
    scale_to_magnitude(flux, lattice, np.array([20.0, 20.0]))
    assert np.isfinite(flux).all()


def test_quasars_without_light_in_r_are_not_made_brighter_for_it() -> None:
    """Of one magnitude in r, quasars at z = 6.5 and 2 differ by r - z of the former."""
    rng = np.random.default_rng(1)
    z = np.repeat([2.0, 6.5], 20)
    quasars = quasars_at(QuasarPopulation(), z, np.full(40, 22.0), rng)
    flux = observed_flux(quasars, np.arange(9200.0, 9800.0, 0.8)).mean(axis=1)
    redder = 2.5 * np.log10(np.median(flux[20:]) / np.median(flux[:20]))
    assert 2.5 < redder < 6.0
