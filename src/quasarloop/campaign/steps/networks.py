"""Train a network on every truth set, judged on one validation set; and the one that leaves.

The validation set is taken from the newest T, by object, and held out of every set (paper,
Section 4.2); the final network is trained on all of T (paper, Section 4.3). Networks that begin
from weights are made in `candidates`.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.artefacts import write_manifest
from quasarloop.campaign.config import CampaignOptions
from quasarloop.campaign.layout import (
    EVERY_ROUND,
    LEDGER,
    Stream,
    device_of,
    engine_of,
    features_of,
    network_of,
    seed_number,
    seed_of,
    spectra_of_truth,
    start_files,
    start_weights,
    thresholds_of,
    training_of,
    truth_set,
)
from quasarloop.campaign.ledger import Origin, active_truth, add_labels, read_ledger
from quasarloop.campaign.state import Context, Step
from quasarloop.campaign.steps.candidates import HEAD, START, WAYS, Trunk, judge
from quasarloop.campaign.steps.labels import read_control
from quasarloop.classes import Thresholds
from quasarloop.engine import run_tasks
from quasarloop.network.config import NetworkConfig
from quasarloop.network.labelled import TrainingData, hold_out, joined_data, label_spectra
from quasarloop.network.options import FinetuneOptions, TrainingOptions
from quasarloop.network.records import write_history
from quasarloop.network.training import train
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import write_weights
from quasarloop.options import common_options
from quasarloop.truth import TruthTable

__all__ = ["CONTROL", "FINAL", "NETWORKS", "SETS_NAME", "set_name", "validation_data"]

FINAL: Final = "final"
CONTROL: Final = "random"
SETS_NAME: Final = "sets.json"
_NOTHING: Final = "nothing"


@dataclass(frozen=True)
class _Job:
    """One training: its truth set, its way (one of `WAYS`, or from nothing), and its seed."""

    name: str
    truth_set: str
    way: str
    seed: np.random.SeedSequence
    bootstrap: int | None = None


@dataclass(frozen=True)
class _Work:
    """What every training needs: of networks from weights their trunk."""

    folder: Path
    sets: Mapping[str, TrainingData]
    validation: TrainingData
    network: NetworkConfig
    options: TrainingOptions
    size: int
    trunk: Trunk | None


def set_name(number: int) -> str:
    """Return the name of the truth set after a round; 0 is the first T."""
    return f"T{number}"


def validation_data(context: Context) -> TrainingData:
    """Return the labelled spectra held out of every truth set of this round."""
    name = set_name(context.round_number)
    newest = _data(context, {name: truth_set(context, context.round_number)})[name]
    return newest[_held_out(context, newest)]


def _run(context: Context) -> None:
    folder, section = context.step_folder("networks"), context.config.training
    newest_set = set_name(context.round_number)
    every = _data(context, _truth_sets(context))
    newest = every[newest_set]
    held = _held_out(context, newest)
    held_objects = newest.object_id[held]
    sets = {name: data[~np.isin(data.object_id, held_objects)] for name, data in every.items()}
    threshold = thresholds_of(context.config).over(Thresholds()).confidence
    work = _Work(
        folder=folder,
        sets={**sets, FINAL: newest},
        validation=newest[held],
        network=network_of(section, context.config),
        options=replace(training_of(section, device_of(context)), threshold=threshold),
        size=len(sets[newest_set]),
        trunk=_trunk(context),
    )
    sizes = {name: len(data) for name, data in sets.items()}
    ways = [_NOTHING]
    if work.trunk is not None:
        write_weights(work.trunk.weights, folder / f"{START}.h5")
        sizes = {START: 0, **sizes}
        ways = list(WAYS) if section.how == "best" else [section.how]
    jobs = _jobs(context, sets, HEAD if work.trunk is not None else _NOTHING)
    others = [way for way in ways if way not in (START, HEAD, _NOTHING)]
    jobs += [_job(context, way, newest_set, way) for way in others]
    sizes |= dict.fromkeys(others, work.size)
    _train_all(context, jobs, work)
    leaves = ways[0]
    if work.trunk is not None:
        files = {way: folder / f"{newest_set if way == HEAD else way}.h5" for way in ways}
        leaves = judge(context, work.trunk, files, newest, work.validation.object_id)
        context.report(f"the network that leaves: {leaves}")
    _train_all(context, [_job(context, FINAL, FINAL, leaves)], work)
    sizes[FINAL] = 0 if leaves == START else len(newest)
    write_manifest(folder / SETS_NAME, {"sizes": sizes, "validation": int(held.sum())})


def _train_all(context: Context, jobs: Sequence[_Job], work: _Work) -> None:
    run_tasks(
        _train,
        jobs,
        engine=engine_of(context),
        shared=work,
        name_of=lambda job: f"network {job.name}",
        on_result=lambda job, _: context.report(f"trained {job.name}"),
    ).complete()


def _trunk(context: Context) -> Trunk | None:
    """Read the weights to begin from, if there are any, with the campaign's thresholds."""
    section = context.config.training
    if not section.start:
        return None
    weights = start_weights(context, section.start)
    thresholds = thresholds_of(context.config).over(weights.thresholds)
    provenance = {**weights.provenance, "thresholds": thresholds.to_dict()}
    features = features_of(context, weights)
    options = common_options(
        FinetuneOptions,
        section,
        threshold=thresholds.confidence,
        n_lines=thresholds.n_lines,
        device=device_of(context),
    )
    return Trunk(replace(weights, provenance=provenance), options, features.standard())


