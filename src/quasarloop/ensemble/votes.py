"""Votes of an ensemble on each spectrum, as columns: counts, entropies, redshifts.

The columns are documented in ``docs/guides/ensemble.md``; selection and reports are built on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.classes import CONFIDENCE_THRESHOLD, Thresholds, Vote
from quasarloop.ensemble.entropy import (
    entropy_bits,
    mean_over_members,
    mutual_information,
    soft_classes,
    two_class_information,
    vote_entropy,
)
from quasarloop.errors import DataFormatError
from quasarloop.grid import RED_END, RedEnd
from quasarloop.lines import Line

__all__ = [
    "COUNTED_AT",
    "MemberFinds",
    "VoteRule",
    "count_column",
    "vote_columns",
    "vote_counts",
]

# Confidences at which votes are counted besides the deciding one. Source: our choice.
COUNTED_AT: Final = (0.5, 0.7, 0.8, 0.9, CONFIDENCE_THRESHOLD, 0.98, 0.99)
# Quantiles of the redshift among members that vote for a quasar: median and a Gaussian's ±1σ.
_Z_QUANTILES: Final = {"Z_Q16": 0.16, "Z_Q50": 0.50, "Z_Q84": 0.84}
_BLOCK_ROWS: Final = 1024


@dataclass(frozen=True)
class VoteRule:
    """What makes a vote.

    Attributes:
        thresholds: confidences at which votes are counted, increasing; the deciding one is added.
        decision: thresholds of the votes that entropy and redshifts are computed from.
        red_end: redshift of a line past the red end of the grid (see `network.decode`).

    Raises:
        DataFormatError: a confidence outside 0 to 1.
    """

    thresholds: tuple[float, ...] = COUNTED_AT
    decision: Thresholds = field(default_factory=Thresholds)
    red_end: RedEnd = RED_END

    def __post_init__(self) -> None:
        thresholds = tuple(sorted({*self.thresholds, self.decision.confidence}))
        if not 0 < thresholds[0] <= thresholds[-1] < 1:
            raise DataFormatError(
                f"vote thresholds {thresholds} must lie between 0 and 1, both excluded"
            )
        object.__setattr__(self, "thresholds", thresholds)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON keeps."""
        return {
            "thresholds": list(self.thresholds),
            **self.decision.to_dict(),
            "red_end": self.red_end,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "VoteRule":
        """Return the rule `to_dict` gave."""
        return cls(tuple(plain["thresholds"]), Thresholds.from_dict(plain), plain["red_end"])


class MemberFinds(NamedTuple):
    """Predictions of the members for some spectra.

    Attributes:
        confidence: (n_networks, n) float32, of the line that decides: the largest over emission
            lines (the k-th largest if k lines must count). NaN where there is no prediction.
        z_best: (n_networks, n) float64, redshift of the most confident emission line; (1, n) of
            heads, which share it.
        line_mean: (n, n_lines) float64 mean confidence of each line over the members, NaN where
            there is no prediction.
        p_high: (n,) probability that a quasar is of `Vote.HIGH_Z`, of heads that share their
            redshifts; None where every member has its own.
    """

    confidence: NDArray[np.float32]
    z_best: NDArray[np.float64]
    line_mean: NDArray[np.float64]
    p_high: NDArray[np.float32] | None = None

    def rows(self, rows: slice) -> "MemberFinds":
        """Return the predictions for some of the spectra."""
        p_high = None if self.p_high is None else self.p_high[rows]
        own = self.confidence[:, rows], self.z_best[:, rows], self.line_mean[rows]
        return MemberFinds(*own, p_high)


def count_column(vote: Vote, threshold: float) -> str:
    """Return the name of the column that counts a class at a threshold.

    >>> [count_column(Vote.LOW_Z, t) for t in (0.95, 0.5, 0.995)]
    ['N_LOW_Z_095', 'N_LOW_Z_050', 'N_LOW_Z_0995']
    """
    two_decimals = f"{threshold:.2f}"
    text = two_decimals if float(two_decimals) == threshold else str(threshold)
    return f"N_{vote.name}_{text.replace('.', '')}"


def vote_counts(
    confidence: NDArray[np.float32], z_best: NDArray[np.float64], decision: Thresholds
) -> NDArray[np.int64]:
    """Count the members that vote for each class: N_CLASS of Eq. 3.1.

    Args:
        confidence: (n_networks, n) of the line that decides; NaN where there is no prediction.
        z_best: (n_networks, n) redshift of the most confident line.
        decision: what makes a quasar.

    Returns:
        (n, 3) in the order of `Vote`; they add up to the members with a prediction.

    Source: paper, Section 3 and Eq. 3.1.
    """
    quasar = decision.is_quasar(confidence)
    n_predicted = np.count_nonzero(~np.isnan(confidence), axis=0)
    n_qso = np.count_nonzero(quasar, axis=0)
    n_high = np.count_nonzero(quasar & (z_best >= decision.high_z_min), axis=0)
    return np.column_stack([n_predicted - n_qso, n_qso - n_high, n_high])  # as `Vote`


def vote_columns(
    finds: MemberFinds, rule: VoteRule, lines: Sequence[Line]
) -> dict[str, NDArray[Any]]:
    """Return the score columns of the votes, in order.

    Args:
        finds: of every row; without a prediction (all NaN) counts are 0 and scores NaN.
        rule: thresholds.
        lines: the networks' lines, in the order of ``finds.line_mean``.
    """
    n = finds.confidence.shape[1]
    blocks = [
        _block_columns(finds.rows(slice(start, start + _BLOCK_ROWS)), rule)
        for start in range(0, max(n, 1), _BLOCK_ROWS)
    ]
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    for index, line in enumerate(lines):
        columns[f"C_{line.column}"] = finds.line_mean[:, index].astype(np.float32)
    return columns


def _block_columns(finds: MemberFinds, rule: VoteRule) -> dict[str, NDArray[Any]]:
    confidence, z_best, decision = finds.confidence, finds.z_best, rule.decision
    n_predicted = np.count_nonzero(~np.isnan(confidence), axis=0)
    columns: dict[str, NDArray[Any]] = {"N_ASKED": n_predicted.astype(np.uint16)}
    for threshold in rule.thresholds:
        counts = vote_counts(confidence, z_best, decision.replaced(threshold))
        for vote in Vote:
            columns[count_column(vote, threshold)] = counts[:, vote].astype(np.uint16)
        if threshold == decision.confidence:
            columns["ENTROPY"] = vote_entropy(counts)
    quasar = decision.is_quasar(confidence)
    if finds.p_high is None:
        soft = soft_classes(confidence, z_best >= decision.high_z_min)  # (m, n, 3)
        mean_soft, information = mean_over_members(soft), mutual_information(soft)
        z_of_quasars = np.where(quasar, z_best, np.nan)
    else:  # members share p and z: p cancels in what they disagree about
        mean_soft = soft_classes(confidence.mean(axis=0, dtype=np.float64), finds.p_high)
        information = two_class_information(confidence)
        z_of_quasars = np.where(quasar.any(axis=0), z_best[:1], np.nan)
    columns["MUTUAL_INFORMATION"] = information.astype(np.float32)
    columns["SOFT_ENTROPY"] = entropy_bits(mean_soft).astype(np.float32)
    for vote in Vote:
        columns[f"P_{vote.name}"] = mean_soft[:, vote].astype(np.float32)
    return columns | _redshift_columns(z_of_quasars)


def _redshift_columns(z: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Mean, scatter and quantiles of (n_networks, n) redshifts, NaN left out."""
    mean = mean_over_members(z)
    scatter = np.sqrt(mean_over_members(np.square(z - mean)))
    columns = {"Z_MEAN": mean.astype(np.float32), "Z_STD": scatter.astype(np.float32)}
    ordered = np.sort(z, axis=0)  # NaN last
    last = np.count_nonzero(~np.isnan(z), axis=0) - 1
    for name, part in _Z_QUANTILES.items():
        # Always some member's redshift, never one between two peaks that no member has.
        rank = np.maximum(np.ceil(part * (last + 1)).astype(np.intp) - 1, 0)
        value = np.take_along_axis(ordered, rank[None], axis=0)[0]
        columns[name] = value.astype(np.float32)  # NaN where no member votes for a quasar
    return columns
