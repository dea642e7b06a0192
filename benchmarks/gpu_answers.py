"""What a device decides, held against what the CPU decides; and seconds of its work."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.ensemble.entropy import vote_entropy
from quasarloop.ensemble.votes import VoteRule, vote_counts
from quasarloop.network.decode import LineFinds, emission_lines
from quasarloop.network.predict import Predictor

# Confidences may differ by so much; spectra as near a threshold as this may change class. A
# redshift is as near the border of high z. Source: our choice.
_TOLERANCE: Final = 1e-4
_Z_TOLERANCE: Final = 1e-3


@dataclass(frozen=True)
class Answers:
    """Decisions on one device.

    Attributes:
        confidence: (n_networks, n) of the line that decides.
        z: (n_networks, n), or (1, n) where all share it.
    """

    confidence: NDArray[np.floating]
    z: NDArray[np.float64]

    def near(self, rule: VoteRule) -> NDArray[np.bool_]:
        """Return (n,) whether any network is next to what decides of it."""
        decision = rule.decision
        confidence = np.abs(self.confidence - decision.confidence) <= _TOLERANCE
        border = np.abs(self.z - decision.high_z_min) <= _Z_TOLERANCE
        return np.asarray((confidence | border).any(axis=0))

    def counts(self, rule: VoteRule) -> NDArray[np.int64]:
        """Return (n, 3) votes."""
        z = np.broadcast_to(self.z, self.confidence.shape)
        return vote_counts(self.confidence.astype(np.float32), z, rule.decision)


def compared(name: str, cpu: Answers, other: Answers, rule: VoteRule) -> dict[str, Any]:
    """Return how far a device's decisions are from the CPU's."""
    near, (ours, theirs) = cpu.near(rule), (answers.counts(rule) for answers in (cpu, other))
    differ = (ours != theirs).any(axis=1)
    entropies = np.abs(vote_entropy(ours) - vote_entropy(theirs))
    largest = float(np.abs(cpu.confidence - other.confidence).max())
    unexplained = int(np.count_nonzero((differ | (entropies > 0)) & ~near))
    return {
        "name": name,
        "largest_difference": largest,
        "differ": int(np.count_nonzero(differ)),
        "next_to_a_threshold": int(np.count_nonzero(near)),
        "unexplained": unexplained,
        "agrees": largest <= _TOLERANCE and not unexplained,
    }


def decided(networks: Sequence[Predictor], finds: Sequence[LineFinds]) -> Answers:
    """Return the decisions of networks, of their finds for the same spectra."""
    best = [
        emission_lines(found, one.config, one.thresholds.n_lines)
        for one, found in zip(networks, finds, strict=True)
    ]
    return Answers(np.stack([b.confidence for b in best]), np.stack([b.z for b in best]))


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
