"""The learning rate at every step, as a function of what is already known.

Nothing here keeps a state, so a resumed training meets the same rates.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal, get_args

__all__ = ["SCHEDULES", "Schedule", "learning_rate", "plateau_drops"]

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
