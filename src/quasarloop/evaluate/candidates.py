"""Which of several networks leaves a round: judged on labels weighted back to the pool.

Chosen labels are no fair sample of the pool: they are its most confusing spectra. Yet a part of
each round may be drawn at random from what was left after the choice, and the chosen ones are
known one by one. Together they give sums over the pool without bias, however the choice was made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.errors import TruthError
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.evaluate.metrics import completeness_at_purity, has_wrong_redshift

__all__ = [
    "CandidateScore",
    "Candidates",
    "completeness_draws",
    "judge_candidates",
    "pool_weights",
]

# Resamplings behind every error. Source: our choice; it makes an error certain to 5 %.
N_BOOTSTRAPS: Final = 200
# Confidences count as at least so far from 0 and 1 in the log loss, or one spectrum would decide.
# Source: our choice, half the impurity of the purest sample that is judged.
_LEAST_DOUBT: Final = (1 - FIXED_PURITIES[-1]) / 2


def pool_weights(
    round_number: NDArray[np.integer],
    at_random: NDArray[np.bool_],
    n_drawn_from: Mapping[int, int],
) -> NDArray[np.float64]:
    """Return how many objects of the pool each labelled object counts for.

    In a round, some objects are chosen by any rule and n others are drawn at random from the N
    that are then left. All labels known before that draw, each counted once, and the drawn ones,
    N/n times each, have on average the pool's sums. Rounds with such a draw are averaged, each by
    its n; labels of later rounds are among what an earlier draw counted for.

    Args:
        round_number: (n_labels,) round of each label; 0 for the first T. Labels of spectra that
            could not be chosen (outliers) are of no pool: leave them out.
        at_random: (n_labels,) True for labels drawn at random from what was left of the pool.
        n_drawn_from: round → N (`query.select.Selection.n_drawn_from`). It has 0 only if the first
            T is a random part of the pool; otherwise labels of round 0 have weight 0.

    Returns:
        (n_labels,); for all labels of a campaign, of mean sum N of the pool.

    Raises:
        TruthError: nothing was drawn at random, or more than there was.

    Source: Horvitz & Thompson 1952 (JASA 47, 663), round by round; Farquhar et al. 2021,
    arXiv:2101.11665, for one label per round.

    >>> in_round, drawn = np.array([1, 1, 1]), np.array([False, True, True])
    >>> pool_weights(in_round, drawn, {1: 100}).tolist()
    [1.0, 50.0, 50.0]
    """
    of_pool = (round_number > 0) | (0 in n_drawn_from)
    n_drawn = {r: int(np.sum(at_random & (round_number == r))) for r in sorted(n_drawn_from)}
    total = sum(n_drawn.values())
    if total == 0:
        raise TruthError(
            "no label was drawn at random from the pool, so chosen labels cannot be weighted back "
            "to it; draw part of each round at random (random_share)"
        )
    weight = np.zeros(len(round_number))
    for number, n in n_drawn.items():
        if n > n_drawn_from[number]:
            raise TruthError(
                f"round {number}: {n} labels were drawn at random from {n_drawn_from[number]} "
                "objects; count the objects that were left when they were drawn"
            )
        here = at_random & (round_number == number)
        known = of_pool & ~here & (round_number <= number)
        weight[known] += n / total
        weight[here] += n_drawn_from[number] / total  # n/total, N/n times
    return weight


@dataclass(frozen=True)
class CandidateScore:
    """One network on the labels it has not learned from, weighted.

    Errors are 1 σ, of a bootstrap over objects.

    Attributes:
        n_labels: those labels.
        log_loss, log_loss_error: mean cross-entropy of quasar or not, in nats.
        at_purity, at_purity_error: completeness at each of `FIXED_PURITIES`.
        wrong_z: share of the quasars whose redshift is wrong.
        better_by, better_by_error: log loss below that of the simpler network that led before it,
            on the labels that neither has learned from, and the error of this difference.
        fewer_wrong_by, fewer_wrong_by_error: the same of the share of wrong redshifts.
    """

    n_labels: int
    log_loss: float
    log_loss_error: float
    at_purity: tuple[float, ...]
    at_purity_error: tuple[float, ...]
    wrong_z: float
    better_by: float
    better_by_error: float
    fewer_wrong_by: float
    fewer_wrong_by_error: float

    @property
    def leads(self) -> bool:
        """Whether it takes the place of the one that led: by class, or by redshift if that ties."""
        return self.better_by > self.better_by_error or (
            self.better_by >= 0 and self.fewer_wrong_by > self.fewer_wrong_by_error
        )


@dataclass(frozen=True)
class Candidates:
    """What became of all candidates.

    Attributes:
        leaves: name of the one that leaves.
        scores: by name, in the order given; of those with judged labels of both classes.
    """

    leaves: str
    scores: Mapping[str, CandidateScore]


def judge_candidates(
    confidence: Mapping[str, ArrayLike],
    z: Mapping[str, ArrayLike],
    is_qso: NDArray[np.bool_],
    z_true: NDArray[np.float64],
    weight: NDArray[np.float64],
    object_id: NDArray[np.int64],
    *,
    seed: int,
) -> Candidates:
    """Judge networks on labels that they have not learned from, and decide which leaves.

    The rule: the simplest network, which comes first, leads. A later one takes its place if its
    weighted log loss is lower by more than the error of the difference; or if it is not
    higher, and its share of wrong redshifts is lower by more than the error of that difference.

    Args:
        confidence: name → (n,) confidence that decides (`best_lines`), simplest network first; NaN
            where the network has learned from the label.
        z: name → (n,) redshift of the same line.
        is_qso: (n,) true class.
        z_true: (n,) true redshift; NaN where it is not known.
        weight: (n,) of `pool_weights`; labels of weight 0 are left out.
        object_id: (n,) equal for spectra of one object.
        seed: of the bootstrap.

    Raises:
        TruthError: no candidates, or labels of one class only for the simplest.

    Source: the rule is that of one standard error, Breiman et al. 1984 (Classification and
    Regression Trees, Section 3.4.3), where each must beat the simpler one.
    """
    scores: dict[str, CandidateScore] = {}
    leaves = next(iter(confidence), "")
    rows = {name: np.asarray(c, dtype=np.float64) for name, c in confidence.items()}
    wrong = {name: is_qso & has_wrong_redshift(z[name], z_true) for name in rows}
    for name, own in rows.items():
        judged = np.flatnonzero((weight > 0) & ~np.isnan(own) & ~np.isnan(rows[leaves]))
        true = is_qso[judged]
        if true.all() or not true.any():
            continue
        times = _resampled(weight[judged], object_id[judged], seed)
        leading, mine = (
            (_log_loss(rows[n][judged], true, times), _share(wrong[n][judged], true, times))
            for n in (leaves, name)
        )
        scores[name] = _score(own[judged], true, times, leading, mine)
        if scores[name].leads:
            leaves = name
    if leaves not in scores:
        counted = is_qso[weight > 0]
        raise TruthError(
            f"{len(confidence)} candidates cannot be compared on {int(counted.sum())} quasars and "
            f"{int((~counted).sum())} others; label more of both"
        )
    return Candidates(leaves, scores)


def completeness_draws(
    confidence: Mapping[str, ArrayLike],
    is_qso: NDArray[np.bool_],
    object_id: NDArray[np.int64],
    *,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Return completeness at `FIXED_PURITIES` of every network, under resamplings of the objects.

    Args:
        confidence: name → (n,) confidence that decides.
        is_qso: (n,) true class.
        object_id: (n,) equal for spectra of one object.
        seed: of the bootstrap.

    Returns:
        Name → (n_purities, 1 + n_bootstraps): of the sample as it is, then of its resamplings,
        which are the same for all networks, so that their differences have errors.
    """
    times = _resampled(np.ones(len(is_qso)), object_id, seed)
    return {
        name: _complete(np.asarray(c, dtype=np.float64), is_qso, times)
        for name, c in confidence.items()
    }


