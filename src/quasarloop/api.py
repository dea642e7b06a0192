"""What ``import quasarloop`` gives: single calls that do a whole step of the loop.

A campaign is `quasarloop.campaign.run.Campaign`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from quasarloop.catalogue.classify import (
    ClassifyOptions,
    catalogue_header,
    catalogue_thresholds,
    classify_spectra,
    find_inputs,
    iter_inputs,
    line_columns,
)
from quasarloop.columns import catalogue_columns
from quasarloop.engine import Engine, keep_workers
from quasarloop.ensemble.features import open_features
from quasarloop.ensemble.manifest import Ensemble
from quasarloop.ensemble.options import EnsembleOptions
from quasarloop.ensemble.train import train_ensemble as train_members
from quasarloop.evaluate.judge import Judgement, judge_catalogue
from quasarloop.grid import WaveGrid
from quasarloop.network.config import NetworkConfig, preset
from quasarloop.network.labelled import TrainingData, hold_out, label_spectra
from quasarloop.network.options import (
    RECOMMENDED,
    SHIPPED,
    FinetuneOptions,
    PredictOptions,
    PresetOptions,
    TrainingOptions,
)
from quasarloop.network.predict import Predictor
from quasarloop.network.training import TrainingResult
from quasarloop.network.training import train as train_network
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import Weights, read_weights, weights_path
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
from quasarloop.query.som_train import fit_map, parts_of_shards
from quasarloop.query.votes_input import read_votes_table
from quasarloop.read import Sources
from quasarloop.spectra import RebinnedSpectra
from quasarloop.store import Store, fingerprint
from quasarloop.truth import TruthTable

__all__ = [
    "classify",
    "finetune",
    "judge",
    "map_store",
    "rerank",
    "select",
    "simulate_sky",
    "train",
    "train_ensemble",
]


def classify(
    spectra: Sources,
    weights: str | Path | None = None,
    *,
    threshold: float | None = None,
    n_lines: int | None = None,
    high_z_min: float | None = None,
    device: str = PredictOptions.device,
) -> Table:
    """Find the quasars in survey files, folders of them, a store, or spectra in memory.

    Args:
        spectra: paths; or `Spectra` (`Spectra.from_arrays`), objects of specutils, a table,
            results of sparclclient; or a list of these.
        weights: weights file; None takes the one shipped with the package.
        threshold: a line counts if its confidence is strictly above; default: the weights'.
        n_lines: lines that must count; default: the weights'.
        high_z_min: lowest redshift of class HIGH_Z; default: the weights'.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Returns:
        One row per spectrum, in order, with units; the columns of ``quasarloop classify``, and
        its record in ``.meta``. For more spectra than fit into memory use
        `quasarloop.catalogue.classify_to_file`.

    Raises:
        DataFormatError: no spectra, or a broken file.
        WeightsError: weights that cannot be read.
    """
    options = ClassifyOptions(threshold, n_lines, high_z_min)
    path = weights_path(weights or SHIPPED)
    network = read_weights(path)
    predictor = Predictor(network, device=device)
    grid, columns = predictor.config.grid, catalogue_columns(predictor.config.lines)
    blocks = [classify_spectra(part, predictor, options) for part in _read(spectra, grid)]
    table = Table(
        {c.name: np.concatenate([b[c.name] for b in blocks]) for c in columns},
        meta=catalogue_header(path, network, options),
    )
    for column in columns:
        table[column.name].unit = column.unit or None
        table[column.name].description = column.text
    return table


def train(
    spectra: Sources,
    truth: TruthTable,
    *,
    network: str = PresetOptions.preset,
    start: str | Path | Weights | None = None,
    options: TrainingOptions | None = None,
    validation: float = 0.0,
    seed: int = 0,
    **changes: Any,
) -> TrainingResult:
    """Train one network on labelled spectra.

    Args:
        spectra: as of `classify`.
        truth: labels by TARGETID.
        network: preset.
        start: weights to start from, or their file, or ``"shipped"``; None starts from nothing.
            `finetune` has the options that suit few labels.
        options: how to train; default: what docs/training.md recommends.
        validation: share of objects to hold out and judge on, in every epoch.
        seed: same seed, same bytes.
        changes: of the preset, or of the network that starts, e.g. ``dropout=0.8``.

    Returns:
        Weights (`quasarloop.write_weights` saves them) and the history of epochs.

    Raises:
        TruthError: no spectrum has a label that may train.
    """
    first: NetworkConfig | Weights
    if start is None:
        first = preset(network, **changes)
    else:
        given = _weights(start)
        first = replace(given, config=replace(given.config, **changes))
    grid = first.config.grid if isinstance(first, Weights) else first.grid
    data, _ = label_spectra(_read(spectra, grid), truth)
    rows = _split(data, validation, seed)
    return train_network(data, first, options or RECOMMENDED, seed=seed, rows=rows)


def finetune(
    spectra: Sources,
    truth: TruthTable,
    *,
    start: str | Path | Weights = SHIPPED,
    options: FinetuneOptions | None = None,
    validation: float = 0.0,
    seed: int = 0,
) -> TrainingResult:
    """Train weights on, on a survey's labels and on simulated spectra they must not forget.

    Args:
        spectra: as of `classify`.
        truth: labels by TARGETID.
        start: weights to start from, or their file; default: those that come with the package.
        options: how to train, and how many spectra to simulate.
        validation: share of objects to hold out and judge on, in every epoch.
        seed: same seed, same bytes.

    Returns:
        Weights (`quasarloop.write_weights` saves them) and the history of epochs.

    Raises:
        TruthError: no spectrum has a label that may train.
    """
    from quasarloop.network.finetune import finetune as finetune_network  # noqa: PLC0415 -- pydantic

    weights = _weights(start)
    data, _ = label_spectra(_read(spectra, weights.config.grid), truth)
    rows = _split(data, validation, seed)
    return finetune_network(weights, data, options, seed=seed, rows=rows)


def _weights(start: str | Path | Weights) -> Weights:
    return start if isinstance(start, Weights) else read_weights(weights_path(start))


def _split(data: TrainingData, validation: float, seed: int) -> Rows | None:
    if not validation:
        return None
    held = hold_out(data, validation, seed)
    return Rows(np.flatnonzero(~held), np.flatnonzero(held))


def _read(spectra: Sources, grid: WaveGrid) -> Iterator[RebinnedSpectra]:
    return iter_inputs(find_inputs(spectra), grid)


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


def train_ensemble(
    spectra: Sources,
    truth: TruthTable,
    out: str | Path,
    *,
    networks: int,
    network: str = PresetOptions.preset,
    options: TrainingOptions | None = None,
    seed: int = 0,
    workers: int = 1,
    **changes: Any,
) -> Ensemble:
    """Train networks on bootstrap samples of the labelled objects.

    Args:
        spectra: as of `classify`.
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
    data, _ = label_spectra(_read(spectra, config.grid), truth)
    settings = EnsembleOptions(networks, seed=seed, network=config, training=options or RECOMMENDED)
    return train_members(data, settings, out, engine=Engine(workers=workers))


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


def judge(
    catalogue: Table | Mapping[str, Any],
    truth: TruthTable,
    *,
    threshold: float | None = None,
    n_lines: int | None = None,
) -> Judgement:
    """Judge a catalogue: ``.completeness``, ``.purity``, redshift errors, threshold curve.

    Args:
        catalogue: what `classify` returned.
        truth: secure labels by TARGETID.
        threshold: confidence of the quoted numbers; default: the one the catalogue was made with.
        n_lines: lines that must count; default likewise.

    Raises:
        TruthError: no row has a secure label.
    """
    names = catalogue.colnames if isinstance(catalogue, Table) else list(catalogue)
    columns = {name: np.asarray(catalogue[name]) for name in names}
    meta = catalogue.meta if isinstance(catalogue, Table) else {}
    thresholds = catalogue_thresholds(meta).replaced(threshold, n_lines)
    return judge_catalogue(columns, truth, lines=line_columns(columns), thresholds=thresholds)
