"""How best to train given weights on with few labels, on a sky they do not know.

    quasarloop simulate --out sky --objects 24000 --seed 21 --templates TEMPLATES --noise-from COADD
    quasarloop ingest sky --store skystore
    python studies/finetune_study.py run --store skystore --truth sky/truth.csv
    python studies/finetune_study.py table

The shipped weights start. Each seed draws a first T of 100 labels, a pool and a test set; 300 more
labels are random, or chosen in three rounds by heads (highest soft entropy; no map), or mixed (30 %
of every round random). Seeds from 100 on are for development: the study of the loop itself,
label_saving.py, has others. "run" adds what docs/measurements/finetune_runs.jsonl lacks.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from quasarloop.ensemble.heads import Heads, LabelledFeatures, Standard, fit_head, fit_heads
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.evaluate.metrics import completeness_at_purity
from quasarloop.network import training
from quasarloop.network.features import Features, compute_features
from quasarloop.network.finetune import adapt_statistics, finetune
from quasarloop.network.labelled import TrainingData, label_spectra
from quasarloop.network.options import FinetuneOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import Weights, read_weights
from quasarloop.read import read_truth
from quasarloop.store import iter_store, open_store
from quasarloop.truth import SpecType
from skies import TRUNK

FIRST, POOL, TEST = 100, 10_000, 8_000
ROUNDS: Final = (100, 100, 100)
HEADS: Final = 30
SHARE: Final = 0.3  # of a mixed round
RUNS: Final = Path("docs/measurements/finetune_runs.jsonl")
PENALTY: Final = 10.0  # of the distance to the start, times the learning rate per step
IMPORTANCE: Final = 4  # how often labels of the first T count where chosen ones count once


@dataclass(frozen=True)
class Sky:
    """Labelled spectra, and what the shipped weights predict of them."""

    data: TrainingData
    features: Features
    weights: Weights

    def labelled(self, rows: NDArray[np.int64]) -> LabelledFeatures:
        """Return rows as heads are fitted to them."""
        return LabelledFeatures(
            self.features[rows], self.data.is_qso[rows], self.data.object_id[rows]
        )


@dataclass(frozen=True)
class Draw:
    """What a seed starts from: rows of the sky."""

    seed: int
    first: NDArray[np.int64]
    pool: NDArray[np.int64]
    test: NDArray[np.int64]
    standard: Standard


@dataclass(frozen=True)
class Arm:
    """A way to train: which labels, how many simulated spectra per label, and what is tried."""

    labels: str
    rehearsal: int | None = None  # None fits a head
    trial: str = ""


ARMS: Final = {
    "no label": Arm(""),
    "no label, statistics adapted": Arm("", 0, "adapted"),
    "head, random labels": Arm("random"),
    "head, chosen labels": Arm("chosen"),
    "random labels": Arm("random", 0),
    "random labels, 1 rehearsed per label": Arm("random", 1),
    "chosen labels": Arm("chosen", 0),
    "chosen labels, 1 rehearsed per label": Arm("chosen", 1),
    "chosen labels, 3 rehearsed per label": Arm("chosen", 3),
    "mixed labels, 1 rehearsed per label": Arm("mixed", 1),
    "mixed labels, 3 rehearsed per label": Arm("mixed", 3),
    "chosen labels, the first T four times": Arm("chosen", 0, "importance"),
    "chosen labels, pulled back to the start": Arm("chosen", 0, "penalty"),
    "chosen labels, convolutions frozen": Arm("chosen", 0, "frozen"),
    "chosen labels, 1 of the pool per label, labelled by heads": Arm("chosen", 0, "soft"),
}


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--store", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[100, 101, 102])
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=list(ARMS))
    options = parser.parse_args()
    if options.what == "table":
        sys.stdout.write(tables(read_runs(options.runs)))
        return 0
    torch.set_num_threads(1)
    sky = read_sky(options.store, options.truth)
    done = {(run["seed"], run["arm"]) for run in read_runs(options.runs)}
    for arm in options.arms:
        for seed in options.seeds:
            if (seed, arm) not in done:
                run = one_arm(sky, seed, ARMS[arm])
                with options.runs.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps({"seed": seed, "arm": arm, **run}) + "\n")
    return 0


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Read what was made so far."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def read_sky(store: Path, truth: Path) -> Sky:
    """Read the usable labelled spectra, one per object, and apply the trunk once."""
    data, _ = label_spectra(iter_store(open_store(store)), read_truth(truth))
    data = data[np.sort(np.unique(data.object_id, return_index=True)[1])]
    weights = read_weights(TRUNK)
    return Sky(data, compute_features(Predictor(weights), data.flux), weights)


def draw_sets(sky: Sky, seed: int) -> Draw:
    """Draw disjoint rows: the first T, the pool, the test set."""
    rows = np.random.default_rng([seed, 1]).permutation(len(sky.data))
    first, pool, test, _ = np.split(rows, np.cumsum([FIRST, POOL, TEST]))
    return Draw(seed, first, pool, test, Standard.of(sky.features.hidden[pool]))


def labels_of(sky: Sky, draw: Draw, kind: str) -> NDArray[np.int64]:
    """Label the first T, then round after round: ``random``, ``chosen`` or ``mixed`` rows."""
    share = {"random": 1.0, "chosen": 0.0, "mixed": SHARE}[kind]
    rows, left = draw.first, draw.pool
    for number, n in enumerate(ROUNDS, start=1):
        rng, n_random = np.random.default_rng([draw.seed, number, 2]), round(share * n)
        order = np.argsort(-doubt(sky, draw, rows, left, number), kind="stable")
        best = left[order[: n - n_random]]
        random = rng.choice(np.setdiff1d(left, best), n_random, replace=False)
        rows = np.concatenate([rows, best, random])
        left = np.setdiff1d(left, rows)
    return rows


def doubt(
    sky: Sky, draw: Draw, rows: NDArray[np.int64], left: NDArray[np.int64], number: int
) -> NDArray[np.float64]:
    """Return the soft entropy of heads trained on rows, of what is left."""
    seed = int(np.random.SeedSequence([draw.seed, number, 3]).generate_state(1)[0])
    heads = fit_heads(
        sky.labelled(rows), sky.weights.config, n_heads=HEADS, seed=seed, standard=draw.standard
    )
    qso = expit(heads.logits(sky.features[left], sky.weights.config)).mean(axis=0)
    high = sky.features.p_high[left].astype(np.float64)
    shares = np.stack([1 - qso, qso * (1 - high), qso * high])
    return -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=0)


def one_arm(sky: Sky, seed: int, arm: Arm) -> dict[str, Any]:
    """Label, train, and judge on the test set."""
    draw = draw_sets(sky, seed)
    if not arm.labels:
        adapted = arm.trial == "adapted"
        flux = sky.data.flux
        start = adapt_statistics(sky.weights, flux[draw.pool]) if adapted else sky.weights
        return reached(sky, draw.test, predict(start, flux[draw.test]))
    rows = labels_of(sky, draw, arm.labels)
    if arm.rehearsal is None:
        head = own_head(sky, draw, rows)
        return reached(sky, draw.test, head.logits(sky.features[draw.test], sky.weights.config)[0])
    weights = tuned(sky, draw, rows, arm)
    return reached(sky, draw.test, predict(weights, sky.data.flux[draw.test]))


def own_head(sky: Sky, draw: Draw, rows: NDArray[np.int64]) -> Heads:
    """Fit one head to all labels."""
    return fit_head(sky.labelled(rows), sky.weights.config, standard=draw.standard)


def tuned(sky: Sky, draw: Draw, rows: NDArray[np.int64], arm: Arm) -> Weights:
    """Train the whole network on; trials change the training for once."""
    more = None
    if arm.trial == "importance":
        rows = np.concatenate([rows, np.tile(rows[:FIRST], IMPORTANCE - 1)])
    if arm.trial == "soft":
        more = labelled_by_heads(sky, draw, rows)
    trial = {"frozen": frozen_convolutions, "penalty": pulled_back}.get(arm.trial, nullcontext)
    options = FinetuneOptions(rehearsal=arm.rehearsal or 0, precision="bfloat16")
    with trial():
        result = finetune(sky.weights, sky.data[rows], options, seed=draw.seed, rehearsal=more)
    return result.weights


def labelled_by_heads(sky: Sky, draw: Draw, rows: NDArray[np.int64]) -> TrainingData:
    """Draw spectra of the pool, and their labels with the probabilities that a head gives them."""
    rng = np.random.default_rng([draw.seed, 4])
    chosen = rng.choice(np.setdiff1d(draw.pool, rows), len(rows), replace=False)
    logits = own_head(sky, draw, rows).logits(sky.features[chosen], sky.weights.config)[0]
    is_qso = rng.random(len(chosen)) < expit(logits)
    z = np.where(is_qso, sky.features.z_best[chosen], 0.0)
    spectype = np.where(is_qso, SpecType.QSO, SpecType.GALAXY)
    return TrainingData.make(sky.data.flux[chosen], spectype, z)


@contextmanager
def frozen_convolutions() -> Iterator[None]:
    """Train the dense layers only."""
    start = training._start

    def frozen(*args: Any) -> Any:
        model, optimizer = start(*args)
        for part in (model.convs, model.conv_norms):
            part.requires_grad_(False)
        return model, optimizer

    with patch.object(training, "_start", frozen):
        yield


@contextmanager
def pulled_back() -> Iterator[None]:
    """Pull all weights towards the start: its squared distance is part of the loss."""
    step, first = training._step, []

    def pulling(run: Any, model: Any, optimizer: Any, *more: Any) -> Any:
        first[:] = first or [p.detach().clone() for p in model.parameters()]
        terms = step(run, model, optimizer, *more)
        with torch.no_grad():
            for parameter, start in zip(model.parameters(), first, strict=True):
                if parameter.requires_grad:
                    parameter.lerp_(start, PENALTY * optimizer.param_groups[0]["lr"])
        return terms

    with patch.object(training, "_step", pulling):
        yield


def predict(weights: Weights, flux: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the confidence that decides."""
    predictor = Predictor(weights)
    emission = list(weights.config.emission_index)
    return np.asarray(predictor.predict(flux).confidence[:, emission].max(axis=(1, 2)))


def reached(sky: Sky, rows: NDArray[np.int64], confidence: NDArray[np.floating]) -> dict[str, Any]:
    """Return completeness at the fixed purities."""
    true = sky.data.is_qso[rows]
    # Any increasing function of a confidence has the same completeness at a purity.
    rank = np.unique(confidence, return_inverse=True)[1] + 1.0
    return {"at": [completeness_at_purity(rank, true, purity) for purity in FIXED_PURITIES]}


def tables(runs: Sequence[dict[str, Any]]) -> str:
    """Return what docs/measurements/training.md has."""
    head = [f"completeness at purity {purity}" for purity in FIXED_PURITIES]
    lines = [f"| trained on | seeds | {' | '.join(head)} |", "|---|---:|---:|---:|"]
    for arm in ARMS:
        at = np.array([run["at"] for run in runs if run["arm"] == arm])
        if len(at):
            error = at.std(axis=0, ddof=1) / np.sqrt(len(at)) if len(at) > 1 else [np.nan] * 2
            cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(at.mean(axis=0), error, strict=True)]
            lines.append(f"| {arm} | {len(at)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
