"""LAMOST's table form: vacuum or air, masks, the medium resolution refused."""

import numpy as np
import pytest
from astropy.io import fits

from quasarloop.constants import vacuum_wavelengths
from quasarloop.errors import DataFormatError
from quasarloop.read import named_id, read_spectra
from quasarloop.spectra import Flag


def test_the_table_of_later_releases(tmp_path, survey_files):
    path = survey_files.write_lamost_table(tmp_path / "a.fits")
    spectra = read_spectra(path)
    keys, (arm,) = spectra.keys, spectra.arms
    assert keys.target_id.tolist() == [203106]
    assert keys.object_id.tolist() == [named_id("LAMOST J025423.13-002138.7")]
    assert (keys.night[0], keys.petal[0], keys.fiber[0]) == (55859, 3, 106)
    row = fits.getdata(path, 1)[0]
    np.testing.assert_array_equal(arm.flux[0], row["FLUX"])
    np.testing.assert_array_equal(arm.ivar[0], row["IVAR"])
    np.testing.assert_array_equal(arm.wave_aa, row["WAVELENGTH"].astype("f8"))
    assert arm.mask.dtype == np.int32
    assert read_spectra(path, masks=False).arms[0].mask is None


def test_air_is_what_the_header_makes_it(tmp_path, survey_files, spectrum_files):
    table = survey_files.write_lamost_table(tmp_path / "a.fits", vacuum=False)
    wave = fits.getdata(table, 1)["WAVELENGTH"][0]
    arm = read_spectra(table).arms[0]
    np.testing.assert_allclose(arm.wave_aa, vacuum_wavelengths(wave), rtol=1e-12)
    image = spectrum_files.write_lamost(tmp_path / "b.fits", VACUUM=False)
    expected = vacuum_wavelengths(10 ** (3.5682 + 1e-3 * np.arange(400)))
    np.testing.assert_allclose(read_spectra(image).arms[0].wave_aa, expected, rtol=1e-12)


def test_sky_and_medium_resolution(tmp_path, survey_files):
    sky = survey_files.write_lamost_table(tmp_path / "a.fits", FIBERTYP="Sky")
    assert read_spectra(sky).flags.tolist() == [Flag.NOT_TARGET]
    with fits.open(sky) as hdus:
        hdus[1].name = "COADD_B"
        hdus.writeto(tmp_path / "b.fits")
    with pytest.raises(DataFormatError, match="LAMOST at medium resolution"):
        read_spectra(tmp_path / "b.fits")


def test_the_field_case(shared_data):
    path = shared_data / "field_cases" / "10-lamost-dr10-table" / "lamost-dr10-spec.fits"
    spectra = read_spectra(path)
    assert spectra.keys.target_id.tolist() == [203106]
    np.testing.assert_array_equal(spectra.arms[0].flux, fits.getdata(path, 1)["FLUX"])
