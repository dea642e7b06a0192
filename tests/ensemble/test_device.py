"""An ensemble on GPUs: one for each worker, and the same bytes for any number of them."""

import os
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.fake_gpus import NAMES, have_gpus, uses

import quasarloop.ensemble.vote as vote_module
from quasarloop.engine import Engine, keep_workers
from quasarloop.ensemble.manifest import load_members
from quasarloop.ensemble.options import EnsembleOptions, VoteOptions
from quasarloop.ensemble.train import train_ensemble
from quasarloop.ensemble.vote import apply_members, vote
from quasarloop.ensemble.votes import VoteRule
from quasarloop.ensemble.votes_folder import members_file
from quasarloop.errors import OutputError
from quasarloop.network.device import place_tasks
from quasarloop.network.predict import Predictor


def test_workers_train_and_vote_on_a_gpu_each_to_the_bytes_of_one_process(
    fakes, store, tmp_path, monkeypatch
):
    have_gpus(monkeypatch, tmp_path)
    training = replace(fakes.small_options(1), device="cuda")
    options = EnsembleOptions(3, seed=3, network=fakes.SMALL_NETWORK, training=training)
    made = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        _, where = place_tasks("cuda", Engine(workers=workers))
        with keep_workers(where) as kept:
            ensemble = train_ensemble(fakes.small_sky(), options, folder / "e", engine=kept)
            vote(ensemble, store, folder / "v", options=VoteOptions(device="cuda"), engine=kept)
        made.append(fakes.folder_digest(folder))
        devices, processes, gpus = (set(column) for column in zip(*uses(tmp_path), strict=True))
        assert devices == {"cuda"}
        if workers == 1:
            assert (processes, gpus) == ({str(os.getpid())}, {"all"})
        else:
            assert str(os.getpid()) not in processes
            assert gpus <= set(NAMES)
    assert made[0] == made[1]


def test_large_pieces_of_a_gpu_give_the_finds_of_the_cpu_and_survive_kills(
    ensemble, store, fakes, tmp_path, monkeypatch
):
    here = vote(ensemble, store, tmp_path / "cpu", options=VoteOptions(keep_members=True))
    have_gpus(monkeypatch, tmp_path)
    monkeypatch.setattr("quasarloop.ensemble.pieces._DEVICE_PIECE_ROWS", 600)
    rows = []
    upload = Predictor.upload
    monkeypatch.setattr(
        Predictor, "upload", lambda self, flux: rows.append(len(flux)) or upload(self, flux)
    )

    def on_a_gpu(name, **more):
        options = VoteOptions(keep_members=True, device="cuda")
        return vote(ensemble, store, tmp_path / name, options=options, **more)

    def killed(n_spectra):
        if n_spectra:
            raise KeyboardInterrupt

    there = on_a_gpu("gpu")
    assert rows == [599, 169, 499]  # of 600, 171 and 500; row 1 of a shard is unusable
    for one, two in zip(here.files, there.files, strict=True):
        ours, theirs = pl.read_parquet(one), pl.read_parquet(two)
        counts = [name for name in ours.columns if name.startswith("N_")]
        assert ours.select(counts).equals(theirs.select(counts))
        for name in (column for column in ours.columns if column.startswith("C_")):
            np.testing.assert_allclose(theirs[name].to_numpy(), ours[name].to_numpy(), atol=1e-6)
    rows.clear()
    with pytest.raises(KeyboardInterrupt):
        on_a_gpu("killed", on_progress=killed)
    done = len(rows)
    assert 0 < done < 3
    on_a_gpu("killed")
    assert fakes.folder_digest(tmp_path / "killed") == fakes.folder_digest(there.folder)
    gone = store.shards[0]
    there.files[0].unlink()
    members_file(there.folder, gone).unlink()
    on_a_gpu("gpu")
    assert fakes.folder_digest(tmp_path / "killed") == fakes.folder_digest(there.folder)


def test_members_stacked_in_one_launch_vote_as_one_by_one(ensemble, fakes):
    spectra, rule = fakes.small_spectra(50, 9), VoteRule()
    members = [Predictor(weights) for weights in load_members(ensemble)]
    one_by_one = apply_members(spectra, members, rule)
    for member in members:
        member.launch_rows = 150  # three members of 49 usable spectra
    stacked = apply_members(spectra, members, rule)
    assert np.isnan(stacked.confidence[:, 1]).all()
    for one, two in zip(one_by_one[:3], stacked[:3], strict=True):
        np.testing.assert_allclose(two, one, atol=1e-6)


def test_tf32_reaches_the_members_and_is_written_down(ensemble, store, tmp_path, monkeypatch):
    made = []
    predictor = vote_module.Predictor
    monkeypatch.setattr(
        vote_module, "Predictor", lambda *a, tf32: made.append(tf32) or predictor(*a, tf32=tf32)
    )
    votes = vote(ensemble, store, tmp_path / "v", options=VoteOptions(tf32=True))
    assert made == [True] * len(ensemble)
    assert votes.record["tf32"] is True
    with pytest.raises(OutputError, match="differ in tf32"):
        vote(ensemble, store, tmp_path / "v")
