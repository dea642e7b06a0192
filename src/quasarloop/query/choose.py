"""From eligible spectra to the chosen ones: rank, keep one per object, respect limits."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.classes import Vote
from quasarloop.errors import SelectionError
from quasarloop.query.diversity import POOL, class_quotas, spread_out, take_in_order
from quasarloop.query.options import SelectionOptions
from quasarloop.query.scores import in_proportion, predicted_class, random_number
from quasarloop.query.votes_input import INDEX

__all__ = ["Choice", "Features", "choose", "one_per_object", "ranked"]

# Objects looked at first for every object wanted; more only where limits make it necessary.
_LOOK_AHEAD: Final = 20
_GROWTH: Final = 8
# EXPID of a coadd over exposures (keys that do not apply are -1).
_NO_EXPOSURE: Final = -1

# Rows (`SHARD`, `ROW`) -> (n, d) features of their spectra.
Features = Callable[[pl.DataFrame], NDArray[np.floating]]


class Choice(NamedTuple):
    """What was taken.

    Attributes:
        rows: `INDEX`, `OBJECT_ID`, `HOW` and what ranked them; best first.
        n_full: objects that ranked high enough but met a limit.
    """

    rows: pl.DataFrame
    n_full: int


def one_per_object(frame: pl.LazyFrame, keep: Literal["score", "coadd"]) -> pl.LazyFrame:
    """Drop spectra that may not stand for their object.

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
) -> Choice:
    """Choose the objects.

    Args:
        eligible: rows that may be chosen, with `SCORE`.
        taken: objects that may not (they have labels).
        options: how many, by what, within which limits.
        features: needed for ``options.spread``.
    """
    n_random = round(options.random_share * options.n)
    first = _by_priority(eligible, taken, options, options.n - n_random, features)
    if not n_random:
        return first
    known = np.concatenate([taken, first.rows["OBJECT_ID"].to_numpy()])
    # Another seed than the draw's own, or its noise would come back.
    rest = ranked(eligible, random_number(options.seed + 1), known, options.n - len(first.rows))
    rest = rest.head(options.n - len(first.rows)).with_columns(HOW=pl.lit("random"))
    return Choice(pl.concat([first.rows, rest]), first.n_full)


def _by_priority(
    eligible: pl.LazyFrame,
    taken: NDArray[np.int64],
    options: SelectionOptions,
    n: int,
    features: Features | None,
) -> Choice:
    priority = pl.col("SCORE")
    if options.draw == "proportional":
        priority = in_proportion(priority, seed=options.seed)
    how = pl.lit("random" if options.score == "random" else f"{options.draw} {options.score}")
    if options.spread:
        pool = ranked(eligible, priority, taken, POOL * n).head(POOL * n)
        rows = pool[_spread(pool, n, features)]
        return Choice(rows.with_columns(HOW=how), 0)
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
    return Choice(rows.with_columns(HOW=how), last + 1 - len(rows))


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
