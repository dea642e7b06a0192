"""Fit the map on U and find every spectrum's cell (paper, Section 3, step 4)."""

from collections.abc import Mapping
from typing import Any, Final

from quasarloop.artefacts import write_manifest
from quasarloop.campaign.config import CampaignConfig
from quasarloop.campaign.parts import engine_of, pool_store, seed_of
from quasarloop.campaign.state import Context, Step
from quasarloop.query.cells import assign_store
from quasarloop.query.som_file import fingerprint, read_map, write_map
from quasarloop.query.som_train import SomOptions, fit_map, parts_of_shards
from quasarloop.query.topology import CellGrid

__all__ = ["CELLS_NAME", "MAP", "MAP_NAME"]

MAP_NAME: Final = "map.npz"
CELLS_NAME: Final = "cells.parquet"


def _run(context: Context) -> None:
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


def _settings(config: CampaignConfig) -> Mapping[str, Any]:
    shape = {key: value for key, value in config.map.model_dump().items() if key != "percentile"}
    return {**shape, "use_map": config.selection.use_map, "seed": config.seed}


MAP = Step("map", "Fit the map", _run, _settings, needs=("ingest",))
