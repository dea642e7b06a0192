"""One training before it starts: its data, options and seeds, and the batches of its epochs."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from quasarloop.artefacts import versions
from quasarloop.errors import GridError, TruthError
from quasarloop.network.augment import disturb, shift_randomly
from quasarloop.network.config import NetworkConfig, config_to_dict
from quasarloop.network.device import pick_device
from quasarloop.network.labelled import TrainingData, hold_out
from quasarloop.network.options import TrainingOptions
from quasarloop.network.records import EpochRecord
from quasarloop.network.weights import Weights

__all__ = [
    "FROM_NOTHING",
    "Rows",
    "Run",
    "array_digest",
    "prepare_run",
    "provenance",
    "seed_record",
]

# In provenance, as the digest of first weights: they were random.
FROM_NOTHING: Final = "random"
# Training batches that calibrate the statistics of batch normalisation: 4096 spectra measure a
# variance to 2 %, more only cost time.
_CALIBRATION_BATCHES: Final = 16
# Keys that spawn seeds from the root; far from the small ones its owner may have spawned.
_FIRST_WEIGHTS, _SHUFFLE, _SHIFT, _DROPOUT, _DISTURB = (2**31 + key for key in range(5))


class Rows(NamedTuple):
    """Which rows train and which validate.

    Attributes:
        train: (m,) row numbers, repeats allowed (a bootstrap sample).
        validation: (k,) row numbers; None for no validation.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64] | None = None

    @classmethod
    def held_out(cls, data: TrainingData, share: float, seed: int) -> "Rows":
        """Return all usable rows, or with a share of the objects held out for validation."""
        if not share:
            return cls(data.usable_rows)
        held = hold_out(data, share, seed)
        return cls(np.flatnonzero(~held), np.flatnonzero(held))


@dataclass(frozen=True)
class Run:
    """One training: data, options, seeds and device, checked.

    Attributes:
        data: labelled spectra.
        validation: those held out; None without.
        rows: which rows of `data` train, which validate.
        config: the network's shape.
        options: of the training.
        root: root of all its seeds.
        device: it computes on.
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

    def _seeds(self, *key: int) -> np.random.SeedSequence:
        """Return the seeds of one purpose and epoch, the same in any order of use."""
        return np.random.SeedSequence(self.root.entropy, spawn_key=(*self.root.spawn_key, *key))

    @property
    def first_weights_seed(self) -> int:
        """The seed of random first weights."""
        return _torch_seed(self._seeds(_FIRST_WEIGHTS))

    def dropout_seeds(self, epoch: int) -> tuple[np.random.SeedSequence, int]:
        """Return the seeds of an epoch's dropout masks: for a CPU, and for torch elsewhere."""
        seeds = self._seeds(_DROPOUT, epoch)
        return seeds, _torch_seed(seeds)

    def batches(self, epoch: int) -> tuple[int, Iterator[TrainingData]]:
        """Return the number of batches of an epoch, and the batches: shuffled and augmented."""
        order = np.random.default_rng(self._seeds(_SHUFFLE, epoch)).permutation(self.rows.train)
        size = self.options.batch_size
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        if len(parts) > 1 and len(parts[-1]) == 1:  # one spectrum alone cannot be normalised
            parts[-2:] = [np.concatenate(parts[-2:])]
        batches = (self.data[part] for part in parts)
        if largest := self.options.shift_bins:
            rng = np.random.default_rng(self._seeds(_SHIFT, epoch))
            batches = (shift_randomly(batch, self.config.grid, largest, rng) for batch in batches)
        if share := self.options.disturbed:
            faulty = np.random.default_rng(self._seeds(_DISTURB, epoch))
            batches = (disturb(batch, self.config, share, faulty) for batch in batches)
        return len(parts), batches

    def calibration_flux(self) -> Iterator[NDArray[np.float32]]:
        """Yield spectra, in batches of equal size, that measure the final statistics."""
        rows = np.unique(self.rows.train)
        most = _CALIBRATION_BATCHES * self.options.batch_size
        if len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
        # Parts of equal size: a short last one would be normalised by a poor mean.
        for part in np.array_split(rows, -(-len(rows) // self.options.batch_size)):
            yield self.data.flux[part]


def _torch_seed(seeds: np.random.SeedSequence) -> int:
    return int(seeds.generate_state(1, np.uint64)[0])


def prepare_run(
    data: TrainingData,
    network: NetworkConfig | Weights,
    options: TrainingOptions,
    seed: int | np.random.SeedSequence,
    rows: Rows | None,
) -> Run:
    """Check and prepare a training; arguments and errors as `training.train`."""
    config, first_weights = (
        (network.config, network.digest())
        if isinstance(network, Weights)
        else (network, FROM_NOTHING)
    )
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
    low_precision = options.precision == "bfloat16"
    if options.precision == "auto" and device.type == "cuda":
        low_precision = torch.cuda.is_bf16_supported()
    held_out = chosen.validation
    identity = {
        "network": config_to_dict(config),
        "options": asdict(options),
        "seed": seed_record(root),
        "data_sha256": array_digest(data, *chosen),
        "first_weights_sha256": first_weights,
        "device": device.type,
    }
    return Run(
        data=data,
        validation=None if held_out is None or not len(held_out) else data[held_out],
        rows=chosen,
        config=config,
        options=options,
        root=root,
        device=device,
        low_precision=low_precision,
        identity=identity,
    )


def provenance(run: Run, records: Sequence[EpochRecord]) -> dict[str, Any]:
    """Return the record of a training that its weights file carries."""
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


def seed_record(seed: np.random.SeedSequence) -> dict[str, Any]:
    """Return a seed as JSON keeps it."""
    return {"entropy": str(seed.entropy), "spawn_key": list(seed.spawn_key)}


def array_digest(data: TrainingData | None, *rows: NDArray[Any] | None) -> str:
    """Return the SHA-256 of the types, shapes and values of training data and of row numbers."""
    columns = [] if data is None else [getattr(data, f.name) for f in fields(data)]
    digest = hashlib.sha256()
    for array in [*columns, *(r for r in rows if r is not None)]:
        digest.update(f"{array.dtype} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
