"""SDSS-V: spec files of robots and plates, spField and spFullsky."""

import numpy as np
import pytest
from astropy.io import fits

from quasarloop.errors import DataFormatError
from quasarloop.read import read_spectra, sdss_target_id
from quasarloop.spectra import Flag


def test_a_spectrum_of_the_robots_is_named_by_its_catalogue(tmp_path, survey_files):
    path = survey_files.write_sdssv(tmp_path / "spec-112360-60000-27021598149616104.fits")
    spectra = read_spectra(path)
    keys = spectra.keys
    assert keys.target_id.tolist() == [survey_files.CATALOG_ID]
    assert keys.object_id.tolist() == [54459273]
    assert (keys.tile_id[0], keys.night[0], keys.fiber[0]) == (112360, 60000, 12)
    assert (keys.healpix[0], keys.survey[0], keys.program[0]) == (88000, "sdss-v", "bhm_spiders")
    assert (keys.ra_deg[0], keys.dec_deg[0]) == (150.1, 2.2)
    assert spectra.flags.tolist() == [0]
    (arm,) = spectra.arms
    table = fits.getdata(path, 1)
    np.testing.assert_array_equal(arm.flux[0], table["FLUX"])
    np.testing.assert_array_equal(arm.ivar[0], table["IVAR"])
    np.testing.assert_allclose(arm.wave_aa, 10.0 ** table["LOGLAM"].astype("f8"), rtol=1e-12)


def test_plates_of_the_first_years_and_spectra_without_a_catalogue(tmp_path, survey_files):
    plate = survey_files.write_sdssv(tmp_path / "a.fits", PLATE=np.array([15143]), SDSS_ID=None)
    keys = read_spectra(plate).keys
    assert keys.object_id.tolist() == keys.target_id.tolist() == [survey_files.CATALOG_ID]
    old = survey_files.write_sdssv(tmp_path / "b.fits", CATALOGID=np.array([-999]), SDSS_ID=None)
    keys = read_spectra(old).keys
    assert keys.target_id.tolist() == [int(sdss_target_id(112360, 60000, 1))]
    nameless = {"CATALOGID": np.array([-999]), "TARGET_INDEX": None, "SDSS_ID": None}
    spectra = read_spectra(survey_files.write_sdssv(tmp_path / "c.fits", **nameless))
    assert spectra.flags.tolist() == [Flag.BAD_TARGETID]


def test_a_coadd_of_several_fibres_has_no_fibre_and_sky_is_no_target(tmp_path, survey_files):
    fibers, kind = np.array(["12 13"]), np.array(["SKY"])
    path = survey_files.write_sdssv(tmp_path / "a.fits", FIBERID_LIST=fibers, OBJTYPE=kind)
    spectra = read_spectra(path)
    assert spectra.keys.fiber.tolist() == [-1]
    assert spectra.flags.tolist() == [Flag.NOT_TARGET]


def test_field_files_take_field_and_night_from_the_header(tmp_path, survey_files):
    path = survey_files.write_field(tmp_path / "spField-112360-60000.fits")
    spectra = read_spectra(path)
    assert spectra.keys.target_id.tolist() == [survey_files.CATALOG_ID + i for i in range(3)]
    assert set(spectra.keys.tile_id) == {112360}
    assert set(spectra.keys.night) == {60000}
    np.testing.assert_allclose(spectra.keys.ra_deg, [150, 150.5, 151])
    np.testing.assert_allclose(np.log10(spectra.arms[0].wave_aa[:2]), [3.55, 3.551])
    some = read_spectra(path, slice(1, 2))
    np.testing.assert_array_equal(some.arms[0].flux[0], fits.getdata(path)[1])
    assert some.keys.target_id.tolist() == [survey_files.CATALOG_ID + 1]


def test_allepoch_coadds_have_no_field(tmp_path, survey_files):
    mean_mjd = np.array([59000.9, 60001.2, 60002.5])
    path = survey_files.write_field(tmp_path / "spFullsky.fits", cards={}, MJD_FINAL=mean_mjd)
    keys = read_spectra(path).keys
    assert set(keys.tile_id) == {-1}
    assert keys.night.tolist() == [59000, 60001, 60002]


def test_field_files_whose_plug_map_does_not_fit(tmp_path, survey_files):
    path = survey_files.write_field(tmp_path / "a.fits")
    with fits.open(path) as hdus:
        hdus[5].data = hdus[5].data[:2]
        hdus.writeto(tmp_path / "bad.fits")
    with pytest.raises(DataFormatError, match=r"PLUGMAP\) has 2 rows for 3 spectra"):
        read_spectra(tmp_path / "bad.fits")


def test_the_field_case_of_the_robot_era(shared_data):
    folder = shared_data / "field_cases" / "01-sdssv-fps-spec"
    keys = read_spectra(next(folder.glob("*.fits"))).keys
    assert (keys.target_id[0], keys.object_id[0]) == (27021598149616104, 54459273)
