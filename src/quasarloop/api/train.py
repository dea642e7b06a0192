"""Train: one network, given weights trained on, or an ensemble."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.engine import Engine
from quasarloop.ensemble.manifest import Ensemble
from quasarloop.ensemble.options import EnsembleOptions
from quasarloop.ensemble.train import train_ensemble as train_members
from quasarloop.ensemble.train_heads import train_heads
from quasarloop.errors import WeightsError
from quasarloop.grid import WaveGrid
from quasarloop.network.config import NetworkConfig, preset
from quasarloop.network.labelled import TrainingData, hold_out, label_spectra, warn_if_few
from quasarloop.network.options import SHIPPED, FinetuneOptions, PresetOptions, TrainingOptions
from quasarloop.network.training import TrainingResult
from quasarloop.network.training import train as train_network
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import Weights, read_weights, weights_path
from quasarloop.read import Sources
from quasarloop.truth import TruthTable

__all__ = ["finetune", "train", "train_ensemble"]


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
        start: weights to start from, or their file, or ``"shipped"``; None starts from nothing,
            for thousands of labels. With fewer take `finetune`, which begins from weights and also
            trains on simulated spectra that must not be forgotten.
        options: how to train; default: `TrainingOptions`, from given weights `FinetuneOptions`.
        validation: share of objects to hold out and judge on, in every epoch.
        seed: same seed, same bytes.
        changes: of the preset, or of the network that starts, e.g. ``dropout=0.8``.

    Returns:
        Weights (`quasarloop.write_weights` saves them) and the history of epochs.

    Raises:
        TruthError: no spectrum has a label that may train.
    """
    inputs = find_inputs(spectra)
    first: NetworkConfig | Weights
    if start is None:
        first = preset(network, **{"grid": inputs.grid, **changes})
    else:
        given = _weights(start, inputs.grid)
        first = replace(given, config=replace(given.config, **changes))
    grid = first.config.grid if isinstance(first, Weights) else first.grid
    data, _ = label_spectra(iter_inputs(inputs, grid), truth)
    rows = _split(data, validation, seed)
    if start is None:
        warn_if_few(len(data.usable_rows if rows is None else rows.train))
    usual = TrainingOptions() if start is None else FinetuneOptions()
    return train_network(data, first, options or usual, seed=seed, rows=rows)


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

    inputs = find_inputs(spectra)
    weights = _weights(start, inputs.grid)
    data, _ = label_spectra(iter_inputs(inputs, weights.config.grid), truth)
    rows = _split(data, validation, seed)
    return finetune_network(weights, data, options, seed=seed, rows=rows)


def train_ensemble(
    spectra: Sources,
    truth: TruthTable,
    out: str | Path,
    *,
    networks: int = 0,
    heads: int = 0,
    start: str | Path | Weights = SHIPPED,
    network: str = PresetOptions.preset,
    options: TrainingOptions | None = None,
    seed: int = 0,
    workers: int = 1,
    **changes: Any,
) -> Ensemble:
    """Train networks, or linear heads on one, on bootstrap samples of the labelled objects.

    Args:
        spectra: as of `classify`.
        truth: labels by TARGETID.
        out: folder of the ensemble; members already there are kept.
        networks: how many, from nothing; or
        heads: how many, in seconds, on the weights `start`. All below but `seed` is of networks.
        start: the weights, or their file; default: those that come with the package.
        network: preset.
        options: how each trains; default: `TrainingOptions`.
        seed: same seed, same bytes, for any number of workers.
        workers: processes.
        changes: of the preset, e.g. ``n_filters=25``.

    Raises:
        TruthError: no spectrum has a label that may train.
        OutputError: the folder holds another ensemble.
        WeightsError: neither networks nor heads, or both.
    """
    if bool(networks) == bool(heads):
        raise WeightsError(f"{networks} networks and {heads} heads; give the number of one of them")
    inputs = find_inputs(spectra)
    if heads:
        trunk = _weights(start, inputs.grid)
        data, _ = label_spectra(iter_inputs(inputs, trunk.config.grid), truth)
        return train_heads(data, trunk, out, n_heads=heads, seed=seed)
    config = preset(network, **{"grid": inputs.grid, **changes})
    data, _ = label_spectra(iter_inputs(inputs, config.grid), truth)
    settings = EnsembleOptions(
        networks, seed=seed, network=config, training=options or TrainingOptions()
    )
    return train_members(data, settings, out, engine=Engine(workers=workers))


def _weights(start: str | Path | Weights, grid: WaveGrid) -> Weights:
    return start if isinstance(start, Weights) else read_weights(weights_path(start, grid))


def _split(data: TrainingData, validation: float, seed: int) -> Rows | None:
    if not validation:
        return None
    held = hold_out(data, validation, seed)
    return Rows(np.flatnonzero(~held), np.flatnonzero(held))
