"""What `quasarloop train` begins from: the shipped weights, given ones, or nothing."""

import logging

import pytest
from typer.testing import CliRunner

import quasarloop as ql
from quasarloop.cli import app
from quasarloop.errors import WeightsError
from quasarloop.network.options import TrainingOptions
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


def test_python_begins_as_the_command_does(sky, caplog):
    truth = ql.read_truth(sky / "sky/truth.csv")
    logging.getLogger("quasarloop").propagate = True
    tuned = ql.train(sky / "store", truth, options=ql.FinetuneOptions(epochs=1, rehearsal=1))
    record = tuned.weights.provenance
    assert record["first_weights_sha256"] == read_weights(default_weights_path()).digest()
    assert record["n_rehearsal_rows"] == record["n_training_rows"] > 0
    assert "few for a network" not in caplog.text
    once = TrainingOptions(epochs=1)
    new = ql.train(sky / "store", truth, network="busca2018", options=once, n_filters=4)
    assert new.weights.provenance["first_weights_sha256"] == "random"
    assert caplog.text.count("few for a network from nothing (fewer than 1000)") == 1


def test_a_preset_and_weights_to_start_from_exclude_each_other(sky, tmp_path):
    truth = ql.read_truth(sky / "sky/truth.csv")
    with pytest.raises(WeightsError, match=r"trains from nothing.* give one of them"):
        ql.train(sky / "store", truth, network="green2025", start="shipped")
    words = ["--from", "shipped", "--preset", "green2025", "--out", str(tmp_path / "w.h5")]
    words += ["--store", str(sky / "store"), "--truth", str(sky / "sky/truth.csv")]
    result = CliRunner().invoke(app, ["train", *words])
    assert result.exit_code == 1
    assert "green2025 trains from nothing, --from shipped" in str(result.exception)
