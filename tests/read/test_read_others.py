"""LAMOST images, QuasarNET's own files, DESI andes tables; finding the format."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from quasarloop.errors import DataFormatError
from quasarloop.grid import LINEAR_GRID, LOG_GRID, rebin
from quasarloop.read import FORMATS, find_files, named_id, read_spectra, sdss_target_id
from quasarloop.read.fits_reader import open_fits
from quasarloop.spectra import Flag


def test_lamost_takes_wavelengths_from_the_header(tmp_path, spectrum_files):
    path = spectrum_files.write_lamost(tmp_path / "a.fits")
    spectra = read_spectra(path)
    (arm,) = spectra.arms
    np.testing.assert_allclose(arm.wave_aa, 10 ** (3.5682 + 1e-3 * np.arange(400)), rtol=1e-12)
    image = fits.getdata(path)
    np.testing.assert_array_equal(arm.flux[0], image[0])
    np.testing.assert_array_equal(arm.ivar[0], image[1])
    assert spectra.keys.target_id[0] == named_id("55862-B6212_sp06-005")
    assert spectra.keys.survey[0] == "lamost"
    assert (spectra.keys.petal[0], spectra.keys.fiber[0]) == (6, 5)
    assert spectra.keys.ra_deg[0] == 99.5
    assert spectra.flags.tolist() == [0]


def test_lamost_repeats_share_the_object(tmp_path, spectrum_files):
    first = read_spectra(spectrum_files.write_lamost(tmp_path / "a.fits")).keys
    again = read_spectra(spectrum_files.write_lamost(tmp_path / "b.fits", LMJD=55900)).keys
    assert first.target_id[0] != again.target_id[0]
    assert first.object_id[0] == again.object_id[0]


def test_lamost_other_headers(tmp_path, spectrum_files):
    later = spectrum_files.write_lamost(
        tmp_path / "a.fits", OBSID=101005, COEFF0=None, COEFF1=None, CRVAL1=3.57, CD1_1=1e-3
    )
    spectra = read_spectra(later)
    assert spectra.keys.target_id.tolist() == [101005]
    assert np.log10(spectra.arms[0].wave_aa[0]) == pytest.approx(3.57)
    sky = read_spectra(spectrum_files.write_lamost(tmp_path / "b.fits", FIBERTYP="Sky"))
    assert sky.flags.tolist() == [Flag.NOT_TARGET]
    nowhere = spectrum_files.write_lamost(tmp_path / "c.fits", COEFF0=None, COEFF1=None)
    with pytest.raises(DataFormatError, match="no COEFF0 and COEFF1"):
        read_spectra(nowhere)
    nobody = spectrum_files.write_lamost(tmp_path / "d.fits", PLANID=None)
    with pytest.raises(DataFormatError, match="cannot be identified"):
        read_spectra(nobody)


def test_lamost_image_of_another_shape(tmp_path, spectrum_files):
    path = spectrum_files.write_lamost(tmp_path / "a.fits")
    with fits.open(path) as hdus:
        hdus[0].data = hdus[0].data[:3]
        hdus.writeto(tmp_path / "bad.fits")
    with pytest.raises(DataFormatError, match="image has 3 rows; a LAMOST file has 5"):
        read_spectra(tmp_path / "bad.fits")


@pytest.mark.parametrize("grid", [LOG_GRID, LINEAR_GRID])
def test_quasarnet_bins_fall_back_into_the_same_bins(tmp_path, spectrum_files, grid):
    path = spectrum_files.write_quasarnet(tmp_path / "a.fits", n_bins=grid.n_bins)
    spectra = read_spectra(path)
    (arm,) = spectra.arms
    again = rebin([(arm.wave_aa, arm.flux, arm.ivar)], grid)
    image = fits.getdata(path, 0)
    np.testing.assert_allclose(again.flux, image[:, : grid.n_bins], rtol=1e-6)
    np.testing.assert_allclose(again.ivar, image[:, grid.n_bins :], rtol=1e-6)
    assert spectra.keys.target_id.tolist() == [500, 501, 502]


def test_quasarnet_with_plates(tmp_path, spectrum_files):
    columns = {"PLATE": np.full(3, 7102), "MJD": np.full(3, 56666), "FIBERID": np.arange(3)}
    path = spectrum_files.write_quasarnet(tmp_path / "a.fits", columns=columns)
    keys = read_spectra(path).keys
    assert keys.target_id.tolist() == sdss_target_id(7102, 56666, [0, 1, 2]).tolist()
    assert keys.object_id.tolist() == [500, 501, 502]


def test_quasarnet_ids_that_are_no_integers(tmp_path, spectrum_files):
    columns = {"TARGETID": np.array([1.5, 2.0, 3.0])}
    path = spectrum_files.write_quasarnet(tmp_path / "bad.fits", columns=columns)
    with pytest.raises(DataFormatError, match="column TARGETID is of type float64"):
        read_spectra(path)
    short = spectrum_files.write_quasarnet(
        tmp_path / "short.fits", columns={"TARGETID": np.array([1, 2])}
    )
    with pytest.raises(DataFormatError, match="2 rows of metadata for 3 spectra"):
        read_spectra(short)


def test_andes_tables_have_their_noise_estimated_where_there_is_flux(tmp_path, spectrum_files):
    path = spectrum_files.write_andes(tmp_path / "a.fits", target_ids=(11, 35191325330507548))
    with fits.open(path, mode="update") as hdus:
        hdus[1].data["TARGET11"][5] = 0.0
        hdus[1].data["TARGET11"][6] = np.nan
    spectra = read_spectra(path)
    assert spectra.keys.target_id.tolist() == [11, 35191325330507548]
    (arm,) = spectra.arms
    assert (arm.ivar[0, 4:8] > 0).tolist() == [True, False, False, True]
    noise = np.diff(arm.flux[1]).std() / np.sqrt(2)
    assert np.unique(arm.ivar[1]).tolist() == pytest.approx([1 / noise**2], rel=0.3)
    estimated = Flag.ESTIMATED_IVAR
    assert spectra.flags.tolist() == [Flag.NAN_FLUX | estimated, estimated]
    assert read_spectra(path, slice(1, 2)).keys.target_id.tolist() == [35191325330507548]


def test_every_file_matches_exactly_one_format(tmp_path, spectrum_files, survey_files):
    made = {
        "DESI coadd or spectra file": spectrum_files.write_coadd,
        "DESI cframe file": spectrum_files.write_cframe,
        "SDSS spec file": spectrum_files.write_spec,
        "SDSS spPlate file": spectrum_files.write_plate,
        "LAMOST spectrum": spectrum_files.write_lamost,
        "QuasarNET data file": spectrum_files.write_quasarnet,
        "DESI andes table": spectrum_files.write_andes,
        "ESO Phase 3 spectrum (4MOST, X-shooter)": survey_files.write_eso,
        "6dFGS spectrum": survey_files.write_sixdf,
        "2dF or AAOmega spectrum (GAMA, OzDES, 2QZ, 2SLAQ, …)": survey_files.write_gama,
        "WEAVE L1 file": survey_files.write_weave,
        "WEAVE L2 file": survey_files.write_weave_l2,
        "SDSS-V spec file": survey_files.write_sdssv,
        "SDSS-V spField or spFullsky file": survey_files.write_field,
    }
    assert set(made) == {known.name for known in FORMATS}
    for name, write in made.items():
        with open_fits(write(tmp_path / "any_name")) as file:
            assert [known.name for known in FORMATS if known.matches(file)] == [name]


def test_fits_without_spectra_names_what_it_found(tmp_path):
    table = fits.BinTableHDU(np.rec.fromarrays([np.arange(3)], names="A"), name="NUMBERS")
    table.writeto(tmp_path / "a.fits")
    with pytest.raises(DataFormatError, match=r"a\.fits.*found #0, NUMBERS.*Known are"):
        read_spectra(tmp_path / "a.fits")


def test_folders_give_their_spectra_and_leave_catalogues_out(tmp_path, spectrum_files):
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    coadd = spectrum_files.write_coadd(folder / "coadd-1.fits")
    other = spectrum_files.write_lamost(tmp_path / "any.fits.gz")
    damaged = tmp_path / "damaged.fits"
    damaged.write_bytes(b"SIMPLE")
    table = fits.BinTableHDU(np.rec.fromarrays([np.arange(3)], names="TARGETID"), name="REDSHIFTS")
    table.writeto(folder / "redrock-1.fits")
    (tmp_path / "notes.txt").write_text("nothing")
    assert find_files([tmp_path]) == [other, damaged, coadd]
    assert find_files([folder / "redrock-1.fits"]) == [folder / "redrock-1.fits"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFormatError, match="no spectra in this folder"):
        find_files([tmp_path / "empty"])
    with pytest.raises(DataFormatError, match="no such file or folder"):
        find_files([tmp_path / "absent"])


def test_a_folder_that_vanishes_during_the_walk_is_one_clear_line(tmp_path, monkeypatch):
    def walk(folder, pattern):
        yield folder / "a.fits"
        raise FileNotFoundError(2, "No such file or directory", str(folder / "night"))

    monkeypatch.setattr(Path, "rglob", walk)
    with pytest.raises(DataFormatError, match=r"night: cannot be searched for spectra \(No such"):
        find_files([tmp_path])


def test_a_file_that_vanishes_after_the_walk_is_one_clear_line(tmp_path, spectrum_files):
    path = spectrum_files.write_coadd(tmp_path / "coadd-1.fits")
    (found,) = find_files([tmp_path])
    path.unlink()
    with pytest.raises(
        DataFormatError, match=r"coadd-1\.fits: cannot be read as FITS \(No such file"
    ):
        read_spectra(found)


def test_named_ids_are_stable_and_positive():
    assert named_id("55862-B6212_sp06-005") == named_id("55862-B6212_sp06-005")
    assert 0 < named_id("55862-B6212_sp06-005") < 2**62
    assert named_id("-7") == -7