def _resampled(
    weight: NDArray[np.float64], object_id: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Return the weights as they are, then those of every resampling: (1 + N_BOOTSTRAPS, n)."""
    _, objects = np.unique(object_id, return_inverse=True)
    n_objects = int(objects.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(
        n_objects, np.full(n_objects, 1 / n_objects), size=N_BOOTSTRAPS
    )
    return np.concatenate([weight[None], drawn[:, objects] * weight])


def _log_loss(
    confidence: NDArray[np.float64], true: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted log loss under each row of weights, (k, n) → (k,)."""
    right = np.where(true, confidence, 1 - confidence)
    loss = -np.log(np.clip(right, _LEAST_DOUBT, 1 - _LEAST_DOUBT))
    return np.asarray(weights @ loss / weights.sum(axis=1))


def _share(
    wrong: NDArray[np.bool_], true: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted share of quasars that are wrong, (k,); 0 where there is no quasar."""
    quasars = weights @ true
    return np.asarray(weights @ wrong / np.where(quasars > 0, quasars, 1.0))


def _score(
    confidence: NDArray[np.float64],
    true: NDArray[np.bool_],
    weights: NDArray[np.float64],
    leading: tuple[NDArray[np.float64], NDArray[np.float64]],
    mine: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> CandidateScore:
    """Return the score of a network from its losses and shares, and those of the one that led."""
    complete = _complete(confidence, true, weights)
    (loss, wrong), (better, fewer) = (
        mine,
        (led - own for led, own in zip(leading, mine, strict=True)),
    )
    return CandidateScore(
        n_labels=len(true),
        log_loss=float(loss[0]),
        log_loss_error=float(np.std(loss[1:])),
        at_purity=tuple(complete[:, 0].tolist()),
        at_purity_error=tuple(np.std(complete[:, 1:], axis=1).tolist()),
        wrong_z=float(wrong[0]),
        better_by=float(better[0]),
        better_by_error=float(np.std(better[1:])),
        fewer_wrong_by=float(fewer[0]),
        fewer_wrong_by_error=float(np.std(fewer[1:])),
    )


def _complete(
    confidence: NDArray[np.float64], true: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return completeness at each fixed purity under each row of weights: (n_purities, k)."""
    return np.array(
        [
            [completeness_at_purity(confidence, true, purity, weight=w) for w in weights]
            for purity in FIXED_PURITIES
        ]
    )
