"""DESI files of every layout, and what can be wrong with them."""

import gzip

import numpy as np
import pytest
from astropy.io import fits

from quasarloop.errors import DataFormatError
from quasarloop.read import find_files, iter_spectra, read_spectra
from quasarloop.read.desi import on_target
from quasarloop.spectra import Flag


def test_targetid_only_fibermap(tmp_path, spectrum_files):
    path = spectrum_files.write_coadd(
        tmp_path / "a.fits", SURVEY="sv3", PROGRAM="dark", HPXPIXEL=9144
    )
    spectra = read_spectra(path)
    assert spectra.keys.target_id.tolist() == [101, 102, 103, 104]
    assert set(spectra.keys.survey) == {"sv3"}
    assert set(spectra.keys.program) == {"dark"}
    assert set(spectra.keys.healpix) == {9144}
    assert set(spectra.keys.tile_id) == {-1}
    assert spectra.source == str(path)
    assert spectra.row.tolist() == [0, 1, 2, 3]
    assert not spectra.flags.any()


def test_pixels_are_native_and_unchanged(tmp_path, spectrum_files):
    path = spectrum_files.write_coadd(tmp_path / "a.fits")
    spectra = read_spectra(path)
    with fits.open(path) as hdus:
        for arm in spectra.arms:
            prefix = arm.name.upper()
            np.testing.assert_array_equal(arm.flux, hdus[f"{prefix}_FLUX"].data)
            np.testing.assert_array_equal(arm.ivar, hdus[f"{prefix}_IVAR"].data)
            np.testing.assert_array_equal(arm.wave_aa, hdus[f"{prefix}_WAVELENGTH"].data)
            assert arm.flux.dtype == np.dtype("=f4")
            assert arm.ivar.dtype.isnative


def test_wide_fibermap_gives_keys_and_finds_sky(tmp_path, spectrum_files):
    columns = {
        "TARGET_RA": np.array([1.0, 2, 3, 4]),
        "TARGET_DEC": np.array([-1.0, -2, -3, -4]),
        "TILEID": np.full(4, 80613, "i4"),
        "PETAL_LOC": np.full(4, 4, "i2"),
        "FIBER": np.array([2000, 2001, 2002, 2003], "i4"),
        "OBJTYPE": np.array(["TGT", "SKY", "TGT", "BAD"]),
        "COADD_FIBERSTATUS": np.array([0, 0, 8, 512], "i4"),
    }
    path = spectrum_files.write_coadd(tmp_path / "a.fits", columns=columns, NIGHT=20210324)
    spectra = read_spectra(path)
    keys = spectra.keys
    assert keys.ra_deg.tolist() == [1, 2, 3, 4]
    assert keys.dec_deg.tolist() == [-1, -2, -3, -4]
    assert set(keys.tile_id) == {80613}
    assert set(keys.petal) == {4}
    assert set(keys.night) == {20210324}
    assert keys.fiber.tolist() == [2000, 2001, 2002, 2003]
    assert keys.object_type.tolist() == ["TGT", "SKY", "TGT", "BAD"]
    assert keys.fiber_status.tolist() == [0, 0, 8, 512]
    assert (spectra.flags & Flag.NOT_TARGET > 0).tolist() == [False, True, False, True]


def test_spectra_file_with_several_exposures_of_one_target(tmp_path, spectrum_files):
    columns = {
        "TILEID": np.full(4, 80613, "i4"),
        "NIGHT": np.array([20201218, 20201218, 20201220, 20201220], "i4"),
        "EXPID": np.array([68657, 68658, 69042, 69042], "i4"),
        "FIBERSTATUS": np.zeros(4, "i4"),
    }
    path = spectrum_files.write_coadd(
        tmp_path / "spectra.fits", columns=columns, target_ids=np.array([7, 7, 7, 7])
    )
    spectra = read_spectra(path)
    assert spectra.keys.exposure_id.tolist() == [68657, 68658, 69042, 69042]
    # Only the last repeats both target and exposure.
    assert (spectra.flags & Flag.DUPLICATE_ROW > 0).tolist() == [False, False, False, True]


