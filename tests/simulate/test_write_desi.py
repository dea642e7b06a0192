"""DESI files: columns and HDUs as in the real ones, rows that match, bytes that repeat."""

from pathlib import Path

import fitsio
import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from quasarloop.read import read_spectra, read_truth
from quasarloop.simulate.faults import FaultRates
from quasarloop.simulate.footprint import Tile, plan_tiles, target_ids
from quasarloop.simulate.observing import LightSource, ObservingOptions, RedrockMistakes
from quasarloop.simulate.survey import SurveyOptions, SurveyReport, simulate_survey
from quasarloop.simulate.write_redrock import imitate_redrock
from quasarloop.spectra import Flag
from quasarloop.truth import SpecType

N = 30
STEM = "0-100000-thru20300101"


@pytest.fixture
def survey(tmp_path: Path, known_light: LightSource) -> SurveyReport:
    """30 objects, three exposures, a third of them sky fibres, with resolution."""
    plan = SurveyOptions(
        tmp_path,
        seed=4,
        source=known_light,
        observing=ObservingOptions(exposures=3, faults=FaultRates(sky_fibre=0.3)),
        with_resolution=True,
    )
    return simulate_survey(plan, N)


@pytest.fixture
def tile(survey: SurveyReport) -> Path:
    return survey.out / "tiles" / "cumulative" / "100000" / "20300101"


class TestCoadd:
    def test_hdus_and_columns_are_those_of_a_real_coadd(
        self, tile: Path, shared_data: Path
    ) -> None:
        with (
            fitsio.FITS(shared_data / "desi_redrock" / "coadd-4-80613-thru20210324.fits") as real,
            fitsio.FITS(tile / f"coadd-{STEM}.fits") as ours,
        ):
            names = [hdu.get_extname() for hdu in real[1:]]
            assert [hdu.get_extname() for hdu in ours[1:]] == names
            for name in names:
                if name in ("FIBERMAP", "EXP_FIBERMAP", "SCORES"):
                    theirs, mine = real[name].get_rec_dtype()[0], ours[name].get_rec_dtype()[0]
                    renamed = {column: column.replace("SV1_", "") for column in theirs.names}
                    for column, expected in renamed.items():
                        assert mine[expected] == theirs[column], column
                else:
                    assert ours[name].get_dims()[1:] == real[name].get_dims()[1:]

    def test_our_reader_sees_every_row(self, tile: Path) -> None:
        coadd = read_spectra(tile / f"coadd-{STEM}.fits")
        assert len(coadd) == N
        assert [arm.name for arm in coadd.arms] == ["b", "r", "z"]
        assert set(coadd.keys.object_type) == {"TGT", "SKY"}
        assert_array_equal((coadd.flags & Flag.NOT_TARGET) > 0, coadd.keys.object_type == "SKY")
        assert_array_equal(coadd.keys.target_id, target_ids(4, Tile(0, N)))
        assert set(coadd.keys.survey) == {"main"}
        assert set(coadd.keys.tile_id) == {100000}
        spectra = read_spectra(tile / f"spectra-{STEM}.fits")
        assert len(spectra) == 3 * N
        assert len(set(spectra.keys.exposure_id)) == 3
        assert_array_equal(spectra.keys.target_id, np.tile(coadd.keys.target_id, 3))

    def test_coadd_is_the_weighted_mean_of_its_exposures(self, tile: Path) -> None:
        coadd = read_spectra(tile / f"coadd-{STEM}.fits")
        spectra = read_spectra(tile / f"spectra-{STEM}.fits")
        for whole, parts in zip(coadd.arms, spectra.arms, strict=True):
            flux = parts.flux.reshape(3, N, -1).astype(float)
            ivar = parts.ivar.reshape(3, N, -1).astype(float)
            assert_allclose(whole.ivar, ivar.sum(axis=0), rtol=1e-5)
            mean = (flux * ivar).sum(axis=0) / np.where(ivar.sum(axis=0) > 0, ivar.sum(axis=0), 1)
            assert_allclose(whole.flux, mean, atol=2e-4)

    def test_exposures_have_independent_noise(self, tile: Path) -> None:
        arm = read_spectra(tile / f"spectra-{STEM}.fits").arms[1]
        flux = arm.flux.reshape(3, N, -1)
        pull = (flux - np.median(flux, axis=2, keepdims=True)) * np.sqrt(arm.ivar.reshape(3, N, -1))
        # Away from the simulated line at 6000 Å.
        quiet = pull[:, :, arm.wave_aa > 6300]
        corr = np.corrcoef(quiet[0].ravel(), quiet[1].ravel())[0, 1]
        assert abs(corr) < 0.05

    def test_resolution_rows_sum_to_one(self, tile: Path) -> None:
        for letter in "BRZ":
            rows = fitsio.read(tile / f"coadd-{STEM}.fits", ext=f"{letter}_RESOLUTION")
            assert rows.shape[:2] == (N, 11)
            assert_allclose(rows.sum(axis=1), 1, atol=1e-3)

    def test_no_header_tells_the_time(self, tile: Path) -> None:
        for path in tile.glob("*.fits"):
            with fits.open(path) as hdus:
                hdus.verify("exception")
                for hdu in hdus:
                    assert not {"DATE", "CHECKSUM", "DATASUM"} & set(hdu.header)


