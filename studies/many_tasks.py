"""What a Dask scheduler makes of thousands of tasks: ``python studies/many_tasks.py``.

A client, a scheduler, and a thousand workers in four processes. The tasks do nothing; they are as
many as votes on 100 million spectra. Prints the table of docs/measurements/scaling.md.
"""

import argparse
import asyncio
import logging
import multiprocessing
import pickle
import tempfile
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
from distributed import Scheduler, Worker

from quasarloop.engine import Engine, run_tasks
from quasarloop.ensemble.pieces import Lot, cut_lots, cut_pieces

# Rows of a shard of short files (`store.packs`).
SHARD_ROWS = 4096
# Of the workers: each has some twenty open files, and a process may have 20,000.
PROCESSES = 4
# What each worker of Dask does 50 times a second, and twice, would be all that the one process of a
# thousand workers did: on a cluster every worker has its own.
QUIET = {
    "distributed.comm.timeouts.connect": "10m",
    "distributed.admin.tick.interval": "1h",
    "distributed.admin.system-monitor.interval": "1h",
    "distributed.worker.profile.enabled": False,
}
logging.getLogger("distributed").setLevel(logging.ERROR)


def lots_of(n_spectra: int) -> tuple[list[Lot], float]:
    """Return the tasks of votes on so many spectra, and the mean bytes of one."""
    n_shards = n_spectra // SHARD_ROWS
    shards = [Path(f"/survey/store/shards/{i % 256:02x}/{i:032x}.parquet") for i in range(n_shards)]
    lots = cut_lots(cut_pieces(shards, [SHARD_ROWS] * n_shards))
    some = lots[:: max(1, len(lots) // 100)]
    return lots, float(np.mean([len(pickle.dumps((0, lot))) for lot in some]))


def be_scheduler(address: Any) -> None:
    """Be the scheduler of a simulation; put its address on a queue."""

    async def serve() -> None:
        async with Scheduler(port=0, dashboard_address=":0") as scheduler:
            address.put(scheduler.address)
            await scheduler.finished()

    with dask.config.set(QUIET):
        asyncio.run(serve())


def be_workers(address: str, n: int, ready: Any) -> None:
    """Be n workers of a simulation: each has a connection of its own, and one thread."""

    async def serve() -> None:
        folder = tempfile.mkdtemp()
        # With a limit each would pause for the memory of all.
        workers = [
            Worker(address, nthreads=1, memory_limit=0, dashboard=False, local_directory=folder)
            for _ in range(n)
        ]
        for start in range(0, n, 50):  # some at a time: the scheduler answers each
            await asyncio.gather(*workers[start : start + 50])
        ready.put(n)
        await workers[0].finished()

    with dask.config.set(QUIET):
        asyncio.run(serve())


def spent(processes: list[psutil.Process]) -> tuple[float, float]:
    """Return seconds of processor, and MiB now."""
    times = [process.cpu_times() for process in processes]
    memory = sum(process.memory_info().rss for process in processes)
    return sum(one.user + one.system for one in times), memory / 2**20


def nothing(task: int, shared: None) -> int:
    """Do nothing."""
    return task


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--spectra", type=int, default=100_000_000)
    parser.add_argument("--tasks", type=int, help="of fewer spectra than those")
    options = parser.parse_args()
    lots, sent = lots_of(options.spectra)
    n_tasks = options.tasks or len(lots)
    context = multiprocessing.get_context("spawn")
    address, ready = context.Queue(), context.Queue()
    scheduler = context.Process(target=be_scheduler, args=(address,), daemon=True)
    scheduler.start()
    engine = Engine(scheduler=address.get())
    share = options.workers // PROCESSES
    workers = [
        context.Process(target=be_workers, args=(engine.scheduler, share, ready), daemon=True)
        for _ in range(PROCESSES)
    ]
    for process in workers:
        process.start()
    for _ in workers:
        ready.get()
    with dask.config.set(QUIET):
        processes = {
            "client": [psutil.Process()],
            "scheduler": [psutil.Process(scheduler.pid)],
            "all workers": [psutil.Process(process.pid) for process in workers],
        }
        before = {name: spent(those) for name, those in processes.items()}
        start = time.perf_counter()
        report = run_tasks(nothing, range(n_tasks), engine=engine, keep=False)
        wall = time.perf_counter() - start
        after = {name: spent(those) for name, those in processes.items()}
    for process in (*workers, scheduler):
        process.kill()
    assert not report.failures
    found = {
        "workers, tasks that do nothing": f"{options.workers:,}, {n_tasks:,}",
        "tasks per second, by the clock": f"{n_tasks / wall:.0f}",
    }
    for name, (cpu_s, mib) in after.items():
        cpu_before_s, mib_before = before[name]
        found[f"{name}: processor time per task"] = (
            f"{(cpu_s - cpu_before_s) / n_tasks * 1e3:.1f} ms"
        )
        found[f"{name}: memory before and after"] = f"{mib_before:.0f}, {mib:.0f} MiB"
    found |= {
        f"votes on {options.spectra:,} spectra": f"{len(lots):,} tasks",
        "sent by the client for them": f"{sent:,.0f} bytes a task, {sent * len(lots) / 1e6:.0f} MB",
    }
    print("| what | |", "|---|---:|", *(f"| {k} | {v} |" for k, v in found.items()), sep="\n")


if __name__ == "__main__":
    main()
