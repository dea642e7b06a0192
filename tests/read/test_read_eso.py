"""ESO's Phase 3 standard: columns by utype or name, units, air, quality, what is refused."""

import numpy as np
import pytest
from astropy.io import fits

from quasarloop.constants import vacuum_wavelengths
from quasarloop.errors import DataFormatError
from quasarloop.grid import LOG_GRID
from quasarloop.quality import prepare
from quasarloop.read import named_id, read_spectra


def test_a_4most_spectrum(tmp_path, survey_files):
    path = survey_files.write_eso(tmp_path / "a.fits")
    spectra = read_spectra(path)
    keys = spectra.keys
    assert keys.target_id.tolist() == keys.object_id.tolist() == [11031146069]
    assert (keys.survey[0], keys.night[0], keys.fiber[0]) == ("4most", 59827, 644)
    assert (keys.tile_id[0], keys.ra_deg[0], keys.dec_deg[0]) == (112, 314.1, -41.2)
    (arm,) = spectra.arms
    row = fits.getdata(path, 1)[0]
    np.testing.assert_allclose(arm.wave_aa, row["WAVE"], rtol=0)
    np.testing.assert_allclose(arm.flux[0], row["FLUX"] * 1e17, rtol=1e-6)
    good = row["QUAL"] == 0
    np.testing.assert_allclose(arm.ivar[0][good], (row["ERR_FLUX"][good] * 1e17) ** -2.0, rtol=1e-5)
    assert arm.ivar[0][~good].tolist() == [0.0]
    assert arm.mask[0, 5] == 1


def test_columns_are_found_by_utype_and_the_calibrated_one_is_taken(tmp_path, survey_files):
    named = read_spectra(survey_files.write_eso(tmp_path / "a.fits"))
    other = read_spectra(survey_files.write_eso(tmp_path / "b.fits", utypes=True))
    np.testing.assert_array_equal(other.arms[0].flux, named.arms[0].flux)
    np.testing.assert_array_equal(other.arms[0].ivar, named.arms[0].ivar)


def test_nanometres_and_air(tmp_path, survey_files):
    wave = np.arange(300.0, 560.0, 0.5)
    path = survey_files.write_eso(tmp_path / "a.fits", wave, utypes=True, ucd="em.wl;obs.atmos")
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["TUNIT1"] = "nm"
    arm = read_spectra(path).arms[0]
    np.testing.assert_allclose(arm.wave_aa, vacuum_wavelengths(10 * wave), rtol=1e-12)
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["TUNIT1"] = "furlong"
    with pytest.raises(DataFormatError, match="wavelengths in 'furlong'; expected Angstrom"):
        read_spectra(path)


def test_wavelengths_need_not_be_uniform(tmp_path, survey_files):
    even = np.arange(3700.0, 9500.0, 2.0)
    uneven = 3700.0 + 5800.0 * ((even - 3700.0) / 5800.0) ** 1.2
    spectra = read_spectra(survey_files.write_eso(tmp_path / "a.fits", uneven))
    arm = spectra.arms[0]
    np.testing.assert_allclose(arm.wave_aa, uneven)
    (row,) = prepare(spectra, LOG_GRID, mend_outliers=False).ivar
    edges = LOG_GRID.lower_edges_aa
    inside = (uneven >= edges[200]) & (uneven < edges[201])
    rms = prepare(spectra, LOG_GRID, mend_outliers=False).rms_flux[0]
    assert row[200] == pytest.approx(arm.ivar[0, inside].sum() * rms**2, rel=1e-5)


def test_names_where_there_is_no_number(tmp_path, survey_files):
    cards = {"TRG_UID": None, "OBJECT": "J2056-4111", "INSTRUME": "XSHOOTER"}
    keys = read_spectra(survey_files.write_eso(tmp_path / "a.fits", cards=cards)).keys
    assert keys.target_id[0] == named_id("J2056-4111")
    assert keys.survey[0] == "xshooter"
    cards |= {"OBJECT": None}
    keys = read_spectra(survey_files.write_eso(tmp_path / "b_1.fits", cards=cards)).keys
    assert keys.target_id[0] == named_id("b_1")


@pytest.mark.parametrize(
    ("cards", "complaint"),
    [
        ({"CONTNORM": True}, "CONTNORM is true: the continuum was divided out"),
        ({"FLUXCAL": "UNCALIBRATED"}, "FLUXCAL is UNCALIBRATED"),
    ],
)
def test_spectra_without_a_continuum_are_refused(tmp_path, survey_files, cards, complaint):
    path = survey_files.write_eso(tmp_path / "a.fits", cards=cards)
    with pytest.raises(DataFormatError, match=rf"a\.fits: {complaint}"):
        read_spectra(path)


def test_without_errors_the_missing_column_is_named(tmp_path, survey_files):
    path = survey_files.write_eso(tmp_path / "a.fits", ERR_FLUX=None)
    with pytest.raises(DataFormatError, match="no column of error; found WAVE, FLUX"):
        read_spectra(path)


def test_the_real_4most_simulation(shared_data):
    folder = shared_data / "field_cases" / "15-4most-phase3"
    path = next(folder.glob("*.fits"))
    spectra = read_spectra(path)
    row = fits.getdata(path, 1)[0]
    np.testing.assert_array_equal(spectra.arms[0].wave_aa, row["WAVE"].astype("f8"))
    expected = (row["FLUX"].astype("f8") * 1e17).astype("f4")
    np.testing.assert_array_equal(spectra.arms[0].flux[0], expected)
    assert prepare(spectra, LOG_GRID).flags.tolist() == [0]
