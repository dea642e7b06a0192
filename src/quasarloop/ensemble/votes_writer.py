"""Votes on parts of shards come in, in any order; whole files of votes go out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from quasarloop.ensemble.member_votes import Piece
from quasarloop.ensemble.votes import MemberFinds, VoteSettings, vote_columns
from quasarloop.ensemble.votes_folder import (
    confidence_edges,
    encode_confidence,
    encode_z,
    members_file,
    votes_file,
    votes_table,
    write_table,
)
from quasarloop.lines import Line
from quasarloop.spectra import Keys

__all__ = ["PartVotes", "VotesWriter", "part_votes"]


@dataclass(frozen=True)
class PartVotes:
    """Votes on consecutive rows of one shard.

    Attributes:
        shard: number of the shard in the store's order.
        first: first row.
        votes: one row each.
        members: what each member said, if that is kept.
    """

    shard: int
    first: int
    votes: pa.Table
    members: pa.Table | None


def part_votes(
    piece: Piece,
    keys: Keys,
    flags: NDArray[np.int32],
    finds: MemberFinds,
    settings: VoteSettings,
    lines: Sequence[Line],
    *,
    keep_members: bool,
) -> list[PartVotes]:
    """Return the votes on a piece, one table per part.

    Args:
        piece: the rows.
        keys: of the rows.
        flags: of the rows.
        finds: what was said of them.
        settings: thresholds and class border.
        lines: the networks' lines.
        keep_members: also make the compact record.
    """
    columns = vote_columns(finds, settings, lines)
    record = _members_table(finds, settings) if keep_members else None
    results, start = [], 0
    for part in piece.parts:
        rows = slice(start, start + part.stop - part.first)
        start = rows.stop
        table = votes_table(
            keys[rows],
            flags[rows],
            part.path.stem,
            part.first,
            {name: column[rows] for name, column in columns.items()},
            len(finds.confidence),
        )
        kept = None if record is None else record.slice(rows.start, rows.stop - rows.start)
        results.append(PartVotes(part.shard, part.first, table, kept))
    return results


@dataclass
class VotesWriter:
    """Collects votes of parts and writes every shard as soon as it is complete.

    Attributes:
        folder: of the votes.
        shards: files of the store, in order.
        n_rows: rows of each.
        plan: goes into every file.
        on_progress: called with numbers of spectra done.
    """

    folder: Path
    shards: tuple[Path, ...]
    n_rows: tuple[int, ...]
    plan: Mapping[str, Any]
    on_progress: Callable[[int], None] | None = None
    _waiting: dict[int, list[PartVotes]] = field(default_factory=dict)

    def missing(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return the pieces of which some shard is not yet written; report the others done."""
        todo = [p for p in pieces if not all(self._written(part.shard) for part in p.parts)]
        self._tell(sum(map(len, pieces)) - sum(map(len, todo)))
        return todo

    def take(self, piece: Piece, results: list[PartVotes]) -> None:
        """Take in a piece's votes."""
        for part in results:
            if self._written(part.shard):
                continue  # a neighbour in the piece was missing, not this one
            parts = self._waiting.setdefault(part.shard, [])
            parts.append(part)
            if sum(len(p.votes) for p in parts) == self.n_rows[part.shard]:
                self._write(part.shard, sorted(parts, key=lambda p: p.first))
                del self._waiting[part.shard]
        self._tell(len(piece))

    def _write(self, shard: int, parts: Sequence[PartVotes]) -> None:
        path = self.shards[shard]
        if self.plan["keep_members"]:
            kept = pa.concat_tables([part.members for part in parts])
            write_table(kept, members_file(self.folder, path), self._members_metadata())
        # Last: a shard counts as done once its votes are there.
        votes = pa.concat_tables([part.votes for part in parts])
        write_table(votes, votes_file(self.folder, path), self.plan)

    def _members_metadata(self) -> dict[str, Any]:
        settings = VoteSettings.from_dict(self.plan["settings"])
        return {
            "confidence_edges": confidence_edges(settings.thresholds).tolist(),
            "high_z_min": settings.high_z_min,
            "n_networks": self.plan["n_networks"],
        }

    def _written(self, shard: int) -> bool:
        return votes_file(self.folder, self.shards[shard]).exists()

    def _tell(self, n_spectra: int) -> None:
        if self.on_progress is not None:
            self.on_progress(n_spectra)


def _members_table(finds: MemberFinds, settings: VoteSettings) -> pa.Table:
    edges = confidence_edges(settings.thresholds)
    codes = encode_confidence(finds.confidence.T, edges)  # (n, n_networks)
    z_codes = encode_z(finds.z_best.T, high_z_min=settings.high_z_min)
    return pa.table({"CONFIDENCE": _bytes(codes), "REDSHIFT": _bytes(z_codes.astype("<u2"))})


def _bytes(values: NDArray[Any]) -> pa.Array:
    # As bytes: Parquet would keep small integers in four bytes each.
    width = values.shape[1] * values.dtype.itemsize
    buffer = pa.py_buffer(np.ascontiguousarray(values).tobytes())
    return pa.Array.from_buffers(pa.binary(width), len(values), [None, buffer])
