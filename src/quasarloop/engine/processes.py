"""Tasks in worker processes that may die: each is replaced and its task given back.

The standard library's process pools give up when one worker is killed; long rounds on
shared machines cannot. One pipe per worker, one task at a time.
"""

import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final

from quasarloop.errors import QuasarloopError, TaskError

__all__ = [
    "Outcome",
    "ProcessPool",
    "attempt",
    "describe_error",
    "hold_one_thread",
    "pickled",
    "single_thread",
]

# One thread per worker: many small products are faster so, and sums keep their order.
_SINGLE_THREAD: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
_GPU_VARIABLE: Final = "CUDA_VISIBLE_DEVICES"
# Workers that die before they could take a task, in a row, before we give up.
_FAILED_STARTS: Final = 3
_STOP_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Outcome:
    """One try of one task: a result, or what went wrong."""

    index: int
    result: Any
    error: str | None


def attempt(function: Callable[[Any, Any], Any], index: int, task: Any, shared: Any) -> Outcome:
    """Run a task once; an exception becomes its text, so that one task cannot stop the rest."""
    try:
        return Outcome(index, function(task, shared), None)
    except Exception as exc:  # noqa: BLE001 -- the engine's duty: name the task, let the rest finish
        return Outcome(index, None, describe_error(exc))


def describe_error(exc: BaseException) -> str:
    """Return an exception as one line, with its place where it is not one of ours."""
    text = f"{type(exc).__name__}: {exc}"
    frames = traceback.extract_tb(exc.__traceback__)
    if isinstance(exc, QuasarloopError) or not frames:
        return text
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


@contextmanager
def single_thread() -> Iterator[None]:
    """Hold BLAS, OpenMP and torch (if loaded) to one thread, and restore them after."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 0
    with _environment(_SINGLE_THREAD), _threadpool_limits()(limits=1):
        if torch is not None:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(before)


def hold_one_thread() -> None:
    """Hold BLAS, OpenMP and torch (if loaded) to one thread for good: for a worker's tasks."""
    _threadpool_limits()(limits=1)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def pickled(value: Any, function: Callable[[Any, Any], Any]) -> bytes:
    """Return a value as bytes for other processes.

    Raises:
        TaskError: it cannot be sent; the message names the function it is for.
    """
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, TypeError, AttributeError) as exc:
        raise TaskError(
            f"cannot send {getattr(function, '__qualname__', function)!r} and its shared value to "
            f"other processes ({exc}); use a module-level function and plain values"
        ) from exc


class ProcessPool:
    """Spawned single-thread processes, started when there is work and kept for the next.

    Args:
        n_workers: most processes at a time.
        gpus: names of GPUs: each process sees one alone, that which takes its place the same one.
    """

    loaded: Any = None

    def __init__(self, n_workers: int, gpus: Sequence[str] = ()) -> None:
        self._payload = b""
        self._n_workers, self._gpus = n_workers, gpus
        self._workers: list[_Worker] = []

    def load(self, function: Callable[[Any, Any], Any], shared: Any) -> None:
        """Give all workers the function of the next tasks, and what these share.

        Args:
            function: module-level ``function(task, shared)``.
            shared: sent once to every worker.

        Raises:
            TaskError: function or shared cannot be sent.
        """
        self._payload = pickled((function, shared), function)
        self._stop_busy()
        for worker in self._workers:
            if worker.ready:  # one that has not yet loaded what it was sent is sent this after it
                self._load(worker)

    def run(self, tasks: Sequence[Any], queue: deque[int]) -> Iterator[Outcome]:
        """Run queued tasks; yields outcomes as they come.

        Args:
            tasks: all tasks.
            queue: numbers of tasks to run; the caller may append between outcomes.

        Raises:
            TaskError: workers cannot start.
        """
        self._stop_busy()
        failed_starts = 0
        while queue or self._n_busy():
            while len(self._workers) < min(self._n_workers, self._n_busy() + len(queue)):
                self._workers.append(self._start())
            _hand_out(self._workers, tasks, queue)
            for connection in wait([worker.connection for worker in self._workers]):
                worker = next(w for w in self._workers if w.connection is connection)
                message = _receive(worker)
                if message == _HELLO or (message == _READY and worker.has is not self._payload):
                    self._load(worker)
                elif message == _READY:
                    worker.ready, failed_starts = True, 0
                elif isinstance(message, Outcome):
                    worker.index = None
                    yield message
                else:
                    self._workers.remove(worker)
                    if worker.ready and worker.index is not None:
                        yield Outcome(worker.index, None, _obituary(worker))
                    elif not worker.ready:
                        failed_starts += 1
                        _check_starts(failed_starts, message, worker)

    def interrupt(self) -> None:
        """Kill the workers from another thread than that of `run`, which reports their tasks."""
        for worker in list(self._workers):
            worker.process.kill()

    def close(self) -> None:
        """End all workers."""
        self._stop(list(self._workers))

    def _n_busy(self) -> int:
        return sum(worker.index is not None for worker in self._workers)

    def _start(self) -> "_Worker":
        place = min(set(range(self._n_workers)) - {worker.place for worker in self._workers})
        gpus = self._gpus
        return _start(place, {_GPU_VARIABLE: gpus[place % len(gpus)]} if gpus else {})

    def _load(self, worker: "_Worker") -> None:
        worker.ready, worker.has = False, self._payload
        _send(worker, _LOAD, self._payload)

    def _stop_busy(self) -> None:
        """End what an earlier run, broken off, left at work."""
        self._stop([worker for worker in self._workers if worker.index is not None])

    def _stop(self, workers: list["_Worker"]) -> None:
        _stop(workers)
        for worker in workers:
            self._workers.remove(worker)


