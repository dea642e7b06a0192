"""Calibrating joint redshifts: planted mistakes are undone, and judged on other objects."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from quasarloop.errors import TruthError, WeightsError
from quasarloop.grid import LOG_GRID
from quasarloop.network import calibration
from quasarloop.network.calibration import (
    MIN_QUASARS,
    Pulls,
    calibrate,
    fit_error_scale,
    fit_temperature,
    place_errors,
    recalibrate,
)
from quasarloop.network.config import preset
from quasarloop.network.decode import LineOutputs
from quasarloop.network.joint import CALIBRATION
from quasarloop.network.labelled import TrainingData
from quasarloop.network.model import LineFinder
from quasarloop.network.redshift_reading import line_floor, read_redshifts
from quasarloop.network.weights import from_module, read_weights, write_weights
from quasarloop.truth import SpecType

SMALL = {"n_filters": 2, "n_dense": 2}
CONFIG = preset("quasarloop2026", **SMALL)
HEAD = CONFIG.redshift
MGII = 3
OFF_BOXES = {MGII: 0.14}


def read_at(log_p, temperature, error_scale=1.0):
    head = replace(HEAD, temperature=temperature, error_scale=error_scale)
    return read_redshifts(log_p, replace(CONFIG, redshift=head))


def over_confident(n, factor, scatter=1.0, width=(0.8, 2)):
    """Gaussian p(z) that claim to be `factor` times colder than the truths drawn for them.

    Truths scatter by what p(z) is wide, and by `scatter` times what quasars add.
    """
    rng = np.random.default_rng(0)
    width, centre = rng.uniform(*width, n), rng.uniform(200, 700, n)
    true = centre + width * rng.normal(size=n)
    log_p = -0.5 * ((np.arange(HEAD.n_z) - centre[:, None]) / width[:, None]) ** 2
    log_z1 = true * 1e-3 * np.log(10)
    z1 = np.exp(log_z1 + scatter * line_floor(log_z1, LOG_GRID) * rng.normal(size=n))
    return (factor * log_p).astype(np.float32), z1 - 1


@pytest.mark.parametrize("factor", [0.8, 1.0, 3.0])
def test_a_planted_temperature_is_found(factor):
    log_p, z = over_confident(4000, factor, scatter=0.0, width=(2, 4))
    assert fit_temperature(log_p, z, HEAD) == pytest.approx(factor, rel=0.05)


def test_quasars_own_scatter_is_added_once():
    """It widens p(z) by its temperature, and then narrows the error scale by as much."""
    log_p, z = over_confident(6000, 1.0, scatter=3.0)
    temperature = fit_temperature(log_p, z, HEAD)
    assert temperature > 1.05 * fit_temperature(*over_confident(6000, 1.0, scatter=0.0), HEAD)
    scale, wide = fit_error_scale(read_at(log_p, temperature), z, LOG_GRID)
    pulls = Pulls.of(read_at(log_p, temperature, scale), z)
    assert pulls.width == pytest.approx(1.0, abs=0.04)
    assert wide == pytest.approx(2.0, abs=0.12)  # Gaussian errors


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_planted_error_scale_is_found(factor):
    """Without a temperature: p(z) too narrow or too wide, the quasars' own share left as it is."""
    log_p, z = over_confident(6000, factor**-2)
    scale, _ = fit_error_scale(read_at(log_p, 1.0), z, LOG_GRID)
    assert scale == pytest.approx(1 / factor, rel=0.05)
    pulls = Pulls.of(read_at(log_p, 1.0, scale), z)
    assert pulls.width == pytest.approx(1.0, abs=0.04)
    assert pulls.within_1 == pytest.approx(0.6827, abs=0.002)


def test_error_scale_ignores_confusions():
    log_p, z = over_confident(2000, 1.0)
    found = read_at(log_p, 1.0)
    clean = fit_error_scale(found, z, LOG_GRID)
    z[::20] = 0.1
    assert fit_error_scale(found, z, LOG_GRID) == pytest.approx(clean, rel=0.05)
    assert fit_error_scale(read_at(log_p[:0], 1.0), z[:0], LOG_GRID) == (1.0, 2.0)
    assert Pulls.of(found, z).confused == 100


def test_repeats_of_one_object_count_as_one():
    """One bad object observed 2000 times must not change what 2000 good ones give."""
    log_p, z = over_confident(2000, 1.0)
    bad = np.full(2000, z[0] + 0.04 * (1 + z[0]))
    both = read_at(np.concatenate([log_p, np.repeat(log_p[:1], 2000, axis=0)]), 1.0)
    share = np.append(np.ones(2000), np.full(2000, 1 / 2000))
    alone = fit_error_scale(read_at(log_p, 1.0), z, LOG_GRID)
    joined = fit_error_scale(both, np.append(z, bad), LOG_GRID, share)
    assert joined == pytest.approx(alone, rel=0.01)
    assert fit_error_scale(both, np.append(z, bad), LOG_GRID)[0] > 2 * alone[0]


def test_pulls_by_hand():
    log_p, _ = over_confident(10, 1.0)
    found = read_at(log_p, 1.0)
    pulls = np.array([-4.0, -1.5, -0.5, 0, 0, 0, 0.5, 0.5, 1.5, 2.5])
    measured = Pulls.of(found, found.z - pulls * found.z_err)
    assert measured[:2] == (10, 0)
    assert measured.median == pytest.approx(0.0, abs=1e-9)
    assert (measured.within_1, measured.within_2, measured.beyond_3) == (0.6, 0.8, 0.1)
    assert Pulls.of(found, np.zeros(10)).n == 0


