"""Votes on disk: one Parquet file per shard of the store, and a manifest that lists them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
from quasarloop.ensemble.manifest import Ensemble
from quasarloop.ensemble.member_record import METADATA_KEY, members_metadata, members_table
from quasarloop.ensemble.pieces import Piece, count_rows
from quasarloop.ensemble.votes import MemberFinds, VoteRule, vote_columns
from quasarloop.errors import DataFormatError, GridError, OutputError
from quasarloop.lines import Line
from quasarloop.spectra import Keys
from quasarloop.store import Store

__all__ = [
    "MANIFEST",
    "PieceVotes",
    "Votes",
    "VotesWriter",
    "members_file",
    "open_votes",
    "piece_votes",
    "votes_file",
    "votes_table",
]

MANIFEST: Final = "votes.json"
_PLAN: Final = "plan.json"
_FORMAT: Final = 1
_WORDS: Final = ("SHARD", "SURVEY", "PROGRAM")


@dataclass(frozen=True)
class Votes:
    """A finished folder of votes.

    Attributes:
        folder: where it is.
        files: one per shard, in the store's order.
        rule: thresholds.
        n_rows: spectra in all files.
        record: the whole manifest.
    """

    folder: Path
    files: tuple[Path, ...]
    rule: VoteRule
    n_rows: int
    record: dict[str, Any]


class PieceVotes(NamedTuple):
    """Votes on the rows of a piece, and the members' record of them if that is kept."""

    votes: pa.Table
    members: pa.Table | None


def votes_file(folder: Path, shard: Path) -> Path:
    """Return the votes of a shard."""
    return folder / f"{shard.stem}.parquet"


def members_file(folder: Path, shard: Path) -> Path:
    """Return the members' record of a shard."""
    return folder / "members" / f"{shard.stem}.parquet"


def piece_votes(
    piece: Piece,
    keys: Keys,
    flags: NDArray[np.int32],
    finds: MemberFinds,
    rule: VoteRule,
    lines: Sequence[Line],
    *,
    keep_members: bool,
) -> PieceVotes:
    """Return the votes on a piece, and if `keep_members` the compact record of its members."""
    columns = vote_columns(finds, rule, lines)
    shard = [part.path.stem for part in piece.parts for _ in range(part.first, part.stop)]
    row = np.concatenate([np.arange(part.first, part.stop) for part in piece.parts])
    table = votes_table(keys, flags, shard, row, columns, len(finds.confidence))
    return PieceVotes(table, members_table(finds, rule) if keep_members else None)


def votes_table(
    keys: Keys,
    flags: NDArray[np.int32],
    shard: list[str],
    row: NDArray[np.int64],
    columns: Mapping[str, NDArray[Any]],
    n_networks: int,
) -> pa.Table:
    """Join identity and scores (`vote_columns`) of n spectra; `row` (n,) is that in its shard."""
    identity: dict[str, Any] = {
        **keys.columns("TARGETID", "OBJECT_ID"),
        "SHARD": pa.array(shard, pa.string()),
        "ROW": row,
        "FLAGS": flags,
        **keys.columns("SURVEY", "PROGRAM"),
        "N_NETWORKS": np.full(len(keys), n_networks, dtype=np.uint16),
    }
    return pa.table({**identity, **columns})


