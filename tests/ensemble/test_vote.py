"""Voting: every row once, the reference's verdicts, the same bytes after any accident."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from benchmarks.plain_network import plain_predict

from quasarloop.classes import Thresholds, Vote
from quasarloop.engine import Engine
from quasarloop.ensemble.entropy import count_votes, vote_entropy
from quasarloop.ensemble.manifest import load_members
from quasarloop.ensemble.member_record import read_member_record
from quasarloop.ensemble.options import VoteOptions
from quasarloop.ensemble.pieces import PIECE_ROWS, cut_pieces
from quasarloop.ensemble.vote import vote
from quasarloop.ensemble.votes import VoteRule, count_column
from quasarloop.ensemble.votes_folder import members_file, open_votes
from quasarloop.errors import DataFormatError, GridError, OutputError
from quasarloop.grid import LINEAR_GRID
from quasarloop.network.decode import best_lines, classify_finds, decode
from quasarloop.quality import UNUSABLE
from quasarloop.store import create_store, iter_store, read_shard

SIZES = (700, 40, 0, 1, 30, 500)  # of the store's shards


@pytest.fixture(scope="module")
def undisturbed(ensemble, store, tmp_path_factory):
    out = tmp_path_factory.mktemp("vote") / "undisturbed"
    return vote(ensemble, store, out, options=VoteOptions(keep_members=True))


def read_all(votes):
    return pl.concat([pl.read_parquet(path) for path in votes.files])


def test_every_row_of_the_store_has_its_row_of_votes(undisturbed, store):
    table = read_all(undisturbed)
    assert len(table) == undisturbed.n_rows == store.n_rows == sum(SIZES)
    start = 0
    for shard, spectra in zip(store.shards, iter_store(store), strict=True):
        part = table[start : start + len(spectra)]
        start += len(spectra)
        assert part["TARGETID"].to_list() == spectra.keys.target_id.tolist()
        assert part["SHARD"].to_list() == [shard.stem] * len(spectra)
        assert part["ROW"].to_list() == list(range(len(spectra)))
        assert part["FLAGS"].to_list() == spectra.flags.tolist()
    again = read_shard(store.shard(table["SHARD"][900]), rows=[table["ROW"][900]])
    assert again.keys.target_id[0] == table["TARGETID"][900]


def test_votes_are_those_of_the_plain_networks(undisturbed, ensemble, store):
    """Reference: every member alone, through torch's own layers and the catalogue's verdict."""
    table = read_all(undisturbed)
    spectra = [s for s in iter_store(store) if len(s)]
    flux = np.concatenate([s.flux for s in spectra])
    usable = (np.concatenate([s.flags for s in spectra]) & UNUSABLE) == 0
    settings = undisturbed.rule
    votes = {t: [] for t in settings.thresholds}
    for weights in load_members(ensemble):
        finds = decode(plain_predict(weights, flux), weights.config)
        for threshold in settings.thresholds:
            found = classify_finds(finds, weights.config, Thresholds(threshold))
            votes[threshold].append(found.vote)
    for threshold in settings.thresholds:
        counts = count_votes(votes[threshold]) * usable[:, None]
        for one in Vote:
            assert table[count_column(one, threshold)].to_list() == counts[:, one].tolist()
    entropy = vote_entropy(count_votes(votes[0.95]))
    assert np.array_equal(table["ENTROPY"].to_numpy()[usable], entropy[usable])
    # The sky is easy but the networks are hardly trained: there is something to disagree about.
    assert len(np.unique(entropy)) > 2


def test_unusable_rows_are_kept_and_say_nothing(undisturbed, ensemble):
    table = read_all(undisturbed)
    unusable = table.filter(pl.col("FLAGS") > 0)
    assert len(unusable) == sum(n > 1 for n in SIZES)
    assert unusable["N_ASKED"].to_list() == [0] * len(unusable)
    assert unusable["ENTROPY"].is_nan().all()
    assert unusable["C_LYA"].is_nan().all()
    asked = table.filter(pl.col("FLAGS") == 0)
    assert asked["N_ASKED"].unique().to_list() == [len(ensemble)]
    counts = sum(asked[count_column(one, 0.95)].cast(int) for one in Vote)
    assert counts.unique().to_list() == [len(ensemble)]


def test_the_record_of_members_gives_all_votes_back(undisturbed, store):
    filled = [shard for shard in store.shards if len(read_shard(shard))]
    for shard, path in zip(filled, undisturbed.files, strict=True):
        table = pl.read_parquet(path)
        kept = members_file(undisturbed.folder, shard)
        record = read_member_record(kept)
        asked = ~np.isnan(record.confidence)
        assert asked.sum(axis=1).tolist() == table["N_ASKED"].to_list()
        for threshold in undisturbed.rule.thresholds:
            quasar = record.confidence > threshold
            high = (quasar & (record.z >= 2.1)).sum(axis=1)
            assert high.tolist() == table[count_column(Vote.HIGH_Z, threshold)].to_list()
            low = (quasar & (record.z < 2.1)).sum(axis=1)
            assert low.tolist() == table[count_column(Vote.LOW_Z, threshold)].to_list()


def test_manifest_names_files_settings_and_ensemble(undisturbed, ensemble, store):
    votes = open_votes(undisturbed.folder)
    assert votes == undisturbed
    assert votes.record["ensemble"] == ensemble.identity
    assert votes.rule == VoteRule()
    assert len(votes.files) == sum(n > 0 for n in SIZES)
    votes.files[0].rename(votes.files[0].with_suffix(".away"))
    with pytest.raises(DataFormatError, match="1 of 5 files of votes are missing"):
        open_votes(undisturbed.folder)
    votes.files[0].with_suffix(".away").rename(votes.files[0])


@pytest.mark.parametrize("workers", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_any_number_of_workers_gives_the_same_bytes(
    undisturbed, ensemble, store, fakes, tmp_path, *, workers, two_workers
):
    options = VoteOptions(keep_members=True)
    engine = two_workers if workers == 2 else Engine(workers=workers)
    vote(ensemble, store, tmp_path / "v", options=options, engine=engine)
    assert fakes.folder_digest(tmp_path / "v") == fakes.folder_digest(undisturbed.folder)


def test_missing_shards_are_done_again_the_others_kept(
    undisturbed, ensemble, store, fakes, tmp_path
):
    options = VoteOptions(keep_members=True)
    done = vote(ensemble, store, tmp_path / "v", options=options)
    done.files[1].unlink()
    kept = done.files[2].stat().st_mtime_ns
    seen = []
    vote(ensemble, store, tmp_path / "v", options=options, on_progress=seen.append)
    assert sum(seen) == sum(SIZES)
    assert done.files[2].stat().st_mtime_ns == kept
    assert fakes.folder_digest(tmp_path / "v") == fakes.folder_digest(undisturbed.folder)


def test_other_votes_in_the_folder_are_refused(undisturbed, ensemble, store, tmp_path):
    with pytest.raises(OutputError, match="votes that differ in keep_members, settings"):
        vote(
            ensemble,
            store,
            undisturbed.folder,
            options=VoteOptions(counted_at=(0.3,)),
        )
    (tmp_path / "other.parquet").touch()
    with pytest.raises(OutputError, match=r"holds Parquet files but no plan\.json"):
        vote(ensemble, store, tmp_path)


def test_another_grid_is_refused(ensemble, tmp_path):
    store = create_store(tmp_path / "linear", LINEAR_GRID)
    with pytest.raises(GridError, match="ingest the files on the ensemble's grid"):
        vote(ensemble, store, tmp_path / "v")


def test_an_empty_store_gives_empty_votes(ensemble, fakes, tmp_path):
    votes = vote(ensemble, fakes.small_store(tmp_path / "s", ()), tmp_path / "v")
    assert (votes.n_rows, votes.files) == (0, ())


def test_pieces_hold_every_row_once_and_never_too_many():
    shards = [Path(f"{i}.parquet") for i in range(len(SIZES))]
    pieces = cut_pieces(shards, SIZES, piece_rows=64)
    assert max(map(len, pieces)) <= 64
    rows = [(part.shard, row) for p in pieces for part in p.parts for row in range(*part[2:4])]
    assert rows == [(shard, row) for shard, n in enumerate(SIZES) for row in range(n)]
    assert [piece.number for piece in pieces] == list(range(len(pieces)))
    assert PIECE_ROWS % 128 == 0  # whole blocks of the predictor


def test_the_line_that_decides_is_the_kth_best():
    confidence = np.array([[0.1, 0.9, 0.5]], dtype=np.float32)
    z = np.array([[1.0, 2.0, 3.0]])
    assert best_lines(confidence, z, 1) == (np.float32(0.9), 2.0, 1)
    assert best_lines(confidence, z, 2) == (np.float32(0.5), 2.0, 1)


_MAIN = """
import sys, time
from pathlib import Path
from quasarloop.engine import Engine
from quasarloop.ensemble.manifest import open_ensemble
from quasarloop.ensemble.options import VoteOptions
from quasarloop.ensemble.vote import vote
from quasarloop.ensemble.shard_tables import TablesWriter
from quasarloop.store import open_store
TablesWriter.finish = lambda *_, **__: time.sleep(1e6)  # never done before it is killed
if __name__ == "__main__":
    engine = Engine(workers={workers}, scheduler={scheduler!r})
    vote(open_ensemble({ensemble!r}), open_store({store!r}), {out!r}, engine=engine,
         options=VoteOptions(keep_members=True))
