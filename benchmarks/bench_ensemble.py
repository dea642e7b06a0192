"""Voting and training: against a plain loop over members and files, and over workers.

The reference loads each member, and for each sends one file at a time through QuasarNP's
arithmetic in numpy (QuasarNP itself where QUASARNP_DIR names a checkout). Both sides read the same
store with one thread; verdicts and entropies must be identical. Where both sides are one
process of one thread, rates are per second of processor time: others may use the machine.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from benchmarks.bench_classify import _reference
from benchmarks.ensemble_inputs import Inputs, inputs
from quasarloop.classes import CONFIDENCE_THRESHOLD, Vote, vote_class
from quasarloop.engine import Engine
from quasarloop.ensemble.entropy import count_votes, vote_entropy
from quasarloop.ensemble.manifest import open_ensemble
from quasarloop.ensemble.train import EnsembleSettings, train_ensemble
from quasarloop.ensemble.vote import vote
from quasarloop.ensemble.votes import count_column
from quasarloop.network.labelled import label_spectra
from quasarloop.network.options import TrainingOptions
from quasarloop.network.weights import read_weights
from quasarloop.quality import UNUSABLE
from quasarloop.read import read_truth
from quasarloop.store import Store, iter_store, open_store, read_shard

_TARGET = 4


def run(quick: bool) -> list[dict[str, Any]]:
    with inputs(quick) as made, tempfile.TemporaryDirectory() as out:
        folder = Path(out)
        return [
            *_against_reference(made, folder, n_files=1 if quick else 4),
            _voting_scales(made, folder),
            _training_scales(made, folder, quick),
            _memory(made),
        ]


def _against_reference(made: Inputs, out: Path, n_files: int) -> list[dict[str, Any]]:
    ensemble, store = made.ensemble, made.store
    started = time.process_time()
    votes = vote(ensemble, store, out / "votes")
    ours_s = time.process_time() - started
    files = store.shards[:n_files]
    started = time.process_time()
    with threadpool_limits(1):
        counts, usable, said_by = _reference_counts(made, files)
    theirs_s = time.process_time() - started
    ours = pl.concat([pl.read_parquet(path) for path in votes.files[:n_files]])
    found = ours.select([count_column(one) for one in Vote]).to_numpy()
    different = np.count_nonzero((found != counts).any(axis=1))
    entropy = ours["ENTROPY"].to_numpy()
    wrong = np.count_nonzero(entropy[usable] != vote_entropy(counts)[usable])
    ours_per_s = store.n_rows * len(ensemble) / ours_s
    theirs_per_s = len(counts) * len(ensemble) / theirs_s
    return [
        {
            "name": f"vote, {store.n_rows:,} spectra × {len(ensemble)} members, 1 worker",
            "ours_per_s": ours_per_s,
            "reference_per_s": theirs_per_s,
            "ratio": ours_per_s / theirs_per_s,
            "target": _TARGET,
            "reference": f"{said_by}, member by member, file by file ({len(counts):,} spectra)",
            "unit": "spectra × networks per second of one core",
        },
        {
            "name": f"vote, spectra with other verdicts or entropies, of {len(counts):,}",
            "ratio": float(different + wrong),
            "target": 0,
            "reference": said_by,
        },
    ]


def _reference_counts(made: Inputs, files: tuple[Path, ...]) -> tuple[np.ndarray, np.ndarray, str]:
    spectra = [read_shard(path) for path in files]
    usable = np.concatenate([(s.flags & UNUSABLE) == 0 for s in spectra])
    votes, said_by = [], ""
    for member in made.ensemble.members:
        classify, said_by = _reference(read_weights(member))
        votes.append(np.concatenate([_verdicts(classify(s.flux)) for s in spectra]))
    return count_votes(votes) * usable[:, None], usable, said_by


def _verdicts(said: Any) -> np.ndarray:
    if isinstance(said, list):  # ours in numpy: (confidence, z) of every line, BAL last
        confidence = np.stack([line[0] for line in said[:-1]])
        z = np.stack([line[1] for line in said[:-1]])
    else:  # QuasarNP: (n_lines, n) confidences and redshifts of emission lines, then the rest
        confidence, z = np.asarray(said[0]), np.asarray(said[1])
    z_best = z[confidence.argmax(axis=0), np.arange(z.shape[1])]
    return vote_class(confidence.max(axis=0) > CONFIDENCE_THRESHOLD, z_best)


def _voting_scales(made: Inputs, out: Path) -> dict[str, Any]:
    part = _first_shards(made.store, out / "part", n_shards=4)
    seconds = {}
    for workers in (1, 2):
        started = time.perf_counter()
        vote(made.ensemble, part, out / f"votes-{workers}", engine=Engine(workers=workers))
        seconds[workers] = time.perf_counter() - started
    asked = part.n_rows * len(made.ensemble)
    return {
        "name": f"vote, 2 workers against 1 ({os.cpu_count()} cores)",
        "ours_per_s": asked / seconds[2],
        "reference_per_s": asked / seconds[1],
        "ratio": seconds[1] / seconds[2],
        "reference": "1 worker; start of the processes counts",
        "unit": "spectra × networks",
    }


def _training_scales(made: Inputs, out: Path, quick: bool) -> dict[str, Any]:
    truth = read_truth(made.folder / "labelled-sky" / "vi_truth.csv")
    data, _ = label_spectra(iter_store(open_store(made.folder / "labelled")), truth)
    settings = EnsembleSettings(
        n_networks=2 if quick else 4,
        seed=3,
        network=made.ensemble.config,
        training=TrainingOptions(epochs=1 if quick else 2, batch_size=128, monitor="none"),
    )
    seconds, one_core = {}, time.process_time()
    for workers in (1, 2):
        started = time.perf_counter()
        train_ensemble(data, settings, out / f"e-{workers}", engine=Engine(workers=workers))
        seconds[workers] = time.perf_counter() - started
        one_core = time.process_time() - one_core if workers == 1 else one_core
    first, second = (open_ensemble(out / f"e-{workers}").checksums for workers in (1, 2))
    assert first == second, "members differ between 1 and 2 workers"
    seen = len(data) * settings.training.epochs * settings.n_networks
    return {
        "name": f"train an ensemble, 2 workers against 1 ({os.cpu_count()} cores)",
        "ours_per_s": seen / seconds[2],
        "reference_per_s": seen / seconds[1],
        "ratio": seconds[1] / seconds[2],
        "reference": "1 worker; start of the processes counts; same bytes",
        "unit": "spectra × epochs × networks",
        "per_core_second": seen / one_core,
    }


def _memory(made: Inputs) -> dict[str, Any]:
    peaks = {n_shards: _peak_mib(made, n_shards) for n_shards in (1, len(made.store.shards))}
    few, many = peaks[1], peaks[len(made.store.shards)]
    return {
        "name": f"vote, peak memory of {len(made.store.shards)} shards against 1 (2 members)",
        "ratio": few / many,
        "target": 0.95,
        "reference": f"{few:.0f} MiB, then {many:.0f} MiB; flat is 1",
    }


def _peak_mib(made: Inputs, n_shards: int) -> float:
    """Peak resident memory of a process of its own that votes on so many shards."""
    words = [str(made.ensemble.folder), str(made.store.path), str(n_shards)]
    line = [sys.executable, "-m", "benchmarks.bench_ensemble", *words]
    return float(subprocess.run(line, check=True, capture_output=True, text=True).stdout)


def _vote_and_print_peak(ensemble: str, store: str, n_shards: int) -> None:
    with tempfile.TemporaryDirectory() as out:
        few = _first_members(ensemble, Path(out) / "e", n_members=2)
        part = _first_shards(open_store(store), Path(out) / "part", n_shards)
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
    from quasarloop.ensemble.manifest import write_ensemble_manifest  # noqa: PLC0415 -- once

    whole = open_ensemble(ensemble)
    (folder / "members").mkdir(parents=True)
    for path in whole.members[:n_members]:
        (folder / "members" / path.name).symlink_to(path.resolve())
    write_ensemble_manifest(folder, whole.config, whole.record["members"][:n_members], {})
    return folder


def _first_shards(store: Store, folder: Path, n_shards: int) -> Store:
    """A store of links to the first shards of another."""
    folder.mkdir()
    (folder / "store.json").write_bytes((store.path / "store.json").read_bytes())
    for shard in store.shards[:n_shards]:
        link = folder / shard.relative_to(store.path)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(shard.resolve())
    return open_store(folder)


if __name__ == "__main__":
    _vote_and_print_peak(sys.argv[1], sys.argv[2], int(sys.argv[3]))
