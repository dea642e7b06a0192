"""Spectra from arrays: units, order, masks, uncertainties; what cannot be is refused at once."""

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter1d

from quasarloop.arrays import estimate_ivar
from quasarloop.errors import DataFormatError
from quasarloop.read import read_spectra
from quasarloop.spectra import Flag, Spectra

WAVE = np.linspace(3600.0, 9800.0, 500)
RNG = np.random.default_rng(5)
FLUX = 3.0 + RNG.normal(size=(2, 500))
IVAR = RNG.uniform(0.5, 2.0, size=(2, 500))
CGS = u.erg / u.s / u.cm**2 / u.AA


def test_plain_arrays_are_taken_as_they_are():
    spectra = Spectra.from_arrays(WAVE, FLUX, IVAR, target_id=[7, 9], ra_deg=[1.5, 2.5])
    (arm,) = spectra.arms
    assert (arm.wave_aa == WAVE).all()
    assert (arm.flux == FLUX.astype("f4")).all()
    assert (arm.ivar == IVAR.astype("f4")).all()
    assert spectra.keys.target_id.tolist() == [7, 9]
    assert spectra.keys.ra_deg.tolist() == [1.5, 2.5]
    assert spectra.flags.tolist() == [0, 0]
    assert spectra.row.tolist() == [0, 1]
    assert spectra.source == "memory"


def test_one_spectrum_may_be_one_dimensional():
    assert len(Spectra.from_arrays(WAVE, FLUX[0], IVAR[0])) == 1


@pytest.mark.parametrize(
    ("wave", "flux", "ivar"),
    [
        (WAVE / 10 * u.nm, FLUX * 1e-17 * CGS, IVAR * 1e34 / CGS**2),
        (WAVE[::-1], FLUX[:, ::-1], IVAR[:, ::-1]),
        (WAVE, FLUX * 1e-17, IVAR * 1e34),  # plain numbers in cgs
        (
            WAVE * u.AA,
            (FLUX * 1e-17 * CGS).to(u.Jy, u.spectral_density(WAVE * u.AA)),
            # σ in Jy, then its inverse square.
            (IVAR**-0.5 * 1e-17 * CGS).to(u.Jy, u.spectral_density(WAVE * u.AA)) ** -2,
        ),
        ((WAVE * u.AA).to(u.Hz, u.spectral()), FLUX, IVAR),
    ],
    ids=["nm", "decreasing", "cgs", "Jy", "Hz"],
)
def test_units_and_order_make_no_difference(wave, flux, ivar):
    (arm,) = Spectra.from_arrays(wave, flux, ivar).arms
    assert_allclose(arm.wave_aa, WAVE, rtol=1e-12)
    assert_allclose(arm.flux, FLUX, rtol=2e-6)
    assert_allclose(arm.ivar, IVAR, rtol=2e-6)


def test_uncertainty_in_place_of_ivar():
    sigma = IVAR**-0.5
    sigma[0, :3] = 0, np.nan, -1
    (arm,) = Spectra.from_arrays(WAVE, FLUX * CGS, uncertainty=sigma * CGS).arms
    assert arm.ivar[0, :3].tolist() == [0, 0, 0]
    (plain,) = Spectra.from_arrays(WAVE, FLUX, uncertainty=sigma).arms
    assert_allclose(plain.ivar[1], IVAR[1], rtol=1e-6)
    with pytest.raises(DataFormatError, match="both ivar and uncertainty"):
        Spectra.from_arrays(WAVE, FLUX, IVAR, uncertainty=sigma)


def test_masked_pixels_are_left_out():
    mask = np.zeros(FLUX.shape, bool)
    mask[0, 10] = True
    for spectra in (
        Spectra.from_arrays(WAVE, FLUX, IVAR, mask=mask),
        Spectra.from_arrays(WAVE, np.ma.array(FLUX, mask=mask), IVAR),
        Spectra.from_arrays(WAVE, FLUX, np.ma.array(IVAR, mask=mask)),
    ):
        assert spectra.arms[0].ivar[0, 9:12].astype(bool).tolist() == [True, False, True]
    nan = np.where(mask, np.nan, FLUX)
    assert Spectra.from_arrays(WAVE, nan, IVAR).flags.tolist() == [Flag.NAN_FLUX, 0]


