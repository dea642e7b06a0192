"""Voting: every member says what it makes of every spectrum of a store, shard by shard."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from quasarloop.artefacts import check_folder
from quasarloop.engine import Engine, run_tasks
from quasarloop.ensemble.manifest import Ensemble, load_members
from quasarloop.ensemble.member_votes import Piece, ask_members, count_rows, cut_pieces, read_piece
from quasarloop.ensemble.votes import VoteSettings
from quasarloop.ensemble.votes_folder import (
    MANIFEST,
    Votes,
    claim_folder,
    open_votes,
    write_votes_manifest,
)
from quasarloop.ensemble.votes_writer import PartVotes, VotesWriter, part_votes
from quasarloop.errors import GridError, TaskError
from quasarloop.network.model import pick_device
from quasarloop.network.predict import Predictor
from quasarloop.store import Store

__all__ = [
    "VoteOptions",
    "Voters",
    "finish_votes",
    "load_voters",
    "on_device",
    "start_votes",
    "vote",
]


@dataclass(frozen=True)
class VoteOptions:
    """What to do besides asking.

    Attributes:
        settings: thresholds and class border.
        keep_members: keep what each member said, 3 bytes per member and spectrum.
        device: where members predict: ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"auto"`` for the best
            there is. Anything but the CPU needs an engine of this process.
    """

    settings: VoteSettings = field(default_factory=VoteSettings)
    keep_members: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class Voters:
    """What every worker needs, sent to it once.

    Attributes:
        members: ready to predict, in the ensemble's order.
        options: of the vote.
    """

    members: tuple[Predictor, ...]
    options: VoteOptions


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
    chosen = on_device(options or VoteOptions(), engine)
    writer = start_votes(ensemble, store, Path(out), chosen, cascade=None)
    writer.on_progress = on_progress
    todo = writer.missing(cut_pieces(writer.shards, writer.n_rows))
    if todo:
        run_tasks(
            _vote_on_piece,
            todo,
            engine=engine,
            shared=load_voters(ensemble, chosen),
            name_of=Piece.name,
            on_result=writer.take,
            keep=False,
        ).complete()
    return finish_votes(writer, {})


def start_votes(
    ensemble: Ensemble,
    store: Store,
    folder: Path,
    options: VoteOptions,
    *,
    cascade: dict[str, Any] | None,
) -> VotesWriter:
    """Make the folder of the votes, or check that it is theirs, and return what fills it.

    Args:
        ensemble: the members.
        store: the spectra.
        folder: of the votes.
        options: of the vote.
        cascade: its options, None for an exact vote.
    """
    grid = ensemble.config.grid
    if not grid.matches(store.grid):
        raise GridError(
            f"the ensemble reads a {grid.describe()}, the store holds a {store.grid.describe()}; "
            "ingest the files on the ensemble's grid"
        )
    plan = {
        "ensemble": ensemble.identity,
        "n_networks": len(ensemble),
        "settings": options.settings.to_dict(),
        "keep_members": options.keep_members,
        "device": options.device,
        "cascade": cascade,
        "grid": asdict(store.grid),
        "lines": [line.column for line in ensemble.config.lines],
    }
    claim_folder(folder, plan)
    if options.keep_members:
        check_folder(folder / "members")
    n_rows = tuple(count_rows(shard) for shard in store.shards)
    return VotesWriter(folder, store.shards, n_rows, plan)


def finish_votes(writer: VotesWriter, extra: dict[str, Any]) -> Votes:
    """Write the manifest that makes the votes finished."""
    (writer.folder / MANIFEST).unlink(missing_ok=True)
    rows = dict(zip(writer.shards, writer.n_rows, strict=True))
    write_votes_manifest(writer.folder, writer.plan, rows, extra)
    return open_votes(writer.folder)


def load_voters(ensemble: Ensemble, options: VoteOptions) -> Voters:
    """Read all members and make them ready to predict."""
    members = (Predictor(weights, options.device) for weights in load_members(ensemble))
    return Voters(tuple(members), options)


def on_device(options: VoteOptions, engine: Engine | None) -> VoteOptions:
    """Return the options with a device of this machine that fits the engine.

    ``"auto"`` is the CPU wherever several processes work, else the best there is.

    Raises:
        TaskError: members on a GPU cannot be sent to other processes.
        WeightsError: no such device here.
    """
    where = engine or Engine()
    alone = where.workers == 1 and where.scheduler is None
    if options.device == "auto" and not alone:
        return replace(options, device="cpu")
    if options.device != "cpu" and not alone:
        raise TaskError(
            f"device {options.device} with an engine of {where.describe()}: a GPU serves "
            "one process; leave out --workers and --scheduler"
        )
    return replace(options, device=str(pick_device(options.device)))


def _vote_on_piece(piece: Piece, voters: Voters) -> list[PartVotes]:
    spectra = read_piece(piece)
    options = voters.options
    return part_votes(
        piece,
        spectra.keys,
        spectra.flags,
        ask_members(spectra, voters.members, options.settings),
        options.settings,
        voters.members[0].config.lines,
        keep_members=options.keep_members,
    )
