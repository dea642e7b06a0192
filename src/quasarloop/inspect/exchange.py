"""Bringing existing labels into a campaign, and its labels out, as files."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from quasarloop.artefacts import check_folder, check_output
from quasarloop.errors import InspectionError, check_regular, reading
from quasarloop.inspect.database import now, setting
from quasarloop.inspect.ledger import (
    Save,
    assignment_of,
    item_of,
    save_decision,
    save_label,
)
from quasarloop.inspect.people import person_named
from quasarloop.inspect.results import final_labels, inspections, results
from quasarloop.inspect.tables import Assignment, Decision, Item, Label
from quasarloop.labels.merge import (
    MERGED_COLUMNS,
    Merged,
    from_truth,
    read_merged,
    to_truth,
    write_merged,
)
from quasarloop.labels.prospect_csv import (
    Inspection,
    file_name,
    read_inspections,
    write_inspections,
)
from quasarloop.read import read_truth, write_truth
from quasarloop.tables import read_table
from quasarloop.truth import TruthTable

__all__ = [
    "Imported",
    "export_final",
    "export_inspections",
    "final_truth",
    "import_file",
    "import_inspections",
    "import_merged",
]


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
        user = person_named(session, row.scanner, role="inspector")
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
        save = Save(row.verdict, turn.version, save_id, z_err=row.z_err)
        save_label(session, item, user, save, imported=dict(row.columns))
        new += 1
    return Imported(new, same, objects)


def import_merged(session: Session, merged: Mapping[int, Merged], merger: str) -> Imported:
    """Store another campaign's final labels as decisions of that merger."""
    new = same = objects = 0
    user = person_named(session, merger, role="merger")
    for target, label in merged.items():
        item, made = _item(session, target)
        objects += made
        error = () if label.z_err is None else (repr(label.z_err),)
        save_id = _fingerprint("decision", str(user), str(target), repr(label), *error)
        known = sa.select(Decision.id).where(Decision.save_id == save_id)
        if session.scalar(known) is not None:
            same += 1
            continue
        extra = {
            "N_VI": label.n_inspections,
            "all_VI_comments": label.comments,
            "merger_comment": label.comment,
        }
        save = Save(label.verdict, item.decision_version, save_id, z_err=label.z_err)
        save_decision(session, item, user, save, imported=extra)
        new += 1
    return Imported(new, same, objects)


def import_file(session: Session, path: str | Path, merger: str) -> Imported:
    """Import a file of any kind of labels, distinguished by its columns.

    Args:
        session: to write with.
        path: prospect's VI CSV, a merged table, or any truth table that `read_truth` reads, such
            as published inspections without an inspector's name.
        merger: the name given to the merger of labels that name no inspector.

    Raises:
        InspectionError: rows with impossible values.
        TruthError: labels of no known kind, or that nobody has inspected.
    """
    if _is_prospect(Path(path)):
        return import_inspections(session, read_inspections(path))
    with reading(path, "labels", "give CSV, FITS or Parquet", InspectionError):
        merged = set(MERGED_COLUMNS[:4]) <= set(read_table(path, as_text=True))
    final = read_merged(path) if merged else from_truth(read_truth(path))
    return import_merged(session, final, merger)


def export_final(
    session: Session,
    path: str | Path,
    form: str,
    *,
    at_least: int | None = None,
    overwrite: bool = False,
    exact: bool = False,
) -> int:
    """Write every final label and return their number.

    Args:
        session: to read with.
        path: .csv, .fits or .parquet.
        form: ``"merged"`` for the merged table, ``"truth"`` for quasarloop's own.
        at_least: as in `results.results`.
        overwrite: replace an existing file.
        exact: as in `write_merged`.

    Raises:
        InspectionError: another suffix, or not one final label.
        OutputError: the file exists or cannot be written.
    """
    target = check_output(path, overwrite=overwrite)
    if form == "truth":
        truth = final_truth(session, at_least=at_least)
        write_truth(truth, target)
        return len(truth)
    labels = _final(session, at_least)
    write_merged(labels, target, exact=exact)
    return len(labels)


def final_truth(session: Session, *, at_least: int | None = None) -> TruthTable:
    """Return every final label as a truth table.

    Raises:
        InspectionError: not one final label.
    """
    return to_truth(_final(session, at_least), setting(session, "title"))


def _final(session: Session, at_least: int | None) -> dict[int, Merged]:
    labels = final_labels(results(session, at_least=at_least))
    if not labels:
        raise InspectionError(
            "no object has a final label yet; `quasarloop labels status` lists what is open, "
            "--at-least takes objects with fewer inspections"
        )
    return labels


def export_inspections(session: Session, folder: str | Path, *, exact: bool = False) -> list[Path]:
    """Write one prospect file per scanner and return their paths; `exact` as when written.

    Raises:
        OutputError: the folder cannot be written.
    """
    target = check_folder(folder)
    title = setting(session, "title")
    paths = []
    for scanner, rows in sorted(inspections(results(session)).items()):
        path = target / file_name(title, scanner)
        write_inspections(rows, path, exact=exact)
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
        predictions={},
        decision_version=0,
    )
    session.add(item)
    session.flush()
    return item, True


def _is_prospect(path: Path) -> bool:
    try:
        with check_regular(path).open("rb") as stream:
            return b"VI_scanner" in stream.readline(4096)
    except OSError as exc:
        raise InspectionError(f"{path}: cannot be read ({exc.strerror}); check the name") from exc


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\x1e".join(parts).encode()).hexdigest()
