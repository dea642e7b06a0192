"""What people give to a campaign: merged labels, and withdrawals with a reason."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from quasarloop.artefacts import check_folder, write_atomically
from quasarloop.campaign.config import read_config
from quasarloop.campaign.parts import WITHDRAWALS
from quasarloop.campaign.state import Context, round_numbers
from quasarloop.campaign.steps.labels import inbox
from quasarloop.campaign.steps.selection import CHOSEN_NAME, OUTLIERS_NAME
from quasarloop.errors import CampaignError
from quasarloop.read import read_truth, write_truth

__all__ = ["close_round", "withdraw_targets"]


def close_round(folder: str | Path, labels: str | Path) -> int:
    """Bring merged labels into the present round.

    Args:
        folder: the campaign.
        labels: merged table; every chosen target should have a row.

    Returns:
        How many of the targets asked for have a label.

    Raises:
        CampaignError: no round waits for labels, or none of the targets is in the file.
        TruthError: an unreadable table.
    """
    path = Path(folder)
    number = max(round_numbers(path), default=0)
    context = Context(path, read_config(path), max(number, 1))
    chosen = context.step_folder("selection")
    if not (chosen / CHOSEN_NAME).is_file():
        raise CampaignError(f"no round of {path} waits for labels; run the campaign first")
    asked = np.concatenate(
        [pl.read_parquet(chosen / name)["TARGETID"] for name in (CHOSEN_NAME, OUTLIERS_NAME)]
    )
    table = read_truth(labels)
    known = np.isin(table.target_id, asked)
    if not known.any():
        raise CampaignError(
            f"{labels}: none of its {len(table)} targets was asked for in round {number}; is it "
            "the merged table of this round?"
        )
    target = inbox(context)
    check_folder(target.parent)
    write_truth(table[known], target)
    return int(known.sum())


def withdraw_targets(folder: str | Path, target_ids: Sequence[int], reason: str) -> None:
    """Note that targets shall leave T, with a reason; earlier withdrawals stay.

    Raises:
        CampaignError: no reason.
    """
    if not reason.strip():
        raise CampaignError("a withdrawal needs a reason; say why the label cannot train")
    path = Path(folder) / WITHDRAWALS
    read_config(folder)
    old = path.read_text(encoding="utf-8") if path.is_file() else "TARGETID,REASON\n"
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.write(old)
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows((target, reason) for target in target_ids)
