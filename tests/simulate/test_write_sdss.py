"""SDSS files: one per spectrum, opened by every FITS reader, columns as in real ones."""

from pathlib import Path

import fitsio
import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from quasarloop.read import find_files, read_spectra, read_truth
from quasarloop.simulate.faults import FaultRates
from quasarloop.simulate.footprint import Tile
from quasarloop.simulate.instrument import sdss_instrument
from quasarloop.simulate.noise import NoisyArm
from quasarloop.simulate.observing import LightSource, ObservingOptions
from quasarloop.simulate.survey import SurveyOptions, SurveyReport, simulate_survey
from quasarloop.simulate.write_sdss import block, card, combine_arms, header, plate_of, table_header
from quasarloop.spectra import Flag

N = 12


@pytest.fixture
def survey(tmp_path: Path, known_light: LightSource) -> SurveyReport:
    """12 objects observed twice, some of them sky fibres."""
    plan = SurveyOptions(
        tmp_path,
        seed=3,
        source=known_light,
        observing=ObservingOptions(exposures=2, faults=FaultRates(sky_fibre=0.3)),
        survey_format="sdss",
    )
    return simulate_survey(plan, N)


class TestBytes:
    def test_cards_are_80_characters(self) -> None:
        for value in (True, 7, 1.5, "text"):
            assert len(card("NAME", value)) == 80

    def test_headers_and_data_fill_blocks(self) -> None:
        assert len(header([card("A", 1)])) == 2880
        assert len(block(b"x" * 2881)) == 5760

    def test_astropy_reads_what_was_written(self, tmp_path: Path) -> None:
        kind = np.dtype([("A", ">i4"), ("B", ">f8"), ("C", "S3"), ("D", ">f4", (2,))])
        rows = np.zeros(2, dtype=kind)
        rows["A"], rows["B"], rows["C"], rows["D"] = [1, 2], [0.5, -3e9], [b"ab", b"xyz"], 4.0
        primary = header([card("SIMPLE", True), card("BITPIX", 8), card("NAXIS", 0)])
        path = tmp_path / "table.fits"
        path.write_bytes(primary + table_header(kind, 2, "TEST") + block(rows))
        with fits.open(path) as hdus:
            hdus.verify("exception")
            found = hdus["TEST"].data
            assert found["A"].tolist() == [1, 2]
            assert found["B"].tolist() == [0.5, -3e9]
            assert found["C"].tolist() == ["ab", "xyz"]
            assert found["D"].tolist() == [[4, 4], [4, 4]]


