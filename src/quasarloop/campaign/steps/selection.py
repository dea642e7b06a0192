"""Choose what people shall look at (paper, Section 3, steps 4 to 6)."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from quasarloop.artefacts import write_atomically
from quasarloop.campaign.config import CampaignConfig
from quasarloop.campaign.ledger import active_truth
from quasarloop.campaign.parts import ledger_before, pool_store, seed_of
from quasarloop.campaign.state import Context, Step
from quasarloop.campaign.steps.map import CELLS_NAME
from quasarloop.query.cells import read_cells
from quasarloop.query.options import KnownObjects, SelectionOptions
from quasarloop.query.select import select
from quasarloop.query.selection_files import (
    CHOSEN_NAME,
    OUTLIERS_NAME,
    STEPS_NAME,
    WORKLIST_NAME,
    with_sources,
    write_selection,
)
from quasarloop.query.votes_input import read_votes_table
from quasarloop.truth import TruthTable

__all__ = [
    "CHOSEN_NAME",
    "OUTLIERS_NAME",
    "RANDOM_NAME",
    "SELECTION",
    "STEPS_NAME",
    "WORKLIST_NAME",
]

RANDOM_NAME: Final = "random_control.parquet"


def _run(context: Context) -> None:
    config, folder = context.config, context.step_folder("selection")
    settings = config.selection
    truth = active_truth(ledger_before(context))
    cells = read_cells(context.step_folder("map") / CELLS_NAME) if settings.use_map else None
    votes = read_votes_table(context.step_folder("votes"))
    chosen = select(
        votes,
        cells,
        truth=_known(truth),
        options=SelectionOptions(
            n=settings.n_now,
            score=settings.score,
            draw=settings.draw,
            random_share=settings.random_share_now,
            percentile=config.map.percentile,
            per_cell=settings.per_cell or None,
            n_outliers=settings.n_outliers if settings.use_map else 0,
            seed=_seed(context, 5),
        ),
    )
    chosen = with_sources(chosen, pool_store(context))
    write_selection(chosen, folder)
    for step in chosen.steps:
        context.tell(f"{step.left:>9} left; {step.removed} {step.sentence}")
    if len(chosen.chosen) < settings.n_now:
        context.tell(
            f"{len(chosen.chosen)} of {settings.n_now} asked for could be chosen; if cells of the "
            f"map gave their share, raise [selection] per_cell (now {settings.per_cell})"
        )
    partly = chosen.chosen.filter(pl.col("N_ASKED") < pl.col("N_NETWORKS"))
    if len(partly):
        context.tell(f"{len(partly)} of the chosen were ranked by a part of the members only")
    if config.evaluation.random_control:
        _write(_random_labels(context, votes), folder / RANDOM_NAME)


def _random_labels(context: Context, votes: Any) -> pl.DataFrame:
    """Draw as many new labels at random as the loop has chosen up to this round."""
    first = active_truth(ledger_before(context), up_to_round=0)
    rounds = range(1, context.round_number + 1)
    folders = [context.step_folder("selection", number) for number in rounds]
    n = sum(len(pl.read_parquet(folder / CHOSEN_NAME)) for folder in folders)
    # The campaign's seed, not the round's: a later round's control contains the earlier one.
    seed = int(np.random.SeedSequence((context.config.seed, 0, 6)).generate_state(1)[0])
    options = SelectionOptions(n=n, score="random", seed=seed)
    return select(votes, None, truth=_known(first), options=options).chosen


def _known(truth: TruthTable) -> KnownObjects:
    return KnownObjects(truth.target_id, truth.object_id)


def _write(frame: pl.DataFrame, path: Any) -> None:
    with write_atomically(path) as temporary:
        frame.write_parquet(temporary, compression="zstd", statistics=False)


def _seed(context: Context, word: int) -> int:
    return int(seed_of(context, word).generate_state(1)[0])


def _settings(config: CampaignConfig) -> Mapping[str, Any]:
    return {
        **config.selection.model_dump(),
        "percentile": config.map.percentile,
        "random_control": config.evaluation.random_control,
        "seed": config.seed,
    }


SELECTION = Step(
    "selection",
    "Choose spectra to inspect",
    _run,
    _settings,
    needs=("ingest", "votes", "map"),
)
