"""Put the new labels into T; selection takes them out of U (paper, Section 3, step 8)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quasarloop.campaign.config import CampaignConfig
from quasarloop.campaign.ledger import Origin, active_truth, add_labels, write_ledger
from quasarloop.campaign.parts import LEDGER, WITHDRAWALS, ledger_before
from quasarloop.campaign.state import Context, Step
from quasarloop.campaign.steps.ingest import apply_withdrawals
from quasarloop.campaign.steps.labels import read_labels
from quasarloop.read import write_truth

__all__ = ["TRUTH", "TRUTH_NAME"]

TRUTH_NAME = "truth.csv"


def _run(context: Context) -> None:
    ledger, number = ledger_before(context), context.round_number
    for origin, labels in read_labels(context).items():
        if len(labels):
            ledger = add_labels(ledger, labels, origin=Origin(origin), round_number=number)
    ledger = apply_withdrawals(ledger, context.folder)
    folder = context.step_folder("truth")
    write_ledger(ledger, folder / LEDGER)
    truth = active_truth(ledger)
    write_truth(truth, folder / TRUTH_NAME)
    context.tell(f"T: {len(truth)} targets, {int(truth.trains.sum())} secure enough to train")


def _files(context: Context) -> Sequence[Path]:
    path = context.folder / WITHDRAWALS
    return [path] if path.is_file() else []


def _settings(_: CampaignConfig) -> Mapping[str, Any]:
    return {}


TRUTH = Step(
    "truth", "Put the labels into T", _run, _settings, needs=("ingest", "labels"), files=_files
)