def test_tile_is_found_among_the_exposures(tmp_path, spectrum_files):
    hdus = spectrum_files.coadd_hdus(n_rows=3, target_ids=np.array([5, 6, 9]))
    exposures = spectrum_files.fibermap(
        np.array([6, 5, 5, 6]), TILEID=np.array([80613, 80605, 80605, 80614], "i4")
    )
    exposures.name = "EXP_FIBERMAP"
    hdus.append(exposures)
    hdus.writeto(tmp_path / "a.fits")
    # Target 6 was seen on two tiles and 9 on none: no single tile.
    assert read_spectra(tmp_path / "a.fits").keys.tile_id.tolist() == [80605, -1, -1]


def test_without_fibermap_scores_name_the_targets(tmp_path, spectrum_files):
    hdus = spectrum_files.coadd_hdus(n_rows=2)
    hdus["FIBERMAP"].name = "SCORES"
    hdus.writeto(tmp_path / "a.fits")
    assert read_spectra(tmp_path / "a.fits").keys.target_id.tolist() == [101, 102]


def test_without_any_ids_all_targets_are_unknown(tmp_path, spectrum_files, caplog):
    hdus = spectrum_files.coadd_hdus(n_rows=2)
    del hdus["FIBERMAP"]
    hdus.writeto(tmp_path / "a.fits")
    spectra = read_spectra(tmp_path / "a.fits")
    assert spectra.keys.target_id.tolist() == [-1, -1]
    assert (spectra.flags == Flag.BAD_TARGETID).all()
    assert "no FIBERMAP" in caplog.text


@pytest.mark.parametrize("arms", ["RZ", "B", "BZ"])
def test_missing_arm_reads_as_the_others(tmp_path, spectrum_files, arms):
    path = spectrum_files.write_coadd(tmp_path / "a.fits", arms=arms)
    assert [arm.name for arm in read_spectra(path).arms] == list(arms.lower())


def test_bad_target_ids_are_flagged_not_refused(tmp_path, spectrum_files):
    ids = np.array([0, -12, -12, 2**62, 2**62])
    path = spectrum_files.write_coadd(tmp_path / "a.fits", n_rows=5, target_ids=ids)
    flags = read_spectra(path).flags
    assert (flags & Flag.BAD_TARGETID > 0).tolist() == [True, True, True, False, False]
    # Sky ids repeat by nature; only the real one counts as a duplicate.
    assert (flags & Flag.DUPLICATE_ROW > 0).tolist() == [False, False, False, False, True]


def test_nan_inf_and_negative_ivar_are_cleaned_flagged_and_stay_in_their_row(
    tmp_path, spectrum_files
):
    hdus = spectrum_files.coadd_hdus(n_rows=5)
    hdus["B_FLUX"].data[1, 3] = np.nan
    hdus["R_FLUX"].data[2, 5] = np.inf
    hdus["Z_IVAR"].data[3, 7] = -1.0
    hdus["B_IVAR"].data[4, 9] = np.nan
    hdus.writeto(tmp_path / "a.fits")
    spectra = read_spectra(tmp_path / "a.fits")
    expected = [0, Flag.NAN_FLUX, Flag.NAN_FLUX, Flag.NEGATIVE_IVAR, Flag.NAN_FLUX]
    assert spectra.flags.tolist() == expected
    blue, red, infrared = spectra.arms
    assert blue.flux[1, 3] == blue.ivar[1, 3] == 0
    assert red.flux[2, 5] == red.ivar[2, 5] == 0
    assert infrared.ivar[3, 7] == 0
    assert blue.flux[4, 9] == blue.ivar[4, 9] == 0
    assert np.count_nonzero(blue.ivar == 0) == 2


def test_cframe(tmp_path, spectrum_files):
    path = spectrum_files.write_cframe(
        tmp_path / "cframe-r4-00068657.fits",
        object_types=["TGT", "SKY", "TGT"],
        NIGHT=20201218,
        EXPID=68657,
        TILEID=80613,
        SPECTRO=4,
    )
    spectra = read_spectra(path)
    assert [arm.name for arm in spectra.arms] == ["r"]
    assert set(spectra.keys.exposure_id) == {68657}
    assert set(spectra.keys.night) == {20201218}
    assert set(spectra.keys.tile_id) == {80613}
    assert set(spectra.keys.petal) == {4}
    assert (spectra.flags & Flag.NOT_TARGET > 0).tolist() == [False, True, False]


