import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM

from quasarloop.simulate.lattice import fine_lattice
from quasarloop.simulate.model import scale_to_magnitude
from quasarloop.simulate.population import distance_modulus


def test_distances_agree_with_astropy() -> None:
    z = np.array([0.01, 0.1, 0.5, 1.0, 2.0, 3.5, 6.0])
    expected = FlatLambdaCDM(H0=70.0, Om0=0.3).distmod(z).value
    assert distance_modulus(z) == pytest.approx(expected, abs=2e-3)
    assert np.isnan(distance_modulus(0.0))


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
