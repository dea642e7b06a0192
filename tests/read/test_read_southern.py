"""GAMA, OzDES, 2QZ, 2SLAQ and 6dFGS: linear axes in air, variances and standard deviations."""

import numpy as np
import pytest
from astropy.io import fits

from quasarloop.constants import vacuum_wavelengths
from quasarloop.errors import DataFormatError
from quasarloop.read import named_id, read_spectra


def check(arm, survey_files, flux, ivar):
    expected = vacuum_wavelengths(survey_files.TWODF_AIR)
    np.testing.assert_allclose(arm.wave_aa, expected, rtol=1e-12)
    np.testing.assert_array_equal(arm.flux[0], flux)
    np.testing.assert_allclose(arm.ivar[0], ivar, rtol=1e-6)


def test_gama(tmp_path, survey_files):
    path = survey_files.write_gama(tmp_path / "G12_Y2_009_044.fit")
    spectra = read_spectra(path)
    image = fits.getdata(path)
    check(spectra.arms[0], survey_files, image[0], image[1] ** -2.0)
    keys = spectra.keys
    assert keys.target_id.tolist() == [named_id("G12_Y2_009_044")]
    assert keys.object_id.tolist() == [170257]
    assert (keys.survey[0], keys.ra_deg[0], keys.dec_deg[0]) == ("gama", 180.1, -0.5)
    vacuum = read_spectra(survey_files.write_gama(tmp_path / "b.fit", CTYPE1="WAVE"))
    np.testing.assert_allclose(vacuum.arms[0].wave_aa, survey_files.TWODF_AIR, rtol=1e-12)


@pytest.mark.parametrize(
    ("survey", "name"),
    [("2QZ", "2qz"), ("2SLAQ-QSO", "2slaq"), ("WiggleZ", "wigglez"), ("OzDES", "ozdes")],
)
def test_spectra_with_variances(tmp_path, survey_files, survey, name):
    path = survey_files.write_twodf(tmp_path / "a.fits", survey)
    spectra = read_spectra(path)
    with fits.open(path) as hdus:
        check(spectra.arms[0], survey_files, hdus[0].data, 1 / hdus["VARIANCE"].data)
    assert spectra.keys.survey.tolist() == [name]
    source = "VOC2063" if name == "ozdes" else "J113606.3+001155"
    assert spectra.keys.target_id.tolist() == [named_id(source)]


def test_rows_with_variances(tmp_path, survey_files):
    path = survey_files.write_gama(tmp_path / "a.fit", ORIGIN="x", SURVEY="2dFGRS", ROW2="VARIANCE")
    spectra = read_spectra(path)
    check(spectra.arms[0], survey_files, fits.getdata(path)[0], 1 / fits.getdata(path)[1])
    assert spectra.keys.survey.tolist() == ["2dfgrs"]


def test_pixels_without_an_uncertainty_have_ivar_0(tmp_path, survey_files):
    path = survey_files.write_gama(tmp_path / "a.fit")
    with fits.open(path, mode="update") as hdus:
        hdus[0].data[1, :4] = [0.0, -1.0, np.nan, np.inf]
    assert read_spectra(path).arms[0].ivar[0, :5].astype(bool).tolist() == [*[False] * 4, True]


def test_a_6dfgs_target_has_a_row_for_each_observation(tmp_path, survey_files):
    path = survey_files.write_sixdf(tmp_path / "a.fits", n_observations=2)
    spectra = read_spectra(path)
    assert spectra.keys.target_id.tolist() == [named_id("g2359555-392832")] * 2
    assert spectra.keys.exposure_id.tolist() == [0, 1]
    assert spectra.flags.tolist() == [0, 0]
    assert (spectra.keys.survey[0], spectra.keys.ra_deg[0]) == ("6dfgs", 33.7)
    image = fits.getdata(path, 7)
    check(spectra.arms[0], survey_files, image[0], 1 / image[1])
    np.testing.assert_array_equal(
        read_spectra(path, slice(1, 2)).arms[0].flux[0], fits.getdata(path, 10)[0]
    )
    apart = survey_files.write_sixdf(tmp_path / "b.fits", n_observations=2, shift_aa=20.0)
    with pytest.raises(DataFormatError, match="its 2 observations are on different wavelengths"):
        read_spectra(apart)


def test_a_6dfgs_image_alone_and_its_table(tmp_path, survey_files):
    with fits.open(survey_files.write_sixdf(tmp_path / "a.fits")) as hdus:
        fits.PrimaryHDU(hdus[5].data, hdus[5].header).writeto(tmp_path / "v.fits")
        header = fits.Header(dict.fromkeys(("OBSRA", "OBSDEC", "Z_HELIO", "QUALITY"), 1))
    assert len(read_spectra(tmp_path / "v.fits")) == 1
    table = survey_files.table_hdu({"WAVE": np.arange(9.0), "FLUX": np.ones(9)})
    fits.HDUList([fits.PrimaryHDU(header=header), table]).writeto(tmp_path / "t.fits")
    with pytest.raises(DataFormatError, match="a 6dFGS table, which has no uncertainties; give"):
        read_spectra(tmp_path / "t.fits")
