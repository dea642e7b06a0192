"""Train: one network, given weights trained on, or an ensemble."""

from pathlib import Path
from typing import Any

from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.engine import Engine
from quasarloop.ensemble.manifest import Ensemble
from quasarloop.ensemble.options import EnsembleOptions
from quasarloop.ensemble.train import train_ensemble as train_members
from quasarloop.ensemble.train_heads import train_heads
from quasarloop.errors import WeightsError
from quasarloop.grid import WaveGrid
from quasarloop.network.config import NetworkConfig, preset
from quasarloop.network.labelled import label_spectra
from quasarloop.network.options import SHIPPED, FinetuneOptions, PresetOptions, TrainingOptions
from quasarloop.network.training import TrainingResult
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import Weights, read_weights, weights_path
from quasarloop.read import Sources
from quasarloop.truth import TruthTable

__all__ = ["finetune", "train", "train_ensemble"]


def train(
    spectra: Sources,
    truth: TruthTable,
    *,
    network: str | None = None,
    start: str | Path | Weights | None = None,
    options: TrainingOptions | None = None,
    validation: float = 0.0,
    seed: int = 0,
    **changes: Any,
) -> TrainingResult:
    """Train one network on labelled spectra: given weights further, or one from nothing.

    Args:
        spectra: as of `classify`.
        truth: labels by TARGETID.
        network: preset of a network that starts from nothing, for thousands of labels; None starts
            from weights.
        start: the weights, or their file; default: those that come with the package.
        options: how to train; default: `FinetuneOptions`, with which simulated spectra that must
            not be forgotten train, too; from nothing `TrainingOptions`.
        validation: share of objects to hold out and judge on, in every epoch.
        seed: same seed, same bytes.
        changes: of the preset, or of the network that starts, e.g. ``dropout=0.8``.

    Returns:
        Weights (`quasarloop.write_weights` saves them) and the history of epochs.

    Raises:
        TruthError: no spectrum has a label that may train.
        WeightsError: both a preset and weights to start from.
    """
    from quasarloop.network.finetune import train_from  # noqa: PLC0415 -- pydantic

    if network is not None and start is not None:
        raise WeightsError(
            f"network={network!r} trains from nothing, start={start!r} trains weights further; "
            "give one of them"
        )
    inputs = find_inputs(spectra)
    first: NetworkConfig | Weights
    if network is None:
        given = _weights(start, inputs.grid)
        first, grid = given.with_changes(**changes), given.config.grid
    else:
        first = preset(network, **{"grid": inputs.grid, **changes})
        grid = first.grid
    data, _ = label_spectra(iter_inputs(inputs, grid), truth)
    usual = FinetuneOptions() if network is None else TrainingOptions()
    rows = Rows.held_out(data, validation, seed)
    return train_from(first, data, options or usual, seed=seed, rows=rows)


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

    It is `train` without a preset; see there.
    """
    return train(spectra, truth, start=start, options=options, validation=validation, seed=seed)


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


def _weights(start: str | Path | Weights | None, grid: WaveGrid) -> Weights:
    return start if isinstance(start, Weights) else read_weights(weights_path(start, grid))
