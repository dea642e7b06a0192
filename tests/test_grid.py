"""Grids and rebinning: hand-made numbers, QuasarNP's own results, conservation laws."""

import ast
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from quasarloop.errors import GridError
from quasarloop.grid import (
    LINEAR_GRID,
    LOG_GRID,
    WaveGrid,
    grid_from_edges,
    grid_named,
    normalise,
    rebin,
)
from quasarloop.read import read_spectra

DESI_WAVE = np.round(np.arange(3600, 9824.8, 0.8), 1)  # all three arms as one


def plain_rebin(wave, flux, ivar, grid):
    """Sums of flux·ivar and ivar by `bincount`, row by row, in float64: the reference."""
    bins = grid.bin_of(wave)
    inside = (bins >= 0) & (bins < grid.n_bins)
    sums = np.zeros((2, len(flux), grid.n_bins))
    for row in range(len(flux)):
        i = ivar[row].astype("f8")
        for k, values in enumerate((i, i * flux[row])):
            sums[k, row] = np.bincount(bins[inside], values[inside], minlength=grid.n_bins)
    return sums[1], sums[0]


def spectra(n_rows, n_pix, seed=0):
    rng = np.random.default_rng(seed)
    flux = rng.normal(5, 2, (n_rows, n_pix)).astype("f4")
    ivar = (rng.gamma(3, 1, (n_rows, n_pix)) * (rng.random((n_rows, n_pix)) > 0.1)).astype("f4")
    return flux, ivar


grids = st.builds(
    lambda kind, start, step, n: WaveGrid(kind, start, step * (1e-4 if kind == "log" else 1), n),
    st.sampled_from(["log", "linear"]),
    st.floats(3000, 6000),
    st.floats(1, 60),
    st.integers(2, 600),
)


class TestWaveGrid:
    def test_the_two_quasarnet_grids(self):
        assert LOG_GRID.n_bins == 443
        assert LINEAR_GRID.n_bins == 458
        assert LOG_GRID.lower_edges_aa[0] == pytest.approx(3600)
        assert LOG_GRID.lower_edges_aa[-1] == pytest.approx(9961.0, abs=0.05)
        assert LINEAR_GRID.lower_edges_aa[-1] == pytest.approx(9815.2)
        assert LINEAR_GRID.end_aa == pytest.approx(9828.8)

    def test_names(self):
        assert grid_named("log") is LOG_GRID
        assert grid_named("linear") is LINEAR_GRID
        with pytest.raises(GridError, match="no grid named 'cubic'; known: log, linear"):
            grid_named("cubic")

    @pytest.mark.parametrize(
        ("kind", "start", "step", "n_bins"),
        [("cubic", 1, 1, 5), ("log", 0, 1, 5), ("log", 3600, -1, 5), ("linear", 3600, 1, 1)],
    )
    def test_impossible_grids(self, kind, start, step, n_bins):
        with pytest.raises(GridError):
            WaveGrid(kind, start, step, n_bins)

    @given(grids)
    def test_every_bin_holds_its_lower_edge_and_its_middle(self, grid):
        index = np.arange(grid.n_bins)
        np.testing.assert_array_equal(grid.bin_of(grid.lower_edges_aa), index)
        np.testing.assert_array_equal(grid.bin_of(grid.wave_at(index + 0.5)), index)
        assert grid.bin_of([grid.start_aa * (1 - 1e-6)])[0] < 0
        assert grid.bin_of([grid.end_aa * (1 + 1e-6)])[0] >= grid.n_bins

    @given(grids, st.floats(0, 1))
    def test_position_and_wavelength_are_inverse_inside(self, grid, part):
        position = part * (grid.n_bins - 1)
        wave = grid.wave_at([position])
        assert grid.position_of(wave)[0] == pytest.approx(position, abs=1e-6)

    def test_positions_outside_are_nan(self):
        found = LOG_GRID.position_of([3599.0, 3600.0, 9970.0, LOG_GRID.end_aa, 12000.0])
        assert np.isnan(found).tolist() == [True, False, False, True, True]
        assert 442 < found[2] < 443

    def test_red_end_is_clamped_or_extrapolated(self):
        last = LOG_GRID.lower_edges_aa[-1]
        assert LOG_GRID.wave_at([442.7], red_end="clamp")[0] == last
        beyond = LOG_GRID.wave_at([442.7])[0]
        assert beyond == pytest.approx(last * 10 ** (0.7e-3))
        assert LOG_GRID.wave_at([-1.0], red_end="clamp")[0] == pytest.approx(3600)
        # Inside, wavelengths are interpolated linearly between edges, as QuasarNET does.
        edges = LOG_GRID.lower_edges_aa
        assert LOG_GRID.wave_at([10.5])[0] == pytest.approx((edges[10] + edges[11]) / 2)

    def test_matching(self):
        assert LOG_GRID.matches(WaveGrid("log", 3600.0 + 1e-6, 1e-3, 443))
        assert not LOG_GRID.matches(WaveGrid("log", 3601.0, 1e-3, 443))
        assert not LOG_GRID.matches(WaveGrid("log", 3600.0, 1e-3, 442))
        assert not LOG_GRID.matches(LINEAR_GRID)
        assert "443 bins of 0.001 dex from 3600 to 9984.0 Å" in LOG_GRID.describe()

    @given(grids)
    def test_grid_is_recognised_from_its_edges(self, grid):
        found = grid_from_edges(grid.lower_edges_aa)
        # Two or three bins, or a narrow range, are uniform both ways within the tolerance.
        np.testing.assert_allclose(found.lower_edges_aa, grid.lower_edges_aa, rtol=2e-3)

    def test_float32_edges_give_the_named_grids(self):
        assert grid_from_edges(LOG_GRID.lower_edges_aa.astype("f4")) is LOG_GRID
        assert grid_from_edges(LINEAR_GRID.lower_edges_aa.astype("f4")) is LINEAR_GRID

    @pytest.mark.parametrize(
        "edges",
        [
            [3600.0],
            [[3600.0, 3700.0]],
            [3600.0, np.nan, 3800.0],
            [3700.0, 3600.0, 3500.0],
            np.r_[np.arange(3600, 4000, 10.0), np.arange(4000, 9800, 40.0)],
        ],
    )
    def test_edges_of_no_uniform_grid(self, edges):
        with pytest.raises(GridError):
            grid_from_edges(edges)


