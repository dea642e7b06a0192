"""What did not scale, once and now: ``python studies/scaling_before.py``.

Every number of the first measurement stands beside the same measured again, in the table of
docs/measurements/scaling.md. Seconds are of the processor where nothing else is written. With
QUASARNP_DIR, a checkout of desihub/QuasarNP, reading is compared with it.
"""

import argparse
import importlib
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import fitsio
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from many_objects import add_person, load, write_worklist
from many_tasks import lots_of
from quasarloop.artefacts import checksum, read_manifest, write_manifest
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps import networks
from quasarloop.ensemble.manifest import open_ensemble
from quasarloop.ensemble.vote import Voters
from quasarloop.ensemble.votes import VoteRule
from quasarloop.ensemble.votes_folder import MANIFEST
from quasarloop.grid import LOG_GRID
from quasarloop.inspect.campaign import share_out
from quasarloop.inspect.database import open_database
from quasarloop.inspect.worklist import read_worklist
from quasarloop.quality import prepare
from quasarloop.query.options import SomOptions
from quasarloop.query.som import CellGrid
from quasarloop.query.som_parts import parts_of_shards
from quasarloop.query.som_train import fit_map
from quasarloop.read import find_files, fits_reader, open_spectra, read_spectra, read_truth
from quasarloop.store import files as store_files
from quasarloop.store import ingest, open_store, read_shard
from scaling_table import FEW, SRC, command, heads, repeat_shards, short_and_long

# What was measured, its value before, and now.
Row = tuple[str, str, float | str]
TURNS = 15
MAP_SPECTRA, MAP_EPOCHS = 4000, 20
VOTE_ROWS = 400_000
TRUTH_SETS = 5


class Stopwatch:
    """Processor time of some functions, where none of them was called by another."""

    def __init__(self) -> None:
        self.seconds, self.calls, self._inside = 0.0, 0, False

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, measured."""

        def measured(*given: Any, **named: Any) -> Any:
            self.calls += 1
            if self._inside:
                return function(*given, **named)
            self._inside, start = True, time.process_time()
            try:
                return function(*given, **named)
            finally:
                self._inside = False
                self.seconds += time.process_time() - start

        return measured


def cpu_s(work: Callable[[], object]) -> float:
    """Return seconds of the processor that something takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


@contextmanager
def measured(*places: tuple[object, str]) -> Iterator[Stopwatch]:
    """Measure functions of modules or classes meanwhile."""
    watch = Stopwatch()
    with ExitStack() as stack:
        for holder, name in places:
            around = watch.around(getattr(holder, name))
            stack.enter_context(mock.patch.object(holder, name, around))
        yield watch


