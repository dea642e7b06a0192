"""Bringing existing labels into a campaign, and its labels out, as files."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from quasarloop.artefacts import check_folder
from quasarloop.inspect.database import now, setting
from quasarloop.inspect.ledger import (
    Save,
    assignment_of,
    item_of,
    save_decision,
    save_label,
)
from quasarloop.inspect.merge import Merged
from quasarloop.inspect.people import person_named
from quasarloop.inspect.prospect_csv import Inspection, file_name, write_inspections
from quasarloop.inspect.results import inspections, results
from quasarloop.inspect.tables import Assignment, Decision, Item, Label
from quasarloop.inspect.verdict import Verdict

__all__ = ["Imported", "export_inspections", "import_inspections", "import_merged"]


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        new: labels stored.
        same: labels the campaign had already, word for word.
        new_objects: objects the worklist did not have.
    """

    new: int
    same: int
    new_objects: int


def import_inspections(session: Session, rows: Iterable[Inspection]) -> Imported:
    """Store another tool's inspections, each under its scanner's name.

    A scanner's label here that differs is not lost: the imported one becomes its next version.

    Raises:
        InspectionError: a row without scanner, or with impossible values.
    """
    new = same = objects = 0
    for row in rows:
        item, made = _item(session, row.target_id)
        objects += made
        user = person_named(session, row.scanner)
        turn = assignment_of(session, item.id, user)
        if turn is None:
            turn = Assignment(item_id=item.id, user_id=user, created=now())
            session.add(turn)
            session.flush()
        words = "\x1f".join(f"{k}={v}" for k, v in sorted(row.columns.items()))
        save_id = _fingerprint("label", str(user), str(row.target_id), words)
        if session.scalar(sa.select(Label.id).where(Label.save_id == save_id)) is not None:
            same += 1
            continue
        save = Save(row.verdict, turn.version, save_id, note="import", extra=dict(row.columns))
        save_label(session, item, user, save)
        new += 1
    return Imported(new, same, objects)


def import_merged(session: Session, merged: Mapping[int, Merged], merger: str) -> Imported:
    """Store another campaign's final labels as decisions of that merger."""
    new = same = objects = 0
    user = person_named(session, merger, role="merger")
    for target, label in merged.items():
        item, made = _item(session, target)
        objects += made
        save_id = _fingerprint("decision", str(user), str(target), repr(label))
        known = sa.select(Decision.id).where(Decision.save_id == save_id)
        if session.scalar(known) is not None:
            same += 1
            continue
        verdict = Verdict(
            spectype=label.spectype,
            z=label.z,
            quality=label.quality,
            is_bal=label.is_bal,
            issues=label.issues,
            comment=label.merger_comment,
        )
        extra = {
            "N_VI": label.n_inspections,
            "all_VI_comments": label.comments,
            "merger_comment": label.merger_comment,
        }
        version = item.decision_version
        save_decision(session, item, user, Save(verdict, version, save_id, extra=extra))
        new += 1
    return Imported(new, same, objects)


def export_inspections(session: Session, folder: str | Path) -> list[Path]:
    """Write one prospect file per scanner and return their paths.

    Raises:
        OutputError: the folder cannot be written.
    """
    target = check_folder(folder)
    title = setting(session, "title")
    paths = []
    for scanner, rows in sorted(inspections(results(session)).items()):
        path = target / file_name(title, scanner)
        write_inspections(rows, path)
        paths.append(path)
    return paths


def _item(session: Session, target_id: int) -> tuple[Item, bool]:
    item = item_of(session, target_id)
    if item is not None:
        return item, False
    last = session.scalar(sa.select(sa.func.max(Item.rank)))
    item = Item(
        target_id=target_id,
        rank=0 if last is None else last + 1,
        source="",
        row=-1,
        opinion={},
        decision_version=0,
    )
    session.add(item)
    session.flush()
    return item, True


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\x1e".join(parts).encode()).hexdigest()