class TestSpec:
    def test_columns_are_those_of_a_real_file(
        self, survey: SurveyReport, shared_data: Path
    ) -> None:
        real = sorted((shared_data / "boss_plate7102").glob("spec-*.fits"))[0]
        ours = find_files([survey.out / "spectra" / "lite"])[0]
        with fitsio.FITS(real) as theirs, fitsio.FITS(ours) as mine:
            assert mine[1].get_rec_dtype()[0] == theirs[1].get_rec_dtype()[0]
            shared = set(theirs[2].get_colnames()) & set(mine[2].get_colnames())
            assert {"PLATE", "MJD", "FIBERID", "CLASS", "Z", "ZWARNING", "THING_ID"} <= shared
            for column in shared - {"PROGRAMNAME", "CHUNK", "RUN2D", "RUN1D", "SUBCLASS"}:
                kinds = (mine[2].get_rec_dtype()[0][column], theirs[2].get_rec_dtype()[0][column])
                assert kinds[0].base.kind == kinds[1].base.kind, column
                assert kinds[0].shape == kinds[1].shape, column
            assert mine[3].get_extname() == "SPZLINE"

    def test_every_file_opens_and_passes_the_standard(self, survey: SurveyReport) -> None:
        files = find_files([survey.out / "spectra"])
        assert len(files) == 3 * N  # the coadd and two exposures
        for path in files:
            with fits.open(path) as hdus:
                hdus.verify("exception")
            assert len(read_spectra(path)) == 1

    def test_rows_match_the_truth(self, survey: SurveyReport) -> None:
        truth = read_truth(survey.out / "truth.csv")
        assert len(truth) == 3 * N
        known = dict(zip(truth.target_id.tolist(), truth.object_id.tolist(), strict=True))
        sky = dict(zip(truth.target_id.tolist(), (truth.spectype < 0).tolist(), strict=True))
        for path in find_files([survey.out / "spectra"]):
            one = read_spectra(path)
            target = int(one.keys.target_id[0])
            assert known[target] == one.keys.object_id[0]
            assert sky[target] == bool(one.flags[0] & Flag.NOT_TARGET)
        assert len(set(known.values())) == N

    def test_flux_is_what_was_put_in(self, survey: SurveyReport) -> None:
        truth = fitsio.read(survey.out / "truth.fits", ext=1)
        level = dict(zip(truth["TARGETID"].tolist(), truth["LEVEL"].tolist(), strict=True))
        for path in find_files([survey.out / "spectra" / "lite"]):
            one = read_spectra(path)
            arm = one.arms[0]
            if one.keys.object_type[0] == "SKY":
                continue
            flux = np.median(arm.flux[0, (arm.wave_aa > 7000) & (arm.wave_aa < 9000)])
            assert_allclose(flux, level[int(one.keys.target_id[0])], rtol=0.1)

    def test_masks_look_like_sdss(self, survey: SurveyReport) -> None:
        table = fitsio.read(find_files([survey.out / "spectra" / "lite"])[0], ext=1)
        share = np.mean(table["and_mask"] != 0)
        assert 0.02 < share < 0.15  # real files: about 7 %
        assert np.mean(table["ivar"] > 0) > 0.98  # and most of them are good data
        assert 0.7 < table["wdisp"].min() <= table["wdisp"].max() < 1.5


class TestArms:
    def test_overlap_is_averaged_by_ivar(self) -> None:
        instrument = sdss_instrument()
        blue, red = instrument.arms
        arms = {}
        for arm, flux, ivar in ((blue, 1.0, 1.0), (red, 5.0, 3.0)):
            shape = (1, len(arm.wave_aa))
            arms[arm.name] = NoisyArm(
                np.full(shape, flux, np.float32),
                np.full(shape, ivar, np.float32),
                np.zeros(shape, np.int32),
            )
        whole = combine_arms(instrument, arms)
        overlap = slice(red.start, blue.pixels.stop)
        assert_allclose(whole.flux[0, overlap], (1 * 1 + 5 * 3) / 4)
        assert_allclose(whole.ivar[0, overlap], 4)
        assert_allclose(whole.flux[0, : red.start], 1)
        assert_allclose(whole.flux[0, blue.pixels.stop :], 5)

    def test_noise_level_is_that_of_real_faint_spectra(
        self, tmp_path: Path, known_light: LightSource, shared_data: Path
    ) -> None:
        plan = SurveyOptions(tmp_path, seed=1, source=known_light, survey_format="sdss")
        simulate_survey(plan, 10)
        ours = np.median(
            [
                np.median(1 / np.sqrt(np.maximum(read_spectra(path).arms[0].ivar, 1e-9)))
                for path in find_files([tmp_path / "spectra"])
            ]
        )
        real = []
        for path in sorted((shared_data / "boss_plate7102").glob("spec-*.fits")):
            arm = read_spectra(path).arms[0]
            if np.median(arm.flux * np.sqrt(arm.ivar)) < 3:
                real.append(np.median(1 / np.sqrt(np.maximum(arm.ivar, 1e-9))))
        assert 0.8 < ours / np.median(real) < 1.5  # ours are a little brighter


def test_plates_of_two_seeds_share_no_target() -> None:
    one, two = plate_of(1, Tile(0, 500)), plate_of(2, Tile(0, 500))
    assert not set(one.target_id.tolist()) & set(two.target_id.tolist())
    assert not set(one.thing_id.tolist()) & set(two.thing_id.tolist())
    assert_array_equal(one.on_day(3).thing_id, one.thing_id)
    assert one.on_day(3).mjd == one.mjd + 3
