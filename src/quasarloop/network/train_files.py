"""From a store and truth tables to a weights file, its history and its manifest."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quasarloop.artefacts import (
    check_output,
    checksum,
    locked_folder,
    versions,
    without_nan,
    write_manifest,
)
from quasarloop.errors import GridError, OutputError
from quasarloop.network.config import NetworkConfig
from quasarloop.network.finetune import train_from
from quasarloop.network.labelled import LabelCounts, label_spectra
from quasarloop.network.options import HoldOutOptions, TrainingOptions
from quasarloop.network.records import EpochRecord, write_history
from quasarloop.network.training import CHECKPOINT_NAME, TrainingResult
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import Weights, write_weights
from quasarloop.read import read_truths
from quasarloop.store import iter_store, open_store

__all__ = ["TrainingFiles", "train_to_files"]


@dataclass(frozen=True)
class TrainingFiles:
    """What to train with, and where the result goes.

    Attributes:
        store: folder of the store.
        truth: truth tables; of one target's labels the last table's counts.
        unvetted: take redrock's catalogues as truth too (`quasarloop.read.read_truth`).
        out: weights file to write; history, figure and manifest are written beside it.
        hold_out: part of the objects held out (0 trains with all and keeps the last epoch), and
            the seed of the split and of the training.
        resume: go on from the checkpoint of a killed training.
        overwrite: replace existing files.
    """

    store: Path
    truth: Sequence[Path]
    unvetted: bool
    out: Path
    hold_out: HoldOutOptions
    resume: bool
    overwrite: bool

    @property
    def history(self) -> Path:
        """Where the history goes."""
        return self.out.with_suffix(".history.parquet")

    @property
    def figure(self) -> Path:
        """Where a figure of the history may go."""
        return self.out.with_suffix(".history.png")

    @property
    def manifest(self) -> Path:
        """Where the manifest goes."""
        return self.out.with_suffix(".json")

    @property
    def checkpoints(self) -> Path:
        """Folder that keeps the checkpoint until the training is done."""
        return self.out.with_suffix(".checkpoint")


def train_to_files(
    files: TrainingFiles,
    network: NetworkConfig | Weights,
    options: TrainingOptions,
    *,
    on_start: Callable[[LabelCounts, Rows], None] | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> TrainingResult:
    """Train on the labelled spectra of a store, and write weights, history and manifest.

    Args:
        files: inputs and outputs.
        network: a configuration to start anew, or weights to start from.
        options: of the training.
        on_start: called before the first epoch with the counts and the rows.
        on_epoch: called after every epoch.

    Raises:
        OutputError: the output exists, a checkpoint exists and neither `resume` nor `overwrite`
            is set, or another command trains there.
        GridError: store and network are on different grids.
        TruthError: nothing to train with.
    """
    _check_outputs(files)
    store = open_store(files.store)
    config = network if isinstance(network, NetworkConfig) else network.config
    if not store.grid.matches(config.grid):
        raise GridError(
            f"{files.store} is a store on a {store.grid.describe()}, the network on a "
            f"{config.grid.describe()}; ingest the files on the network's grid"
        )
    truth = read_truths(files.truth, unvetted=files.unvetted)
    data, counts = label_spectra(iter_store(store), truth)
    rows = Rows.held_out(data, files.hold_out.validation, files.hold_out.seed)
    if on_start is not None:
        on_start(counts, rows)
    with locked_folder(files.checkpoints):
        result = train_from(
            network,
            data,
            options,
            rows=rows,
            seed=files.hold_out.seed,
            out_dir=files.checkpoints,
            on_epoch=on_epoch,
        )
        write_history(result.history, files.history)
        write_weights(result.weights, files.out)
        shards = [shard.name for shard in store.shards]
        write_manifest(files.manifest, _manifest(files, result, counts, shards))
        shutil.rmtree(files.checkpoints)
    return result


def _check_outputs(files: TrainingFiles) -> None:
    unfinished = files.checkpoints / CHECKPOINT_NAME
    if unfinished.exists() and not files.resume:
        if not files.overwrite:
            raise OutputError(
                f"{unfinished} is the checkpoint of an unfinished training; --resume goes on with "
                "it, --overwrite starts anew"
            )
        unfinished.unlink()
    # A training killed while writing its results left some of them: finishing replaces them.
    check_output(files.out, overwrite=files.overwrite or (files.resume and unfinished.exists()))


def _manifest(
    files: TrainingFiles, result: TrainingResult, counts: LabelCounts, shards: list[str]
) -> dict[str, Any]:
    record = result.weights.provenance
    kept = asdict(result.history[record["epoch_kept"] - 1])
    return {
        "training": dict(record),
        "kept_epoch": {name: without_nan(value) for name, value in kept.items()},
        "spectra": asdict(counts),
        "n_train": record["n_training_rows"],
        "n_validation": record["n_validation_rows"],
        "validation": files.hold_out.validation,
        "inputs": {
            "truth": {str(path): checksum(path) for path in files.truth},
            "store": str(files.store),
            "shards": shards,  # named by the checksum of what they hold
        },
        "outputs": {path.name: checksum(path) for path in (files.out, files.history)},
        "versions": versions(),
    }
