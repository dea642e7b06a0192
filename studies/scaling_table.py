"""What scales: thousands of short files, a million rows.

``files`` brings the same spectra through ingest, votes, map and selection once as short files and
once as one long file; with ``--before CHECKOUT`` the code of an earlier version does the same.
``rows`` repeats simulated shards under new ids and does a round's steps on each size. ``map`` fits
a map with one worker and with two, in turn. Tables of docs/measurements/scaling.md; every step
is a command of its own.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import fitsio
import numpy as np
import pyarrow.parquet as pq

from quasarloop.grid import LOG_GRID
from quasarloop.read import find_files, read_spectra
from quasarloop.store import create_store, open_store, read_shard, shard_path
from quasarloop.store.files import schema_of, table_from_spectra

SRC = Path(__file__).parents[1] / "src"
# Spectra of the commands whose cost is that of starting them.
FEW = 10


@dataclass(frozen=True)
class Cost:
    """Of one command and the processes it started: seconds of processor and clock, peak MiB."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_mib: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        peak = max(self.peak_mib, other.peak_mib)
        return Cost(self.cpu_s + other.cpu_s, self.wall_s + other.wall_s, peak)


def command(src: Path, *words: object) -> Cost:
    """Run ``quasarloop`` with these words, of the code below `src`."""
    with tempfile.NamedTemporaryFile("r") as file:
        # Its own peak: what the kernel gives to the parent begins with the parent's.
        keep = f"Path({file.name!r}).write_text(Path('/proc/self/status').read_text())"
        code = (
            "import atexit; from pathlib import Path; from quasarloop.cli import main\n"
            f"atexit.register(lambda: {keep}); main()"
        )
        line = [sys.executable, "-c", code, *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": str(src), "OMP_NUM_THREADS": "1"}
        silent = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
        start = time.perf_counter()
        pid = os.posix_spawn(sys.executable, line, environment, file_actions=[silent])
        _, status, used = os.wait4(pid, 0)
        wall = time.perf_counter() - start
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"failed: quasarloop {' '.join(map(str, words))}")
        (peak,) = (row.split()[1] for row in file if row.startswith("VmHWM:"))
    return Cost(used.ru_utime + used.ru_stime, wall, int(peak) / 1024)


def heads(root: Path, src: Path, n_heads: int) -> Path:
    """Return an ensemble of heads made by that code."""
    sky, out = root / "labelled-sky", root / f"heads-{sha256(str(src).encode()).hexdigest()[:8]}"
    if not (out / "ensemble.json").exists():
        if not (sky / "vi_truth.csv").exists():
            command(SRC, "simulate", "--out", sky, "--objects", 400, "--seed", 8)
        store = out.with_name(f"{out.name}-store")
        command(src, "ingest", sky, "--store", store)
        truth = ("--truth", sky / "vi_truth.csv")
        command(src, "ensemble", "train", "--store", store, *truth, "--heads", n_heads,
                "--out", out)  # fmt: skip
    return out


def round_steps(root: Path, src: Path, store: Path, options: argparse.Namespace) -> dict[str, Cost]:
    """Vote, fit a map and select, on a store that is there."""
    out = store.with_name(f"{store.name}-round")
    out.mkdir()
    ensemble = heads(root, src, options.heads)
    votes, som = ("--votes", out / "votes"), out / "map.npz"
    return {
        "votes of heads": command(src, "ensemble", "vote", "--ensemble", ensemble, "--store",
                                  store, "--out", out / "votes"),
        "map and cells": command(src, "som", "fit", store, "--out", som, "--epochs",
                                 options.epochs),
        "selection": command(src, "select", *votes, "--som", som.with_suffix(".cells.parquet"),
                             "--store", store, "--n", FEW, "--out", out / "chosen"),
    }  # fmt: skip


def short_and_long(root: Path, n: int) -> dict[str, list[Path]]:
    """Return n spec files, and one spPlate file of the same pixels."""
    sky, long = root / f"sdss-{n}", root / f"spPlate-{n}.fits"
    if not long.exists():
        command(SRC, "simulate", "--out", sky, "--objects", n, "--seed", 1, "--format", "sdss")
        spectra = [read_spectra(path).arms[0] for path in find_files([sky / "spectra"])]
        n_pix = min(len(arm.wave_aa) for arm in spectra)
        header = {"COEFF0": np.log10(spectra[0].wave_aa[0]), "COEFF1": 1e-4, "PLATEID": 9999,
                  "MJD": 60000}  # fmt: skip
        with fitsio.FITS(long, "rw") as file:
            file.write(np.concatenate([arm.flux[:, :n_pix] for arm in spectra]), header=header)
            file.write(np.concatenate([arm.ivar[:, :n_pix] for arm in spectra]))
            for _ in range(3):  # masks and dispersion, which ingest does not read
                file.write(np.zeros((1, 1), "f4"))
            fibers = np.arange(1, n + 1, dtype="i4")
            file.write({"FIBERID": fibers, "OBJTYPE": np.full(n, "QSO")})
    return {"short": [sky / "spectra"], "one": [long]}


