"""Instruments and their noise, against hand-computed numbers and real spectra."""

from pathlib import Path

import fitsio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from quasarloop.errors import DataFormatError, GridError
from quasarloop.simulate.instrument import (
    DESI_TELESCOPE,
    ArmModel,
    desi_instrument,
    instrument_named,
    photons_per_flux,
    sdss_instrument,
    sky_continuum,
    sky_spectrum,
)
from quasarloop.simulate.noise import (
    MASK_COSMIC,
    Conditions,
    NoisyArm,
    blur,
    draw_conditions,
    gaussian_kernel,
    observe,
    read_real_noise,
    variance,
)
from quasarloop.simulate.observing import Exposure, coadd_arm, coadd_exposures
from quasarloop.simulate.published import published

NOMINAL = Conditions(1.0, 1.0, np.ones(1, np.float32), np.ones((1, 3), np.float32))


def toy_arm() -> ArmModel:
    # 100 electrons per unit flux, sky 2, read variance 50.
    wave = np.array([5000.0, 5000.8])
    return ArmModel("b", wave, 0, 0.9, np.array([100.0, 100.0]), np.array([2.0, 2.0]), 50.0)


class TestGrids:
    def test_desi_pixels_are_those_of_real_files(self, shared_data: Path) -> None:
        real = fitsio.FITS(shared_data / "desi_redrock" / "coadd-4-80613-thru20210324.fits")
        for arm, n_pix in zip(desi_instrument().arms, (2751, 2326, 2881), strict=True):
            wave = real[f"{arm.name.upper()}_WAVELENGTH"].read()
            assert len(wave) == len(arm.wave_aa) == n_pix
            assert_allclose(arm.wave_aa, wave, atol=1e-6)

    def test_desi_arms_are_cut_from_the_common_grid(self) -> None:
        instrument = desi_instrument()
        for arm in instrument.arms:
            assert_array_equal(instrument.wave_aa[arm.pixels], arm.wave_aa)

    def test_sdss_pixels_are_those_of_real_files(self, shared_data: Path) -> None:
        path = sorted((shared_data / "boss_plate7102").glob("spec-*.fits"))[0]
        real = fitsio.read(path, ext=1, columns=["loglam"])["loglam"].astype(float)
        ours = np.log10(sdss_instrument().wave_aa)
        assert_allclose(np.diff(ours), 1e-4, rtol=1e-6)
        assert abs(ours[0] - real[0]) < 5e-4
        # Both are whole multiples of 1e-4, so pixels coincide.
        assert_allclose(ours * 1e4, np.round(ours * 1e4), atol=1e-6)

    def test_unknown_instrument(self) -> None:
        with pytest.raises(GridError, match="desi, sdss, sdssv, lamost, 4most, weave"):
            instrument_named("2df")

    @pytest.mark.parametrize(
        ("survey", "arms_aa"),
        [
            ("lamost", {"b": (3700, 5900), "r": (5700, 9100)}),
            ("4most", {"b": (3700, 5540), "r": (5240, 7200), "z": (6900, 9500)}),
            ("weave", {"b": (3660, 6060), "r": (5790, 9590)}),
        ],
    )
    def test_arms_have_their_survey_s_ranges(
        self, survey: str, arms_aa: dict[str, tuple[float, float]]
    ) -> None:
        instrument = instrument_named(survey)
        assert [arm.name for arm in instrument.arms] == list(arms_aa)
        for arm in instrument.arms:
            assert_allclose(arm.wave_aa[[0, -1]], arms_aa[arm.name], atol=2.0)
            assert_array_equal(instrument.wave_aa[arm.pixels], arm.wave_aa)
            assert arm.electrons.min() > 0

    def test_sdss_v_is_boss_in_half_the_time(self) -> None:
        boss, robot = sdss_instrument(), instrument_named("sdssv")
        assert_array_equal(boss.wave_aa, robot.wave_aa)
        for one, other in zip(boss.arms, robot.arms, strict=True):
            assert_allclose(other.electrons, one.electrons / 2)

    def test_lamost_reaches_its_depth(self) -> None:
        # r = 18.5: 1e-17 erg/s/cm²/Å × 3631 Jy × 10^(-0.4 r) × c / λ². S/N near 10 per pixel.
        arm = instrument_named("lamost").arms[1]
        flux = 3631 * 10 ** (-0.4 * 18.5) * 1e-23 * 2.998e18 / arm.wave_aa**2 / 1e-17
        rows = flux[None].astype(np.float32)
        sn = rows / np.sqrt(variance(arm, rows, NOMINAL))
        assert 7 < np.median(sn) < 20


