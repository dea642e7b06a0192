"""Voting: every member is applied to every spectrum of a store, piece by piece.

Whole networks read the spectra; heads read the features that one pass of their trunk left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit

from quasarloop.artefacts import locked_folder
from quasarloop.engine import Engine, keep_workers
from quasarloop.ensemble.features import FeaturesFolder, make_features
from quasarloop.ensemble.heads import Heads, deciding_logit
from quasarloop.ensemble.manifest import (
    Ensemble,
    check_members,
    load_heads,
    load_members,
    member_thresholds,
)
from quasarloop.ensemble.options import VoteOptions
from quasarloop.ensemble.pieces import PIECE_ROWS, Piece, piece_rows_on, read_piece
from quasarloop.ensemble.shard_tables import identity_columns
from quasarloop.ensemble.votes import MemberFinds, VoteRule
from quasarloop.ensemble.votes_folder import Votes, open_votes, piece_votes, votes_writer
from quasarloop.network.config import NetworkConfig
from quasarloop.network.decode import emission_lines
from quasarloop.network.device import place_tasks
from quasarloop.network.features import Features
from quasarloop.network.predict import Predictor, finds_together
from quasarloop.quality import UNUSABLE
from quasarloop.spectra import RebinnedSpectra
from quasarloop.store import Store

__all__ = [
    "HeadVoters",
    "Voters",
    "apply_heads",
    "apply_members",
    "vote",
    "vote_rule",
]


@dataclass(frozen=True)
class Voters:
    """Whole networks that vote: every worker reads them from their files, once.

    Attributes:
        ensemble: where they are.
        device: where they predict.
        rule: thresholds.
        keep_members: also make the record of members.
        tf32: as of `Predictor`.
    """

    ensemble: Ensemble
    device: str
    rule: VoteRule
    keep_members: bool
    tf32: bool = False

    @cached_property
    def members(self) -> tuple[Predictor, ...]:
        """The networks, ready to predict, in the ensemble's order."""
        members = load_members(self.ensemble)
        return tuple(Predictor(one, self.device, tf32=self.tf32) for one in members)

    @property
    def config(self) -> NetworkConfig:
        """The networks' configuration."""
        return self.ensemble.config

    def predict(self, piece: Piece) -> tuple[dict[str, Any], MemberFinds]:
        """Predict the spectra of a piece, whose names come first, with every member."""
        spectra = read_piece(piece)
        place = piece.shard_names(), piece.shard_rows()
        identity = identity_columns(spectra.keys, spectra.flags, *place)
        return identity, apply_members(spectra, self.members, self.rule)


@dataclass(frozen=True)
class HeadVoters:
    """Heads that vote: what every worker needs, sent to it once.

    Attributes:
        features: of the store.
        heads: in the ensemble's order.
        config: the trunk's configuration.
        rule, keep_members: as of `Voters`.
    """

    features: FeaturesFolder
    heads: Heads
    config: NetworkConfig
    rule: VoteRule
    keep_members: bool

    def predict(self, piece: Piece) -> tuple[dict[str, Any], MemberFinds]:
        """Predict the spectra of a piece, whose names come first, with every head."""
        identity, features = self.features.read(piece)
        return identity, apply_heads(features, self.heads, self.config, self.rule)


