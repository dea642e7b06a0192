"""``quasarloop select`` and the files it leaves behind."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from quasarloop.cli import app
from quasarloop.errors import SelectionError
from quasarloop.grid import LOG_GRID
from quasarloop.inspect.worklist import read_worklist
from quasarloop.query.select import Reason
from quasarloop.query.selection_files import store_features
from quasarloop.query.som import CellGrid
from quasarloop.spectra import Keys, RebinnedSpectra
from quasarloop.store import create_store, open_store, read_shard, shard_path
from quasarloop.store.files import schema_of, table_from_spectra

sys.path.insert(0, str(Path(__file__).parents[1] / "query"))
from query_tables import random_votes, write_cells, write_votes

N = 200
BIG = 39_633_333_333_333_333  # past 2^53: a float would round it


def _run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def world(tmp_path):
    rng = np.random.default_rng(0)
    targets = BIG + rng.permutation(N)
    shards = np.repeat(["aa11", "bb22"], N // 2)
    votes = write_votes(
        tmp_path / "votes.parquet",
        random_votes(rng, N),
        TARGETID=targets,
        OBJECT_ID=rng.integers(0, 150, N),
        SHARD=shards.tolist(),
        ROW=np.tile(np.arange(N // 2), 2),
    )
    write_cells(tmp_path / "cells.parquet", rng.binomial(29, 0.5, N), CellGrid(5, 6), votes=votes)
    create_store(tmp_path / "store", LOG_GRID)
    for k, shard in enumerate(("aa11", "bb22")):
        n = N // 2
        spectra = RebinnedSpectra(
            grid=LOG_GRID,
            flux=rng.normal(size=(n, 443)).astype(np.float32),
            ivar=np.ones((n, 443), np.float32),
            mean_flux=np.zeros(n),
            rms_flux=np.ones(n),
            sn=np.ones((n, 3), np.float32),
            flags=np.zeros(n, np.int32),
            keys=Keys.make(targets[k * n : (k + 1) * n]),
            source=np.full(n, f"coadd-{shard}.fits"),
            row=np.arange(n)[::-1].copy(),
        )
        path = shard_path(tmp_path / "store", shard)
        path.parent.mkdir(parents=True)
        pq.write_table(table_from_spectra(spectra, schema_of(LOG_GRID)), path)
    (tmp_path / "truth.csv").write_text(
        "TARGETID,SPECTYPE,Z\n" + "".join(f"{t},STAR,0\n" for t in targets[:20])
    )
    return tmp_path


def test_everything_a_selection_leaves_behind(world):
    out = world / "chosen"
    result = _run("select", "--votes", world / "votes.parquet", "--som", world / "cells.parquet",
                  "--truth", world / "truth.csv", "--store", world / "store", "--n", 12,
                  "--outliers", 3, "--percentile", 80, "--reasons", world / "why.parquet",
                  "--out", out)  # fmt: skip
    assert "12 chosen, 3 outliers" in result.output
    chosen = pl.read_parquet(out / "selection.parquet")
    assert chosen["RANK"].to_list() == list(range(1, 13))
    targets = chosen["TARGETID"].to_list()
    # Where they came from, looked up in the store.
    assert chosen["SOURCE"].to_list() == [f"coadd-{s}.fits" for s in chosen["SHARD"]]
    assert chosen["SOURCE_ROW"].to_list() == [N // 2 - 1 - row for row in chosen["ROW"]]
    # Prospect's target list: numpy.loadtxt as text, then integers, one per row.
    lines = np.loadtxt(out / "prospect_targets.txt", dtype=str, comments="#")
    assert [int(word) for word in lines] == targets
    csv = pl.read_csv(out / "targets.csv")
    assert csv["TARGETID"].to_list() == targets
    steps = json.loads((out / "steps.json").read_text())
    assert steps["steps"][-1]["left"] == 12
    assert steps["options"]["score"] == "soft_entropy"
    assert steps["options"]["per_cell"] == 2
    assert "ARM_B_MASKED" in steps["options"]["refused"]
    assert len(steps["counts"]) == 30
    assert {p.name for p in out.glob("*.png")} == {"scores.png", "chosen.png"}  # no files to read
    _check_worklist(out, targets)
    _check_reasons(world / "why.parquet", chosen, steps)


def _check_worklist(out, targets):
    objects = json.loads((out / "worklist.json").read_text())["objects"]
    assert [o["TARGETID"] for o in objects[:12]] == [str(t) for t in targets]
    assert all(sum(o["VOTES"].values()) == 8 for o in objects)
    entries = read_worklist(out / "worklist.json")
    assert [e.target_id for e in entries[:12]] == targets
    chosen = pl.read_parquet(out / "selection.parquet")
    assert [e.source for e in entries[:12]] == chosen["SOURCE"].to_list()
    assert [e.row for e in entries[:12]] == chosen["SOURCE_ROW"].to_list()
    assert [e.shard for e in entries[:12]] == chosen["SHARD"].to_list()
    assert [e.shard_row for e in entries[:12]] == chosen["ROW"].to_list()
    assert len(entries) == 15  # and the three outliers


def _check_reasons(path, chosen, steps):
    why = pl.read_parquet(path)
    assert why.select("SHARD", "ROW").is_duplicated().sum() == 0
    found = dict(why.group_by("REASON").len().iter_rows())
    names = [reason.name for reason in Reason if 0 < reason < Reason.CHOSEN]
    counted = {n: s["removed"] for n, s in zip(names, steps["steps"], strict=True) if s["removed"]}
    assert found == {**counted, "CHOSEN": 12}
    picked = why.filter(pl.col("REASON") == "CHOSEN")["TARGETID"]
    assert set(picked) == set(chosen["TARGETID"])


def test_limits_exclusions_and_filters(world):
    (world / "other.txt").write_text(f"{BIG + 5}\n")
    base = ["select", "--votes", world / "votes.parquet", "--som", world / "cells.parquet"]
    _run(*base, "--n", 10, "--per-cell", 1, "--exclude", world / "other.txt", "--survey", "main",
         "--no-figures", "--score", "soft_entropy", "--out", world / "a")  # fmt: skip
    chosen = pl.read_parquet(world / "a" / "selection.parquet")
    assert chosen["CELL"].n_unique() == 10
    assert BIG + 5 not in chosen["TARGETID"].to_list()
    assert not list((world / "a").glob("*.png"))
    _run(*base, "--n", 10, "--survey", "sv9", "--out", world / "b")
    assert len(pl.read_parquet(world / "b" / "selection.parquet")) == 0
    _run(*base, "--n", 10, "--spread", "--store", world / "store", "--out", world / "c")
    assert pl.read_parquet(world / "c" / "selection.parquet")["OBJECT_ID"].n_unique() == 10


def test_classes_get_their_share(world):
    _run("select", "--votes", world / "votes.parquet", "--n", 8, "--class-share", "NOT_QSO=3",
         "--class-share", "LOW_Z=1", "--class-share", "HIGH_Z=0", "--no-figures",
         "--out", world / "d")  # fmt: skip
    chosen = pl.read_parquet(world / "d" / "selection.parquet")
    likeliest = chosen.select("P_NOT_QSO", "P_LOW_Z", "P_HIGH_Z").to_numpy().argmax(axis=1)
    assert np.bincount(likeliest, minlength=3).tolist() == [6, 2, 0]


def test_flux_of_chosen_rows_comes_in_their_order(world):
    store = open_store(world / "store")
    rows = pl.DataFrame({"SHARD": ["bb22", "aa11", "bb22"], "ROW": [7, 3, 0]})
    flux = store_features(store, rows)
    first, second = (read_shard(store.shard(name)).flux for name in ("aa11", "bb22"))
    assert np.array_equal(flux, np.stack([second[7], first[3], second[0]]))


def test_wrong_words_are_refused_before_anything_is_written(world):
    base = ["select", "--votes", world / "votes.parquet", "--out", world / "x"]
    for words, message in (
        (["--score", "entropie"], "entropie"),
        (["--allow", "NO_DATA"], "NO_DATA"),
        (["--draw", "best"], "best"),
        (["--spread"], "store"),
        (["--class-share", "STAR=1"], "STAR=1"),
    ):
        with pytest.raises(SelectionError, match=message):
            _run(*base, *words)
    assert not (world / "x").exists()
