"""Thresholds stored in weights decide in every product, unless options override them."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import quasarloop as ql
from quasarloop.artefacts import checksum
from quasarloop.catalogue.classify import catalogue_thresholds, read_catalogue
from quasarloop.classes import ThresholdOptions, Thresholds, Vote
from quasarloop.cli import app
from quasarloop.ensemble.manifest import open_ensemble, write_ensemble_manifest
from quasarloop.ensemble.options import VoteOptions
from quasarloop.ensemble.vote import vote
from quasarloop.ensemble.votes import count_column
from quasarloop.errors import WeightsError
from quasarloop.network.decode import best_lines
from quasarloop.network.weights import (
    default_weights_path,
    read_thresholds,
    read_weights,
    write_weights,
)
from quasarloop.store import ingest, open_store
from quasarloop.tables import read_record
from quasarloop.truth import SpecType, TruthTable

sys.path.insert(0, str(Path(__file__).parent / "afterburner"))
from afterburner_rows import make_tile

STORED = (0.95, 0.2, 0.999)


def run(*words):
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def copies(source, folder):
    """The same network with three confidence thresholds and a class border of 1.5."""
    weights = read_weights(source)
    paths = {}
    for confidence in STORED:
        stored = Thresholds(confidence, 1, 1.5).to_dict()
        provenance = {**weights.provenance, "thresholds": stored}
        paths[confidence] = folder / f"w-{confidence}.h5"
        write_weights(replace(weights, provenance=provenance), paths[confidence])
    return paths


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return copies(default_weights_path(), tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def tile(tmp_path_factory):
    return make_tile(tmp_path_factory.mktemp("thresholds"), 120)


@pytest.fixture(scope="module")
def best(tile, weights):
    """Largest confidence over emission lines of every spectrum of the tile, and its redshift."""
    table = ql.classify(tile.coadd, weights[0.95])
    names = [name[2:] for name in table.colnames if name.startswith("C_") and name != "C_BAL"]
    confidence = np.nan_to_num(np.column_stack([table[f"C_{name}"] for name in names]), nan=-1.0)
    return confidence.max(axis=1), np.asarray(table["Z_BEST"])


def test_confidences_of_the_tile_lie_between_the_thresholds(best):
    counts = [int((best[0] > t).sum()) for t in STORED]
    assert counts[1] > counts[0] > counts[2] > 0  # or nothing below could fail


def test_classify_uses_the_thresholds_of_the_weights(tmp_path, tile, weights, best):
    confidence, z = best
    for stored, path in weights.items():
        table = ql.classify(tile.coadd, path)
        assert table["IS_QSO"].tolist() == (confidence > stored).tolist()
        high = (confidence > stored) & (z >= 1.5)
        assert (table["CLASS"] == "HIGH_Z").tolist() == high.tolist()
        out = tmp_path / f"{stored}.fits"
        run("classify", tile.coadd, "--out", out, "--weights", path)
        assert read_catalogue(out)["IS_QSO"].tolist() == table["IS_QSO"].tolist()
        for record in (table.meta["options"], read_record(out)["options"]):
            assert (record["threshold"], record["n_lines"], record["high_z_min"]) == (
                stored,
                1,
                1.5,
            )
            assert set(record["thresholds_from"].values()) == {"weights"}


@pytest.mark.parametrize("ending", ["fits", "parquet", "csv", "ecsv"])
def test_options_override_and_are_recorded(tmp_path, tile, weights, best, ending):
    out = tmp_path / f"c.{ending}"
    words = ("--weights", weights[0.999], "--threshold", 0.2, "--high-z-min", 3)
    run("classify", tile.coadd, "--out", out, *words)
    block = read_catalogue(out)
    assert block["IS_QSO"].tolist() == (best[0] > 0.2).tolist()
    table = ql.classify(tile.coadd, weights[0.999], threshold=0.2, high_z_min=3.0)
    assert block["CLASS"].tolist() == table["CLASS"].tolist()
    record = read_record(out)["options"]
    assert (record["threshold"], record["n_lines"], record["high_z_min"]) == (0.2, 1, 3.0)
    assert record["thresholds_from"] == {
        "confidence": "option",
        "n_lines": "weights",
        "high_z_min": "option",
    }
    assert catalogue_thresholds(read_record(out)) == Thresholds(0.2, 1, 3.0)


def test_three_lines_of_the_weights_must_count(tmp_path, tile, weights):
    stored = read_weights(weights[0.2])
    path = tmp_path / "three.h5"
    provenance = {"thresholds": {"n_lines": 3}}
    write_weights(replace(stored, provenance=provenance), path)
    three, given = ql.classify(tile.coadd, path), ql.classify(tile.coadd, weights[0.95], n_lines=3)
    one = ql.classify(tile.coadd, weights[0.95])
    assert three["IS_QSO"].tolist() == given["IS_QSO"].tolist()
    assert 0 < three["IS_QSO"].sum() < one["IS_QSO"].sum()


def test_evaluate_uses_the_thresholds_of_the_catalogue(tmp_path, tile, weights, best):
    table = ql.classify(tile.coadd, weights[0.2])
    n = len(table)
    truth = TruthTable.make(
        np.asarray(table["TARGETID"]), np.full(n, SpecType.QSO), np.ones(n), quality=np.full(n, 4)
    )
    assert ql.judge(table, truth).thresholds == Thresholds(0.2, 1, 1.5)
    assert ql.judge(table, truth).completeness.part == (best[0] > 0.2).sum()
    assert ql.judge(table, truth, threshold=0.999).completeness.part == (best[0] > 0.999).sum()
    without = {name: np.asarray(table[name]) for name in table.colnames}
    assert ql.judge(without, truth).thresholds.origins["confidence"] == "default"


def test_evaluate_command_records_where_the_threshold_comes_from(tmp_path, tile, weights):
    catalogue = tmp_path / "c.parquet"
    run("classify", tile.coadd, "--out", catalogue, "--weights", weights[0.2])
    block = read_catalogue(catalogue)
    truth = tmp_path / "truth.csv"
    rows = pl.DataFrame({"TARGETID": block["TARGETID"]}).with_columns(
        SPECTYPE=pl.lit("QSO"), Z=pl.lit(1.0), QUALITY=pl.lit(4)
    )
    rows.write_csv(truth)
    found = {}
    for name, words in {"own": (), "given": ("--threshold", 0.999)}.items():
        files = ("--catalogue", catalogue, "--truth", truth, "--out", tmp_path / name)
        run("evaluate", *files, *words)
        numbers = json.loads((tmp_path / name / "evaluation.json").read_text())
        record = numbers["judgements"]["c"]
        found[name] = (record["threshold"], record["thresholds_from"]["confidence"])
    assert found == {"own": (0.2, "catalogue"), "given": (0.999, "option")}


@pytest.fixture(scope="module")
def store(tile, tmp_path_factory):
    folder = tmp_path_factory.mktemp("votes") / "store"
    ingest([tile.coadd], folder)
    return open_store(folder)


def ensemble_of(folder, *paths):
    """An ensemble of these weights files."""
    (folder / "members").mkdir(parents=True)
    members = []
    for number, path in enumerate(paths):
        member = folder / "members" / f"{number:04d}.h5"
        member.write_bytes(path.read_bytes())
        members.append({"file": f"members/{member.name}", "sha256": checksum(member)})
    write_ensemble_manifest(folder, read_weights(paths[0]).config, members, {})
    return open_ensemble(folder)


def test_votes_use_the_thresholds_of_the_members(tmp_path, store, weights):
    quasars, recorded = [], []
    for stored, path in weights.items():
        ensemble = ensemble_of(tmp_path / f"e-{stored}", path)
        votes = vote(ensemble, store, tmp_path / f"v-{stored}")
        table = pl.read_parquet(votes.files)
        counted = [table[count_column(v, stored)] for v in (Vote.LOW_Z, Vote.HIGH_Z)]
        by_redshift = table.filter(pl.col("Z_Q50").is_not_nan())
        assert len(by_redshift) == sum(c.sum() for c in counted)  # of one member
        assert (by_redshift["Z_Q50"].to_numpy() >= np.float32(1.5)).sum() == counted[1].sum()
        quasars.append(len(by_redshift))
        recorded.append((votes.rule.decision, set(votes.record["thresholds_from"].values())))
    assert quasars[1] > quasars[0] > quasars[2] > 0
    assert recorded == [(Thresholds(t, 1, 1.5), {"weights"}) for t in STORED]


def test_entropy_is_that_of_the_deciding_threshold(tmp_path, store, weights):
    ensemble = ensemble_of(tmp_path / "e", weights[0.2], weights[0.95])
    with pytest.raises(WeightsError, match=r"0000\.h5 .*0001\.h5.*give them as options"):
        vote(ensemble, store, tmp_path / "v")
    given = VoteOptions(threshold=0.7, counted_at=(0.5,))
    votes = vote(ensemble, store, tmp_path / "v", options=given)
    assert votes.rule.thresholds == (0.5, 0.7)
    assert votes.rule.decision == Thresholds(0.7, 1, 1.5)
    assert votes.record["thresholds_from"] == {
        "confidence": "option",
        "n_lines": "weights",
        "high_z_min": "weights",
    }


def test_vote_command_overrides(tmp_path, store, weights):
    ensemble_of(tmp_path / "e", weights[0.2])
    words = ("--ensemble", tmp_path / "e", "--store", store.path, "--out", tmp_path / "v")
    run("ensemble", "vote", *words, "--threshold", 0.5, "--deciding-threshold", 0.999)
    record = json.loads((tmp_path / "v" / "votes.json").read_text())
    assert record["settings"]["thresholds"] == [0.5, 0.999]
    assert record["settings"]["confidence"] == 0.999
    assert record["thresholds_from"]["confidence"] == "option"


def test_afterburner_uses_the_thresholds_of_the_weights(tmp_path, tile, weights, best):
    from quasarloop.afterburner.output import read_output

    cases = {
        **{f"{stored}": (path, (), stored, "weights") for stored, path in weights.items()},
        "given": (weights[0.2], ("--thresholds", "catalogue"), 0.99, "option"),
        "c_thresh": (weights[0.2], ("--c-thresh", 0.6), 0.6, "option"),
    }
    for name, (path, words, used, origin) in cases.items():
        output = tmp_path / f"qso_qn-{name}.fits"
        files = ("--coadd", tile.coadd, "--redrock", tile.redrock, "--output", output)
        run("afterburner", *files, "--weights", path, "--rerun", "later", *words)
        there = read_output(output)
        assert there.table["IS_QSO_QN"].sum() == (best[0] > used).sum()
        assert there.recipe["selection"]["c_thresh"] == used
        assert there.recipe["options"]["thresholds_from"]["confidence"] == origin


def test_weights_without_thresholds_are_rerun_at_the_pipelines():
    from quasarloop.afterburner.reruns import Selection

    assert Selection().over(Thresholds()) == Thresholds(0.5, 1, 2.1)
    assert Selection(0.7).over(Thresholds()) == Thresholds(0.7, 1, 2.1)
    stored = Thresholds.from_dict({"confidence": 0.9})
    assert Selection().over(stored) == Thresholds(0.9, 1, 2.1)


def test_impossible_thresholds_in_weights_name_the_file(tmp_path, weights):
    stored = read_weights(weights[0.95])
    path = tmp_path / "bad.h5"
    good = replace(stored, provenance={"thresholds": {"confidence": 0.5}})
    write_weights(good, path)
    content = path.read_bytes()
    assert content.count(b'"confidence": 0.5') == 1
    path.write_bytes(content.replace(b'"confidence": 0.5', b'"confidence": 5.0'))
    for read in (read_weights, read_thresholds):
        with pytest.raises(WeightsError, match=r"bad\.h5: impossible thresholds.*between 0 and 1"):
            read(path)


def test_thresholds_check_themselves():
    for wrong, message in (
        ({"confidence": 1.2}, "between 0 and 1"),
        ({"n_lines": 0}, "at least one line"),
        ({"high_z_min": float("nan")}, "expected a redshift"),
    ):
        with pytest.raises(ValueError, match=message):
            Thresholds(**wrong)
    with pytest.raises(ValueError, match="at least one line"):
        ThresholdOptions(n_lines=0)


def test_the_decision_is_strict_and_nan_is_no_quasar():
    limits = Thresholds(0.5, 2, 2.0)
    confidence = np.array([[0.9, 0.5], [0.9, 0.6], [np.nan, 0.9], [0.8, 0.7]])
    z = np.array([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0], [2.0, 1.0]])
    best = best_lines(confidence, z, limits.n_lines)
    assert best.confidence.tolist() == [0.5, 0.6, -1.0, 0.7]
    assert best.z.tolist() == [1.0, 1.0, 3.0, 2.0]
    votes = limits.vote(best.confidence, best.z)
    assert votes.tolist() == [Vote.NOT_QSO, Vote.LOW_Z, Vote.NOT_QSO, Vote.HIGH_Z]
    assert best_lines(confidence, z, 3).confidence.tolist() == [-1.0] * 4


def test_real_plate_with_three_thresholds(weights, shared_data):
    """boss_plate7102 has 62 quasars; copies of our weights at 0.95, 0.2 and 0.999."""
    plate = shared_data / "boss_plate7102"
    found = [int(ql.classify(plate, path)["IS_QSO"].sum()) for path in weights.values()]
    assert found == [62, 63, 61]
