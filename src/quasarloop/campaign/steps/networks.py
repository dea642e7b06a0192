"""Train a network on every truth set, judged on one validation set; and the one that leaves.

The validation set is taken from the newest T, by object, and held out of every set (paper,
Section 4.2); the final network is trained on all of T (paper, Section 4.3).
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.artefacts import write_manifest
from quasarloop.campaign.layout import (
    EVERY_ROUND,
    LEDGER,
    Stream,
    engine_of,
    network_of,
    seed_number,
    seed_of,
    spectra_of_truth,
    training_of,
    truth_set,
)
from quasarloop.campaign.ledger import Origin, active_truth, add_labels, read_ledger
from quasarloop.campaign.state import Context, Step
from quasarloop.campaign.steps.labels import read_control
from quasarloop.engine import run_tasks
from quasarloop.network.config import NetworkConfig
from quasarloop.network.labelled import TrainingData, hold_out, joined_data, label_spectra
from quasarloop.network.options import TrainingOptions
from quasarloop.network.records import write_history
from quasarloop.network.training import train
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import write_weights
from quasarloop.truth import TruthTable

__all__ = ["CONTROL", "FINAL", "NETWORKS", "SETS_NAME", "set_name", "validation_data"]

FINAL: Final = "final"
CONTROL: Final = "random"
SETS_NAME: Final = "sets.json"


@dataclass(frozen=True)
class _Job:
    """One training: the truth set it uses, its seed, and for a bootstrap its number."""

    name: str
    truth_set: str
    seed: np.random.SeedSequence
    bootstrap: int | None = None


@dataclass(frozen=True)
class _Work:
    """What every training needs."""

    folder: Path
    sets: Mapping[str, TrainingData]
    validation: TrainingData
    network: NetworkConfig
    options: TrainingOptions
    size: int


def set_name(number: int) -> str:
    """Return the name of the truth set after a round; 0 is the first T."""
    return f"T{number}"


def validation_data(context: Context) -> TrainingData:
    """Return the labelled spectra held out of every truth set of this round."""
    newest = _data(context, truth_set(context, context.round_number))
    return newest[_held_out(context, newest)]


def _run(context: Context) -> None:
    folder, section = context.step_folder("networks"), context.config.training
    newest = _data(context, truth_set(context, context.round_number))
    held = _held_out(context, newest)
    sets = _truth_sets(context, newest, newest.object_id[held])
    jobs = _jobs(context, sets)
    sets[FINAL] = newest
    work = _Work(
        folder=folder,
        sets=sets,
        validation=newest[held],
        network=network_of(section, context.config),
        options=training_of(section, context.config),
        size=len(sets[set_name(context.round_number)]),
    )
    run_tasks(
        _train,
        jobs,
        engine=engine_of(context),
        shared=work,
        name_of=lambda job: f"network {job.name}",
        on_result=lambda job, _: context.report(f"trained {job.name}"),
    ).complete()
    sizes = {name: len(data) for name, data in sets.items()}
    write_manifest(folder / SETS_NAME, {"sizes": sizes, "validation": int(held.sum())})


def _truth_sets(
    context: Context, newest: TrainingData, held_objects: NDArray[np.int64]
) -> dict[str, TrainingData]:
    tables = {set_name(k): truth_set(context, k) for k in range(context.round_number + 1)}
    control = read_control(context)
    if control is not None:
        first = read_ledger(context.step_folder("truth") / LEDGER)
        ledger = add_labels(
            first.filter(first["ROUND"] == 0), control, origin=Origin.LOOP, round_number=1
        )
        tables[CONTROL] = active_truth(ledger)
    sets = {}
    for name, table in tables.items():
        data = newest if name == set_name(context.round_number) else _data(context, table)
        sets[name] = data[~np.isin(data.object_id, held_objects)]
    return sets


def _jobs(context: Context, sets: Mapping[str, TrainingData]) -> list[_Job]:
    def job(name: str, truth_set: str, bootstrap: int | None = None) -> _Job:
        seed = seed_of(context, Stream.NETWORKS, *name.encode())
        return _Job(name, truth_set, seed, bootstrap)

    smaller = [set_name(k) for k in range(context.round_number)]
    bootstraps = [
        job(f"{name}-bootstrap-{b}", name, b)
        for name in smaller
        for b in range(1, context.config.evaluation.bootstraps + 1)
    ]
    return [*(job(name, name) for name in sets), *bootstraps, job(FINAL, FINAL)]


def _train(job: _Job, work: _Work) -> str:
    weights_path = work.folder / f"{job.name}.h5"
    if weights_path.is_file():  # made before a kill: the folder is wiped if anything changed
        return job.name
    own = work.sets[job.truth_set]
    rows = np.arange(len(own))
    if job.bootstrap is not None:
        # The paper's control: the smaller set drawn with replacement to the largest one's size.
        rows = np.random.default_rng(job.seed.spawn(1)[0]).integers(0, len(own), work.size)
    if job.name == FINAL:
        data, validation = own, None
    else:
        data = joined_data(own, work.validation)
        validation = np.arange(len(own), len(data))
    result = train(
        data,
        work.network,
        work.options,
        seed=job.seed,
        rows=Rows(rows, validation),
        out_dir=work.folder / "work" / job.name,
    )
    write_history(result.history, work.folder / f"{job.name}.parquet")
    write_weights(result.weights, weights_path)
    shutil.rmtree(work.folder / "work" / job.name)
    return job.name


def _data(context: Context, truth: TruthTable) -> TrainingData:
    return label_spectra(spectra_of_truth(context), truth)[0]


def _held_out(context: Context, data: TrainingData) -> NDArray[np.bool_]:
    fraction = context.config.evaluation.validation
    return hold_out(
        data, fraction, seed_number(context, Stream.VALIDATION, round_number=EVERY_ROUND)
    )


NETWORKS = Step(
    "networks",
    "Train the networks",
    _run,
    lambda config: {
        **asdict(config.training),
        "validation": config.evaluation.validation,
        "threshold": config.evaluation.threshold,
        "bootstraps": config.evaluation.bootstraps,
        "seed": config.seed,
    },
    needs=("ingest", "labels", "truth"),
)
