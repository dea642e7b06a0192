"""What an ensemble says of each spectrum, as columns: counts, entropies, redshifts.

The columns are documented in ``docs/ensemble.md``; selection and reports are built on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.classes import CONFIDENCE_THRESHOLD, HIGH_Z_MIN, N_LINES_THRESHOLD, Vote
from quasarloop.ensemble.entropy import (
    entropy_bits,
    mean_of_asked,
    mutual_information,
    soft_classes,
    vote_entropy,
)
from quasarloop.errors import DataFormatError
from quasarloop.lines import Line

__all__ = [
    "DEFAULT_THRESHOLDS",
    "MemberFinds",
    "VoteSettings",
    "count_column",
    "vote_columns",
    "vote_counts",
]

# Source: issue text and our choice; the paper's own threshold is always among them.
DEFAULT_THRESHOLDS: Final = (0.5, 0.7, 0.8, 0.9, CONFIDENCE_THRESHOLD, 0.98, 0.99)
# Quantiles of the redshift among members that say quasar: median and a Gaussian's ±1σ.
_Z_QUANTILES: Final = {"Z_Q16": 0.16, "Z_Q50": 0.50, "Z_Q84": 0.84}
_BLOCK_ROWS: Final = 1024


@dataclass(frozen=True)
class VoteSettings:
    """What makes a vote.

    Attributes:
        thresholds: confidences at which votes are counted, increasing; 0.95 is added if absent.
        n_lines: how many emission lines must be above a threshold.
        high_z_min: lowest redshift of `Vote.HIGH_Z`.
        red_end: what a line past the red end of the grid gives (see `network.decode`).
    """

    thresholds: tuple[float, ...] = DEFAULT_THRESHOLDS
    n_lines: int = N_LINES_THRESHOLD
    high_z_min: float = HIGH_Z_MIN
    red_end: Literal["clamp", "extrapolate"] = "extrapolate"

    def __post_init__(self) -> None:
        thresholds = tuple(sorted({*self.thresholds, CONFIDENCE_THRESHOLD}))
        if not 0 < thresholds[0] <= thresholds[-1] < 1:
            raise DataFormatError(
                f"vote thresholds {thresholds} must lie between 0 and 1, both excluded"
            )
        object.__setattr__(self, "thresholds", thresholds)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON keeps."""
        return {**asdict(self), "thresholds": list(self.thresholds)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "VoteSettings":
        """Return the settings `to_dict` gave."""
        return cls(**{**plain, "thresholds": tuple(plain["thresholds"])})


class MemberFinds(NamedTuple):
    """What members said of the spectra of one shard.

    Attributes:
        confidence: (n_networks, n) float32, of the line that decides: the largest over emission
            lines (the k-th largest if k lines must count). NaN where a member was not asked.
        z_best: (n_networks, n) float64, redshift of the most confident emission line.
        line_mean: (n, n_lines) float64 mean confidence of each line over the members asked,
            NaN where none was.
    """

    confidence: NDArray[np.float32]
    z_best: NDArray[np.float64]
    line_mean: NDArray[np.float64]


def count_column(vote: Vote, threshold: float = CONFIDENCE_THRESHOLD) -> str:
    """Return the name of the column that counts a class at a threshold.

    >>> count_column(Vote.LOW_Z), count_column(Vote.NOT_QSO, 0.5), count_column(Vote.HIGH_Z, 0.995)
    ('N_LOW_Z_095', 'N_NOT_QSO_050', 'N_HIGH_Z_0995')
    """
    two_decimals = f"{threshold:.2f}"
    text = two_decimals if float(two_decimals) == threshold else str(threshold)
    return f"N_{vote.name}_{text.replace('.', '')}"


def vote_counts(
    confidence: NDArray[np.float32],
    z_best: NDArray[np.float64],
    threshold: float = CONFIDENCE_THRESHOLD,
    *,
    high_z_min: float = HIGH_Z_MIN,
) -> NDArray[np.int64]:
    """Count the members that vote for each class: N_CLASS of Eq. 3.1.

    Args:
        confidence: (n_networks, n) of the line that decides; NaN where a member was not asked.
        z_best: (n_networks, n) redshift of the most confident line.
        threshold: a quasar is strictly above it.
        high_z_min: lowest redshift of `Vote.HIGH_Z`.

    Returns:
        (n, 3) in the order of `Vote`; they add up to the members asked.

    Source: paper, Section 3 and Eq. 3.1.
    """
    n_asked = np.count_nonzero(~np.isnan(confidence), axis=0)
    quasar = confidence > np.float32(threshold)  # NaN is not
    high = z_best >= high_z_min
    n_high = np.count_nonzero(quasar & high, axis=0)
    n_low = np.count_nonzero(quasar & ~high, axis=0)
    return np.stack([n_asked - n_high - n_low, n_low, n_high], axis=1)


def vote_columns(
    finds: MemberFinds, settings: VoteSettings, lines: Sequence[Line]
) -> dict[str, NDArray[Any]]:
    """Turn what members said into the score columns of the votes, in order.

    Args:
        finds: of every row, also those not asked about (all NaN: counts 0, scores NaN).
        settings: thresholds and class border.
        lines: the networks' lines, in the order of ``finds.line_mean``.
    """
    n = finds.confidence.shape[1]
    blocks = [
        _block_columns(
            finds.confidence[:, start : start + _BLOCK_ROWS],
            finds.z_best[:, start : start + _BLOCK_ROWS],
            settings,
        )
        for start in range(0, max(n, 1), _BLOCK_ROWS)
    ]
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    for index, line in enumerate(lines):
        columns[f"C_{line.column}"] = finds.line_mean[:, index].astype(np.float32)
    return columns


def _block_columns(
    confidence: NDArray[np.float32], z_best: NDArray[np.float64], settings: VoteSettings
) -> dict[str, NDArray[Any]]:
    n_asked = np.count_nonzero(~np.isnan(confidence), axis=0)
    columns: dict[str, NDArray[Any]] = {"N_ASKED": n_asked.astype(np.uint16)}
    for threshold in settings.thresholds:
        counts = vote_counts(confidence, z_best, threshold, high_z_min=settings.high_z_min)
        for vote in Vote:
            columns[count_column(vote, threshold)] = counts[:, vote].astype(np.uint16)
        if threshold == CONFIDENCE_THRESHOLD:
            columns["ENTROPY"] = vote_entropy(counts)
    soft = soft_classes(confidence, z_best, high_z_min=settings.high_z_min)  # (m, n, 3)
    mean_soft = mean_of_asked(soft)  # (n, 3)
    columns["MUTUAL_INFORMATION"] = mutual_information(soft).astype(np.float32)
    columns["SOFT_ENTROPY"] = entropy_bits(mean_soft).astype(np.float32)
    for vote in Vote:
        columns[f"P_{vote.name}"] = mean_soft[:, vote].astype(np.float32)
    quasar = confidence > np.float32(CONFIDENCE_THRESHOLD)
    columns.update(_redshift_columns(np.where(quasar, z_best, np.nan)))
    return columns


def _redshift_columns(z: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Mean, scatter and quantiles of (n_networks, n) redshifts, NaN left out."""
    mean = mean_of_asked(z)
    scatter = np.sqrt(mean_of_asked(np.square(z - mean)))
    columns = {"Z_MEAN": mean.astype(np.float32), "Z_STD": scatter.astype(np.float32)}
    ordered = np.sort(z, axis=0)  # NaN last
    last = np.count_nonzero(~np.isnan(z), axis=0) - 1
    for name, part in _Z_QUANTILES.items():
        # Always some member's redshift, never one between two peaks that nobody proposed.
        rank = np.maximum(np.ceil(part * (last + 1)).astype(np.intp) - 1, 0)
        value = np.take_along_axis(ordered, rank[None], axis=0)[0]
        columns[name] = value.astype(np.float32)  # NaN where no member says quasar
    return columns