def short_files(root: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Measure what one short file costs, from ingest to votes."""
    n, names = options.files, (FEW, options.files)
    paths = {size: short_and_long(root, size)["short"] for size in names}
    stores = {size: root / f"before-{size}-{time.time_ns()}" for size in names}
    costs = {s: command(SRC, "ingest", *paths[s], "--store", stores[s]) for s in names}
    spectra = find_files(paths[n])
    reading = [(fits_reader, name) for name in ("_scan", "_column_numbers", "_layout")]
    with measured(*reading, (fits_reader._Header, "__getitem__")) as of_headers:
        all_s = cpu_s(lambda: ingest(spectra, root / f"again-{time.time_ns()}"))
    share = of_headers.seconds / all_s
    opened: list[str] = []
    sys.addaudithook(lambda event, given: event == "open" and opened.append(str(given[0])))
    with measured((fits_reader, "_read_header")) as headers, open_spectra(spectra[0]) as file:
        file.digest(), list(file.blocks(masks=False))
    yield "ingest a spec file, ms", "26", (costs[n].cpu_s - costs[FEW].cpu_s) / (n - FEW) * 1e3
    yield "of that, reading headers, %, at most", "43", share * 100
    yield "header reads of a spec file at ingest", "19", headers.calls
    yield "openings of a spec file at ingest", "2", opened.count(str(spectra[0]))
    shards = open_store(stores[n]).shards
    yield "a row in the store, kB", "9.1", sum(s.stat().st_size for s in shards) / n / 1e3
    read_s = cpu_s(lambda: [read_shard(shard) for shard in shards])
    yield "read a row of a store of short files, ms", "4.8", read_s / n * 1e3
    parts = parts_of_shards(shards)
    passes_s = cpu_s(lambda: fit_map(parts, CellGrid(45, 45), SomOptions(n_epochs=1)))
    # Two: an epoch, and the errors of the finished map.
    yield "a row in a pass of a map of 2,025 cells, ms", "37.5", passes_s / 2 / n * 1e3
    ensemble = heads(root, SRC, options.heads)
    votes = {size: stores[size] / "votes" for size in names}
    voted = {s: command(SRC, "ensemble", "vote", "--ensemble", ensemble, "--store", stores[s],
                        "--out", votes[s]) for s in names}  # fmt: skip
    wall_s = (voted[n].wall_s - voted[FEW].wall_s) / (n - FEW)
    yield f"votes of {options.heads} heads on a short file, by the clock, ms", "54", wall_s * 1e3
    n_files = sum(1 for _ in votes[n].rglob("*.parquet"))
    yield "files of votes, per 1,000 short files", "1,000", n_files / n * 1000


def workers(root: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Measure a map with one worker and with two."""
    sky = heads(root, SRC, options.heads)
    store = repeat_shards(sky.with_name(f"{sky.name}-store"), root / f"map-{time.time_ns()}",
                          MAP_SPECTRA)  # fmt: skip
    for n, before in ((1, "4.9"), (2, "31")):
        cost = command(SRC, "som", "fit", store, "--out", store / f"{n}.npz", "--epochs",
                       MAP_EPOCHS, "--workers", n, "--no-assign")  # fmt: skip
        what = f"map of {MAP_SPECTRA:,} spectra, {MAP_EPOCHS} epochs, --workers {n}"
        yield f"{what}: by the clock, s", before, cost.wall_s
        yield f"{what}: processor, s", "not measured", cost.cpu_s


def inspection(_: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Measure a worklist, and a fourth inspector who joins three."""
    n = options.objects
    for size, before in ((1000, "8, the plan alone"), (n, "hours")):
        with tempfile.TemporaryDirectory() as name:
            database = open_database(f"sqlite:///{Path(name) / 'labels.db'}")
            with redirect_stdout(StringIO()):
                load(database, Path(name), size)
            for person in ("ada", "bea", "cyd"):
                add_person(database, person)
            share_out(database)
            add_person(database, "eve")
            yield (
                f"a fourth inspector joins {size:,} objects, s",
                before,
                cpu_s(lambda database=database: share_out(database)),
            )
            database.close()
            path = write_worklist(Path(name), size)
            each_s = cpu_s(lambda path=path: read_worklist(path)) / size
    yield f"read an entry of a worklist of {n:,}, µs", "135", each_s * 1e6


def labelling(root: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Count how often a step that trains on several truth sets reads the spectra."""
    sky = heads(root, SRC, options.heads)
    store, truth = (
        sky.with_name(f"{sky.name}-store"),
        read_truth(root / "labelled-sky/vi_truth.csv"),
    )
    data = SimpleNamespace(labelled=(), borrowed=(), unlabelled=("all",))
    context = SimpleNamespace(
        config=SimpleNamespace(data=data), store_folder=lambda _: store, step_folder=lambda *_: None
    )
    truths = {f"T{i}": truth[: len(truth) * i // TRUTH_SETS] for i in range(1, TRUTH_SETS + 1)}
    with measured((store_files, "read_shard")) as reads:
        networks._data(cast("Context", context), truths)
    passes = reads.calls / len(open_store(store).shards)
    yield f"passes over spectra, of a step with {TRUTH_SETS} truth sets", f"{TRUTH_SETS}", passes


def cluster(root: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Measure what goes through the client of a cluster."""
    ensemble = open_ensemble(heads(root, SRC, options.heads))
    many = replace(ensemble, members=tuple(map(Path, ["members/0000.h5"] * 200)))
    voters = Voters(many, "cpu", VoteRule(), False)
    lots, sent = lots_of(options.spectra)
    assert all(lot.whole for lot in lots)  # so that a task returns its number of rows
    returned = sum(len(pickle.dumps(len(lot))) for lot in lots)
    yield "sent to each worker for 200 networks, MB", "474", len(pickle.dumps(voters)) / 1e6
    yield f"tasks of votes on {options.spectra:,} spectra", "195,000", len(lots)
    yield "sent by the client for them, MB", "not measured", sent * len(lots) / 1e6
    yield "returned to the client by them, MB", "20,000 to 80,000", returned / 1e6


def reading(root: Path, _: argparse.Namespace) -> Iterator[Row]:
    """Compare reading, rebinning and flagging with others, in turn."""
    bench = importlib.import_module("benchmarks.bench_rebin")
    coadd = bench._write_coadd(root / "coadd.fits", bench._pixels(500))
    theirs, name = bench._reference_load(coadd)

    def read_alone() -> None:
        with fitsio.FITS(coadd) as file:
            for hdu in file[2:]:
                if not hdu.get_extname().endswith("MASK"):
                    hdu.read()

    runs = {"ours": lambda: prepare(read_spectra(coadd, masks=False), LOG_GRID), name: theirs,
            "fitsio": read_alone}  # fmt: skip
    with threadpool_limits(1):
        times = {kind: [cpu_s(run)] for kind, run in runs.items()}
        for _ in range(TURNS):
            for kind, run in runs.items():
                times[kind].append(cpu_s(run))
    best = {kind: min(found[1:]) for kind, found in times.items()}
    ratio = best[name] / best["ours"] if name == "QuasarNP" else "QUASARNP_DIR is not set"
    yield "read, rebin and flag a coadd: rate over QuasarNP's, which flags nothing", "1.2", ratio
    yield "the same: time over that of fitsio's reading alone", "5.3", best["ours"] / best["fitsio"]


def selection(root: Path, _: argparse.Namespace) -> Iterator[Row]:
    """Measure a selection from a file of votes per shard, as in life, and from one file."""
    bench = importlib.import_module("benchmarks.bench_select")
    folder = root / f"select-{time.time_ns()}"
    folder.mkdir()
    votes, cells = bench.write_world(folder, VOTE_ROWS)
    in_life = bench._measure(votes, cells)["seconds"]
    one, record = folder / "one", read_manifest(votes / MANIFEST)
    one.mkdir()
    table = pq.read_table([votes / entry["file"] for entry in record["files"]])
    pq.write_table(table, one / "all.parquet", compression="zstd")
    entry = {"file": "all.parquet", "n_rows": len(table), "sha256": checksum(one / "all.parquet")}
    write_manifest(one / MANIFEST, {**record, "files": [entry]})
    what = f"select from {VOTE_ROWS:,} rows of votes, by the clock, s"
    yield f"{what}: a file for each of {len(record['files'])} shards", "not measured", in_life
    yield f"{what}: one file", "not measured", bench._measure(one, cells)["seconds"]


def written(value: float) -> str:
    """Return a number of three digits, or all of a larger one."""
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"  # noqa: PLR2004 -- digits


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("scaling"))
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--objects", type=int, default=100_000, help="on the inspection page")
    parser.add_argument("--spectra", type=int, default=100_000_000, help="of the tasks of votes")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sys.path.append(str(SRC.parent))  # for benchmarks
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print("| what | before | now |", "|---|---:|---:|", sep="\n", flush=True)
    for part in (short_files, workers, inspection, labelling, cluster, reading, selection):
        for what, before, now in part(options.out, options):
            text = now if isinstance(now, str) else written(now)
            print(f"| {what} | {before} | {text} |", flush=True)


if __name__ == "__main__":
    main()
