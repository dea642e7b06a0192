"""Choosing from a ranked list without choosing the same thing many times."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import SelectionError

__all__ = ["POOL", "class_quotas", "spread_out", "take_in_order"]

# Objects looked at for every object chosen by distance. Source: our choice.
POOL: Final = 10


def take_in_order(
    n: int,
    cell: NDArray[np.integer],
    group: NDArray[np.integer],
    *,
    per_cell: int | None = None,
    quotas: Mapping[int, int] | None = None,
    fill: bool = True,
) -> NDArray[np.bool_]:
    """Walk down a ranked list and take what the limits allow, until n are taken.

    Args:
        n: how many to take.
        cell: (m,) map cell of each; -1 is never full.
        group: (m,) class of each.
        per_cell: at most so many of one cell.
        quotas: at most so many of each class; classes not named are free.
        fill: give places that no class could fill to the best of the others, in a second walk.

    Returns:
        (m,) True where taken; fewer than n only if the list, or ``per_cell``, allows no more.
    """
    taken = np.zeros(len(cell), dtype=bool)
    if per_cell is None and not quotas:
        taken[:n] = True
        return taken
    in_cell: dict[int, int] = {}
    walks: list[dict[int, int]] = [dict(quotas or {}), {}]
    for left in walks if fill else walks[:1]:
        for i, (where, what) in enumerate(zip(cell.tolist(), group.tolist(), strict=True)):
            if n <= 0:
                return taken
            full = per_cell is not None and where >= 0 and in_cell.get(where, 0) >= per_cell
            if taken[i] or full or left.get(what, 1) <= 0:
                continue
            in_cell[where] = in_cell.get(where, 0) + 1
            if what in left:
                left[what] -= 1
            taken[i] = True
            n -= 1
    return taken


def class_quotas(n: int, shares: Mapping[int, float]) -> dict[int, int]:
    """Share n out among classes; rounding goes to the largest remainders.

    Raises:
        SelectionError: negative shares, or nothing to share.

    >>> class_quotas(10, {0: 1, 1: 1, 2: 1})
    {0: 4, 1: 3, 2: 3}
    """
    total = sum(shares.values())
    if total <= 0 or min(shares.values()) < 0:
        raise SelectionError(f"shares of classes {dict(shares)} must not be negative, nor all 0")
    exact = {key: n * share / total for key, share in shares.items()}
    quotas = {key: int(value) for key, value in exact.items()}
    by_remainder = sorted(exact, key=lambda key: (quotas[key] - exact[key], key))
    for key in by_remainder[: n - sum(quotas.values())]:
        quotas[key] += 1
    return quotas


def spread_out(
    features: NDArray[np.floating], score: NDArray[np.floating], n: int
) -> NDArray[np.int64]:
    """Choose one after the other what is both confusing and unlike all chosen before.

    The first is the one of highest score; each next one has the largest product of score and
    distance to the nearest already chosen.

    Args:
        features: (m, d), e.g. normalised spectra.
        score: (m,) not negative.
        n: how many.

    Returns:
        (min(n, m),) indices in the order chosen.

    Source: Sener & Savarese 2018, arXiv:1708.00489 (greedy k-centre), weighted by score.
    """
    values = np.asarray(features, dtype=np.float64)
    weight = np.asarray(score, dtype=np.float64)
    n = min(n, len(values))
    chosen = np.empty(n, dtype=np.int64)
    nearest = np.full(len(values), np.inf)
    free = np.ones(len(values), dtype=bool)
    for k in range(n):
        worth = weight if k == 0 else weight * nearest
        # Copies of what is chosen are worth 0, yet come before what is taken.
        best = int(np.where(free, worth, -1.0).argmax())
        chosen[k], free[best] = best, False
        nearest = np.minimum(nearest, np.linalg.norm(values - values[best], axis=1))
    return chosen
