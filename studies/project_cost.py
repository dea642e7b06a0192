"""Project the cost of one round from measured rates: ``python studies/project_cost.py bench.json``.

Prints the table of docs/measurements/scaling.md. What is measured comes from the benchmark's rows
of voting and training (rates per second of one core), and from here what the host of a GPU does for
a vote; everything else is an assumption, and printed as such.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.gpu_choices import repeated_store

from quasarloop.ensemble.pieces import cut_pieces, read_piece
from quasarloop.ensemble.votes import MemberFinds, VoteRule, vote_columns
from quasarloop.network.config import NetworkConfig, preset
from quasarloop.network.decode import emission_lines
from quasarloop.network.model import LineFinder
from quasarloop.network.predict import BestBoxes, Predictor
from quasarloop.network.rehearsal import mixed_skies
from quasarloop.network.weights import from_module

# Source: paper, Sections 3 and 4: second run.
LABELLED, NETWORKS, POOL = 5_600, 200, 3_600_000
# A training step goes forward once and back through inputs and weights: three times the products.
TRAINING_FACTOR = 3
# Of a piece on a GPU (`ensemble.pieces`), and processes that share the GPU.
SPECTRA, PROCESSES = 8192, 4


@dataclass(frozen=True)
class Machine:
    """Where a round might run."""

    name: str
    cores: int
    efficiency: float  # part of cores × one core's rate that remains, an assumption


MACHINES = (
    Machine("two cores", 2, 0.7),
    Machine("laptop, 8 cores", 8, 0.7),
    Machine("one node, 128 cores", 128, 0.7),
    Machine("64 nodes of 128 cores", 64 * 128, 0.7),
)


def main() -> None:
    """Read the rates, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench", type=Path, nargs="+", help="bench.json of `make bench`")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--gpu-tflops", type=float, default=67.0, help="H100: peak float32")
    parser.add_argument("--gpu-tf32-tflops", type=float, default=494.0, help="the same in TF32")
    parser.add_argument("--gpu-part", type=float, default=0.2, help="part of that sustained")
    options = parser.parse_args()
    rows = [json.loads(path.read_text(encoding="utf-8"))["rows"] for path in options.bench]
    print(table(measured_rates(chain.from_iterable(rows)), options))