"""


@pytest.mark.parametrize(
    "where",
    ["here", *(pytest.param(w, marks=pytest.mark.slow) for w in ("processes", "cluster"))],
)
def test_killed_main_process_resumes_to_the_same_bytes(
    undisturbed, inputs, fakes, tmp_path, *, where, request, wait_until
):
    ensemble, store = inputs
    scheduler = request.getfixturevalue("cluster") if where == "cluster" else None
    workers = 2 if where == "processes" else 1
    out = tmp_path / "v"
    script = tmp_path / "main.py"
    script.write_text(
        _MAIN.format(
            workers=workers,
            scheduler=scheduler,
            ensemble=str(ensemble.folder),
            store=str(store.path),
            out=str(out),
        )
    )
    process = subprocess.Popen([sys.executable, str(script)])
    wait_until(lambda: any(out.glob("*.parquet")))  # the first shard is written
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "votes.json").exists()
    engine = Engine(workers=workers, scheduler=scheduler)
    vote(ensemble, store, out, options=VoteOptions(keep_members=True), engine=engine)
    assert fakes.folder_digest(out) == fakes.folder_digest(undisturbed.folder)


@pytest.mark.slow
def test_killed_cluster_worker_changes_nothing(
    undisturbed, ensemble, store, fakes, tmp_path, cluster
):
    from distributed import Client

    out = tmp_path / "v"
    with Client(cluster, set_as_default=False) as client:
        killed = []

        def kill_once_begun(n_spectra):
            if n_spectra and not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        options = VoteOptions(keep_members=True)
        vote(
            ensemble,
            store,
            out,
            options=options,
            engine=Engine(scheduler=cluster),
            on_progress=kill_once_begun,
        )
        assert killed[0] not in client.run(os.getpid).values()
    assert fakes.folder_digest(out) == fakes.folder_digest(undisturbed.folder)
