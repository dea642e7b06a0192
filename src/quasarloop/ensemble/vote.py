"""Voting: every member is applied to every spectrum of a store, shard by shard.

A piece of work is a few hundred rows, from one shard or from several small ones. Pieces are
cut by the store's listing alone, never by the number of workers or by what is already done,
so that every row is computed in the same company, and its numbers are the same bit for bit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from quasarloop.classes import ThresholdOptions
from quasarloop.engine import Engine, run_tasks
from quasarloop.ensemble.manifest import Ensemble, load_members, member_thresholds
from quasarloop.ensemble.votes import COUNTED_AT, MemberFinds, VoteRule
from quasarloop.ensemble.votes_folder import (
    Part,
    Piece,
    PieceVotes,
    Votes,
    VotesWriter,
    count_rows,
    piece_votes,
)
from quasarloop.errors import TaskError
from quasarloop.network.decode import decode, emission_lines
from quasarloop.network.model import pick_device
from quasarloop.network.predict import Predictor
from quasarloop.quality import UNUSABLE
from quasarloop.spectra import RebinnedSpectra, concatenate
from quasarloop.store import Store, read_shard

__all__ = [
    "PIECE_ROWS",
    "VoteOptions",
    "Voters",
    "apply_members",
    "cut_pieces",
    "load_voters",
    "on_device",
    "read_piece",
    "vote",
    "vote_rule",
]

# Rows of one piece: enough to be worth sending, few enough to spread over a cluster and to
# lose little by a kill. Source: our choice.
PIECE_ROWS: Final = 512


@dataclass(frozen=True)
class VoteOptions(ThresholdOptions):
    """How an ensemble votes; thresholds that are not given are those of the members' weights.

    Attributes:
        counted_at: confidences at which votes are counted; the deciding one is added.
        red_end: redshift of a line past the red end of the grid (see `network.decode`).
        keep_members: keep the predictions of every member, 3 bytes per member and spectrum.
        device: where members predict: ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"auto"`` for the best
            there is. Anything but the CPU needs an engine of this process.
    """

    counted_at: tuple[float, ...] = COUNTED_AT
    red_end: Literal["clamp", "extrapolate"] = "extrapolate"
    keep_members: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class Voters:
    """What every worker needs, sent to it once.

    Attributes:
        members: ready to predict, in the ensemble's order.
        rule: thresholds.
        keep_members: also make the record of members.
    """

    members: tuple[Predictor, ...]
    rule: VoteRule
    keep_members: bool


def vote(
    ensemble: Ensemble,
    store: Store,
    out: str | Path,
    *,
    options: VoteOptions | None = None,
    engine: Engine | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Votes:
    """Apply all members to all spectra of a store and write the votes.

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
        WeightsError: members with different thresholds, or one that is missing or has changed.
    """
    chosen = on_device(options or VoteOptions(), engine)
    rule = vote_rule(ensemble, chosen)
    writer = VotesWriter.start(
        ensemble,
        store,
        Path(out),
        rule,
        keep_members=chosen.keep_members,
        device=chosen.device,
        cascade=None,
    )
    writer.on_progress = on_progress
    todo = writer.missing(cut_pieces(writer.shards, writer.n_rows))
    if todo:
        run_tasks(
            _vote_on_piece,
            todo,
            engine=engine,
            shared=load_voters(ensemble, chosen, rule),
            name_of=Piece.name,
            on_result=writer.take,
            keep=False,
        ).complete()
    return writer.finish()


def vote_rule(ensemble: Ensemble, options: VoteOptions) -> VoteRule:
    """Return the thresholds of a vote: the members', with those given in their place.

    Raises:
        WeightsError: the members have different thresholds, and none is given.
    """
    return VoteRule(options.counted_at, member_thresholds(ensemble, options), options.red_end)


def load_voters(ensemble: Ensemble, options: VoteOptions, rule: VoteRule) -> Voters:
    """Read all members and make them ready to predict."""
    members = (Predictor(weights, options.device) for weights in load_members(ensemble))
    return Voters(tuple(members), rule, options.keep_members)


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


def cut_pieces(
    shards: Sequence[Path], n_rows: Sequence[int] | None = None, piece_rows: int = PIECE_ROWS
) -> list[Piece]:
    """Cut a store into pieces: long shards into several, short neighbours into one.

    Args:
        shards: in the store's order.
        n_rows: of each shard; read from the files' footers if not given.
        piece_rows: most rows of a piece.

    Returns:
        Every row once, in order; shards without rows are left out.
    """
    sizes = [count_rows(shard) for shard in shards] if n_rows is None else n_rows
    groups: list[list[Part]] = [[]]
    filled = 0
    for number, (path, size) in enumerate(zip(shards, sizes, strict=True)):
        for first in range(0, size, piece_rows):
            part = Part(number, path, first, min(first + piece_rows, size), size)
            if filled + part.stop - part.first > piece_rows:
                groups.append([])
                filled = 0
            groups[-1].append(part)
            filled += part.stop - part.first
    return [Piece(i, tuple(group)) for i, group in enumerate(g for g in groups if g)]


def read_piece(piece: Piece, *, with_flux: bool = True) -> RebinnedSpectra:
    """Read the rows of a piece."""
    return concatenate(
        [
            read_shard(p.path, rows=slice(p.first, p.stop), with_flux=with_flux, with_ivar=False)
            for p in piece.parts
        ]
    )


def apply_members(
    spectra: RebinnedSpectra, members: Sequence[Predictor], rule: VoteRule
) -> MemberFinds:
    """Predict every spectrum with every member; unusable spectra have no prediction (NaN).

    Args:
        spectra: on the members' grid.
        members: in the ensemble's order.
        rule: number of lines, red end.
    """
    n = len(spectra)
    usable = np.flatnonzero((spectra.flags & UNUSABLE) == 0)
    confidence = np.full((len(members), n), np.nan, dtype=np.float32)
    z_best = np.full((len(members), n), np.nan)
    line_sum = np.zeros((len(usable), members[0].config.n_lines))
    flux = np.ascontiguousarray(spectra.flux[usable])
    for index, member in enumerate(members if len(usable) else ()):
        finds = decode(member.predict(flux), member.config, red_end=rule.red_end)
        best = emission_lines(finds, member.config, rule.decision.n_lines)
        confidence[index, usable], z_best[index, usable] = best.confidence, best.z
        line_sum += finds.confidence  # float64, in the order of members
    line_mean = np.full((n, line_sum.shape[1]), np.nan)
    line_mean[usable] = line_sum / len(members)
    return MemberFinds(confidence, z_best, line_mean)


def _vote_on_piece(piece: Piece, voters: Voters) -> PieceVotes:
    spectra = read_piece(piece)
    return piece_votes(
        piece,
        spectra.keys,
        spectra.flags,
        apply_members(spectra, voters.members, voters.rule),
        voters.rule,
        voters.members[0].config.lines,
        keep_members=voters.keep_members,
    )
