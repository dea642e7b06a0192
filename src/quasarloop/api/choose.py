"""Choose what to look at next: a simulated sky, the map, the selection, ranking anew."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from quasarloop.engine import Engine, keep_workers
from quasarloop.ensemble.features import open_features
from quasarloop.query.options import KnownObjects, SelectionOptions, SomOptions
from quasarloop.query.rerank import rerank as rank_anew
from quasarloop.query.select import Selection
from quasarloop.query.select import select as choose
from quasarloop.query.som import CellGrid
from quasarloop.query.som_files import (
    CellsFile,
    assign_store,
    cells_name,
    read_map,
    write_map,
)
from quasarloop.query.som_parts import parts_of_shards
from quasarloop.query.som_train import fit_map
from quasarloop.query.votes_input import read_votes_table
from quasarloop.store import Store, fingerprint
from quasarloop.truth import TruthTable

__all__ = ["map_store", "rerank", "select", "simulate_sky"]


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
    from quasarloop.simulate.model import ModelSky  # noqa: PLC0415 -- pydantic, needed here only
    from quasarloop.simulate.observing import ObservingOptions  # noqa: PLC0415
    from quasarloop.simulate.population import Population  # noqa: PLC0415
    from quasarloop.simulate.survey import SurveyOptions, simulate_survey  # noqa: PLC0415

    sky = ModelSky(Population(), None)
    observing = ObservingOptions(exposures=exposures)
    plan = SurveyOptions(Path(out), seed=seed, source=sky, observing=observing)
    simulate_survey(plan, n_objects, engine=Engine(workers=workers))
    return Path(out) / "truth.csv"


def map_store(
    store: Store,
    out: str | Path,
    *,
    rows: int = CellGrid.n_rows,
    columns: int = CellGrid.n_columns,
    epochs: int = SomOptions.n_epochs,
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
    cells, options = CellGrid(rows, columns), SomOptions(n_epochs=epochs)
    with keep_workers(Engine(workers=workers)) as engine:
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


def rerank(
    features: str | Path,
    truth: TruthTable,
    cells: CellsFile | None = None,
    *,
    labelled: Sequence[str | Path] = (),
    options: SelectionOptions | None = None,
    seed: int = 0,
    **changes: Any,
) -> Selection:
    """Rank the unlabelled objects anew, in seconds, from all labels so far.

    Args:
        features: folder of the features that `vote` made, or ``store/features/…``.
        truth: labels so far, by TARGETID.
        cells: what `map_store` returned; None rejects no outliers.
        labelled: features of further stores, by the same weights, whose spectra have labels.
        options: what to choose.
        seed: same seed, same ranks.
        changes: of the options, e.g. ``n=100``.

    Returns:
        As of `select`: ``.chosen`` is a polars table, best first.

    Raises:
        DataFormatError: no features there.
        TruthError: labels of one class only, or too few.
    """
    chosen = replace(options or SelectionOptions(), **changes)
    others = [open_features(path) for path in labelled]
    own = open_features(features)
    return rank_anew(own, truth, cells, labelled=others, options=chosen, seed=seed)
