"""Voting: every member says what it makes of every spectrum of a store, shard by shard."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from quasarloop.artefacts import check_folder
from quasarloop.engine import Engine, run_tasks
from quasarloop.ensemble.ask import Piece, ask_members, count_rows, cut_pieces, read_piece
from quasarloop.ensemble.manifest import Ensemble, load_members
from quasarloop.ensemble.members import confidence_edges, encode_confidence, encode_z
from quasarloop.ensemble.votes import MemberFinds, VoteSettings, vote_columns
from quasarloop.ensemble.votes_folder import (
    MANIFEST,
    Votes,
    claim_folder,
    members_file,
    votes_file,
    votes_table,
    write_table,
    write_votes_manifest,
)
from quasarloop.errors import GridError
from quasarloop.grid import WaveGrid
from quasarloop.network.predict import Predictor
from quasarloop.store import Store

__all__ = ["VoteOptions", "vote", "vote_plan"]


@dataclass(frozen=True)
class VoteOptions:
    """What to do besides asking.

    Attributes:
        settings: thresholds and class border.
        keep_members: keep what each member said, 3 bytes per member and spectrum.
    """

    settings: VoteSettings = field(default_factory=VoteSettings)
    keep_members: bool = False


@dataclass(frozen=True)
class _Voters:
    """What every worker needs, sent to it once."""

    members: tuple[Predictor, ...]
    options: VoteOptions


@dataclass(frozen=True)
class _PartVotes:
    """Votes on consecutive rows of one shard, as they travel back from a worker."""

    shard: int
    first: int
    votes: pa.Table
    members: pa.Table | None


def vote(
    ensemble: Ensemble,
    store: Store,
    out: str | Path,
    *,
    options: VoteOptions | None = None,
    engine: Engine | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Votes:
    """Ask all members about all spectra of a store and write the votes.

    Killed at any moment and started again, it goes on with the shards that are not yet done; the
    finished bytes are the same, for any number of workers.

    Args:
        ensemble: the members.
        store: the spectra.
        out: folder of the votes.
        options: thresholds, and what to keep.
        engine: where to run.
        on_progress: called with the number of spectra done since the last call, also for those
            that were there already.

    Raises:
        GridError: store and ensemble have different grids.
        OutputError: the folder holds other votes.
        TaskError: some piece failed for good; the rest is written.
    """
    chosen = options or VoteOptions()
    folder = Path(out)
    check_same_grid(ensemble, store)
    plan = vote_plan(ensemble, store, chosen)
    claim_folder(folder, plan)
    if chosen.keep_members:
        check_folder(folder / "members")
    rows = {shard: count_rows(shard) for shard in store.shards}
    writer = _Writer(folder, tuple(rows), tuple(rows.values()), plan, on_progress)
    todo = writer.missing(cut_pieces(store.shards, tuple(rows.values())))
    if todo:
        members = tuple(Predictor(weights) for weights in load_members(ensemble))
        run_tasks(
            _vote_on_piece,
            todo,
            engine=engine,
            shared=_Voters(members, chosen),
            name_of=Piece.name,
            on_result=writer.take,
        ).complete()
    (folder / MANIFEST).unlink(missing_ok=True)
    return write_votes_manifest(folder, plan, rows, {"cascade": None})


def check_same_grid(ensemble: Ensemble, store: Store) -> None:
    """Check that an ensemble can read a store.

    Raises:
        GridError: it cannot.
    """
    grid = ensemble.config.grid
    if not grid.matches(store.grid):
        raise GridError(
            f"the ensemble reads a {grid.describe()}, the store holds a {store.grid.describe()}; "
            "ingest the files on the ensemble's grid"
        )


def vote_plan(ensemble: Ensemble, store: Store, options: VoteOptions) -> dict[str, Any]:
    """Return what votes of one folder must have in common."""
    return {
        "ensemble": ensemble.identity,
        "n_networks": len(ensemble),
        "settings": options.settings.to_dict(),
        "keep_members": options.keep_members,
        "grid": _grid_record(store.grid),
        "lines": [line.column for line in ensemble.config.lines],
    }


def _grid_record(grid: WaveGrid) -> dict[str, Any]:
    return {
        "kind": grid.kind,
        "start_aa": grid.start_aa,
        "step": grid.step,
        "n_bins": grid.n_bins,
    }


@dataclass
class _Writer:
    """Collects votes of parts and writes every shard as soon as it is complete."""

    folder: Path
    shards: tuple[Path, ...]
    n_rows: tuple[int, ...]
    plan: Mapping[str, Any]
    on_progress: Callable[[int], None] | None
    waiting: dict[int, list[_PartVotes]] = field(default_factory=dict)

    def missing(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return the pieces of which some shard is not yet written; report the others done."""
        todo = [p for p in pieces if not all(self._written(part.shard) for part in p.parts)]
        self._tell(sum(map(len, pieces)) - sum(map(len, todo)))
        return todo

    def take(self, piece: Piece, results: list[_PartVotes]) -> None:
        """Take in a piece's votes."""
        for part in results:
            if self._written(part.shard):
                continue  # a neighbour in the piece was missing, not this one
            parts = self.waiting.setdefault(part.shard, [])
            parts.append(part)
            if sum(len(p.votes) for p in parts) == self.n_rows[part.shard]:
                self._write(part.shard, sorted(parts, key=lambda p: p.first))
                del self.waiting[part.shard]
        self._tell(len(piece))

    def _write(self, shard: int, parts: Sequence[_PartVotes]) -> None:
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


def _vote_on_piece(piece: Piece, voters: _Voters) -> list[_PartVotes]:
    spectra = read_piece(piece)
    options = voters.options
    finds = ask_members(spectra, voters.members, options.settings)
    columns = vote_columns(finds, options.settings, voters.members[0].config.lines)
    record = _members_table(finds, options.settings) if options.keep_members else None
    results, start = [], 0
    for part in piece.parts:
        rows = slice(start, start + part.stop - part.first)
        start = rows.stop
        table = votes_table(
            spectra.keys[rows],
            spectra.flags[rows],
            part.path.stem,
            part.first,
            {name: column[rows] for name, column in columns.items()},
            len(voters.members),
        )
        kept = None if record is None else record.slice(rows.start, rows.stop - rows.start)
        results.append(_PartVotes(part.shard, part.first, table, kept))
    return results


def _members_table(finds: MemberFinds, settings: VoteSettings) -> pa.Table:
    edges = confidence_edges(settings.thresholds)
    codes = encode_confidence(finds.confidence.T, edges)  # (n, n_networks)
    z_codes = encode_z(finds.z_best.T, high_z_min=settings.high_z_min)
    return pa.table({"CONFIDENCE": _fixed_lists(codes), "REDSHIFT": _fixed_lists(z_codes)})


def _fixed_lists(values: NDArray[Any]) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
