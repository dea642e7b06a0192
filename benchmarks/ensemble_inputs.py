"""A simulated store and a trained ensemble for the benchmarks of voting and training.

Made by the package's own commands. QUASARLOOP_BENCH_INPUTS names a folder to keep them in, for
the next run; both are resumable, and taken as they are if they stand there.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quasarloop.ensemble.manifest import Ensemble, open_ensemble
from quasarloop.store import Store, open_store


@dataclass(frozen=True)
class Size:
    """How much to make."""

    name: str
    spectra: int
    training: int
    networks: int
    epochs: int


FULL = Size("full", spectra=20_000, training=1_500, networks=64, epochs=10)
QUICK = Size("quick", spectra=1_000, training=500, networks=4, epochs=4)


@dataclass(frozen=True)
class Inputs:
    """What the benchmarks work on."""

    folder: Path
    store: Store
    ensemble: Ensemble


@contextmanager
def inputs(quick: bool) -> Iterator[Inputs]:
    """Make the inputs, or take those that stand in QUASARLOOP_BENCH_INPUTS."""
    kept = os.environ.get("QUASARLOOP_BENCH_INPUTS")
    if kept:
        yield _make(Path(kept), QUICK if quick else FULL)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield _make(Path(folder), QUICK if quick else FULL)


def command(*words: object) -> None:
    """Run ``quasarloop`` with these words; its progress stays unseen."""
    line = [sys.executable, "-c", "from quasarloop.cli import main; main()", *map(str, words)]
    subprocess.run(line, check=True, capture_output=True)


def _make(root: Path, size: Size) -> Inputs:
    folder = root / size.name
    folder.mkdir(parents=True, exist_ok=True)
    for part, n_objects, seed in (("pool", size.spectra, 7), ("labelled", size.training, 8)):
        if not (folder / part / "store.json").exists():
            sky = folder / f"{part}-sky"
            command("simulate", "--out", sky, "--objects", n_objects, "--seed", seed)
            command("ingest", sky, "--store", folder / part)
    if not (folder / "ensemble" / "ensemble.json").exists():
        command(
            *("ensemble", "train", "--store", folder / "labelled"),
            *("--truth", folder / "labelled-sky" / "vi_truth.csv"),
            *("--out", folder / "ensemble", "--networks", size.networks, "--seed", 1),
            *("--epochs", size.epochs, "--batch-size", 128, "--learning-rate", 2e-3),
            *("--workers", os.cpu_count() or 1),
        )
    return Inputs(folder, open_store(folder / "pool"), open_ensemble(folder / "ensemble"))
