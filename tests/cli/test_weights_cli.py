"""quasarloop weights: what is printed, and what is rewritten."""

import json
from dataclasses import replace

import h5py
import pytest
import torch
from typer.testing import CliRunner

import quasarloop
from quasarloop.cli import app
from quasarloop.errors import OutputError, TruthError, WeightsError
from quasarloop.grid import LINEAR_GRID
from quasarloop.network.config import preset
from quasarloop.network.model import LineFinder
from quasarloop.network.weights import (
    default_weights_path,
    from_module,
    read_weights,
    write_weights,
)


def run(*words):
    return CliRunner().invoke(app, ["weights", *map(str, words)])


@pytest.fixture
def file(tmp_path):
    config = preset("busca2018", LINEAR_GRID, n_filters=4, n_dense=3)
    module = LineFinder(config, torch.Generator().manual_seed(0))
    path = tmp_path / "w.h5"
    write_weights(from_module(module, {"seed": 11, "data": {"n": 5}}), path)
    return path


def test_info_prints_the_network(file):
    result = run("info", file)
    assert result.exit_code == 0, result.output
    for words in (
        "458 → 225 → 108 → 50 → 21",
        "linear grid, 458 bins",
        "rescaled",
        "confidence > 0.95",
        "conv_4",
        "data.n",
        "batch_normalization_1 … batch_normalization_5",
    ):
        assert words in result.output
    # conv: 10·4 + 3·(10·4·4) + 4·4 = 536; norms 4·(4·4) + 4·3 = 76; common 84·3 + 3 = 255;
    # heads 14·(3·13 + 13) = 728: together 1595. Of the norms half (38) is not trained.
    assert "1,595, 1,557 of them trained" in result.output
    assert "none in the file" not in result.output


def test_info_as_json(file):
    record = json.loads(run("info", file, "--json").output)
    assert record["provenance"]["seed"] == 11
    assert record["layers"][0] == {
        "layer": "conv_1",
        "name in file": "conv_1",
        "kernel": "10×1×4",
        "width": "225",
        "numbers": "44",
    }
    assert record["digest"] == read_weights(file).digest()


def shift_lambdas(path):
    """What a process leaves that built one network before."""
    with h5py.File(path, "r+") as content:
        model = json.loads(content.attrs["model_config"])
        for layer in model["config"]["layers"]:
            if layer["class_name"] == "Lambda":
                number = int(layer["name"].removeprefix("lambda").removeprefix("_") or 0)
                old, new = layer["name"], f"lambda_{number + 7}"
                layer["name"] = layer["config"]["name"] = new
                content["model_weights"].move(old, new)
        content.attrs["model_config"] = json.dumps(model)
        del content.attrs["quasarloop"]
        del content["model_grid"]


def test_convert_makes_the_offsets_safe(file, tmp_path):
    before = read_weights(file)
    shift_lambdas(file)
    assert "WRONG" in run("info", file, "--grid", "linear").output
    result = run("convert", file, tmp_path / "safe.h5", "--grid", "linear")
    assert result.exit_code == 0, result.output
    assert f"QuasarNP read {file} as plain" in result.output
    assert "as rescaled" in result.output
    after = read_weights(tmp_path / "safe.h5")
    assert after.digest() == before.digest()
    assert after.provenance["origin"]["file"] == "w.h5"
    with h5py.File(tmp_path / "safe.h5") as content:
        assert len(content["model_weights/lambda"]) == 0
    assert "WRONG" not in run("info", tmp_path / "safe.h5").output


def test_convert_as_asked(file, tmp_path):
    assert run("convert", file, tmp_path / "plain.h5", "--offsets", "plain").exit_code == 0
    assert not read_weights(tmp_path / "plain.h5").config.rescales_offsets
    with h5py.File(tmp_path / "plain.h5") as content:
        assert "lambda" not in content["model_weights"]


def test_convert_writes_over_nothing_unasked(file):
    result = run("convert", file, file)
    assert isinstance(result.exception, OutputError)
    assert run("convert", file, file, "--overwrite").exit_code == 0


def test_bad_files_say_so(tmp_path):
    result = run("info", tmp_path / "none.h5")
    assert isinstance(result.exception, WeightsError)
    result = run("convert", tmp_path / "none.h5", tmp_path / "out.h5")
    assert isinstance(result.exception, WeightsError)
    assert not (tmp_path / "out.h5").exists()


def test_adapt_writes_weights_with_a_record(file, tmp_path):
    sky, store, out = tmp_path / "sky", tmp_path / "store", tmp_path / "adapted.h5"
    truth = quasarloop.simulate_sky(sky, 600, seed=3)
    assert truth.is_file()
    quasarloop.ingest(sorted(sky.rglob("coadd-*.fits")), store, LINEAR_GRID)
    words = ("adapt", "--weights", file, "--store", store, "--out", out)
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert "were quasars" in result.output
    adapted, before = read_weights(out), read_weights(file)
    assert adapted.provenance["adapted"]["from_sha256"] == before.digest()
    for name, array in adapted.arrays.items():
        assert (array == before.arrays[name]).all() == ("/moving_" not in name)
    again = run(*words)
    assert isinstance(again.exception, OutputError)


def test_calibrate_prints_pulls_and_keeps_everything_else(tmp_path):
    """Of the shipped weights, with a planted mistake: uncertainties five times too small."""
    shipped = read_weights(default_weights_path())
    head = shipped.config.redshift
    poor = replace(shipped, config=replace(shipped.config, redshift=replace(head, error_scale=0.1)))
    path, store, out = tmp_path / "w.h5", tmp_path / "store", tmp_path / "out.h5"
    write_weights(poor, path)
    truth = quasarloop.simulate_sky(tmp_path / "sky", 260, seed=3)
    quasarloop.ingest(sorted((tmp_path / "sky").rglob("coadd-*.fits")), store)
    words = ("calibrate", path, "--store", store, "--truth", truth, "--out", out)
    result = run(*words)
    assert result.exit_code == 0, result.output
    rows = [line.split("│") for line in result.output.splitlines() if "│" in line]
    width = {row[1].strip(): float(row[4]) for row in rows}
    assert width["before"] > 2
    assert width["after"] == pytest.approx(1.0, abs=0.25)
    calibrated = read_weights(out)
    assert calibrated.provenance["calibrated"]["from_sha256"] == poor.digest()
    assert all((calibrated.arrays[name] == array).all() for name, array in poor.arrays.items())
    assert isinstance(run(*words).exception, OutputError)
    few = tmp_path / "few.csv"
    lines = truth.read_text().splitlines()
    few.write_text("\n".join(lines[:60]) + "\n")
    refused = run(*words[:-3], few, "--out", tmp_path / "no.h5")
    assert isinstance(refused.exception, TruthError)
    assert "too few" in str(refused.exception)
    assert "few.csv" in str(refused.exception)
    assert not (tmp_path / "no.h5").exists()
