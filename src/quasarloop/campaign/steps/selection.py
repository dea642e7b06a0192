"""Fit the map on U and choose what experts look at (paper, Section 3, steps 4 to 6)."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from quasarloop.artefacts import write_manifest
from quasarloop.campaign.config import CampaignConfig
from quasarloop.campaign.layout import engine_of, ledger_before, pool_store, seed_of
from quasarloop.campaign.ledger import active_truth
from quasarloop.campaign.state import Context, Step
from quasarloop.query.options import KnownObjects, SelectionOptions, SomOptions
from quasarloop.query.select import select
from quasarloop.query.selection_files import (
    CHOSEN_NAME,
    OUTLIERS_NAME,
    STEPS_NAME,
    WORKLIST_NAME,
    with_sources,
    write_selection,
)
from quasarloop.query.som import CellGrid
from quasarloop.query.som_files import assign_store, fingerprint, read_cells, read_map, write_map
from quasarloop.query.som_train import fit_map, parts_of_shards
from quasarloop.query.votes_input import read_votes_table
from quasarloop.tables import write_table
from quasarloop.truth import TruthTable

__all__ = [
    "CELLS_NAME",
    "CHOSEN_NAME",
    "MAP",
    "MAP_NAME",
    "OUTLIERS_NAME",
    "RANDOM_NAME",
    "SELECTION",
    "STEPS_NAME",
    "WORKLIST_NAME",
]

MAP_NAME: Final = "map.npz"
CELLS_NAME: Final = "cells.parquet"


def _fit(context: Context) -> None:
    folder, settings = context.step_folder("map"), context.config.map
    if not context.config.selection.use_map:
        write_manifest(folder / "none.json", {"why": "selection.use_map is false"})
        return
    store = pool_store(context)
    trained = fit_map(
        parts_of_shards(store.shards),
        CellGrid(settings.rows, settings.columns),
        SomOptions(n_epochs=settings.epochs),
        seed=int(seed_of(context, 4).generate_state(1)[0]),
        engine=engine_of(context),
        on_epoch=lambda epoch: context.tell(f"map, epoch {epoch.number}: {epoch.describe()}"),
    )
    record = {"data": fingerprint(store), "training": trained.summary()}
    write_map(folder / MAP_NAME, trained.som, store.grid, record)
    assign_store(read_map(folder / MAP_NAME), store, folder / CELLS_NAME, engine=engine_of(context))


def _map_settings(config: CampaignConfig) -> Mapping[str, Any]:
    shape = {key: value for key, value in config.map.model_dump().items() if key != "percentile"}
    return {**shape, "use_map": config.selection.use_map, "seed": config.seed}


MAP = Step("map", "Fit the map", _fit, _map_settings, needs=("ingest",))


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
        write_table(_random_labels(context, votes), folder / RANDOM_NAME, statistics=False)


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
