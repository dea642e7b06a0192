"""The rules of a cascade: whom to ask next, whom to drop, when it is done.

Where the answers come from is another's business: from the members themselves
(`cascade_asks`), or from a record of what they said (studies/cascade_curve.py).
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from quasarloop.classes import Thresholds
from quasarloop.ensemble.entropy import (
    entropy_bits,
    mean_over_members,
    mutual_information,
    soft_classes,
    vote_entropy,
)
from quasarloop.ensemble.forecast import Forecaster, Scatter, measure_scatter
from quasarloop.ensemble.options import CascadeOptions
from quasarloop.ensemble.votes import MemberFinds, vote_counts

__all__ = ["CascadeRun", "Respondents"]

Rows = NDArray[np.int64]

# Draws that tell a mean score well enough to choose the leaders.
_DRAWS_OF_MEANS: Final = 32
# Scores this close are equal: they come from float32 draws.
_TIE: Final = 1e-6

log = logging.getLogger(__name__)


class Respondents(Protocol):
    """Members who can be asked about rows of chunks, and who remember what they said."""

    @property
    def chunk_sizes(self) -> Sequence[int]:
        """Rows of every chunk."""

    def ask(self, name: str, rows: dict[int, Rows], first: int, stop: int) -> int:
        """Ask members ``first`` to ``stop`` about rows of chunks; return the questions asked."""

    def finds(self, chunk: int) -> MemberFinds:
        """Return all that was said of a chunk so far, NaN where a member was not asked."""


@dataclass
class CascadeRun:
    """A cascade under way: a few numbers per spectrum are kept here.

    Attributes:
        respondents: who is asked.
        options: how.
        decision: what makes a quasar.
        n_networks: members of the ensemble.
        stages: what happened in each stage.
        questions: asked so far: one member, one spectrum each.
        expected: top spectra dropped so far, by the forecast.
    """

    respondents: Respondents
    options: CascadeOptions
    decision: Thresholds
    n_networks: int
    stages: list[dict[str, Any]] = field(default_factory=list)
    questions: int = 0
    expected: float = 0.0

    def __post_init__(self) -> None:
        sizes = np.array(self.respondents.chunk_sizes, dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        n = int(self.starts[-1])
        self.asked = np.zeros(n, dtype=np.int32)
        self.score = np.full(n, -1.0, dtype=np.float32)  # exact where all were asked
        self.chance = np.zeros(n, dtype=np.float32)
        self.active = np.ones(n, dtype=bool)  # neither dropped nor asked of all

    def find(self) -> dict[str, Any]:
        """Ask until the top spectra are known; return the report."""
        stages = self.options.stages(self.n_networks)
        for number, members in enumerate(stages, start=1):
            self._stage(number, members, self.options.max_loss / len(stages))
        last = stages[-1] if stages else 0
        self._ask_rest("the others", self.active.copy(), last)
        audit = self._audit()
        self._mop_up()
        exact = self.asked == self.n_networks
        return {
            "stages": self.stages,
            "questions": self.questions,
            "work": self.questions / max(len(self.asked) * self.n_networks, 1),
            "n_exact": int(np.count_nonzero(exact)),
            "score_at_top_k": self._kth(self.score[exact]),
            "audit": audit,
            "expected_loss": audit["expected_after"] / self.options.top_k,
        }

    def exact_scores(self) -> NDArray[np.float32]:
        """Return every row's score from all that was said of it; NaN where nobody was asked."""
        parts = []
        for number, _ in enumerate(self._chunks()):
            finds = self.respondents.finds(number)
            parts.append(self._scores(finds.confidence, finds.z_best).astype(np.float32))
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _stage(self, number: int, members: int, loss: float) -> None:
        before = int(self.asked[self.active].max(initial=0))
        n_active = int(np.count_nonzero(self.active))
        self._ask(f"stage {number}", self.active, before, members)
        if number == 1:
            self._forget_unusable()
        forecaster = self._forecaster(members)
        self._forecast(replace(forecaster, n_draws=_DRAWS_OF_MEANS), members, floor=None)
        leaders = self.active & _best(self.score, round(self.options.lead * self.options.top_k))
        self._ask_rest(f"leaders {number}", leaders, members)
        exact = self.asked == self.n_networks
        # Both are likely below the K-th score of the whole ensemble: nothing is dropped too soon.
        floor = max(self._kth(self.score[exact]), self._kth(self.score))
        self._forecast(forecaster, members, floor=floor)
        dropped, expected = _droppable(self.chance, self.active, loss * self.options.top_k)
        self.active[dropped] = False
        self.expected += expected
        stage = {
            "members": members,
            "spectra": n_active,
            "leaders": int(np.count_nonzero(leaders)),
            "floor": floor,
            "dropped": len(dropped),
            "expected_lost": expected,
        }
        self.stages.append(stage)
        log.info("stage %d: %s", number, stage)

    def _audit(self) -> dict[str, Any]:
        """Ask all members about the likeliest of the dropped; compare with the forecast."""
        dropped = np.flatnonzero((self.asked < self.n_networks) & (self.chance > 0))
        order = np.lexsort((dropped, -self.chance[dropped]))
        chosen = dropped[order[: self.options.n_audit]]
        expected = float(self.chance[chosen].sum(dtype=np.float64))
        rows = np.zeros(len(self.asked), dtype=bool)
        rows[chosen] = True
        floor = self._kth(self.score[self.asked == self.n_networks])
        for asked in np.unique(self.asked[chosen]):
            self._ask_rest("audit", rows & (self.asked == asked), int(asked))
        found = int(np.count_nonzero(self.score[chosen] >= floor - _TIE))
        # What is left was forecast by the same rule: corrected by what the audit found.
        left = max(self.expected - expected, 0.0) * (found + 1.0) / (expected + 1.0)
        return {
            "spectra": len(chosen),
            "expected": expected,
            "found": found,
            "expected_after": left,
        }

    def _mop_up(self) -> None:
        """Ask the rest about dropped spectra whose few votes would rank them among the top."""
        while True:
            floor = self._kth(self.score[self.asked == self.n_networks])
            high = np.zeros(len(self.asked), dtype=bool)
            for number, rows in enumerate(self._chunks()):
                finds = self.respondents.finds(number)
                score = self._scores(finds.confidence, finds.z_best)
                partly = (self.asked[rows] > 0) & (self.asked[rows] < self.n_networks)
                high[rows] = partly & (score >= floor - _TIE)
            if not high.any():
                return
            for asked in np.unique(self.asked[high]):
                self._ask_rest("surprises", high & (self.asked == asked), int(asked))

    def _ask(self, name: str, rows: NDArray[np.bool_], first: int, stop: int) -> None:
        by_chunk = {n: np.flatnonzero(rows[chunk]) for n, chunk in enumerate(self._chunks())}
        self.questions += self.respondents.ask(name, by_chunk, first, stop)
        self.asked[rows] = stop

    def _ask_rest(self, name: str, rows: NDArray[np.bool_], first: int) -> None:
        """Ask all members from ``first`` on, and note the exact scores."""
        self._ask(name, rows, first, self.n_networks)
        self.active &= ~rows
        for number, inside in self._rows_of(rows):
            finds = self.respondents.finds(number)
            scores = self._scores(finds.confidence[:, inside], finds.z_best[:, inside])
            self.score[self.starts[number] + inside] = np.nan_to_num(scores, nan=-1.0)
        self.chance[rows] = 0.0

    def _forget_unusable(self) -> None:
        for number, rows in enumerate(self._chunks()):
            usable = ~np.isnan(self.respondents.finds(number).confidence[0])
            self.active[rows] &= usable
            self.asked[rows] *= usable

    def _forecaster(self, members: int) -> Forecaster:
        scatter = Scatter.empty()
        for number, inside in self._rows_of(self.active):
            finds = self.respondents.finds(number)
            scatter += measure_scatter(
                finds.confidence[:members, inside],
                finds.z_best[:members, inside],
                decision=self.decision,
                score=self.options.score,
            )
        return Forecaster(scatter, self.n_networks, self.decision, self.options.score)

    def _forecast(self, forecaster: Forecaster, members: int, floor: float | None) -> None:
        """Note mean scores, or with a floor the chances to reach it."""
        for number, inside in self._rows_of(self.active):
            finds = self.respondents.finds(number)
            draws = forecaster.draws(
                finds.confidence[:members, inside], finds.z_best[:members, inside]
            )
            rows = self.starts[number] + inside
            if floor is None:
                self.score[rows] = draws.mean(axis=1)
            else:
                self.chance[rows] = (draws >= floor - _TIE).mean(axis=1)

    def _chunks(self) -> Iterator[slice]:
        return (slice(*ends) for ends in pairwise(self.starts.tolist()))

    def _rows_of(self, rows: NDArray[np.bool_]) -> Iterator[tuple[int, Rows]]:
        """Chunks that hold any of the rows, and which."""
        for number, chunk in enumerate(self._chunks()):
            inside = np.flatnonzero(rows[chunk])
            if len(inside):
                yield number, inside

    def _scores(
        self, confidence: NDArray[np.float32], z: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        if self.options.score == "entropy":
            return vote_entropy(vote_counts(confidence, z, self.decision))
        soft = soft_classes(confidence, z, high_z_min=self.decision.high_z_min)
        if self.options.score == "mutual_information":
            return mutual_information(soft)
        return entropy_bits(mean_over_members(soft))

    def _kth(self, scores: NDArray[np.float32]) -> float:
        """K-th largest score; 0 where there are fewer."""
        k = self.options.top_k
        return float(np.partition(scores, -k)[-k]) if len(scores) >= k else 0.0


def _best(score: NDArray[np.float32], number: int) -> NDArray[np.bool_]:
    """Mark the highest scores, earlier rows first where they tie."""
    mark = np.zeros(len(score), dtype=bool)
    mark[np.argsort(-score, kind="stable")[:number]] = True
    return mark


def _droppable(
    chance: NDArray[np.float32], active: NDArray[np.bool_], budget: float
) -> tuple[NDArray[np.int64], float]:
    """Rows of least chance whose chances add up to no more than the budget, and their sum."""
    rows = np.flatnonzero(active)
    order = rows[np.argsort(chance[rows], kind="stable")]
    total = np.cumsum(chance[order], dtype=np.float64)
    number = int(np.searchsorted(total, budget, side="right"))
    return order[:number], float(total[number - 1]) if number else 0.0