class TestSky:
    def test_lines_carry_their_flux(self) -> None:
        wave = np.arange(5500.0, 5650.0, 0.1)
        sky = sky_spectrum(wave, np.full(len(wave), 0.7)) - sky_continuum(wave)
        lines = published("sky_lines")
        inside = lines.filter(lines["wave_aa"].is_between(5510, 5640, closed="none"))
        assert_allclose(sky.sum() * 0.1, inside["flux"].sum(), rtol=1e-3)

    @pytest.mark.parametrize("vacuum_aa", [5578.9, 6302.0, 6365.5, 8346.7, 8401.5, 8829.5])
    def test_well_known_airglow_is_there(self, vacuum_aa: float) -> None:
        assert np.min(np.abs(published("sky_lines")["wave_aa"].to_numpy() - vacuum_aa)) < 1.0


class TestNoise:
    def test_photons_by_hand(self) -> None:
        # 1e-17 erg/s/cm²/Å × 8.66e4 cm² × 1000 s × 0.8 Å / (1.98644586e-8 / 6000 erg) = 209.26
        found = photons_per_flux(np.array([6000.0, 6000.8]), DESI_TELESCOPE)[0]
        assert_allclose(found, 1e-17 * 8.66e4 * 1000 * 0.8 * 6000 / 1.98644586e-8, rtol=1e-6)
        assert_allclose(found, 209.26, atol=0.01)

    def test_variance_by_hand(self) -> None:
        # Flux 3: (100·3 + 100·2 + 50) / 100² = 0.055.
        flux = np.full((1, 2), 3.0, np.float32)
        assert_allclose(variance(toy_arm(), flux, NOMINAL), 0.055, rtol=1e-6)

    def test_variance_of_other_conditions_by_hand(self) -> None:
        # t = 4, sky × 2, fibre 0.5: (100·0.5·4·3 + 100·4·2·2 + 50) / (100·0.5·4)² = 0.05625.
        how = Conditions(4.0, 2.0, np.array([0.5], np.float32), np.ones((1, 3), np.float32))
        flux = np.full((1, 2), 3.0, np.float32)
        assert_allclose(variance(toy_arm(), flux, how), 0.05625, rtol=1e-6)

    def test_negative_flux_adds_no_photons(self) -> None:
        flux = np.full((1, 2), -3.0, np.float32)
        assert_allclose(variance(toy_arm(), flux, NOMINAL), 0.025, rtol=1e-6)

    def test_noise_has_the_inverse_variance_it_claims(self) -> None:
        arm = desi_instrument().arms[1]
        flux = np.full((40, len(arm.wave_aa)), 2.0, np.float32)
        rng = np.random.default_rng(1)
        how = draw_conditions(rng, 40, 3)
        seen = observe(arm, flux, how, np.random.default_rng(2))
        good = seen.ivar > 0
        pull = (seen.flux - flux)[good] * np.sqrt(seen.ivar[good])
        n = pull.size
        assert abs(pull.mean()) < 5 / np.sqrt(n)
        assert abs(pull.std() - 1) < 5 / np.sqrt(2 * n)

    def test_masked_pixels_are_rare_marked_and_empty(self) -> None:
        arm = desi_instrument().arms[1]
        flux = np.ones((100, len(arm.wave_aa)), np.float32)
        how = draw_conditions(np.random.default_rng(1), 100, 3)
        seen = observe(arm, flux, how, np.random.default_rng(2))
        lost = seen.ivar == 0
        assert 2e-4 < lost.mean() < 5e-3  # real single visits: 2e-4 to 3e-3
        assert np.all(seen.mask[lost] == MASK_COSMIC)
        assert np.all(seen.flux[lost] == 0)
        assert np.all(seen.mask[~lost] == 0)

    def test_rows_do_not_depend_on_later_rows(self) -> None:
        arm = desi_instrument().arms[0]
        flux = np.ones((9, len(arm.wave_aa)), np.float32)

        def seen(n: int) -> NoisyArm:
            how = draw_conditions(np.random.default_rng(5), n, 3)
            return observe(arm, flux[:n], how, np.random.default_rng(6))

        few, many = seen(4), seen(9)
        assert_array_equal(few.flux, many.flux[:4])
        assert_array_equal(few.ivar, many.ivar[:4])

    def test_level_and_shape_match_real_spectra(self, shared_data: Path) -> None:
        """The ivar of faint targets: one visit's level, and its run along each arm."""
        visit = fitsio.FITS(shared_data / "desi_healpix9144" / "coadd-main-dark-9144.fits")
        deep = fitsio.FITS(shared_data / "quasarnp_fixture" / "test_coadd.fits")
        for arm in desi_instrument().arms:
            letter = arm.name.upper()
            ours = np.sqrt(variance(arm, np.full((1, len(arm.wave_aa)), 0.3, np.float32), NOMINAL))[
                0
            ]
            level = 1 / np.sqrt(np.median(visit[f"{letter}_IVAR"].read(), axis=1))
            assert 0.8 < np.median(ours) / np.mean(level) < 1.25
            ivar = deep[f"{letter}_IVAR"].read()
            real = 1 / np.sqrt(np.median(ivar[ivar.any(axis=1)], axis=0))
            ratio = (ours / np.median(ours)) / (real / np.median(real))
            away = np.abs(np.log(ratio))
            assert np.median(away) < 0.1
            assert np.mean(away > np.log(1.3)) < 0.1


