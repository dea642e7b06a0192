"""Mg II in DESI's real coadds, beside desispec's own code (needs the [redrock] extra)."""

import os
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from quasarloop.afterburner.mgii_file import mgii_block
from quasarloop.afterburner.quasar_inputs import read_redrock_file
from quasarloop.afterburner.templates import Basis, model_flux, read_bases
from quasarloop.read import read_spectra

pytestmark = [pytest.mark.filterwarnings("ignore")]  # of desispec and redrock
if "QUASARLOOP_SHARED" in os.environ:  # `make redrock` has no real spectra without
    pytestmark += [pytest.mark.redrock]

HIZ = "rrtemplate-QSO-HIZ-v1.1.fits"


def best_coefficients(basis: Basis, spectra, z):
    """Fit a template to spectra as redrock does at a known redshift, without the resolution."""
    found = np.zeros((len(spectra), 10))
    for i, redshift in enumerate(z):
        shapes = np.concatenate(
            [
                np.stack([model_flux(basis, one, redshift, arm.wave_aa) for one in np.eye(4)])
                for arm in spectra.arms
            ],
            axis=1,
        )
        flux, ivar = (
            np.concatenate([getattr(arm, name)[i] for arm in spectra.arms])
            for name in ("flux", "ivar")
        )
        weight = np.sqrt(ivar)
        found[i, :4] = np.linalg.lstsq((shapes * weight).T, flux * weight, rcond=None)[0]
    return found


def write_redrock(path, target_id, z, coefficients):
    n = len(z)
    redshifts = {
        "TARGETID": target_id, "Z": z, "ZERR": np.full(n, 1e-4), "ZWARN": np.zeros(n, "i8"),
        "CHI2": np.full(n, 1e3), "COEFF": coefficients, "SPECTYPE": np.full(n, "QSO"),
        "SUBTYPE": np.full(n, "HIZ"), "DELTACHI2": np.full(n, 50.0),
    }  # fmt: skip
    fibermap = {"TARGETID": target_id, "DESI_TARGET": np.full(n, 4)}
    primary = fits.PrimaryHDU(header=fits.Header({"TEMNAM00": "QSO:::HIZ", "TEMVER00": "1.1"}))
    hdus = [primary, fits.table_to_hdu(Table(redshifts)), fits.table_to_hdu(Table(fibermap))]
    hdus[1].name, hdus[2].name = "REDSHIFTS", "FIBERMAP"
    fits.HDUList(hdus).writeto(path)


@pytest.mark.parametrize(
    ("name", "n_in_view"),
    [
        ("desi_tile80693/coadd-1-80693-thru20210204.fits", 3),
        ("desi_healpix9144/coadd-main-dark-9144.fits", 2),
    ],
)
def test_same_fits_and_decisions_in_real_spectra(name, n_in_view, shared_data, tmp_path):
    afterburner = pytest.importorskip("desispec.mgii_afterburner", reason="desispec is absent")
    coadd, redrock = shared_data / name, tmp_path / "redrock.fits"
    shutil.copy(shared_data / "templates" / "redrock" / HIZ, tmp_path)
    truth = Table.read(coadd.parent / "truth.csv")
    z = np.array(truth[truth["file"] == coadd.name]["z"], dtype=float)
    spectra = read_spectra(coadd)
    coefficients = best_coefficients(read_bases(tmp_path)[0], spectra, z)
    write_redrock(redrock, spectra.keys.target_id, z, coefficients)
    ours = mgii_block(coadd, read_redrock_file(redrock), tmp_path)
    chosen, fitted, in_view = afterburner.mgii_fitter(
        str(coadd), str(redrock), np.ones(len(z), dtype=bool), 250, template_dir=str(tmp_path),
        max_sigma=200, min_sigma=10, min_deltachi2=16, min_A=0, min_signifiance_A=3,
    )  # fmt: skip
    assert np.array_equal(np.isfinite(ours["SIGMA"]), in_view)
    assert in_view.sum() == n_in_view
    theirs = np.zeros(len(z), dtype=bool)
    theirs[np.flatnonzero(in_view)[chosen]] = True
    assert theirs.any()
    assert ours["IS_QSO_MGII"].tolist() == theirs.tolist()
    # One of their five fits ran away to a width of 10,000 Å; the others are the same minimum.
    same = np.abs(np.abs(fitted[:, 2]) / ours["SIGMA"][in_view] - 1) < 0.01
    assert same.sum() >= n_in_view - 1
    for column, key in enumerate(("DELTA_CHI2", "A", "SIGMA", "B", "VAR_A", "VAR_SIGMA")):
        found, expected = ours[key][in_view][same], fitted[same, column]
        np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=2e-3, err_msg=key)
