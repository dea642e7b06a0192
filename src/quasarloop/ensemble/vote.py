"""Voting: every member is applied to every spectrum of a store, piece by piece."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from quasarloop.engine import Engine, run_tasks
from quasarloop.ensemble.manifest import Ensemble, load_members, member_thresholds
from quasarloop.ensemble.options import VoteOptions
from quasarloop.ensemble.pieces import Piece, cut_pieces, read_piece
from quasarloop.ensemble.votes import MemberFinds, VoteRule
from quasarloop.ensemble.votes_folder import PieceVotes, Votes, VotesWriter, piece_votes
from quasarloop.errors import TaskError
from quasarloop.network.decode import decode, emission_lines
from quasarloop.network.model import pick_device
from quasarloop.network.predict import Predictor
from quasarloop.quality import UNUSABLE
from quasarloop.spectra import RebinnedSpectra
from quasarloop.store import Store

__all__ = [
    "Voters",
    "apply_members",
    "on_device",
    "vote",
    "vote_rule",
]


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


def apply_members(
    spectra: RebinnedSpectra, members: Sequence[Predictor], rule: VoteRule
) -> MemberFinds:
    """Predict every spectrum with every member; unusable spectra have no prediction (NaN)."""
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
