"""SDSS spec and spPlate files in their many spellings."""

import numpy as np
import pytest
from astropy.io import fits

from quasarloop.errors import DataFormatError
from quasarloop.read import read_spectra
from quasarloop.spectra import Flag


@pytest.mark.parametrize("upper", [False, True])
def test_spec_in_any_case(tmp_path, spectrum_files, upper):
    path = spectrum_files.write_spec(tmp_path / "a.fits", upper=upper)
    spectra = read_spectra(path)
    keys = spectra.keys
    assert keys.target_id.tolist() == [7102566660082]  # 7102·10⁹ + 56666·10⁴ + 82
    assert keys.object_id.tolist() == [518753582]  # THING_ID
    assert (keys.tile_id[0], keys.night[0], keys.fiber[0]) == (7102, 56666, 82)
    assert (keys.ra_deg[0], keys.dec_deg[0]) == (150.5, 2.25)
    assert keys.survey[0] == "boss"
    assert keys.object_type[0] == "QSO"
    assert spectra.flags.tolist() == [0]
    (arm,) = spectra.arms
    assert arm.name == "brz"
    with fits.open(path) as hdus:
        table = hdus[1].data
        np.testing.assert_array_equal(arm.flux[0], table["flux"])
        np.testing.assert_array_equal(arm.ivar[0], table["ivar"])
        np.testing.assert_allclose(arm.wave_aa, 10.0 ** table["loglam"].astype("f8"), rtol=1e-12)


def test_masks_are_kept_but_not_applied(tmp_path, spectrum_files):
    hdus = spectrum_files.spec_hdus()
    hdus[1].data["and_mask"][10:20] = 1 << 24
    hdus.writeto(tmp_path / "a.fits")
    (arm,) = read_spectra(tmp_path / "a.fits").arms
    assert (arm.ivar[0, 10:20] > 0).all()
    assert arm.mask[0, 10] == 1 << 24


@pytest.mark.parametrize("thing_id", [None, -1, 0])
def test_without_thing_id_the_spectrum_is_its_own_object(tmp_path, spectrum_files, thing_id):
    path = spectrum_files.write_spec(tmp_path / "a.fits", thing_id=thing_id)
    keys = read_spectra(path).keys
    assert keys.object_id.tolist() == keys.target_id.tolist()


def test_full_file_with_single_exposures_reads_its_coadd(tmp_path, spectrum_files):
    hdus = spectrum_files.spec_hdus(plate=1325)
    for i in range(3):
        exposure = hdus[1].copy()
        exposure.name = f"B1-0002071{i}"
        hdus.append(exposure)
    hdus.writeto(tmp_path / "a.fits")
    spectra = read_spectra(tmp_path / "a.fits")
    assert len(spectra) == 1
    assert spectra.keys.survey[0] == "sdss"


def test_without_object_table_the_header_identifies(tmp_path, spectrum_files):
    hdus = spectrum_files.spec_hdus()[:2]
    hdus.writeto(tmp_path / "a.fits")
    assert read_spectra(tmp_path / "a.fits").keys.target_id.tolist() == [7102566660082]
    del hdus[0].header["FIBERID"]
    hdus.writeto(tmp_path / "bad.fits")
    with pytest.raises(DataFormatError, match="FIBERID is None; expected an integer"):
        read_spectra(tmp_path / "bad.fits")


def test_without_the_fibres_place_the_plates_is_not_taken(tmp_path, spectrum_files):
    hdus = spectrum_files.spec_hdus()
    columns = [c for c in hdus[2].columns if c.name.upper() not in ("PLUG_RA", "PLUG_DEC")]
    hdus[2] = fits.BinTableHDU.from_columns(columns)
    hdus[0].header["RA"], hdus[0].header["DEC"] = 151.7, 2.9  # where the plate's centre is
    hdus.writeto(tmp_path / "a.fits")
    keys = read_spectra(tmp_path / "a.fits").keys
    assert np.isnan([keys.ra_deg[0], keys.dec_deg[0]]).all()
    hdus[0].header["PLUG_RA"], hdus[0].header["PLUG_DEC"] = 150.5, 2.25
    hdus.writeto(tmp_path / "b.fits")
    keys = read_spectra(tmp_path / "b.fits").keys
    assert (keys.ra_deg[0], keys.dec_deg[0]) == (150.5, 2.25)


def test_sky_fibre(tmp_path, spectrum_files):
    path = spectrum_files.write_spec(tmp_path / "a.fits", object_type="SKY")
    assert read_spectra(path).flags.tolist() == [Flag.NOT_TARGET]


def test_columns_of_the_wrong_type(tmp_path, spectrum_files):
    hdus = spectrum_files.spec_hdus()
    columns = [c for c in hdus[1].columns if c.name != "flux"]
    text = fits.Column("flux", "4A", array=np.full(len(hdus[1].data), "high"))
    hdus[1] = fits.BinTableHDU.from_columns([text, *columns])
    hdus.writeto(tmp_path / "bad.fits")
    with pytest.raises(DataFormatError, match="column FLUX is of type <U4; expected"):
        read_spectra(tmp_path / "bad.fits")


def test_no_pixels(tmp_path, spectrum_files):
    hdus = spectrum_files.spec_hdus()
    hdus[1].data = hdus[1].data[:0]
    hdus.writeto(tmp_path / "bad.fits")
    with pytest.raises(DataFormatError, match="has no rows; expected pixels"):
        read_spectra(tmp_path / "bad.fits")


def test_plate(tmp_path, spectrum_files):
    path = spectrum_files.write_plate(tmp_path / "spPlate-3655-55240.fits")
    spectra = read_spectra(path)
    assert spectra.keys.target_id.tolist() == [
        3655 * 10**9 + 55240 * 10**4 + i for i in (1, 2, 3, 4)
    ]
    assert (spectra.flags & Flag.NOT_TARGET > 0).tolist() == [False, True, False, False]
    np.testing.assert_allclose(spectra.keys.ra_deg, np.linspace(10, 11, 4))
    np.testing.assert_allclose(np.log10(spectra.arms[0].wave_aa[:2]), [3.55, 3.551])
    some = read_spectra(path, slice(1, 3))
    assert some.keys.fiber.tolist() == [2, 3]
    np.testing.assert_array_equal(some.arms[0].flux, spectra.arms[0].flux[1:3])


def test_plate_whose_plug_map_does_not_fit(tmp_path, spectrum_files):
    path = spectrum_files.write_plate(tmp_path / "bad.fits")
    with fits.open(path) as hdus:
        hdus[0].data, hdus[1].data = hdus[0].data[:3], hdus[1].data[:3]
        hdus.writeto(tmp_path / "worse.fits")
    with pytest.raises(DataFormatError, match="plug map has 4 rows and the flux 3"):
        read_spectra(tmp_path / "worse.fits")