class TestAgainstQuasarNP:
    """Fixtures of desihub/QuasarNP."""

    def test_bins_of_the_desi_pixels(self, shared_data):
        folder = shared_data / "quasarnp_fixture"
        expected = ast.literal_eval((folder / "regrid.txt").read_text().replace("\n", ""))
        np.testing.assert_array_equal(LOG_GRID.bin_of(DESI_WAVE), expected)
        # 17 pixels a bin; the last bin is five short.
        np.testing.assert_array_equal(
            LINEAR_GRID.bin_of(DESI_WAVE), np.repeat(np.arange(458), 17)[:-5]
        )

    def test_bins_of_arbitrary_pixels(self, shared_data):
        expected = np.load(shared_data / "quasarnp_fixture" / "regrid_arbitrary.npy")
        np.testing.assert_array_equal(LOG_GRID.bin_of(np.arange(3600, 9800, 10)), expected)

    @pytest.mark.parametrize(
        ("file", "grid"),
        [("coadd_rebinned.fits", LOG_GRID), ("coadd_rebinned_linear.fits", LINEAR_GRID)],
    )
    def test_sums_of_every_arm(self, shared_data, file, grid):
        folder = shared_data / "quasarnp_fixture"
        with fits.open(folder / file) as expected:
            for arm in read_spectra(folder / "test_coadd.fits").arms:
                found = rebin([(arm.wave_aa, arm.flux, arm.ivar)], grid)
                ivar = expected[f"{arm.name.upper()}_IVAR"].data
                np.testing.assert_allclose(found.ivar, ivar, rtol=1e-5)
                weighted = expected[f"{arm.name.upper()}_FLUX"].data
                # Relative to the weight of the bin: sums of noise may cancel to nothing.
                flux = np.divide(weighted, ivar, out=np.zeros_like(ivar), where=ivar > 0)
                np.testing.assert_allclose(found.flux, flux, rtol=1e-5, atol=1e-5)

    def test_normalised_spectra(self, shared_data):
        folder = shared_data / "quasarnp_fixture"
        expected = np.load(folder / "coadd_x.npy")
        arms = read_spectra(folder / "test_coadd.fits").arms
        binned = rebin([(arm.wave_aa, arm.flux, arm.ivar) for arm in arms], LOG_GRID)
        found = normalise(binned.flux, binned.ivar)
        usable = np.isfinite(found.rms_flux)
        assert usable.sum() == len(expected) == 24
        np.testing.assert_allclose(found.flux[usable], expected, rtol=1e-5, atol=1e-5)


