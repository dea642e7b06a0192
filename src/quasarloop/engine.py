"""Run pure tasks here, in processes, or on a Dask cluster: same results everywhere.

A task is a small value (a file, a shard, a member's number); the function that does it
is a module-level ``function(task, shared)`` whose result depends on nothing else. What all
tasks need (weights, a truth table) goes in ``shared`` and travels once per worker.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from quasarloop.engine_processes import Outcome, attempt, run_in_processes, single_thread
from quasarloop.errors import TaskError

__all__ = ["RETRIES", "Engine", "TaskReport", "run_tasks"]

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
    """

    workers: int = 1
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise TaskError(f"{self.workers} workers asked for; give 1 or more")

    def describe(self) -> str:
        """Return a few words for logs and manifests."""
        if self.scheduler is not None:
            return f"Dask cluster at {self.scheduler}"
        return "this process" if self.workers == 1 else f"{self.workers} processes"


@dataclass(frozen=True)
class TaskReport(Generic[R]):
    """What became of all tasks.

    Attributes:
        results: one per task, in task order; None where the task failed.
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
) -> TaskReport[R]:
    """Do every task once, wherever the engine says, and report in task order.

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

    Raises:
        TaskError: workers cannot start, the cluster cannot be reached, or the ``[cluster]``
            extra is missing.

    >>> run_tasks(divmod, [7, 9], shared=4).results
    [(1, 3), (2, 1)]
    """
    engine = engine or Engine()
    tasks = list(tasks)
    results: list[R | None] = [None] * len(tasks)
    failures: dict[int, str] = {}
    tries = [0] * len(tasks)
    queue = deque(range(len(tasks)))
    for outcome in _outcomes(function, tasks, queue, shared, engine):
        index = outcome.index
        if outcome.error is None:
            results[index] = outcome.result
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


def _outcomes(
    function: Callable[[T, Any], R],
    tasks: Sequence[T],
    queue: deque[int],
    shared: Any,
    engine: Engine,
) -> Iterator[Outcome]:
    # The caller puts a task that must run again back on the queue before asking for the next
    # outcome; every way of running ends when the queue is empty and nothing is under way.
    if engine.scheduler is not None:
        from quasarloop.engine_dask import run_on_cluster  # noqa: PLC0415 -- optional extra

        yield from run_on_cluster(function, tasks, queue, shared, engine.scheduler)
    elif engine.workers > 1:
        yield from run_in_processes(function, tasks, queue, shared, engine.workers)
    else:
        while queue:
            index = queue.popleft()
            with single_thread():
                outcome = attempt(function, index, tasks[index], shared)
            yield outcome
