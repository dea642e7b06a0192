"""Tables on disk, row for row with a store: one Parquet file per shard, and a manifest of them.

Votes and features are written so, by the workers themselves; of a shard that is longer than one
task the results come piece by piece, in any order. A shard counts as done once it is written.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from quasarloop.artefacts import (
    check_folder,
    checksum,
    read_manifest,
    versions,
    write_atomically,
    write_manifest,
)
from quasarloop.engine import Engine, run_tasks
from quasarloop.ensemble.pieces import PIECE_ROWS, Lot, Piece, cut_lots, cut_pieces
from quasarloop.errors import DataFormatError, OutputError, reading
from quasarloop.spectra import Keys
from quasarloop.store import Store, count_rows

__all__ = [
    "METADATA_KEY",
    "Kind",
    "TablesWriter",
    "identity_columns",
    "open_tables",
    "shard_file",
]

METADATA_KEY: Final = b"quasarloop"
_PLAN: Final = "plan.json"
_FORMAT: Final = 1
_WORDS: Final = ("SHARD", "SURVEY", "PROGRAM")


class Kind(NamedTuple):
    """What a folder of tables holds.

    Attributes:
        name: for messages, in the plural.
        manifest: its file, written last.
        command: what makes the tables.
    """

    name: str
    manifest: str
    command: str


def shard_file(folder: Path, shard: Path) -> Path:
    """Return the table of a shard."""
    return folder / f"{shard.stem}.parquet"


def identity_columns(
    keys: Keys, flags: NDArray[np.int32], shard: list[str], row: NDArray[np.int64]
) -> dict[str, Any]:
    """Return the columns that name n spectra; `row` (n,) is that in its shard."""
    return {
        **keys.columns("TARGETID", "OBJECT_ID"),
        "SHARD": pa.array(shard, pa.string()),
        "ROW": row,
        "FLAGS": flags,
        **keys.columns("SURVEY", "PROGRAM"),
    }


@dataclass
class TablesWriter:
    """Collects tables of pieces and writes every shard as soon as it is complete.

    Attributes:
        folder: of the tables.
        kind: what they are.
        store: whose rows they follow.
        plan: what all files have in common; goes into every one.
        beside: folder -> metadata of further tables of each shard, in their order.
        on_progress: called with numbers of spectra done.
    """

    folder: Path
    kind: Kind
    store: Store
    plan: Mapping[str, Any]
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    on_progress: Callable[[int], None] | None = None
    n_rows: tuple[int, ...] = ()
    _waiting: dict[int, list[tuple[int, list[pa.Table]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the folder, or check that it holds the same tables.

        Raises:
            OutputError: the folder holds others, or files without a plan.
        """
        _claim_folder(self.folder, self.kind, self.plan)
        for name in self.beside:
            check_folder(self.folder / name)
        self.n_rows = tuple(count_rows(shard) for shard in self.store.shards)

    def fill(
        self,
        make: Callable[[Piece, Any], list[pa.Table]],
        shared: Any,
        engine: Engine | None,
        piece_rows: int = PIECE_ROWS,
    ) -> bool:
        """Make and write what is missing; return whether anything was.

        Args:
            make: module-level function that returns a piece's tables, the shard's own first.
            shared: what it needs besides, sent once to every worker.
            engine: where to run.
            piece_rows: most rows of a piece.

        Raises:
            OutputError: a table cannot be written.
            TaskError: some task failed for good; the rest is written.
        """
        lots = cut_lots(self.missing(cut_pieces(self.store.shards, self.n_rows, piece_rows)))
        if lots:
            own = copy.copy(self)
            own.on_progress = None
            run_tasks(
                _write_lot,
                lots,
                engine=engine,
                shared=_Making(make, shared, own),
                name_of=Lot.name,
                on_result=self._collect,
                keep=False,
            ).complete()
        return bool(lots)

    def write(self, pieces: Sequence[Piece], make: Callable[[Piece], list[pa.Table]]) -> None:
        """Make and write the tables of pieces that are whole shards."""
        self._waiting.clear()  # of a try that failed
        for piece in pieces:
            self.take(piece, make(piece))

    def _collect(self, lot: Lot, made: list[pa.Table] | int | OutputError) -> None:
        if isinstance(made, OutputError):
            raise made
        if isinstance(made, int):
            self._report(made)
        else:
            self.take(lot.pieces[0], made)

    def missing(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return the pieces of which some shard is not yet written; report the others done."""
        todo = [p for p in pieces if not all(self._written(part.shard) for part in p.parts)]
        self._report(sum(map(len, pieces)) - sum(map(len, todo)))
        return todo

    def take(self, piece: Piece, tables: Sequence[pa.Table]) -> None:
        """Take in a piece's tables, the shard's own first, in any order of pieces."""
        start = 0
        for part in piece.parts:
            n = part.stop - part.first
            rows, start = start, start + n
            if self._written(part.shard):
                continue  # a neighbour in the piece was missing, not this one
            parts = self._waiting.setdefault(part.shard, [])
            parts.append((part.first, [table.slice(rows, n) for table in tables]))
            if sum(len(own[0]) for _, own in parts) == part.n_shard_rows:
                parts.sort(key=lambda entry: entry[0])
                self._write(self.store.shards[part.shard], [own for _, own in parts])
                del self._waiting[part.shard]
        self._report(len(piece))

    @property
    def files(self) -> list[Path]:
        """The shards' own tables, of shards that hold spectra."""
        shards = zip(self.store.shards, self.n_rows, strict=True)
        return [shard_file(self.folder, shard) for shard, n_rows in shards if n_rows]

    def finish(self, **extra: Any) -> None:
        """Write the manifest that makes the tables finished, with more to record."""
        path = self.folder / self.kind.manifest
        path.unlink(missing_ok=True)
        n_rows = filter(None, self.n_rows)
        content = {
            **self.plan,
            **extra,
            "format": _FORMAT,
            "files": [
                {"file": path.name, "n_rows": n, "sha256": checksum(path)}
                for path, n in zip(self.files, n_rows, strict=True)
            ],
            "versions": versions(),
        }
        write_manifest(path, content)

    def _write(self, shard: Path, parts: Sequence[Sequence[pa.Table]]) -> None:
        own, *others = (pa.concat_tables(tables) for tables in zip(*parts, strict=True))
        for table, (name, metadata) in zip(others, self.beside.items(), strict=True):
            _write_table(table, shard_file(self.folder / name, shard), metadata)
        # Last: a shard counts as done once its own table is there.
        _write_table(own, shard_file(self.folder, shard), self.plan)

    def _written(self, shard: int) -> bool:
        return shard_file(self.folder, self.store.shards[shard]).exists()

    def _report(self, n_spectra: int) -> None:
        if self.on_progress is not None:
            self.on_progress(n_spectra)


class _Making(NamedTuple):
    """What every worker needs to make and write tables."""

    make: Callable[[Piece, Any], list[pa.Table]]
    shared: Any
    writer: TablesWriter


def _write_lot(lot: Lot, making: _Making) -> list[pa.Table] | int | OutputError:
    """Write the tables of whole shards and return the number of rows; return those of a part."""
    if not lot.whole:
        return making.make(lot.pieces[0], making.shared)
    try:
        making.writer.write(lot.pieces, lambda piece: making.make(piece, making.shared))
    except OutputError as exc:  # as bad for all other tasks: the run ends
        return exc
    return len(lot)


def open_tables(folder: Path, kind: Kind) -> tuple[dict[str, Any], tuple[Path, ...], int]:
    """Open finished tables: manifest, files in the store's order, and rows in all.

    Raises:
        DataFormatError: not finished, of another format, or a file is missing or cut off.
    """
    name, manifest, command = kind
    if not (folder / manifest).exists():
        raise DataFormatError(
            f"{folder} holds no finished {name} (no {manifest}); run `{command}` with "
            "the same options again to finish them"
        )
    remedy = f"run `{command}` into another folder"
    with reading(folder / manifest, f"the manifest of {name}", remedy):
        record = read_manifest(folder / manifest)
        if record.get("format") != _FORMAT:
            raise DataFormatError(
                f"{name} format {record.get('format')!r}; this version reads {_FORMAT}"
            )
        n_rows = {folder / entry["file"]: int(entry["n_rows"]) for entry in record["files"]}
    again = f"run `{command}` into this folder again after deleting {manifest}"
    missing = [path.name for path in n_rows if not path.exists()]
    if missing:
        raise DataFormatError(
            f"{folder}: {len(missing)} of {len(n_rows)} files of {name} are missing (first: "
            f"{missing[0]}); {again}"
        )
    for path, written in n_rows.items():
        with reading(path, name, f"delete it, and {again}"):
            found = pq.read_metadata(path).num_rows
        if found != written:
            raise DataFormatError(
                f"{path}: {found} rows, but {manifest} has {written}; delete it, and {again}"
            )
    return record, tuple(n_rows), sum(n_rows.values())


def _claim_folder(folder: Path, kind: Kind, plan: Mapping[str, Any]) -> None:
    check_folder(folder)
    path = folder / _PLAN
    if not path.exists():
        if any(folder.glob("*.parquet")):
            raise OutputError(f"{folder} holds Parquet files but no {_PLAN}; give another folder")
        write_manifest(path, plan)
    found, wanted = read_manifest(path), json.loads(json.dumps(plan))
    different = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if different:
        raise OutputError(
            f"{folder} holds {kind.name} that differ in {', '.join(different)}; give another "
            "folder, or delete this one. An earlier version may have begun it: what it began "
            "cannot be finished by this one"
        )
    for torn in (*folder.glob(".*.parquet"), *folder.glob("*/.*.parquet")):
        torn.unlink()  # half-written when an earlier run was killed


def _write_table(table: pa.Table, path: Path, metadata: Mapping[str, Any]) -> None:
    text = json.dumps(metadata, sort_keys=True, ensure_ascii=False)
    with write_atomically(path) as temporary:
        pq.write_table(
            table.replace_schema_metadata({METADATA_KEY: text.encode()}),
            temporary,
            compression="zstd",
            use_dictionary=[name for name in _WORDS if name in table.column_names],
            row_group_size=max(len(table), 1),
        )
