"""Classify with the weights before and with those that leave: repeats, and a comparison.

Objects of the truth table are left out of what is measured: the final network was trained on
them, and would agree with itself (paper, Section 4.3, on spectra without labels).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.artefacts import read_manifest, write_manifest
from quasarloop.campaign.config import CampaignOptions
from quasarloop.campaign.layout import device_of, engine_of, truth_set
from quasarloop.campaign.state import Context, Step
from quasarloop.campaign.steps.candidates import START, WAYS
from quasarloop.campaign.steps.networks import CONTROL, FINAL, set_name
from quasarloop.catalogue.classify import ClassifyOptions, classify_to_file
from quasarloop.engine import run_tasks
from quasarloop.errors import TruthError
from quasarloop.evaluate.compare import Comparison, compare_redshifts, comparison_record
from quasarloop.evaluate.repeats import (
    ObjectRepeats,
    catalogue_repeats,
    repeats_record,
    scatter_in_bins,
)
from quasarloop.network.options import Device
from quasarloop.store import is_store

__all__ = [
    "KINDS",
    "REDSHIFTS",
    "Outputs",
    "comparison_of",
    "label_before",
    "read_outputs",
    "read_redshift_numbers",
    "reference_files",
    "repeats_of",
]

NUMBERS_NAME: Final = "redshifts.json"
BEFORE: Final = "before"
# Redshifts that are measured: of the most confident line, and of all lines together.
KINDS: Final = {"Z_BEST": "one line", "Z_JOINT": "all lines together"}
_COLUMNS: Final = ("OBJECT_ID", "IS_QSO", "EXPID", "FLAGS", *KINDS)
# Name of the weights file -> column -> (n,) values.
Outputs = dict[str, dict[str, NDArray[Any]]]


def read_outputs(context: Context) -> Outputs:
    """Read both catalogues, labelled objects left out: the weights before, then those that leave.

    Row by row they are of the same spectra.
    """
    folder = context.step_folder("redshifts")
    frames = [
        pl.read_parquet(folder / f"{name}.parquet", columns=list(_COLUMNS))
        for name in (BEFORE, FINAL)
    ]
    labelled = truth_set(context, context.round_number).object_id
    keep = ~np.isin(frames[0]["OBJECT_ID"].to_numpy(), labelled)
    blocks = [{name: f[name].to_numpy()[keep] for name in _COLUMNS} for f in frames]
    return dict(zip((label_before(context.config), FINAL), blocks, strict=True))


def label_before(config: CampaignOptions) -> str:
    """Return what the weights before are called: as their file, but as no network of a round."""
    name = Path(config.evaluation.reference).stem
    if not name:
        return START if config.training.start else set_name(0)
    ours = name in (FINAL, CONTROL, *WAYS) or re.fullmatch(r"T\d+(-bootstrap-\d+)?", name)
    return "reference" if ours else name


def read_redshift_numbers(context: Context) -> dict[str, Any]:
    """Read the numbers: for every text of `KINDS`, ``repeats`` and ``comparison``."""
    return read_manifest(context.step_folder("redshifts") / NUMBERS_NAME)


def repeats_of(outputs: Outputs, kind: str) -> dict[str, ObjectRepeats]:
    """Measure repeats of a column of `KINDS`, by weights file; empty if no object has any."""
    try:
        return {label: catalogue_repeats(block, kind) for label, block in outputs.items()}
    except TruthError:
        return {}


def comparison_of(outputs: Outputs, kind: str) -> Comparison:
    """Compare the redshifts of both weights files; arguments as `repeats_of`."""
    before, after = outputs.values()
    return compare_redshifts(before["IS_QSO"], before[kind], after["IS_QSO"], after[kind])


def _run(context: Context) -> None:
    folder, config = context.step_folder("redshifts"), context.config
    stores = [context.store_folder(name) for name in ("pool", "test")]
    networks = context.step_folder("networks")
    before = [*reference_files(context), networks / f"{label_before(config)}.h5"][0]
    work = _Work(
        stores=tuple(store for store in stores if is_store(store)),
        weights={BEFORE: before, FINAL: networks / f"{FINAL}.h5"},
        folder=folder,
        threshold=config.evaluation.threshold,
        device=device_of(context),
    )
    run_tasks(
        _classify,
        (BEFORE, FINAL),
        engine=engine_of(context),
        shared=work,
        name_of=lambda name: f"classification with the weights {name}",
        on_result=lambda name, _: context.report(f"classified with the weights {name}"),
    ).complete()
    outputs = read_outputs(context)
    numbers = {
        text: {
            "repeats": {
                label: repeats_record(one, scatter_in_bins(one))
                for label, one in repeats_of(outputs, kind).items()
            },
            "comparison": comparison_record(comparison_of(outputs, kind), *outputs),
        }
        for kind, text in KINDS.items()
    }
    n_spectra = len(outputs[FINAL]["OBJECT_ID"])
    write_manifest(folder / NUMBERS_NAME, {"spectra": n_spectra, **numbers})


@dataclass(frozen=True)
class _Work:
    """What every classification needs."""

    stores: tuple[Path, ...]
    weights: Mapping[str, Path]
    folder: Path
    threshold: float | None
    device: Device


def _classify(name: str, work: _Work) -> str:
    out = work.folder / f"{name}.parquet"
    if not out.is_file():  # made before a kill: the folder is wiped if anything changed
        options = ClassifyOptions(threshold=work.threshold)
        weights = work.weights[name]
        classify_to_file(work.stores, out, weights=weights, options=options, device=work.device)
    return name


def reference_files(context: Context) -> list[Path]:
    """Return the file of the weights that the survey uses today, or none."""
    reference = context.config.evaluation.reference
    return context.resolve((reference,)) if reference else []


REDSHIFTS = Step(
    "redshifts",
    "Compare old and new weights",
    _run,
    lambda config: {name: getattr(config.evaluation, name) for name in ("threshold", "reference")},
    needs=("ingest", "truth", "networks"),
    files=reference_files,
)
