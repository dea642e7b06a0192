"""redrock's fit drawn again, and qso_mgii files: planted quasars among galaxies, real files."""

import fitsio
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy.integrate import quad
from scipy.sparse import dia_matrix

from quasarloop.afterburner.file_columns import MGII_COLUMNS
from quasarloop.afterburner.mgii import MGII_DOUBLET_AA
from quasarloop.afterburner.mgii_file import fit_mgii_file, mgii_block
from quasarloop.afterburner.quasar_inputs import read_mgii_file, read_redrock_file
from quasarloop.afterburner.templates import (
    Basis,
    basis_of,
    model_flux,
    read_bases,
    with_resolution,
)
from quasarloop.errors import DataFormatError, OutputError

ARMS = {
    "B": np.arange(3600.0, 5800.8, 0.8),
    "R": np.arange(5760.0, 7620.8, 0.8),
    "Z": np.arange(7520.0, 9824.8, 0.8),
}
REST = np.mean(MGII_DOUBLET_AA)


def wavy(wave, ripple=0.3, scale_aa=4.0):
    """A made-up galaxy: a slope and narrow features, nothing like a Gaussian."""
    return 1 + wave / 5000 + ripple * np.sin(wave / scale_aa)


def write_template(folder, name="rrtemplate-GALAXY-None-v2.6.fits", galaxy=wavy, **cards):
    wave = np.arange(1200.0, 9000.0, 0.2)
    basis = np.stack([galaxy(wave), np.ones_like(wave)])
    known = {"CRVAL1": 1200.0, "CDELT1": 0.2, "LOGLAM": False, "RRTYPE": "GALAXY", "RRSUBTYP": ""}
    hdu = fits.PrimaryHDU(basis, fits.Header(known | {"VERSION": "2.6"} | cards))
    hdu.name = "BASIS_VECTORS"
    hdu.writeto(folder / name)


def planted_tile(folder, z, line_height, *, arms="BRZ", resolution=None, noise=0.3, galaxy=wavy):
    """A coadd whose galaxies are exactly the template, with Mg II lines added; and its redrock."""
    z = np.asarray(z, dtype=float)
    n, rng = len(z), np.random.default_rng(0)
    ids = np.arange(501, 501 + n)
    coefficients = np.tile([2.0, 1.0] + [0.0] * 8, (n, 1))
    hdus = [fits.PrimaryHDU(), fits.table_to_hdu(Table({"TARGETID": ids}))]
    hdus[1].name = "FIBERMAP"
    for arm in arms:
        wave = ARMS[arm]
        flux = 2 * galaxy(wave / (1 + z[:, None])) + 1
        if resolution is not None:
            beyond = wave[0] + 0.8 * np.arange(-5, len(wave) + 5)  # no fading at an arm's ends
            sharp = 2 * galaxy(beyond / (1 + z[:, None])) + 1
            flux = np.array([np.convolve(row, resolution, "valid") for row in sharp])
            matrix = np.tile(resolution[:, None], (1, len(wave)))
        x = wave - (1 + z[:, None]) * REST
        flux = flux + np.asarray(line_height)[:, None] * np.exp(-0.5 * (x / 25) ** 2)
        flux = flux + noise * rng.normal(size=flux.shape)
        hdus += [
            fits.ImageHDU(wave, name=f"{arm}_WAVELENGTH"),
            fits.ImageHDU(flux.astype("f4"), name=f"{arm}_FLUX"),
            fits.ImageHDU(np.full(flux.shape, noise**-2, "f4"), name=f"{arm}_IVAR"),
        ]
        if resolution is not None:
            hdus.append(fits.ImageHDU(np.tile(matrix, (n, 1, 1)), name=f"{arm}_RESOLUTION"))
    coadd = folder / "coadd-0-1.fits"
    fits.HDUList(hdus).writeto(coadd, overwrite=True)
    return coadd, write_redrock(folder, ids, z, coefficients)


def write_redrock(folder, ids, z, coefficients):
    n = len(ids)
    redshifts = {
        "TARGETID": ids, "Z": z, "ZERR": np.full(n, 1e-4), "ZWARN": np.zeros(n, "i8"),
        "CHI2": np.full(n, 1e3), "COEFF": coefficients, "SPECTYPE": np.full(n, "GALAXY"),
        "SUBTYPE": np.full(n, "", "U20"), "DELTACHI2": np.full(n, 50.0),
    }  # fmt: skip
    fibermap = {"TARGETID": ids, "TARGET_RA": np.ones(n), "SV3_DESI_TARGET": np.full(n, 4)}
    primary = fits.PrimaryHDU(header=fits.Header({"TEMNAM00": "GALAXY", "TEMVER00": "2.6"}))
    hdus = [primary, fits.table_to_hdu(Table(redshifts)), fits.table_to_hdu(Table(fibermap))]
    hdus[1].name, hdus[2].name = "REDSHIFTS", "FIBERMAP"
    path = folder / "redrock-0-1.fits"
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def test_model_is_the_mean_over_each_pixel():
    rest = np.array([1000.0, 1500.0, 1700.0, 3000.0])
    basis = Basis("GALAXY", "", rest, np.array([[1.0, 3.0, 0.0, 2.0]]), "1")
    wave = np.linspace(2200.0, 2800.0, 7)
    found = model_flux(basis, np.array([2.0]), 0.6, wave)
    for centre, value in zip(wave, found, strict=True):
        corners = [c for c in rest * 1.6 if abs(c - centre) < 50]
        mean = quad(
            lambda w: 2 * np.interp(w / 1.6, rest, basis.vectors[0]),
            centre - 50, centre + 50, points=corners or None,
        )[0] / 100  # fmt: skip
        assert value == pytest.approx(mean, rel=1e-8)


