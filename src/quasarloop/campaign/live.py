"""Ranking a round's objects anew while people label them, for the page's live queue."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from quasarloop.campaign.config_file import read_config
from quasarloop.campaign.layout import (
    Stream,
    device_of,
    ledger_before,
    seed_number,
    start_weights,
    store_folder,
    thresholds_of,
)
from quasarloop.campaign.ledger import active_truth
from quasarloop.campaign.people import present_round
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.selection import CHOSEN_NAME, OUTLIERS_NAME
from quasarloop.ensemble.features import make_features
from quasarloop.ensemble.votes import VoteRule
from quasarloop.errors import CampaignError
from quasarloop.options import common_options
from quasarloop.query.choose import RANDOM
from quasarloop.query.options import SelectionOptions
from quasarloop.query.rerank import rerank
from quasarloop.store import open_store
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
        config, first = context.config, self.number == 1
        weights = start_weights(context, config.ensemble.start)
        decision = thresholds_of(config).over(weights.thresholds)
        names = ["pool"]
        names += ["labelled"] if config.data.labelled else []
        names += ["borrowed"] if first and config.data.borrowed else []
        pool, *others = (
            make_features(
                weights,
                open_store(store_folder(context, name)),
                high_z_min=decision.high_z_min,
                device=device_of(context),
            )
            for name in names
        )
        truth = active_truth(ledger_before(context), with_borrowed=first)
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
            pool,
            join_truth([truth, _of_pool(context, labels)]),
            labelled=others,
            options=options,
            seed=seed_number(context, Stream.ENSEMBLE),
            targets=targets,
            rule=VoteRule(decision=decision),
        ).chosen
        return list(chosen.select("TARGETID", "SCORE").iter_rows())


def _by_score(context: Context) -> pl.DataFrame:
    chosen = pl.read_parquet(context.step_folder("selection") / CHOSEN_NAME)
    return chosen.filter(pl.col("REASON") != RANDOM)


def _of_pool(context: Context, labels: TruthTable) -> TruthTable:
    """Return the labels of this round's targets, with the pool's object ids."""
    folder, columns = context.step_folder("selection"), ["TARGETID", "OBJECT_ID"]
    requested = pl.concat(
        [pl.read_parquet(folder / name, columns=columns) for name in (CHOSEN_NAME, OUTLIERS_NAME)]
    )
    row = match_truth(requested["TARGETID"].to_numpy(), labels)
    known = np.flatnonzero(row >= 0)
    return replace(labels[row[known]], object_id=requested["OBJECT_ID"].to_numpy()[known])
