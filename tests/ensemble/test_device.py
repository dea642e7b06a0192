"""An ensemble on GPUs: one for each worker, and the same bytes for any number of them."""

import os
from dataclasses import replace

from tests.fake_gpus import NAMES, have_gpus, uses

from quasarloop.engine import Engine, keep_workers
from quasarloop.ensemble.options import EnsembleOptions, VoteOptions
from quasarloop.ensemble.train import train_ensemble
from quasarloop.ensemble.vote import vote
from quasarloop.network.device import place_tasks


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
