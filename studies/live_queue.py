"""Labels one lot after the other, chosen anew after each: is a live queue worth more than rounds?

    python studies/live_queue.py --sky sky --out live.jsonl     # and once more for what is missing
    python studies/live_queue.py --out live.jsonl --table

Prints the table of docs/measurements/label_saving.md. Sky, draws and choice are those of
label_saving.py, case "alike" (T of 100 labels of the survey itself); only the size of the lots
differs. Labels given while a lot is chosen are not counted: the best case for short lots.
Sizes, seeds and purities were fixed before the first run; 600 at once is more than the limit per
cell of the map lets through.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from label_saving import draw_sets, read_labelled, read_runs
from label_saving_arms import Arm, Draw, chosen, judged
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.evaluate.metrics import completeness_at_purity
from quasarloop.network.weights import read_weights
from skies import TRUNK

LOTS, SEEDS, JUDGED = (25, 100, 300), (0, 1, 2), (300, 600)
RANDOM_SHARE = 0.2


def run(draw: Draw, lot: int, out: Path) -> None:
    """Judge one draw with lots of one size, and add what came out to a file."""
    arm = Arm("heads", "ours", (lot,) * (max(JUDGED) // lot), RANDOM_SHARE)
    true, start = draw.sky.data.is_qso[draw.test], time.perf_counter()
    for rounds in chosen(draw, arm, list(JUDGED)):
        n = len(rounds.rows)
        if n not in JUDGED:
            continue
        score, _ = judged(draw, Arm("heads", "ours", ()), rounds)
        found = {f"at_{p}": float(completeness_at_purity(score, true, p)) for p in FIXED_PURITIES}
        record = {"lot": lot, "seed": draw.seed, "labels": n, **found}
        with out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record | {"s": round(time.perf_counter() - start)}) + "\n")


def print_table(out: Path) -> None:
    """Print completeness, mean over the seeds that are there, and gains over the largest lots."""
    runs = {(r["labels"], r["lot"], r["seed"]): r for r in read_runs(out)}
    largest = max(LOTS)
    print("| labels | chosen in lots of | seeds |", end="")
    print("".join(f" complete at purity {p} | gain |" for p in FIXED_PURITIES))
    print("|---:|---:|---:|" + "---:|---:|" * len(FIXED_PURITIES))
    for n in JUDGED:
        for lot in reversed(LOTS):
            seeds = [s for s in SEEDS if {(n, lot, s), (n, largest, s)} <= runs.keys()]
            cells = []
            for purity in FIXED_PURITIES if seeds else ():
                values, base = (
                    np.array([runs[n, size, seed][f"at_{purity}"] for seed in seeds])
                    for size in (lot, largest)
                )
                gains = ", ".join(f"{gain:+.4f}" for gain in values - base)
                cells.append(f"{values.mean():.4f} | {gains if lot != largest else ''}")
            print(f"| {n} | {lot} | {len(seeds)} | " + " | ".join(cells) + " |")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sky", type=Path, help="folder of truth.csv and store")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print_table(options.out)
        return
    torch.set_num_threads(1)
    sky = read_labelled(options.sky, read_weights(TRUNK))
    done = {(r["lot"], r["seed"]) for r in read_runs(options.out) if r["labels"] == max(JUDGED)}
    for seed in SEEDS:
        for lot in reversed(LOTS):
            if (lot, seed) not in done:
                run(draw_sets(sky, sky, "alike", seed), lot, options.out)


if __name__ == "__main__":
    main()
