"""WEAVE: L1 files of one arm, L2 files of both."""

import numpy as np
import pytest
from astropy.io import fits

from quasarloop.constants import vacuum_wavelengths
from quasarloop.errors import DataFormatError
from quasarloop.grid import LOG_GRID
from quasarloop.quality import prepare
from quasarloop.read import named_id, read_spectra
from quasarloop.spectra import Flag


def test_an_l1_file_is_counts_times_sensitivity(tmp_path, survey_files):
    path = survey_files.write_weave(tmp_path / "stack_1234567.fit")
    spectra = read_spectra(path)
    keys = spectra.keys
    assert keys.target_id.tolist() == [named_id(name) for name in survey_files.CNAMES]
    assert set(keys.survey) == {"weave"}
    assert (keys.tile_id[0], keys.exposure_id[0], keys.night[0]) == (987654, 1234567, 60234)
    assert keys.fiber.tolist() == [101, 102, 103]
    assert spectra.flags.tolist() == [0, Flag.NOT_TARGET, 0]
    (arm,) = spectra.arms
    assert arm.name == "b"
    with fits.open(path) as hdus:
        counts, sens = hdus["BLUE_DATA"].data, hdus["BLUE_SENSFUNC"].data.astype("f8") * 1e17
        np.testing.assert_allclose(arm.flux, counts * sens, rtol=1e-6)
        np.testing.assert_allclose(arm.ivar, hdus["BLUE_IVAR"].data / sens**2, rtol=1e-6)
    air = 3660.0 + 5.0 * np.arange(arm.flux.shape[1])
    np.testing.assert_allclose(arm.wave_aa, vacuum_wavelengths(air), rtol=1e-12)
    some = read_spectra(path, slice(2, 3))
    np.testing.assert_array_equal(some.arms[0].flux[0], arm.flux[2])
    missing = Flag.ARM_R_MASKED | Flag.ARM_Z_MASKED
    assert (prepare(spectra, LOG_GRID).flags[0] & missing) == missing


def test_vacuum_where_the_header_has_it(tmp_path, survey_files):
    path = survey_files.write_weave(tmp_path / "a.fit", "RED", cards={"CTYPE1": "WAVE"})
    (arm,) = read_spectra(path).arms
    assert arm.wave_aa[0] == 5790.0
    masked = prepare(read_spectra(path), LOG_GRID).flags[0]
    assert masked & Flag.ARM_B_MASKED
    assert not masked & (Flag.ARM_R_MASKED | Flag.ARM_Z_MASKED)


def test_fibres_without_a_spectrum_and_in_another_order(tmp_path, survey_files):
    columns = {name: np.append(v, v[:1]) for name, v in survey_files.fibtable(3).items()}
    columns["NSPEC"] = np.array([3, -1, 1, 2])
    path = survey_files.write_weave(tmp_path / "a.fit", **columns)
    names = [columns["CNAME"][place] for place in (2, 3, 0)]
    assert read_spectra(path).keys.target_id.tolist() == [named_id(name) for name in names]
    short = survey_files.write_weave(tmp_path / "b.fit", NSPEC=np.array([1, 2, -1]))
    with pytest.raises(DataFormatError, match="1 of 3 spectra are in no row of FIBTABLE"):
        read_spectra(short)


def test_one_target_alone_and_a_cube(tmp_path, survey_files):
    path = survey_files.write_weave(tmp_path / "a.fit", n_rows=1)
    whole = read_spectra(path)
    with fits.open(path) as hdus:
        for hdu in hdus[1:6]:
            hdu.data = hdu.data[0]
        hdus.writeto(tmp_path / "WVE.fit")
        alone = read_spectra(tmp_path / "WVE.fit")
        np.testing.assert_array_equal(alone.arms[0].flux, whole.arms[0].flux)
        np.testing.assert_array_equal(alone.arms[0].ivar, whole.arms[0].ivar)
        hdus["BLUE_DATA"].data = np.zeros((4, 3, 2), "f4")
        hdus.writeto(tmp_path / "cube.fit")
    with pytest.raises(DataFormatError, match="a WEAVE data cube; give a single"):
        read_spectra(tmp_path / "cube.fit")


def test_an_l2_file_has_both_arms(tmp_path, survey_files):
    path = survey_files.write_weave_l2(tmp_path / "stack_2__stack_1_APS.fits")
    spectra = read_spectra(path)
    assert spectra.keys.target_id.tolist() == [named_id(name) for name in survey_files.CNAMES]
    assert [arm.name for arm in spectra.arms] == ["b", "rz"]
    table = fits.getdata(path, 2)
    for arm, letter in zip(spectra.arms, "BR", strict=True):
        np.testing.assert_allclose(arm.flux, table[f"FLUX_RR_{letter}"] * 1e17, rtol=1e-6)
        np.testing.assert_allclose(arm.ivar, table[f"IVAR_RR_{letter}"] * 1e-34, rtol=1e-6)
        air = table[f"LAMBDA_RR_{letter}"][0]
        np.testing.assert_allclose(arm.wave_aa, vacuum_wavelengths(air), rtol=1e-12)
    rebinned = prepare(spectra, LOG_GRID)
    assert rebinned.flags.tolist() == [0, 0, 0]
    assert np.isfinite(rebinned.sn).all()
    some = read_spectra(path, slice(1, 2))
    np.testing.assert_array_equal(some.arms[1].flux[0], spectra.arms[1].flux[1])


def test_l2_rows_on_different_wavelengths(tmp_path, survey_files):
    wave = np.tile(np.arange(3660.0, 6060.0, 5.0), (3, 1))
    wave[2] += 1.0
    path = survey_files.write_weave_l2(tmp_path / "a.fits", LAMBDA_RR_B=wave)
    with pytest.raises(DataFormatError, match="rows of LAMBDA_RR_B differ"):
        read_spectra(path)
    path = survey_files.write_weave_l2(tmp_path / "b.fits", IVAR_RR_R=None)
    with pytest.raises(DataFormatError, match="no column IVAR_RR_R"):
        read_spectra(path)