def test_model_is_nothing_beyond_the_template_and_ignores_spare_coefficients():
    basis = Basis("QSO", "LOZ", np.linspace(3000, 4000, 50), np.ones((1, 50)), "1")
    wave = np.arange(2900.0, 4100.0, 10.0)
    found = model_flux(basis, np.array([5.0, 99.0, 99.0]), 0.0, wave)
    assert found[(wave > 3010) & (wave < 3990)] == pytest.approx(5.0)
    assert (found[(wave < 2990) | (wave > 4010)] == 0).all()


def test_resolution_is_the_matrix_desi_means():
    rng = np.random.default_rng(0)
    flux, diagonals = rng.normal(size=40), rng.random((11, 40))
    matrix = dia_matrix((diagonals, np.arange(5, -6, -1)), shape=(40, 40))
    assert np.allclose(with_resolution(flux, diagonals), matrix @ flux)


def test_quasars_among_galaxies_are_found_against_redrocks_own_fit(tmp_path):
    templates = tmp_path / "templates"
    templates.mkdir()
    write_template(templates)
    z = [0.5, 0.9, 1.05, 1.4, 0.1, 0.7]
    coadd, redrock = planted_tile(tmp_path, z, [1.5, 0.0, 1.5, 0.0, 1.5, -1.5])
    block = fit_mgii_file(coadd, redrock, tmp_path / "qso_mgii-0-1.fits", templates=templates)
    assert block["IS_QSO_MGII"].tolist() == [True, False, True, False, False, False]
    assert np.isnan(block["SIGMA"]).tolist() == [False] * 4 + [True, False]
    # The galaxies' ripples are nothing a Gaussian could describe better than the template.
    assert (block["DELTA_CHI2"][[1, 3]] < -500).all()


def test_broad_line_over_a_smooth_galaxy_has_its_true_numbers(tmp_path):
    z = np.linspace(0.45, 2.3, 12)  # through all arms and their overlaps
    coadd, redrock = planted_tile(
        tmp_path, z, [1.5] * 12, noise=0.1, galaxy=lambda wave: wavy(wave, ripple=0)
    )
    block = mgii_block(coadd, read_redrock_file(redrock))
    assert block["IS_QSO_MGII"].all()
    assert (np.abs(block["SIGMA"] - 25) < 4 * np.sqrt(block["VAR_SIGMA"])).all()
    assert (np.abs(block["A"] - 1.5) < 4 * np.sqrt(block["VAR_A"])).all()
    assert (np.sqrt(block["VAR_SIGMA"]) < 1).all()


def test_resolution_in_the_coadd_is_used(tmp_path):
    templates = tmp_path / "templates"
    templates.mkdir()

    def galaxy(wave):
        return wavy(wave, scale_aa=0.8)

    write_template(templates, galaxy=galaxy)
    kernel = np.exp(-0.5 * (np.arange(-5, 6) / 3.0) ** 2)
    kernel = kernel / kernel.sum()
    coadd, redrock = planted_tile(
        tmp_path, [0.6, 1.05, 2.0], [0.0] * 3, resolution=kernel, noise=0.1, galaxy=galaxy
    )
    sharp = mgii_block(coadd, read_redrock_file(redrock), templates)
    with fits.open(coadd, mode="update") as file:
        for arm in "BRZ":
            del file[f"{arm}_RESOLUTION"]
    blunt = mgii_block(coadd, read_redrock_file(redrock), templates)
    # Drawn as blurred as the spectrum is, redrock's fit is better than any Gaussian, also in the
    # overlap of two arms; drawn sharp, it is worse by far.
    assert (sharp["DELTA_CHI2"] < 0).all()
    assert (blunt["DELTA_CHI2"] - sharp["DELTA_CHI2"] > 300).all()


@pytest.mark.parametrize("arms", ["BZ", "B", "RZ"])
def test_missing_arms_leave_rows_unfitted_not_lost(tmp_path, arms):
    z = np.array([0.5, 1.35, 2.2])  # Mg II in B, R, Z
    coadd, redrock = planted_tile(tmp_path, z, [1.5] * 3, arms=arms)
    block = mgii_block(coadd, read_redrock_file(redrock))
    seen = [arm in arms for arm in "BRZ"]
    assert np.isfinite(block["SIGMA"]).tolist() == seen
    assert block["IS_QSO_MGII"].tolist() == seen