def measured_rates(rows: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Return spectra × networks voted on, and spectra × epochs trained with, per core second."""
    rates = {}
    for row in rows:
        if row["name"].startswith("vote, ") and "whole networks" in row["name"] and row.get("unit"):
            rates["vote"] = float(row["ours_per_s"])
        if row["name"].startswith("features and vote"):
            rates["heads"] = float(row["ours_per_s"])
        if row["name"].startswith("vote, features there"):
            rates["counted"] = float(row["ours_per_s"])
        if row["name"].startswith("train an ensemble"):
            rates["train"] = float(row["per_core_second"])
    if set(rates) != {"vote", "train", "heads", "counted"}:
        raise SystemExit("bench.json lacks rows of voting, training or heads: `make bench` first")
    return rates


def products(config: NetworkConfig) -> int:
    """Multiplications and additions of one spectrum through one network."""
    total, channels = 0, 1
    for width in config.widths[1:]:
        total += 2 * width * config.kernel_width * channels * config.n_filters
        channels = config.n_filters
    total += 2 * config.n_flat * config.n_dense
    return total + 4 * config.n_dense * config.n_lines * config.n_boxes


def table(rates: dict[str, float], options: argparse.Namespace) -> str:
    """Return the Markdown text."""
    votes, passes = POOL * NETWORKS, LABELLED * options.epochs * NETWORKS
    work = products(preset("green2025"))
    lines = [
        f"Measured on one core: {rates['vote']:,.0f} spectra × networks per second voting, "
        f"{rates['train']:,.0f} spectra × epochs per second training (network green2025, "
        f"{work / 1e6:.0f} million operations per spectrum); {rates['heads']:,.0f} spectra × heads "
        "per second, the pass of their network included.",
        "",
        f"One round: {NETWORKS} networks, {LABELLED:,} labelled spectra, {options.epochs} epochs, "
        f"{POOL / 1e6:g} million spectra to vote on.",
        "",
        "| where | train networks | networks vote | heads, with their pass |",
        "|---|---:|---:|---:|",
    ]
    for machine in MACHINES:
        power = machine.cores * machine.efficiency
        # No more workers than members can train at once.
        training = passes / rates["train"] / min(power, NETWORKS)
        voting = votes / rates["vote"] / power
        lines.append(row(machine.name, training, voting, votes / rates["heads"] / power))
    for name, tflops in (("", options.gpu_tflops), (", TF32", options.gpu_tf32_tflops)):
        sustained = tflops * 1e12 * options.gpu_part
        training, voting = passes * work * TRAINING_FACTOR / sustained, votes * work / sustained
        # Training takes products in bfloat16 or float32.
        seconds = None if name else training, voting, voting / NETWORKS
        lines.append(row(f"one H100{name} (not measured)", *seconds))
    networks, features = host_seconds()
    host = POOL * networks, POOL * features + votes / rates["counted"]
    lines.append(row(f"its host, {PROCESSES} processes", None, *(s / PROCESSES for s in host)))
    lines += [
        "",
        f"Assumed: every core is as fast as the one measured and {MACHINES[0].efficiency:.0%} of "
        "that remains when all work at once; training uses at most as many cores as there are "
        "networks. The H100 is an "
        f"estimate from its peak of {options.gpu_tflops:g} × 10¹² float32 operations per second "
        f"({options.gpu_tf32_tflops:g} in TF32), {options.gpu_part:.0%} of it sustained: no GPU "
        "was there to measure with. Its host reads spectra, makes redshifts and classes of the "
        "best boxes, and counts votes, measured on one core here; it works while the GPU does.",
    ]
    return "\n".join(lines)


def host_seconds() -> tuple[float, float]:
    """Return seconds of one core per spectrum, for votes of networks and for features of heads."""
    torch.set_num_threads(1)
    network = preset("green2025")
    predictor, rng = Predictor(from_module(LineFinder(network))), np.random.default_rng(0)
    shape = SPECTRA, network.n_lines
    best = BestBoxes(
        torch.randn(shape), torch.randint(0, network.n_boxes, shape), torch.rand(shape)
    )
    finds = MemberFinds(
        rng.random((NETWORKS, SPECTRA), np.float32),
        rng.random((NETWORKS, SPECTRA)),
        rng.random(shape),
    )
    with tempfile.TemporaryDirectory() as folder:
        store = repeated_store(mixed_skies(1024, seed=1), network.grid, Path(folder) / "s", 8)
        (piece,) = cut_pieces(store.shards, piece_rows=SPECTRA)
        reading = seconds_of_one(lambda: read_piece(piece))
    decoding = seconds_of_one(lambda: emission_lines(predictor.decoded(copied(best)), network, 1))
    counting = seconds_of_one(lambda: vote_columns(finds, VoteRule(), network.lines))
    return reading + NETWORKS * decoding + counting, reading + decoding


def copied(best: BestBoxes) -> BestBoxes:
    """Copy best boxes, as from a GPU: decoding changes them."""
    return BestBoxes(*(values.clone() for values in best))


def seconds_of_one(work: Callable[[], object]) -> float:
    """Return seconds of the processor per spectrum, the least of several times."""
    taken = []
    for _ in range(5):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken) / SPECTRA


def row(name: str, *seconds: float | None) -> str:
    """Return one row of the table."""
    return f"| {name} | {' | '.join('–' if s is None else duration(s) for s in seconds)} |"


def duration(seconds: float) -> str:
    """Return a time in words that fit it.

    >>> duration(90), duration(5400), duration(260_000)
    ('1.5 min', '1.5 h', '3 days')
    """
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= size * (2 if unit == "days" else 1):
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"


if __name__ == "__main__":
    main()
