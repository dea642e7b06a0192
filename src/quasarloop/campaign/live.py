"""Ranking a round's objects anew while people label them, for the page's live queue."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from quasarloop.campaign.config_file import read_config
from quasarloop.campaign.layout import (
    Stream,
    features_of,
    seed_number,
    start_weights,
    thresholds_of,
    truth_before,
    truth_stores,
)
from quasarloop.campaign.people import present_round
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.selection import CHOSEN_NAME, requested
from quasarloop.ensemble.votes import VoteRule
from quasarloop.errors import CampaignError
from quasarloop.options import common_options
from quasarloop.query.choose import RANDOM
from quasarloop.query.options import SelectionOptions
from quasarloop.query.rerank import rerank
from quasarloop.truth import TruthTable, join_truth, match_truth

__all__ = ["RoundRanker", "live_ranker"]


def live_ranker(folder: str | Path) -> "RoundRanker":
    """Return what ranks the objects of a campaign's present round.

    Raises:
        CampaignError: no round waits for labels, its votes are not of heads, or all its objects
            were drawn at random.
    """
    context = present_round(Path(folder))
    if context.config.ensemble.kind != "heads":
        raise CampaignError(
            f"{folder}: whole networks vote, which take too long to train while people label; "
            'set [ensemble] kind = "heads", or leave out --live'
        )
    if not len(_by_score(context)):
        raise CampaignError(
            f"{folder}: all objects of this round were drawn at random, so that no score ranks "
            "them; leave out --live"
        )
    return RoundRanker(context.folder, context.round_number)


@dataclass(frozen=True)
class RoundRanker:
    """Ranks what a round chose by score, by heads on T and the labels so far.

    Objects drawn at random keep their places, and so do rejected outliers: a round that is closed
    early would else hold no fair sample. Cells of the map are not used again: what they reject
    was rejected when the round was chosen.

    Attributes:
        folder: the campaign.
        number: of the round.
    """

    folder: Path
    number: int

    def __call__(self, labels: TruthTable) -> list[tuple[int, float]]:
        """Return TARGETID and score, best first.

        Args:
            labels: final ones; those of other targets than the round's are left out.

        Raises:
            TruthError: labels of one class only, or too few.
        """
        context = Context(self.folder, read_config(self.folder).of_round(self.number), self.number)
        config = context.config
        weights = start_weights(context, config.ensemble.start)
        unused = {"pool"} if self.number == 1 else {"pool", "borrowed"}
        others = [name for name in truth_stores(context) if name not in unused]
        targets = _by_score(context)["TARGETID"].to_numpy()
        options = common_options(
            SelectionOptions,
            config.selection,
            n=len(targets),
            draw="top",
            random_share=0.0,
            per_cell=None,
            n_outliers=0,
        )
        chosen = rerank(
            features_of(context, weights),
            join_truth([truth_before(context), _of_pool(context, labels)]),
            labelled=[features_of(context, weights, name) for name in others],
            options=options,
            seed=seed_number(context, Stream.ENSEMBLE),
            targets=targets,
            rule=VoteRule(decision=thresholds_of(config).over(weights.thresholds)),
        ).chosen
        return list(chosen.select("TARGETID", "SCORE").iter_rows())


def _by_score(context: Context) -> pl.DataFrame:
    chosen = pl.read_parquet(context.step_folder("selection") / CHOSEN_NAME)
    return chosen.filter(pl.col("REASON") != RANDOM)


def _of_pool(context: Context, labels: TruthTable) -> TruthTable:
    """Return the labels of this round's targets, with the pool's object ids."""
    frames = requested(context).values()
    objects = pl.concat([frame.select("TARGETID", "OBJECT_ID") for frame in frames])
    row = match_truth(objects["TARGETID"].to_numpy(), labels)
    known = np.flatnonzero(row >= 0)
    return replace(labels[row[known]], object_id=objects["OBJECT_ID"].to_numpy()[known])