def test_file_is_desispecs_and_reads_back(tmp_path):
    coadd, redrock = planted_tile(tmp_path, [0.5, 0.9], [1.5, 0.0])
    out = tmp_path / "qso_mgii-0-1.fits"
    block = fit_mgii_file(coadd, redrock, out)
    table = fits.getdata(out, "MGII")
    expected = [
        ("TARGETID", ">i8"), ("RA", ">f8"), ("DEC", ">f8"), ("Z_RR", ">f8"), ("ZERR", ">f4"),
        ("IS_QSO_MGII", "bool"), ("SV3_DESI_TARGET", ">i8"), ("SPECTYPE", "U10"),
        ("DELTA_CHI2", ">f4"), ("A", ">f4"), ("SIGMA", ">f4"), ("B", ">f4"), ("VAR_A", ">f4"),
        ("VAR_SIGMA", ">f4"), ("VAR_B", ">f4"),
    ]  # fmt: skip
    assert [(name, table[name].dtype) for name in table.names] == [
        (name, np.dtype(kind)) for name, kind in expected
    ]
    header = fits.getheader(out, "MGII")
    assert (header["COADD"], header["MGIIREF"]) == (coadd.name, "constant")
    again = read_mgii_file(out, np.array([501, 502]))
    assert set(again) == set(MGII_COLUMNS)
    for name, values in again.items():
        assert np.array_equal(values, block[name]), name
    with pytest.raises(OutputError, match="exists"):
        fit_mgii_file(coadd, redrock, out)


def test_templates_of_another_version_are_refused(tmp_path):
    coadd, redrock = planted_tile(tmp_path, [0.5], [1.5])
    templates = tmp_path / "templates"
    templates.mkdir()
    with pytest.raises(DataFormatError, match="no rrtemplate-"):
        fit_mgii_file(coadd, redrock, tmp_path / "m.fits", templates=templates)
    write_template(templates, "rrtemplate-GALAXY-old.fits", VERSION="1.0")
    with pytest.raises(DataFormatError, match=r"GALAXY, version 2\.6; in the folder.*: 1\.0"):
        fit_mgii_file(coadd, redrock, tmp_path / "m.fits", templates=templates)
    write_template(templates)
    basis = basis_of(read_bases(templates), "GALAXY", "", ("GALAXY 2.6",))
    assert basis.version == "2.6"
    with pytest.raises(DataFormatError, match=r"version unknown.*: 2\.6, 1\.0"):
        basis_of(read_bases(templates), "GALAXY", "", ())
    with pytest.raises(DataFormatError, match="not in its own list"):
        basis_of(read_bases(templates), "GALAXY", "", ("none none",))
    write_template(templates, "rrtemplate-bad.fits", CDELT1=-1.0)
    with pytest.raises(DataFormatError, match="no usable template"):
        read_bases(templates)


def test_rows_that_do_not_match_are_refused(tmp_path):
    coadd, _ = planted_tile(tmp_path, [0.5, 0.6, 0.7], [1.5] * 3)
    shifted = write_redrock(tmp_path, np.array([501, 503, 502]), np.ones(3), np.zeros((3, 10)))
    with pytest.raises(DataFormatError, match="differ from row 1 on"):
        mgii_block(coadd, read_redrock_file(shifted))
    for ids, words in (([501, 502], "differ from row 2"), ([501, 502, 503, 504], "3 spectra but")):
        n = len(ids)
        other = write_redrock(tmp_path, np.array(ids), np.ones(n), np.zeros((n, 10)))
        with pytest.raises(DataFormatError, match=words):
            mgii_block(coadd, read_redrock_file(other))


def test_real_templates_and_the_real_pair(tmp_path, shared_data):
    bases = read_bases(shared_data / "templates" / "redrock")
    quasar = basis_of(bases, "QSO", "LOZ", ("QSO:::LOZ 1.1",))
    assert quasar.vectors.shape[0] == 4
    assert quasar.wave_aa[0] == pytest.approx(10**3.1236)
    galaxy = basis_of(bases, "GALAXY", "", ())
    assert np.diff(galaxy.wave_aa[:2])[0] == pytest.approx(0.1)
    pair = shared_data / "desi_redrock"
    name = "4-80613-thru20210324.fits"
    out = tmp_path / "qso_mgii.fits"
    block = fit_mgii_file(pair / f"coadd-{name}", pair / f"redrock-{name}", out)
    assert not block["IS_QSO_MGII"].any()
    assert fitsio.read(out, "MGII")["SV1_DESI_TARGET"].tolist() == [1 << 60]
    with pytest.raises(DataFormatError, match=r"GALAXY, version 2\.6"):
        fit_mgii_file(
            pair / f"coadd-{name}", pair / f"redrock-{name}", tmp_path / "m.fits",
            templates=shared_data / "templates" / "redrock",
        )  # fmt: skip
