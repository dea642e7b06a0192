"""What the whole ensemble would say, guessed from the members asked so far.

Members are exchangeable: each is a network trained on a sample of the same truth. So the
members asked tell how the others scatter, spectrum by spectrum, with a little help from all
spectra alike where few were asked. The guess is a set of draws of the final entropy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from quasarloop.classes import Thresholds
from quasarloop.ensemble.options import Score

__all__ = ["N_DRAWS", "Forecaster", "Scatter", "measure_scatter"]

Floats = NDArray[np.float64]

# Draws per spectrum. Chances are known to steps of one over this, and thousands of spectra of a
# chance too small to be seen add up: 128 lose more of the top than they say.
# Source: our choice, from studies/cascade_curve.py.
N_DRAWS: Final = 256
# Confidences are compared in logits, cut at ±16: float32 confidences reach no further.
_LOGIT_RANGE: Final = 16.0
_LOGIT_BINS: Final = np.arange(-8.0, 8.01, 0.5)
# The common scatter counts as much as so many members of the spectrum's own.
# Source: our choice, from studies/cascade_curve.py.
_PRIOR_MEMBERS: Final = 8.0
# Members this confident are counted when low and high redshifts are told apart: those who may
# vote for a quasar, or all who add to the mean probabilities.
_QUASAR_LIKE: Final[dict[Score, float]] = {
    "entropy": 0.5,
    "soft_entropy": 0.1,
    "mutual_information": 0.1,
}
# Distance of the median redshift from the class border, in ln(1+z), in bins.
# Fine ones near it: there a small step decides how many members fall on the other side.
_BORDER_STEPS: Final = np.array([0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
_BORDER_BINS: Final = np.concatenate([-_BORDER_STEPS[::-1], _BORDER_STEPS])
# A bin with fewer spectra than this takes its neighbours' scatter, or a vague prior.
_MIN_SPECTRA: Final = 20
_VAGUE_SHARE: Final = (0.1, 0.1)
_BLOCK_ROWS: Final = 2048
# Means over logits with a normal law are tabulated at these steps of its mean and width.
_TABLE_STEP: Final = 0.125
_TABLE_WIDEST: Final = 8.0


@dataclass(frozen=True)
class Scatter:
    """Sums over spectra that say how members scatter; `+` joins those of two sets.

    Attributes:
        variance: (n_logit_bins, 2): sum of the members' logit variances, and number of
            spectra, by mean logit.
        shares: (n_border_bins, 5): sums of pairs of members, of pairs both high, of members,
            of high members, and number of spectra, by distance from the class border.
    """

    variance: Floats
    shares: Floats

    def __add__(self, other: "Scatter") -> "Scatter":
        """Join the sums of two sets of spectra."""
        return Scatter(self.variance + other.variance, self.shares + other.shares)

    @classmethod
    def empty(cls) -> "Scatter":
        """Return the sums of no spectra."""
        return cls(np.zeros((len(_LOGIT_BINS) + 1, 2)), np.zeros((len(_BORDER_BINS) + 1, 5)))

    @cached_property
    def prior_variance(self) -> Floats:
        """(n_logit_bins,) mean variance of logits, smoothed over neighbouring bins."""
        total, number = (np.convolve(column, np.ones(3), "same") for column in self.variance.T)
        known = np.flatnonzero(number >= _MIN_SPECTRA)
        if len(known) == 0:
            return np.ones(len(number))
        mean = total[known] / number[known]
        return np.asarray(np.interp(np.arange(len(number)), known, mean))

    @cached_property
    def prior_share(self) -> Floats:
        """(n_border_bins, 2) Beta prior of a spectrum's share of high redshifts, by moments."""
        priors = np.tile(np.array(_VAGUE_SHARE), (len(self.shares), 1))
        for index, (pairs, both_high, members, high, spectra) in enumerate(self.shares):
            if spectra < _MIN_SPECTRA:
                continue
            mean = np.clip(high / members, 1e-4, 1 - 1e-4)
            # How much more alike two members of one spectrum are than two of any.
            alike = (both_high / pairs - mean**2) / (mean * (1 - mean))
            strength = 1.0 / np.clip(alike, 0.02, 0.999) - 1.0
            priors[index] = mean * strength, (1 - mean) * strength
        return priors


