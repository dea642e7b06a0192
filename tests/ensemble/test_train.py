"""Training an ensemble: the same bytes wherever it runs and however often it is killed."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quasarloop.engine import Engine
from quasarloop.ensemble.bootstrap import bootstrap_rows, member_seeds
from quasarloop.ensemble.manifest import load_members, open_ensemble
from quasarloop.ensemble.options import EnsembleOptions
from quasarloop.ensemble.train import train_ensemble
from quasarloop.errors import OutputError, WeightsError
from quasarloop.network.training import train
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import read_weights

N = 3


@pytest.fixture(scope="module")
def settings(fakes):
    return EnsembleOptions(N, seed=11, network=fakes.SMALL_NETWORK, training=fakes.small_options())


@pytest.fixture(scope="module")
def undisturbed(fakes, settings, tmp_path_factory):
    """An ensemble trained in this process, never interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed") / "e"
    train_ensemble(fakes.small_sky(), settings, folder)
    return folder


def test_manifest_lists_ordinary_weights_files_in_order(undisturbed, fakes):
    ensemble = open_ensemble(undisturbed)
    assert len(ensemble) == N
    assert [path.name for path in ensemble.members] == ["0000.h5", "0001.h5", "0002.h5"]
    assert ensemble.config == fakes.SMALL_NETWORK
    record = ensemble.record
    assert (record["seed"], record["n_spectra"], record["n_objects"]) == (11, 120, 120)
    assert record["training"]["epochs"] == 2
    assert not (undisturbed / "work").exists()
    members = load_members(ensemble)
    assert len({member.digest() for member in members}) == N
    assert len({entry["bootstrap_sha256"] for entry in record["members"]}) == N


def test_a_member_is_what_training_on_its_bootstrap_gives(undisturbed, fakes, settings):
    data = fakes.small_sky()
    seeds = member_seeds(11, 5)[1]
    rows = bootstrap_rows(data.object_id, np.random.default_rng(seeds.bootstrap))
    alone = train(
        data, fakes.SMALL_NETWORK, settings.training, seed=seeds.training, rows=Rows(rows)
    )
    member = read_weights(open_ensemble(undisturbed).members[1])
    assert member.digest() == alone.weights.digest()


@pytest.mark.parametrize("workers", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_any_number_of_workers_gives_the_same_bytes(
    undisturbed, fakes, settings, tmp_path, workers, two_workers
):
    engine = two_workers if workers == 2 else Engine(workers=workers)
    train_ensemble(fakes.small_sky(), settings, tmp_path / "e", engine=engine)
    assert fakes.folder_digest(tmp_path / "e") == fakes.folder_digest(undisturbed)


def test_finished_members_are_kept_and_an_ensemble_can_grow(undisturbed, fakes, settings, tmp_path):
    seen = []
    one = replace(settings, n_networks=1)
    train_ensemble(fakes.small_sky(), one, tmp_path / "e", on_member=seen.append)
    first = (tmp_path / "e" / "members" / "0000.h5").stat().st_mtime_ns
    train_ensemble(fakes.small_sky(), settings, tmp_path / "e", on_member=seen.append)
    assert seen == [0, 0, 1, 2]
    assert (tmp_path / "e" / "members" / "0000.h5").stat().st_mtime_ns == first
    assert fakes.folder_digest(tmp_path / "e") == fakes.folder_digest(undisturbed)


def test_a_damaged_member_is_trained_anew(undisturbed, fakes, settings, tmp_path):
    train_ensemble(fakes.small_sky(), settings, tmp_path / "e")
    damaged = tmp_path / "e" / "members" / "0001.h5"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="checksum"):
        load_members(open_ensemble(tmp_path / "e"))
    train_ensemble(fakes.small_sky(), settings, tmp_path / "e")
    assert fakes.folder_digest(tmp_path / "e") == fakes.folder_digest(undisturbed)


def test_another_ensemble_in_the_folder_is_refused(undisturbed, fakes, settings):
    with pytest.raises(
        OutputError,
        match=r"differs in seed \(11, requested 12\), training.epochs \(2, requested 3\);",
    ):
        train_ensemble(
            fakes.small_sky(),
            replace(settings, seed=12, training=fakes.small_options(epochs=3)),
            undisturbed,
        )
    with pytest.raises(OutputError, match="differs in data_sha256"):
        train_ensemble(fakes.small_sky(seed=2), settings, undisturbed)


def test_unfinished_ensembles_say_so(tmp_path):
    with pytest.raises(WeightsError, match="no finished ensemble"):
        open_ensemble(tmp_path)


