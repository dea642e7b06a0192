"""Fit the map on U and choose what experts look at (paper, Section 3, steps 4 to 6)."""

from dataclasses import asdict
from typing import Any, Final

import polars as pl

from quasarloop.artefacts import write_manifest
from quasarloop.campaign.layout import (
    EVERY_ROUND,
    Stream,
    engine_of,
    ledger_before,
    pool_store,
    seed_number,
)
from quasarloop.campaign.ledger import Origin, active_truth
from quasarloop.campaign.state import Context, Step
from quasarloop.options import common_options
from quasarloop.query import CHOSEN_NAME, WORKLIST_NAME
from quasarloop.query.options import KnownObjects, SelectionOptions, SomOptions
from quasarloop.query.select import select
from quasarloop.query.selection_files import (
    OUTLIERS_NAME,
    STEPS_NAME,
    with_sources,
    write_selection,
)
from quasarloop.query.som import CellGrid
from quasarloop.query.som_files import assign_store, read_cells, read_map, write_map
from quasarloop.query.som_parts import parts_of_shards
from quasarloop.query.som_train import fit_map
from quasarloop.query.votes_input import read_votes_table
from quasarloop.store import fingerprint
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
    "requested",
]

MAP_NAME: Final = "map.npz"
CELLS_NAME: Final = "cells.parquet"


def _fit(context: Context) -> None:
    folder, section = context.step_folder("map"), context.config.map
    if not context.config.selection.use_map:
        write_manifest(folder / "none.json", {"why": "selection.use_map is false"})
        return
    store = pool_store(context)
    trained = fit_map(
        parts_of_shards(store.shards),
        CellGrid(section.rows, section.columns),
        SomOptions(n_epochs=section.epochs),
        seed=seed_number(context, Stream.MAP),
        engine=engine_of(context),
        on_epoch=lambda epoch: context.report(f"map, epoch {epoch.number}: {epoch.describe()}"),
    )
    record = {"data": fingerprint(store), "training": trained.summary()}
    write_map(folder / MAP_NAME, trained.som, store.grid, record)
    assign_store(read_map(folder / MAP_NAME), store, folder / CELLS_NAME, engine=engine_of(context))


MAP = Step(
    "map",
    "Fit the map",
    _fit,
    lambda config: {
        **{key: value for key, value in asdict(config.map).items() if key != "percentile"},
        "use_map": config.selection.use_map,
        "seed": config.seed,
    },
    needs=("ingest",),
)


RANDOM_NAME: Final = "random_control.parquet"


def _run(context: Context) -> None:
    config, folder = context.config, context.step_folder("selection")
    section = config.selection
    truth = active_truth(ledger_before(context))
    cells = read_cells(context.step_folder("map") / CELLS_NAME) if section.use_map else None
    votes = read_votes_table(context.step_folder("votes"))
    chosen = select(
        votes,
        cells,
        truth=_known(truth),
        options=common_options(
            SelectionOptions,
            section,
            percentile=config.map.percentile,
            per_cell=section.per_cell or None,
            n_outliers=section.n_outliers if section.use_map else 0,
            seed=seed_number(context, Stream.SELECTION),
        ),
    )
    chosen = with_sources(chosen, pool_store(context))
    write_selection(chosen, folder)
    for step in chosen.steps:
        context.report(f"{step.left:>9} left; {step.removed} {step.sentence}")
    if len(chosen.chosen) < section.n_now:
        context.report(
            f"{len(chosen.chosen)} of {section.n_now} requested could be chosen; if cells of the "
            f"map gave their share, raise [selection] per_cell (now {section.per_cell})"
        )
    if config.evaluation.random_control:
        write_table(_random_labels(context, votes), folder / RANDOM_NAME, statistics=False)


def requested(context: Context) -> dict[Origin, pl.DataFrame]:
    """Read the objects of which this round requests labels, by what they are requested for."""
    folder = context.step_folder("selection")
    names = {Origin.LOOP: CHOSEN_NAME, Origin.OUTLIER: OUTLIERS_NAME}
    return {origin: pl.read_parquet(folder / name) for origin, name in names.items()}


def _random_labels(context: Context, votes: Any) -> pl.DataFrame:
    """Draw as many new labels at random as the loop has chosen up to this round."""
    first = active_truth(ledger_before(context), up_to_round=0)
    rounds = range(1, context.round_number + 1)
    folders = [context.step_folder("selection", number) for number in rounds]
    n = sum(len(pl.read_parquet(folder / CHOSEN_NAME)) for folder in folders)
    # The campaign's seed, not the round's: a later round's control contains the earlier one.
    seed = seed_number(context, Stream.RANDOM_CONTROL, round_number=EVERY_ROUND)
    options = SelectionOptions(n=n, score="random", seed=seed)
    return select(votes, None, truth=_known(first), options=options).chosen


def _known(truth: TruthTable) -> KnownObjects:
    return KnownObjects(truth.target_id, truth.object_id)


SELECTION = Step(
    "selection",
    "Choose spectra to inspect",
    _run,
    lambda config: {
        **asdict(config.selection),
        "percentile": config.map.percentile,
        "random_control": config.evaluation.random_control,
        "seed": config.seed,
    },
    needs=("ingest", "votes", "map"),
)
