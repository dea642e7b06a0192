"""quasarloop ensemble: from a store and a truth table to votes, by commands alone."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from quasarloop.cli import app
from quasarloop.ensemble.manifest import open_ensemble
from quasarloop.ensemble.votes_folder import open_votes
from quasarloop.errors import WeightsError
from quasarloop.network import config
from quasarloop.read import write_truth
from quasarloop.truth import TruthTable

sys.path.insert(0, str(Path(__file__).parents[1] / "ensemble"))
import ensemble_fakes as fakes


def run(*words):
    return CliRunner().invoke(app, ["ensemble", *map(str, words)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of 130 spectra, truth for the first shard, and a two-member ensemble."""
    root = tmp_path_factory.mktemp("cli")
    fakes.small_store(root / "store", (100, 30))
    data = fakes.small_sky(100, seed=1)
    truth = TruthTable.make(np.arange(100) + 1000, data.spectype, data.z)
    write_truth(truth, root / "truth.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(config.PRESETS, "green2025", fakes.SMALL_NETWORK)
        result = run(
            *("train", "--store", root / "store", "--truth", root / "truth.csv"),
            *("--out", root / "e", "--networks", 2, "--epochs", 3, "--batch-size", 32),
            *("--learning-rate", 0.01, "--seed", 5, "--dropout", 0.1),
        )
    assert result.exit_code == 0, result.output
    assert "2 networks" in result.output
    return root


def test_train_wrote_what_was_asked_for(folder):
    ensemble = open_ensemble(folder / "e")
    assert len(ensemble) == 2
    assert ensemble.config.dropout == 0.1
    assert ensemble.record["training"]["epochs"] == 3
    assert ensemble.record["training"]["learning_rate"] == 0.01
    assert ensemble.record["seed"] == 5
    assert ensemble.record["inputs"]["truth"][0]["file"] == "truth.csv"
    # Row 1 of the shard has no data: 99 of the 100 labelled spectra train.
    assert ensemble.record["n_spectra"] == 99


def test_vote_writes_votes_at_the_thresholds_asked_for(folder):
    result = run(
        *("vote", "--ensemble", folder / "e", "--store", folder / "store"),
        *("--out", folder / "votes", "--threshold", 0.3, "--keep-members"),
    )
    assert result.exit_code == 0, result.output
    assert "130 spectra, 2 networks" in result.output
    votes = open_votes(folder / "votes")
    assert votes.rule.thresholds == (0.3, 0.95)
    assert {"N_LOW_Z_030", "N_LOW_Z_095"} <= set(pl.read_parquet_schema(votes.files[0]))
    assert len(list((folder / "votes" / "members").glob("*.parquet"))) == 2


def test_info_shows_what_it_is_made_of(folder):
    result = run("info", folder / "e")
    assert result.exit_code == 0, result.output
    for words in (
        "2 networks, all there",
        "443 bins",
        "99 spectra of 99 objects",
        "training epochs",
    ):
        assert words in result.output


def test_help_has_examples():
    for command in ("train", "vote", "info"):
        assert "Example: quasarloop ensemble" in run(command, "--help").output


def test_a_missing_ensemble_is_one_clear_error(folder):
    result = run("info", folder)
    assert isinstance(result.exception, WeightsError)
    assert "no finished ensemble" in str(result.exception)


def test_heads_are_trained_on_given_weights_and_vote(folder):
    trunk = open_ensemble(folder / "e").members[0]
    result = run(
        *("train", "--store", folder / "store", "--truth", folder / "truth.csv"),
        *("--out", folder / "h", "--from", trunk, "--heads", 4, "--seed", 5),
    )
    assert result.exit_code == 0, result.output
    assert "4 heads" in result.output
    words = ("vote", "--ensemble", folder / "h", "--store", folder / "store")
    result = run(*words, "--out", folder / "h-votes", "--features", folder / "f")
    assert result.exit_code == 0, result.output
    assert "130 spectra, 4 heads" in result.output
    assert (folder / "f" / "features.json").exists()
    result = run("info", folder / "h")
    assert "4 heads, all there" in result.output
    assert "prior" in result.output
    again = run(
        *("train", "--store", folder / "store", "--truth", folder / "truth.csv"),
        *("--out", folder / "h2", "--from", trunk, "--heads", 2, "--features", folder / "f"),
    )
    assert again.exit_code == 0, again.output
