"""Measure how many labels the loop saves against random ones, on two simulated skies.

    quasarloop simulate --out sky --objects 24000 --seed 21
    quasarloop ingest sky --store skystore
    quasarloop simulate --out poor --objects 1500 --seed 22 --format sdss \
        --population tools/poor_first_t.toml
    quasarloop ingest poor --store poorstore
    python tools/label_saving.py run --store skystore --truth sky/truth.csv \
        --poor-store poorstore --poor-truth poor/truth.csv
    python tools/label_saving.py page

The runs of docs/label_saving.md stand in docs/label_saving_runs.jsonl, the default of --out: the
same command adds those still missing. A run is one seed of one sky and one way of choosing.

Sky "alike": the first truth table T is drawn from the survey itself. Sky "poor": T comes from
another survey, see tools/poor_first_t.toml. Every seed draws T, a pool and a test set; the loop
trains an ensemble on T, lets it vote on the pool, chooses with the code of ``quasarloop select``,
gets true labels, and goes round again. After every round, networks trained from nothing on all
labels are judged on the test set. Random labels are judged with up to four times as many.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from label_saving_page import figure, fill, search_table, table
from numpy.typing import NDArray
from score_table import (
    MEASURES,
    PURITIES,
    World,
    load_world,
    note,
    read_runs,
    training_data,
    write_votes,
)
from score_table import Split as Votable

from quasarloop.classes import CONFIDENCE_THRESHOLD, Vote
from quasarloop.ensemble.ask import ask_members
from quasarloop.ensemble.bootstrap import bootstrap_rows, member_seeds
from quasarloop.ensemble.votes import VoteSettings
from quasarloop.evaluate.metrics import completeness_at_purity
from quasarloop.network.labelled import TrainingData, label_spectra
from quasarloop.network.options import TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.presets import preset
from quasarloop.network.training import train
from quasarloop.network.training_run import Rows
from quasarloop.query.options import KnownObjects, SelectionOptions
from quasarloop.query.reasons import REFUSED
from quasarloop.query.select import select
from quasarloop.query.votes_input import read_votes_table
from quasarloop.read import read_truth
from quasarloop.store import iter_store, open_store

SKIES = ("alike", "poor")
RANDOM, LOOP, NO_MAP = "random labels", "the loop", "the loop without the map"
# Random labels judged beyond the loop's last ones, as parts of those.
WIDER = (1.5, 2, 3, 4)
BALANCED = {Vote.NOT_QSO: 0.5, Vote.LOW_Z: 0.25, Vote.HIGH_Z: 0.25}
# Options of the choice; "map": False leaves out all that the map does.
ARMS: dict[str, dict[str, Any]] = {
    RANDOM: {"score": "random", "map": False},
    LOOP: {"score": "soft_entropy", "per_cell": 2},
    NO_MAP: {"score": "soft_entropy", "map": False},
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
    "mutual_information, spread by distance": {"score": "mutual_information", "spread": True},
}


@dataclass(frozen=True)
class Setting:
    """Sizes; a run made with others is another run.

    Attributes:
        first: labels of the first T.
        per_round, rounds: labels chosen by the loop.
        pool, test: objects to choose from, and to judge on.
        members, judges: networks that vote, and that are judged.
        filters: of each convolution.
        steps, batch, least_epochs: each network takes at least so many steps and epochs.
        learning_rate: first one of a cosine.
        dropout: of the convolutions' outputs.
        longest: most random labels over most labels of the loop.
    """

    first: int = 400
    per_round: int = 300
    rounds: int = 2
    pool: int = 10000
    test: int = 8000
    members: int = 4
    judges: int = 1
    filters: int = 32
    steps: int = 600
    batch: int = 32
    least_epochs: int = 15
    learning_rate: float = 4e-3
    dropout: float = 0.0
    longest: float = 4

    def random_labels(self) -> list[int]:
        """Return the numbers of random labels that are judged: the loop's, then ever wider."""
        own = [self.per_round * k for k in range(self.rounds + 1)]
        return own + [round(own[-1] * part) for part in WIDER if part <= self.longest]