class TestRebin:
    def test_hand_made(self):
        # Bins of 10 Å from 100 Å: two pixels in the first, one in the second, one outside.
        grid = WaveGrid("linear", 100.0, 10.0, 3)
        found = rebin(
            [([100.0, 105.0, 111.0, 130.0], [[2.0, 6.0, 3.0, 9.0]], [[1, 3, 0, 1]])], grid
        )
        np.testing.assert_allclose(found.ivar, [[4, 0, 0]])
        np.testing.assert_allclose(found.flux, [[(2 * 1 + 6 * 3) / 4, 0, 0]])

    @settings(max_examples=40)
    @given(
        grid=grids,
        n_rows=st.integers(1, 70),
        first=st.floats(2500, 7000),
        pixel=st.floats(0.5, 90),
        n_pix=st.integers(2, 900),
    )
    def test_equals_the_plain_sums_on_any_uniform_grid(self, grid, n_rows, first, pixel, n_pix):
        wave = first + pixel * np.arange(n_pix)
        flux, ivar = spectra(n_rows, n_pix)
        found = rebin([(wave, flux, ivar)], grid)
        weighted, weight = plain_rebin(wave, flux, ivar, grid)
        np.testing.assert_allclose(found.ivar, weight, rtol=1e-5)
        expected = np.divide(weighted, weight, out=np.zeros_like(weight), where=weight > 0)
        np.testing.assert_allclose(found.flux, expected, rtol=1e-4, atol=1e-4)

    @given(cut=st.integers(2, 398))
    def test_splitting_an_arm_in_two_changes_nothing(self, cut):
        wave = np.linspace(3700, 9700, 400)
        flux, ivar = spectra(3, 400)
        whole = rebin([(wave, flux, ivar)], LOG_GRID)
        parts = [(wave[s], flux[:, s], ivar[:, s]) for s in (slice(0, cut), slice(cut, None))]
        split = rebin(parts, LOG_GRID)
        np.testing.assert_allclose(split.ivar, whole.ivar, rtol=1e-5)
        np.testing.assert_allclose(split.flux, whole.flux, rtol=1e-4, atol=1e-4)

    @settings(max_examples=20)
    @given(grids)
    def test_weight_and_weighted_flux_are_conserved_inside(self, grid):
        wave = np.arange(3000.0, 9000.0, 7.0)
        flux, ivar = spectra(2, len(wave))
        found = rebin([(wave, flux, ivar)], grid)
        bins = grid.bin_of(wave)
        inside = (bins >= 0) & (bins < grid.n_bins)
        weight = ivar[:, inside].astype("f8").sum(axis=1)
        np.testing.assert_allclose(found.ivar.sum(axis=1, dtype="f8"), weight, rtol=1e-5)
        weighted = (ivar[:, inside].astype("f8") * flux[:, inside]).sum(axis=1)
        total = (found.flux.astype("f8") * found.ivar).sum(axis=1)
        np.testing.assert_allclose(total, weighted, rtol=1e-4, atol=1e-3)

    def test_overlapping_arms_are_averaged_by_weight(self):
        grid = WaveGrid("linear", 100.0, 10.0, 2)
        arms = [
            ([101.0, 111.0], [[1.0, 5.0]], [[1.0, 1.0]]),
            ([105.0, 125.0], [[4.0, 7.0]], [[3.0, 1.0]]),
        ]
        np.testing.assert_allclose(rebin(arms, grid).flux, [[(1 + 12) / 4, 5.0]])

    def test_a_spectrum_does_not_depend_on_its_company(self):
        flux, ivar = spectra(150, len(DESI_WAVE))
        whole = rebin([(DESI_WAVE, flux, ivar)], LOG_GRID)
        for rows in (slice(0, 1), slice(3, 77), slice(140, 150)):
            alone = rebin([(DESI_WAVE, flux[rows], ivar[rows])], LOG_GRID)
            np.testing.assert_array_equal(alone.flux, whole.flux[rows])
            np.testing.assert_array_equal(alone.ivar, whole.ivar[rows])

    def test_nothing_is_changed_in_place(self):
        flux, ivar = spectra(2, len(DESI_WAVE))
        before = flux.copy(), ivar.copy()
        rebin([(DESI_WAVE, flux, ivar)], LOG_GRID)
        np.testing.assert_array_equal(flux, before[0])
        np.testing.assert_array_equal(ivar, before[1])

    def test_pixels_all_outside(self):
        found = rebin([(np.arange(100.0, 200.0), np.ones((2, 100)), np.ones((2, 100)))], LOG_GRID)
        assert not found.ivar.any()
        assert not found.flux.any()

    def test_nothing_to_rebin(self):
        with pytest.raises(GridError, match="no arm"):
            rebin([], LOG_GRID)
        with pytest.raises(GridError, match="must increase"):
            rebin([(np.array([4000.0, 3900.0]), np.ones((1, 2)), np.ones((1, 2)))], LOG_GRID)
        none = rebin(
            [(DESI_WAVE, np.empty((0, len(DESI_WAVE))), np.empty((0, len(DESI_WAVE))))], LOG_GRID
        )
        assert none.flux.shape == (0, 443)


