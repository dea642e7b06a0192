"""Weights that exist already, made better for a survey: with labels, or without any.

`finetune` trains the whole network on. A few hundred labels, above all chosen ones, make it forget
what it knew of easy spectra; simulated spectra of known truth, rehearsed beside the labels, keep
it. `adapt_statistics` needs no label: it measures the network's statistics on the survey's spectra.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from quasarloop.errors import WeightsError
from quasarloop.network.config import NetworkConfig
from quasarloop.network.decode import classify_finds, decode
from quasarloop.network.labelled import TrainingData, joined_data, warn_if_few
from quasarloop.network.model import fold_biases, use_mean_statistics
from quasarloop.network.options import FinetuneOptions, TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.records import EpochRecord
from quasarloop.network.rehearsal import mixed_skies
from quasarloop.network.training import TrainingResult, train
from quasarloop.network.training_run import FROM_NOTHING, Rows
from quasarloop.network.weights import Weights, from_module, to_module
from quasarloop.quality import NOT_TRAINED
from quasarloop.store import Store, iter_store

__all__ = ["adapt_statistics", "finetune", "sample_to_adapt_to", "train_from"]

# Spectra that measure the statistics: more than 4096 only cost time (2 % of a variance), fewer
# than 512 are refused (6 %). Source: our choice.
_MOST_SPECTRA: Final = 4096
_FEWEST_SPECTRA: Final = 512
_BATCH: Final = 256
# Key of the seed of rehearsed spectra; those of `training_run` are below.
_REHEARSAL: Final = 2**31 + 4


def finetune(
    weights: Weights,
    data: TrainingData,
    options: FinetuneOptions | None = None,
    *,
    seed: int | np.random.SeedSequence,
    rehearsal: TrainingData | None = None,
    rows: Rows | None = None,
    out_dir: str | Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> TrainingResult:
    """Train a network on, all its layers, on labelled spectra and on rehearsed ones.

    In every epoch each label is repeated so often that labels and rehearsal weigh alike.

    Args:
        weights: to start from.
        data: labelled spectra on the network's grid.
        options: of the training.
        seed: of rehearsed spectra, order, shifts and dropout.
        rehearsal: spectra of known truth that the network must not forget; None simulates
            ``options.rehearsal`` per label (`rehearsal.mixed_skies`).
        rows: of training and validation, in `data`; None trains with all usable ones.
        out_dir: as of `training.train`, for an exact resume.
        on_epoch: called after every epoch.

    Raises:
        GridError: the spectra are on another grid.
        TruthError: fewer than two rows train.

    Source: our choice, measured in docs/measurements/training.md, "Fine-tuning".
    """
    own = options or FinetuneOptions()
    labels = Rows(data.usable_rows) if rows is None else rows
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    n_labels = len(labels.train)
    if rehearsal is None and (n := own.rehearsal * n_labels):
        seeds = np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, _REHEARSAL))
        rehearsal = mixed_skies(n, int(seeds.generate_state(1)[0]), weights.config.grid)
    more = data[:0] if rehearsal is None else rehearsal
    repeated = np.tile(labels.train, max(1, round(len(more) / max(n_labels, 1))))
    result = train(
        joined_data(data, more),
        weights,
        own,
        seed=root,
        rows=Rows(np.append(repeated, len(data) + np.arange(len(more))), labels.validation),
        out_dir=out_dir,
        on_epoch=on_epoch,
    )
    record = {"n_training_rows": n_labels, "n_rehearsal_rows": len(more)}
    return replace(result, weights=_with_record(result.weights, record))


def train_from(
    first: NetworkConfig | Weights,
    data: TrainingData,
    options: TrainingOptions,
    *,
    rows: Rows,
    **how: Any,
) -> TrainingResult:
    """Train a network from nothing, with a warning if labels are few, or given weights further.

    Args:
        first: a configuration to start anew, or weights to start from.
        data: as of `finetune`.
        options: with `FinetuneOptions` weights rehearse, too.
        rows: of training and validation.
        how: all else that `training.train` takes.
    """
    if isinstance(first, NetworkConfig):
        warn_if_few(len(rows.train))
    elif isinstance(options, FinetuneOptions):
        return finetune(first, data, options, rows=rows, **how)
    return train(data, first, options, rows=rows, **how)


def adapt_statistics(weights: Weights, flux: NDArray[np.float32]) -> Weights:
    """Measure the statistics of batch normalisation anew, on a survey's own unlabelled spectra.

    Helps weights that have only seen other spectra than the survey's.

    Args:
        weights: a network that was trained from nothing.
        flux: (n, n_bins) normalised spectra on the network's grid, a fair sample of the survey;
            at most 4096, evenly spaced, are used.

    Returns:
        The network with its new statistics; ``provenance["adapted"]`` records how many spectra
        became quasars, and ceased to be.

    Raises:
        WeightsError: too few spectra, on another grid, or weights that labels of the survey have
            trained already: there it does harm.

    Source: Li et al. 2016, arXiv:1603.04779; measured in docs/measurements/training.md,
    "Fine-tuning".
    """
    story = weights.provenance
    if "head" in story or story.get("first_weights_sha256", FROM_NOTHING) != FROM_NOTHING:
        raise WeightsError(
            "these weights were trained on from others, or have a head fitted to labels; measuring "
            "their statistics anew undoes part of that: adapt the weights they started from, then "
            "train those on"
        )
    if len(flux) < _FEWEST_SPECTRA:
        raise WeightsError(
            f"{len(flux)} spectra cannot measure a network's statistics; give {_FEWEST_SPECTRA} or "
            f"more (all of the survey's, {_MOST_SPECTRA} are enough)"
        )
    rows = np.linspace(0, len(flux) - 1, min(len(flux), _MOST_SPECTRA)).astype(np.int64)
    before = Predictor(weights)
    found = _is_qso(before, flux[rows])  # first, for it checks the grid
    model = to_module(weights)
    fold_biases(model)
    parts = np.array_split(rows, -(-len(rows) // _BATCH))  # a short last batch would be a poor mean
    use_mean_statistics(model.train(), (torch.tensor(flux[part]) for part in parts))
    adapted = from_module(model.eval(), weights.provenance)
    now = _is_qso(Predictor(adapted), flux[rows])
    record = {
        "spectra": len(rows),
        "from_sha256": weights.digest(),
        "quasars_before": int(found.sum()),
        "quasars_after": int(now.sum()),
        "became_quasars": int((now & ~found).sum()),
        "ceased_to_be": int((found & ~now).sum()),
    }
    return _with_record(adapted, {"adapted": record})


def sample_to_adapt_to(store: Store) -> NDArray[np.float32]:
    """Return the flux of usable spectra evenly spread over a store, enough to adapt to."""
    every = max(1, store.n_rows // _MOST_SPECTRA)
    parts, seen = [], 0
    for spectra in iter_store(store):
        usable = np.flatnonzero((spectra.flags & int(NOT_TRAINED)) == 0)
        parts.append(spectra.flux[usable[-seen % every :: every]])
        seen += len(usable)
    return np.concatenate(parts) if parts else np.empty((0, store.grid.n_bins), np.float32)


def _is_qso(predictor: Predictor, flux: NDArray[np.float32]) -> NDArray[np.bool_]:
    finds = decode(predictor.predict(flux), predictor.config)
    return classify_finds(finds, predictor.config, predictor.thresholds).is_qso


def _with_record(weights: Weights, record: Mapping[str, Any]) -> Weights:
    return replace(weights, provenance={**weights.provenance, **record})