def measure_scatter(
    confidence: NDArray[np.float32], z: Floats, *, decision: Thresholds, score: Score = "entropy"
) -> Scatter:
    """Measure how members scatter over some spectra.

    Args:
        confidence: (m, n) of the members asked, none NaN, m at least 2.
        z: (m, n).
        decision: what makes a quasar.
        score: that will be forecast.
    """
    logits = _logit(confidence)
    place = np.searchsorted(_LOGIT_BINS, logits.mean(axis=0))
    spread = logits.var(axis=0, ddof=1)
    variance = _sums(place, len(_LOGIT_BINS) + 1, [spread, np.ones_like(spread)])
    n_like, n_high, border = _share_counts(confidence, z, decision, score)
    pairs, both = n_like * (n_like - 1), n_high * (n_high - 1)
    counted = n_like >= 2  # noqa: PLR2004 -- a pair
    columns = [pairs, both, n_like, n_high, np.ones_like(pairs)]
    shares = _sums(border, len(_BORDER_BINS) + 1, [np.where(counted, c, 0) for c in columns])
    return Scatter(variance, shares)


@dataclass(frozen=True)
class Forecaster:
    """Forecasts the score the whole ensemble would give.

    Attributes:
        scatter: measured over all spectra asked of so many members.
        n_networks: members of the whole ensemble.
        decision: what makes a quasar.
        score: ``"entropy"`` of the votes, ``"soft_entropy"`` or ``"mutual_information"``.
        n_draws: per spectrum, `N_DRAWS` at most: means need fewer than chances.
    """

    scatter: Scatter
    n_networks: int
    decision: Thresholds
    score: Score = "entropy"
    n_draws: int = N_DRAWS

    def draws(self, confidence: NDArray[np.float32], z: Floats) -> NDArray[np.float32]:
        """Draw the final score of each spectrum.

        Args:
            confidence: (m, n) of the members asked, none NaN, m at least 2.
            z: (m, n).

        Returns:
            (n, n_draws) bits. The same draws for the same spectrum, whatever stands beside it.
        """
        n = confidence.shape[1]
        blocks = [slice(start, start + _BLOCK_ROWS) for start in range(0, n, _BLOCK_ROWS)]
        parts = [self._draw(confidence[:, rows], z[:, rows]) for rows in blocks]
        return np.concatenate(parts) if parts else np.empty((0, self.n_draws), np.float32)

    def _draw(self, confidence: NDArray[np.float32], z: Floats) -> NDArray[np.float32]:
        mean, width = self._members_there_could_be(confidence)  # (n, draws) each
        if self.score == "entropy":
            return self._votes(confidence, z, mean, width)
        return self._soft(confidence, z, mean, width)

    def _votes(
        self, confidence: NDArray[np.float32], z: Floats, mean: Floats, width: Floats
    ) -> NDArray[np.float32]:
        rest = self.n_networks - len(confidence)
        above = (mean - special.logit(self.decision.confidence)) / width
        more = rest * _with_noise(special.ndtr(above), rest, self._normal[2])
        votes = self.decision.is_quasar(confidence).astype(np.float64)
        n_quasar, n_high = self._sums(votes, more, confidence, z)
        # Whole votes: the drawn entropies tie with those of real ensembles.
        n_quasar, n_high = np.rint(n_quasar), np.rint(n_high)
        return _entropy_of(n_quasar / self.n_networks, n_high / self.n_networks)

    def _soft(
        self, confidence: NDArray[np.float32], z: Floats, mean: Floats, width: Floats
    ) -> NDArray[np.float32]:
        rest, said = self.n_networks - len(confidence), confidence.astype(np.float64)
        # The others are a sample too: their mean and width are not those of all there could be.
        degrees = max(rest, 1)
        mean = mean + width * self._normal[4] / np.sqrt(degrees)
        width = width * np.sqrt(_chi_squares(self._uniform[5], degrees) / degrees)
        sure, bits = _means_of_normal_logits(mean, width)
        n_quasar, n_high = self._sums(said, rest * sure, confidence, z)
        entropy = _entropy_of(n_quasar / self.n_networks, n_high / self.n_networks)
        if self.score == "soft_entropy":
            return entropy
        single = _binary_bits(said).sum(axis=0)[:, None] + rest * bits
        left = np.maximum(entropy - single / self.n_networks, 0.0)
        return np.asarray(left, dtype=np.float32)

    def _sums(
        self, said: Floats, more: Floats, confidence: NDArray[np.float32], z: Floats
    ) -> tuple[Floats, Floats]:
        """(n, draws) votes for a quasar, and for a high redshift, of the whole ensemble."""
        high = (said * (z >= self.decision.high_z_min)).sum(axis=0)[:, None]
        shares = _with_noise(self._shares(confidence, z), more, self._normal[6])
        return said.sum(axis=0)[:, None] + more, high + more * shares

    def _members_there_could_be(self, confidence: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """Draws of mean and width of a spectrum's logits over all members there could be."""
        asked = len(confidence)
        logits = _logit(confidence)
        mean = logits.mean(axis=0)
        prior = self.scatter.prior_variance[np.searchsorted(_LOGIT_BINS, mean)]
        freedom = _PRIOR_MEMBERS + asked - 1
        variance = (_PRIOR_MEMBERS * prior + (asked - 1) * logits.var(axis=0, ddof=1)) / freedom
        stretch = np.sqrt(freedom / _chi_squares(self._uniform[0], freedom))
        width = np.sqrt(variance)[:, None] * stretch
        return mean[:, None] + width * self._normal[1] / np.sqrt(asked), width

    def _shares(self, confidence: NDArray[np.float32], z: Floats) -> Floats:
        """(n, draws) of the share of high redshifts among further votes for a quasar."""
        n_like, n_high, border = _share_counts(confidence, z, self.decision, self.score)
        cases, case = np.unique(np.stack([border, n_like, n_high]), axis=1, return_inverse=True)
        prior = self.scatter.prior_share[cases[0]]
        alpha, beta = prior[:, 0] + cases[2], prior[:, 1] + cases[1] - cases[2]
        quantiles = special.betaincinv(alpha[:, None], beta[:, None], self._uniform[3])
        return np.asarray(quantiles[case.ravel()])

    @property
    def _uniform(self) -> Floats:
        return _UNIFORM[:, : self.n_draws]

    @property
    def _normal(self) -> Floats:
        return _NORMAL[:, : self.n_draws]


@cache
def _normal_logit_table() -> tuple[Floats, Floats]:
    """Mean confidence, and mean entropy of it in bits, by mean and width of a normal logit."""
    centres = np.arange(-_LOGIT_RANGE, _LOGIT_RANGE + _TABLE_STEP, _TABLE_STEP)
    widths = np.arange(0.0, _TABLE_WIDEST + _TABLE_STEP, _TABLE_STEP)
    nodes = np.linspace(-5.0, 5.0, 161)
    weights = np.exp(-0.5 * nodes**2)
    weights /= weights.sum()
    said = special.expit(centres[:, None, None] + widths[:, None] * nodes)
    return said @ weights, _binary_bits(said) @ weights


def _means_of_normal_logits(mean: Floats, width: Floats) -> tuple[Floats, Floats]:
    """Read both tables at (n, draws) places, linear between their steps."""
    tables = _normal_logit_table()
    row, along = _place(mean + _LOGIT_RANGE, len(tables[0]))
    column, across = _place(width, tables[0].shape[1])
    sure, bits = (
        (1 - along) * ((1 - across) * t[row, column] + across * t[row, column + 1])
        + along * ((1 - across) * t[row + 1, column] + across * t[row + 1, column + 1])
        for t in tables
    )
    return np.asarray(sure), np.asarray(bits)


def _place(value: Floats, size: int) -> tuple[NDArray[np.int64], Floats]:
    """Step of a table below a value, and the part of the step beyond it; ends are kept."""
    steps = np.clip(value / _TABLE_STEP, 0.0, size - 1.0)
    below = np.minimum(steps.astype(np.int64), size - 2)
    return below, steps - below


def _binary_bits(said: Floats) -> Floats:
    return np.asarray((special.entr(said) + special.entr(1.0 - said)) / np.log(2.0))


def _chi_squares(chance: Floats, freedom: float) -> Floats:
    """Quantiles of the χ² law. scipy.stats has them too, but takes a second to import."""
    return np.asarray(2.0 * special.gammaincinv(freedom / 2.0, chance))


def _with_noise(chance: Floats, number: Floats | int, normal: Floats) -> Floats:
    """Part of so many members that say yes, each with that chance."""
    noise = normal * np.sqrt(chance * (1 - chance) / np.maximum(number, 1))
    return np.asarray(np.clip(chance + noise, 0.0, 1.0))


def _entropy_of(quasar: Floats, high: Floats) -> NDArray[np.float32]:
    low = np.maximum(quasar - high, 0.0)
    nats = special.entr(1.0 - quasar) + special.entr(low) + special.entr(high)
    return np.asarray(nats / np.log(2.0), dtype=np.float32)


def _logit(confidence: NDArray[np.float32]) -> Floats:
    with np.errstate(divide="ignore"):
        logits = special.logit(confidence.astype(np.float64))
    return np.asarray(np.clip(logits, -_LOGIT_RANGE, _LOGIT_RANGE))


def _share_counts(
    confidence: NDArray[np.float32], z: Floats, decision: Thresholds, score: Score
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Members that see a quasar at all, those of them at high redshift, bin of the distance.

    The distance is that of the median: one member that takes a line for another must not move
    its spectrum towards the border, or those far from it would seem to agree always.
    """
    like = confidence > min(_QUASAR_LIKE[score], decision.confidence)
    high_z_min = decision.high_z_min
    border = np.searchsorted(_BORDER_BINS, _median_log(z, confidence) - np.log1p(high_z_min))
    return like.sum(axis=0), (like & (z >= high_z_min)).sum(axis=0), border


def _median_log(z: Floats, weights: NDArray[np.float32]) -> Floats:
    """ln(1+z) of the member in the middle, by weight."""
    order = np.argsort(z, axis=0, kind="stable")
    heavy = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0, dtype=np.float64)
    middle = np.argmax(heavy >= 0.5 * heavy[-1], axis=0)
    place = np.take_along_axis(order, middle[None], axis=0)
    return np.asarray(np.log1p(np.take_along_axis(z, place, axis=0)[0]))


def _sums(place: NDArray[np.int64], n_bins: int, columns: Sequence[NDArray[Any]]) -> Floats:
    return np.stack([np.bincount(place, column, n_bins) for column in columns], axis=1)


def _even_draws(n_columns: int) -> Floats:
    """(n_columns, N_DRAWS) evenly spread in the unit cube: Roberts' R sequence.

    Source: Martin Roberts, "The Unreasonable Effectiveness of Quasirandom Sequences" (2018).
    """
    ratio = np.max(np.real(np.roots([1.0, *[0.0] * (n_columns - 1), -1.0, -1.0])))
    steps = ratio ** -np.arange(1.0, n_columns + 1)
    return np.asarray((0.5 + np.outer(steps, np.arange(N_DRAWS))) % 1.0)


# The same draws for every spectrum and every run: there is no randomness to seed.
_UNIFORM: Final = np.clip(_even_draws(7), 1e-6, 1 - 1e-6)
_NORMAL: Final = special.ndtri(_UNIFORM)
