"""Reading p(z): planted peaks, uncertainties, and a calibration that undoes a planted one."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.network.config import preset
from quasarloop.network.redshift_reading import line_floor
from quasarloop.network.redshift_reading import read_redshifts as read

CONFIG = preset("quasarloop2026")
HEAD = CONFIG.redshift
STEP = 1e-3 * np.log(10)  # of the grid, in ln(1 + z)


def read_redshifts(log_p, head):
    return read(log_p, replace(CONFIG, redshift=head))


def peaks(*parts, n=1):
    """ln of Gaussians (place, width in steps, mass) on the grid."""
    k = np.arange(HEAD.n_z)
    p = sum(m / w * np.exp(-0.5 * ((k - c) / w) ** 2) for c, w, m in parts)
    return np.tile(np.log(p + 1e-30).astype(np.float32), (n, 1))


def test_one_gaussian_by_hand():
    place, width = 400.3, 2.0
    found = read_redshifts(peaks((place, width, 1.0)), HEAD)
    z1 = 10 ** (place * 1e-3)
    assert found.z[0] == pytest.approx(z1 - 1, rel=1e-5)
    assert found.z_err[0] == pytest.approx(width * STEP * z1, rel=0.01)
    assert found.p_alt[0] < 1e-6


def test_two_peaks_and_their_share():
    found = read_redshifts(peaks((300.0, 1.5, 0.7), (450.0, 1.5, 0.3)), HEAD)
    assert found.z[0] == pytest.approx(10**0.3 - 1, abs=1e-4)
    assert found.z_alt[0] == pytest.approx(10**0.45 - 1, abs=1e-4)
    assert found.p_alt[0] == pytest.approx(0.3, abs=1e-4)


def test_the_heavier_peak_wins_not_the_sharper():
    found = read_redshifts(peaks((300.0, 0.8, 0.4), (450.0, 4.0, 0.6)), HEAD)
    assert found.z[0] == pytest.approx(10**0.45 - 1, abs=1e-3)
    assert found.p_alt[0] == pytest.approx(0.4, abs=0.02)


def test_neighbouring_peaks_are_one():
    found = read_redshifts(peaks((300.0, 1.0, 0.6), (306.0, 1.0, 0.4)), HEAD)
    assert found.p_alt[0] < 1e-6
    assert 300 < np.log10(1 + found.z[0]) / 1e-3 < 306


def test_calibration_is_applied():
    warm = replace(HEAD, temperature=4.0, error_scale=1.5)
    one, two = (read_redshifts(peaks((400.0, 1.0, 1.0)), head) for head in (HEAD, warm))
    floor = line_floor(np.log1p(one.z), LOG_GRID) * (1 + one.z)
    own = [np.sqrt(found.z_err[0] ** 2 - floor[0] ** 2) for found in (one, two)]
    assert own[1] / own[0] == pytest.approx(2 * 1.5, rel=0.02)  # sqrt(4) wider


@pytest.mark.parametrize(
    ("z", "scatters"),
    [
        (0.5, (46, 56, 119, 205, 400)),  # from [O II] to [O III]; C III] is off the blue end
        (2.3, (205, 233, 242, 415, 477, 477)),
        (3.0, (233, 242, 415, 477, 477)),
        (6.5, (477,)),  # Lyα alone
        (7.5, (477,)),  # nothing: the largest
    ],
)
@pytest.mark.parametrize("grid", [LOG_GRID, LINEAR_GRID])
def test_what_quasars_themselves_add_by_hand(z, scatters, grid):
    """Shen et al. 2016: lines as precise as they are, weighed by their precision."""
    expected = np.sum([1 / s**2 for s in scatters]) ** -0.5
    floor = line_floor(np.log1p([z, z]), grid) * SPEED_OF_LIGHT_KMS
    np.testing.assert_allclose(floor, expected, rtol=1e-9)


def test_no_uncertainty_is_below_what_quasars_add():
    cold = replace(HEAD, error_scale=1e-6)
    for z in (0.3, 1.2, 2.3, 4.5, 6.0):
        found = read_redshifts(peaks((np.log10(1 + z) / 1e-3, 1.0, 1.0)), cold)
        floor = line_floor(np.log1p(found.z), LOG_GRID)
        np.testing.assert_allclose(found.z_err / (1 + found.z), floor, rtol=1e-6)


@pytest.mark.parametrize("place", [0.0, 903.0, 10.4, 899.0])
def test_the_ends_of_the_grid(place):
    found = read_redshifts(peaks((place, 1.0, 1.0)), HEAD)
    assert np.log10(1 + found.z[0]) / 1e-3 == pytest.approx(place, abs=1.0)


def test_rows_that_are_not_finite_are_nan_and_none_is_fine():
    log_p = peaks((400.0, 1.0, 1.0), n=3)
    log_p[1, 7] = np.nan
    found = read_redshifts(log_p, HEAD)
    assert np.isfinite(found.z).tolist() == [True, False, True]
    assert np.isnan([found.z_err[1], found.z_alt[1], found.p_alt[1]]).all()
    assert len(read_redshifts(log_p[:0], HEAD).z) == 0


def test_rows_do_not_depend_on_company():
    log_p = np.random.default_rng(0).normal(0, 3, (300, HEAD.n_z)).astype(np.float32)
    whole, part = read_redshifts(log_p, HEAD), read_redshifts(log_p[[299, 3]], HEAD)
    for one, two in zip(astuple(whole), astuple(part), strict=True):
        np.testing.assert_array_equal(one[[299, 3]], two)


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, (3, HEAD.n_z), elements=st.floats(-500, 500, width=32)))
def test_any_logits_give_redshifts(log_p):
    found = read_redshifts(log_p, HEAD)
    assert np.all((found.z > -0.05) & (found.z < 7.4))
    assert np.all(found.z_err > 0)
    assert np.all((found.p_alt >= 0) & (found.p_alt <= 0.5 + 1e-9))
    assert np.array_equal(np.isnan(found.z_alt), found.p_alt == 0)
