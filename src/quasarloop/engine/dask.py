"""Tasks on a Dask distributed cluster that somebody else started.

Users bring the cluster (dask-jobqueue, dask-mpi, Kubernetes) and give its scheduler's
address. Results must not depend on it: see `quasarloop.engine`.
"""

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, Final

from quasarloop.engine.processes import Outcome, attempt, describe_error, hold_one_thread
from quasarloop.errors import TaskError

__all__ = ["ClusterPool"]

# How often the cluster may lose everything it holds before that counts against tasks.
_LOSSES: Final = 20
# A worker may die while `shared` is on its way to it.
_SCATTER_TRIES: Final = 4
_SCATTER_WAIT_S: Final = 0.5

log = logging.getLogger(__name__)


class ClusterPool:
    """The workers of a Dask cluster, all with one function and its shared value.

    `shared` is broadcast to the workers there are; later ones fetch it from their peers. A worker
    that dies is replaced by its nanny and its tasks run again elsewhere.

    Args:
        function: module-level ``function(task, shared)``, importable by the workers.
        shared: sent once to every worker.
        scheduler: address, e.g. ``"tcp://10.0.0.1:8786"``.

    Raises:
        TaskError: distributed is not installed, or nobody answers at the address.
    """

    def __init__(self, function: Callable[[Any, Any], Any], shared: Any, scheduler: str) -> None:
        self._function, self._shared = function, shared
        self._distributed = _import_distributed()
        self._client = _connect(self._distributed, scheduler)
        self._held: Any = None
        self._n_submitted = 0
        self._name = f"quasarloop-{uuid.uuid4().hex}"

    def run(self, tasks: Sequence[Any], queue: deque[int]) -> Iterator[Outcome]:
        """Run queued tasks; yields outcomes as they come.

        Args:
            tasks: all tasks.
            queue: numbers of tasks to run; the caller may append between outcomes.

        Raises:
            TaskError: the workers cannot take what the tasks share.
        """
        self._hold()
        under_way: dict[str, int] = {}
        loop = self._client.loop
        finished = self._distributed.as_completed([], loop=loop, raise_errors=False)
        losses = 0
        while queue or under_way:
            while queue:
                index = queue.popleft()
                future = self._submit(index, tasks[index])
                under_way[future.key] = index
                finished.add(future)
            future = next(finished)
            index = under_way.pop(future.key)
            outcome = _outcome(future, index)
            if outcome is None and losses < _LOSSES:
                # The workers that held `shared` or the result are gone: not the task's fault.
                losses += 1
                log.warning("the cluster lost task %d; giving it back", index)
                self._hold()
                queue.append(index)
                continue
            yield outcome or Outcome(index, None, "the cluster lost it again and again")

    def close(self) -> None:
        """Leave the cluster."""
        self._held = None
        self._client.close()

    def _submit(self, index: int, task: Any) -> Any:
        self._n_submitted += 1
        key = f"{self._name}-{self._n_submitted}"
        return self._client.submit(_run_one, self._function, index, task, self._held, key=key)

    def _hold(self) -> None:
        """Make sure that the cluster holds the shared value."""
        self._client.wait_for_workers(1)
        lost = self._held is None or self._held.status != "finished"
        if lost and self._shared is not None:
            self._held = _broadcast(self._client, self._shared)


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


def _broadcast(client: Any, shared: Any) -> Any:
    for left in reversed(range(_SCATTER_TRIES)):
        try:
            # hash=False: equal content of an earlier run must not be taken for ours.
            return client.scatter([shared], broadcast=True, hash=False)[0]
        except Exception as exc:  # distributed re-raises a worker's error as a bare Exception
            if left == 0:
                raise TaskError(
                    f"the cluster's workers cannot take what the tasks share ({exc}); install the "
                    "same quasarloop and libraries there as here"
                ) from exc
            log.warning("a worker could not take what the tasks share (%s); trying again", exc)
            time.sleep(_SCATTER_WAIT_S)  # a worker died meanwhile: its nanny starts another
            client.wait_for_workers(1)
    raise AssertionError("unreachable")


def _run_one(function: Callable[[Any, Any], Any], index: int, task: Any, shared: Any) -> Outcome:
    hold_one_thread()
    return attempt(function, index, task, shared)


def _outcome(future: Any, index: int) -> Outcome | None:
    """Return what a finished future holds; None where the cluster lost it."""
    if future.status in ("cancelled", "lost"):
        return None
    if future.status == "error":
        error = describe_error(future.exception())
        return Outcome(index, None, f"the cluster gave it up: {error}")
    try:
        outcome: Outcome = future.result()
    except CancelledError:
        return None
    return outcome
