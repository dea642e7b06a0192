"""From eligible spectra to the chosen ones: rank, keep one per object, respect limits."""

from collections.abc import Callable, Mapping
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.classes import Vote
from quasarloop.errors import SelectionError
from quasarloop.query import RANDOM
from quasarloop.query.options import SelectionOptions
from quasarloop.query.scores import in_proportion, predicted_class, random_number
from quasarloop.query.votes_input import INDEX

__all__ = [
    "POOL",
    "Features",
    "choose",
    "class_quotas",
    "one_per_object",
    "ranked",
    "spread_out",
    "take_in_order",
]

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


# Objects looked at first for every object wanted; more only where limits make it necessary.
_LOOK_AHEAD: Final = 20
_GROWTH: Final = 8
# EXPID of a coadd over exposures (keys that do not apply are -1).
_NO_EXPOSURE: Final = -1

# Rows (`SHARD`, `ROW`) -> (n, d) features of their spectra.
Features = Callable[[pl.DataFrame], NDArray[np.floating]]


def one_per_object(frame: pl.LazyFrame, keep: Literal["score", "coadd"]) -> pl.LazyFrame:
    """Drop spectra that may not represent their object.

    For ``"score"`` all may: `ranked` then keeps the highest. For ``"coadd"`` single exposures go
    where the object has a coadd.
    """
    if keep == "score":
        return frame
    is_coadd = pl.col("EXPID") == _NO_EXPOSURE
    coadded = frame.filter(is_coadd).select(pl.col("OBJECT_ID").unique())
    ids = coadded.collect(engine="streaming")["OBJECT_ID"]
    return frame.filter(is_coadd | ~pl.col("OBJECT_ID").is_in(ids.implode()))


def ranked(
    frame: pl.LazyFrame, priority: pl.Expr, taken: NDArray[np.int64], n: int
) -> pl.DataFrame:
    """Return the best spectrum of each of the n best objects, best first, ties included.

    Equal priorities are ordered by mutual information, then by TARGETID, then by place in the
    store.

    Args:
        frame: eligible rows with `SCORE`.
        priority: larger is better.
        taken: objects to leave out.
        n: objects wanted; objects that tie with the last are returned too.
    """
    rows = frame.filter(~pl.col("OBJECT_ID").is_in(pl.Series(taken).implode()))
    rows = rows.with_columns(PRIORITY=priority.cast(pl.Float64))
    best = rows.group_by("OBJECT_ID").agg(pl.col("PRIORITY").max())
    highest = best.select(pl.col("PRIORITY").top_k(n)).collect(engine="streaming")["PRIORITY"]
    lowest = highest.min() if n and len(highest) else None
    rows = rows.head(0) if lowest is None else rows.filter(pl.col("PRIORITY") >= lowest)
    columns = ["OBJECT_ID", "TARGETID", "SHARD", "ROW", "CELL", "SCORE", "PRIORITY"]
    ties = pl.col("MUTUAL_INFORMATION").fill_nan(0.0).fill_null(0.0)
    table = rows.select(INDEX, *columns, TIE=ties, GROUP=predicted_class())
    order = ["PRIORITY", "TIE", "TARGETID", INDEX]
    return (
        table.collect(engine="streaming")
        .sort(order, descending=[True, True, False, False])
        .unique("OBJECT_ID", keep="first", maintain_order=True)
    )


def choose(
    eligible: pl.LazyFrame,
    taken: NDArray[np.int64],
    options: SelectionOptions,
    features: Features | None = None,
) -> tuple[pl.DataFrame, int]:
    """Choose among eligible rows with `SCORE`; taken objects (they have labels) are left out.

    Returns:
        The rows, best first: `INDEX`, `OBJECT_ID`, `HOW` and what ranked them; and the number of
        objects that ranked high enough but met a limit.
    """
    n_random = round(options.random_share * options.n)
    first, n_full = _by_priority(eligible, taken, options, options.n - n_random, features)
    if not n_random:
        return first, n_full
    known = np.concatenate([taken, first["OBJECT_ID"].to_numpy()])
    # Another seed than the draw's own, or its noise would come back.
    rest = ranked(eligible, random_number(options.seed + 1), known, options.n - len(first))
    rest = rest.head(options.n - len(first)).with_columns(HOW=pl.lit(RANDOM))
    return pl.concat([first, rest]), n_full


def _by_priority(
    eligible: pl.LazyFrame,
    taken: NDArray[np.int64],
    options: SelectionOptions,
    n: int,
    features: Features | None,
) -> tuple[pl.DataFrame, int]:
    priority = pl.col("SCORE")
    if options.draw == "proportional":
        priority = in_proportion(priority, seed=options.seed)
    # With limits, chance alone does not decide: what is left is no fair sample.
    by_chance = options.score == RANDOM and not options.limited
    how = pl.lit(RANDOM if by_chance else f"{options.draw} {options.score}")
    if options.spread:
        pool = ranked(eligible, priority, taken, POOL * n).head(POOL * n)
        rows = pool[_spread(pool, n, features)]
        return rows.with_columns(HOW=how), 0
    look = n * _LOOK_AHEAD if options.limited else n
    while True:
        pool = ranked(eligible, priority, taken, look)
        is_all = len(pool) < look
        # Quotas are given up only when no more of a class can be found further down.
        mask = _within_limits(pool, n, options, fill=is_all)
        if mask.sum() == n or is_all:
            break
        look *= _GROWTH
    rows = pool.filter(pl.Series(mask))
    last = int(np.flatnonzero(mask).max(initial=-1))
    return rows.with_columns(HOW=how), last + 1 - len(rows)


def _within_limits(
    pool: pl.DataFrame, n: int, options: SelectionOptions, *, fill: bool
) -> NDArray[np.bool_]:
    shares = {int(Vote(key)): share for key, share in options.class_shares.items()}
    quotas = class_quotas(n, shares) if shares else None
    cell, group = pool["CELL"].to_numpy(), pool["GROUP"].to_numpy()
    return take_in_order(n, cell, group, per_cell=options.per_cell, quotas=quotas, fill=fill)


def _spread(pool: pl.DataFrame, n: int, features: Features | None) -> NDArray[np.int64]:
    if features is None:
        raise SelectionError("choosing unlike spectra needs their flux; give the store")
    score = pool["SCORE"].to_numpy()
    return spread_out(features(pool.select("SHARD", "ROW")), np.maximum(score, 0.0), n)
