"""Recall of a cascade against its work, from exact votes that kept their members' record.

    python studies/cascade_curve.py VOTES --top 1000 --figure docs/figures/cascade.png

Replays `quasarloop ensemble vote --cascade` with many settings on the members' recorded outputs,
and compares the top K with the exact ones. Prints a Markdown table; the figure shows all settings,
and the loss each of them expected beside the true one.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import get_args

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from quasarloop.classes import Thresholds
from quasarloop.ensemble.cascade_run import CascadeRun
from quasarloop.ensemble.member_record import read_member_record
from quasarloop.ensemble.options import CascadeOptions, Score
from quasarloop.ensemble.votes import MemberFinds
from quasarloop.ensemble.votes_folder import members_file, open_votes
from quasarloop.evaluate.figures import use_style

LOSSES = (0.001, 0.005, 0.02, 0.1, 0.3)
FIRST = (3, 4, 6)
# Distinct without colour too.
MARKERS = "osD^vP"
TARGET_RECALL, TARGET_WORK = 0.99, 0.2


@dataclass
class Recorded:
    """Members whose outputs are read from a record."""

    confidence: NDArray[np.float32]  # (n_networks, n)
    z_best: NDArray[np.float64]

    def __post_init__(self) -> None:
        self.asked = np.zeros(self.confidence.shape, dtype=bool)

    @property
    def chunk_sizes(self) -> list[int]:
        """All rows are one chunk."""
        return [self.confidence.shape[1]]

    def ask(self, _name: str, rows: dict[int, NDArray[np.int64]], first: int, stop: int) -> int:
        """Note which votes were cast."""
        self.asked[first:stop, rows[0]] = True
        return len(rows[0]) * (stop - first)

    def finds(self, _chunk: int) -> MemberFinds:
        """Return the outputs so far."""
        confidence = np.where(self.asked, self.confidence, np.nan).astype(np.float32)
        z_best = np.where(self.asked, self.z_best, np.nan)
        return MemberFinds(confidence, z_best, np.zeros((confidence.shape[1], 0)))


@dataclass(frozen=True)
class Point:
    """One replay."""

    options: CascadeOptions
    work: float
    recall: float
    expected_loss: float


def main() -> None:
    """Replay all settings, print the table, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("votes", type=Path, help="exact votes with --keep-members")
    parser.add_argument("--top", type=int, nargs="+", default=[1000])
    parser.add_argument("--score", choices=get_args(Score), default="entropy")
    parser.add_argument(
        "--first", type=int, nargs="+", default=FIRST, help="members that vote on all"
    )
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    votes = open_votes(options.votes)
    records = [read_member_record(members_file(votes.folder, path)) for path in votes.files]
    confidence = np.concatenate([record.confidence for record in records]).T
    z_best = np.concatenate([record.z for record in records]).T
    decision = votes.rule.decision
    default = CascadeOptions(score=options.score)
    points = [
        replay(confidence, z_best, decision, replace(default, top_k=k, first=f, max_loss=loss))
        for k, f, loss in product(options.top, options.first, LOSSES)
    ]
    print(table(points, *confidence.shape))
    if options.figure:
        draw(points, options.figure)


def replay(
    confidence: NDArray[np.float32],
    z_best: NDArray[np.float64],
    decision: Thresholds,
    options: CascadeOptions,
) -> Point:
    """Run one cascade on the record and compare with asking everybody."""
    n_networks, n = confidence.shape
    respondents = Recorded(confidence, z_best)
    run = CascadeRun(respondents, options, decision, n_networks)
    report = run.find()
    everybody = Recorded(confidence, z_best)
    everybody.asked[:] = True
    exact = CascadeRun(everybody, options, decision, n_networks).exact_scores()
    found = np.where(run.asked == n_networks, run.score, -1.0)
    return Point(
        options,
        work=report["questions"] / (n * n_networks),
        recall=top_recall(exact, found, options.top_k),
        expected_loss=report["expected_loss"],
    )


def top_recall(exact: NDArray[np.floating], found: NDArray[np.floating], k: int) -> float:
    """Part of the exact top K that is found; among spectra tied at its end any will do.

    >>> top_recall(np.array([3.0, 2.0, 2.0, 1.0]), np.array([3.0, -1.0, 2.0, 1.0]), 2)
    1.0
    """
    last = np.sort(exact)[::-1][k - 1]
    above, tied = exact > last, exact == last
    n_above = np.count_nonzero(above & (found > last))
    wanted_ties = k - np.count_nonzero(above)
    return float(n_above + min(wanted_ties, np.count_nonzero(tied & (found == last)))) / k


def table(points: list[Point], n_networks: int, n: int) -> str:
    """Return the Markdown text."""
    lines = [
        f"{n:,} spectra, {n_networks} members; lead {points[0].options.lead}, audit of "
        f"{points[0].options.n_audit}; score {points[0].options.score}.",
        "",
        "| top K | first members | max. loss | work | recall | true loss | expected loss |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {p.options.top_k} | {p.options.first} | {p.options.max_loss:g} | {p.work:.3f} "
        f"| {p.recall:.4f} | {1 - p.recall:.4f} | {p.expected_loss:.4f} |"
        for p in points
    ]
    return "\n".join(lines)


@use_style()
def draw(points: list[Point], path: Path) -> None:
    """Draw loss against work, and the loss expected against the true one."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
    for ((top_k, first), some), marker in zip(_grouped(points), MARKERS, strict=False):
        # Nothing lost is drawn at half a spectrum, so that the logarithm can show it.
        least = 0.5 / top_k
        loss = [max(1 - p.recall, least) for p in some]
        look = {"marker": marker, "markersize": 5, "label": f"top {top_k}, first {first}"}
        left.plot([p.work for p in some], loss, **look)
        right.plot([max(p.expected_loss, least) for p in some], loss, linestyle="none", **look)
    left.axhline(1 - TARGET_RECALL, color="0.5", linestyle="--", linewidth=1)
    left.axvline(TARGET_WORK, color="0.5", linestyle="--", linewidth=1)
    left.set(
        yscale="log",
        xlabel="work: part of all votes (member × spectrum) cast",
        ylabel="part of the exact top K lost",
    )
    right.axline((0.01, 0.01), slope=1, color="0.5", linestyle="--", linewidth=1)
    right.set(
        xscale="log",
        yscale="log",
        xlabel="loss the cascade expected",
        ylabel="part of the exact top K lost",
    )
    left.legend(fontsize="small")
    figure.savefig(path, dpi=150)


def _grouped(points: list[Point]) -> Iterator[tuple[tuple[int, int], list[Point]]]:
    keys = sorted({(p.options.top_k, p.options.first) for p in points})
    for key in keys:
        yield key, [p for p in points if (p.options.top_k, p.options.first) == key]


if __name__ == "__main__":
    main()
