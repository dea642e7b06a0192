"""The evaluate commands on real spectra, as a user types them."""

import json

import pytest
from typer.testing import CliRunner

from quasarloop.catalogue.classify import classify_to_file
from quasarloop.cli import app
from quasarloop.errors import TruthError


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="module")
def made(shared_data, tmp_path_factory):
    """Catalogues of the 25 epochs of one quasar, by both fixture networks, and of plate 7102."""
    folder = tmp_path_factory.mktemp("catalogues")
    fixture = shared_data / "quasarnp_fixture"
    for name, weights in (("old", "test_weights.h5"), ("new", "test_weights_6_layer.h5")):
        epochs = shared_data / "rm017_repeats"
        classify_to_file([epochs], folder / f"{name}.parquet", weights=fixture / weights)
    plate = shared_data / "boss_plate7102"
    classify_to_file([plate], folder / "plate.fits", weights=fixture / "test_weights.h5")
    return folder


def test_evaluate_prints_and_keeps_the_numbers(made, shared_data, tmp_path):
    truth = shared_data / "boss_plate7102" / "truth.csv"
    result = run(
        "evaluate", "--catalogue", made / "plate.fits", "--truth", truth, "--out", tmp_path / "e"
    )
    assert result.exit_code == 0
    assert "62/62" in result.stdout
    numbers = json.loads((tmp_path / "e" / "evaluation.json").read_text())["judgements"]["plate"]
    assert (numbers["n_judged"], numbers["n_true"]) == (101, 62)
    assert numbers["false_found"] == {"GALAXY": 0, "STAR": 0}
    assert (tmp_path / "e" / "evaluation.png").stat().st_size > 10_000


def test_repeats_of_one_real_quasar(made, shared_data, tmp_path):
    truth = shared_data / "rm017_repeats" / "truth.csv"
    result = run(
        *("evaluate", "repeats", "--catalogue", made / "old.parquet"),
        *("--catalogue", made / "new.parquet", "--truth", truth, "--out", tmp_path / "r"),
    )
    assert result.exit_code == 0
    numbers = json.loads((tmp_path / "r" / "repeats.json").read_text())["numbers"]
    # The truth table says that all 25 epochs are one object.
    assert numbers["old"]["objects"] == 1
    assert numbers["old"]["confused"] == 0
    assert 0 < numbers["old"]["median_z_std"] < 0.01
    assert numbers["new"]["confused"] == 1
    for name in ("repeats_confusion.png", "repeats_scatter.png"):
        assert (tmp_path / "r" / name).stat().st_size > 5000


def test_compare_two_weights_files_on_spectra(made, shared_data, tmp_path):
    fixture = shared_data / "quasarnp_fixture"
    result = run(
        *("evaluate", "compare", "--a", fixture / "test_weights.h5"),
        *("--b", fixture / "test_weights_6_layer.h5"),
        *("--spectra", shared_data / "boss_plate7102", "--out", tmp_path / "c"),
    )
    assert result.exit_code == 0
    numbers = json.loads((tmp_path / "c" / "compare.json").read_text())["numbers"]
    assert numbers["spectra"] == 101
    assert numbers["quasars of both"] == 62
    assert "within 3000 km/s" in numbers
    assert (tmp_path / "c" / "compare.png").stat().st_size > 10_000


def test_oscillation_without_enough_lines_says_nothing_wrong(made, tmp_path):
    result = run(
        *("evaluate", "oscillation", "--catalogue", made / "plate.fits", "--line", "CIV"),
        *("--out", tmp_path / "o"),
    )
    assert result.exit_code == 0
    assert json.loads((tmp_path / "o" / "oscillation.json").read_text())["numbers"] is not None


def test_joint_redshifts_are_measured_if_asked_for(made, tmp_path):
    plate, lines = made / "plate.fits", ("--line", "CIV")
    run(
        *("evaluate", "oscillation", "--catalogue", plate, "--joint", *lines),
        *("--min-confidence", "0.0", "--out", tmp_path / "o"),
    )
    numbers = json.loads((tmp_path / "o" / "oscillation.json").read_text())["numbers"]
    assert {name.rsplit(", ", 1)[1] for name in numbers} == {"plate", "joint"}
    run("evaluate", "compare", "--a", plate, "--b", plate, "--joint", "--out", tmp_path / "c")
    same = json.loads((tmp_path / "c" / "compare.json").read_text())["numbers"]
    assert same["confusions"] == []


def test_missing_inputs_are_named(tmp_path):
    result = CliRunner().invoke(app, ["evaluate"])
    assert result.exit_code == 2
    with pytest.raises(TruthError, match=r"t\.csv: cannot be read"):
        run("evaluate", "--catalogue", tmp_path / "none.fits", "--truth", tmp_path / "t.csv")
