"""Networks from given weights: one head per truth set, and candidates for the one that leaves.

Heads take seconds, so every truth set gets one, and they compare the sets. The newest set also
trains the whole network on, without and with rehearsal. Candidates are the weights as they were
given, judged on all labels; the head, judged on all labels by cross-validation; and those trained
on, judged on objects held out. Labels are weighted back to the pool. Each has to beat the simpler
one, by class or else by redshift; that way trains the network that leaves, on all of T.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

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
from quasarloop.ensemble.heads import Standard, deciding_logit, fit_head, fold_head
from quasarloop.ensemble.train_heads import (
    canonical_rows,
    cross_validated_logits,
    labelled_features,
)
from quasarloop.errors import TruthError
from quasarloop.evaluate.candidates import Candidates, judge_candidates, pool_weights
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.network.decode import BestLines, decode, emission_lines
from quasarloop.network.finetune import finetune
from quasarloop.network.labelled import TrainingData
from quasarloop.network.options import Device, FinetuneOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.training import TrainingResult
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import Weights, read_weights
from quasarloop.query import RANDOM

__all__ = ["CANDIDATES_NAME", "HEAD", "START", "WAYS", "Trunk", "judge", "read_candidates"]

START: Final = "start"
HEAD: Final = "head"
# What may leave, the simplest first: the weights as they are, and ways to train them on.
WAYS: Final = (START, HEAD, "finetune", "rehearse")
CANDIDATES_NAME: Final = "candidates.json"


@dataclass(frozen=True)
class Trunk:
    """What networks are trained on from.

    Attributes:
        weights: with the thresholds of the campaign.
        options: of training all layers on; its device also predicts.
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
        """Train the weights on, in one of `WAYS`; only those fine-tuned have a history."""
        if way == START:
            return TrainingResult(self.weights, ())
        if way == HEAD:
            labelled = labelled_features(data[rows.train], self.weights, self.options.device)
            config, n_lines = self.weights.config, self.weights.thresholds.n_lines
            head = fit_head(labelled, config, standard=self.standard, n_lines=n_lines)
            return TrainingResult(fold_head(self.weights, head, 0), ())
        options = self.options if way == "rehearse" else replace(self.options, rehearsal=0)
        return finetune(self.weights, data, options, seed=seed, rows=rows, out_dir=out_dir)


def judge(
    context: Context,
    trunk: Trunk,
    files: Mapping[str, Path],
    labelled: TrainingData,
    held_objects: NDArray[np.int64],
) -> str:
    """Judge candidates, write what was found, and return the way of the one that leaves.

    Args:
        context: of the round.
        trunk: what they were trained on from.
        files: way → weights file, the simplest way first; it leaves if labels cannot decide.
        labelled: all of T.
        held_objects: those that none of the files was trained with.
    """
    data = labelled[canonical_rows(labelled)]
    weight, weighted = _weights_in_pool(context, data.object_id)
    record: dict[str, Any] = {"weighted": weighted, "purities": FIXED_PURITIES}
    seed = partial(seed_number, context, Stream.VALIDATION, round_number=EVERY_ROUND)
    try:
        held = np.isin(data.object_id, held_objects)
        confidence, z = _without_having_learned(trunk, files, data, held, seed(3))
        found = judge_candidates(
            confidence, z, data.is_qso, data.z, weight, data.object_id, seed=seed(1)
        )
    except TruthError as exc:
        found = Candidates(next(iter(files)), {})
        record["fault"] = str(exc)
        context.report(f"candidates cannot be judged: {exc}")
    scores = {way: asdict(score) for way, score in found.scores.items()}
    record |= {"leaves": found.leaves, "scores": scores}
    write_manifest(context.step_folder("networks") / CANDIDATES_NAME, record)
    return found.leaves


def _without_having_learned(
    trunk: Trunk,
    files: Mapping[str, Path],
    data: TrainingData,
    held: NDArray[np.bool_],
    seed: int,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Return way → (n,) confidence, NaN for labels it has learned from; and way → (n,) redshift."""
    device, config = trunk.options.device, trunk.weights.config
    labelled = labelled_features(data, trunk.weights, device)
    n_lines = trunk.weights.thresholds.n_lines
    confidence = {}
    z = dict.fromkeys(files, labelled.features.z_best)  # heads keep the redshifts of the trunk
    for way, path in files.items():
        if way == START:
            confidence[way] = expit(deciding_logit(labelled.features, config, n_lines))
        elif way == HEAD:
            logit = cross_validated_logits(
                labelled, config, seed=seed, standard=trunk.standard, n_lines=n_lines
            )
            confidence[way] = expit(logit)
        else:
            confidence[way], z[way] = np.full((2, len(data)), np.nan)
            best = _best_lines(path, data[held], device)
            confidence[way][held], z[way][held] = best.confidence, best.z
    return confidence, z


def read_candidates(context: Context) -> dict[str, Any] | None:
    """Read what `judge` wrote; None for networks from nothing."""
    path = context.step_folder("networks") / CANDIDATES_NAME
    return read_manifest(path) if path.is_file() else None


def _best_lines(path: Path, data: TrainingData, device: Device) -> BestLines:
    predictor = Predictor(read_weights(path), device)
    finds = decode(predictor.predict(data.flux), predictor.config)
    n_lines = predictor.thresholds.n_lines
    return emission_lines(finds, predictor.config, n_lines)


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