def test_auto_is_written_down_as_the_device_it_was(
    undisturbed, fakes, settings, tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    auto = replace(settings, training=replace(settings.training, device="auto"))
    ensemble = train_ensemble(fakes.small_sky(), auto, tmp_path / "e")
    assert ensemble.record["training"]["device"] == "cpu"
    assert fakes.folder_digest(tmp_path / "e") == fakes.folder_digest(undisturbed)
    absent = replace(settings, training=replace(settings.training, device="cuda"))
    with pytest.raises(WeightsError, match="no usable cuda device"):
        train_ensemble(fakes.small_sky(), absent, tmp_path / "gpu")


def test_warm_start_goes_on_from_the_earlier_members(undisturbed, fakes, settings, tmp_path):
    earlier = open_ensemble(undisturbed)
    warm = replace(settings, n_networks=4, start_from=earlier, training=fakes.small_options(1))
    ensemble = train_ensemble(fakes.small_sky(seed=5), warm, tmp_path / "warm")
    assert ensemble.record["start_from"] == earlier.identity
    first = load_members(earlier)[0].arrays
    after_0, after_3 = (load_members(ensemble)[i].arrays for i in (0, 3))
    moved = np.abs(after_0["conv_1/kernel"] - first["conv_1/kernel"]).max()
    # Four steps of about 1e-2 each: near its own start, unlike a fresh network's weights.
    assert 0 < moved < 0.1
    # The fourth member starts from the first again (three there are), but draws its own sample.
    moved = np.abs(after_3["conv_1/kernel"] - first["conv_1/kernel"]).max()
    assert 0 < moved < 0.1
    assert not np.array_equal(after_0["conv_1/kernel"], after_3["conv_1/kernel"])


def test_warm_start_from_another_shape_is_refused_at_once(undisturbed, fakes, settings, tmp_path):
    wider = replace(fakes.SMALL_NETWORK, n_filters=9)
    warm = replace(settings, network=wider, start_from=open_ensemble(undisturbed))
    with pytest.raises(WeightsError, match="another shape"):
        train_ensemble(fakes.small_sky(), warm, tmp_path / "warm")


_MAIN = """
import sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
import ensemble_fakes as fakes
from quasarloop.engine import Engine
from quasarloop.ensemble import train
from quasarloop.ensemble.options import EnsembleOptions
from quasarloop.ensemble.train import train_ensemble
train.write_ensemble_manifest = lambda *_: time.sleep(1e6)  # never done before it is killed
if __name__ == "__main__":
    settings = EnsembleOptions(
        3, seed=11, network=fakes.SMALL_NETWORK, training=fakes.small_options()
    )
    engine = Engine(workers={workers}, scheduler={scheduler!r})
    train_ensemble(fakes.small_sky(), settings, Path({out!r}), engine=engine)
"""


def start_main(tmp_path, **values):
    script = tmp_path / "main.py"
    script.write_text(_MAIN.format(here=str(Path(__file__).parent), **values))
    return subprocess.Popen([sys.executable, str(script)])


@pytest.mark.parametrize(
    "where",
    ["here", *(pytest.param(w, marks=pytest.mark.slow) for w in ("processes", "cluster"))],
)
def test_killed_main_process_resumes_to_the_same_bytes(
    undisturbed, fakes, settings, tmp_path, *, where, request, wait_until
):
    scheduler = request.getfixturevalue("cluster") if where == "cluster" else None
    workers = 2 if where == "processes" else 1
    out = tmp_path / "e"
    process = start_main(tmp_path, out=str(out), workers=workers, scheduler=scheduler)
    # As soon as anything of a training stands there: a checkpoint or a member.
    wait_until(lambda: any(out.glob("work/*/checkpoint.npz")) or any(out.glob("members/*.h5")))
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "ensemble.json").exists()
    train_ensemble(
        fakes.small_sky(), settings, out, engine=Engine(workers=workers, scheduler=scheduler)
    )
    assert fakes.folder_digest(out) == fakes.folder_digest(undisturbed)


@pytest.mark.slow
def test_killed_cluster_worker_changes_nothing(
    undisturbed, fakes, settings, tmp_path, cluster, wait_until
):
    from distributed import Client

    out = tmp_path / "e"
    with Client(cluster, set_as_default=False) as client:
        pids = list(client.run(os.getpid).values())

    def kill_once_started():
        wait_until(lambda: any(out.glob("work/*/checkpoint.npz")) or any(out.glob("members/*.h5")))
        os.kill(pids[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_once_started)
    killer.start()
    train_ensemble(fakes.small_sky(), settings, out, engine=Engine(scheduler=cluster))
    killer.join()
    assert fakes.folder_digest(out) == fakes.folder_digest(undisturbed)
