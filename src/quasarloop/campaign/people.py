"""Labels by inspectors brought into a campaign, and withdrawals of labels."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from quasarloop.artefacts import check_folder, locked_folder, write_atomically
from quasarloop.campaign.config_file import read_config
from quasarloop.campaign.inspection import present_round
from quasarloop.campaign.layout import WITHDRAWALS
from quasarloop.campaign.steps.labels import SECONDS, VERDICTS, inbox
from quasarloop.campaign.steps.selection import requested
from quasarloop.errors import CampaignError
from quasarloop.labels.prospect_csv import Inspection, read_inspections, write_inspections
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
        How many of the requested targets have a label.

    Raises:
        CampaignError: no round waits for labels, or none of the targets is in the file.
        InspectionError: an unreadable database or inspector's file.
        TruthError: an unreadable table.
    """
    if (labels is None) == (database is None):
        raise CampaignError("give the merged labels either as a table or as a database")
    path = Path(folder)
    context = present_round(path)
    targets = np.concatenate([frame["TARGETID"] for frame in requested(context).values()])
    verdicts = [read_inspections(file) for file in inspections]
    if labels is not None:
        table = read_truth(labels)
    else:
        from quasarloop.inspect.database import open_database  # noqa: PLC0415 -- extra [inspect]
        from quasarloop.inspect.exchange import final_truth  # noqa: PLC0415
        from quasarloop.inspect.results import inspections as by_person  # noqa: PLC0415
        from quasarloop.inspect.results import results  # noqa: PLC0415

        with open_database(str(database)).closing() as session:
            table = final_truth(session)
            found = results(session)
            spent = {
                (result.item.target_id, name): f"{label.seconds:.1f}"
                for result in found
                for name, label in result.labels.items()
                if label.seconds > 0
            }
            own = by_person(found)
        verdicts = [*(_timed(own[name], spent) for name in sorted(own)), *verdicts]
    known = np.isin(table.target_id, targets)
    if not known.any():
        raise CampaignError(
            f"{labels or database}: none of its {len(table)} targets was requested in round "
            f"{context.round_number}; is it the merged table of this round?"
        )
    target, wanted = inbox(context), set(targets.tolist())
    with locked_folder(path):
        check_folder(target.parent)
        for old in target.parent.glob(f"{VERDICTS}*.csv"):
            old.unlink()
        for i, rows in enumerate(verdicts):
            mine = [row for row in rows if row.target_id in wanted]
            write_inspections(mine, target.parent / f"{VERDICTS}{i}.csv")
        write_truth(table[known], target)
    return int(known.sum())


def _timed(rows: Sequence[Inspection], spent: Mapping[tuple[int, str], str]) -> list[Inspection]:
    """Return rows with the seconds that were recorded for them."""
    return [
        replace(row, columns={**row.columns, SECONDS: spent.get((row.target_id, row.scanner), "")})
        for row in rows
    ]


def withdraw_targets(folder: str | Path, target_ids: Sequence[int], reason: str) -> None:
    """Withdraw targets from T, with a reason; earlier withdrawals stay.

    Raises:
        CampaignError: no reason.
    """
    if not reason.strip():
        raise CampaignError("a withdrawal needs a reason: why the label cannot train")
    path = Path(folder) / WITHDRAWALS
    read_config(folder)
    with locked_folder(folder):
        old = path.read_text(encoding="utf-8") if path.is_file() else "TARGETID,REASON\n"
        with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
            stream.write(old)
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerows((target, reason) for target in target_ids)
