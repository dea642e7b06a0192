"""How confused an ensemble is about a spectrum: from votes, and from soft confidences.

Everything is in bits. Hard votes follow the paper; the soft scores use each member's
confidence instead of its class, and so do not depend on one threshold.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.classes import Vote

__all__ = [
    "MAX_ENTROPY_BITS",
    "class_fractions",
    "count_votes",
    "entropy_bits",
    "mean_over_members",
    "mutual_information",
    "soft_classes",
    "two_class_information",
    "vote_entropy",
]

MAX_ENTROPY_BITS: Final = float(np.log2(len(Vote)))


def count_votes(votes: ArrayLike) -> NDArray[np.int64]:
    """Count the networks that chose each class: N_CLASS of Eq. 3.1.

    Args:
        votes: (n_networks, n) of `Vote` values.

    Returns:
        (n, 3) counts in the order of `Vote`.

    >>> count_votes([[0, 2], [1, 2], [1, 2]]).tolist()
    [[1, 2, 0], [0, 0, 3]]
    """
    cast = np.asarray(votes)
    return np.stack([np.count_nonzero(cast == vote, axis=0) for vote in Vote], axis=-1)


def class_fractions(counts: ArrayLike) -> NDArray[np.float64]:
    """Return C_CLASS = N_CLASS / N_ENSEMBLE; NaN where no network has a prediction.

    Args:
        counts: (..., k) votes per class.

    Source: paper, Eq. 3.1.
    """
    numbers = np.asarray(counts, dtype=np.float64)
    total = numbers.sum(axis=-1, keepdims=True)
    fractions = np.full_like(numbers, np.nan)
    np.divide(numbers, total, out=fractions, where=total > 0)
    return fractions


def entropy_bits(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Return H = -Σ C log2 C over the last axis, with 0 log2 0 = 0; NaN stays NaN.

    Terms are added from the smallest on, so that swapping classes changes no bit and equal
    confusions tie exactly.

    Args:
        probabilities: (..., k), not negative, summing to 1.

    Source: paper, Eq. 3.2.

    >>> entropy_bits([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]).tolist()
    [1.0, 0.0]
    """
    ordered = np.sort(np.asarray(probabilities, dtype=np.float64), axis=-1)
    terms = -ordered * np.log2(np.where(ordered > 0, ordered, 1.0))
    # NaN would pass the mask above as 1.
    entropy = np.where(np.isnan(ordered).any(axis=-1), np.nan, terms.sum(axis=-1))
    return np.asarray(np.maximum(entropy, 0.0))  # -0.0 of a sure class becomes 0.0


def vote_entropy(counts: ArrayLike) -> NDArray[np.float64]:
    """Return the entropy of the vote, in bits; NaN where no network has a prediction.

    Args:
        counts: (..., k) votes per class; k is 3 for the paper's query, 2 for its repeats.

    Source: paper, Eqs. 3.1 and 3.2.

    >>> vote_entropy([[50, 50, 50]]).tolist() == [MAX_ENTROPY_BITS]
    True
    """
    return entropy_bits(class_fractions(counts))


def soft_classes(confidence: ArrayLike, p_high: ArrayLike) -> NDArray[np.float64]:
    """Read each member's confidence as probabilities of the three classes.

    The most confident line's confidence c is the probability of a quasar; its part p goes to
    high redshift: (1-c, c (1-p), c p). Of whole networks p is 0 or 1, by the line's redshift.

    Args:
        confidence: (...) largest confidence over emission lines, in [0, 1].
        p_high: probability that a quasar is of `Vote.HIGH_Z`; of a shape that fits.

    Returns:
        (..., 3) in the order of `Vote`.

    Source: our choice, as the soft form of paper, Section 3.
    """
    quasar = np.asarray(confidence, dtype=np.float64)
    high = np.asarray(p_high, dtype=np.float64)
    return np.stack([1.0 - quasar, quasar * (1.0 - high), quasar * high], axis=-1)


def mutual_information(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Return what the members disagree about, in bits: H(mean) - mean(H), never negative.

    Zero where all members agree, however unsure they are; the entropy of the mean also counts
    their shared doubt.

    Args:
        probabilities: (n_networks, ..., k) of each member; members that are NaN are left out.

    Source: Houlsby et al. 2011, arXiv:1112.5745, Eq. 2 (BALD).

    >>> mutual_information([[[1.0, 0.0]], [[0.0, 1.0]]]).tolist()
    [1.0]
    """
    members = np.asarray(probabilities, dtype=np.float64)
    shared_doubt = mean_over_members(entropy_bits(members))
    return np.asarray(np.maximum(entropy_bits(mean_over_members(members)) - shared_doubt, 0.0))


def two_class_information(confidence: ArrayLike) -> NDArray[np.float64]:
    """Return `mutual_information` of the classes (1-c, c), in bits.

    Args:
        confidence: (n_networks, n) of each member; NaN in all or none of a spectrum.

    >>> two_class_information([[0.0], [1.0]]).tolist()
    [1.0]
    """
    members = np.asarray(confidence, dtype=np.float64)
    doubt = _two_class_entropy(members).mean(axis=0)
    return np.asarray(np.maximum(_two_class_entropy(members.mean(axis=0)) - doubt, 0.0))


def _two_class_entropy(c: NDArray[np.float64]) -> NDArray[np.float64]:
    # Without the sorting and stacking of `entropy_bits`: this is most of the work of heads' votes.
    other = 1.0 - c
    tiny = np.finfo(float).tiny
    terms = c * np.log(np.maximum(c, tiny)) + other * np.log(np.maximum(other, tiny))
    return np.asarray(-terms / np.log(2.0))


def mean_over_members(values: ArrayLike) -> NDArray[np.float64]:
    """Return the mean over the first axis of all that is not NaN; NaN where all is.

    >>> mean_over_members([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]]).tolist()
    [2.0, nan]
    """
    members = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(members)
    n_known = np.count_nonzero(known, axis=0)
    total = np.where(known, members, 0.0).sum(axis=0)
    mean = np.full(total.shape, np.nan)
    np.divide(total, n_known, out=mean, where=n_known > 0)
    return mean