def _truth_sets(context: Context) -> dict[str, TruthTable]:
    tables = {set_name(k): truth_set(context, k) for k in range(context.round_number + 1)}
    control = read_control(context)
    if control is not None:
        first = read_ledger(context.step_folder("truth") / LEDGER)
        ledger = add_labels(
            first.filter(first["ROUND"] == 0), control, origin=Origin.LOOP, round_number=1
        )
        tables[CONTROL] = active_truth(ledger)
    return tables


def _job(
    context: Context, name: str, truth_set: str, way: str, bootstrap: int | None = None
) -> _Job:
    seed = seed_of(context, Stream.NETWORKS, *name.encode())
    return _Job(name, truth_set, way, seed, bootstrap)


def _jobs(context: Context, sets: Mapping[str, TrainingData], way: str) -> list[_Job]:
    smaller = [set_name(k) for k in range(context.round_number)]
    bootstraps = [
        _job(context, f"{name}-bootstrap-{b}", name, way, b)
        for name in smaller
        for b in range(1, context.config.evaluation.bootstraps + 1)
    ]
    return [*(_job(context, name, name, way) for name in sets), *bootstraps]


def _bootstrap_rows(seed: np.random.SeedSequence, n: int, size: int) -> NDArray[np.int64]:
    """Draw rows of n; the same ones however often the job is tried (`spawn` would count)."""
    child = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 0))
    return np.random.default_rng(child).integers(0, n, size)


def _train(job: _Job, work: _Work) -> str:
    weights_path = work.folder / f"{job.name}.h5"
    if weights_path.is_file():  # made before a kill: the folder is wiped if anything changed
        return job.name
    own = work.sets[job.truth_set]
    rows = np.arange(len(own))
    if job.bootstrap is not None:
        # The paper's control: the smaller set drawn with replacement to the largest one's size.
        rows = _bootstrap_rows(job.seed, len(own), work.size)
    if job.name == FINAL:
        data, validation = own, None
    else:
        data = joined_data(own, work.validation)
        validation = np.arange(len(own), len(data))
    place, own_rows = work.folder / "work" / job.name, Rows(rows, validation)
    if work.trunk is None:
        result = train(
            data, work.network, work.options, seed=job.seed, rows=own_rows, out_dir=place
        )
    else:
        result = work.trunk.train(job.way, data, own_rows, job.seed, place)
    if result.history:
        write_history(result.history, work.folder / f"{job.name}.parquet")
    write_weights(result.weights, weights_path)
    shutil.rmtree(place, ignore_errors=True)
    return job.name


def _data(context: Context, truths: Mapping[str, TruthTable]) -> dict[str, TrainingData]:
    spectra = spectra_of_truth(context, truths.values())
    return {name: label_spectra(spectra, truth)[0] for name, truth in truths.items()}


def _held_out(context: Context, data: TrainingData) -> NDArray[np.bool_]:
    fraction = context.config.evaluation.validation
    return hold_out(
        data, fraction, seed_number(context, Stream.VALIDATION, round_number=EVERY_ROUND)
    )


def _options(config: CampaignOptions) -> Mapping[str, Any]:
    section = asdict(config.training)
    if config.training.start:
        # The shape of a network from nothing does not count; its start is a file of the step.
        ignored = {"start", "preset", "filters", "dropout"}
    else:
        # As recorded when all began from nothing, so that what is done stays done.
        ignored = {"start", "how", "rehearsal"}
    return {
        **{name: value for name, value in section.items() if name not in ignored},
        "validation": config.evaluation.validation,
        "threshold": config.evaluation.threshold,
        "bootstraps": config.evaluation.bootstraps,
        "seed": config.seed,
    }


NETWORKS = Step(
    "networks",
    "Train the networks",
    _run,
    _options,
    needs=("ingest", "labels", "truth"),
    files=lambda context: start_files(context, context.config.training.start),
)
