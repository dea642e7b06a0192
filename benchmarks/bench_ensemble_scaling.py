"""Voting and training over workers, and the memory of voting.

Rates of one core are per second of processor time: others may use the machine. So is the gain of
two workers: what their processors spent, half each, against what one spent. It is what the clock
would show on two free cores.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.ensemble_inputs import Inputs, first_shards, inputs
from quasarloop.engine import Engine
from quasarloop.ensemble.manifest import open_ensemble, write_ensemble_manifest
from quasarloop.ensemble.options import EnsembleOptions
from quasarloop.ensemble.train import train_ensemble
from quasarloop.ensemble.vote import vote
from quasarloop.network.config import preset
from quasarloop.network.labelled import label_spectra
from quasarloop.network.options import TrainingOptions
from quasarloop.read import read_truth
from quasarloop.store import iter_store, open_store


def run(quick: bool) -> list[dict[str, Any]]:
    with inputs(quick) as made, tempfile.TemporaryDirectory() as out:
        return [
            _voting_scales(made, Path(out), quick),
            _training_scales(made, Path(out), quick),
            _memory(made),
        ]


def _voting_scales(made: Inputs, out: Path, quick: bool) -> dict[str, Any]:
    part = first_shards(made.store, out / "part", n_shards=4 if quick else 12)

    def vote_with(workers: int) -> None:
        vote(made.ensemble, part, out / f"votes-{workers}", engine=Engine(workers=workers))

    asked = part.n_rows * len(made.ensemble)
    return _gain("vote", vote_with, asked, "spectra × networks")


def _training_scales(made: Inputs, out: Path, quick: bool) -> dict[str, Any]:
    truth = read_truth(made.folder / "labelled-sky" / "vi_truth.csv")
    data, _ = label_spectra(iter_store(open_store(made.folder / "labelled")), truth)
    settings = EnsembleOptions(
        n_networks=2 if quick else 4,
        seed=3,
        network=preset("green2025"),
        training=TrainingOptions(epochs=1 if quick else 2, monitor="none"),
    )

    def train_with(workers: int) -> None:
        train_ensemble(data, settings, out / f"e-{workers}", engine=Engine(workers=workers))

    seen = np.count_nonzero(data.trains) * settings.training.epochs * settings.n_networks
    row = _gain("train an ensemble", train_with, seen, "spectra × epochs × networks")
    first, second = (open_ensemble(out / f"e-{workers}").checksums for workers in (1, 2))
    assert first == second, "members differ between 1 and 2 workers"
    return row


def _gain(what: str, work_with: Callable[[int], None], amount: int, unit: str) -> dict[str, Any]:
    clock, spent = {}, {}
    for workers in (1, 2):
        before, started = _processor_s(), time.perf_counter()
        work_with(workers)
        clock[workers] = time.perf_counter() - started
        spent[workers] = (_processor_s() - before) / workers
    return {
        "name": f"{what}, 2 workers against 1",
        "ours_per_s": amount / spent[2],
        "reference_per_s": amount / spent[1],
        "ratio": spent[1] / spent[2],
        "reference": "1 worker, this process; start of the two counts; by the clock "
        f"{clock[1] / clock[2]:.2f} on a machine others use",
        "unit": unit,
        "per_core_second": amount / spent[1],
    }


def _processor_s() -> float:
    """Seconds of processor time of this process and of all its children that ended."""
    return sum(os.times()[:4])


def _memory(made: Inputs) -> dict[str, Any]:
    peaks = {n_shards: _peak_mib(made, n_shards) for n_shards in (1, len(made.store.shards))}
    few, many = peaks.values()
    one = pq.read_metadata(made.store.shards[0]).num_rows
    return {
        "name": f"vote, peak memory of {made.store.n_rows:,} spectra against {one:,} (2 members)",
        "ratio": few / many,
        "target": 0.95,
        "reference": f"{few:.0f} MiB, then {many:.0f} MiB; flat is 1",
    }


def _peak_mib(made: Inputs, n_shards: int) -> float:
    """Peak resident memory of a process of its own that votes on so many shards."""
    words = [str(made.ensemble.folder), str(made.store.path), str(n_shards)]
    line = [sys.executable, "-m", "benchmarks.bench_ensemble_scaling", *words]
    return float(subprocess.run(line, check=True, capture_output=True, text=True).stdout)


def _vote_and_print_peak(ensemble: str, store: str, n_shards: int) -> None:
    with tempfile.TemporaryDirectory() as out:
        few = _first_members(ensemble, Path(out) / "e", n_members=2)
        part = first_shards(open_store(store), Path(out) / "part", n_shards)
        vote(open_ensemble(few), part, Path(out) / "votes")
    print(_own_peak_mib())


def _own_peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would start from the peak of the process that forked us
        words = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(words["VmHWM"].split()[0]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _first_members(ensemble: str, folder: Path, n_members: int) -> Path:
    whole = open_ensemble(ensemble)
    (folder / "members").mkdir(parents=True)
    for path in whole.members[:n_members]:
        (folder / "members" / path.name).symlink_to(path.resolve())
    write_ensemble_manifest(folder, whole.config, whole.record["members"][:n_members], {})
    return folder


if __name__ == "__main__":
    _vote_and_print_peak(sys.argv[1], sys.argv[2], int(sys.argv[3]))