def vote(
    ensemble: Ensemble,
    store: Store,
    out: str | Path,
    *,
    options: VoteOptions | None = None,
    features: str | Path | None = None,
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
        features: folder for the features that heads vote with; None takes that beside the store's
            shards. They are made if they are not there.
        engine: where to run.
        on_progress: called with the number of spectra done since the last call, also for those
            that were there already.

    Raises:
        GridError: store and ensemble have different grids.
        OutputError: the folder holds other votes, or other features, or another command works
            there.
        TaskError: some piece failed for good; the rest is written.
        WeightsError: no such device on this machine; or members with different thresholds, or one
            that is missing or has changed.
    """
    chosen = options or VoteOptions()
    device, where = place_tasks(chosen.device, engine)
    rule = vote_rule(ensemble, chosen)
    with locked_folder(out), keep_workers(where) as kept:
        writer = votes_writer(ensemble, store, Path(out), rule, chosen, device)
        voters: Voters | HeadVoters
        piece_rows = PIECE_ROWS
        if ensemble.kind == "heads":
            trunk, heads = load_heads(ensemble)
            made = make_features(
                trunk,
                store,
                features,
                high_z_min=rule.decision.high_z_min,
                device=device,
                engine=kept,
                on_progress=on_progress,  # the pass is nearly all of the work
            )
            voters = HeadVoters(made, heads, trunk.config, rule, chosen.keep_members)
        else:
            writer.on_progress = on_progress
            check_members(ensemble)
            piece_rows = piece_rows_on(device)
            voters = Voters(ensemble, device, rule, chosen.keep_members, chosen.tf32)
        writer.fill(_vote_on_piece, voters, kept, piece_rows)
        writer.finish(thresholds_from=rule.decision.origins)
        return open_votes(out)


def vote_rule(ensemble: Ensemble, options: VoteOptions) -> VoteRule:
    """Return the thresholds of a vote: the members', with those given in their place.

    Raises:
        WeightsError: the members have different thresholds, and none is given.
    """
    return VoteRule(options.counted_at, member_thresholds(ensemble, options), options.red_end)


def apply_members(
    spectra: RebinnedSpectra, members: Sequence[Predictor], rule: VoteRule
) -> MemberFinds:
    """Predict every spectrum with every member; unusable spectra have no prediction (NaN)."""
    n = len(spectra)
    usable = np.flatnonzero((spectra.flags & UNUSABLE) == 0)
    confidence = np.full((len(members), n), np.nan, dtype=np.float32)
    z_best = np.full((len(members), n), np.nan)
    line_sum = np.zeros((len(usable), members[0].config.n_lines))
    flux = members[0].upload(spectra.flux[usable])
    all_finds = finds_together(members, flux, rule.red_end) if len(usable) else ()
    for index, finds in enumerate(all_finds):
        best = emission_lines(finds, members[index].config, rule.decision.n_lines)
        confidence[index, usable], z_best[index, usable] = best.confidence, best.z
        line_sum += finds.confidence  # float64, in the order of members
    line_mean = np.full((n, line_sum.shape[1]), np.nan)
    line_mean[usable] = line_sum / len(members)
    return MemberFinds(confidence, z_best, line_mean)


def apply_heads(
    features: Features, heads: Heads, config: NetworkConfig, rule: VoteRule
) -> MemberFinds:
    """Predict every spectrum with every head; rows without features have no prediction (NaN).

    The numbers are those of the networks that `fold_head` gives, to the precision of float32.
    """
    shift = heads.shift(features.hidden).astype(np.float32)  # (m, n)
    gain = heads.table[:, :1].astype(np.float32)
    line_mean = expit(features.line_logit.astype(np.float64))  # that of the BAL finders stays
    for line in config.emission_index:
        confidence = _confidence(gain * features.line_logit[:, line] + shift)
        line_mean[:, line] = confidence.mean(axis=0, dtype=np.float64)
    deciding = deciding_logit(features, config, rule.decision.n_lines).astype(np.float32)
    confidence = _confidence(gain * deciding + shift)
    return MemberFinds(confidence, features.z_best[None], line_mean, features.p_high)


def _confidence(logit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sigmoid; numpy's exp is several times as fast as scipy's expit."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-logit)))


def _vote_on_piece(piece: Piece, voters: Voters | HeadVoters) -> list[pa.Table]:
    identity, finds = voters.predict(piece)
    lines = voters.config.lines
    return piece_votes(identity, finds, voters.rule, lines, keep_members=voters.keep_members)
