"""Every choice of a training, with its default and where that comes from.

Nothing here keeps a state, so a resumed training meets the same rates.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

import torch

from quasarloop.classes import CONFIDENCE_THRESHOLD, N_LINES_THRESHOLD
from quasarloop.errors import WeightsError
from quasarloop.network.loss import MeanOver

__all__ = [
    "DEVICES",
    "RECOMMENDED",
    "SCHEDULES",
    "Schedule",
    "TrainingOptions",
    "device_named",
    "learning_rate",
    "plateau_drops",
]

Schedule = Literal["constant", "cosine", "plateau"]
SCHEDULES: Final[tuple[str, ...]] = get_args(Schedule)

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


DEVICES: Final = ("auto", "cpu", "cuda", "mps")
Monitor = Literal["loss", "completeness", "none"]
Precision = Literal["float32", "bfloat16", "auto"]
Statistics = Literal["calibrated", "running"]


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; the network's shape and dropout rate are in its `NetworkConfig`.

    Attributes:
        epochs: passes over the training rows at most.
        batch_size: spectra per step.
        learning_rate: the first one.
        schedule: how it goes on (`schedule.learning_rate`).
        amsgrad: Adam's variant that never lengthens its steps.
        mean_over: ``"spectrum"`` or ``"batch"`` (`loss.line_finder_loss`).
        shift_bins: move spectra by up to so many log-λ bins, at random (`augment`).
        statistics: of batch normalisation in use: ``"calibrated"`` on training spectra without
            dropout, or ``"running"`` means as Keras keeps them.
        monitor: which epoch is kept: ``"none"`` the last one; ``"loss"`` or ``"completeness"``
            the best one by that, on validation rows.
        patience: stop after so many epochs without a better one; None never stops early.
        threshold: confidence at which completeness and purity are judged.
        n_lines: lines that must be above it.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        precision: ``"float32"``, ``"bfloat16"`` (products only), or ``"auto"``: bfloat16 on CUDA
            devices that have it, else float32.
        threads: threads of this process. Another number may round differently.

    Raises:
        WeightsError: a value no training can have.

    Source: INTEROP.md, "Networks": batch 256; Adam with amsgrad at 2e-4 for 8 to 10 epochs in
    ensembles, 1e-3 or 5e-3 for single networks. The rest is our choice, measured in
    docs/training.md.
    """

    epochs: int = 10
    batch_size: int = 256
    learning_rate: float = 2e-4
    schedule: Schedule = "constant"
    amsgrad: bool = True
    mean_over: MeanOver = "spectrum"
    shift_bins: int = 0
    statistics: Statistics = "calibrated"
    monitor: Monitor = "none"
    patience: int | None = None
    threshold: float = CONFIDENCE_THRESHOLD
    n_lines: int = N_LINES_THRESHOLD
    device: str = "cpu"
    precision: Precision = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        at_least_one = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "n_lines": self.n_lines,
            "threads": self.threads,
            "patience": 1 if self.patience is None else self.patience,
        }
        for name, value in at_least_one.items():
            if value < 1:
                raise WeightsError(f"training option {name} is {value}; it must be at least 1")
        if not self.learning_rate > 0:
            raise WeightsError(f"the learning rate is {self.learning_rate}; it must be positive")
        if self.patience is not None and self.monitor == "none":
            raise WeightsError(
                f"patience is {self.patience} but nothing is monitored; say what: 'loss' or "
                "'completeness'"
            )
        if self.shift_bins < 0:
            raise WeightsError(f"shift_bins is {self.shift_bins}; it must be 0 or more")
        words = {
            "schedule": SCHEDULES,
            "mean_over": get_args(MeanOver),
            "statistics": get_args(Statistics),
            "monitor": get_args(Monitor),
            "precision": get_args(Precision),
            "device": DEVICES,
        }
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise WeightsError(
                    f"training option {name} is {getattr(self, name)!r}; known: {', '.join(known)}"
                )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values that JSON keeps."""
        return asdict(self)


# What a single network should be trained with. Source: measured, docs/training.md; the defaults of
# `TrainingOptions` are the released code's for ensembles.
RECOMMENDED: Final = TrainingOptions(epochs=60, learning_rate=3e-3, schedule="cosine")


def device_named(name: str) -> torch.device:
    """Return the device of that name; ``"auto"`` takes CUDA, then Apple's, then the CPU.

    Raises:
        WeightsError: the device is not there.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, usable in there.items() if usable))
    if name not in there:
        raise WeightsError(f"no device named {name!r}; known: {', '.join(DEVICES)}")
    if not there[name]:
        usable = ", ".join(kind for kind, ok in there.items() if ok)
        raise WeightsError(f"this machine has no usable {name} device; usable: {usable}")
    return torch.device(name)
