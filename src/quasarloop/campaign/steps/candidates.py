"""Networks from given weights: one head per truth set, and candidates for the one that leaves.

Heads take seconds, so every truth set gets one, and they compare the sets. The newest set also
trains the whole network on, without and with rehearsal. All are judged on objects held out, which
are weighted back to the pool; the best way trains the network that leaves, on all of T.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.artefacts import read_manifest, write_manifest
from quasarloop.campaign.layout import (
    EVERY_ROUND,
    LEDGER,
    Stream,
    seed_number,
)
from quasarloop.campaign.ledger import Origin, read_ledger
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.selection import CHOSEN_NAME, STEPS_NAME
from quasarloop.ensemble.heads import Standard, fit_head, fold_head
from quasarloop.ensemble.train_heads import labelled_features
from quasarloop.errors import TruthError
from quasarloop.evaluate.candidates import Candidates, judge_candidates, pool_weights
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.network.decode import decode, emission_lines
from quasarloop.network.finetune import finetune
from quasarloop.network.labelled import TrainingData
from quasarloop.network.options import FinetuneOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.training import TrainingResult
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import Weights, read_weights
from quasarloop.query.choose import RANDOM

__all__ = ["CANDIDATES_NAME", "HEAD", "START", "WAYS", "Trunk", "judge", "read_candidates"]

START: Final = "start"
HEAD: Final = "head"
# How weights can be trained on, the simplest first.
WAYS: Final = (HEAD, "finetune", "rehearse")
CANDIDATES_NAME: Final = "candidates.json"


@dataclass(frozen=True)
class Trunk:
    """What networks are trained on from.

    Attributes:
        weights: with the thresholds of the campaign.
        options: of training all layers on.
        standard: of the pool's hidden units, for heads.
    """

    weights: Weights
    options: FinetuneOptions
    standard: Standard

    def train(
        self,
        way: str,
        data: TrainingData,
        rows: Rows,
        seed: np.random.SeedSequence,
        out_dir: Path,
    ) -> TrainingResult:
        """Train the weights on, in one of `WAYS`; a head has no history."""
        if way == HEAD:
            labelled = labelled_features(data[rows.train], self.weights)
            config, n_lines = self.weights.config, self.weights.thresholds.n_lines
            head = fit_head(labelled, config, standard=self.standard, n_lines=n_lines)
            return TrainingResult(fold_head(self.weights, head, 0), ())
        options = self.options if way == "rehearse" else replace(self.options, rehearsal=0)
        return finetune(self.weights, data, options, seed=seed, rows=rows, out_dir=out_dir)


def judge(context: Context, files: Mapping[str, Path], held_out: TrainingData) -> str:
    """Judge candidates, write what was found, and return the way of the one that leaves.

    Args:
        context: of the round.
        files: way → weights file, the simplest way first; it leaves if labels cannot decide.
        held_out: labelled spectra that none was trained with.
    """
    weight, weighted = _weights_in_pool(context, held_out.object_id)
    record: dict[str, Any] = {"weighted": weighted, "purities": FIXED_PURITIES}
    try:
        found = judge_candidates(
            {way: _confidence(path, held_out) for way, path in files.items()},
            held_out.is_qso,
            weight,
            held_out.object_id,
            seed=seed_number(context, Stream.VALIDATION, 1, round_number=EVERY_ROUND),
        )
    except TruthError as exc:
        found = Candidates(next(iter(files)), {}, 0)
        record["fault"] = str(exc)
        context.report(f"candidates cannot be judged: {exc}")
    scores = {way: asdict(score) for way, score in found.scores.items()}
    record |= {"leaves": found.leaves, "n_labels": found.n_labels, "scores": scores}
    write_manifest(context.step_folder("networks") / CANDIDATES_NAME, record)
    return found.leaves


def read_candidates(context: Context) -> dict[str, Any] | None:
    """Read what `judge` wrote; None for networks from nothing."""
    path = context.step_folder("networks") / CANDIDATES_NAME
    return read_manifest(path) if path.is_file() else None


def _confidence(path: Path, data: TrainingData) -> NDArray[np.floating]:
    predictor = Predictor(read_weights(path))
    finds = decode(predictor.predict(data.flux), predictor.config)
    n_lines = predictor.thresholds.n_lines
    return emission_lines(finds, predictor.config, n_lines).confidence


def _weights_in_pool(
    context: Context, object_id: NDArray[np.int64]
) -> tuple[NDArray[np.float64], bool]:
    """Return how many objects of the pool each row counts for, and whether that is known.

    Rows of one object share its weight. Where nothing was drawn at random every row counts once.
    """
    ledger = read_ledger(context.step_folder("truth") / LEDGER)
    # Rejected outliers are no part of what is drawn from.
    others = (Origin.BORROWED.value, Origin.OUTLIER.value)
    active = ledger.filter(pl.col("STATUS") == "active", ~pl.col("ORIGIN").is_in(others))
    labelled = active.group_by("OBJECT_ID").agg(pl.col("ROUND").min()).sort("OBJECT_ID")
    drawn, n_drawn_from = [], {}
    for number in range(1, context.round_number + 1):
        folder = context.step_folder("selection", number)
        chosen = pl.read_parquet(folder / CHOSEN_NAME, columns=["OBJECT_ID", "REASON"])
        drawn.append(chosen.filter(pl.col("REASON") == RANDOM))
        n_drawn_from[number] = int(read_manifest(folder / STEPS_NAME)["n_drawn_from"])
    at_random = labelled["OBJECT_ID"].is_in(pl.concat(drawn)["OBJECT_ID"].implode()).to_numpy()
    try:
        weight = pool_weights(labelled["ROUND"].to_numpy(), at_random, n_drawn_from)
    except TruthError:
        return np.ones(len(object_id)), False
    ids = labelled["OBJECT_ID"].to_numpy()
    place = np.minimum(np.searchsorted(ids, object_id), len(ids) - 1)
    known = ids[place] == object_id
    _, inverse, n_rows = np.unique(object_id, return_inverse=True, return_counts=True)
    return np.where(known, weight[place], 0.0) / n_rows[inverse], True
