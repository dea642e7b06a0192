"""From a store and truth tables to a weights file, its history and its manifest."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasarloop.artefacts import check_output, checksum, versions, without_nan, write_manifest
from quasarloop.errors import GridError, OutputError
from quasarloop.network.config import NetworkConfig
from quasarloop.network.labelled import LabelCounts, TrainingData, hold_out, label_spectra
from quasarloop.network.options import TrainingOptions
from quasarloop.network.records import EpochRecord, write_history
from quasarloop.network.training import CHECKPOINT_NAME, TrainingResult, train
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import Weights, write_weights
from quasarloop.read import read_truth
from quasarloop.store import iter_store, open_store
from quasarloop.truth import join_truth

__all__ = ["TrainedFiles", "TrainingPlan", "train_to_files"]


@dataclass(frozen=True)
class TrainingPlan:
    """What to train with, and where the result goes.

    Attributes:
        store: folder of the store.
        truth: truth tables; of one target's labels the last table's counts.
        out: weights file to write; history, figure and manifest are written beside it.
        validation: part of the objects held out; 0 trains with all and keeps the last epoch.
        seed: of the split and of the training.
        resume: go on from the checkpoint of a killed training.
        overwrite: replace existing files.
    """

    store: Path
    truth: Sequence[Path]
    out: Path
    validation: float
    seed: int
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


@dataclass(frozen=True)
class TrainedFiles:
    """The result of a training.

    Attributes:
        result: the network and its history.
        counts: which spectra trained and which were left out.
        n_train: rows trained with.
        n_validation: rows held out.
    """

    result: TrainingResult
    counts: LabelCounts
    n_train: int
    n_validation: int


def train_to_files(
    plan: TrainingPlan,
    network: NetworkConfig | Weights,
    options: TrainingOptions,
    *,
    on_start: Callable[[LabelCounts, Rows], None] | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> TrainedFiles:
    """Train on the labelled spectra of a store, and write weights, history and manifest.

    Args:
        plan: inputs and outputs.
        network: a configuration to start anew, or weights to start from.
        options: of the training.
        on_start: called before the first epoch with the counts and the rows.
        on_epoch: called after every epoch.

    Raises:
        OutputError: the output exists, or a checkpoint exists and neither `resume` nor
            `overwrite` is set.
        GridError: store and network are on different grids.
        TruthError: nothing to train with.
    """
    _check_outputs(plan)
    store = open_store(plan.store)
    config = network if isinstance(network, NetworkConfig) else network.config
    if not store.grid.matches(config.grid):
        raise GridError(
            f"{plan.store} is a store on a {store.grid.describe()}, the network on a "
            f"{config.grid.describe()}; ingest the files on the network's grid"
        )
    truth = join_truth([read_truth(path) for path in plan.truth])
    data, counts = label_spectra(iter_store(store), truth)
    rows = _split(data, plan)
    if on_start is not None:
        on_start(counts, rows)
    result = train(
        data,
        network,
        options,
        seed=plan.seed,
        rows=rows,
        out_dir=plan.checkpoints,
        on_epoch=on_epoch,
    )
    n_validation = 0 if rows.validation is None else len(rows.validation)
    files = TrainedFiles(result, counts, len(rows.train), n_validation)
    write_history(result.history, plan.history)
    write_weights(result.weights, plan.out)
    write_manifest(plan.manifest, _manifest(plan, files, [shard.name for shard in store.shards]))
    shutil.rmtree(plan.checkpoints)
    return files


def _check_outputs(plan: TrainingPlan) -> None:
    unfinished = plan.checkpoints / CHECKPOINT_NAME
    if unfinished.exists() and plan.overwrite and not plan.resume:
        unfinished.unlink()
    if unfinished.exists() and not plan.resume:
        raise OutputError(
            f"{unfinished} is the checkpoint of an unfinished training; --resume goes on with it, "
            "--overwrite starts anew"
        )
    # A training killed while writing its results left some of them: finishing replaces them.
    check_output(plan.out, overwrite=plan.overwrite or (plan.resume and unfinished.exists()))


def _split(data: TrainingData, plan: TrainingPlan) -> Rows:
    if plan.validation == 0:
        return Rows(data.usable_rows)
    held: NDArray[np.bool_] = hold_out(data, plan.validation, plan.seed)
    return Rows(np.flatnonzero(~held), np.flatnonzero(held))


def _manifest(plan: TrainingPlan, files: TrainedFiles, shards: list[str]) -> dict[str, Any]:
    result = files.result
    kept = result.history[result.weights.provenance["epoch_kept"] - 1]
    numbers = {name: without_nan(value) for name, value in asdict(kept).items()}
    return {
        "training": dict(result.weights.provenance),
        "kept_epoch": numbers,
        "spectra": asdict(files.counts),
        "n_train": files.n_train,
        "n_validation": files.n_validation,
        "validation": plan.validation,
        "inputs": {
            "truth": {str(path): checksum(path) for path in plan.truth},
            "store": str(plan.store),
            "shards": shards,  # named by the checksum of what they hold
        },
        "outputs": {path.name: checksum(path) for path in (plan.out, plan.history)},
        "versions": versions(),
    }