def test_cframe_of_an_unknown_camera(tmp_path, spectrum_files):
    path = spectrum_files.write_cframe(tmp_path / "a.fits")
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["CAMERA"] = "sparse"
    with pytest.raises(DataFormatError, match="CAMERA is 'sparse'; expected b, r or z"):
        read_spectra(path)


def test_without_object_types_the_number_marks_the_sky(tmp_path, spectrum_files):
    ids = np.array([39633345008634465, 616089241430393241, 0, -7])
    path = spectrum_files.write_coadd(tmp_path / "a.fits", target_ids=ids)
    flags = read_spectra(path).flags
    assert flags.tolist() == [0, Flag.NOT_TARGET, Flag.BAD_TARGETID, Flag.BAD_TARGETID]
    assert on_target(np.full(4, ""), ids).tolist() == [True, False, False, False]
    types = np.array(["SKY", "TGT", "TGT", "BAD"])
    assert on_target(types, ids).tolist() == [False, True, True, False]


@pytest.mark.parametrize("unit", ["electron/Angstrom", "count/A"])
def test_uncalibrated_frames_are_refused(tmp_path, spectrum_files, unit):
    frame = spectrum_files.write_cframe(tmp_path / "any.fits", BUNIT=unit)
    with pytest.raises(
        DataFormatError, match=rf"any\.fits.*BUNIT {unit}.*give the cframe or coadd"
    ):
        read_spectra(frame)
    with pytest.raises(DataFormatError, match=rf"BUNIT {unit}"):
        next(iter_spectra(frame))
    hdus = spectrum_files.coadd_hdus()
    hdus["R_FLUX"].header["BUNIT"] = unit
    hdus.writeto(tmp_path / "coadd.fits")
    with pytest.raises(DataFormatError, match=rf"\(R_FLUX\) has BUNIT {unit}"):
        read_spectra(tmp_path / "coadd.fits")


@pytest.mark.parametrize(
    "unit", ["10**-17 erg/(s cm2 Angstrom)", "1e-17 erg/(s cm2 Angstrom)", "1E-17 ERG/CM^2/S/ANG"]
)
def test_calibrated_frames_are_read(tmp_path, spectrum_files, unit):
    assert len(read_spectra(spectrum_files.write_cframe(tmp_path / "a.fits", BUNIT=unit))) == 3


def test_exposure_folders_give_their_cframes_alone(tmp_path, spectrum_files, caplog):
    cframe = spectrum_files.write_cframe(tmp_path / "cframe-b5-1.fits", BUNIT="1e-17 erg/(s cm2 A)")
    for name in ("frame", "sframe"):
        spectrum_files.write_cframe(tmp_path / f"{name}-b5-1.fits", BUNIT="electron/Angstrom")
    with fits.open(cframe) as hdus:
        wave = hdus["WAVELENGTH"].copy()
        stars = fits.PrimaryHDU(hdus["FLUX"].data)
        stars.name = "FLUX"
        fits.HDUList([stars, wave]).writeto(tmp_path / "stdstars-5-1.fits")
        sky = fits.PrimaryHDU(hdus["FLUX"].data)
        sky.name = "SKY"
        fits.HDUList([sky, hdus["IVAR"].copy(), wave]).writeto(tmp_path / "sky-b5-1.fits")
    assert find_files([tmp_path]) == [cframe]
    assert "2 files left out" in caplog.text
    assert "electron/Angstrom" in caplog.text
    cframe.unlink()
    with pytest.raises(DataFormatError, match=r"no spectra in this folder.*electron/Angstrom"):
        find_files([tmp_path])


def test_rows_and_blocks_equal_the_whole(tmp_path, spectrum_files):
    ids = np.array([1, 2, 3, 1, 5])
    path = spectrum_files.write_coadd(tmp_path / "a.fits", n_rows=5, target_ids=ids)
    whole = read_spectra(path)
    some = read_spectra(path, slice(2, 4))
    assert some.row.tolist() == [2, 3]
    assert some.flags.tolist() == [0, Flag.DUPLICATE_ROW]  # of row 0, outside the slice
    np.testing.assert_array_equal(some.arms[1].flux, whole.arms[1].flux[2:4])
    np.testing.assert_array_equal(some.arms[1].mask, whole.arms[1].mask[2:4])
    blocks = list(iter_spectra(path, block_rows=2))
    assert [len(block) for block in blocks] == [2, 2, 1]
    assert np.concatenate([block.flags for block in blocks]).tolist() == whole.flags.tolist()
    joined = np.concatenate([block.arms[0].flux for block in blocks])
    np.testing.assert_array_equal(joined, whole.arms[0].flux)
    assert len(read_spectra(path, slice(3, 3))) == 0


