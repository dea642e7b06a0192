"""Comparison of two weights files: velocities against astropy, confusions planted."""

import numpy as np
import pytest
from astropy import units
from astropy.cosmology import FlatLambdaCDM, LambdaCDM, Planck18

from quasarloop.errors import TruthError
from quasarloop.evaluate.compare import compare_redshifts, confused_redshift, count_confusions
from quasarloop.evaluate.metrics import error_kms, parse_cosmology, recession_velocity_kms
from quasarloop.lines import line_named

MGII, CIV, LYA = (line_named(name) for name in ("MgII(2796)", "CIV(1548)", "LYA"))


@pytest.mark.parametrize("cosmology", ["Planck18", "H0=70,Om0=0.3"])
def test_velocity_is_hubble_law_at_every_redshift(cosmology):
    model = Planck18 if cosmology == "Planck18" else FlatLambdaCDM(H0=70, Om0=0.3)
    z = np.array([0.001, 0.1, 1.0, 2.1, 5.5])
    exact = (model.comoving_distance(z) * model.H(z) / (1 + z)).to_value(units.km / units.s)
    np.testing.assert_allclose(recession_velocity_kms(z, cosmology), exact, rtol=2e-6)


def test_velocity_of_odd_redshifts():
    v = recession_velocity_kms([-0.01, np.nan, -0.9])
    assert v[0] == pytest.approx(-2997.92458)
    assert np.isnan(v[1:]).all()


@pytest.mark.parametrize("dark_energy", [0.6, 0.68, 0.72, 0.8])
def test_curvature_is_astropys(dark_energy):
    model = LambdaCDM(H0=70, Om0=0.3, Ode0=dark_energy)
    z = np.array([0.1, 0.7, 2.0, 3.5])
    exact = (model.comoving_distance(z) * model.H(z)).to_value("km/s") / (1 + z)
    text = f"H0=70, Om0=0.3, Ode0={dark_energy}"
    np.testing.assert_allclose(recession_velocity_kms(z, text), exact, rtol=2e-6)
    flat = recession_velocity_kms(z, "H0=70,Om0=0.3")
    assert np.abs(recession_velocity_kms(z, text) / flat - 1).max() > 1e-3


@pytest.mark.parametrize("text", ["H0=0,Om0=0.3", "H0=70,Om0=nan", "H0=70,Om0=0.1,Ode0=9"])
def test_impossible_cosmologies_are_refused(text):
    with pytest.raises(TruthError, match="cosmology"):
        recession_velocity_kms(1.0, text)


def test_unknown_cosmology_is_named():
    with pytest.raises(TruthError, match="no cosmology 'Atlantis'; known: "):
        parse_cosmology("Atlantis")
    with pytest.raises(TruthError, match=r"expected e\.g\."):
        parse_cosmology("H0=fast")


def test_error_in_kms():
    assert error_kms([2.001], [2.0])[0] == pytest.approx(299792.458 * 0.001 / 3)


def test_shares_within_limits():
    z_a = np.full(4, 2.0)
    v = recession_velocity_kms(2.0)
    grid = np.linspace(1.9, 2.1, 200_001)
    wanted = v + np.array([0.0, 2900.0, 4900.0, 5100.0])
    z_b = np.interp(wanted, recession_velocity_kms(grid), grid)
    result = compare_redshifts([1, 1, 1, 1], z_a, [1, 1, 1, 1], z_b)
    assert [s.part for s in result.within] == [2, 3]
    assert result.dz == pytest.approx((z_b - 2) / 3)


def test_only_common_quasars_are_compared():
    result = compare_redshifts([1, 1, 0, 0], [1.0] * 4, [1, 0, 1, 0], [1.0] * 4)
    assert (result.n_spectra, result.n_only_a, result.n_only_b, len(result.z_a)) == (4, 1, 1, 1)


def test_planted_confusions_are_counted_by_name():
    z_a = np.linspace(1.0, 1.3, 76)
    z_b = confused_redshift(z_a, MGII, CIV)
    # the observed wavelength is the same one
    np.testing.assert_allclose((1 + z_a) * MGII.wave_rest_aa, (1 + z_b) * CIV.wave_rest_aa)
    counts = {(c.line_a.name, c.line_b.name): c.n for c in count_confusions(z_a, z_b)}
    assert counts["MgII(2796)", "CIV(1548)"] == 76
    assert counts["CIV(1548)", "MgII(2796)"] == 0
    assert len(counts) == 30  # ordered pairs of six lines
    assert next(iter(count_confusions(z_a, z_b))).n == 76


def test_different_spectra_are_refused():
    with pytest.raises(TruthError, match="same spectra in the same order"):
        compare_redshifts([1], [1.0], [1, 1], [1.0, 1.0])
