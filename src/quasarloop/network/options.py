"""Options of a training and its learning rates.

Nothing here keeps a state, so a resumed training has the same rates; nothing needs torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from quasarloop.classes import CONFIDENCE_THRESHOLD, N_LINES_THRESHOLD, Thresholds
from quasarloop.errors import WeightsError
from quasarloop.grid import LOG_GRID, WaveGrid
from quasarloop.network.config import NetworkConfig, preset
from quasarloop.options import check_options, like, option

__all__ = [
    "DEVICES",
    "SHIPPED",
    "Device",
    "FinetuneOptions",
    "HoldOutOptions",
    "MeanOver",
    "Offsets",
    "PredictOptions",
    "PresetOptions",
    "TrainingOptions",
    "learning_rate",
    "plateau_drops",
]

Schedule = Literal["constant", "cosine", "plateau"]

# Plateau: the rate is halved after this many epochs without a new best loss …
PLATEAU_PATIENCE: Final = 5
PLATEAU_FACTOR: Final = 0.5
# … and a cosine ends at this part of the first rate. Source: our choice.
COSINE_END: Final = 0.01


def learning_rate(
    schedule: Schedule, first: float, progress: float, losses: Sequence[float]
) -> float:
    """Return the learning rate of a step.

    Args:
        schedule: ``"constant"``; ``"cosine"``, half a wave from ``first`` down to a hundredth
            of it; ``"plateau"``, halved whenever five epochs bring no lower loss.
        first: the rate at the start.
        progress: part of all planned steps already taken, in [0, 1].
        losses: loss of every finished epoch (validation, else training).

    >>> learning_rate("cosine", 1.0, 0.5, [])
    0.505
    """
    if schedule == "cosine":
        wave = 0.5 * (1.0 + math.cos(math.pi * progress))
        return first * (COSINE_END + (1.0 - COSINE_END) * wave)
    if schedule == "plateau":
        return first * PLATEAU_FACTOR ** plateau_drops(losses)
    return first


def plateau_drops(losses: Sequence[float]) -> int:
    """Return how often the rate was lowered after these epochs.

    >>> plateau_drops([3, 2, 2, 2, 2, 2, 2]), plateau_drops([3, 2, 1])
    (1, 0)
    """
    drops, waited, best = 0, 0, math.inf
    for loss in losses:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == PLATEAU_PATIENCE:
            drops, waited = drops + 1, 0
    return drops


# What options call the weights that come with the package.
SHIPPED: Final = "shipped"

Device = Literal["auto", "cpu", "cuda", "mps"]
DEVICES: Final[tuple[str, ...]] = get_args(Device)
MeanOver = Literal["spectrum", "batch"]
Offsets = Literal["auto", "rescaled", "plain"]
Monitor = Literal["loss", "completeness", "none"]
Precision = Literal["float32", "bfloat16", "auto"]
Statistics = Literal["calibrated", "running"]


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; the network's shape and dropout rate are in its `NetworkConfig`.

    Raises:
        WeightsError: a value no training can have.

    Source: docs/reference/network.md, "Training in the released code"; the rest is our choice,
    measured in docs/measurements/training.md.
    """

    epochs: int = option(
        60,
        "Passes over the training spectra at most.",
        source="ours, docs/measurements/training.md; released code, in ensembles: 8 to 10",
        low=1,
    )
    batch_size: int = option(256, "Spectra per step.", source="released code", low=1)
    learning_rate: float = option(
        3e-3,
        "First learning rate of Adam.",
        source="ours, docs/measurements/training.md; released code, in ensembles: 2e-4",
        above=0,
    )
    schedule: Schedule = option(
        "cosine",
        "How the learning rate goes on.",
        source="ours, docs/measurements/training.md; released code: constant",
    )
    amsgrad: bool = option(True, "Adam's variant AMSGrad.", source="released code")
    mean_over: MeanOver = option("spectrum", "What the loss is a mean of (`line_finder_loss`).")
    shift_bins: int = option(
        0, "Move training spectra at random by up to so many log-λ bins.", source="ours", low=0
    )
    disturbed: float = option(
        0.0,
        "Share of training spectra given holes, missing ends, steps, waves and noise every epoch.",
        source="ours",
        low=0,
        high=1,
    )
    statistics: Statistics = option(
        "calibrated",
        "Of batch normalisation in use: calibrated on training spectra without dropout, or running "
        "means as Keras keeps them.",
    )
    monitor: Monitor = option(
        "none", "Epoch kept: none (the last), or best by loss or completeness on validation rows."
    )
    patience: int | None = option(
        None, "With a monitor: stop after so many epochs without a better one.", low=1
    )
    threshold: float = option(
        CONFIDENCE_THRESHOLD, "Confidence at which completeness and purity are judged."
    )
    n_lines: int = option(N_LINES_THRESHOLD, "Lines that must be above it.", low=1)
    device: Device = option("cpu", "Where to compute.")
    precision: Precision = option(
        "auto", "Precision of products; auto: bfloat16 on CUDA devices that have it."
    )
    threads: int = option(1, "CPU threads; another number may round differently.", low=1)

    def __post_init__(self) -> None:
        check_options(self, WeightsError)
        if self.patience is not None and self.monitor == "none":
            raise WeightsError(
                f"patience is {self.patience} but nothing is monitored; set monitor to 'loss' or "
                "'completeness'"
            )

    @property
    def thresholds(self) -> Thresholds:
        """What decides a quasar in training, and by default with the weights that come of it."""
        return Thresholds(self.threshold, self.n_lines)