def test_gzipped(tmp_path, spectrum_files):
    path = spectrum_files.write_coadd(tmp_path / "a.fits")
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
    zipped = read_spectra(tmp_path / "a.fits.gz")
    np.testing.assert_array_equal(zipped.arms[2].flux, read_spectra(path).arms[2].flux)


@pytest.mark.parametrize("missing", ["B_IVAR", "R_WAVELENGTH"])
def test_missing_hdu_is_named(tmp_path, spectrum_files, missing):
    hdus = spectrum_files.coadd_hdus()
    del hdus[missing]
    hdus.writeto(tmp_path / "bad.fits")
    with pytest.raises(DataFormatError, match=rf"bad\.fits: no HDU named {missing}; found"):
        read_spectra(tmp_path / "bad.fits")


def test_mask_may_be_missing(tmp_path, spectrum_files):
    hdus = spectrum_files.coadd_hdus()
    del hdus["B_MASK"]
    hdus.writeto(tmp_path / "a.fits")
    assert read_spectra(tmp_path / "a.fits").arms[0].mask is None


@pytest.mark.parametrize("kind", ["f8", "U8"])
def test_target_ids_of_the_wrong_type(tmp_path, spectrum_files, kind):
    ids = np.array([1, 2, 3, 4]).astype(kind)
    path = spectrum_files.write_coadd(tmp_path / "bad.fits", target_ids=ids)
    with pytest.raises(DataFormatError, match=r"bad\.fits.*column TARGETID is of type"):
        read_spectra(path)


def test_fibermap_without_target_ids(tmp_path, spectrum_files):
    hdus = spectrum_files.coadd_hdus()
    hdus["FIBERMAP"].columns["TARGETID"].name = "WHO"
    hdus.writeto(tmp_path / "bad.fits")
    with pytest.raises(DataFormatError, match="no column TARGETID; found WHO"):
        read_spectra(tmp_path / "bad.fits")


def test_key_column_of_the_wrong_type(tmp_path, spectrum_files):
    columns = {"TILEID": np.array(["a", "b", "c", "d"])}
    path = spectrum_files.write_coadd(tmp_path / "bad.fits", columns=columns)
    with pytest.raises(DataFormatError, match="a column of the FIBERMAP has the wrong type"):
        read_spectra(path)


def test_rows_must_match(tmp_path, spectrum_files):
    path = spectrum_files.write_coadd(tmp_path / "bad.fits", target_ids=np.array([1, 2, 3]))
    with pytest.raises(DataFormatError, match="FIBERMAP has 3 rows but the flux 4"):
        read_spectra(path)
    hdus = spectrum_files.coadd_hdus()
    hdus["R_IVAR"].data = hdus["R_IVAR"].data[:, :-1]
    hdus.writeto(tmp_path / "worse.fits")
    with pytest.raises(DataFormatError, match=r"arm r: ivar has shape \(4, 232\)"):
        read_spectra(tmp_path / "worse.fits")


def test_no_rows(tmp_path, spectrum_files):
    path = spectrum_files.write_coadd(tmp_path / "bad.fits", n_rows=0, target_ids=np.empty(0, int))
    with pytest.raises(DataFormatError, match=r"bad\.fits: no rows"):
        read_spectra(path)


@pytest.mark.parametrize("fault", ["decreasing", "nan", "two-dimensional"])
def test_wavelengths_that_cannot_be(tmp_path, spectrum_files, fault):
    hdus = spectrum_files.coadd_hdus()
    wave = hdus["B_WAVELENGTH"].data.astype("f8")
    if fault == "decreasing":
        wave = wave[::-1].copy()
    elif fault == "nan":
        wave[4] = np.nan
    else:
        wave = np.stack([wave, wave])
    hdus["B_WAVELENGTH"].data = wave
    hdus.writeto(tmp_path / "bad.fits")
    with pytest.raises(DataFormatError, match=r"HDU 2 \(B_WAVELENGTH\): expected finite"):
        read_spectra(tmp_path / "bad.fits")
