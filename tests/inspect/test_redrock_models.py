"""Redrock's best fit, drawn from its own templates and coefficients."""

from dataclasses import replace

import fitsio
import numpy as np
import pytest

from quasarloop.errors import InspectionError
from quasarloop.inspect.campaign import add_redrock
from quasarloop.inspect.library import LOG_STEP
from quasarloop.inspect.redrock_models import RedrockModels, read_redrock
from quasarloop.read import read_spectra

BIG_ID = 39627945488154697


@pytest.fixture
def templates(tmp_path):
    """A galaxy of two vectors: a slope, and one line at 5000 Å."""
    wave = 10 ** (3.4 + 1e-4 * np.arange(5000))
    line = np.exp(-0.5 * ((wave - 5000) / 8) ** 2)
    with fitsio.FITS(str(tmp_path / "rrtemplate-galaxy.fits"), "rw") as file:
        header = {"CRVAL1": 3.4, "CDELT1": 1e-4, "LOGLAM": True, "RRTYPE": "GALAXY", "RRSUBTYP": ""}
        file.write(np.stack([wave / 5000, line]), header=header, extname="BASIS_VECTORS")
    return tmp_path


def _fit(*coeff, spectype="GALAXY"):
    return {"spectype": spectype, "subtype": "", "version": "0.17", "coeff": list(coeff)}


def test_a_fit_is_its_coefficients_times_the_vectors(templates):
    first, flux = RedrockModels(templates).model(_fit(2.0, 3.0))
    wave = 10 ** (LOG_STEP * (first + 0.25 + np.arange(len(flux))))  # means of two pixels
    expected = 2 * wave / 5000 + 3 * np.exp(-0.5 * ((wave - 5000) / 8) ** 2)
    np.testing.assert_allclose(flux, expected, rtol=5e-3)


def test_trailing_coefficients_that_are_zero_may_be_missing(templates):
    _, flux = RedrockModels(templates).model(_fit(2.0))
    np.testing.assert_allclose(flux, RedrockModels(templates).model(_fit(2.0, 0.0))[1])


@pytest.mark.parametrize("fit", [_fit(), _fit(1.0, 2.0, 3.0), _fit(1.0, spectype="QSO")])
def test_templates_of_another_version_are_not_drawn(templates, fit):
    with pytest.raises(InspectionError, match=r"templates of redrock 0\.17"):
        RedrockModels(templates).model(fit)


def test_a_folder_without_templates_is_refused(tmp_path):
    with pytest.raises(InspectionError, match="no rrtemplate"):
        RedrockModels(tmp_path)


def test_real_coefficients_are_read(shared_data):
    path = next((shared_data / "desi_redrock").glob("redrock-*.fits"))
    ((fit,),) = read_redrock([path]).values()
    assert len(fit["coeff"]) == 10
    spectra = read_spectra(next((shared_data / "desi_redrock").glob("coadd-*.fits")))
    assert int(spectra.keys.target_id[0]) in read_redrock([path])


def test_the_page_gets_the_model_with_the_prediction(campaign, client, database, templates):
    good = _fit(2.0, 3.0) | {"z": 0.4, "zwarn": 0, "deltachi2": 50.0}
    with database.write() as session:
        add_redrock(session, {BIG_ID: [good, good | {"spectype": "QSO"}]})
    models = RedrockModels(templates)
    campaign.state.campaign = replace(campaign.state.campaign, models=models)
    answer = client("ada").post(f"/api/objects/{BIG_ID}/machine").json()
    drawn, other = answer["predictions"]["redrock"]
    assert drawn["template"]["log_step"] == LOG_STEP
    assert "templates of redrock" in other["problem"]
