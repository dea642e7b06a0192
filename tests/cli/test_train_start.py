"""What `quasarloop train` begins from: the shipped weights, given ones, or nothing."""

import logging

import numpy as np
import pytest
from typer.testing import CliRunner

import quasarloop as ql
from quasarloop.cli import app
from quasarloop.network.weights import default_weights_path, read_weights


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A store of 30 simulated spectra, with truth."""
    folder = tmp_path_factory.mktemp("sky")
    ql.simulate_sky(folder / "sky", 30, seed=3)
    ql.ingest(sorted((folder / "sky").rglob("coadd-*.fits")), folder / "store")
    return folder


def train(sky, out, *more):
    words = ["train", "--store", sky / "store", "--truth", sky / "sky/truth.csv", "--out", out]
    result = CliRunner().invoke(app, [str(word) for word in [*words, "--epochs", "1", *more]])
    assert result.exit_code == 0, result.output
    return read_weights(out)


def test_training_begins_from_the_shipped_weights(sky, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "quasarloop"):
        weights = train(sky, tmp_path / "w.h5", "--rehearsal", 1)
    shipped = read_weights(default_weights_path())
    assert weights.provenance["first_weights_sha256"] == shipped.digest()
    assert weights.provenance["n_rehearsal_rows"] > 0
    assert "few for a network" not in caplog.text


def test_a_preset_begins_from_nothing_and_few_labels_are_a_warning(sky, tmp_path, caplog):
    logging.getLogger("quasarloop").propagate = True  # the command line turns it off
    with caplog.at_level(logging.WARNING, "quasarloop"):
        weights = train(sky, tmp_path / "w.h5", "--preset", "busca2018", "--validation", 0)
    assert weights.provenance["first_weights_sha256"] == "random"
    assert "few for a network from nothing (fewer than 1000)" in caplog.text


def test_python_warns_from_nothing_alone(sky, monkeypatch, caplog):
    monkeypatch.setattr("quasarloop.api.train.train_network", lambda *_, **__: None)
    truth = ql.read_truth(sky / "sky/truth.csv")
    logging.getLogger("quasarloop").propagate = True
    for start, few in (("shipped", 0), (None, 1)):
        caplog.clear()
        ql.train(sky / "store", truth, start=start)
        assert caplog.text.count("few for a network") == few
    assert np.size(truth.z) >= 30
