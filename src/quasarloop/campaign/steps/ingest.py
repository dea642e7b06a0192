"""Bring in what is new: spectra into the stores, the first truth table into the history."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import polars as pl

from quasarloop.artefacts import write_manifest
from quasarloop.campaign.layout import (
    LEDGER,
    WITHDRAWALS,
    configured_truth,
    engine_of,
)
from quasarloop.campaign.ledger import new_ledger, read_ledger, withdraw, write_ledger
from quasarloop.campaign.state import Context, Step
from quasarloop.errors import CampaignError
from quasarloop.grid import grid_named
from quasarloop.read import find_files
from quasarloop.store import create_store, ingest, open_store

__all__ = ["INGEST", "apply_withdrawals"]

_CONTENTS: Final = "contents.json"


def apply_withdrawals(ledger: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Take withdrawn targets out of a history; unknown ones wait for later rounds."""
    path = folder / WITHDRAWALS
    if not path.is_file():
        return ledger
    active = set(ledger.filter(pl.col("STATUS") == "active")["TARGETID"].to_list())
    rows = pl.read_csv(path, schema={"TARGETID": pl.Int64, "REASON": pl.String})
    for target, reason in rows.iter_rows():
        if target in active:
            ledger = withdraw(ledger, [target], reason)
    return ledger


def _run(context: Context) -> None:
    data, evaluation = context.config.data, context.config.evaluation
    contents = {
        name: _bring_in(context, name, paths)
        for name, paths in {
            "pool": data.unlabelled,
            "labelled": data.labelled,
            "borrowed": data.borrowed,
            "test": evaluation.test,
        }.items()
        if paths or name == "pool"
    }
    folder = context.step_folder("ingest")
    write_ledger(apply_withdrawals(_history(context), context.folder), folder / LEDGER)
    write_manifest(folder / _CONTENTS, contents)


def _bring_in(context: Context, name: str, paths: tuple[str, ...]) -> dict[str, Any]:
    if not paths:
        raise CampaignError("no unlabelled spectra: name them under [data] in campaign.toml")
    store = create_store(context.store_folder(name), grid_named(context.config.data.grid))
    files = find_files(context.resolve(paths))
    summary = ingest(files, store.path, store.grid, engine=engine_of(context))
    for path, why in summary.failures.items():
        context.report(f"{name}: not read: {path}: {why}")
    if not summary.reports:
        raise CampaignError(f"none of the {len(files)} files of {name} could be read; see above")
    context.report(f"{name}: {summary.n_rows} spectra in {len(summary.reports)} files")
    return {
        "shards": [shard.name for shard in open_store(store.path).shards],
        "spectra": summary.n_rows,
        "flags": dict(summary.flags),
        "failed": sorted(Path(path).name for path in summary.failures),
    }


def _history(context: Context) -> pl.DataFrame:
    if context.round_number > 1:
        return read_ledger(context.step_folder("truth", context.round_number - 1) / LEDGER)
    data = context.config.data
    first = configured_truth(context, data.truth)
    if first is None:
        raise CampaignError("no first truth table: name it under [data] in campaign.toml")
    return new_ledger(first, configured_truth(context, data.borrowed_truth))


def _files(context: Context) -> Sequence[Path]:
    data, evaluation = context.config.data, context.config.evaluation
    named = [*data.unlabelled, *data.labelled, *data.borrowed, *evaluation.test]
    files = context.resolve([*named, *data.truth, *data.borrowed_truth])
    if context.round_number > 1:
        files.append(context.step_folder("truth", context.round_number - 1) / LEDGER)
    return files


INGEST = Step(
    "ingest",
    "Bring in spectra and truth",
    _run,
    lambda config: {**asdict(config.data), "test": config.evaluation.test},
    files=_files,
)
