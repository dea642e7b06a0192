"""Measure how many labels the loop saves against random ones, on three simulated skies.

    quasarloop simulate --out sky --objects 24000 --seed 21
    quasarloop ingest sky --store skystore
    quasarloop simulate --out poor --objects 1500 --seed 22 --format sdss \
        --population studies/poor_first_t.toml
    quasarloop ingest poor --store poorstore
    python studies/label_saving.py run --store skystore --truth sky/truth.csv \
        --poor-store poorstore --poor-truth poor/truth.csv
    python studies/label_saving.py page

The runs of docs/label_saving.md are in docs/label_saving_runs.jsonl, the default of --out: the
same command adds those still missing. A run is one seed of one sky and one way of choosing.

Sky "alike": the first truth table T is drawn from the survey itself. Sky "poor": T comes from
another survey, see studies/poor_first_t.toml. Sky "rare": the same T, and few quasars. Every seed
draws T, a pool and a test set; the loop trains an ensemble on T, lets it vote on the pool, chooses
with the code of ``quasarloop select``, gets true labels, and goes round again. After 300 and 600
labels, networks trained from nothing on all labels are judged on the test set. Random labels are
judged with up to four times as many.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from label_saving_page import (
    LOW_PURITY,
    figure,
    fill,
    merged,
    search_table,
    table,
    untouched_table,
)
from label_saving_skies import SKIES, SMALL, Draw, Setting, draw_sets, joined, read_labelled
from quasarloop.classes import CONFIDENCE_THRESHOLD, Vote
from quasarloop.ensemble.bootstrap import bootstrap_rows, member_seeds
from quasarloop.ensemble.vote import apply_members
from quasarloop.ensemble.votes import VoteRule
from quasarloop.evaluate.metrics import completeness_at_purity
from quasarloop.network.config import preset
from quasarloop.network.labelled import TrainingData
from quasarloop.network.options import TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.training import train
from quasarloop.network.training_run import Rows
from quasarloop.query.options import KnownObjects, SelectionOptions
from quasarloop.query.select import select
from quasarloop.query.votes_input import read_votes_table
from score_table import (
    PURITIES,
    World,
    load_world,
    note,
    read_runs,
    training_data,
    write_votes,
)
from score_table import Split as Votable

RANDOM, LOOP, NO_MAP = "random labels", "the loop", "the loop without the map"
GROWING = "the loop, growing rounds"
DOUBLING = (1 / 4, 1 / 4, 1 / 2, 1)  # 75, 75, 150 and 300 labels
BALANCED = {Vote.NOT_QSO: 0.5, Vote.LOW_Z: 0.25, Vote.HIGH_Z: 0.25}
# The loop labels at most one of so many objects of its pool: a pool nearly used up is no choice.
# Nor is chance judged with more labels than one of two.
LEAST_POOL, LEAST_POOL_OF_CHANCE = 6, 2
# Options of the choice, and of the study: "map": False leaves out all that the map does, "rounds"
# are the labels of each as parts of the usual ones, "scouts" makes the first round random,
# "forget_first" leaves the first T out of all training.
OF_THE_STUDY = ("map", "rounds", "scouts", "forget_first")
ARMS: dict[str, dict[str, Any]] = {
    RANDOM: {"score": "random", "map": False},
    LOOP: {"score": "soft_entropy", "per_cell": 2},
    NO_MAP: {"score": "soft_entropy", "map": False},
    GROWING: {"score": "soft_entropy", "per_cell": 2, "scouts": True, "rounds": DOUBLING},
}
# What else was tried, on fewer seeds.
SEARCH: dict[str, dict[str, Any]] = {
    "mutual_information alone": {"score": "mutual_information"},
    "mutual_information alone, without the map": {"score": "mutual_information", "map": False},
    "entropy": {"score": "entropy"},
    "soft_entropy": {"score": "soft_entropy"},
    "mutual_information, at most 2 per cell": {"score": "mutual_information", "per_cell": 2},
    "mutual_information, half random": {"score": "mutual_information", "random_share": 0.5},
    "mutual_information, half predicted not quasars": {
        "score": "mutual_information",
        "class_shares": BALANCED,
    },
    "mutual_information, drawn in proportion": {
        "score": "mutual_information",
        "draw": "proportional",
    },
    "growing rounds, no scouts": {"score": "soft_entropy", "per_cell": 2, "rounds": DOUBLING},
    "random labels, first T left out": {"score": "random", "map": False, "forget_first": True},
    "mutual_information, spread by distance": {"score": "mutual_information", "spread": True},
}


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table", "page"))
    parser.add_argument("--store", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--poor-store", type=Path)
    parser.add_argument("--poor-truth", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/label_saving_runs.jsonl"))
    parser.add_argument("--page", type=Path, default=Path("docs/label_saving.md"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/label_saving.png"))
    parser.add_argument("--skies", nargs="*", default=SKIES, choices=SKIES)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=[*ARMS, *SEARCH])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--judges", type=int, default=1, help="networks judged, averaged")
    parser.add_argument("--small", action="store_true", help="sizes of the test")
    parser.add_argument("--minutes", type=float, default=60, help="begin no run after so many")
    options = parser.parse_args()
    if options.what == "table":
        sys.stdout.write(table(merged(read_runs(options.out))))
    elif options.what == "page":
        runs = merged(read_runs(options.out))
        main_runs = [run for run in runs if run["arm"] in ARMS]
        # Ways of choosing are compared on the same seeds, or the seeds would decide.
        seeds = {run["seed"] for run in runs if run["arm"] not in ARMS}
        tried = [run for run in runs if run["seed"] in seeds or not seeds]
        figure(main_runs, options.figure)
        others = search_table(tried) + "\n" + untouched_table(main_runs, seeds)
        fill(options.page, {"table": table(main_runs), "tried": others})
    else:
        torch.set_num_threads(1)
        run(options, replace(SMALL if options.small else Setting(), judges=options.judges))


def run(options: argparse.Namespace, setting: Setting) -> None:
    """Make the runs that are not there yet, seed after seed."""
    start = time.perf_counter()
    runs = merged(read_runs(options.out))
    done = {(r["sky"], r["seed"], r["arm"]): set(r["labels"]) for r in runs}
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with tempfile.TemporaryDirectory() as name:
        world = load_world(options, Path(name))
        poor = read_labelled(options.poor_store, options.poor_truth)
        note("sky read and mapped", start)
        for seed, arm, sky in itertools.product(seeds, options.arms, options.skies):
            draw = draw_sets(world, poor, sky, seed, setting)
            missing = missing_labels(arm, len(draw.pool), done.get((sky, seed, arm)), setting)
            if not missing or time.perf_counter() - start > 60 * options.minutes:
                continue
            record = {"sky": sky, "seed": seed, "arm": arm}
            record |= one_arm(world, draw, arm, setting, missing)
            with options.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
            note(f"{sky} {seed} {arm}: {[round(np.mean(v), 3) for v in record['at_0.99']]}", start)


def missing_labels(arm: str, pool: int, done: set[int] | None, setting: Setting) -> list[int]:
    """Return after how many labels an arm is still to be judged.

    Random labels need no rounds, so single numbers of them can be added; the loop is all or none.
    """
    if is_random(arm):
        least = (
            1 if choice_of(arm).get("forget_first") else 0
        )  # nothing to train on teaches nothing
        wanted = [n for n in setting.random_labels() if least <= n <= pool / LEAST_POOL_OF_CHANCE]
        return [n for n in wanted if n not in (done or set())]
    spent = np.cumsum(rounds_of(arm, setting)).tolist()
    most = pool / LEAST_POOL
    return [] if done else [n for n in spent if n in setting.random_labels() and n <= most]


def is_random(arm: str) -> bool:
    """Whether chance alone chooses."""
    return bool(choice_of(arm)["score"] == "random")


def choice_of(arm: str) -> dict[str, Any]:
    """Return the options of a way of choosing."""
    return ARMS.get(arm) or SEARCH[arm]


def rounds_of(arm: str, setting: Setting) -> list[int]:
    """Return the labels of each round."""
    parts = choice_of(arm).get("rounds", [1] * setting.rounds)
    return [round(part * setting.per_round) for part in parts]


def one_arm(
    world: World, draw: Draw, arm: str, setting: Setting, judge_at: list[int]
) -> dict[str, Any]:
    """Choose, round after round, and judge."""
    if choice_of(arm).get("forget_first"):
        draw = replace(draw, first=draw.first[np.arange(0)])
    points = [
        {"labels": len(new), "quasars": share_of_quasars(world, new)}
        | judged(world, draw, new, setting)
        for new in chosen_sets(world, draw, arm, setting, max(judge_at))
        if len(new) in judge_at
    ]
    return {
        **{name: [point[name] for point in points] for name in points[0]},
        "setting": {f.name: getattr(setting, f.name) for f in fields(Setting)},
        "choice": choice_of(arm) | ({} if is_random(arm) else {"rounds": rounds_of(arm, setting)}),
    }


def chosen_sets(
    world: World, draw: Draw, arm: str, setting: Setting, most: int
) -> Iterator[NDArray[np.int64]]:
    """Give the rows labelled so far, again and again; random ones begin with none."""
    order = np.random.default_rng([draw.seed, 3]).permutation(draw.pool)
    if is_random(arm):
        yield from (order[:n] for n in setting.random_labels() if n <= most)
        return
    choice, new = choice_of(arm), order[:0]
    for number, n in enumerate(rounds_of(arm, setting)):
        if len(new) >= most:
            return
        if number == 0 and choice.get("scouts"):
            new = order[:n]  # what random labels begin with, too
        else:
            members = members_of(world, draw, new, number, setting)
            options = {"n": n, "seed": draw.seed * 100 + number, **choice}
            new = np.concatenate([new, chosen(world, draw, new, members, options)])
        yield new


def chosen(
    world: World,
    draw: Draw,
    new: NDArray[np.int64],
    members: list[Predictor],
    options: dict[str, Any],
) -> NDArray[np.int64]:
    """Vote and choose, with the code of ``quasarloop select``."""
    cells = world.cells if options.get("map", True) else None
    percentile = 0.0 if cells is None else SelectionOptions().percentile
    wanted = {name: value for name, value in options.items() if name not in OF_THE_STUDY}
    with tempfile.TemporaryDirectory() as folder:
        votes = Path(folder) / "votes.parquet"
        write_votes(votes, world, Votable(draw.known, draw.pool, draw.test), members)
        selection = select(
            read_votes_table(votes),
            cells,
            truth=KnownObjects(world.spectra.keys.target_id[np.concatenate([draw.known, new])]),
            options=SelectionOptions(percentile=percentile, **wanted),
            features=lambda rows: world.spectra.flux[row_numbers(world, rows)],
        )
    return selection.chosen["INDEX"].to_numpy().astype(np.int64)


def row_numbers(world: World, rows: Any) -> NDArray[np.int64]:
    """Rows of the sky, from their places in the store."""
    where = {key: i for i, key in enumerate(zip(world.shard, world.row.tolist(), strict=True))}
    return np.array([where[key] for key in rows.iter_rows()], dtype=np.int64)


def members_of(
    world: World, draw: Draw, new: NDArray[np.int64], number: int, setting: Setting
) -> list[Predictor]:
    """Train the ensemble of a round on bootstrap samples of all labels."""
    data = joined(draw.first, training_data(world, new))
    root = int(np.random.SeedSequence([draw.seed, number, 4]).generate_state(1)[0])
    members = []
    for seeds in member_seeds(root, setting.members):
        drawn = bootstrap_rows(data.object_id, np.random.default_rng(seeds.bootstrap))
        members.append(network(data, seeds.training, setting, Rows(drawn)))
    return members


def judged(
    world: World, draw: Draw, new: NDArray[np.int64], setting: Setting
) -> dict[str, list[float]]:
    """Train networks on all labels, measure each; those of one number start alike in all arms."""
    data, test = joined(draw.first, training_data(world, new)), draw.test
    true = world.labels.is_qso[test]
    purities = (LOW_PURITY, *PURITIES)
    measures = ("at_threshold", "purity", *(f"at_{purity}" for purity in purities))
    result: dict[str, list[float]] = {name: [] for name in measures}
    for judge in range(setting.judges):
        predictor = network(data, np.random.SeedSequence([draw.seed, judge, 77]), setting)
        finds = apply_members(world.spectra[test], [predictor], VoteRule())
        confidence = finds.confidence[0]
        found = confidence > CONFIDENCE_THRESHOLD
        result["at_threshold"].append(float(found[true].mean()))
        result["purity"].append(float(true[found].mean()) if found.any() else float("nan"))
        for purity in purities:
            reached = completeness_at_purity(confidence, true, purity)
            result[f"at_{purity}"].append(float(reached))
    return result


def network(
    data: TrainingData, seed: np.random.SeedSequence, setting: Setting, rows: Rows | None = None
) -> Predictor:
    """Train one network to the end of a cosine, with enough steps however few the labels."""
    n = len(data) if rows is None else len(rows.train)
    training = TrainingOptions(
        epochs=max(setting.least_epochs, -(-setting.steps * setting.batch // n)),
        batch_size=setting.batch,
        learning_rate=setting.learning_rate,
        schedule="cosine",
        precision="bfloat16",
    )
    config = preset("green2025", n_filters=setting.filters, dropout=setting.dropout)
    return Predictor(train(data, config, training, seed=seed, rows=rows).weights)


def share_of_quasars(world: World, rows: NDArray[np.int64]) -> float | None:
    """Quasars among new labels."""
    return float(world.labels.is_qso[rows].mean()) if len(rows) else None


if __name__ == "__main__":
    main()
