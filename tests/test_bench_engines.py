"""Other engines for the network: the same outputs, and left out where they are not installed."""

import sys

import numpy as np
import pytest
from benchmarks.bench_engines import predictors

from quasarloop.network.predict import Predictor
from quasarloop.network.weights import default_weights_path, read_weights


def test_an_engine_that_is_not_installed_is_left_out_with_one_line(monkeypatch, capsys):
    for name in ("onnx", "onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    assert predictors() == {"torch": Predictor}
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" is left out")[0] for line in lines] == ["ONNX Runtime", "OpenVINO"]
    assert all(line.endswith("pip install --group engines") for line in lines)


@pytest.fixture(scope="module")
def weights():
    return read_weights(default_weights_path())


@pytest.fixture(scope="module")
def flux(weights):
    n_bins = weights.config.grid.n_bins  # two blocks, one not full
    return np.random.default_rng(0).normal(size=(150, n_bins)).astype(np.float32)


@pytest.mark.bench  # which installs them
@pytest.mark.parametrize("name", ["ONNX Runtime", "OpenVINO"])
def test_engines_predict_what_torch_predicts(name, weights, flux):
    kinds = predictors()
    if name not in kinds:
        pytest.skip(f"{name} is not installed: pip install --group engines")
    ours = Predictor(weights, "cpu").predict(flux, redshifts=True)
    theirs = kinds[name](weights, "cpu").predict(flux, redshifts=True)
    np.testing.assert_allclose(theirs.confidence, ours.confidence, rtol=0, atol=1e-5)
    np.testing.assert_allclose(theirs.offset, ours.offset, rtol=0, atol=1e-5)
    np.testing.assert_allclose(theirs.log_p, ours.log_p, rtol=0, atol=1e-3)