class TestNormalise:
    def test_hand_made(self):
        # Weights 1, 1, 2 and an empty bin: mean (1+3+2·4)/4 = 3, rms sqrt((4+0+2)/4).
        found = normalise([[1.0, 3.0, 4.0, 0.0]], [[1.0, 1.0, 2.0, 0.0]])
        rms = np.sqrt(1.5)
        assert found.mean_flux[0] == 3
        assert found.rms_flux[0] == pytest.approx(rms)
        # The empty bin becomes -mean/rms, as in QuasarNET.
        np.testing.assert_allclose(found.flux[0], np.array([-2, 0, 1, -3]) / rms, rtol=1e-6)

    @given(st.integers(1, 150), st.floats(-1e4, 1e4), st.floats(1e-2, 1e4), st.integers(0, 99))
    def test_weighted_mean_is_0_and_rms_1(self, n_rows, offset, scale, seed):
        flux, ivar = spectra(n_rows, 50, seed)
        ivar[:, 0] = 1.0
        found = normalise(flux * scale + offset, ivar)
        weight = ivar.astype("f8")
        mean = (weight * found.flux).sum(axis=1) / weight.sum(axis=1)
        rms = np.sqrt((weight * np.square(found.flux)).sum(axis=1) / weight.sum(axis=1))
        good = found.rms_flux > 0
        assert good.mean() > 0.9  # of single pixels with data nothing can be said
        np.testing.assert_allclose(mean[good], 0, atol=1e-4)
        np.testing.assert_allclose(rms[good], 1, atol=1e-4)

    def test_no_nan_leaves(self):
        flux = np.array([[1.0, 2.0], [5.0, 5.0], [1.0, 2.0], [np.inf, 1.0], [3e38, -3e38]])
        ivar = np.array([[0.0, 0.0], [1.0, 2.0], [0.0, 3.0], [1.0, 1.0], [3e38, 3e38]])
        found = normalise(flux, ivar)
        assert np.isfinite(found.flux).all()
        assert np.isnan(found.rms_flux).tolist() == [True, False, False, True, False]
        assert found.rms_flux[1] == found.rms_flux[2] == 0
        assert not found.flux[:4].any()

    def test_a_constant_spectrum_is_constant_after_rebinning(self):
        rng = np.random.default_rng(0)
        flux = np.full((40, len(DESI_WAVE)), 0.1, "f4") * rng.uniform(1, 1e4, (40, 1)).astype("f4")
        ivar = rng.gamma(3, 1, flux.shape).astype("f4")
        binned = rebin([(DESI_WAVE, flux, ivar)], LOG_GRID)
        found = normalise(binned.flux, binned.ivar)
        assert (found.rms_flux == 0).all()
        assert not found.flux.any()


def test_threads_do_not_share_working_memory():
    waves = [DESI_WAVE[:2000], DESI_WAVE[1000:4000], DESI_WAVE[3000:]]
    jobs = [(wave, *spectra(130, len(wave), seed)) for seed, wave in enumerate(waves * 4)]
    alone = [rebin([job], LOG_GRID) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: rebin([job], LOG_GRID), jobs))
    for one, other in zip(alone, together, strict=True):
        assert (one.flux == other.flux).all()
        assert (one.ivar == other.ivar).all()


def test_numbers_too_large_leave_nothing_behind():
    flux, ivar = spectra(3, len(DESI_WAVE))
    before = rebin([(DESI_WAVE, flux, ivar)], LOG_GRID)
    huge = np.full((60, len(DESI_WAVE)), 3e38, "f4")
    rebin([(DESI_WAVE, huge, huge)], LOG_GRID)
    after = rebin([(DESI_WAVE, flux, ivar)], LOG_GRID)
    assert (before.flux == after.flux).all()
    assert np.isfinite(after.flux).all()
