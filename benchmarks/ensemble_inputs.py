"""A simulated store, a trained ensemble and its exact votes, for the benchmarks of ensembles.

    python -m benchmarks.ensemble_inputs FOLDER [--quick] [--workers N]

Made by the package's own commands. QUASARLOOP_BENCH_INPUTS names a folder to keep them in, for
the next run; killed and started again, it goes on.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quasarloop.ensemble.manifest import Ensemble, open_ensemble
from quasarloop.ensemble.votes_folder import Votes, open_votes
from quasarloop.store import Store, open_store


@dataclass(frozen=True)
class Size:
    """How much to make. Small networks: 64 whole ones would vote for most of an hour."""

    name: str
    spectra: int
    training: int
    networks: int
    epochs: int
    filters: int = 32


FULL = Size("full", spectra=20_000, training=800, networks=64, epochs=10)
QUICK = Size("quick", spectra=1_000, training=500, networks=4, epochs=4)


@dataclass(frozen=True)
class Inputs:
    """What the benchmarks work on."""

    folder: Path
    store: Store
    ensemble: Ensemble
    votes: Votes


@contextmanager
def inputs(quick: bool) -> Iterator[Inputs]:
    """Make the inputs, or take those kept in QUASARLOOP_BENCH_INPUTS."""
    with _root() as root:
        yield make(root, QUICK if quick else FULL)


@contextmanager
def skies(quick: bool) -> Iterator[Path]:
    """Make the skies alone: stores ``pool`` and ``labelled``, and ``labelled-sky/vi_truth.csv``."""
    with _root() as root:
        yield make_skies(root, QUICK if quick else FULL)


@contextmanager
def _root() -> Iterator[Path]:
    kept = os.environ.get("QUASARLOOP_BENCH_INPUTS")
    if kept:
        yield Path(kept)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def make(root: Path, size: Size, workers: int | None = None) -> Inputs:
    """Make what is not there yet."""
    folder = make_skies(root, size, workers)
    n_workers = workers or os.cpu_count() or 1
    if not (folder / "ensemble" / "ensemble.json").exists():
        command(
            *("ensemble", "train", "--store", folder / "labelled"),
            *("--truth", folder / "labelled-sky" / "vi_truth.csv"),
            *("--out", folder / "ensemble", "--networks", size.networks, "--seed", 1),
            *("--filters", size.filters, "--epochs", size.epochs, "--batch-size", 128),
            *("--learning-rate", 3e-3, "--precision", "bfloat16", "--workers", n_workers),
        )
    if not (folder / "votes" / "votes.json").exists():
        command(
            *("ensemble", "vote", "--ensemble", folder / "ensemble", "--store", folder / "pool"),
            *("--out", folder / "votes", "--keep-members", "--workers", n_workers),
        )
    return Inputs(
        folder,
        open_store(folder / "pool"),
        open_ensemble(folder / "ensemble"),
        open_votes(folder / "votes"),
    )


def make_skies(root: Path, size: Size, workers: int | None = None) -> Path:
    """Make the skies that are not there yet, and return their folder."""
    folder = root / size.name
    folder.mkdir(parents=True, exist_ok=True)
    n_workers = workers or os.cpu_count() or 1
    for part, n_objects, seed in (("pool", size.spectra, 7), ("labelled", size.training, 8)):
        if not (folder / f"{part}.done").exists():
            sky = folder / f"{part}-sky"
            if not (sky / "vi_truth.csv").exists():
                command("simulate", "--out", sky, "--objects", n_objects, "--seed", seed)
            command("ingest", sky, "--store", folder / part, "--workers", n_workers)
            (folder / f"{part}.done").touch()
    return folder


def first_shards(store: Store, folder: Path, n_shards: int) -> Store:
    """A store of links to the first shards of another."""
    folder.mkdir()
    (folder / "store.json").write_bytes((store.path / "store.json").read_bytes())
    for shard in store.shards[:n_shards]:
        link = folder / shard.relative_to(store.path)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(shard.resolve())
    return open_store(folder)


def command(*words: object) -> None:
    """Run ``quasarloop`` with these words; its progress stays unseen."""
    line = [sys.executable, "-c", "from quasarloop.cli import main; main()", *map(str, words)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Make the inputs of a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    made = make(options.folder, QUICK if options.quick else FULL, options.workers)
    print(f"{made.store.n_rows} spectra, {len(made.ensemble)} members -> {made.folder}")


if __name__ == "__main__":
    main()
