"""What people give to a campaign: merged labels, and withdrawals with a reason."""

import csv
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from quasarloop.artefacts import check_folder, write_atomically
from quasarloop.campaign.config import read_config
from quasarloop.campaign.layout import WITHDRAWALS
from quasarloop.campaign.state import Context, round_numbers
from quasarloop.campaign.steps.labels import VERDICTS, inbox
from quasarloop.campaign.steps.selection import CHOSEN_NAME, OUTLIERS_NAME
from quasarloop.errors import CampaignError
from quasarloop.labels.prospect_csv import read_inspections, write_inspections
from quasarloop.read import read_truth, write_truth

__all__ = ["close_round", "withdraw_targets"]


def close_round(
    folder: str | Path,
    labels: str | Path | None = None,
    *,
    database: str | None = None,
    inspections: Sequence[str | Path] = (),
) -> int:
    """Bring merged labels into the present round.

    Args:
        folder: the campaign.
        labels: merged table; every chosen target should have a row.
        database: the inspection page's, in place of a table: its merged labels and every
            inspector's own.
        inspections: prospect's files, one per inspector, for the report's agreement.

    Returns:
        How many of the targets asked for have a label.

    Raises:
        CampaignError: no round waits for labels, or none of the targets is in the file.
        InspectionError: an unreadable database or inspector's file.
        TruthError: an unreadable table.
    """
    if (labels is None) == (database is None):
        raise CampaignError("give the merged labels either as a table or as a database")
    if database is not None:
        with TemporaryDirectory() as temporary:
            exported = _export(database, Path(temporary))
            return close_round(folder, exported[0], inspections=[*exported[1:], *inspections])
    assert labels is not None  # for the type checker: checked above
    verdicts = {Path(file).name: read_inspections(file) for file in inspections}
    path = Path(folder)
    number = max(round_numbers(path), default=0)
    context = Context(path, read_config(path).of_round(max(number, 1)), max(number, 1))
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
    for old in target.parent.glob(f"{VERDICTS}*.csv"):
        old.unlink()
    wanted = set(asked.tolist())
    for number, rows in enumerate(verdicts.values()):
        mine = [row for row in rows if row.target_id in wanted]
        write_inspections(mine, target.parent / f"{VERDICTS}{number}.csv")
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


def _export(database: str, folder: Path) -> list[Path]:
    """Write a database's merged table and every inspector's file."""
    from quasarloop.inspect.database import open_database  # noqa: PLC0415 -- extra [inspect]
    from quasarloop.inspect.exchange import (  # noqa: PLC0415
        export_final,
        export_inspections,
    )

    opened = open_database(database)
    merged = folder / "merged.csv"
    with opened.read() as session:
        export_final(session, merged, "truth")
        own = export_inspections(session, folder / "own")
    opened.close()
    return [merged, *own]