@pytest.fixture
def planted(monkeypatch):
    """A network whose outputs are given: what it reads are row numbers."""
    log_p, z = over_confident(600, 4.0, width=(2, 4))
    index = np.arange(600)
    flux = np.zeros((600, LOG_GRID.n_bins), np.float32)
    flux[:, 0] = index

    class Given:
        def __init__(self, weights, *_):
            self.config = weights.config

        def predict(self, flux, *, redshifts):
            rows = flux[:, 0].astype(int)
            shape = (len(rows), self.config.n_lines, self.config.n_boxes)
            empty = LineOutputs(np.full(shape, 1e-6), np.full(shape, 0.5, np.float32))
            return replace(empty, log_p=log_p[rows])

    monkeypatch.setattr(calibration, "Predictor", Given)
    weights = from_module(LineFinder(CONFIG, torch.Generator().manual_seed(0)))
    # Three spectra of every object, and rows that are no quasars of known redshift.
    spectype = np.where(index % 10 == 9, SpecType.STAR, SpecType.QSO)
    z[spectype == SpecType.STAR] = 0.0
    z[8] = np.nan
    trains = index != 7
    return weights, TrainingData.make(flux, spectype, z, trains=trains, object_id=index // 3)


def test_recalibration_is_judged_on_other_objects(planted):
    weights, data = planted
    result = recalibrate(weights, data)
    assert (result.before.n, result.n_objects) == (600 - 60 - 2, 200)
    assert result.before.width > 1.4
    assert result.after.width == pytest.approx(1.0, abs=0.12)
    assert result.weights.config.redshift.temperature == pytest.approx(4.0, rel=0.15)
    record = result.weights.provenance["calibrated"]
    assert record == {"quasars": 538, "objects": 200, "from_sha256": weights.digest()}
    assert calibrate(weights, data).config == result.weights.config


def test_too_few_objects_are_refused(planted, caplog):
    weights, data = planted
    few = data[: 3 * MIN_QUASARS - 3]  # enough spectra, too few objects
    with pytest.raises(TruthError, match="99 quasars of known redshift"):
        recalibrate(weights, few)
    assert calibrate(weights, data[:50]) is weights
    assert "too few to calibrate" in caplog.text


def test_boxes_get_their_shift_and_scale_and_keep_them_in_the_file(monkeypatch, tmp_path):
    """Lines planted too red, one of them with larger errors: QuasarNP's files, read so."""
    config = preset("busca2018", **SMALL)
    rng = np.random.default_rng(1)
    z = rng.uniform(0.5, 3.5, 400)
    flux = np.zeros((400, LOG_GRID.n_bins), np.float32)
    flux[:, 0] = np.arange(400)
    shape = (400, config.n_lines, config.n_boxes)
    outputs = LineOutputs(np.full(shape, 1e-6), np.full(shape, 0.5, np.float32))
    for line in config.emission_index:
        rest = config.lines[line].wave_rest_aa
        place = LOG_GRID.position_of(rest * (1 + z)) * config.n_boxes / LOG_GRID.n_bins
        for row in np.flatnonzero(np.isfinite(place) & (place < config.n_boxes - 0.2)):
            off = OFF_BOXES.get(line, 0.1) + rng.normal(0, 0.06 if line == MGII else 0.02)
            box = int(place[row])
            outputs.confidence[row, line, box] = 0.999
            outputs.offset[row, line, box] = place[row] - box + off

    class Given:
        def __init__(self, weights, *_):
            pass

        def predict(self, flux, *, redshifts):
            return outputs[flux[:, 0].astype(int)]

    monkeypatch.setattr(calibration, "Predictor", Given)
    weights = from_module(LineFinder(config, torch.Generator().manual_seed(0)))
    assert weights.joint == CALIBRATION
    data = TrainingData.make(flux, np.full(400, SpecType.QSO), z)
    result = recalibrate(weights, data)
    assert result.before.median > 2
    assert result.after.median == pytest.approx(0.0, abs=0.2)
    assert result.after.width == pytest.approx(1.0, abs=0.15)
    write_weights(result.weights, tmp_path / "w.h5")
    again = read_weights(tmp_path / "w.h5")
    assert again.joint == result.weights.joint
    lines = again.joint.lines
    assert lines["CIV"].shift == pytest.approx(0.1, abs=0.005)
    assert lines["MgII"].shift == pytest.approx(0.14, abs=0.012)
    assert lines["MgII"].width / lines["CIV"].width == pytest.approx(3.0, rel=0.2)
    assert lines["Halpha"] == CALIBRATION.lines["Halpha"]  # hardly ever on the grid
    error, confidence = place_errors(outputs, z, config)
    assert np.nanstd(error[:, 1]) == pytest.approx(0.02, rel=0.1)
    assert (confidence[np.isfinite(error)] == 0.999).all()


@pytest.mark.parametrize(
    "stored",
    [
        {"lines": {}, "error_scale": 0},
        {"lines": {}},
        {"error_scale": 1.0},
        {"lines": {"CIV": {"width": 0}}, "error_scale": 1.0},
        {"lines": {"CIV": {"shift": "x"}}, "error_scale": 1.0},
        {"lines": {"CIV": {"color": 1.0}}, "error_scale": 1.0},
        [1],
        3,
    ],
)
def test_impossible_numbers_in_a_file_are_refused(stored, tmp_path):
    weights = from_module(LineFinder(preset("busca2018", **SMALL), torch.Generator()))
    weights = replace(weights, provenance={"joint_calibration": stored})
    with pytest.raises(WeightsError, match="joint_calibration"):
        write_weights(weights, tmp_path / "w.h5")
        read_weights(tmp_path / "w.h5")
