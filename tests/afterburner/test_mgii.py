"""The Mg II fit against planted lines, scipy's fitter, noise, masks and missing arms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from quasarloop.afterburner.mgii import MGII_DOUBLET_AA, MgIIOptions, fit_mgii, is_broad_line
from quasarloop.read import find_files, read_spectra

WAVE = np.arange(3600.0, 9824.0, 0.8)
REST = np.mean(MGII_DOUBLET_AA)


def gaussian(x, height, sigma, constant):
    return height * np.exp(-0.5 * (x / sigma) ** 2) + constant


def planted(z, height, sigma, constant, noise=1.0, seed=0):
    """Spectra with a Gaussian at Mg II, and their ivar."""
    z, height, sigma, constant = np.broadcast_arrays(
        *map(np.atleast_1d, (z, height, sigma, constant))
    )
    x = WAVE - ((1 + z) * REST)[:, None]
    flux = gaussian(x, height[:, None], sigma[:, None], constant[:, None])
    flux = flux + noise * np.random.default_rng(seed).normal(size=flux.shape)
    return flux, np.full(flux.shape, 1 / max(noise, 1e-3) ** 2)


def test_a_line_without_noise_is_found_exactly():
    flux, ivar = planted([0.6, 1.0, 2.0], [3.0, 1.5, 8.0], [30.0, 12.0, 90.0], [2.0, 0.0, 7.0], 0)
    fits = fit_mgii(WAVE, flux, ivar, np.array([0.6, 1.0, 2.0]))
    assert np.allclose(fits.amplitude, [3.0, 1.5, 8.0], rtol=1e-6)
    assert np.allclose(fits.sigma_aa, [30.0, 12.0, 90.0], rtol=1e-6)
    assert np.allclose(fits.constant, [2.0, 0.0, 7.0], atol=1e-6)
    assert is_broad_line(fits).all()


def test_errors_tell_the_scatter_of_the_answers():
    n = 400
    flux, ivar = planted(np.full(n, 1.0), 2.0, 30.0, 1.0)
    fits = fit_mgii(WAVE, flux, ivar, np.full(n, 1.0))
    for value, variance, truth in (
        (fits.amplitude, fits.var_amplitude, 2.0),
        (fits.sigma_aa, fits.var_sigma, 30.0),
        (fits.constant, fits.var_constant, 1.0),
    ):
        pull = (value - truth) / np.sqrt(variance)
        assert abs(np.median(pull)) < 0.25
        assert 0.85 < np.std(pull) < 1.15


@pytest.mark.parametrize("row", range(6))
def test_agrees_with_scipy_where_the_line_is_clear(row):
    heights, sigmas = [2, 3, 4, 2, 5, 3], [20, 30, 25, 40, 15, 35]
    flux, ivar = planted([1.2], heights[row], sigmas[row], 1.0, seed=row)
    ivar = ivar * np.linspace(0.5, 2, len(WAVE))
    ivar[0, ::11] = 0
    fits = fit_mgii(WAVE, flux, ivar, np.array([1.2]))
    x = WAVE - 2.2 * REST
    used = (np.abs(x) < 125) & (ivar[0] > 0)
    error = 1 / np.sqrt(ivar[0, used])
    best, covariance = curve_fit(gaussian, x[used], flux[0, used], [1, 125, 1], error)
    chi2 = np.sum(((flux[0, used] - gaussian(x[used], *best)) / error) ** 2)
    level = np.average(flux[0, used], weights=ivar[0, used])
    flat = np.sum(((flux[0, used] - level) / error) ** 2)
    assert np.allclose(
        [fits.amplitude[0], fits.sigma_aa[0], fits.constant[0]],
        [best[0], abs(best[1]), best[2]],
        rtol=1e-4,
    )
    assert np.allclose(
        [fits.var_amplitude[0], fits.var_sigma[0], fits.var_constant[0]],
        np.diag(covariance),
        rtol=1e-3,
    )
    assert fits.delta_chi2[0] == pytest.approx(flat - chi2, rel=1e-6)


def test_noise_alone_is_no_quasar():
    n = 2000
    flux, ivar = planted(np.full(n, 0.9), 0.0, 30.0, 1.0, seed=3)
    found = is_broad_line(fit_mgii(WAVE, flux, ivar, np.full(n, 0.9)))
    # Δχ² > 16 for two more parameters happens by chance in 3e-4 of the rows, times the number
    # of independent widths tried.
    assert found.mean() < 0.005


@pytest.mark.parametrize(
    ("height", "sigma", "noise", "why"),
    [
        (20.0, 3.0, 1.0, "narrow"),
        (-5.0, 30.0, 1.0, "absorption"),
        (0.1, 30.0, 1.0, "faint"),
    ],
)
def test_each_condition_refuses(height, sigma, noise, why):
    flux, ivar = planted([0.8], height, sigma, 10.0, noise)
    assert not is_broad_line(fit_mgii(WAVE, flux, ivar, np.array([0.8])))[0], why


def test_a_curved_continuum_is_too_wide():
    x = (WAVE - 1.8 * REST)[None]
    flux = 10 - (x / 100) ** 2
    fits = fit_mgii(WAVE, flux, np.full(x.shape, 100.0), np.array([0.8]))
    assert fits.delta_chi2[0] > 16
    assert fits.sigma_aa[0] > 200
    assert not is_broad_line(fits)[0]


def test_redrock_that_already_fits_leaves_nothing_to_gain():
    flux, ivar = planted([0.8], 3.0, 30.0, 2.0)
    model = gaussian((WAVE - 1.8 * REST)[None], 3.0, 30.0, 2.0)
    z = np.array([0.8])
    same = fit_mgii(WAVE, flux, ivar, z, model)
    assert abs(same.delta_chi2[0]) < 16
    assert not is_broad_line(same)[0]
    galaxy = fit_mgii(WAVE, flux, ivar, z, np.full(flux.shape, 2.0))
    x = WAVE - 1.8 * REST
    inside = np.abs(x) < 125
    chi2 = np.sum((flux[0] - 2.0)[inside] ** 2)
    line = gaussian(x, galaxy.amplitude[0], galaxy.sigma_aa[0], galaxy.constant[0])
    assert galaxy.delta_chi2[0] == pytest.approx(
        chi2 - np.sum((flux[0] - line)[inside] ** 2), rel=1e-9
    )
    assert is_broad_line(galaxy)[0]


def test_a_reference_better_than_the_gaussian_is_not_taken_for_a_worse_one():
    # A Gaussian 16 worse than redrock's fit would pass a condition on |Δχ²|.
    x = (WAVE - 1.8 * REST)[None]
    model = gaussian(x, 5.0, 30.0, 1.0) + 3 * np.sin(x / 10)
    fits = fit_mgii(WAVE, model, np.ones(x.shape), np.array([0.8]), model)
    assert fits.delta_chi2[0] < -16
    assert not is_broad_line(fits)[0]


def test_masked_pixels_do_not_count_whatever_they_hold():
    flux, ivar = planted([1.0, 1.0, 1.0], 3.0, 30.0, 2.0)
    bad = np.random.default_rng(5).random(flux.shape[1]) < 0.3
    holed = ivar.copy()
    holed[:, bad] = 0
    clean = fit_mgii(WAVE, flux, holed, np.ones(3))
    flux[0, bad], flux[1, bad], flux[2, bad] = np.nan, 1e9, np.inf
    holed[1, bad] = 0
    holed[2, bad] = np.nan
    dirty = fit_mgii(WAVE, flux, holed, np.ones(3))
    for name in ("amplitude", "sigma_aa", "constant", "delta_chi2", "var_amplitude"):
        assert np.array_equal(getattr(clean, name), getattr(dirty, name))


def test_rows_that_cannot_be_fitted_are_nan_and_no_quasars():
    z = np.array([np.nan, 0.1, 5.0, 1.0, 1.0, 1.0, -0.9])
    flux, ivar = planted(np.ones(7), 3.0, 30.0, 2.0)
    line = 2 * REST
    ivar[3] = 0  # nothing at all
    ivar[4, (line - 130 < WAVE) & (line + 20 > WAVE)] = 0  # more than half the window
    fits = fit_mgii(WAVE, flux, ivar, z)
    assert np.isfinite(fits.delta_chi2).tolist() == [False] * 5 + [True, False]
    assert is_broad_line(fits).tolist() == [False] * 5 + [True, False]


def test_a_missing_arm_is_a_gap_and_merged_arms_count_every_pixel():
    flux, ivar = planted([0.6, 1.5], 3.0, 30.0, 2.0)
    z = np.array([0.6, 1.5])
    there = (WAVE < 5800) | (WAVE > 7520)  # no r arm: Mg II of the second is lost
    fits = fit_mgii(WAVE[there], flux[:, there], ivar[:, there], z)
    assert np.isfinite(fits.delta_chi2).tolist() == [True, False]
    once = fit_mgii(WAVE, flux, ivar, z)
    twice = fit_mgii(
        np.repeat(WAVE, 2), np.repeat(flux, 2, axis=1), np.repeat(ivar / 2, 2, axis=1), z
    )
    assert np.allclose(once.delta_chi2, twice.delta_chi2, rtol=1e-8)
    assert np.allclose(once.sigma_aa, twice.sigma_aa, rtol=1e-6)


def test_no_rows_and_noisefree_flat_spectra():
    empty = fit_mgii(WAVE, np.empty((0, len(WAVE))), np.empty((0, len(WAVE))), np.empty(0))
    assert len(empty) == 0
    flat = np.full((2, len(WAVE)), 3.0)
    assert not is_broad_line(fit_mgii(WAVE, flat, np.ones_like(flat), np.ones(2))).any()


@settings(max_examples=25)
@given(
    st.floats(0.4, 2.3), st.floats(0.5, 50), st.floats(12, 60), st.floats(-5, 50),
    st.floats(1e-3, 1e3),
)  # fmt: skip
def test_units_and_place_do_not_matter(z, height, sigma, constant, unit):
    flux, ivar = planted([z], height, sigma, constant, noise=0)
    fits = fit_mgii(WAVE, flux, ivar, np.array([z]))
    scaled = fit_mgii(WAVE, flux * unit, ivar / unit**2, np.array([z]))
    assert fits.sigma_aa[0] == pytest.approx(sigma, rel=1e-4)
    assert scaled.sigma_aa[0] == pytest.approx(fits.sigma_aa[0], rel=1e-4)
    assert scaled.amplitude[0] == pytest.approx(unit * height, rel=1e-3)


def test_blocks_of_rows_do_not_show(monkeypatch):
    flux, ivar = planted(np.linspace(0.4, 2.2, 7), 3.0, 30.0, 2.0)
    whole = fit_mgii(WAVE, flux, ivar, np.linspace(0.4, 2.2, 7))
    monkeypatch.setattr("quasarloop.afterburner.mgii._BLOCK_ROWS", 2)
    parts = fit_mgii(WAVE, flux, ivar, np.linspace(0.4, 2.2, 7))
    assert np.allclose(whole.delta_chi2, parts.delta_chi2, rtol=1e-10)
    assert np.allclose(whole.sigma_aa, parts.sigma_aa, rtol=1e-8)


def test_real_quasars_have_the_line(shared_data):
    widths = []
    for path in find_files([shared_data / "rm017_repeats"]):  # 25 epochs of one quasar
        arm = read_spectra(path, masks=False).arms[0]
        fits = fit_mgii(arm.wave_aa, arm.flux, arm.ivar, np.array([0.456]))
        assert is_broad_line(fits)[0], path.name
        widths.append(fits.sigma_aa[0])
    assert len(widths) == 25
    # 17 years of one object: the width stays what it is.
    assert np.std(widths) < 0.25 * np.median(widths)


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match="range"):
        MgIIOptions(min_sigma_aa=50, max_sigma_aa=20)
