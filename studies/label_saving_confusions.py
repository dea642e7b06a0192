"""Count wrong redshifts among the quasars found, per labels: heads against networks from nothing.

    python studies/label_saving_confusions.py run --sky sky
    python studies/label_saving_confusions.py table

`run` adds to docs/measurements/label_saving_confusions.jsonl the seeds that it lacks, with T like
the pool (see label_saving.py for the sky); `table` prints the table of
docs/measurements/label_saving.md. Found is above the threshold of purity 0.99; wrong is off by more
than 0.05 (1 + z), another line.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from label_saving import ARMS, draw_sets, labels_of, read_labelled, read_runs
from label_saving_arms import Draw, chosen, from_nothing, head_logits, predicted
from quasarloop.ensemble.heads import deciding_logit
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.evaluate.metrics import threshold_curve
from quasarloop.network.weights import read_weights
from skies import TRUNK

WRONG_FROM: Final = 0.05  # of 1 + z: no two emission lines are closer
HEADS: Final = ("heads, ours", "heads, the paper's choice")
RANDOM_LABELS: Final = (300, 600, 1200, 3600)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--sky", type=Path, help="folder of truth.csv and store")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/measurements/label_saving_confusions.jsonl")
    )
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    options = parser.parse_args()
    if options.what == "table":
        sys.stdout.write(table(read_runs(options.out)))
        return
    torch.set_num_threads(1)
    sky = read_labelled(options.sky, read_weights(TRUNK))
    for seed in set(options.seeds) - {run["seed"] for run in read_runs(options.out)}:
        with options.out.open("a", encoding="utf-8") as stream:
            for record in counted(draw_sets(sky, sky, "alike", seed)):
                stream.write(json.dumps({"seed": seed, **record}) + "\n")


def counted(draw: Draw) -> Iterator[dict[str, Any]]:
    """Give arm, labels, quasars found and those of wrong redshift."""
    features = draw.sky.features[draw.test]
    logit = deciding_logit(features, draw.sky.weights.config)
    yield {"arm": "no label", "labels": 0, **wrong(draw, logit, features.z_best)}
    for arm in HEADS:
        for rounds in chosen(draw, ARMS[arm], labels_of(ARMS[arm])):
            every = np.arange(len(draw.first_rows) + len(rounds.rows))
            logit = head_logits(draw, rounds, every, draw.test)
            found = wrong(draw, logit, features.z_best)
            yield {"arm": arm, "labels": len(rounds.rows), **found}
    order = np.random.default_rng([draw.seed, 3]).permutation(draw.pool)
    for n in RANDOM_LABELS:
        weights = from_nothing(draw.data(order[:n]), np.random.SeedSequence([draw.seed, 77]))
        best = predicted(weights, draw.sky.data.flux[draw.test])
        found = wrong(draw, best.confidence, best.z)
        yield {"arm": "from nothing, random", "labels": n, **found}


def wrong(draw: Draw, score: Any, z: Any) -> dict[str, int]:
    """Count true quasars above the threshold of the lower fixed purity, and wrong redshifts."""
    true, z_true = draw.sky.data.is_qso[draw.test], draw.sky.data.z[draw.test]
    curve = threshold_curve(score, true)
    found = (score > curve.threshold[np.flatnonzero(curve.purity >= FIXED_PURITIES[0])[0]]) & true
    far = np.abs(z - z_true) > WRONG_FROM * (1 + z_true)
    return {"found": int(found.sum()), "wrong": int((found & far).sum())}


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: means over seeds."""
    lines = ["| arm | labels | seeds | quasars found | of wrong redshift |"]
    lines.append("|---|---:|---:|---:|---:|")
    for arm, labels in dict.fromkeys((run["arm"], run["labels"]) for run in runs):
        mine = [run for run in runs if (run["arm"], run["labels"]) == (arm, labels)]
        means = " | ".join(
            f"{np.mean([run[name] for run in mine]):.0f}" for name in ("found", "wrong")
        )
        lines.append(f"| {arm} | {labels} | {len(mine)} | {means} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
