"""Ranking a round's objects anew while people label them, for the page's live queue."""

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.campaign.layout import (
    Stream,
    features_of,
    seed_number,
    start_weights,
    thresholds_of,
    truth_before,
    truth_stores,
)
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.selection import requested
from quasarloop.ensemble.votes import VoteRule
from quasarloop.options import common_options
from quasarloop.query.options import SelectionOptions
from quasarloop.query.rerank import rerank
from quasarloop.truth import TruthTable, join_truth, match_truth

__all__ = ["rank_round"]


def rank_round(
    context: Context, targets: NDArray[np.int64], labels: TruthTable
) -> list[tuple[int, float]]:
    """Return TARGETID and score of a round's objects, best first.

    Args:
        context: of the round.
        targets: (n,) what to rank.
        labels: final ones; those of other targets than the round's are left out.

    Raises:
        TruthError: labels of one class only, or too few.
    """
    config = context.config
    weights = start_weights(context, config.ensemble.start)
    unused = {"pool"} if context.round_number == 1 else {"pool", "borrowed"}
    others = [name for name in truth_stores(context) if name not in unused]
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


def _of_pool(context: Context, labels: TruthTable) -> TruthTable:
    """Return the labels of this round's targets, with the pool's object ids."""
    frames = requested(context).values()
    objects = pl.concat([frame.select("TARGETID", "OBJECT_ID") for frame in frames])
    row = match_truth(objects["TARGETID"].to_numpy(), labels)
    known = np.flatnonzero(row >= 0)
    return replace(labels[row[known]], object_id=objects["OBJECT_ID"].to_numpy()[known])
