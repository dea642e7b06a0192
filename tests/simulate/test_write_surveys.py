"""SDSS-V, LAMOST, 4MOST and WEAVE files: read back, known by the truth, read by specutils."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from quasarloop.grid import LOG_GRID
from quasarloop.quality import prepare
from quasarloop.read import find_files, read_spectra, read_truth
from quasarloop.simulate import SurveyFormat
from quasarloop.simulate.faults import FaultRates
from quasarloop.simulate.observing import LightSource, ObservingOptions
from quasarloop.simulate.survey import SurveyOptions, simulate_survey
from quasarloop.simulate.write_surveys import WRITERS
from quasarloop.spectra import Flag
from quasarloop.truth import match_truth

N = 6
SURVEYS: dict[SurveyFormat, str] = {
    "sdssv": "sdss-v",
    "lamost": "lamost",
    "4most": "4most",
    "weave": "weave",
}


def simulated(out: Path, light: LightSource, survey: SurveyFormat) -> list[Path]:
    observing = ObservingOptions(exposures=2, faults=FaultRates(sky_fibre=0.3))
    plan = SurveyOptions(out, seed=3, source=light, observing=observing, survey_format=survey)
    simulate_survey(plan, N)
    return find_files([out / "spectra"])


@pytest.mark.parametrize(("survey", "name"), SURVEYS.items())
def test_files_read_back_and_meet_their_truth(
    tmp_path: Path, known_light: LightSource, survey: SurveyFormat, name: str
) -> None:
    files = simulated(tmp_path, known_light, survey)
    truth = read_truth(tmp_path / "truth.csv")
    assert len(truth) == N
    assert len(files) == (3 if survey == "weave" else N)
    seen = []
    for path in files:
        spectra = read_spectra(path)
        assert set(spectra.keys.survey) == {name}
        rows = match_truth(spectra.keys.target_id, truth)
        assert (rows >= 0).all()
        np.testing.assert_array_equal(truth.object_id[rows], spectra.keys.object_id)
        sky = truth.spectype[rows] < 0
        np.testing.assert_array_equal((spectra.flags & Flag.NOT_TARGET) > 0, sky)
        if path.parent.name != "L1":
            seen += rows.tolist()
            flags = prepare(spectra, LOG_GRID).flags & ~np.int32(Flag.NOT_TARGET)
            assert not flags.any(), (path, flags)
            # Objects of the known light have flux 1 + i mod 5 away from their line.
            arm = spectra.arms[0]
            red = (arm.wave_aa > 5000) & (arm.wave_aa < 5700)
            level = np.average(arm.flux[:, red], axis=1, weights=arm.ivar[0, red] + 1e-9)
            order = rows[~sky]
            np.testing.assert_allclose(level[~sky], 1.0 + order % 5, rtol=0.25)
    expected = np.flatnonzero(truth.spectype >= 0) if survey == "weave" else range(N)
    assert sorted(seen) == list(expected)


@pytest.mark.parametrize("survey", WRITERS)
def test_every_fits_reader_opens_them(
    tmp_path: Path, known_light: LightSource, survey: SurveyFormat
) -> None:
    for path in simulated(tmp_path, known_light, survey):
        with fits.open(path) as hdus:
            hdus.verify("exception")
            assert hdus[0].header["ORIGIN"] == "SIMULATE"


def test_the_two_arms_of_weave_are_one_spectrum(tmp_path: Path, known_light: LightSource) -> None:
    levels: dict[str, list[Path]] = {"L1": [], "L2": []}
    for path in simulated(tmp_path, known_light, "weave"):
        levels[path.parent.name].append(path)
    joined = read_spectra(levels["L2"][0])
    assert sorted(arm.name for arm in joined.arms) == ["b", "rz"]
    for path in levels["L1"]:
        one = read_spectra(path)
        targets = one[(one.flags & Flag.NOT_TARGET) == 0]
        (arm,) = targets.arms
        twin = next(other for other in joined.arms if other.name == arm.name)
        np.testing.assert_array_equal(targets.keys.target_id, joined.keys.target_id)
        np.testing.assert_allclose(arm.wave_aa, twin.wave_aa, rtol=1e-7)
        np.testing.assert_allclose(arm.flux, twin.flux, rtol=1e-5)
        np.testing.assert_allclose(arm.ivar, twin.ivar, rtol=1e-5)


def test_specutils_reads_what_it_has_a_loader_for(tmp_path: Path, known_light: LightSource) -> None:
    """It has none for tables of one row of arrays (LAMOST, 4MOST), nor for WEAVE."""
    specutils = pytest.importorskip("specutils", reason="the extra [specutils] is not installed")
    path = simulated(tmp_path, known_light, "sdssv")[0]
    theirs = specutils.Spectrum.read(path, format="SDSS-V spec", hdu=1)
    (arm,) = read_spectra(path).arms
    wave, flux = theirs.spectral_axis.to_value("AA"), theirs.flux.to_value("1e-17 erg/(s cm2 AA)")
    np.testing.assert_allclose(wave, arm.wave_aa, rtol=1e-6)  # theirs are float32
    np.testing.assert_array_equal(flux, arm.flux[0])
    np.testing.assert_array_equal(theirs.uncertainty.array, arm.ivar[0])
