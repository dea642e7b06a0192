"""Classify spectra, and judge the catalogue that comes of it.

Light to import: no campaign, no figures; what judges is imported when it is used.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from quasarloop.catalogue.classify import (
    ClassifyOptions,
    catalogue_header,
    catalogue_thresholds,
    classify_spectra,
    line_columns,
)
from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.columns import catalogue_columns
from quasarloop.grid import LOG_GRID, WaveGrid
from quasarloop.network.options import SHIPPED, PredictOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import Weights, read_weights, weights_path
from quasarloop.read import Sources
from quasarloop.spectra import RebinnedSpectra
from quasarloop.truth import TruthTable

if TYPE_CHECKING:
    from quasarloop.evaluate.judge import Judgement

__all__ = ["catalogue_of", "classify", "judge", "network_of"]


def classify(
    spectra: Sources,
    weights: str | Path | Weights = SHIPPED,
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
        weights: a weights file, or `Weights`; default: those that come with the package
            for the spectra's grid; ``"shipped-linear"`` chooses the linear grid for files.
        threshold: a line counts if its confidence is strictly above; default: the weights'.
        n_lines: lines that must count; default: the weights'.
        high_z_min: lowest redshift of class HIGH_Z; default: the weights'.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Returns:
        One row per spectrum, in order, with units; the columns of ``quasarloop classify``, and
        in ``.meta`` the weights, their checksum and the options. For more spectra than fit into
        memory use `quasarloop.catalogue.classify_to_file`.

    Raises:
        DataFormatError: no spectra, or a broken file.
        WeightsError: weights that cannot be read.
    """
    options = ClassifyOptions(threshold, n_lines, high_z_min)
    inputs = find_inputs(spectra)
    path, network = network_of(weights, inputs.grid)
    predictor = Predictor(network, device=device)
    parts = iter_inputs(inputs, network.config.grid)
    return catalogue_of(parts, predictor, path, network, options)


def network_of(
    weights: str | Path | Weights, grid: WaveGrid = LOG_GRID
) -> tuple[Path | None, Weights]:
    """Return the file of weights for a grid, None for weights in memory, and what it contains."""
    if isinstance(weights, Weights):
        return None, weights
    path = weights_path(weights, grid)
    return path, read_weights(path)


def catalogue_of(
    parts: Iterable[RebinnedSpectra],
    predictor: Predictor,
    path: Path | None,
    network: Weights,
    options: ClassifyOptions | None = None,
) -> Table:
    """Classify spectra on the network's grid; arguments as of `classify_spectra`."""
    chosen = options or ClassifyOptions()
    columns = catalogue_columns(network.config.lines)
    blocks = [classify_spectra(part, predictor, chosen) for part in parts]
    table = Table(
        {c.name: np.concatenate([b[c.name] for b in blocks]) if blocks else [] for c in columns},
        meta=catalogue_header(path, network, chosen),
    )
    for column in columns:
        table[column.name].unit = column.unit or None
        table[column.name].description = column.text
    return table


def judge(
    catalogue: Table | Mapping[str, Any],
    truth: TruthTable,
    *,
    threshold: float | None = None,
    n_lines: int | None = None,
) -> "Judgement":
    """Judge a catalogue: ``.completeness``, ``.purity``, redshift errors, threshold curve.

    Args:
        catalogue: what `classify` returned.
        truth: secure labels by TARGETID.
        threshold: confidence of the quoted numbers; default: the one the catalogue was made with.
        n_lines: lines that must count; default likewise.

    Raises:
        TruthError: no row has a secure label.
    """
    from quasarloop.evaluate.judge import judge_catalogue  # noqa: PLC0415 -- seconds of imports

    names = catalogue.colnames if isinstance(catalogue, Table) else list(catalogue)
    columns = {name: np.asarray(catalogue[name]) for name in names}
    meta = catalogue.meta if isinstance(catalogue, Table) else {}
    thresholds = catalogue_thresholds(meta).replaced(threshold, n_lines)
    return judge_catalogue(columns, truth, lines=line_columns(columns), thresholds=thresholds)
