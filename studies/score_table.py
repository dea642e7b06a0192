"""Compare what to label next: does a score find labels that teach more than random new ones?

    quasarloop simulate --out sky --objects 24000 --seed 11
    quasarloop ingest sky --store skystore
    python studies/score_table.py run --store skystore --truth sky/truth.csv
    python studies/score_table.py table

The runs of docs/measurements/selection.md are in docs/measurements/score_runs.jsonl, the default of
--out: the same command adds the seeds and strategies that are still missing there.

For every seed: a first truth table T of random objects; an ensemble on bootstrap samples of T
votes on a pool; every strategy chooses the same number of new objects there, with the code of
``quasarloop select``; networks trained from nothing to convergence on T and the new labels are
judged on objects nobody saw. Runs are added to the file one by one, and those that are there
are not made again.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from quasarloop.classes import CONFIDENCE_THRESHOLD, Vote
from quasarloop.ensemble.bootstrap import bootstrap_rows, member_seeds
from quasarloop.ensemble.shard_tables import identity_columns
from quasarloop.ensemble.vote import apply_members
from quasarloop.ensemble.votes import MemberFinds, VoteRule, vote_columns
from quasarloop.ensemble.votes_folder import votes_table
from quasarloop.evaluate.metrics import completeness_at_purity
from quasarloop.network.config import preset
from quasarloop.network.labelled import TrainingData
from quasarloop.network.options import TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.training import train
from quasarloop.network.training_run import Rows
from quasarloop.quality import REFUSED
from quasarloop.query.options import KnownObjects, SelectionOptions, SomOptions
from quasarloop.query.select import select
from quasarloop.query.som import CellGrid
from quasarloop.query.som_files import CellsFile, assign_store, read_map, write_map
from quasarloop.query.som_parts import parts_of_shards
from quasarloop.query.som_train import fit_map
from quasarloop.query.votes_input import read_votes_table
from quasarloop.read import read_truth
from quasarloop.spectra import RebinnedSpectra, concatenate
from quasarloop.store import Store, fingerprint, iter_store, open_store
from quasarloop.truth import TruthTable, match_truth

SETTING = ("first", "new", "pool", "held_out", "members", "judges", "preset", "filters", "epochs")
PURITIES = (0.99, 0.998)
MEASURES = ("at_threshold", *(f"at_{purity}" for purity in PURITIES))
BALANCED = {Vote.NOT_QSO: 0.5, Vote.LOW_Z: 0.25, Vote.HIGH_Z: 0.25}
ALONE = "first T alone"
STRATEGIES: dict[str, dict[str, Any]] = {
    "random": {"score": "random"},
    "entropy": {"score": "entropy"},
    "soft_entropy": {"score": "soft_entropy"},
    "mutual_information": {"score": "mutual_information"},
    "soft_entropy, drawn in proportion": {"score": "soft_entropy", "draw": "proportional"},
    "soft_entropy, half random": {"score": "soft_entropy", "random_share": 0.5},
    "soft_entropy, half predicted not quasars": {
        "score": "soft_entropy",
        "class_shares": BALANCED,
    },
    "soft_entropy, at most 4 per cell": {"score": "soft_entropy", "per_cell": 4},
    "mean_entropy": {"score": "mean_entropy"},
    "entropy, half random": {"score": "entropy", "random_share": 0.5},
    "margin": {"score": "margin"},
    "least_confidence": {"score": "least_confidence"},
    "redshift_scatter": {"score": "redshift_scatter"},
    "soft_entropy, spread by distance": {"score": "soft_entropy", "spread": True},
}


@dataclass(frozen=True)
class World:
    """The simulated sky, in memory, in the store's order."""

    store: Store
    spectra: RebinnedSpectra
    shard: NDArray[np.str_]
    row: NDArray[np.int64]
    labels: TruthTable
    cells: CellsFile


@dataclass(frozen=True)
class Split:
    """Rows of one seed's first truth table, pool and held-out set."""

    first: NDArray[np.int64]
    pool: NDArray[np.int64]
    held_out: NDArray[np.int64]


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--store", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/measurements/score_runs.jsonl"))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=800, help="objects of the first truth table")
    parser.add_argument("--new", type=int, default=400, help="new labels")
    parser.add_argument("--pool", type=int, default=8000)
    parser.add_argument("--held-out", type=int, default=10000)
    parser.add_argument("--members", type=int, default=6, help="networks that vote")
    parser.add_argument("--judges", type=int, default=2, help="networks that are judged")
    parser.add_argument("--preset", default="green2025")
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--only", nargs="*", help="strategies")
    options = parser.parse_args()
    if options.what == "table":
        sys.stdout.write(table(read_runs(options.out)))
        return
    torch.set_num_threads(1)
    run(options)