@dataclass(frozen=True)
class FinetuneOptions(TrainingOptions):
    """How to train given weights on (`quasarloop.network.finetune`)."""

    epochs: int = like(TrainingOptions, "epochs", 10, source="ours, docs/measurements/training.md")
    batch_size: int = like(TrainingOptions, "batch_size", 64, source="ours: few labels, many steps")
    learning_rate: float = like(
        TrainingOptions, "learning_rate", 1e-3, source="ours, docs/measurements/training.md"
    )
    schedule: Schedule = like(
        TrainingOptions, "schedule", "constant", source="ours, docs/measurements/training.md"
    )
    rehearsal: int = option(
        1,
        "Simulated spectra per label, trained on besides; 0: none.",
        source="ours, docs/measurements/training.md",
        low=0,
    )


@dataclass(frozen=True)
class HoldOutOptions:
    """What a training of one network holds out."""

    validation: float = option(
        0.3,
        "Part of the objects held out; 0: none.",
        source="paper, Section 4.2: 30 %",
        low=0,
        high=0.9,
    )
    seed: int = option(0, "Same seed, same bytes.", low=0)

    def __post_init__(self) -> None:
        check_options(self, WeightsError)


@dataclass(frozen=True)
class PredictOptions:
    """How a weights file is read, and where its network computes."""

    offsets: Offsets = option(
        "auto", "How to read line offsets of the weights; auto decides from the file."
    )
    device: Device = option("auto", "Where to compute; auto: the best device of this machine.")

    def __post_init__(self) -> None:
        check_options(self, WeightsError)


@dataclass(frozen=True)
class PresetOptions:
    """Which network: a preset, and what differs from it; None keeps the preset's."""

    preset: str = option(
        "green2025",
        "Network: green2025, busca2018 or quasarloop2026.",
        source="paper, Section 2",
    )
    filters: int | None = option(
        None, "Filters of each convolution. Default: the preset's, 100.", low=1
    )
    dropout: float | None = option(
        None, "Share of activations dropped in training. Default: the preset's.", low=0, below=1
    )

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from the preset, as fields of `NetworkConfig`."""
        given = {"n_filters": self.filters, "dropout": self.dropout}
        return {name: value for name, value in given.items() if value is not None}

    def network(self, grid: WaveGrid = LOG_GRID) -> NetworkConfig:
        """Return the network on a grid."""
        return preset(self.preset, grid, **self.changes)
