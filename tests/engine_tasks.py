"""Tasks for the engine's tests: a module of its own, so that worker processes can import it."""

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple


class Shared(NamedTuple):
    """What every task of these tests gets."""

    folder: Path
    factor: int = 1


class CountedShared:
    """Leaves a file each time it is unpacked, and names the process that did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__dict__.update(state)
        (self.folder / f"unpacked-{os.getpid()}-{time.monotonic_ns()}").touch()


class SlowSecond:
    """Takes a second to unpack in every process but the first."""

    def __init__(self, folder: Path, factor: int) -> None:
        self.folder, self.factor = folder, factor

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        try:
            (self.folder / "first").touch(exist_ok=False)
        except FileExistsError:
            time.sleep(1)


def multiply_slowly(task: int, shared: SlowSecond) -> tuple[int, int]:
    time.sleep(0.1)
    return os.getpid(), task * shared.factor


def multiply(task: int, shared: Shared) -> int:
    return task * shared.factor


def process_id(task: int, shared: CountedShared) -> int:
    time.sleep(0.02)
    return os.getpid()


def threads_in_use(task: int, shared: None) -> tuple[int, int]:
    import threadpoolctl
    import torch

    pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    return max(pools, default=1), torch.get_num_threads()


def fail_until_third(task: int, shared: Shared) -> int:
    """Task 3 works the third time it is tried."""
    mark = shared.folder / f"tried-{task}-{time.monotonic_ns()}"
    mark.touch()
    if task == 3 and len(list(shared.folder.glob("tried-3-*"))) < 3:
        raise OSError("the disk is asleep")
    return task


def fail_odd(task: int, shared: Shared) -> int:
    if task % 2:
        raise ValueError(f"{task} is odd")
    return task


def die_once(task: int, shared: Shared) -> int:
    """Task 2 kills its worker, with SIGKILL, the first time."""
    mark = shared.folder / "died"
    if task == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task * 10


def die_always(task: int, shared: Shared) -> int:
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task * 10


def outlive_kills(task: int, shared: Shared) -> object:
    """Begins, and ends only once the test has killed enough workers that began."""
    import numpy as np

    (shared.folder / f"begun-{os.getpid()}").touch()
    while not (shared.folder / "enough").exists():
        time.sleep(0.01)
    return np.full(1000, task * shared.factor)


def unsendable(task: int, shared: None) -> object:
    return lambda: task


def sleep_long(task: int, shared: Shared) -> int:
    (shared.folder / f"pid-{os.getpid()}").touch()
    time.sleep(600)
    return task


def ones(task: int, shared: None) -> object:
    import numpy as np

    return np.ones(task)


def gpu_of_worker(task: int, shared: Shared) -> str | None:
    """Begins in three processes, of which that of task 0 is killed, and ends after a fourth."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
    (shared.folder / f"begun-{os.getpid()}-{gpu}").touch()
    for n_begun in (3, 4):
        while len(list(shared.folder.glob("begun-*"))) < n_begun:
            time.sleep(0.01)
        if task == 0 and not (shared.folder / "died").exists():
            (shared.folder / "died").write_text(str(gpu))
            os.kill(os.getpid(), signal.SIGKILL)
    return gpu
