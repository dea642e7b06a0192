"""How confused an ensemble is about a spectrum: one number per row of the votes.

A score is an expression over the vote columns (docs/guides/ensemble.md), larger for what should be
inspected first. Choosing by a score is another matter: see `select`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.classes import Vote
from quasarloop.ensemble.votes import count_column
from quasarloop.errors import SelectionError

__all__ = [
    "SCORES",
    "Score",
    "in_proportion",
    "predicted_class",
    "random_number",
    "score_expression",
]

# Constants of the 64-bit finaliser. Source: Steele, Lea & Flood 2014, "Fast splittable
# pseudorandom number generators", OOPSLA (splitmix64).
_MIX: Final = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_MANTISSA_BITS: Final = 53

Thresholds = Sequence[float]


@dataclass(frozen=True)
class Score:
    """A way to rank spectra.

    Attributes:
        name: what ``--score`` takes.
        help: one line for people.
        unit: of its values.
        expression: thresholds of the votes → expression over the vote columns; NaN or null
            where it is not defined.
    """

    name: str
    help: str
    unit: str
    expression: Callable[[Thresholds], pl.Expr]


def score_expression(name: str, thresholds: Thresholds, *, seed: int = 0) -> pl.Expr:
    """Return a score as an expression over the vote columns.

    Args:
        name: one of `SCORES`, or ``"random"``.
        thresholds: confidence thresholds the votes were counted at.
        seed: of the random score.

    Raises:
        SelectionError: unknown name.
    """
    if name == "random":
        return random_number(seed)
    if name not in SCORES:
        raise SelectionError(f"no score {name!r}; known: {', '.join([*SCORES, 'random'])}")
    return SCORES[name].expression(thresholds)


def random_number(seed: int) -> pl.Expr:
    """A number in [0, 1) per object, the same in every call.

    All spectra of an object get the same number, so an object observed often is not likelier.
    """
    return pl.col("OBJECT_ID").map_batches(
        lambda ids: pl.Series(_uniform(ids.to_numpy(), seed)),
        return_dtype=pl.Float64,
        is_elementwise=True,
    )


def in_proportion(score: pl.Expr, *, seed: int) -> pl.Expr:
    """Turn a score into a key whose largest values are a random draw in proportion to it.

    The objects of the n largest keys are n draws without replacement. Scores of 0 are drawn last.

    Source: Kool, van Hoof & Welling 2019, arXiv:1903.06059 (Gumbel-top-k).
    """
    tiny = float(np.finfo(np.float64).tiny)
    noise = -(-(random_number(seed).clip(tiny, 1.0).log())).clip(tiny, None).log()
    return score.clip(1e-12, None).log() + noise


def predicted_class() -> pl.Expr:
    """The class of the largest mean probability, as a `Vote` value."""
    best = pl.max_horizontal(*_PROBABILITIES)
    return (
        pl.when(pl.col(_PROBABILITIES[Vote.NOT_QSO]) == best)
        .then(int(Vote.NOT_QSO))
        .when(pl.col(_PROBABILITIES[Vote.LOW_Z]) == best)
        .then(int(Vote.LOW_Z))
        .otherwise(int(Vote.HIGH_Z))
        .cast(pl.Int8)
    )


_PROBABILITIES: Final = tuple(f"P_{vote.name}" for vote in Vote)


def _quasar_or_not(_: Thresholds) -> pl.Expr:
    parts = (pl.col(_PROBABILITIES[Vote.NOT_QSO]), 1.0 - pl.col(_PROBABILITIES[Vote.NOT_QSO]))
    return _entropy(parts)


def _mean_entropy(thresholds: Thresholds) -> pl.Expr:
    return pl.mean_horizontal(*(_entropy_at(threshold) for threshold in thresholds))


def _entropy_at(threshold: float) -> pl.Expr:
    return _entropy([pl.col(count_column(vote, threshold)) / pl.col("N_ASKED") for vote in Vote])


def _entropy(parts: Iterable[pl.Expr]) -> pl.Expr:
    # 0 log 0 is 0; 0 / 0, where no member voted, stays NaN.
    return pl.sum_horizontal(
        *(pl.when(part == 0).then(0.0).otherwise(-part * part.log(2)) for part in parts),
        ignore_nulls=False,
    )


def _margin(_: Thresholds) -> pl.Expr:
    first = pl.max_horizontal(*_PROBABILITIES)
    last = pl.min_horizontal(*_PROBABILITIES)
    second = pl.sum_horizontal(*_PROBABILITIES) - first - last
    return 1.0 - (first - second)


def _redshift_scatter(_: Thresholds) -> pl.Expr:
    spread = (pl.col("Z_Q84") - pl.col("Z_Q16")) / (2 * (1 + pl.col("Z_Q50")))
    # Where no member finds a quasar there is no redshift to be unsure of.
    return pl.when(pl.col("N_ASKED") > 0).then(spread.fill_nan(0.0)).otherwise(float("nan"))


SCORES: Final[dict[str, Score]] = {
    score.name: score
    for score in (
        Score(
            "entropy",
            "entropy of the members' votes (paper, Eq. 3.2)",
            "bits",
            lambda _: pl.col("ENTROPY"),
        ),
        Score(
            "soft_entropy",
            "entropy of the members' mean class probabilities",
            "bits",
            lambda _: pl.col("SOFT_ENTROPY"),
        ),
        Score(
            "quasar_or_not",
            "entropy of the members' mean probability of a quasar, at any redshift",
            "bits",
            _quasar_or_not,
        ),
        Score(
            "two_entropies",
            "entropy of the votes plus that of quasar or not: for a first round",
            "bits",
            lambda thresholds: pl.col("ENTROPY") + _quasar_or_not(thresholds),
        ),
        Score(
            "mutual_information",
            "what the members disagree about: entropy of the mean less mean entropy (BALD)",
            "bits",
            lambda _: pl.col("MUTUAL_INFORMATION"),
        ),
        Score(
            "mean_entropy",
            "entropy of the votes, averaged over all thresholds",
            "bits",
            _mean_entropy,
        ),
        Score(
            "least_confidence",
            "1 - probability of the likeliest class",
            "",
            lambda _: 1.0 - pl.max_horizontal(*_PROBABILITIES),
        ),
        Score("margin", "1 - lead of the likeliest class over the next", "", _margin),
        Score(
            "redshift_scatter",
            "half the 16-84 % range of the members' redshifts, over 1+z",
            "",
            _redshift_scatter,
        ),
    )
}


def _uniform(ids: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Mix 64-bit identifiers into numbers in [0, 1): splitmix64."""
    step, first, second = (np.uint64(c) for c in _MIX)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is the point
        z = ids.astype(np.int64).view(np.uint64) + step * np.uint64(seed + 1)
        for _ in range(2):  # twice: neighbouring ids and seeds must not look alike
            z = z + step
            z = (z ^ (z >> np.uint64(30))) * first
            z = (z ^ (z >> np.uint64(27))) * second
            z = z ^ (z >> np.uint64(31))
    return np.asarray(
        (z >> np.uint64(64 - _MANTISSA_BITS)).astype(np.float64) * 2.0**-_MANTISSA_BITS
    )