def run(options: argparse.Namespace) -> None:
    """Make the runs that are not there yet."""
    done = {(r["seed"], r["strategy"]) for r in read_runs(options.out)}
    names = options.only or [ALONE, *STRATEGIES]
    with tempfile.TemporaryDirectory() as folder:
        world = load_world(options, Path(folder))
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            todo = [name for name in names if (seed, name) not in done]
            if todo:
                for record in one_seed(world, seed, todo, options, Path(folder)):
                    with options.out.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(record) + "\n")


def one_seed(
    world: World, seed: int, names: list[str], options: argparse.Namespace, folder: Path
) -> Iterator[dict[str, Any]]:
    """Vote once, then choose, train and judge for every strategy."""
    start = time.perf_counter()
    split = split_rows(world, seed, options)
    votes = folder / f"votes-{seed}.parquet"
    write_votes(votes, world, split, train_members(world, split.first, seed, options))
    note(f"seed {seed}: voted", start)
    if ALONE in names:
        yield record_of(world, seed, ALONE, split.first[:0], split, options)
    for name in (name for name in names if name != ALONE):
        new = chosen_rows(world, split, votes, name, seed, options)
        yield record_of(world, seed, name, new, split, options)
        note(f"seed {seed}: {name}", start)


def record_of(
    world: World,
    seed: int,
    name: str,
    new: NDArray[np.int64],
    split: Split,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Train on T and the new labels; judge every network on the held-out objects."""
    labelled = np.concatenate([split.first, new])
    results = [
        judged(world, labelled, split.held_out, seed, judge, options)
        for judge in range(options.judges)
    ]
    quasar = world.labels.is_qso[new]
    return {
        "seed": seed,
        "strategy": name,
        "n_new": len(new),
        "quasar_share": float(quasar.mean()) if len(new) else None,
        "setting": {k: v for k, v in vars(options).items() if k in SETTING},
        **{m: [r[m] for r in results] for m in MEASURES},
        "purity": [r["purity"] for r in results],
    }


def load_world(options: argparse.Namespace, folder: Path) -> World:
    """Read the store and its truth, fit a map and assign every spectrum."""
    store = open_store(options.store)
    parts = list(iter_store(store))
    spectra = concatenate(parts)
    truth = read_truth(options.truth)
    labels = truth[match_truth(spectra.keys.target_id, truth)]
    trained = fit_map(parts_of_shards(store.shards), CellGrid(15, 15), SomOptions(n_epochs=15))
    write_map(folder / "map.npz", trained.som, store.grid, {"data": fingerprint(store)})
    return World(
        store,
        spectra,
        np.concatenate([[p.stem] * len(s) for p, s in zip(store.shards, parts, strict=True)]),
        np.concatenate([np.arange(len(s)) for s in parts]),
        labels,
        assign_store(read_map(folder / "map.npz"), store, folder / "cells.parquet"),
    )


def split_rows(world: World, seed: int, options: argparse.Namespace) -> Split:
    """Draw disjoint sets among spectra that could be chosen and have a secure label."""
    usable = np.flatnonzero(((world.spectra.flags & int(REFUSED)) == 0) & world.labels.trains)
    drawn = np.random.default_rng([seed, 1]).permutation(usable)
    edges = np.cumsum([options.first, options.pool, options.held_out])
    if edges[-1] > len(drawn):
        raise SystemExit(f"{len(drawn)} usable spectra, {edges[-1]} wanted: simulate more")
    return Split(drawn[: edges[0]], drawn[edges[0] : edges[1]], drawn[edges[1] : edges[2]])


def train_members(
    world: World, rows: NDArray[np.int64], seed: int, options: argparse.Namespace
) -> list[Predictor]:
    """Train the ensemble on bootstrap samples of T."""
    data = training_data(world, rows)
    members = []
    for seeds in member_seeds(seed, options.members):
        drawn = bootstrap_rows(data.object_id, np.random.default_rng(seeds.bootstrap))
        members.append(network(data, seeds.training, options, Rows(drawn)))
    return members


def network(
    data: TrainingData, seed: Any, options: argparse.Namespace, rows: Rows | None = None
) -> Predictor:
    """Train one network to the end of a cosine schedule."""
    training = TrainingOptions(
        epochs=options.epochs, batch_size=128, learning_rate=4e-3, schedule="cosine", monitor="none"
    )
    config = preset(options.preset, n_filters=options.filters)
    return Predictor(train(data, config, training, seed=seed, rows=rows).weights)


def training_data(world: World, rows: NDArray[np.int64]) -> TrainingData:
    """Return the labelled spectra of some rows."""
    labels, spectra = world.labels, world.spectra
    return TrainingData.make(
        spectra.flux[rows],
        labels.spectype[rows],
        labels.z[rows],
        bal=labels.bal[rows],
        object_id=spectra.keys.object_id[rows],
        empty=(-spectra.mean_flux[rows] / spectra.rms_flux[rows]),
    )


def write_votes(path: Path, world: World, split: Split, members: list[Predictor]) -> None:
    """Write votes of the whole store; only the pool is predicted, the rest has no score."""
    n = len(world.spectra)
    settings = VoteRule()
    finds = apply_members(world.spectra[split.pool], members, settings)
    shape = (len(members), n)
    confidence, z = np.full(shape, np.nan, np.float32), np.full(shape, np.nan)
    confidence[:, split.pool], z[:, split.pool] = finds.confidence, finds.z_best
    line_mean = np.full((n, finds.line_mean.shape[1]), np.nan)
    line_mean[split.pool] = finds.line_mean
    columns = vote_columns(MemberFinds(confidence, z, line_mean), settings, members[0].config.lines)
    keys, flags = world.spectra.keys, world.spectra.flags
    identity = identity_columns(keys, flags, world.shard.tolist(), world.row)
    table = votes_table(identity, columns, len(members)).to_pydict()
    pq.write_table(pl.DataFrame(table).to_arrow(), path)


def chosen_rows(
    world: World,
    split: Split,
    votes: Path,
    name: str,
    seed: int,
    options: argparse.Namespace,
) -> NDArray[np.int64]:
    """Choose with the code of ``quasarloop select``; no spectrum is cut as an outlier."""
    index = {(s, r): i for i, (s, r) in enumerate(zip(world.shard, world.row, strict=True))}

    def features(rows: pl.DataFrame) -> NDArray[np.floating]:
        return world.spectra.flux[[index[key] for key in rows.iter_rows()]]

    selection = select(
        read_votes_table(votes),
        world.cells,
        truth=KnownObjects(world.spectra.keys.target_id[split.first]),
        options=SelectionOptions(n=options.new, percentile=0.0, seed=seed, **STRATEGIES[name]),
        features=features,
    )
    return selection.chosen["INDEX"].to_numpy().astype(np.int64)


def judged(
    world: World,
    labelled: NDArray[np.int64],
    held_out: NDArray[np.int64],
    seed: int,
    judge: int,
    options: argparse.Namespace,
) -> dict[str, float]:
    """Train one network and measure it; judges of one number start alike for all strategies."""
    predictor = network(
        training_data(world, labelled), np.random.SeedSequence([seed, judge, 77]), options
    )
    finds = apply_members(world.spectra[held_out], [predictor], VoteRule())
    confidence = finds.confidence[0]
    true = world.labels.is_qso[held_out]
    found = confidence > CONFIDENCE_THRESHOLD
    result = {
        "at_threshold": float(found[true].mean()),
        "purity": float(true[found].mean()) if found.any() else float("nan"),
    }
    for purity in PURITIES:
        result[f"at_{purity}"] = float(completeness_at_purity(confidence, true, purity))
    return result


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Read the runs made so far."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: means over seeds, and the difference to random labels of the same seeds."""
    by = {(r["seed"], r["strategy"]): r for r in runs}
    names = list(dict.fromkeys(r["strategy"] for r in runs))
    lines = [
        "| strategy | seeds | quasars among the new | purity at 0.95 | complete at 0.95 "
        "| at purity 0.99 | at purity 0.998 | 0.99: minus random | 0.998: minus random |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in names:
        mine = [r for (_, n), r in by.items() if n == name]
        share = [r["quasar_share"] for r in mine if r["quasar_share"] is not None]
        cells = [name, str(len(mine)), f"{np.mean(share):.2f}" if share else "–"]
        cells += [with_error([v for r in mine for v in r[m]]) for m in ("purity", *MEASURES)]
        for measure in MEASURES[1:]:
            apart = [
                ours - theirs
                for r in mine
                if (r["seed"], "random") in by
                for ours, theirs in zip(r[measure], by[r["seed"], "random"][measure], strict=True)
            ]
            cells.append("–" if name == "random" else with_error(apart, sign="+"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def with_error(values: list[float], sign: str = "") -> str:
    """Mean over networks and its standard error; networks of one seed share their labels."""
    if len(values) < 2:  # noqa: PLR2004 -- no scatter of one
        return f"{values[0]:{sign}.3f}" if values else "–"
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):{sign}.3f} ± {error:.3f}"


def note(text: str, start: float) -> None:
    """Report progress on stderr."""
    print(f"{text} ({time.perf_counter() - start:.0f} s)", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
