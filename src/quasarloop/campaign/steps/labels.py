"""Label the chosen spectra: people, an oracle, or a file (paper, Section 3, step 7)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from quasarloop.campaign.config import CampaignConfig
from quasarloop.campaign.ledger import Origin
from quasarloop.campaign.oracle import ask_oracle
from quasarloop.campaign.parts import read_truths, seed_of
from quasarloop.campaign.state import Context, Step, Waiting, round_folder
from quasarloop.campaign.steps.selection import (
    CHOSEN_NAME,
    OUTLIERS_NAME,
    RANDOM_NAME,
    WORKLIST_NAME,
)
from quasarloop.errors import CampaignError
from quasarloop.inspect.prospect_csv import read_inspections, write_inspections
from quasarloop.inspect.verdict import Verdict
from quasarloop.read import read_truth, write_truth
from quasarloop.truth import TruthTable, match_truth

__all__ = ["LABELS", "VERDICTS", "inbox", "read_control", "read_labels", "read_verdicts"]

_CONTROL: Final = "random_control.csv"
# Files of every inspector's own verdicts, in prospect's form, begin so.
VERDICTS: Final = "verdicts-"


def inbox(context: Context) -> Path:
    """Return where ``campaign close`` puts the merged labels of this round."""
    return round_folder(context.folder, context.round_number) / "inbox" / "labels.csv"


def read_labels(context: Context) -> dict[str, TruthTable]:
    """Read this round's labels by origin."""
    folder = context.step_folder("labels")
    files = {origin: folder / f"{origin.value}.csv" for origin in (Origin.LOOP, Origin.OUTLIER)}
    return {origin.value: read_truth(file) for origin, file in files.items() if file.is_file()}


def read_control(context: Context) -> TruthTable | None:
    """Read the labels of the random control, if there is one."""
    path = context.step_folder("labels") / _CONTROL
    return read_truth(path) if path.is_file() else None


def read_verdicts(context: Context) -> dict[int, dict[str, Verdict]]:
    """Read what every inspector said: by target, by inspector; empty where it is not known."""
    said: dict[int, dict[str, Verdict]] = {}
    for file in sorted(context.step_folder("labels").glob(f"{VERDICTS}*.csv")):
        for row in read_inspections(file):
            said.setdefault(row.target_id, {})[row.scanner] = row.verdict
    return said


def _run(context: Context) -> None:
    asked = {
        Origin.LOOP: _asked(context, CHOSEN_NAME),
        Origin.OUTLIER: _asked(context, OUTLIERS_NAME),
    }
    if context.config.inspection.by == "oracle":
        _from_oracle(context, asked)
    else:
        _from_people(context, asked)


def _from_oracle(context: Context, asked: Mapping[Origin, pl.DataFrame]) -> None:
    settings = context.config.inspection.oracle
    truth = read_truths(context, settings.truth)
    if truth is None:
        raise CampaignError("the oracle has no truth: name it under [inspection.oracle] truth")
    folder = context.step_folder("labels")
    for number, (origin, frame) in enumerate(asked.items()):
        if len(frame):
            rng = np.random.default_rng(seed_of(context, 7, number))
            answer = ask_oracle(frame["TARGETID"].to_numpy(), truth, settings, rng)
            write_truth(_as_pool_objects(answer, frame), folder / f"{origin.value}.csv")
    control = context.step_folder("selection") / RANDOM_NAME
    if control.is_file():
        frame = pl.read_parquet(control)
        rng = np.random.default_rng(np.random.SeedSequence((context.config.seed, 0, 7)))
        answer = ask_oracle(frame["TARGETID"].to_numpy(), truth, settings, rng)
        write_truth(_as_pool_objects(answer, frame), folder / _CONTROL)


def _from_people(context: Context, asked: Mapping[Origin, pl.DataFrame]) -> None:
    path = inbox(context)
    if not path.is_file():
        n = sum(len(frame) for frame in asked.values())
        chosen = context.step_folder("selection") / WORKLIST_NAME
        raise Waiting(
            f"{n} objects wait for people. Inspect them:\n"
            f"  quasarloop inspect serve --worklist {chosen} "
            f"--spectra {context.folder / 'stores' / 'pool'} --db sqlite:///labels.db\n"
            f"then bring the merged labels in:\n"
            f"  quasarloop campaign close {context.folder} --db sqlite:///labels.db"
        )
    labels = read_truth(path)
    folder = context.step_folder("labels")
    for file in _verdict_files(context):
        write_inspections(read_inspections(file), folder / file.name)
    for origin, frame in asked.items():
        row = match_truth(frame["TARGETID"].to_numpy(), labels)
        known = row >= 0
        if known.any():
            mine = labels[row[known]]
            kept = frame.filter(pl.Series(known))
            write_truth(_as_pool_objects(mine, kept), folder / f"{origin.value}.csv")
        context.tell(f"{origin.value}: {int(known.sum())} of {len(frame)} labelled")


def _asked(context: Context, name: str) -> pl.DataFrame:
    return pl.read_parquet(context.step_folder("selection") / name)


def _as_pool_objects(labels: TruthTable, frame: pl.DataFrame) -> TruthTable:
    """Give labels the pool's object ids, so that repeats are known whoever labelled."""
    return TruthTable.make(
        labels.target_id,
        labels.spectype,
        labels.z,
        object_id=frame["OBJECT_ID"].to_numpy(),
        quality=labels.quality,
        bal=labels.bal,
        source=labels.source,
    )


def _settings(config: CampaignConfig) -> Mapping[str, Any]:
    return {**config.inspection.model_dump(), "seed": config.seed}


def _files(context: Context) -> Sequence[Path]:
    if context.config.inspection.by == "oracle":
        return context.resolve(context.config.inspection.oracle.truth)
    path = inbox(context)
    return [path, *_verdict_files(context)] if path.is_file() else []


def _verdict_files(context: Context) -> list[Path]:
    return sorted(inbox(context).parent.glob(f"{VERDICTS}*.csv"))


LABELS = Step("labels", "Label them", _run, _settings, needs=("selection",), files=_files)