@dataclass
class _Worker:
    place: int  # among all workers
    process: SpawnProcess
    connection: Connection
    has: bytes = b""  # function and shared value it was sent last
    ready: bool = False  # and has loaded
    index: int | None = None  # task under way


# A worker's messages before its first outcome; anything else is its last word.
_HELLO: Final = "hello"
_READY: Final = "ready"
# What a worker is sent is a task, or this and then a function with its shared value.
_LOAD: Final = b"load"


def _start(place: int, own: Mapping[str, str]) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    with _environment({**_SINGLE_THREAD, **own}):  # read by the child's libraries when they load
        process.start()
    theirs.close()  # so that the child's death closes the pipe
    return _Worker(place, process, ours)


def _hand_out(workers: list[_Worker], tasks: Sequence[Any], queue: deque[int]) -> None:
    for worker in workers:
        if worker.ready and worker.index is None and queue:
            worker.index = queue.popleft()
            # A worker that died meanwhile is found when its pipe reports the end.
            _send(worker, pickle.dumps((worker.index, tasks[worker.index])))


def _send(worker: _Worker, *messages: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):
        for message in messages:
            worker.connection.send_bytes(message)


def _receive(worker: _Worker) -> Any:
    try:
        return worker.connection.recv()
    except (EOFError, OSError):
        return None


def _obituary(worker: _Worker) -> str:
    worker.process.join()  # it closed its pipe: on a busy machine its end may take a while
    code = worker.process.exitcode
    if code is not None and code < 0:
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"its worker process was killed by {signal.Signals(-code).name}{hint}"
    return f"its worker process ended with exit status {code}"


def _check_starts(failed_starts: int, message: Any, worker: _Worker) -> None:
    if isinstance(message, str):  # it could not unpack function and shared
        raise TaskError(f"a worker process cannot load its function: {message}")
    if failed_starts >= _FAILED_STARTS:
        raise TaskError(
            f"{failed_starts} worker processes in a row ended while starting "
            f"({_obituary(worker)}); a script that calls the engine must do so under "
            "'if __name__ == \"__main__\":'"
        )


def _stop(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(_STOP_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.connection.close()


def _work(connection: Connection) -> None:
    # Ctrl-C is the main process's to handle: it terminates us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(_HELLO)
        function, shared = _nothing, None
        while True:
            message = connection.recv_bytes()
            if message != _LOAD:
                index, task = pickle.loads(message)
                _reply(connection, attempt(function, index, task, shared))
                continue
            packed = connection.recv_bytes()
            shared = None  # not two shared values at a time
            try:
                function, shared = pickle.loads(packed)
            except Exception as exc:  # noqa: BLE001 -- whatever an import raises must reach the user
                connection.send(describe_error(exc))
                return
            del packed
            hold_one_thread()
            connection.send(_READY)


def _nothing(task: Any, shared: Any) -> None:
    """Do nothing: a worker's function until it is loaded."""


def _reply(connection: Connection, outcome: Outcome) -> None:
    try:
        connection.send(outcome)
    except (pickle.PicklingError, TypeError, AttributeError) as exc:
        error = f"its result cannot be sent back: {exc}"
        connection.send(Outcome(outcome.index, None, error))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _threadpool_limits() -> Any:
    # By name: it has no type information, and the engine must import without it.
    return importlib.import_module("threadpoolctl").threadpool_limits


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
