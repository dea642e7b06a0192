"""``quasarloop train`` on real spectra: files written, killed and resumed, wrong input."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from quasarloop.cli import app, main
from quasarloop.grid import LOG_GRID
from quasarloop.network.records import read_history
from quasarloop.network.weights import read_weights
from quasarloop.store import ingest

QUICK = ["--epochs", "2", "--learning-rate", "0.002", "--batch-size", "32"]


@pytest.fixture(scope="module")
def sky(shared_data, tmp_path_factory):
    """A store and a truth table of the 101 real spectra of plate 7102."""
    folder = tmp_path_factory.mktemp("sky")
    plate = shared_data / "boss_plate7102"
    ingest(sorted(plate.glob("spec-*.fits")), folder / "store", LOG_GRID)
    return folder / "store", plate / "truth.csv"


def files(sky, out):
    store, truth = sky
    return ["train", "--store", str(store), "--truth", str(truth), "--out", str(out)]


def command(sky, out, *more):
    return [*files(sky, out), "--preset", "busca2018", *QUICK, *more]


def further(sky, out, first):
    return [*files(sky, out), "--from", str(first), "--epochs", "2"]


def run(arguments):
    return CliRunner().invoke(app, arguments)


def test_trains_on_real_spectra_and_writes_four_files(sky, tmp_path):
    out = tmp_path / "w.h5"
    result = run(command(sky, out, "--seed", "3", "--dropout", "0.1"))
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["w.h5", "w.history.parquet", "w.history.png", "w.json"]
    manifest = json.loads((tmp_path / "w.json").read_text())
    assert manifest["spectra"]["spectra"] == 101
    assert manifest["spectra"]["used"] == 101
    assert manifest["spectra"]["quasars"] == 62
    assert (manifest["n_train"], manifest["n_validation"]) == (71, 30)
    weights = read_weights(out)
    assert weights.config.grid == LOG_GRID
    assert weights.config.dropout == 0.1
    assert weights.provenance["seed"]["entropy"] == "3"
    assert len(read_history(tmp_path / "w.history.parquet")) == 2
    assert "epoch" in result.stdout
    assert str(out) in result.stdout


def test_our_preset_trains_a_redshift_head_that_classify_uses(sky, shared_data, tmp_path):
    out, made = tmp_path / "w.h5", tmp_path / "c.parquet"
    result = run(command(sky, out, "--preset", "quasarloop2026", "--validation", "0"))
    assert result.exit_code == 0, result.output
    assert read_weights(out).config.redshift is not None
    assert all(
        record.loss_redshift > 0 for record in read_history(out.with_suffix(".history.parquet"))
    )
    plate = str(shared_data / "boss_plate7102")
    result = run(["classify", plate, "--weights", str(out), "--out", str(made)])
    assert result.exit_code == 0, result.output
    story = json.loads(pq.read_schema(made).metadata[b"quasarloop"])
    assert story["redshift_head"]["n_channels"] == 64
    plain = run(
        ["classify", plate, "--weights", str(out), "--out", str(made), "--no-joint", "--overwrite"]
    )
    assert plain.exit_code == 0, plain.output
    assert "Z_JOINT" not in pq.read_schema(made).names


def test_same_seed_same_files(sky, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert run(command(sky, tmp_path / name / "w.h5", "--seed", "4")).exit_code == 0
    for file in ("w.h5", "w.history.parquet", "w.history.png", "w.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_goes_on_from_given_weights_with_all_spectra(sky, tmp_path):
    assert run(command(sky, tmp_path / "first.h5")).exit_code == 0
    again = further(sky, tmp_path / "w.h5", tmp_path / "first.h5")
    assert run([*again, "--validation", "0", "--rehearsal", "0"]).exit_code == 0
    first, second = (read_weights(tmp_path / name) for name in ("first.h5", "w.h5"))
    assert second.provenance["first_weights_sha256"] == first.digest()
    assert second.provenance["n_training_rows"] == 101
    assert np.isnan(read_history(tmp_path / "w.history.parquet")[0].validation_loss)


def test_fine_tuning_has_options_of_its_own(sky, tmp_path):
    store, truth = sky
    assert run(command(sky, tmp_path / "first.h5")).exit_code == 0
    out = tmp_path / "w.h5"
    words = ["train", "--store", str(store), "--truth", str(truth), "--out", str(out)]
    more = ["--from", str(tmp_path / "first.h5"), "--epochs", "1", "--validation", "0"]
    result = run([*words, *more, "--rehearsal", "1"])
    assert result.exit_code == 0, result.output
    record = read_weights(out).provenance
    used = {name: record["options"][name] for name in ("epochs", "learning_rate", "batch_size")}
    assert used == {"epochs": 1, "learning_rate": 1e-3, "batch_size": 64}  # one was given
    assert (record["n_training_rows"], record["n_rehearsal_rows"]) == (101, 101)


_NEVER_DONE = """
import time
from quasarloop.cli import main
from quasarloop.network import train_files
train_files.write_history = lambda *_: time.sleep(1e6)
main()
"""


def test_killed_and_resumed_gives_the_same_bytes(sky, tmp_path, wait_until):
    (tmp_path / "whole").mkdir()
    whole = tmp_path / "whole" / "w.h5"
    assert run(command(sky, whole, "--epochs", "3")).exit_code == 0
    out = tmp_path / "w.h5"
    arguments = command(sky, out, "--epochs", "3")
    child = subprocess.Popen(
        [sys.executable, "-c", _NEVER_DONE, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    checkpoint = tmp_path / "w.checkpoint" / "checkpoint.npz"
    wait_until(lambda: checkpoint.exists() or child.poll() is not None)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert checkpoint.exists()
    assert not out.exists()
    refused = run(arguments)
    assert refused.exit_code == 1
    assert "--resume" in str(refused.exception)
    assert run([*arguments, "--resume"]).exit_code == 0
    assert out.read_bytes() == whole.read_bytes()
    assert not checkpoint.parent.exists()


def test_existing_result_and_missing_folder(sky, tmp_path):
    out = tmp_path / "w.h5"
    out.write_text("mine")
    result = run(command(sky, out))
    assert result.exit_code == 1
    assert "exists" in str(result.exception)
    assert out.read_text() == "mine"
    assert run(command(sky, out, "--overwrite")).exit_code == 0
    result = run(command(sky, tmp_path / "no" / "w.h5"))
    assert "does not exist" in str(result.exception)


def test_weights_of_another_grid(sky, tmp_path):
    store = tmp_path / "linear"
    from quasarloop.grid import LINEAR_GRID
    from quasarloop.store import create_store

    create_store(store, LINEAR_GRID)
    assert run(command(sky, tmp_path / "w.h5")).exit_code == 0
    result = run(further((store, sky[1]), tmp_path / "v.h5", tmp_path / "w.h5"))
    assert result.exit_code == 1
    assert "linear grid" in str(result.exception)


def test_an_empty_store_is_one_clear_sentence(sky, tmp_path, monkeypatch, capsys):
    from quasarloop.store import create_store

    create_store(tmp_path / "empty", LOG_GRID)
    arguments = command((tmp_path / "empty", sky[1]), tmp_path / "w.h5")
    monkeypatch.setattr(sys, "argv", ["quasarloop", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert "none of the 0 spectra can train" in " ".join(capsys.readouterr().err.split())
