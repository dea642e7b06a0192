"""Tasks on a Dask distributed cluster that somebody else started.

Users bring the cluster (dask-jobqueue, dask-mpi, Kubernetes) and give its scheduler's
address. Results must not depend on it: see `quasarloop.engine`.
"""

import logging
import math
import pickle
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final

from quasarloop.engine.processes import Outcome, attempt, describe_error, hold_one_thread, pickled
from quasarloop.errors import TaskError

__all__ = ["ClusterPool"]

# How often a task may be lost with its workers before that counts as a failed try. Dask moves a
# task to another worker three times by itself, so this is 40 dead workers. Source: our choice.
_LOSSES: Final = 10
# Tasks under way per thread of the cluster: the next is there when one ends, and few are under
# suspicion when a worker dies. Source: our choice.
_AHEAD: Final = 2
# How long nothing may come back before a look at the cluster.
_PATIENCE_S: Final = 60.0
# Workers come and go; between two looks at them lie so many seconds, for a thousand workers are
# 25 kB from the scheduler.
_LOOK_S: Final = 2.0

log = logging.getLogger(__name__)


class ClusterPool:
    """The workers of a Dask cluster, over one connection, made when there is work.

    A task lost with its worker is sent again while workers come back.

    Args:
        scheduler: address, e.g. ``"tcp://10.0.0.1:8786"``.
    """

    loaded: Any = None

    def __init__(self, scheduler: str) -> None:
        self._scheduler = scheduler
        self._client: Any = None
        self._held: Any = None
        self._n_submitted = 0
        self._name = f"quasarloop-{uuid.uuid4().hex}"

    def load(self, function: Callable[[Any, Any], Any], shared: Any) -> None:
        """Give the cluster the function of the next tasks, and what these share.

        The scheduler keeps `shared` packed and sends it to any worker that lacks it, also after
        all that had it are dead.

        Args:
            function: module-level ``function(task, shared)``, importable by the workers.
            shared: sent once to every worker.

        Raises:
            TaskError: distributed is not installed, no scheduler answers at the address, or
                `shared` cannot be sent.
        """
        self._function, self._packed = function, pickled(shared, function)
        if self._client is None:
            self._distributed = _import_distributed()
            self._client = _connect(self._distributed, self._scheduler)
        self._held = None

    def run(self, tasks: Sequence[Any], queue: deque[int]) -> Iterator[Outcome]:
        """Run queued tasks; yields outcomes as they come.

        Args:
            tasks: all tasks.
            queue: numbers of tasks to run; the caller may append between outcomes.

        Raises:
            TaskError: the workers cannot take what the tasks share, or the scheduler has ended.
        """
        under_way: dict[Any, int] = {}
        finished: SimpleQueue[Any] = SimpleQueue()
        losses: Counter[int] = Counter()
        most, looked = 0, -math.inf
        while queue or under_way:
            if queue and time.monotonic() - looked > _LOOK_S:
                most, looked = max(_AHEAD, _AHEAD * self._n_threads()), time.monotonic()
            room = most - len(under_way)
            for _ in range(min(room, len(queue))):
                index = queue.popleft()
                future = self._submit(_run_one, self._function, index, tasks[index], self._hold())
                under_way[future] = index
                future.add_done_callback(finished.put)
            future = self._next(finished)
            index = under_way.pop(future)
            outcome = self._outcome(future, index)
            if isinstance(outcome, Outcome):
                yield outcome
                continue
            losses[index] += 1
            looked = -math.inf  # fewer workers, until they are back
            log.warning("task %d was lost with its worker (%s); sending it again", index, outcome)
            if losses[index] < _LOSSES:
                # First of all, so that of two lost together the other runs first the next time: a
                # task that kills its workers must not take its neighbours with it for good.
                queue.appendleft(index)
            else:
                error = f"lost {losses[index]} times with the workers it was on (out of memory?)"
                yield Outcome(index, None, error)

    def close(self) -> None:
        """Leave the cluster."""
        self._held = None
        if self._client is not None:
            self._client.close()

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self._n_submitted += 1
        # A key of its own: a task sent again is not under suspicion for its earlier workers.
        key = f"{self._name}-{self._n_submitted}"
        return self._client.submit(function, *arguments, key=key)

    def _hold(self) -> Any:
        """Return the shared value on the cluster; a task, so that Dask makes it again if lost."""
        if self._held is None or self._held.status in ("cancelled", "error"):
            import dask  # noqa: PLC0415 -- optional extra

            # It travels once: Dask's warning of large graphs is for what travels with each task.
            with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}):
                self._held = self._submit(_Packed, self._packed)
        return self._held

    def _n_threads(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except (OSError, RuntimeError) as exc:
            raise TaskError(
                f"the Dask scheduler at {self._scheduler} has ended ({exc}); start one and run the "
                "same command again"
            ) from exc

    def _next(self, finished: "SimpleQueue[Any]") -> Any:
        while True:
            try:
                return finished.get(timeout=_PATIENCE_S)
            except Empty:
                if self._n_threads() == 0:
                    log.warning("no worker at %s; waiting for one", self._scheduler)

    def _outcome(self, future: Any, index: int) -> Outcome | str:
        """Return what a finished future contains; how the cluster lost it where it did."""
        if future.status == "error":
            error = future.exception()
            if error is None:  # the client has lost its scheduler, and with it what it knew
                return "its result was forgotten"
            if isinstance(error, TaskError):
                raise TaskError(
                    f"the cluster's workers cannot take what the tasks share ({error}); install "
                    "the same quasarloop and libraries there as here"
                ) from error
            if not isinstance(error, self._distributed.KilledWorker):
                return Outcome(index, None, f"the cluster gave it up: {describe_error(error)}")
            return "several workers died with it"
        try:
            outcome: Outcome = future.result()
        except Exception as exc:  # noqa: BLE001 -- its worker, and those that ran it again, are dead
            return type(exc).__name__
        return outcome


def _import_distributed() -> Any:
    try:
        import distributed  # noqa: PLC0415 -- optional extra
    except ImportError as exc:
        raise TaskError(
            "a Dask scheduler was given but 'distributed' is not installed; "
            "pip install 'quasarloop[cluster]'"
        ) from exc
    return distributed


def _connect(distributed: Any, scheduler: str) -> Any:
    try:
        return distributed.Client(scheduler, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as exc:
        raise TaskError(
            f"no Dask scheduler answers at {scheduler} ({exc}); start one and give its address, "
            "e.g. tcp://10.0.0.1:8786"
        ) from exc


class _Packed:
    """A shared value on its way: unpacked once where it is, packed again for no other worker."""

    def __init__(self, packed: bytes) -> None:
        self._packed, self._lock = packed, threading.Lock()
        self._value: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _Packed, (self._packed,)

    def unpack(self) -> Any:
        with self._lock:
            if self._value is None:
                try:
                    self._value = pickle.loads(self._packed)
                except Exception as exc:
                    raise TaskError(describe_error(exc)) from exc
            return self._value


def _run_one(function: Callable[[Any, Any], Any], index: int, task: Any, held: _Packed) -> Outcome:
    hold_one_thread()
    return attempt(function, index, task, held.unpack())
