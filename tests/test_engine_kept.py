"""Workers that stay for a whole command, whatever its steps run on them."""

from pathlib import Path
from types import ModuleType

import pytest

from quasarloop.engine import Engine, keep_workers, open_session, run_tasks
from quasarloop.errors import TaskError


def test_kept_workers_take_one_function_after_another(jobs: ModuleType, tmp_path: Path) -> None:
    shared = jobs.CountedShared(tmp_path)
    with keep_workers(Engine(workers=2)) as engine, keep_workers(engine) as same:
        assert same is engine
        pids = run_tasks(jobs.process_id, range(8), engine=engine, shared=shared).complete()
        for factor in (3, 4):  # as the weights of a map, epoch after epoch
            found = run_tasks(
                jobs.multiply, range(4), engine=engine, shared=jobs.Shared(tmp_path, factor)
            )
            assert found.results == [factor * i for i in range(4)]
        again = run_tasks(jobs.process_id, range(8), engine=engine, shared=shared).complete()
    unpacked = [int(path.name.split("-")[1]) for path in tmp_path.glob("unpacked-*")]
    assert {*pids, *again} <= set(unpacked)
    assert len(set(unpacked)) <= 2
    with pytest.raises(TaskError, match="cannot send"), keep_workers(Engine(workers=2)) as engine:
        run_tasks(lambda task, shared: task, [1], engine=engine)


def test_a_worker_that_is_late_for_one_lot_has_the_next_ones_shared_value(
    jobs: ModuleType, tmp_path: Path
) -> None:
    with keep_workers(Engine(workers=2)) as engine:
        for factor in (3, 4):
            shared = jobs.SlowSecond(tmp_path, factor)
            n_tasks = 2 if factor == 3 else 60
            report = run_tasks(jobs.multiply_slowly, range(n_tasks), engine=engine, shared=shared)
            assert [value for _, value in report.complete()] == [factor * i for i in range(n_tasks)]


def test_two_sessions_on_the_same_workers_keep_their_functions(
    jobs: ModuleType, tmp_path: Path
) -> None:
    for where in (Engine(), Engine(workers=2)):
        with (
            keep_workers(where) as engine,
            open_session(jobs.multiply, engine=engine, shared=jobs.Shared(tmp_path, 3)) as three,
            open_session(jobs.multiply, engine=engine, shared=jobs.Shared(tmp_path, 5)) as five,
        ):
            assert [s.run([1, 2]).results for s in (three, five, three)] == [
                [3, 6],
                [5, 10],
                [3, 6],
            ]


def test_a_result_that_the_cluster_forgot_is_a_loss_and_no_traceback() -> None:
    """A client whose scheduler has ended may know of an error, but not which."""
    pytest.importorskip("distributed")
    from quasarloop.engine.dask import ClusterPool

    class Forgotten:
        status = "error"

        def exception(self) -> None:
            return None

    assert ClusterPool("tcp://127.0.0.1:1")._outcome(Forgotten(), 0) == "its result was forgotten"
