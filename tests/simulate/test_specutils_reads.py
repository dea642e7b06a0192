"""specutils' own loaders read simulated DESI and SDSS files, pixel for pixel as we do."""

from pathlib import Path

import numpy as np
import pytest

from quasarloop.read import find_files, read_spectra
from quasarloop.simulate import SurveyFormat
from quasarloop.simulate.observing import LightSource, ObservingOptions
from quasarloop.simulate.survey import SurveyOptions, simulate_survey


@pytest.mark.filterwarnings("ignore:.*multiple slashes")  # SDSS writes its unit so
@pytest.mark.parametrize(
    ("survey", "loader", "n_files"), [("desi", "DESI coadd", 1), ("sdss", "SDSS-III/IV spec", 12)]
)
def test_files_of_a_simulation(
    survey: SurveyFormat, loader: str, n_files: int, tmp_path: Path, known_light: LightSource
) -> None:
    specutils = pytest.importorskip("specutils", reason="the extra [specutils] is not installed")
    observing = ObservingOptions(exposures=2)
    simulate_survey(
        SurveyOptions(
            tmp_path, seed=3, source=known_light, observing=observing, survey_format=survey
        ),
        4,
    )
    folder = tmp_path / ("spectra" if survey == "sdss" else "tiles")
    files = [p for p in find_files([folder]) if p.name.startswith(("coadd-", "spec-"))]
    assert len(files) == n_files
    for path in files:
        ours = read_spectra(path)
        reader = specutils.SpectrumList if survey == "desi" else specutils.Spectrum
        read = reader.read(path, format=loader)
        parts = read if survey == "desi" else [read]
        assert len(parts) == len(ours.arms)
        for arm, theirs in zip(ours.arms, parts, strict=True):
            wave_aa = theirs.spectral_axis.to_value("AA")
            np.testing.assert_allclose(wave_aa, arm.wave_aa, rtol=2e-7)  # float32 in SDSS
            flux = theirs.flux.to_value("1e-17 erg/(s cm2 AA)")
            np.testing.assert_array_equal(np.atleast_2d(flux), arm.flux)
            np.testing.assert_array_equal(np.atleast_2d(theirs.uncertainty.array), arm.ivar)