class TestRedrock:
    def test_hdus_and_columns_are_those_of_a_real_file(self, tile: Path, shared_data: Path) -> None:
        with (
            fitsio.FITS(shared_data / "desi_redrock" / "redrock-4-80613-thru20210324.fits") as real,
            fitsio.FITS(tile / f"redrock-{STEM}.fits") as ours,
        ):
            assert [hdu.get_extname() for hdu in ours[1:]] == [
                hdu.get_extname() for hdu in real[1:]
            ]
            for name in ("REDSHIFTS", "TSNR2"):
                assert ours[name].get_rec_dtype()[0] == real[name].get_rec_dtype()[0]
            ids = fitsio.read(tile / f"coadd-{STEM}.fits", ext="FIBERMAP")["TARGETID"]
            assert_array_equal(ours["REDSHIFTS"]["TARGETID"].read(), ids)

    def test_without_mistakes_it_is_right(self) -> None:
        n = 3000
        spectype = (np.arange(n) % 3).astype(np.int8)
        z = np.where(spectype == 0, 0, 0.5 + (np.arange(n) % 20) / 20)
        never = RedrockMistakes(**dict.fromkeys(RedrockMistakes.model_fields, 0.0))
        said = imitate_redrock(
            np.random.default_rng(0), spectype, z, np.full(n, 5.0, np.float32), never
        )
        assert_array_equal(said.spectype, spectype)
        assert np.max(np.abs(said.z - z) / (1 + z)) < 0.005  # 250 km/s × 6
        assert not said.zwarn.any()
        assert not said.mistaken.any()

    def test_mistakes_come_at_their_rates(self) -> None:
        n = 40_000
        qso = np.full(n, SpecType.QSO, np.int8)
        z = np.full(n, 2.0)
        rates = RedrockMistakes()
        said = imitate_redrock(np.random.default_rng(1), qso, z, np.full(n, 5.0, np.float32), rates)
        assert abs(np.mean(said.spectype == SpecType.GALAXY) - rates.qso_as_galaxy) < 0.006
        assert abs(np.mean(said.spectype == SpecType.STAR) - rates.qso_as_star) < 0.003
        kept = said.spectype == SpecType.QSO
        wrong = kept & (np.abs(said.z - z) > 0.05)
        assert abs(np.mean(wrong) - rates.qso_wrong_line) < 0.004
        # A wrong line is a ratio of two lines of the list, never just anything.
        ratios = np.unique(np.round((1 + said.z[wrong]) / (1 + z[wrong]), 4))
        assert len(ratios) <= 10
        faint = imitate_redrock(np.random.default_rng(1), qso, z, np.zeros(n, np.float32), rates)
        assert faint.mistaken.mean() > 2 * said.mistaken.mean()

    def test_sky_fibres_are_warned_of(self) -> None:
        sky = np.full(10, SpecType.UNKNOWN, np.int8)
        said = imitate_redrock(
            np.random.default_rng(0),
            sky,
            np.full(10, np.nan),
            np.zeros(10, np.float32),
            RedrockMistakes(),
        )
        assert np.isfinite(said.z).all()
        assert np.all(said.zwarn & 1)
        assert not said.mistaken.any()


class TestTruth:
    def test_every_form_says_the_same(self, survey: SurveyReport) -> None:
        csv = read_truth(survey.out / "truth.csv")
        image = read_truth(survey.out / "truth.fits")
        inspection = read_truth(survey.out / "vi_truth.csv")
        assert survey.n_truth == len(csv) == len(image) == len(inspection) == N
        for other in (image, inspection):
            assert_array_equal(csv.target_id, other.target_id)
            assert_array_equal(csv.spectype, other.spectype)
            assert_allclose(csv.z, other.z, atol=1e-12)
            assert_array_equal(csv.quality, other.quality)
        assert_array_equal(csv.bal, image.bal)

    def test_truth_has_the_rows_of_the_coadd_and_all_hidden_properties(
        self, survey: SurveyReport, tile: Path
    ) -> None:
        table = fitsio.read(survey.out / "truth.fits", ext=1)
        assert_array_equal(
            table["TARGETID"], read_spectra(tile / f"coadd-{STEM}.fits").keys.target_id
        )
        assert {"LEVEL", "SUBTYPE", "FAULTS", "MEDIAN_SN_B", "REDROCK_WRONG"} <= set(
            table.dtype.names
        )
        sky = np.char.find(table["FAULTS"].astype(str), "SKY_FIBRE") >= 0
        truth = read_truth(survey.out / "truth.fits")
        assert 0 < sky.sum() < N
        assert_array_equal(truth.spectype == SpecType.UNKNOWN, sky)
        assert not truth.trains[sky].any()
        assert truth.trains[~sky].all()


class TestPlan:
    def test_targetids_are_desis(self) -> None:
        # desitarget: OBJID 22 bits, BRICKID 20, RELEASE 16, MOCK bit 58.
        first = int(target_ids(9, Tile(3, 2))[1])
        assert first == (1 << 58) + (9 << 42) + (3 << 22) + 1

    def test_seeds_share_no_target(self) -> None:
        one, two = (set(target_ids(seed, Tile(0, 500)).tolist()) for seed in (1, 2))
        assert not one & two

    def test_tiles_hold_500(self) -> None:
        assert [tile.n_objects for tile in plan_tiles(1001)] == [500, 500, 1]
        assert [tile.first_object for tile in plan_tiles(1001)] == [0, 500, 1000]