# Small enough for a test of some minutes.
SMALL = Setting(
    first=150,
    per_round=100,
    rounds=2,
    pool=1500,
    test=2000,
    members=3,
    filters=16,
    steps=300,
    longest=1,
)


@dataclass(frozen=True)
class Draw:
    """What one seed of one sky starts from.

    Attributes:
        first: the first T.
        known: rows of the sky in it.
        pool, test: rows of the sky.
    """

    first: TrainingData
    known: NDArray[np.int64]
    pool: NDArray[np.int64]
    test: NDArray[np.int64]


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
    parser.add_argument("--small", action="store_true", help="sizes of the test")
    parser.add_argument("--minutes", type=float, default=60, help="begin no run after so many")
    options = parser.parse_args()
    if options.what == "table":
        sys.stdout.write(table(read_runs(options.out), PURITIES))
    elif options.what == "page":
        runs = read_runs(options.out)
        main_runs = [run for run in runs if run["arm"] in ARMS]
        # Ways of choosing are compared on the same seeds, or the seeds would decide.
        seeds = {run["seed"] for run in runs if run["arm"] not in ARMS}
        tried = [run for run in runs if run["seed"] in seeds or not seeds]
        figure(main_runs, options.figure)
        fill(options.page, {"table": table(main_runs, PURITIES), "tried": search_table(tried)})
    else:
        torch.set_num_threads(1)
        run(options, SMALL if options.small else Setting())


