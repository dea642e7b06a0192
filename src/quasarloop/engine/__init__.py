"""Run pure tasks here, in processes, or on a Dask cluster: same results everywhere.

A task is a small value (a file, a shard, a member's number); the function that does it
is a module-level ``function(task, shared)`` whose result depends on nothing else. What all
tasks need (weights, a truth table) goes in ``shared`` and travels once per worker.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from quasarloop.engine.processes import Outcome, ProcessPool, attempt, single_thread
from quasarloop.errors import TaskError

__all__ = [
    "RETRIES",
    "Engine",
    "Session",
    "TaskReport",
    "keep_workers",
    "open_session",
    "run_tasks",
]

# How often a task is tried before it counts as failed. Source: our choice.
RETRIES: Final = 3
# Failed tasks named in one message; the report holds them all.
_NAMED_FAILURES: Final = 5

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """Where tasks run.

    Attributes:
        workers: 1 runs in this process; more start that many single-thread processes.
        scheduler: address of a Dask scheduler, e.g. ``"tcp://10.0.0.1:8786"``; takes the
            place of `workers`.
        gpus: names of GPUs, as in CUDA_VISIBLE_DEVICES: each process sees one of them alone, in
            turn; without any it sees what this process sees.
    """

    workers: int = 1
    scheduler: str | None = None
    gpus: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise TaskError(f"{self.workers} workers; give 1 or more")

    def describe(self) -> str:
        """Return a few words for logs and manifests."""
        if self.scheduler is not None:
            return f"Dask cluster at {self.scheduler}"
        return "this process" if self.workers == 1 else f"{self.workers} processes"


@dataclass(frozen=True)
class KeptEngine(Engine):
    """An engine whose workers stay; made by `keep_workers`."""

    pool: "_Pool" = field(kw_only=True, repr=False)


@dataclass(frozen=True)
class TaskReport(Generic[R]):
    """What became of all tasks.

    Attributes:
        results: one per task, in task order; None where the task failed, or results are not kept.
        failures: task name → what went wrong the last time it was tried, in task order.
    """

    results: list[R | None]
    failures: dict[str, str] = field(default_factory=dict)

    def complete(self) -> list[R]:
        """Return all results.

        Raises:
            TaskError: at least one task failed; the message names the first of them.
        """
        if self.failures:
            named = [f"{name}: {error}" for name, error in self.failures.items()]
            more = len(named) - _NAMED_FAILURES
            tail = f"; and {more} more" if more > 0 else ""
            raise TaskError(
                f"{len(named)} of {len(self.results)} tasks failed for good; "
                f"{'; '.join(named[:_NAMED_FAILURES])}{tail}. The others are done: mend the cause "
                "and run the same command again"
            )
        return [result for result in self.results if result is not None]


def run_tasks(
    function: Callable[[T, Any], R],
    tasks: Sequence[T],
    *,
    engine: Engine | None = None,
    shared: Any = None,
    name_of: Callable[[T], str] = str,
    on_result: Callable[[T, R], None] | None = None,
    retries: int = RETRIES,
    keep: bool = True,
) -> TaskReport[R]:
    """Do every task once, where the engine runs them, and report in task order.

    A task whose worker dies, or that raises, is tried again, `retries` times in all; then it is
    named in the report while the rest go on. BLAS and torch use one thread per task, so that the
    result's bytes do not depend on the number of workers.

    Args:
        function: module-level ``function(task, shared)``, result not None.
        tasks: small picklable values.
        engine: where to run; None is this process.
        shared: picklable value every task needs; sent once per worker. It stays the same object
            between the tasks of one worker, so a cached property on it is computed once.
        name_of: how to name a task in messages.
        on_result: called here, in the order results come in.
        retries: tries per task.
        keep: keep results for the report; without it memory does not grow with their number, and
            `on_result` alone sees them.

    Raises:
        TaskError: workers cannot start, the cluster cannot be reached, or the ``[cluster]``
            extra is missing.

    >>> run_tasks(divmod, [7, 9], shared=4).results
    [(1, 3), (2, 1)]
    """
    with open_session(function, engine=engine, shared=shared) as session:
        return session.run(tasks, name_of=name_of, on_result=on_result, retries=retries, keep=keep)


@contextmanager
def open_session(
    function: Callable[[T, Any], R], *, engine: Engine | None = None, shared: Any = None
) -> "Iterator[Session[T, R]]":
    """Keep workers, and what they share, for several lots of tasks of one function.

    Args and errors as `run_tasks`.
    """
    with keep_workers(engine) as kept:
        yield Session(kept.pool, function, shared)


@contextmanager
def keep_workers(engine: Engine | None) -> "Iterator[KeptEngine]":
    """Keep workers until the block ends, for all lots of tasks that run on the engine it gives.

    Starting a process and importing what tasks need takes longer than many a lot. An engine whose
    workers are kept already is given as it is.

    Args:
        engine: where to run; None is this process.

    Raises:
        TaskError: as `run_tasks`.
    """
    where = engine or Engine()
    if isinstance(where, KeptEngine):
        yield where
        return
    pool: _Pool
    if where.scheduler is not None:
        from quasarloop.engine.dask import ClusterPool  # noqa: PLC0415 -- optional extra

        pool = ClusterPool(where.scheduler)
    elif where.workers > 1:
        pool = ProcessPool(where.workers, where.gpus)
    else:
        pool = _ThisProcess()
    try:
        yield KeptEngine(where.workers, where.scheduler, where.gpus, pool=pool)
    finally:
        pool.close()


class Session(Generic[T, R]):
    """Workers that stay, with one function; made by `open_session`."""

    def __init__(self, pool: "_Pool", function: Callable[[T, Any], R], shared: Any) -> None:
        self._pool, self._function, self._shared = pool, function, shared
        self._load()

    def _load(self) -> None:
        self._pool.load(self._function, self._shared)
        self._pool.loaded = self

    def run(
        self,
        tasks: Sequence[T],
        *,
        name_of: Callable[[T], str] = str,
        on_result: Callable[[T, R], None] | None = None,
        retries: int = RETRIES,
        keep: bool = True,
    ) -> TaskReport[R]:
        """Do every task once and report in task order; see `run_tasks`."""
        if self._pool.loaded is not self:  # another session has used these workers meanwhile
            self._load()
        tasks = list(tasks)
        results: list[R | None] = [None] * len(tasks)
        failures: dict[int, str] = {}
        tries = [0] * len(tasks)
        # A task that must run again goes back on the queue before the next outcome is taken;
        # a pool's run ends when the queue is empty and nothing is under way.
        queue = deque(range(len(tasks)))
        for outcome in self._pool.run(tasks, queue) if tasks else ():
            index = outcome.index
            if outcome.error is None:
                results[index] = outcome.result if keep else None
                if on_result is not None:
                    on_result(tasks[index], outcome.result)
                continue
            tries[index] += 1
            name = name_of(tasks[index])
            log.warning("%s failed (try %d of %d): %s", name, tries[index], retries, outcome.error)
            if tries[index] < retries:
                queue.append(index)
            else:
                failures[index] = outcome.error
        named = {name_of(tasks[index]): failures[index] for index in sorted(failures)}
        return TaskReport(results, named)


class _Pool(Protocol):
    loaded: Any  # the session whose function the workers have

    def load(self, function: Callable[[Any, Any], Any], shared: Any) -> None:
        """Give all workers the function of the next tasks, and what these share."""

    def run(self, tasks: Sequence[Any], queue: deque[int]) -> Iterator[Outcome]:
        """Run queued tasks; yields outcomes as they come."""

    def close(self) -> None:
        """End or leave the workers."""


class _ThisProcess:
    loaded: Any = None

    def load(self, function: Callable[[Any, Any], Any], shared: Any) -> None:
        self._function, self._shared = function, shared

    def run(self, tasks: Sequence[Any], queue: deque[int]) -> Iterator[Outcome]:
        with single_thread():
            while queue:
                index = queue.popleft()
                yield attempt(self._function, index, tasks[index], self._shared)

    def close(self) -> None:
        pass
