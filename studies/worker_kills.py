"""Worker processes killed at work: which pool still returns every result?

    python studies/worker_kills.py --kills 10 --seeds 3

Prints the table of docs/development/architecture.md, "Less of our own". A task returns an array of
20 MB; every few tenths of a second a worker that has begun a task is killed. Each pool may try a
task again as often as it likes. ``pebble`` is compared where it is installed (pip install pebble).
"""

import argparse
import importlib.util
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from quasarloop.engine import Engine, run_tasks

N_TASKS = 100
N_BYTES = 20_000_000
_TRIES = 50
_SECONDS = 600
_FOLDER = "QUASARLOOP_WORKER_KILLS"  # where workers leave their process numbers


def work(task: int, shared: None = None) -> np.ndarray:
    """Return a large array, and leave the worker's process number to be killed by."""
    (Path(os.environ[_FOLDER]) / str(os.getpid())).touch()
    time.sleep(0.02)
    return np.full(N_BYTES, task % 256, np.uint8)


def quasarloop_processes() -> int:
    """One pipe per worker."""
    report = run_tasks(work, range(N_TASKS), engine=Engine(workers=2), retries=_TRIES)
    return N_TASKS - len(report.failures)


def quasarloop_on_dask() -> int:
    """A Dask cluster of two workers on this machine."""
    import dask  # noqa: PLC0415 -- optional
    from distributed import LocalCluster  # noqa: PLC0415

    # LocalCluster gives a worker up that takes longer than this to come back: on a busy machine it
    # has none left after some kills.
    dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"})
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        engine = Engine(scheduler=cluster.scheduler_address)
        report = run_tasks(work, range(N_TASKS), engine=engine, retries=_TRIES)
    return N_TASKS - len(report.failures)


def pebble() -> int:
    """One pipe for all workers."""
    from pebble import ProcessPool  # noqa: PLC0415 -- not a dependency

    with ProcessPool(2, context=multiprocessing.get_context("spawn")) as pool:
        return _resubmitted(lambda task: pool.schedule(work, args=(task,)))


def concurrent_futures() -> int:
    """The standard library's."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        return _resubmitted(lambda task: pool.submit(work, task))


def _resubmitted(submit: Callable[[int], Any]) -> int:
    """Submit what failed again, until all is done or the pool is broken; return what is done."""
    left = list(range(N_TASKS))
    for _ in range(_TRIES):
        try:
            futures = [(task, submit(task)) for task in left]
        except RuntimeError:  # broken for good
            break
        left = [task for task, future in futures if future.exception() is not None]
        if not left:
            break
    return N_TASKS - len(left)


def _kill(folder: Path, n_kills: int, seed: int) -> None:
    rng, killed = random.Random(seed), 0
    while killed < n_kills:
        time.sleep(rng.uniform(0.15, 0.6))
        begun = [int(file.name) for file in folder.iterdir()]
        alive = [pid for pid in begun if Path(f"/proc/{pid}/cmdline").exists()]
        if alive:
            os.kill(rng.choice(alive), signal.SIGKILL)
            killed += 1


POOLS = {
    "our processes": quasarloop_processes,
    "ours on Dask": quasarloop_on_dask,
    "concurrent.futures": concurrent_futures,
    "pebble": pebble,
}


def _one_run(pool: str, seed: int, n_kills: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ[_FOLDER] = folder
        threading.Thread(target=_kill, args=(Path(folder), n_kills, seed), daemon=True).start()
        print(POOLS[pool](), flush=True)
        os._exit(0)  # whatever a broken pool still waits for


def main() -> None:
    """Run every pool with every seed, each run in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--run", nargs=2, metavar=("POOL", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        _one_run(options.run[0], int(options.run[1]), options.kills)
    seeds = range(1, options.seeds + 1)
    print(f"| pool | {' | '.join(f'seed {seed}' for seed in seeds)} |")
    print("|---|" + "---:|" * len(seeds))
    for pool in POOLS:
        if pool == "pebble" and not importlib.util.find_spec("pebble"):
            continue
        done = [_results(pool, seed, options.kills) for seed in seeds]
        print(f"| {pool} | {' | '.join(done)} |", flush=True)


def _results(pool: str, seed: int, n_kills: int) -> str:
    command = [sys.executable, __file__, "--kills", str(n_kills), "--run", pool, str(seed)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except subprocess.TimeoutExpired:
        return f"no end in {_SECONDS} s"
    except subprocess.CalledProcessError as exc:
        return exc.stderr.strip().splitlines()[-1]
    return f"{run.stdout.strip()} of {N_TASKS}"


if __name__ == "__main__":
    main()