def test_missing_uncertainties_are_estimated_and_flagged():
    flux = 10 + RNG.normal(0, [[0.5], [2.0]], size=(2, 5000))
    wave = np.linspace(3600, 9800, 5000)
    flux[1, 7] = np.nan
    spectra = Spectra.from_arrays(wave, flux)
    assert spectra.flags.tolist() == [Flag.ESTIMATED_IVAR, Flag.ESTIMATED_IVAR | Flag.NAN_FLUX]
    sigma = np.median(spectra.arms[0].ivar, axis=1) ** -0.5
    assert_allclose(sigma, [0.5, 2.0], rtol=0.05)
    assert spectra.arms[0].ivar[1, 7] == 0


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_the_estimate_scales_with_the_noise_and_ignores_a_level(scale, level):
    noise = np.random.default_rng(1).normal(size=(1, 300)) + 20
    assert_allclose(estimate_ivar(noise * scale), estimate_ivar(noise) / scale**2, rtol=1e-6)
    shifted = estimate_ivar(noise + level)
    assert_allclose(shifted, estimate_ivar(noise), rtol=1e-6)


@pytest.mark.parametrize("pixels", [1.5, 2, 3])
def test_noise_of_a_smoothed_spectrum_is_that_before_smoothing(pixels):
    noise = np.random.default_rng(2).normal(10, 2, size=(1, 8000))
    sigma = np.median(estimate_ivar(gaussian_filter1d(noise, pixels))) ** -0.5
    assert 1 < sigma < 2.5


def test_noise_of_real_spectra_agrees_with_their_own(shared_data):
    files = sorted((shared_data / "boss_plate7102").glob("spec-*.fits"))[::4]
    scatter = []
    for file in files:
        arm = read_spectra(file).arms[0]
        good = arm.ivar[0] > 0
        noise = np.log(arm.ivar[0, good] / estimate_ivar(arm.flux[:1, good])[0]) / 2
        scatter.append(np.median(np.abs(noise)))
    assert np.mean(scatter) < 0.2


def test_constant_flux_has_no_noise_to_estimate():
    assert not Spectra.from_arrays(WAVE, np.ones(500)).arms[0].ivar.any()


def test_same_spectrum_same_identifier():
    once = Spectra.from_arrays(WAVE, FLUX, IVAR).keys.target_id
    again = Spectra.from_arrays(WAVE[::-1], FLUX[::-1, ::-1], IVAR[::-1, ::-1]).keys.target_id
    assert once.tolist() == again[::-1].tolist()
    assert (once > 0).all()
    twice = Spectra.from_arrays(WAVE, FLUX[[0, 0]], IVAR)
    assert twice.flags.tolist() == [0, Flag.DUPLICATE_ROW]
    flags = Spectra.from_arrays(WAVE, FLUX, IVAR, target_id=[0, -4]).flags
    assert flags.tolist() == [Flag.BAD_TARGETID] * 2


@pytest.mark.parametrize(
    ("arguments", "more", "match"),
    [
        ((WAVE / 10, FLUX, IVAR), {}, "expected Å. Multiply nm by 10"),
        ((np.log10(WAVE), FLUX, IVAR), {}, "expected Å"),
        ((WAVE * u.kg, FLUX, IVAR), {}, "wavelengths in kg"),
        ((RNG.permutation(WAVE), FLUX, IVAR), {}, "in order"),
        (([WAVE, WAVE + 1], FLUX, IVAR), {}, "go into a list"),
        ((WAVE, FLUX[:, :9], IVAR), {}, r"flux has shape \(2, 9\), the wavelengths \(500,\)"),
        ((WAVE, FLUX, IVAR[:1]), {}, r"ivar has shape \(1, 500\)"),
        ((WAVE, FLUX * u.electron, IVAR), {}, "flux in electron is no flux density"),
        ((WAVE, [FLUX[0], FLUX[0, :4]], IVAR), {}, "no array of numbers"),
        ((WAVE, FLUX, IVAR), {"target_id": [1.5, 2]}, "not an integer"),
        ((WAVE, FLUX, IVAR), {"target_id": [1]}, "one per spectrum"),
        ((WAVE, FLUX, IVAR), {"colour": [1, 2]}, "colour is no identity"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(arguments, more, match):
    with pytest.raises(DataFormatError, match=match):
        Spectra.from_arrays(*arguments, **more)