def run(options: argparse.Namespace, setting: Setting) -> None:
    """Make the runs that are not there yet, seed after seed."""
    start = time.perf_counter()
    done = {(r["sky"], r["seed"], r["arm"]) for r in read_runs(options.out)}
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    todo = [
        (sky, seed, arm)
        for seed in seeds
        for arm in options.arms
        for sky in options.skies
        if (sky, seed, arm) not in done
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = load_world(options, folder)
        poor = read_labelled(options.poor_store, options.poor_truth)
        note("sky read and mapped", start)
        for sky, seed, arm in todo:
            if time.perf_counter() - start > 60 * options.minutes:
                break
            draw = draw_sets(world, poor, sky, seed, setting)
            record = {"sky": sky, "seed": seed, "arm": arm}
            record |= one_arm(world, draw, arm, seed, setting, folder)
            with options.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
            note(f"{sky} {seed} {arm}: {[round(np.mean(v), 3) for v in record['at_0.99']]}", start)


def read_labelled(store: Path, truth: Path) -> TrainingData:
    """Read all spectra of a store that may train."""
    return label_spectra(iter_store(open_store(store)), read_truth(truth))[0]


def draw_sets(world: World, poor: TrainingData, sky: str, seed: int, setting: Setting) -> Draw:
    """Draw disjoint sets; pool and test set of a seed are the same on both skies."""
    usable = np.flatnonzero(((world.spectra.flags & int(REFUSED)) == 0) & world.labels.trains)
    drawn = np.random.default_rng([seed, 1]).permutation(usable)
    edges = np.cumsum([setting.first, setting.pool, setting.test])
    if edges[-1] > len(drawn):
        raise SystemExit(f"{len(drawn)} usable spectra, {edges[-1]} wanted: simulate more")
    first, pool, test = drawn[: edges[0]], drawn[edges[0] : edges[1]], drawn[edges[1] : edges[2]]
    if sky == "alike":
        return Draw(training_data(world, first), first, pool, test)
    rows = np.random.default_rng([seed, 2]).permutation(len(poor))[: setting.first]
    return Draw(poor[rows], first[:0], pool, test)


def one_arm(
    world: World, draw: Draw, arm: str, seed: int, setting: Setting, folder: Path
) -> dict[str, Any]:
    """Choose and judge, round after round."""
    points = [
        {"labels": len(new), "quasars": share_of_quasars(world, new)}
        | judged(world, draw, new, seed, setting)
        for new in chosen_sets(world, draw, arm, seed, setting, folder)
    ]
    return {
        **{name: [point[name] for point in points] for name in points[0]},
        "setting": {f.name: getattr(setting, f.name) for f in fields(Setting)},
        "choice": ARMS.get(arm) or SEARCH[arm],
    }


def chosen_sets(
    world: World, draw: Draw, arm: str, seed: int, setting: Setting, folder: Path
) -> Iterator[NDArray[np.int64]]:
    """Give the rows labelled so far, again and again; random ones begin with none."""
    new = np.empty(0, np.int64)
    if arm == RANDOM:
        order = np.random.default_rng([seed, 3]).permutation(draw.pool)
        yield from (order[:n] for n in setting.random_labels() if n <= len(order))
        return
    choice = dict(ARMS.get(arm) or SEARCH[arm])
    cells = world.cells if choice.pop("map", True) else None
    percentile = 0.0 if cells is None else SelectionOptions().percentile
    for number in range(setting.rounds):
        votes = folder / "votes.parquet"
        split = Votable(draw.known, draw.pool, draw.test)
        write_votes(votes, world, split, members_of(world, draw, new, (seed, number), setting))
        known = world.spectra.keys.target_id[np.concatenate([draw.known, new])]
        wanted = SelectionOptions(
            n=setting.per_round, percentile=percentile, seed=seed * 100 + number, **choice
        )
        selection = select(
            read_votes_table(votes),
            cells,
            truth=KnownObjects(known),
            options=wanted,
            features=lambda rows: world.spectra.flux[row_numbers(world, rows)],
        )
        new = np.concatenate([new, selection.chosen["INDEX"].to_numpy().astype(np.int64)])
        yield new


def row_numbers(world: World, rows: Any) -> NDArray[np.int64]:
    """Rows of the sky, from their places in the store."""
    where = {key: i for i, key in enumerate(zip(world.shard, world.row.tolist(), strict=True))}
    return np.array([where[key] for key in rows.iter_rows()], dtype=np.int64)


def members_of(
    world: World, draw: Draw, new: NDArray[np.int64], key: tuple[int, int], setting: Setting
) -> list[Predictor]:
    """Train the ensemble on bootstrap samples of all labels."""
    data = joined(draw.first, training_data(world, new))
    root = int(np.random.SeedSequence([*key, 4]).generate_state(1)[0])
    members = []
    for seeds in member_seeds(root, setting.members):
        drawn = bootstrap_rows(data.object_id, np.random.default_rng(seeds.bootstrap))
        members.append(network(data, seeds.training, setting, Rows(drawn)))
    return members


def judged(
    world: World, draw: Draw, new: NDArray[np.int64], seed: int, setting: Setting
) -> dict[str, list[float]]:
    """Train networks on all labels, measure each; those of one number start alike in all arms."""
    data, test = joined(draw.first, training_data(world, new)), draw.test
    true = world.labels.is_qso[test]
    result: dict[str, list[float]] = {name: [] for name in (*MEASURES, "purity")}
    for judge in range(setting.judges):
        predictor = network(data, np.random.SeedSequence([seed, judge, 77]), setting)
        finds = ask_members(world.spectra[test], [predictor], VoteSettings())
        confidence = finds.confidence[0]
        found = confidence > CONFIDENCE_THRESHOLD
        result["at_threshold"].append(float(found[true].mean()))
        result["purity"].append(float(true[found].mean()) if found.any() else float("nan"))
        for purity in PURITIES:
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


def joined(first: TrainingData, second: TrainingData) -> TrainingData:
    """Put two sets of labelled spectra together."""
    return TrainingData(
        **{
            f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)])
            for f in fields(TrainingData)
        }
    )


def share_of_quasars(world: World, rows: NDArray[np.int64]) -> float | None:
    """Quasars among new labels."""
    return float(world.labels.is_qso[rows].mean()) if len(rows) else None


if __name__ == "__main__":
    main()
