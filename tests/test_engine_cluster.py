"""The engine on a Dask cluster: the same report, whoever dies, and what a user is then told."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from quasarloop.engine import Engine, TaskReport, open_session, run_tasks
from quasarloop.engine.dask import ClusterPool
from quasarloop.errors import TaskError

WaitUntil = Callable[[Callable[[], object]], None]


def test_cluster_gives_the_same_report(jobs: ModuleType, tmp_path: Path, cluster: str) -> None:
    seen = []
    report = run_tasks(
        jobs.multiply,
        [3, 1, 2, 5],
        engine=Engine(scheduler=cluster),
        shared=jobs.Shared(tmp_path, 7),
        on_result=lambda task, result: seen.append((task, result)),
    )
    assert report == TaskReport([21, 7, 14, 35], {})
    assert sorted(seen) == [(1, 7), (2, 14), (3, 21), (5, 35)]


def test_cluster_names_failures(jobs: ModuleType, tmp_path: Path, cluster: str) -> None:
    engine = Engine(scheduler=cluster)
    report = run_tasks(jobs.fail_odd, range(4), engine=engine, shared=jobs.Shared(tmp_path))
    assert report.results == [0, None, 2, None]
    assert list(report.failures) == ["1", "3"]
    shared = jobs.Shared(tmp_path)
    assert run_tasks(jobs.fail_until_third, [3], engine=engine, shared=shared).results == [3]


def test_cluster_shares_once_per_worker(jobs: ModuleType, tmp_path: Path, cluster: str) -> None:
    report = run_tasks(
        jobs.process_id,
        range(20),
        engine=Engine(scheduler=cluster),
        shared=jobs.CountedShared(tmp_path),
    )
    workers = [path.name.split("-")[1] for path in tmp_path.glob("unpacked-*")]
    for pid in set(report.complete()):
        assert workers.count(str(pid)) == 1


def test_cluster_session_shares_once(jobs: ModuleType, tmp_path: Path, cluster: str) -> None:
    shared, engine = jobs.CountedShared(tmp_path), Engine(scheduler=cluster)
    with open_session(jobs.process_id, engine=engine, shared=shared) as session:
        pids = [set(session.run(range(n)).complete()) for n in (6, 1, 6)]
    workers = [path.name.split("-")[1] for path in tmp_path.glob("unpacked-*")]
    assert all(workers.count(str(pid)) == 1 for pid in set.union(*pids))


def test_cluster_is_not_looked_at_for_every_task(
    jobs: ModuleType, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look = [], ClusterPool._n_threads
    monkeypatch.setattr(ClusterPool, "_n_threads", lambda pool: looks.append(1) or look(pool))
    shared, engine = jobs.Shared(tmp_path, 7), Engine(scheduler=cluster)
    start = time.monotonic()
    assert run_tasks(jobs.multiply, range(60), engine=engine, shared=shared).results[59] == 413
    assert 1 <= len(looks) <= 1 + (time.monotonic() - start) / 2


def test_cluster_that_lacks_our_code_is_explained(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("class Thing:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here

    with pytest.raises(TaskError, match=r"cannot take what the tasks share.*only_here"):
        run_tasks(divmod, [1], engine=Engine(scheduler=cluster), shared=only_here.Thing())


def test_cluster_survives_a_killed_worker(jobs: ModuleType, tmp_path: Path, cluster: str) -> None:
    report = run_tasks(
        jobs.die_once, range(8), engine=Engine(scheduler=cluster), shared=jobs.Shared(tmp_path)
    )
    assert (tmp_path / "died").exists()
    assert report == TaskReport([0, 10, 20, 30, 40, 50, 60, 70], {})


@pytest.mark.parametrize("n_kills", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_cluster_whose_workers_die_again_and_again_gives_the_same_bytes(
    jobs: ModuleType, tmp_path: Path, cluster: str, n_kills: int
) -> None:
    # Every worker is killed as soon as it has begun a task: nothing ends before the last kill, and
    # whatever the workers had, the shared value too, is lost with them.
    killer = threading.Thread(target=_kill_workers, args=(tmp_path, n_kills))
    killer.start()
    shared = jobs.Shared(tmp_path, 3)
    report = run_tasks(
        jobs.outlive_kills, range(6), engine=Engine(scheduler=cluster), shared=shared
    )
    killer.join()
    assert len(list(tmp_path.glob("killed-*"))) == n_kills
    here = run_tasks(jobs.outlive_kills, range(6), shared=shared)
    assert [r.tobytes() for r in report.complete()] == [r.tobytes() for r in here.complete()]


@pytest.mark.slow
def test_cluster_names_a_task_that_kills_every_worker(
    jobs: ModuleType, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quasarloop.engine.dask._LOSSES", 4)
    engine, shared = Engine(scheduler=cluster), jobs.Shared(tmp_path)
    report = run_tasks(jobs.die_always, range(5), engine=engine, shared=shared, retries=1)
    assert report.results == [0, 10, None, 30, 40]
    assert "lost 4 times with the workers it was on" in report.failures["2"]


@pytest.fixture
def scheduler(
    tmp_path: Path, wait_until: WaitUntil
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler's process and its address."""
    file = tmp_path / "scheduler.json"
    process = subprocess.Popen(
        f"{sys.executable} -m distributed.cli.dask_scheduler --no-dashboard --host 127.0.0.1"
        f" --port 0 --scheduler-file {file}".split(),
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: file.exists() and file.read_text().endswith("}"))
        yield process, json.loads(file.read_text())["address"]
    finally:
        process.kill()
        process.wait()


def test_cluster_whose_scheduler_ends_is_explained(
    jobs: ModuleType,
    wait_until: WaitUntil,
    scheduler: tuple[subprocess.Popen[bytes], str],
) -> None:
    distributed = pytest.importorskip("distributed")
    import dask

    process, address = scheduler
    with (
        distributed.Client(address, set_as_default=False) as watcher,
        open_session(jobs.ones, engine=Engine(scheduler=address)) as session,
    ):

        def kill_once_busy() -> None:
            n_tasks = lambda dask_scheduler: len(dask_scheduler.tasks)  # noqa: E731 -- by value
            wait_until(lambda: watcher.run_on_scheduler(n_tasks) > 0)
            process.kill()

        killer = threading.Thread(target=kill_once_busy)
        killer.start()
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
            pytest.raises(TaskError, match=r"scheduler at .* has ended .*run the same command"),
        ):
            session.run([1, 2, 3])
        killer.join()


def _kill_workers(folder: Path, n_kills: int) -> None:
    killed: set[str] = set()
    while len(killed) < n_kills:
        for path in folder.glob("begun-*"):
            pid = path.name.split("-")[1]
            if pid not in killed and len(killed) < n_kills:
                os.kill(int(pid), signal.SIGKILL)
                killed.add(pid)
                (folder / f"killed-{pid}").touch()
        time.sleep(0.01)
    (folder / "enough").touch()
