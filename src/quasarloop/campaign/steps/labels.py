"""Label the chosen spectra and put the labels into T (paper, Section 3, steps 7 and 8)."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.campaign.config import OracleSection
from quasarloop.campaign.layout import (
    EVERY_ROUND,
    LEDGER,
    WITHDRAWALS,
    Stream,
    configured_truth,
    ledger_before,
    seed_of,
)
from quasarloop.campaign.ledger import Origin, active_truth, add_labels, write_ledger
from quasarloop.campaign.state import Context, Step, Waiting, round_folder
from quasarloop.campaign.steps.ingest import apply_withdrawals
from quasarloop.campaign.steps.selection import RANDOM_NAME, requested
from quasarloop.errors import CampaignError
from quasarloop.labels.prospect_csv import read_inspections
from quasarloop.labels.verdict import Verdict
from quasarloop.lines import EMISSION_LINES
from quasarloop.read import read_truth, write_truth
from quasarloop.truth import CLASSES, MIN_QUALITY, SpecType, TruthTable, match_truth

__all__ = [
    "LABELS",
    "SECONDS",
    "TRUTH",
    "VERDICTS",
    "inbox",
    "label_by_oracle",
    "read_control",
    "read_effort",
    "read_labels",
    "read_verdicts",
]

# A merged quality just below the one that trains. Source: paper, Section 4 (1 and 2 insecure).
_UNSURE_QUALITY = MIN_QUALITY - 1
# Wrong redshifts are line confusions among the four ultraviolet lines. Source: paper, Table 1.
_CONFUSED_LINES = EMISSION_LINES[:4]
# A confused redshift below this would be a nearby galaxy no inspector would call a quasar.
_LOWEST_Z = 0.01


def label_by_oracle(
    target_id: NDArray[np.int64],
    truth: TruthTable,
    mistakes: OracleSection,
    rng: np.random.Generator,
) -> TruthTable:
    """Label targets from a known truth, with human-like mistakes at the stated rates.

    Args:
        target_id: (n,) distinct targets to label.
        truth: the whole sky's truth.
        mistakes: rates of wrong classes, wrong redshifts and unsure answers.
        rng: where the mistakes come from.

    Returns:
        One label per target, in order.

    Raises:
        CampaignError: a target the truth does not know.
    """
    row = match_truth(target_id, truth)
    if np.any(row < 0):
        unknown = target_id[row < 0]
        raise CampaignError(
            f"the oracle knows nothing of {len(unknown)} of {len(row)} targets (first: "
            f"{unknown[0]}); give it the truth of the whole pool"
        )
    answer = truth[row]
    # One draw per target and kind, whatever the rates, so that rates do not shift other answers.
    draws = rng.random((3, len(row)))
    spectype, z, quality = answer.spectype.copy(), answer.z.copy(), answer.quality.copy()
    wrong = draws[0] < mistakes.wrong_class
    spectype[wrong] = (spectype[wrong] + rng.integers(1, 3, int(wrong.sum()))) % len(CLASSES)
    confused = (draws[1] < mistakes.wrong_redshift) & (answer.spectype == SpecType.QSO)
    z[confused] = _confuse(z[confused], rng)
    quality[draws[2] < mistakes.unsure] = _UNSURE_QUALITY
    source = np.full(len(answer), "oracle")
    return replace(answer, spectype=spectype, z=z, quality=quality, source=source)


def _confuse(z: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Take one emission line for another: 1 + z scales by the ratio of their wavelengths."""
    waves = np.array([line.wave_rest_aa for line in _CONFUSED_LINES])
    true_line = rng.integers(0, len(waves), len(z))
    taken_for = (true_line + rng.integers(1, len(waves), len(z))) % len(waves)
    confused = (1 + z) * waves[true_line] / waves[taken_for] - 1
    return np.asarray(np.maximum(confused, _LOWEST_Z))


_CONTROL: Final = "random_control.csv"
# Files of every inspector's own verdicts, in prospect's form, begin so.
VERDICTS: Final = "verdicts-"
# Their column of the time an inspector spent on the object, where it was recorded.
SECONDS: Final = "VI_seconds"
_NUMBER: Final = re.compile(r"\d+(\.\d*)?")


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
    """Read every inspector's verdicts: by target, by inspector; empty without their files."""
    verdicts: dict[int, dict[str, Verdict]] = {}
    for file in sorted(context.step_folder("labels").glob(f"{VERDICTS}*.csv")):
        for row in read_inspections(file):
            verdicts.setdefault(row.target_id, {})[row.scanner] = row.verdict
    return verdicts


