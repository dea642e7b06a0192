"""The engine: the same report here, in processes and on a cluster, whoever dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from quasarloop.engine import Engine, TaskReport, open_session, run_tasks
from quasarloop.errors import TaskError

_HERE = Path(__file__).parent

WaitUntil = Callable[[Callable[[], object]], None]


def engines() -> list[Engine]:
    return [Engine(), Engine(workers=2)]


@pytest.mark.parametrize("engine", engines(), ids=Engine.describe)
def test_results_keep_task_order_and_arrive_one_by_one(
    jobs: ModuleType, tmp_path: Path, engine: Engine
) -> None:
    seen = []
    report = run_tasks(
        jobs.multiply,
        [3, 1, 2, 5],
        engine=engine,
        shared=jobs.Shared(tmp_path, 7),
        on_result=lambda task, result: seen.append((task, result)),
    )
    assert report == TaskReport([21, 7, 14, 35], {})
    assert sorted(seen) == [(1, 7), (2, 14), (3, 21), (5, 35)]
    assert report.complete() == [21, 7, 14, 35]


def test_results_need_not_be_kept(jobs: ModuleType, tmp_path: Path) -> None:
    seen = []
    shared = jobs.Shared(tmp_path)
    report = run_tasks(
        jobs.fail_odd,
        range(4),
        shared=shared,
        keep=False,
        on_result=lambda _, result: seen.append(result),
    )
    assert seen == [0, 2]
    assert report.results == [None] * 4
    assert list(report.failures) == ["1", "3"]


@pytest.mark.parametrize("engine", engines(), ids=Engine.describe)
def test_no_tasks_no_results(jobs: ModuleType, engine: Engine) -> None:
    assert run_tasks(jobs.multiply, [], engine=engine) == TaskReport([], {})


def test_shared_travels_once_per_worker(jobs: ModuleType, tmp_path: Path) -> None:
    report = run_tasks(
        jobs.process_id, range(20), engine=Engine(workers=2), shared=jobs.CountedShared(tmp_path)
    )
    pids = set(report.complete())
    assert os.getpid() not in pids
    unpacked = sorted(path.name.split("-")[1] for path in tmp_path.glob("unpacked-*"))
    assert len(unpacked) == len(set(unpacked)) <= 2
    assert pids <= {int(pid) for pid in unpacked}


def test_a_session_keeps_its_workers(
    jobs: ModuleType, tmp_path: Path, wait_until: WaitUntil
) -> None:
    shared, engine = jobs.CountedShared(tmp_path), Engine(workers=2)
    with open_session(jobs.process_id, engine=engine, shared=shared) as session:
        pids = [set(session.run(range(n)).complete()) for n in (6, 1, 6)]
    # Workers made anew for each lot would be three at least. One may do all where the machine is
    # too busy to start the other in time.
    unpacked = [int(path.name.split("-")[1]) for path in tmp_path.glob("unpacked-*")]
    assert len(unpacked) == len(set(unpacked)) <= 2
    assert set.union(*pids) <= set(unpacked)
    wait_until(lambda: not any(_alive(pid) for pid in unpacked))


def test_a_session_goes_on_after_its_caller_broke_off(jobs: ModuleType, tmp_path: Path) -> None:
    def break_off(task: int, result: int) -> None:
        raise InterruptedError

    shared, engine = jobs.Shared(tmp_path, 3), Engine(workers=2)
    with open_session(jobs.multiply, engine=engine, shared=shared) as session:
        with pytest.raises(InterruptedError):
            session.run(range(50), on_result=break_off)
        assert session.run([1, 2]).results == [3, 6]


@pytest.mark.parametrize("engine", engines(), ids=Engine.describe)
def test_one_thread_per_task_and_the_caller_keeps_its_own(
    jobs: ModuleType, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        assert run_tasks(jobs.threads_in_use, [0], engine=engine).results == [(1, 1)]
        assert torch.get_num_threads() == 2
        assert "OMP_NUM_THREADS" not in os.environ
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("engine", engines(), ids=Engine.describe)
def test_a_task_is_tried_three_times(jobs: ModuleType, tmp_path: Path, engine: Engine) -> None:
    shared = jobs.Shared(tmp_path)
    report = run_tasks(jobs.fail_until_third, [2, 3, 4], engine=engine, shared=shared)
    assert report == TaskReport([2, 3, 4], {})
    assert len(list(tmp_path.glob("tried-3-*"))) == 3
    assert len(list(tmp_path.glob("tried-2-*"))) == 1


@pytest.mark.parametrize("engine", engines(), ids=Engine.describe)
def test_failures_are_named_and_the_rest_finish(
    jobs: ModuleType, tmp_path: Path, engine: Engine
) -> None:
    report = run_tasks(
        jobs.fail_odd,
        [0, 1, 2, 3],
        engine=engine,
        shared=jobs.Shared(tmp_path),
        name_of=lambda task: f"shard {task}",
    )
    assert report.results == [0, None, 2, None]
    assert list(report.failures) == ["shard 1", "shard 3"]
    assert report.failures["shard 1"].startswith("ValueError: 1 is odd (engine_tasks.py, line")
    with pytest.raises(TaskError, match="2 of 4 tasks failed for good; shard 1: ValueError"):
        report.complete()


def test_a_killed_worker_is_replaced_and_its_task_runs_again(
    jobs: ModuleType, tmp_path: Path
) -> None:
    report = run_tasks(
        jobs.die_once, range(8), engine=Engine(workers=2), shared=jobs.Shared(tmp_path)
    )
    assert (tmp_path / "died").exists()
    assert report == TaskReport([0, 10, 20, 30, 40, 50, 60, 70], {})


def test_a_task_that_kills_every_worker_is_named(jobs: ModuleType, tmp_path: Path) -> None:
    report = run_tasks(
        jobs.die_always, range(5), engine=Engine(workers=2), shared=jobs.Shared(tmp_path)
    )
    assert report.results == [0, 10, None, 30, 40]
    assert report.failures == {
        "2": "its worker process was killed by SIGKILL (out of memory?)",
    }


def test_what_cannot_travel_is_explained(jobs: ModuleType) -> None:
    with pytest.raises(TaskError, match="use a module-level function"):
        run_tasks(lambda task, shared: task, [1, 2], engine=Engine(workers=2))
    report = run_tasks(jobs.unsendable, [1], engine=Engine(workers=2))
    assert "its result cannot be sent back" in report.failures["1"]


def test_workers_that_cannot_load_the_function_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone_tomorrow.py").write_text("def job(task, shared):\n    return task\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import gone_tomorrow

    (tmp_path / "gone_tomorrow.py").unlink()
    with pytest.raises(TaskError, match="cannot load its function: ModuleNotFoundError"):
        run_tasks(gone_tomorrow.job, [1], engine=Engine(workers=2))


def test_bad_engine_and_silent_scheduler_are_explained(jobs: ModuleType) -> None:
    with pytest.raises(TaskError, match="give 1 or more"):
        Engine(workers=0)
    pytest.importorskip("distributed")  # loads its part of dask's configuration
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(TaskError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
    ):
        run_tasks(jobs.multiply, [1], engine=Engine(scheduler="tcp://127.0.0.1:9"))


def test_without_distributed_the_extra_is_named(
    jobs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(TaskError, match=r"quasarloop\[cluster\]"):
        run_tasks(jobs.multiply, [1], engine=Engine(scheduler="tcp://127.0.0.1:9"))


@pytest.mark.parametrize(("sent", "whole_group"), [(signal.SIGINT, True), (signal.SIGKILL, False)])
def test_no_worker_outlives_its_main_process(
    tmp_path: Path, sent: signal.Signals, whole_group: bool, wait_until: WaitUntil
) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import signal, sys\n"
        # A suite that runs in the background of a script passes on that Ctrl-C is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.path.insert(0, {str(_HERE)!r})\n"
        "from pathlib import Path\n"
        "import engine_tasks\n"
        "from quasarloop.engine import Engine, run_tasks\n"
        "if __name__ == '__main__':\n"
        f"    shared = engine_tasks.Shared(Path({str(tmp_path)!r}))\n"
        "    run_tasks(engine_tasks.sleep_long, [1, 2], engine=Engine(2), shared=shared)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
        pids = [int(path.name.split("-")[1]) for path in tmp_path.glob("pid-*")]
        (os.killpg if whole_group else os.kill)(process.pid, sent)
        assert process.wait() != 0
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not any(_alive(pid) for pid in pids))


def test_results_may_be_arrays(jobs: ModuleType) -> None:
    report = run_tasks(jobs.ones, [2, 3], engine=Engine(workers=2))
    assert [np.sum(result) for result in report.complete()] == [2.0, 3.0]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie (its parent was killed and nobody collected it) does nothing any more.
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")
