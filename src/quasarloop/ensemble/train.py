"""Train an ensemble: one network per bootstrap sample, one worker per network."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from quasarloop.artefacts import (
    check_folder,
    checksum,
    locked_folder,
    read_manifest,
    write_manifest,
)
from quasarloop.engine import Engine, run_tasks
from quasarloop.ensemble.bootstrap import bootstrap_rows, member_seeds
from quasarloop.ensemble.manifest import (
    MANIFEST,
    Ensemble,
    load_members,
    member_path,
    write_ensemble_manifest,
)
from quasarloop.ensemble.options import EnsembleOptions
from quasarloop.errors import DataFormatError, OutputError, WeightsError
from quasarloop.network.config import NetworkConfig, config_to_dict
from quasarloop.network.device import place_tasks
from quasarloop.network.labelled import TrainingData, warn_if_few
from quasarloop.network.records import write_history
from quasarloop.network.training import train
from quasarloop.network.training_run import Rows, array_digest, seed_record
from quasarloop.network.weights import Weights, read_weights, write_weights

__all__ = ["train_ensemble"]


_PLAN: Final = "plan.json"
_WORK: Final = "work"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Course:
    """What every worker needs, sent to it once."""

    folder: Path
    data: TrainingData
    options: EnsembleOptions
    plan_sha256: str


def train_ensemble(
    data: TrainingData,
    options: EnsembleOptions,
    out: str | Path,
    *,
    inputs: Mapping[str, Any] | None = None,
    engine: Engine | None = None,
    on_member: Callable[[int], None] | None = None,
) -> Ensemble:
    """Train every member that is not there yet and write the manifest.

    Killed at any moment and started again, it goes on with the members it has, and with the last
    whole epoch of those under way; the bytes are those of an undisturbed run, for any number of
    workers. Asking for more networks later adds members to the same folder.

    Args:
        data: labelled spectra; rows whose label must not train are left out.
        options: what to train.
        out: folder of the ensemble.
        inputs: what the data came from, for the manifest (names and checksums).
        engine: where to run.
        on_member: called with the number of each member that is there.

    Raises:
        OutputError: the folder holds another ensemble, or another command works there.
        TaskError: some member failed for good; the others are written.
        WeightsError: no such device on this machine, or members to start from that do not fit.
    """
    # The plan names the device itself: "auto" elsewhere must not go on with other arithmetic.
    device, engine = place_tasks(options.training.device, engine)
    options = replace(options, training=replace(options.training, device=device))
    folder = Path(out)
    with locked_folder(folder):
        check_folder(folder / "members")
        plan = _plan(data, options, inputs or {})
        _claim(folder, plan)
        plan_sha256 = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
        course = _Course(folder, data, options, plan_sha256)
        (folder / MANIFEST).unlink(missing_ok=True)
        report = on_member or (lambda index: None)
        todo = []
        for index in range(options.n_networks):
            if _is_ours(member_path(folder, index), index, course.plan_sha256):
                report(index)
            else:
                todo.append(index)
        if todo and options.start_from is not None:
            _check_start(options.start_from, options.network)
        elif todo:
            warn_if_few(len(data.usable_rows))
        log.info("%d of %d members to train", len(todo), options.n_networks)
        run_tasks(
            _train_member,
            todo,
            engine=engine,
            shared=course,
            name_of=lambda index: f"member {index}",
            on_result=lambda index, _: report(index),
        ).complete()
        shutil.rmtree(folder / _WORK, ignore_errors=True)
        for torn in (folder / "members").glob(".*"):  # half-written when a worker was killed
            torn.unlink(missing_ok=True)
        entries = [_entry(folder, index) for index in range(options.n_networks)]
        return write_ensemble_manifest(folder, options.network, entries, plan)


def _check_start(earlier: Ensemble, network: NetworkConfig) -> None:
    """Check members to start from, before hours are spent."""
    if replace(earlier.config, dropout=0.0) != replace(network, dropout=0.0):
        raise WeightsError(
            f"{earlier.folder} has networks of another shape; start from it with the same "
            "preset, filters and grid, or train from nothing"
        )
    load_members(earlier)


def _plan(
    data: TrainingData, options: EnsembleOptions, inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """What members of one folder must have in common; how many they are may change."""
    earlier = options.start_from
    return {
        "seed": options.seed,
        "config": config_to_dict(options.network),
        "training": asdict(options.training),
        "start_from": None if earlier is None else earlier.identity,
        "data_sha256": array_digest(data),
        "n_spectra": int(np.count_nonzero(data.trains)),
        "n_objects": len(np.unique(data.object_id[data.trains])),
        "inputs": dict(inputs),
    }


def _claim(folder: Path, plan: Mapping[str, Any]) -> None:
    path = folder / _PLAN
    if not path.exists():
        if any((folder / "members").iterdir()):
            raise OutputError(f"{folder} holds members but no {_PLAN}; give another folder")
        write_manifest(path, plan)
    found, wanted = read_manifest(path), json.loads(json.dumps(plan))
    different = _differences(found, wanted)
    if different:
        raise OutputError(
            f"{folder} holds an ensemble that differs in {', '.join(different)}; give another "
            "folder, the same options to go on with it, or delete this one. An earlier version "
            "may have begun it"
        )


def _differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Name what differs, as deep as both have names for it."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted({*found, *wanted})
        inner = [
            _differences(found.get(k), wanted.get(k), f"{name}.{k}" if name else k) for k in keys
        ]
        return [line for lines in inner for line in lines]
    if found == wanted:
        return []
    plain = all(value is None or isinstance(value, str | int | float) for value in (found, wanted))
    return [f"{name} ({found}, requested {wanted})" if plain else name]


def _is_ours(path: Path, index: int, plan_sha256: str) -> bool:
    if not path.exists():
        return False
    try:
        story = read_weights(path).provenance.get("ensemble", {})
    except (WeightsError, DataFormatError) as exc:
        log.warning("member %d is trained anew: %s", index, exc)
        return False
    return bool(story.get("member") == index and story.get("plan_sha256") == plan_sha256)


def _train_member(index: int, course: _Course) -> int:
    options, data = course.options, course.data
    seeds = member_seeds(options.seed, index + 1)[index]
    usable = data.usable_rows
    drawn = bootstrap_rows(data.object_id[usable], np.random.default_rng(seeds.bootstrap))
    rows = usable[drawn]
    first: NetworkConfig | Weights = options.network
    if (earlier := options.start_from) is not None:
        first = replace(read_weights(earlier.members[index % len(earlier)]), config=options.network)
    work = course.folder / _WORK / f"{index:04d}"
    result = train(
        data, first, options.training, seed=seeds.training, rows=Rows(rows), out_dir=work
    )
    story = {
        "member": index,
        "plan_sha256": course.plan_sha256,
        "bootstrap_seed": seed_record(seeds.bootstrap),
        "bootstrap_sha256": array_digest(None, rows),
        "n_objects_drawn": len(np.unique(data.object_id[rows])),
    }
    path = member_path(course.folder, index)
    write_history(result.history, path.with_suffix(".history.parquet"))
    provenance = {**result.weights.provenance, "ensemble": story}
    write_weights(replace(result.weights, provenance=provenance), path)
    shutil.rmtree(work, ignore_errors=True)
    return index


def _entry(folder: Path, index: int) -> dict[str, Any]:
    path = member_path(folder, index)
    provenance = read_weights(path).provenance
    story = {k: v for k, v in provenance["ensemble"].items() if k != "plan_sha256"}
    return {
        **story,
        "file": path.relative_to(folder).as_posix(),
        "sha256": checksum(path),
        "training_seed": provenance["seed"],
        "n_rows": provenance["n_training_rows"],
    }