def read_effort(context: Context) -> tuple[int, float]:
    """Return how many inspections up to this round have a recorded time, and seconds in all."""
    rounds = range(1, context.round_number + 1)
    folders = [context.step_folder("labels", number) for number in rounds]
    files = [file for folder in folders for file in sorted(folder.glob(f"{VERDICTS}*.csv"))]
    cells = [row.columns.get(SECONDS, "") for file in files for row in read_inspections(file)]
    seconds = [float(cell) for cell in cells if _NUMBER.fullmatch(cell)]
    return len(seconds), sum(seconds)


def _run(context: Context) -> None:
    if context.config.inspection.by == "oracle":
        _from_oracle(context, requested(context))
    else:
        _from_people(context, requested(context))


def _from_oracle(context: Context, frames: Mapping[Origin, pl.DataFrame]) -> None:
    options = context.config.inspection.oracle
    truth = configured_truth(context, options.truth)
    if truth is None:
        raise CampaignError("the oracle has no truth: name it under [inspection.oracle] truth")

    def label(frame: pl.DataFrame, seed: np.random.SeedSequence, name: str) -> None:
        rng = np.random.default_rng(seed)
        labels = label_by_oracle(frame["TARGETID"].to_numpy(), truth, options, rng)
        write_truth(_as_pool_objects(labels, frame), context.step_folder("labels") / name)

    for number, (origin, frame) in enumerate(frames.items()):
        if len(frame):
            label(frame, seed_of(context, Stream.ORACLE, number), f"{origin.value}.csv")
    control = context.step_folder("selection") / RANDOM_NAME
    if control.is_file():
        seed = seed_of(context, Stream.ORACLE, round_number=EVERY_ROUND)
        label(pl.read_parquet(control), seed, _CONTROL)


def _from_people(context: Context, frames: Mapping[Origin, pl.DataFrame]) -> None:
    path = inbox(context)
    if not path.is_file():
        n = sum(len(frame) for frame in frames.values())
        raise Waiting(
            f"{n} objects wait for people. Inspect them:\n"
            f"  quasarloop inspect serve --campaign {context.folder} --db sqlite:///labels.db\n"
            f"then bring the merged labels in:\n"
            f"  quasarloop campaign close {context.folder} --db sqlite:///labels.db"
        )
    labels = read_truth(path)
    folder = context.step_folder("labels")
    for file in _verdict_files(context):
        shutil.copyfile(file, folder / file.name)
    for origin, frame in frames.items():
        row = match_truth(frame["TARGETID"].to_numpy(), labels)
        known = row >= 0
        if known.any():
            mine = labels[row[known]]
            kept = frame.filter(pl.Series(known))
            write_truth(_as_pool_objects(mine, kept), folder / f"{origin.value}.csv")
        context.report(f"{origin.value}: {int(known.sum())} of {len(frame)} labelled")


def _as_pool_objects(labels: TruthTable, frame: pl.DataFrame) -> TruthTable:
    """Give labels the pool's object ids, so that repeats are recognised."""
    return replace(labels, object_id=frame["OBJECT_ID"].to_numpy())


def _files(context: Context) -> Sequence[Path]:
    if context.config.inspection.by == "oracle":
        return context.resolve(context.config.inspection.oracle.truth)
    path = inbox(context)
    return [path, *_verdict_files(context)] if path.is_file() else []


def _verdict_files(context: Context) -> list[Path]:
    return sorted(inbox(context).parent.glob(f"{VERDICTS}*.csv"))


LABELS = Step(
    "labels",
    "Label them",
    _run,
    lambda config: {**asdict(config.inspection), "seed": config.seed},
    needs=("selection",),
    files=_files,
)


def _put_into_truth(context: Context) -> None:
    ledger, number = ledger_before(context), context.round_number
    for origin, labels in read_labels(context).items():
        if len(labels):
            ledger = add_labels(ledger, labels, origin=Origin(origin), round_number=number)
    ledger = apply_withdrawals(ledger, context.folder)
    folder = context.step_folder("truth")
    write_ledger(ledger, folder / LEDGER)
    truth = active_truth(ledger)
    write_truth(truth, folder / "truth.csv")
    context.report(f"T: {len(truth)} targets, {int(truth.trains.sum())} secure enough to train")


TRUTH = Step(
    "truth",
    "Put the labels into T",
    _put_into_truth,
    lambda _: {},
    needs=("ingest", "labels"),
    files=lambda context: list(context.folder.glob(WITHDRAWALS)),
)