@dataclass
class VotesWriter:
    """Collects votes on pieces and writes every shard as soon as it is complete.

    Attributes:
        folder: of the votes.
        shards: files of the store, in order.
        n_rows: rows of each.
        rule: thresholds.
        plan: what all files have in common; goes into every one.
        on_progress: called with numbers of spectra done.
    """

    folder: Path
    shards: tuple[Path, ...]
    n_rows: tuple[int, ...]
    rule: VoteRule
    plan: Mapping[str, Any]
    on_progress: Callable[[int], None] | None = None
    _waiting: dict[int, list[tuple[int, PieceVotes]]] = field(default_factory=dict)

    @classmethod
    def start(
        cls,
        ensemble: Ensemble,
        store: Store,
        folder: Path,
        rule: VoteRule,
        *,
        keep_members: bool,
        **others: Any,
    ) -> "VotesWriter":
        """Make the folder of the votes, or check that it holds the same ones, `others` included.

        Raises:
            GridError: store and ensemble have different grids.
            OutputError: the folder holds votes of another ensemble, with other options or of
                another kind.
        """
        grid = ensemble.config.grid
        if not grid.matches(store.grid):
            raise GridError(
                f"the ensemble reads a {grid.describe()}, the store holds a "
                f"{store.grid.describe()}; ingest the files on the ensemble's grid"
            )
        plan = {
            "ensemble": ensemble.identity,
            "n_networks": len(ensemble),
            "settings": rule.to_dict(),
            "keep_members": keep_members,
            **others,
            "grid": asdict(store.grid),
            "lines": [line.column for line in ensemble.config.lines],
        }
        _claim_folder(folder, plan)
        if keep_members:
            check_folder(folder / "members")
        n_rows = tuple(count_rows(shard) for shard in store.shards)
        return cls(folder, store.shards, n_rows, rule, plan)

    def missing(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return the pieces of which some shard is not yet written; report the others done."""
        todo = [p for p in pieces if not all(self._written(part.shard) for part in p.parts)]
        self._report(sum(map(len, pieces)) - sum(map(len, todo)))
        return todo

    def take(self, piece: Piece, result: PieceVotes) -> None:
        """Take in a piece's votes, in any order."""
        start = 0
        for part in piece.parts:
            n = part.stop - part.first
            rows, start = start, start + n
            if self._written(part.shard):
                continue  # a neighbour in the piece was missing, not this one
            own = PieceVotes(*(None if t is None else t.slice(rows, n) for t in result))
            parts = self._waiting.setdefault(part.shard, [])
            parts.append((part.first, own))
            if sum(len(votes) for _, (votes, _) in parts) == part.n_shard_rows:
                parts.sort(key=lambda entry: entry[0])
                self._write(self.shards[part.shard], [own for _, own in parts])
                del self._waiting[part.shard]
        self._report(len(piece))

    def finish(self, **extra: Any) -> Votes:
        """Write the manifest that makes the votes finished, with more to record."""
        (self.folder / MANIFEST).unlink(missing_ok=True)
        shards = zip(self.shards, self.n_rows, strict=True)
        files = [(votes_file(self.folder, shard), n_rows) for shard, n_rows in shards if n_rows]
        content = {
            **self.plan,
            "thresholds_from": self.rule.decision.origins,
            **extra,
            "format": _FORMAT,
            "files": [
                {"file": path.name, "n_rows": n_rows, "sha256": checksum(path)}
                for path, n_rows in files
            ],
            "versions": versions(),
        }
        write_manifest(self.folder / MANIFEST, content)
        return open_votes(self.folder)

    def _write(self, shard: Path, parts: Sequence[PieceVotes]) -> None:
        kept = [part.members for part in parts if part.members is not None]
        if kept:
            metadata = members_metadata(self.rule, self.plan["n_networks"])
            _write_table(pa.concat_tables(kept), members_file(self.folder, shard), metadata)
        # Last: a shard counts as done once its votes are there.
        votes = pa.concat_tables([part.votes for part in parts])
        _write_table(votes, votes_file(self.folder, shard), self.plan)

    def _written(self, shard: int) -> bool:
        return votes_file(self.folder, self.shards[shard]).exists()

    def _report(self, n_spectra: int) -> None:
        if self.on_progress is not None:
            self.on_progress(n_spectra)


def open_votes(folder: str | Path) -> Votes:
    """Open finished votes; the list of files comes from the manifest.

    Raises:
        DataFormatError: not finished, of another format, or a file is missing.
    """
    root = Path(folder)
    if not (root / MANIFEST).exists():
        raise DataFormatError(
            f"{root} holds no finished votes (no {MANIFEST}); run `quasarloop ensemble vote` with "
            "the same options again to finish them"
        )
    record = read_manifest(root / MANIFEST)
    if record.get("format") != _FORMAT:
        raise DataFormatError(
            f"{root}: votes format {record.get('format')!r}; this version reads {_FORMAT}"
        )
    files = tuple(root / entry["file"] for entry in record["files"])
    missing = [path.name for path in files if not path.exists()]
    if missing:
        raise DataFormatError(
            f"{root}: {len(missing)} of {len(files)} files of votes are missing (first: "
            f"{missing[0]}); vote again into this folder after deleting {MANIFEST}"
        )
    n_rows = sum(int(entry["n_rows"]) for entry in record["files"])
    return Votes(root, files, VoteRule.from_dict(record["settings"]), n_rows, record)


def _claim_folder(folder: Path, plan: Mapping[str, Any]) -> None:
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
            f"{folder} holds votes that differ in {', '.join(different)}; give another folder, or "
            "delete this one"
        )
    for torn in (*folder.glob(".*.parquet"), *folder.glob("members/.*.parquet")):
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