class TestBlur:
    def test_kernel_is_normalised_and_as_wide_as_asked(self) -> None:
        kernel = gaussian_kernel(0.9).astype(float)
        offset = np.arange(len(kernel)) - len(kernel) // 2
        assert_allclose(kernel.sum(), 1, atol=1e-6)
        assert_allclose(np.sqrt((kernel * offset**2).sum()), 0.9, atol=0.02)

    def test_agrees_with_a_plain_convolution(self) -> None:
        flux = np.random.default_rng(0).random((70, 50)).astype(np.float32)
        kernel = gaussian_kernel(0.8)
        reach = len(kernel) // 2
        plain = [np.convolve(np.pad(row, reach, mode="edge"), kernel, "valid") for row in flux]
        assert_allclose(blur(flux, 0.8), plain, atol=1e-5)


class TestCoadd:
    def test_weights_by_inverse_variance(self) -> None:
        # (1·1 + 3·3) / 4 = 2.5.
        one = NoisyArm(*arrays(1.0, 1.0, 0))
        two = NoisyArm(*arrays(3.0, 3.0, 0))
        both = coadd_arm([one, two])
        assert both.flux[0, 0] == 2.5
        assert both.ivar[0, 0] == 4

    def test_a_pixel_masked_once_is_as_good_as_the_rest(self) -> None:
        both = coadd_arm([NoisyArm(*arrays(0.0, 0.0, 4)), NoisyArm(*arrays(3.0, 3.0, 0))])
        assert (both.flux[0, 0], both.ivar[0, 0], both.mask[0, 0]) == (3.0, 3.0, 0)

    def test_a_pixel_masked_always_keeps_its_bits(self) -> None:
        both = coadd_arm([NoisyArm(*arrays(0.0, 0.0, 4)), NoisyArm(*arrays(0.0, 0.0, 2))])
        assert (both.flux[0, 0], both.ivar[0, 0], both.mask[0, 0]) == (0.0, 0.0, 6)

    def test_one_exposure_is_its_own_coadd(self) -> None:
        arm = NoisyArm(*arrays(1.0, 1.0, 0))
        assert coadd_exposures([Exposure({"b": arm}, NOMINAL)])["b"] is arm

    @given(st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 9)), min_size=1, max_size=5))
    def test_finite_and_at_least_as_good_as_the_best(
        self, parts: list[tuple[float, float]]
    ) -> None:
        whole = coadd_arm([NoisyArm(*arrays(flux, ivar, 0)) for flux, ivar in parts])
        assert np.isfinite(whole.flux).all()
        assert whole.ivar[0, 0] >= np.float32(max(ivar for _, ivar in parts)) * (1 - 1e-6)


class TestRealNoise:
    def test_every_row_of_noise_is_a_real_fibre(self, shared_data: Path) -> None:
        path = shared_data / "quasarnp_fixture" / "test_coadd.fits"
        noise = read_real_noise(path, desi_instrument())
        assert len(noise.ivar["b"]) == 24  # one of the 25 rows is all zero

    def test_other_pixels_are_refused(self, shared_data: Path) -> None:
        path = shared_data / "desi_healpix9144" / "coadd-main-dark-9144.fits"
        with pytest.raises(DataFormatError, match="a DESI coadd"):
            read_real_noise(path, sdss_instrument())

    def test_background_sets_the_noise_of_a_dark_fibre(self) -> None:
        arm = desi_instrument().arms[0]
        shape = (1, len(arm.wave_aa))
        real = np.full(shape, 4.0, np.float32)
        real[0, 7] = 0
        seen = observe(arm, np.zeros(shape, np.float32), NOMINAL, np.random.default_rng(0), real)
        assert seen.ivar[0, 7] == seen.flux[0, 7] == 0
        assert seen.mask[0, 7] != 0
        good = seen.ivar[0] > 0
        assert_allclose(seen.ivar[0, good], 4.0, rtol=1e-5)


def arrays(flux: float, ivar: float, mask: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = (1, 1)
    return (
        np.full(shape, flux, np.float32),
        np.full(shape, ivar, np.float32),
        np.full(shape, mask, np.int32),
    )
