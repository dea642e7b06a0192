"""What a training is a training of: its data, settings and seeds, and their fingerprint."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from quasarloop.artefacts import versions
from quasarloop.errors import GridError, TruthError
from quasarloop.network.config import NetworkConfig, config_to_dict
from quasarloop.network.history import EpochRecord
from quasarloop.network.labelled import TrainingData
from quasarloop.network.model import pick_device
from quasarloop.network.options import TrainingOptions
from quasarloop.network.weights import Weights

__all__ = ["Rows", "Run", "prepare_run", "provenance"]


class Rows(NamedTuple):
    """Which rows train and which validate.

    Attributes:
        train: (m,) row numbers, repeats allowed (a bootstrap sample).
        validation: (k,) row numbers; None for no validation.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Run:
    """One training, settled: what it reads, on what it computes, and who it is.

    Attributes:
        data: labelled spectra.
        validation: those held out; None without.
        rows: which rows of `data` train, which validate.
        config: the network's shape.
        options: how it is trained.
        root: root of all its seeds.
        device: where it computes.
        low_precision: whether products are taken in bfloat16.
        identity: all that decides the resulting bytes, as JSON keeps it.
    """

    data: TrainingData
    validation: TrainingData | None
    rows: Rows
    config: NetworkConfig
    options: TrainingOptions
    root: np.random.SeedSequence
    device: torch.device
    low_precision: bool
    identity: Mapping[str, Any]

    def seeds(self, *key: int) -> np.random.SeedSequence:
        """Return the seeds of one purpose and epoch, the same in any order of asking."""
        return np.random.SeedSequence(self.root.entropy, spawn_key=(*self.root.spawn_key, *key))


def prepare_run(
    data: TrainingData,
    network: NetworkConfig | Weights,
    options: TrainingOptions,
    seed: int | np.random.SeedSequence,
    rows: Rows | None,
) -> Run:
    """Settle a training, or say why it cannot be.

    Args:
        data: labelled spectra on the network's grid.
        network: a configuration to start anew, or weights to start from.
        options: how.
        seed: root of all seeds.
        rows: which train and validate; None trains with all usable ones.

    Raises:
        GridError: the spectra are on another grid.
        TruthError: fewer than two rows train.
        WeightsError: the device is missing.
    """
    config = network if isinstance(network, NetworkConfig) else network.config
    if data.flux.shape[1] != config.grid.n_bins:
        raise GridError(
            f"the spectra have {data.flux.shape[1]} bins, the network a {config.grid.describe()}; "
            "ingest them on the network's grid"
        )
    chosen = Rows(data.usable_rows) if rows is None else rows
    if len(chosen.train) < 2:  # noqa: PLR2004 -- batch normalisation needs a second spectrum
        raise TruthError(
            f"{len(chosen.train)} labelled spectra cannot train a network; at least 2 are needed"
        )
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    device = pick_device(options.device)
    judged = chosen.validation is not None and len(chosen.validation) > 0
    return Run(
        data=data,
        validation=data[chosen.validation] if judged and chosen.validation is not None else None,
        rows=chosen,
        config=config,
        options=options,
        root=root,
        device=device,
        low_precision=_uses_bfloat16(options, device),
        identity=_identity(data, network, options, root, chosen) | {"device": device.type},
    )


def provenance(run: Run, records: Sequence[EpochRecord]) -> dict[str, Any]:
    """Return what a weights file shall say of the training it comes from."""
    best = max((r.epoch for r in records if r.is_best), default=len(records))
    return {
        **run.identity,
        "thresholds": run.options.thresholds.to_dict(),
        "versions": versions(),
        "epochs_trained": len(records),
        "epoch_kept": best,
        "n_training_rows": len(run.rows.train),
        "n_validation_rows": 0 if run.validation is None else len(run.validation),
    }


def _uses_bfloat16(options: TrainingOptions, device: torch.device) -> bool:
    if options.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return options.precision == "bfloat16"


def _identity(
    data: TrainingData,
    network: NetworkConfig | Weights,
    options: TrainingOptions,
    root: np.random.SeedSequence,
    rows: Rows,
) -> dict[str, Any]:
    config = network if isinstance(network, NetworkConfig) else network.config
    first = "random" if isinstance(network, NetworkConfig) else network.digest()
    columns = [getattr(data, f.name) for f in fields(data)] + [r for r in rows if r is not None]
    return {
        "network": config_to_dict(config),
        "options": options.as_dict(),
        "seed": {"entropy": str(root.entropy), "spawn_key": list(root.spawn_key)},
        "data_sha256": _digest(columns),
        "first_weights_sha256": first,
    }


def _digest(arrays: list[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
