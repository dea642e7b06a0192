"""Measure how many labels the loop saves, against random ones and against the paper's way.

    quasarloop simulate --out sky --objects 24000 --seed 21 --templates $TEMPLATES \
        --population studies/no_blends.toml
    quasarloop simulate --out rare --objects 48000 --seed 23 --templates $TEMPLATES \
        --population studies/rare_quasars.toml
    quasarloop simulate --out poor --objects 1500 --seed 22 --templates $TEMPLATES --format sdss \
        --population studies/poor_first_t.toml
    quasarloop ingest sky --store sky/store        # and so on
    python studies/label_saving.py run --sky sky --poor poor --cases alike poor
    python studies/label_saving.py run --sky rare --poor poor --cases rare
    python studies/label_saving.py page

The runs of docs/measurements/label_saving.md are in docs/measurements/label_saving_runs.jsonl, the
default of --out: the same command adds those still missing, `missing` lists them. A run is one seed
of one case and arm.

Every seed draws a first T of 100 labels and a pool of 10,000 objects; all other objects are judged.
Case "alike": T is drawn from the survey itself. "poor": T is of another survey, see
studies/poor_first_t.toml. "rare": the same T, and 8 % of the targets are quasars. An arm is a way
of training and a way of choosing labels; all but "nothing" start from `skies.TRUNK`.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from label_saving_arms import Arm, Draw, Labelled, chosen, judged
from label_saving_page import merged, write_page
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.evaluate.metrics import completeness_at_purity
from quasarloop.network.labelled import label_spectra
from quasarloop.network.weights import Weights, read_weights
from quasarloop.quality import REFUSED
from quasarloop.read import read_truth
from quasarloop.store import iter_store, open_store
from skies import TRUNK

CASES: Final = ("alike", "poor", "rare")
FIRST, POOL = 100, 10_000
RANDOM_LABELS: Final = (0, 100, 200, 300, 600, 1200, 2400, 3600)
ROUNDS: Final = (100, 100, 100, 300)
# Networks from nothing take minutes each: fewer numbers of labels, larger rounds.
FEW_RANDOM_LABELS: Final = (0, 300, 600, 1200, 2400, 3600)
LARGE_ROUNDS: Final = (300, 300, 600, 1200, 1200)

ARMS: Final = {
    "no label": Arm("none", "random", (0,)),
    "no label, adapted": Arm("adapt", "random", (0,)),
    "heads, random": Arm("heads", "random", RANDOM_LABELS),
    "heads, ours": Arm("heads", "ours", ROUNDS, 0.2),
    "heads, quasar or not": Arm("heads", "qso", ROUNDS, 0.2),
    "heads, soft entropy": Arm("heads", "soft", ROUNDS, 0.2),
    "heads, soft entropy, nothing at random": Arm("heads", "soft", ROUNDS),
    "heads, the paper's choice": Arm("heads", "paper", ROUNDS),
    "fine-tuned, random": Arm("finetune", "random", (0, 300, 1200, 3600)),
    "fine-tuned, ours": Arm("finetune", "ours", ROUNDS, 0.2),
    "fine-tuned, ours, 1 rehearsed": Arm("finetune", "ours", ROUNDS, 0.2, rehearsal=1),
    "fine-tuned, ours, 3 rehearsed": Arm("finetune", "ours", ROUNDS, 0.2, rehearsal=3),
    "the network that leaves": Arm("leaves", "ours", ROUNDS, 0.2),
    "from nothing, random": Arm("nothing", "random", FEW_RANDOM_LABELS),
    "from nothing, the paper's choice": Arm("nothing", "paper", LARGE_ROUNDS),
}


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "missing", "page"))
    parser.add_argument("--sky", type=Path, help="folder of truth.csv and store")
    parser.add_argument("--poor", type=Path, help="the same, of the survey of a poor first T")
    parser.add_argument("--weights", type=Path, default=TRUNK)
    parser.add_argument(
        "--out", type=Path, default=Path("docs/measurements/label_saving_runs.jsonl")
    )
    parser.add_argument("--page", type=Path, default=Path("docs/measurements/label_saving.md"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/label_saving.png"))
    parser.add_argument("--cases", nargs="*", default=CASES, choices=CASES)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(5)))
    options = parser.parse_args()
    if options.what == "page":
        write_page(merged(read_runs(options.out)), options.page, options.figure)
    elif options.what == "missing":
        for case, seed, arm, labels in missing(options):
            sys.stdout.write(f"{case} {seed} {arm}: {', '.join(map(str, labels))} labels\n")
    else:
        torch.set_num_threads(1)
        run(options)


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Read the runs made so far."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def missing(options: argparse.Namespace) -> Iterator[tuple[str, int, str, list[int]]]:
    """Give case, seed, arm and the numbers of labels that are not judged yet."""
    done = {(r["case"], r["seed"], r["arm"]): r["labels"] for r in merged(read_runs(options.out))}
    for seed, arm, case in itertools.product(options.seeds, options.arms, options.cases):
        labels = labels_of(ARMS[arm])
        left = [n for n in labels if n not in done.get((case, seed, arm), [])]
        if left:
            yield case, seed, arm, left


def labels_of(arm: Arm) -> list[int]:
    """Return after how many labels an arm is judged."""
    return list(arm.labels if arm.choice == "random" else np.cumsum(arm.labels).tolist())


def run(options: argparse.Namespace) -> None:
    """Make the runs that are not there yet; each number of labels of random ones by itself."""
    weights = read_weights(options.weights)
    sky, poor = (read_labelled(folder, weights) for folder in (options.sky, options.poor))
    for case, seed, arm, left in missing(options):
        draw = draw_sets(sky, poor, case, seed)
        steps = [[n] for n in left] if ARMS[arm].choice == "random" else [left]
        for labels in steps:
            start = time.perf_counter()
            record = {"case": case, "seed": seed, "arm": arm, **one_run(draw, ARMS[arm], labels)}
            with options.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
            took = f"{time.perf_counter() - start:.0f} s"
            print(case, seed, arm, labels, record["at_0.99"], took, file=sys.stderr, flush=True)


def read_labelled(folder: Path, weights: Weights) -> Labelled:
    """Read all spectra of a survey that could be chosen and have a label that trains."""
    parts = iter_store(open_store(folder / "store"))
    usable = (part[np.flatnonzero((part.flags & int(REFUSED)) == 0)] for part in parts)
    return Labelled(label_spectra(usable, read_truth(folder / "truth.csv"))[0], weights)


def draw_sets(sky: Labelled, poor: Labelled, case: str, seed: int) -> Draw:
    """Draw the first T, the pool, and what is judged; disjoint."""
    rows = np.random.default_rng([seed, 1]).permutation(len(sky.data))
    first, pool, test = np.split(rows, [FIRST, FIRST + POOL])
    if case == "alike":
        return Draw(sky, first, pool, test, sky, seed)
    other = np.random.default_rng([seed, 2]).permutation(len(poor.data))[:FIRST]
    return Draw(poor, other, pool, test, sky, seed)


def one_run(draw: Draw, arm: Arm, judge_at: list[int]) -> dict[str, Any]:
    """Choose, round after round, and judge."""
    true = draw.sky.data.is_qso[draw.test]
    points = []
    for rounds in chosen(draw, arm, judge_at):
        new = rounds.rows
        if len(new) in judge_at:
            score, carried = judged(draw, arm, rounds)
            share = float(draw.sky.data.is_qso[new].mean()) if len(new) else None
            point: dict[str, Any] = {"labels": len(new), "quasars": share}
            for purity in FIXED_PURITIES:
                point[f"at_{purity}"] = float(completeness_at_purity(score, true, purity))
            points.append(point | carried)
    return {name: [point[name] for point in points] for name in points[0]}


if __name__ == "__main__":
    main()
