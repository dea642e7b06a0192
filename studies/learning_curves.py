"""How many labels a way of choosing saves: learning curves compared at equal figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from quasarloop.errors import TruthError

__all__ = [
    "Curves",
    "LearningCurve",
    "SpeedUp",
    "labels_needed",
    "mean_curve",
    "speed_up",
]

# Resamples of the seeds. Source: our choice; the error of an error of five seeds is larger.
N_BOOTSTRAPS: Final = 1000


@dataclass(frozen=True)
class LearningCurve:
    """What networks reach with more and more labels.

    Attributes:
        labels: (k,) labels spent, increasing.
        figure: (k,) what they bought, e.g. completeness at a fixed purity.
        error: (k,) standard error of the figure; NaN where it is not known.
    """

    labels: NDArray[np.int64]
    figure: NDArray[np.float64]
    error: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not len(self.labels) == len(self.figure) == len(self.error) or not len(self.labels):
            raise TruthError(
                f"a learning curve of {len(self.labels)} numbers of labels and "
                f"{len(self.figure)} figures; they must be as many, and at least one"
            )
        if (np.diff(self.labels) <= 0).any():
            raise TruthError("the labels of a learning curve must increase; sort the runs")

    @classmethod
    def make(cls, labels: ArrayLike, figure: ArrayLike) -> "LearningCurve":
        """Build a curve without errors."""
        values = np.asarray(figure, dtype=np.float64)
        return cls(np.asarray(labels, dtype=np.int64), values, np.full(len(values), np.nan))


Curves = Mapping[int, LearningCurve]  # seed -> curve


@dataclass(frozen=True)
class SpeedUp:
    """Labels the control needs over labels we spent, for the same figure.

    Attributes:
        value: the factor; NaN without a common seed.
        error: its standard error, from a bootstrap over seeds; NaN for one seed.
        is_limit: the control never got there: the factor is at least ``value``.
        unreached: share of the resamplings of seeds in which it never got there; NaN for one seed.
        n_seeds: seeds that both have.
    """

    value: float
    error: float
    is_limit: bool
    unreached: float
    n_seeds: int

    def __str__(self) -> str:
        """Return e.g. ``1.82 ± 0.21``, or ``> 3.00 (96%)`` for a limit, with `unreached`."""
        if self.n_seeds == 0:
            return "–"
        text = f"{'> ' if self.is_limit else ''}{self.value:.2f}"
        if np.isnan(self.error):
            return text
        return f"{text} ({self.unreached:.0%})" if self.is_limit else f"{text} ± {self.error:.2f}"


def labels_needed(curve: LearningCurve, wanted: float) -> float:
    """Return how many labels it takes to reach a figure.

    Between measured points a figure grows with the logarithm of labels, from none to the first by a
    line.

    Noise makes measured curves fall here and there; what is read is the rising curve nearest to
    them (isotonic regression).

    Returns:
        Labels; infinity if the curve never gets there.

    >>> round(labels_needed(LearningCurve.make([0, 100, 400], [0.5, 0.7, 0.8]), 0.75))
    200
    """
    figure = _rising(curve.figure)
    reached = np.flatnonzero(figure >= wanted)
    if len(reached) == 0:
        return float("inf")
    after = int(reached[0])
    if after == 0:
        return float(curve.labels[0])
    fewer, more = (float(n) for n in curve.labels[after - 1 : after + 1])
    part = (wanted - figure[after - 1]) / (figure[after] - figure[after - 1])
    return fewer * (more / fewer) ** part if fewer else part * more


def mean_curve(curves: Curves) -> LearningCurve:
    """Return the mean over seeds, with its standard error, where all seeds were measured.

    Raises:
        TruthError: no curve, or no number of labels that all share.
    """
    if not curves:
        raise TruthError("no learning curve to take a mean of; run some seeds first")
    labels = _common_labels(curves)
    if len(labels) == 0:
        raise TruthError("the seeds' learning curves share no number of labels")
    table = np.stack([_at(curve, labels) for curve in curves.values()])  # (n_seeds, k)
    n = len(table)
    scatter = table.std(axis=0, ddof=1) if n > 1 else np.full(len(labels), np.nan)
    return LearningCurve(labels, table.mean(axis=0), scatter / np.sqrt(n))


def speed_up(
    ours: Curves,
    control: Curves,
    labels: int,
    *,
    n_bootstraps: int = N_BOOTSTRAPS,
    seed: int = 0,
) -> SpeedUp:
    """Compare two ways of choosing: labels the control needs for what ours reach, over ours.

    Means over seeds are compared, for the curves of single seeds are too noisy to be read
    backwards. The error is the scatter over seeds drawn with replacement, those of both ways
    together, widened by √(n/(n−1)) because few seeds scatter less than many.

    Args:
        ours: seed → curve.
        control: seed → curve; seeds that only one of both has are left out.
        labels: where on our curve, more than 0.
        n_bootstraps: resamples.
        seed: of the resampling.

    Raises:
        TruthError: our curves were not measured with so many labels.
    """
    common = sorted(set(ours) & set(control))
    n = len(common)
    if n == 0:
        return SpeedUp(
            float("nan"), float("nan"), is_limit=False, unreached=float("nan"), n_seeds=0
        )
    value = _factor(ours, control, common, labels)
    limit = _most_labels(control, common) / labels
    error = unreached = float("nan")
    if n > 1:
        rng = np.random.default_rng(seed)
        factor = cache(lambda *seeds: _factor(ours, control, seeds, labels))  # few seeds, few draws
        draws = (sorted(common[i] for i in rng.integers(n, size=n)) for _ in range(n_bootstraps))
        found = np.array([factor(*draw) for draw in draws])
        error = float(np.std(np.minimum(found, limit)) * np.sqrt(n / (n - 1)))
        unreached = float(np.isinf(found).mean())
    is_limit = bool(np.isinf(value))
    return SpeedUp(limit if is_limit else value, error, is_limit, unreached, n)


def _factor(
    ours: Curves,
    control: Curves,
    seeds: Sequence[int],
    labels: int,
) -> float:
    mine = mean_curve({i: ours[seed] for i, seed in enumerate(seeds)})
    theirs = mean_curve({i: control[seed] for i, seed in enumerate(seeds)})
    here = np.flatnonzero(mine.labels == labels)
    if len(here) == 0 or labels <= 0:
        raise TruthError(f"nothing was measured with {labels} labels; known: {mine.labels}")
    return labels_needed(theirs, float(_rising(mine.figure)[here[0]])) / labels


def _most_labels(curves: Curves, seeds: list[int]) -> float:
    return float(min(curves[seed].labels[-1] for seed in seeds))


def _common_labels(curves: Curves) -> NDArray[np.int64]:
    first, *others = (curve.labels for curve in curves.values())
    for labels in others:
        first = np.intersect1d(first, labels)
    return first


def _at(curve: LearningCurve, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    return curve.figure[np.searchsorted(curve.labels, labels)]


def _rising(figure: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(isotonic_regression(figure).x, dtype=np.float64)
