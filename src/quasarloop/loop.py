"""The steps of the loop as single calls, for notebooks; the rooms below hold all choices."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.catalogue.reader import line_columns
from quasarloop.classes import CONFIDENCE_THRESHOLD
from quasarloop.engine import Engine
from quasarloop.ensemble.manifest import Ensemble
from quasarloop.ensemble.train import EnsembleSettings
from quasarloop.ensemble.train import train_ensemble as train_members
from quasarloop.evaluate.judge import Judgement, judge_catalogue
from quasarloop.front_door import Paths, listed
from quasarloop.network.labelled import label_spectra
from quasarloop.network.options import RECOMMENDED, TrainingOptions
from quasarloop.network.presets import preset
from quasarloop.query.cells import CellsFile, assign_store, cells_name
from quasarloop.query.options import KnownObjects, SelectionOptions
from quasarloop.query.select import Selection
from quasarloop.query.select import select as choose
from quasarloop.query.som_file import fingerprint, read_map, write_map
from quasarloop.query.som_parts import parts_of_shards
from quasarloop.query.som_train import SomOptions, fit_map
from quasarloop.query.topology import CellGrid
from quasarloop.query.votes_input import read_votes_table
from quasarloop.simulate.model_sky import ModelSky
from quasarloop.simulate.observing import Observing
from quasarloop.simulate.population import Population
from quasarloop.simulate.sky import plan_survey, simulate_survey
from quasarloop.store import Store
from quasarloop.truth import TruthTable

__all__ = ["judge", "map_store", "select", "simulate_sky", "train_ensemble"]


def simulate_sky(
    out: str | Path, n_objects: int, *, seed: int = 0, exposures: int = 1, workers: int = 1
) -> Path:
    """Make DESI files of a sky whose every object is known (`quasarloop simulate`).

    Args:
        out: folder; tiles already there are kept.
        n_objects: fibres.
        seed: same seed, same bytes.
        exposures: observe every object so often.
        workers: processes.

    Returns:
        The truth table.
    """
    sky = ModelSky(Population(), None)
    plan = plan_survey(
        Path(out),
        seed=seed,
        source=sky,
        recipe=sky.recipe(),
        observing=Observing().model_copy(update={"exposures": exposures}),
    )
    simulate_survey(plan, n_objects, engine=Engine(workers=workers))
    return Path(out) / "truth.csv"


def train_ensemble(
    paths: Paths,
    truth: TruthTable,
    out: str | Path,
    *,
    networks: int,
    network: str = "green2025",
    options: TrainingOptions | None = None,
    seed: int = 0,
    workers: int = 1,
    **changes: Any,
) -> Ensemble:
    """Train networks on bootstrap samples of the labelled objects.

    Args:
        paths: survey files, folders of them, or a store.
        truth: labels by TARGETID.
        out: folder of the ensemble; members already there are kept.
        networks: how many.
        network: preset.
        options: how each trains; default: what docs/training.md recommends.
        seed: same seed, same bytes, for any number of workers.
        workers: processes.
        changes: of the preset, e.g. ``n_filters=25``.

    Raises:
        TruthError: no spectrum has a label that may train.
        OutputError: the folder holds another ensemble.
    """
    config = preset(network, **changes)
    data, _ = label_spectra(iter_inputs(find_inputs(listed(paths)), config.grid), truth)
    settings = EnsembleSettings(
        networks, seed=seed, network=config, training=options or RECOMMENDED
    )
    return train_members(data, settings, out, engine=Engine(workers=workers))


def map_store(
    store: Store,
    out: str | Path,
    *,
    rows: int = 45,
    columns: int = 45,
    epochs: int = 30,
    seed: int = 0,
    workers: int = 1,
) -> CellsFile:
    """Train a self-organizing map on a store, and find every spectrum's cell.

    Args:
        store: the spectra.
        out: the map, ``.npz``; the cells go beside it.
        rows: cells along one side of the torus.
        columns: cells along the other.
        epochs: passes over the store.
        seed: same seed, same bytes.
        workers: processes.

    Raises:
        OutputError: the map cannot be written.
    """
    engine, options = Engine(workers=workers), SomOptions(n_epochs=epochs)
    cells = CellGrid(rows, columns)
    made = fit_map(parts_of_shards(store.shards), cells, options, seed=seed, engine=engine)
    record = {"data": fingerprint(store), "seed": seed, "training": made.summary()}
    write_map(out, made.som, store.grid, record)
    return assign_store(read_map(out), store, cells_name(out), engine=engine)


def select(
    votes: str | Path,
    cells: CellsFile | None = None,
    *,
    truth: TruthTable | None = None,
    options: SelectionOptions | None = None,
    **changes: Any,
) -> Selection:
    """Choose the objects whose labels would teach the networks most.

    Args:
        votes: folder that `vote` wrote.
        cells: what `map_store` returned; None rejects no outliers.
        truth: objects that have labels.
        options: what to choose.
        changes: of the options, e.g. ``n=100``.

    Returns:
        ``.chosen`` is a polars table, best first; ``.steps`` what became of all others.

    Raises:
        SelectionError: options that do not fit together, or votes and map of different stores.
    """
    known = None if truth is None else KnownObjects(truth.target_id, truth.object_id)
    chosen = replace(options or SelectionOptions(), **changes)
    return choose(read_votes_table(votes), cells, truth=known, options=chosen)


def judge(
    catalogue: Table | Mapping[str, Any],
    truth: TruthTable,
    *,
    threshold: float = CONFIDENCE_THRESHOLD,
) -> Judgement:
    """Judge a catalogue: ``.completeness``, ``.purity``, redshift errors, threshold curve.

    Args:
        catalogue: what `classify` returned.
        truth: secure labels by TARGETID.
        threshold: confidence of the quoted numbers.

    Raises:
        TruthError: no row has a secure label.
    """
    names = catalogue.colnames if isinstance(catalogue, Table) else list(catalogue)
    columns = {name: np.asarray(catalogue[name]) for name in names}
    return judge_catalogue(columns, truth, lines=line_columns(columns), threshold=threshold)
