"""Impossible pixels are found; lines, however narrow and strong, and noise are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf

from quasarloop.outliers import (
    FEWEST_EQUAL,
    LARGEST_NOISE,
    MOST_PIXELS,
    are_too_noisy,
    find_outliers,
    noise_ratios,
)
from quasarloop.read import find_files, read_spectra
from quasarloop.spectra import Arm

WAVE = 10 ** (3.6 + 1e-4 * np.arange(2000))  # SDSS pixels


def arm(flux, ivar=None, wave=WAVE):
    flux = np.atleast_2d(flux).astype("f4")
    ivar = np.full_like(flux, 100.0) if ivar is None else np.atleast_2d(ivar).astype("f4")
    return Arm("brz", wave, flux, ivar)


def noise(n=1, seed=0):
    """Flux 1 with noise 0.1, as ivar 100 describes it."""
    return 1 + np.random.default_rng(seed).normal(0, 0.1, (n, len(WAVE)))


def line(place, fwhm, height):
    """Gaussian line, summed over pixels; place and width in pixels."""
    scale = fwhm / 2.3548 * np.sqrt(2)
    edges = erf((np.arange(len(WAVE) + 1) - 0.5 - place) / scale)
    return height * np.diff(edges) / np.diff(edges).max()


class TestFound:
    @pytest.mark.parametrize("size", [1e1, -1e1, 1e2, 1e4, 1e8, -1e12, 1e30, 3e38])
    @pytest.mark.parametrize("pixels", [[700], [700, 701], range(700, 710), [5, 90, 1900]])
    def test_absurd_pixels_and_no_others(self, size, pixels):
        flux = noise(2)
        flux[1, list(pixels)] = size
        outliers, broken = find_outliers(arm(flux))
        assert not outliers[0].any()
        assert np.flatnonzero(outliers[1]).tolist() == list(pixels)
        assert not broken.any()

    @pytest.mark.parametrize("pixel", [0, 1, 2, 1997, 1998, 1999])
    def test_at_the_ends(self, pixel):
        flux = noise()
        flux[0, pixel] = 50
        assert np.flatnonzero(find_outliers(arm(flux))[0][0]).tolist() == [pixel]

    def test_beside_masked_pixels(self):
        flux, ivar = noise(), np.full(len(WAVE), 100.0)
        flux[0, 300] = 50
        ivar[301:320] = 0
        flux[0, 301:320] = -999
        assert np.flatnonzero(find_outliers(arm(flux, ivar))[0][0]).tolist() == [300]

    def test_a_hit_with_a_tail_goes_as_a_whole(self):
        flux = noise()
        flux[0, 400:402] += [60, 24]
        assert np.flatnonzero(find_outliers(arm(flux))[0][0]).tolist() == [400, 401]

    @pytest.mark.parametrize("weight", [5e4, 1e12, 3e38])
    def test_absurd_weights(self, weight):
        ivar = np.full((2, len(WAVE)), 100.0)
        ivar[1, [3, 800, 801]] = weight
        outliers, broken = find_outliers(arm(noise(2), ivar))
        assert np.argwhere(outliers).tolist() == [[1, 3], [1, 800], [1, 801]]
        assert not broken.any()

    @pytest.mark.parametrize("n", [FEWEST_EQUAL, 10, 40])
    @pytest.mark.parametrize("first", [0, 700, len(WAVE) - 40])
    def test_values_filled_in(self, n, first):
        flux = noise(2)
        flux[1, first : first + n] = 1.05  # an ordinary value
        flux[0, [3, 9, 700, 1500]] = 1.05  # equal, but no neighbours
        flux[0, first : first + FEWEST_EQUAL - 1] = 1.02
        outliers, broken = find_outliers(arm(flux))
        assert not outliers[0].any()
        assert np.flatnonzero(outliers[1]).tolist() == list(range(first, first + n))
        assert not broken.any()

    def test_many_values_filled_in_are_a_failure(self):
        flux = noise()
        flux[0, 300:407] = -1  # 107 of 2000
        outliers, broken = find_outliers(arm(flux))
        assert broken.tolist() == [True]
        assert not outliers.any()

    def test_too_many_are_a_failure_and_not_mended(self):
        flux = noise(2)
        many = int(MOST_PIXELS * len(WAVE)) + 1
        flux[0, 7 : 7 + 10 * many : 10] = 1e5
        flux[1, 7 : 7 + 10 * (many - 1) : 10] = 1e5
        outliers, broken = find_outliers(arm(flux))
        assert broken.tolist() == [True, False]
        assert outliers.sum(axis=1).tolist() == [0, many - 1]


class TestNoise:
    def test_of_ivar_is_one(self):
        ratios = noise_ratios(arm(noise(50)))
        assert ratios.shape == (50, 8)
        assert np.median(ratios) == pytest.approx(1, abs=0.03)
        assert not are_too_noisy([arm(noise(50))]).any()

    @pytest.mark.parametrize("scatter", [0.6, 3.0, 1e3, 1e20])
    def test_a_part_that_scatters_more_than_ivar_allows(self, scatter):
        rng = np.random.default_rng(1)
        flux = noise(3)
        flux[0, 700:1400] += rng.normal(0, scatter, 700)
        flux[1, 700:1400] += 5 * np.sin(np.arange(700) / 8)  # light, not noise
        assert are_too_noisy([arm(flux)]).tolist() == [True, False, False]
        sound = arm(noise(3, seed=1))
        noisy = arm(rng.normal(0, scatter, (3, len(WAVE))))
        assert are_too_noisy([sound, noisy, sound]).all()

    @pytest.mark.parametrize("wrong", [1e-4, 0.02, 30.0, 1e6])
    def test_ivar_wrong_by_one_factor_everywhere(self, wrong):
        flux = noise(2)
        flux[1, 300:900] += np.random.default_rng(1).normal(0, 0.8, 600)
        found = are_too_noisy([arm(flux, np.full(flux.shape, 100 * wrong))])
        # With ivar a fiftieth of what it is, eight times the noise is not above three deviations.
        assert found.tolist() == [False, wrong > 0.1]

    def test_windows_without_enough_data_are_not_judged(self):
        flux, ivar = noise(), np.full(len(WAVE), 100.0)
        flux[0, 250:500] = 1e6 * np.random.default_rng(1).normal(size=250)
        ivar[250:500:4] = 0  # every group of five has one
        assert np.isnan(noise_ratios(arm(flux, ivar))[0, 1])
        assert not are_too_noisy([arm(flux, ivar)]).any()
        assert noise_ratios(arm(flux[:, :200], wave=WAVE[:200])).shape == (1, 0)


class TestLeftAlone:
    def test_noise(self):
        assert not find_outliers(arm(noise(200, seed=3)))[0].any()

    @given(fwhm=st.floats(2, 5), height=st.floats(1, 1e5), n=st.integers(1, 25), seed=st.integers())
    def test_nebulae_of_many_strong_lines(self, fwhm, height, n, seed):
        rng = np.random.default_rng(abs(seed))
        lines = sum(
            line(place, fwhm, height * rng.uniform() ** 3)
            for place in np.linspace(20, len(WAVE) - 20, n) + rng.uniform(-3, 3, n)
        )
        flux = noise(seed=abs(seed)) + lines
        nebula = arm(flux, 1 / (0.01 + 0.001 * flux.clip(0)))
        assert not find_outliers(nebula)[0].any()
        assert not are_too_noisy([nebula]).any()

    def test_an_arm_of_one_value_which_has_its_own_flag(self):
        outliers, broken = find_outliers(arm(np.zeros(len(WAVE))))
        assert not outliers.any()
        assert not broken.any()

    @given(
        place=st.floats(800, 801),
        fwhm=st.floats(2, 12),
        height=st.floats(1, 1e5),
        seed=st.integers(),
    )
    def test_lines_that_a_spectrograph_resolves(self, place, fwhm, height, seed):
        flux = noise(seed=abs(seed)) + line(place, fwhm, height)
        ivar = 1 / (0.01 + 0.001 * flux.clip(0))  # the line has its own noise
        assert not find_outliers(arm(flux, ivar))[0].any()

    def test_deep_narrow_absorption_and_steps_of_light(self):
        quiet = 1 + 0.1 * (noise() - 1)
        step = 20 * (1 + erf((np.arange(len(WAVE)) - 900.2) / 1.2))
        flux = np.concatenate([quiet - line(700.3, 2, 1), quiet + step])
        assert not find_outliers(arm(flux, np.full(flux.shape, 1e4)))[0].any()

    def test_rebinned_files_whose_pixels_hold_whole_lines(self):
        wave = 10 ** (3.6 + 1e-3 * np.arange(400))
        flux = noise()[:, :400]
        flux[0, 200] = 60
        assert not find_outliers(arm(flux, wave=wave))[0].any()

    def test_short_arms_and_arms_without_data(self):
        assert not find_outliers(arm(noise()[:, :20], wave=WAVE[:20]))[0].any()
        empty = find_outliers(arm(noise(), np.zeros(len(WAVE))))
        assert not empty[0].any()
        assert not empty[1].any()

    def test_every_real_spectrum(self, shared_data):
        n, largest = 0, 0.0
        folders = [folder for folder in shared_data.iterdir() if (folder / "truth.csv").exists()]
        for path in [*find_files(folders), shared_data / "quasarnp_fixture" / "test_coadd.fits"]:
            arms = read_spectra(path).arms
            assert not are_too_noisy(arms).any(), path
            largest = max([largest, *(noise_ratios(a).max(initial=0) for a in arms)])
            for real in arms:
                outliers, broken = find_outliers(real)
                assert not outliers.any(), path
                assert not broken.any(), path
                n += np.count_nonzero(real.ivar > 0)
        assert n > 1.9e6
        assert 1 < largest < LARGEST_NOISE / 1.9