def files(root: Path, options: argparse.Namespace) -> None:
    """Print costs per spectrum of short files and of one file, before and now."""
    versions = {"now": (SRC, options.files)}
    if options.before:
        versions = {"before": (options.before / "src", options.before_files), **versions}
    print("| version, spectra | step | short files, ms | one file, ms | ratio | by the clock, ms |")
    print("|---|---|---:|---:|---:|---:|")
    for name, (src, n) in versions.items():
        costs: dict[str, dict[str, Cost]] = {}
        starts: dict[str, Cost] = {}
        for size in (FEW, n):
            for kind, paths in short_and_long(root, size).items():
                store = root / f"store-{name}-{kind}-{size}-{time.time_ns()}"
                found = {"ingest": command(src, "ingest", *paths, "--store", store)}
                found |= round_steps(root, src, store, options)
                if size == FEW:
                    starts = found
                else:
                    costs[kind] = found
        for step in [*starts, "all"]:
            spent = [
                sum(costs[kind].values(), Cost()) if step == "all" else costs[kind][step]
                for kind in ("short", "one")
            ]
            start = sum(starts.values(), Cost()) if step == "all" else starts[step]
            cpu = [(cost.cpu_s - start.cpu_s) / (n - FEW) * 1e3 for cost in spent]
            wall = [(cost.wall_s - start.wall_s) / (n - FEW) * 1e3 for cost in spent]
            print(f"| {name}, {n:,} | {step} | {cpu[0]:.3f} | {cpu[1]:.3f} | {cpu[0] / cpu[1]:.1f} "
                  f"| {wall[0]:.2f} and {wall[1]:.2f} |", flush=True)  # fmt: skip


def repeat_shards(sky: Path, out: Path, n_rows: int) -> Path:
    """Make a store of a simulated one's shards, again and again, under new ids."""
    made = create_store(out, LOG_GRID)
    shards, copy, done = open_store(sky).shards, 0, 0
    while done < n_rows:
        for shard in shards:
            spectra = read_shard(shard)[: n_rows - done]
            if not len(spectra):
                break
            ids = {key: getattr(spectra.keys, key) + (copy << 36) for key in ("target_id",
                   "object_id")}  # fmt: skip
            changed = replace(spectra, keys=replace(spectra.keys, **ids))
            name = sha256(f"{shard.stem} {copy}".encode()).hexdigest()[:32]
            path = shard_path(out, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            table = table_from_spectra(changed, schema_of(made.grid))
            pq.write_table(table, path, compression="zstd", row_group_size=512)
            done += len(spectra)
        copy += 1
    return out


def small_store(root: Path, options: argparse.Namespace) -> Path:
    """Return the store whose shards are repeated; its sky is beside it."""
    store, sky = root / "sky-store", root / "sky"
    if not (store / "index.jsonl").exists():
        command(SRC, "simulate", "--out", sky, "--objects", options.objects, "--seed", 7)
        command(SRC, "ingest", sky, "--store", store)
    return store


def rows(root: Path, options: argparse.Namespace) -> None:
    """Print cost and memory of a round's steps at several sizes."""
    small = small_store(root, options)
    heads(root, SRC, options.heads)
    starts: dict[str, Cost] = {}
    print("| rows | step | processor, ms per spectrum | by the clock | peak memory, MiB |")
    print("|---:|---|---:|---:|---:|", flush=True)
    for n in (FEW, *options.sizes):
        store = repeat_shards(small, root / f"store-{n}-{time.time_ns()}", n)
        catalogue = store.with_name(f"{store.name}.parquet")
        found = {
            "classify": command(SRC, "classify", store, "--out", catalogue),
            **round_steps(root, SRC, store, options),
            "report": command(SRC, "evaluate", "--catalogue", catalogue, "--truth",
                              root / "sky" / "vi_truth.csv", "--out",
                              store.with_name(f"{store.name}-report")),
        }  # fmt: skip
        starts = starts or found
        for step, cost in found.items() if n != FEW else ():
            each = (cost.cpu_s - starts[step].cpu_s) / (n - FEW) * 1e3
            wall = (cost.wall_s - starts[step].wall_s) / (n - FEW) * 1e3
            print(f"| {n:,} | {step} | {each:.3f} | {wall:.3f} | {cost.peak_mib:.0f} |", flush=True)


def two_workers(root: Path, options: argparse.Namespace) -> None:
    """Print the time of a map with one worker and with two, in turn."""
    small = small_store(root, options)
    versions = {"now": SRC} | ({"before": options.before / "src"} if options.before else {})
    print("| version, spectra, workers | processor, s | by the clock, s |")
    print("|---|---:|---:|", flush=True)
    for n in options.sizes:
        store = repeat_shards(small, root / f"map-{n}-{time.time_ns()}", n)
        for turn in range(options.turns):
            for name, src in versions.items():
                for workers in (1, 2):
                    cost = command(src, "som", "fit", store, "--out", store / f"{turn}.npz",
                                   "--epochs", options.epochs, "--workers", workers,
                                   "--overwrite", "--no-assign")  # fmt: skip
                    print(f"| {name}, {n:,}, {workers} | {cost.cpu_s:.1f} | {cost.wall_s:.1f} |",
                          flush=True)  # fmt: skip


def main() -> None:
    """Read the options and make one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("files", "rows", "map"))
    parser.add_argument("--out", type=Path, default=Path("scaling"))
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--before", type=Path, help="checkout of an earlier version")
    parser.add_argument("--before-files", type=int, default=300)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--objects", type=int, default=1000, help="spectra that are repeated")
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=5, help="of the map")
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    made = {"files": files, "rows": rows, "map": two_workers}
    made[options.what](options.out, options)


if __name__ == "__main__":
    main()
