"""Count wrong redshifts among the quasars found, per labels: by one line, and by all together.

    python studies/label_saving_confusions.py run --sky sky
    python studies/label_saving_confusions.py table
    python studies/label_saving_confusions.py chosen --sky sky

`run` adds to docs/measurements/label_saving_confusions.jsonl the seeds and arms of label_saving.py
that it lacks, with T like the pool (see there for the sky); `table` prints the table of
docs/measurements/label_saving.md. Found is above the threshold of purity 0.99; wrong is off by more
than 0.05 (1 + z), another line. What is found in addition is harder than the rest, so wrong
redshifts are counted among all quasars that are judged, too, found or not. `chosen` prints how many
quasars of the pool whose redshift the trunk confuses are among 300 labels, way by way of choosing,
and where they rank before the first round.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from label_saving import ARMS, draw_sets, labels_of, read_labelled, read_runs
from label_saving_arms import Arm, Draw, chosen, head_logits, network, voted_by_heads
from quasarloop.ensemble.entropy import entropy_bits, mean_over_members, soft_classes
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.evaluate.metrics import has_wrong_redshift, threshold_curve
from quasarloop.network.decode import decode, emission_lines
from quasarloop.network.joint import joint_redshifts
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import Weights, read_weights
from skies import TRUNK

Floats = NDArray[np.float64]

COUNTED: Final = (
    *("no label", "heads, ours", "heads, the paper's choice", "fine-tuned, random"),
    *("fine-tuned, ours, 1 rehearsed", "fine-tuned, ours, 3 rehearsed"),
    *("from nothing, the paper's choice", "from nothing, random"),
)
# Ways of choosing, and the labels after which confused redshifts among them are counted.
CHOOSING: Final = (
    "heads, random",
    "heads, ours",
    "heads, soft entropy",
    "heads, the paper's choice",
)
CHOSEN: Final = 300


class Found(NamedTuple):
    """What is found in the judged spectra, (n,) each: score, redshift of one line, of all lines."""

    score: Floats
    z: Floats
    z_joint: Floats


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table", "chosen"))
    parser.add_argument("--sky", type=Path, help="folder of truth.csv and store")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/measurements/label_saving_confusions.jsonl")
    )
    parser.add_argument("--arms", nargs="*", default=COUNTED, choices=COUNTED)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    options = parser.parse_args()
    if options.what == "table":
        sys.stdout.write(table(read_runs(options.out)))
        return
    torch.set_num_threads(1)
    sky = read_labelled(options.sky, read_weights(TRUNK))
    if options.what == "chosen":
        draws = (draw_sets(sky, sky, "alike", seed) for seed in options.seeds)
        sys.stdout.write(chosen_table([confused_chosen(draw) for draw in draws]))
        return
    for seed, arm in itertools.product(options.seeds, options.arms):
        done = [r["labels"] for r in read_runs(options.out) if (r["seed"], r["arm"]) == (seed, arm)]
        left = [n for n in labels_of(ARMS[arm]) if n not in done]
        for record in counted(draw_sets(sky, sky, "alike", seed), ARMS[arm], left):
            with options.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"seed": seed, "arm": arm, **record}) + "\n")


def counted(draw: Draw, arm: Arm, labels: list[int]) -> Iterator[dict[str, Any]]:
    """Give labels, quasars found, and those of wrong redshift."""
    of_trunk = found_by(draw, draw.sky.weights) if arm.training in ("none", "heads") else None
    for rounds in chosen(draw, arm, labels) if labels else ():
        if len(rounds.rows) not in labels:
            continue
        found = of_trunk or found_by(draw, network(draw, arm, rounds))
        if arm.training == "heads":
            every = np.arange(len(draw.first_rows) + len(rounds.rows))
            found = found._replace(score=head_logits(draw, rounds, every, draw.test))
        yield {"labels": len(rounds.rows), **wrong(draw, found)}


def found_by(draw: Draw, weights: Weights) -> Found:
    """Return what a network finds in the judged spectra."""
    predictor = Predictor(weights)
    outputs = predictor.predict(draw.sky.data.flux[draw.test], redshifts=True)
    best = emission_lines(decode(outputs, predictor.config), predictor.config, 1)
    joint = joint_redshifts(outputs, predictor.config, predictor.joint)
    return Found(best.confidence.astype(np.float64), best.z, joint.z)


def wrong(draw: Draw, found: Found) -> dict[str, int]:
    """Count true quasars above the threshold of the lower fixed purity, and wrong redshifts.

    By the strongest line and by all lines together; ``all_`` of all quasars, found or not.
    """
    true, z_true = draw.sky.data.is_qso[draw.test], draw.sky.data.z[draw.test]
    curve = threshold_curve(found.score, true)
    least = curve.threshold[np.flatnonzero(curve.purity >= FIXED_PURITIES[0])[0]]
    is_found = (found.score > least) & true
    counts = {"found": int(is_found.sum())}
    for name, z in (("wrong", found.z), ("wrong_joint", found.z_joint)):
        is_wrong = has_wrong_redshift(z, z_true)
        counts[name] = int((is_found & is_wrong).sum())
        counts[f"all_{name}"] = int((true & is_wrong).sum())
    return counts


def confused_chosen(draw: Draw) -> dict[str, float]:
    """Count the pool's quasars of confused redshift among the labels of each way of choosing.

    Also their median rank, in percent of the pool from the top, by the doubt of quasar or not and
    by that of redshift besides, as heads of the first T have them.
    """
    sky, pool = draw.sky, draw.pool
    confused = sky.data.is_qso & has_wrong_redshift(sky.features.z_best, sky.data.z)
    found = {"quasars": float(sky.data.is_qso[pool].sum()), "confused": float(confused[pool].sum())}
    for name in CHOOSING:
        for rounds in chosen(draw, ARMS[name], [CHOSEN]):
            found[name] = float(confused[rounds.rows].sum())
    confidence, _, p_high = voted_by_heads(draw, pool[:0], pool, draw.seed)
    for name, p in (("quasar or not", np.zeros_like(p_high)), ("soft entropy", p_high)):
        score = entropy_bits(mean_over_members(soft_classes(confidence, p)))
        rank = np.argsort(np.argsort(-score)) / len(pool)
        found[name] = 100 * float(np.median(rank[confused[pool]]))
    return found


def chosen_table(found: list[dict[str, float]]) -> str:
    """Markdown: sums of labels and means of ranks over seeds."""
    n, confused, quasars = (
        len(found),
        *(sum(one[name] for one in found) for name in ("confused", "quasars")),
    )
    lines = [f"{confused:.0f} of {quasars:.0f} quasars, {n} seeds, {CHOSEN} labels each\n"]
    lines += ["| choice | quasars of confused redshift labelled |", "|---|---:|"]
    lines += [f"| {name} | {sum(one[name] for one in found):.0f} |" for name in CHOOSING]
    lines += ["\n| score | their median rank in the pool (%) |", "|---|---:|"]
    lines += [
        f"| {name} | {np.mean([one[name] for one in found]):.1f} |"
        for name in ("quasar or not", "soft entropy")
    ]
    return "\n".join(lines) + "\n"


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: means over seeds."""
    titles = ["arm", "labels", "seeds", "quasars found", "of wrong redshift", "in 1000"]
    titles += ["by all lines", "wrong among all quasars", "by all lines"]
    lines = [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
    for arm, labels in dict.fromkeys((run["arm"], run["labels"]) for run in runs):
        mine = [run for run in runs if (run["arm"], run["labels"]) == (arm, labels)]
        names = ("found", "wrong", "wrong_joint", "all_wrong", "all_wrong_joint")
        found, *wrongs = (np.mean([run.get(name, np.nan) for run in mine]) for name in names)
        rates = [1000 * n / found for n in wrongs[:2]]
        numbers = [
            (found, 0),
            (wrongs[0], 0),
            *((n, 1) for n in rates),
            *((n, 0) for n in wrongs[2:]),
        ]
        cells = ["–" if np.isnan(n) else f"{n:.{digits}f}" for n, digits in numbers]
        lines.append(f"| {arm} | {labels} | {len(mine)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
