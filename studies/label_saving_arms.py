"""What an arm of the label-saving study does: choose labels, train, judge (see label_saving.py)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from quasarloop.classes import Thresholds
from quasarloop.ensemble.bootstrap import bootstrap_rows, member_seeds
from quasarloop.ensemble.entropy import entropy_bits, mean_over_members, soft_classes, vote_entropy
from quasarloop.ensemble.heads import (
    LabelledFeatures,
    Standard,
    deciding_logit,
    fit_head,
    fit_heads,
)
from quasarloop.ensemble.train_heads import cross_validated_logits
from quasarloop.ensemble.votes import vote_counts
from quasarloop.evaluate.candidates import judge_candidates, pool_weights
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.evaluate.metrics import threshold_curve
from quasarloop.network.config import preset
from quasarloop.network.decode import BestLines, decode, emission_lines
from quasarloop.network.features import Features, compute_features
from quasarloop.network.finetune import adapt_statistics, finetune
from quasarloop.network.labelled import TrainingData, joined_data
from quasarloop.network.options import FinetuneOptions, TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.training import train
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import Weights
from quasarloop.query.choose import take_in_order
from quasarloop.query.options import RECOMMENDED_PER_CELL, SelectionOptions, SomOptions
from quasarloop.query.som import CellGrid, find_winners
from quasarloop.query.som_parts import parts_of_array
from quasarloop.query.som_train import fit_map

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

HEADS, NETWORKS = 200, 4
# Folds of the labels that carry a threshold over, or pick the network that leaves.
FOLDS, MOST_CARRIED = 4, 600
# From nothing: at least so many steps and passes, however few the labels.
STEPS, BATCH, LEAST_EPOCHS = 600, 32, 15


@dataclass(frozen=True)
class Arm:
    """A way of training and of choosing.

    Attributes:
        training: heads, finetune, leaves, nothing, adapt or none.
        choice: random, ours (as campaigns choose by default), qso (by doubt of quasar or not in
            the first round, too), soft (by doubt of the redshift, too) or paper.
        labels: labels after which it is judged, or labels of each round.
        random_share: part of each round drawn at random.
        rehearsal: spectra simulated per label that fine-tuning trains on besides.
    """

    training: str
    choice: str
    labels: tuple[int, ...]
    random_share: float = 0.0
    rehearsal: int = 0


@dataclass(frozen=True)
class Labelled:
    """Labelled spectra, and what one pass of the trunk gives of them."""

    data: TrainingData
    weights: Weights

    @cached_property
    def features(self) -> Features:
        """Features of all rows; computed when first needed."""
        return compute_features(Predictor(self.weights), self.data.flux)

    @cached_property
    def cells(self) -> NDArray[np.int32]:
        """(n,) cell of a map of 15 x 15 cells; -1 in cells that hold too few to be chosen from."""
        grid = CellGrid(15, 15)
        som = fit_map(parts_of_array(self.data.flux), grid, SomOptions(n_epochs=15)).som
        cell = find_winners(self.data.flux, som.weights).cell
        counts = np.bincount(cell, minlength=grid.n_cells)
        least = np.percentile(counts, SelectionOptions().percentile)
        return np.where(counts[cell] < least, -1, cell)


@dataclass(frozen=True)
class Draw:
    """What one seed of one case starts from: the first T, and rows of the sky."""

    first: Labelled
    first_rows: Ints
    pool: Ints
    test: Ints
    sky: Labelled
    seed: int

    def data(self, new: Ints) -> TrainingData:
        """Return the spectra of T and of new rows; every row is an object."""
        both = joined_data(self.first.data[self.first_rows], self.sky.data[new])
        return TrainingData.make(both.flux, both.spectype, both.z, bal=both.bal, empty=both.empty)

    def labelled(self, new: Ints) -> LabelledFeatures:
        """Return the features of T and of new rows."""
        features = Features.concatenate(
            [self.first.features[self.first_rows], self.sky.features[new]]
        )
        is_qso = np.append(self.first.data.is_qso[self.first_rows], self.sky.data.is_qso[new])
        return LabelledFeatures(features, is_qso, np.arange(len(is_qso)))

    @cached_property
    def standard(self) -> Standard:
        """Units of the hidden layer, from the unlabelled pool."""
        return Standard.of([self.sky.features.hidden[self.pool]])


@dataclass(frozen=True)
class Rounds:
    """Labels spent so far, in their order.

    Attributes:
        rows: (n,) of the sky.
        number: (n,) round of each, from 1.
        at_random: (n,) drawn at random.
        n_left: round -> objects left when some were drawn at random.
    """

    rows: Ints
    number: Ints
    at_random: NDArray[np.bool_]
    n_left: dict[int, int]

    def weights(self, draw: Draw) -> Floats:
        """Return how many objects of the pool every label of T, then every new one, counts for."""
        first = np.zeros(len(draw.first_rows), np.int64)
        is_fair = draw.first is draw.sky
        return pool_weights(
            np.concatenate([first, self.number]),
            np.concatenate([first == (0 if is_fair else 1), self.at_random]),
            self.n_left | ({0: len(draw.pool)} if is_fair else {}),
        )


def chosen(draw: Draw, arm: Arm, labels: list[int]) -> Iterator[Rounds]:
    """Give the labels spent, again and again: those of random arms begin anew each time."""
    order = np.random.default_rng([draw.seed, 3]).permutation(draw.pool)
    none = order[:0]
    if arm.choice == "random":
        for n in labels:
            yield Rounds(order[:n], np.ones(n, np.int64), np.ones(n, bool), {1: len(order)})
        return
    so_far = Rounds(none, none, none.astype(bool), {})
    for number, n in enumerate(arm.labels, start=1):
        left = np.setdiff1d(draw.pool, so_far.rows)
        n_random = round(arm.random_share * n)
        best = best_of(draw, arm, so_far.rows, left, number)[: n - n_random]
        rest = np.setdiff1d(left, best)
        rng = np.random.default_rng([draw.seed, number, 6])
        new = np.append(best, rng.permutation(rest)[:n_random])
        so_far = Rounds(
            np.append(so_far.rows, new),
            np.append(so_far.number, np.full(n, number)),
            np.append(so_far.at_random, np.arange(n) >= n - n_random),
            so_far.n_left | ({number: len(rest)} if n_random else {}),
        )
        yield so_far
        if len(so_far.rows) >= max(labels):
            return


def best_of(draw: Draw, arm: Arm, new: Ints, left: Ints, number: int) -> Ints:
    """Rank what is left of the pool by an ensemble's votes, with the limits of the choice."""
    root = int(np.random.SeedSequence([draw.seed, number, 4]).generate_state(1)[0])
    finds = voted_by_networks if arm.training == "nothing" else voted_by_heads
    confidence, z, p_high = finds(draw, new, left, root)
    if arm.choice == "paper":
        score = vote_entropy(vote_counts(confidence, z, Thresholds()))
    else:
        # Heads cannot change a redshift: whether doubt of it is worth a label is an arm's choice.
        p_high = p_high if arm.choice == "soft" else np.zeros_like(p_high)
        score = entropy_bits(mean_over_members(soft_classes(confidence, p_high)))
        if arm.choice == "ours" and number == 1:  # the score two_entropies
            score += vote_entropy(vote_counts(confidence, np.zeros_like(z), Thresholds()))
    eligible = np.flatnonzero(draw.sky.cells[left] >= 0)
    # Equal scores, of which hard votes have many, in an order by chance.
    tie = np.random.default_rng(root).random(len(eligible))
    ranked = left[eligible[np.lexsort((tie, -score[eligible]))]]
    limit = None if arm.choice == "paper" else RECOMMENDED_PER_CELL
    cell = draw.sky.cells[ranked]
    taken = take_in_order(arm.labels[number - 1], cell, np.zeros_like(cell), per_cell=limit)
    return ranked[taken]


def voted_by_heads(
    draw: Draw, new: Ints, rows: Ints, seed: int
) -> tuple[NDArray[np.float32], Floats, Floats]:
    """Return confidences (members, n), redshifts, and the probability of high redshift."""
    config = draw.sky.weights.config
    labelled = draw.labelled(new)
    heads = fit_heads(labelled, config, n_heads=HEADS, seed=seed, standard=draw.standard)
    features = draw.sky.features[rows]
    confidence = expit(heads.logits(features, config)).astype(np.float32)
    z = np.broadcast_to(features.z_best, confidence.shape)
    return confidence, z, features.p_high.astype(np.float64)


def voted_by_networks(
    draw: Draw, new: Ints, rows: Ints, seed: int
) -> tuple[NDArray[np.float32], Floats, Floats]:
    """Return the same of whole networks trained from nothing."""
    data, flux = draw.data(new), draw.sky.data.flux[rows]
    best = []
    for seeds in member_seeds(seed, NETWORKS):
        drawn = bootstrap_rows(data.object_id, np.random.default_rng(seeds.bootstrap))
        best.append(predicted(from_nothing(data, seeds.training, Rows(drawn)), flux))
    z = np.stack([lines.z for lines in best])
    confidence = np.stack([lines.confidence for lines in best]).astype(np.float32)
    return confidence, z, (z >= Thresholds().high_z_min).astype(np.float64)


def judged(draw: Draw, arm: Arm, rounds: Rounds) -> tuple[Floats, dict[str, Any]]:
    """Train on T and the new labels; return what is judged of the test set, and what is besides."""
    if arm.training == "heads":
        every = np.arange(len(draw.first_rows) + len(rounds.rows))
        logit = head_logits(draw, rounds, every, draw.test)
        return logit, carried_thresholds(draw, rounds, logit)
    if arm.training == "none":
        return deciding_logit(draw.sky.features[draw.test], draw.sky.weights.config), {}
    if arm.training == "leaves":
        return the_one_that_leaves(draw, rounds, np.random.SeedSequence([draw.seed, 77]))
    return predicted(network(draw, arm, rounds), draw.sky.data.flux[draw.test]).confidence, {}


def network(draw: Draw, arm: Arm, rounds: Rounds) -> Weights:
    """Train a whole network on T and the new labels, or adapt the trunk to the pool."""
    seed, start = np.random.SeedSequence([draw.seed, 77]), draw.sky.weights
    if arm.training == "nothing":
        return from_nothing(draw.data(rounds.rows), seed)
    if arm.training == "finetune":
        return tuned(draw.data(rounds.rows), start, seed, arm.rehearsal)
    return adapt_statistics(start, draw.sky.data.flux[draw.pool])


def head_logits(draw: Draw, rounds: Rounds, learned: Ints, rows: Ints) -> Floats:
    """Return logits of rows of the sky, by one head fitted to some of the labels."""
    all_labels, config = draw.labelled(rounds.rows), draw.sky.weights.config
    labelled = LabelledFeatures(
        all_labels.features[learned], all_labels.is_qso[learned], all_labels.object_id[learned]
    )
    head = fit_head(labelled, config, standard=draw.standard)
    return np.asarray(head.logits(draw.sky.features[rows], config)[0])


def carried_thresholds(draw: Draw, rounds: Rounds, test: Floats) -> dict[str, Any]:
    """Judge at thresholds read off labels, each by a head that has not seen it.

    Labels of the sky alone count, weighted back to the pool. None without a fair sample of it, or
    with more labels than `MOST_CARRIED`.

    Args:
        draw: where labels and pool are.
        rounds: the labels.
        test: logits of what is judged, by a head that learned from all labels.
    """
    names = [f"carried_{purity}" for purity in FIXED_PURITIES]
    own, n_first = own_labels(draw, rounds), len(draw.first_rows)
    if not len(own) or len(rounds.rows) > MOST_CARRIED:
        return dict.fromkeys((*names, *(f"{name}_purity" for name in names)))
    weight = rounds.weights(draw)[own]
    rows = np.append(draw.first_rows, rounds.rows)[own]
    every = np.arange(n_first + len(rounds.rows))
    logit = np.empty(len(own))
    fold = np.random.default_rng([draw.seed, 8]).permutation(len(own)) % FOLDS
    for part in range(FOLDS):
        out = fold == part
        logit[out] = head_logits(draw, rounds, np.setdiff1d(every, own[out]), rows[out])
    curve = threshold_curve(logit, draw.sky.data.is_qso[rows], weight=weight)
    true = draw.sky.data.is_qso[draw.test]
    result: dict[str, Any] = {}
    for name, purity in zip(names, FIXED_PURITIES, strict=True):
        pure = np.flatnonzero(curve.purity >= purity)
        found = test > curve.threshold[pure[0]] if len(pure) else np.zeros(len(test), bool)
        result[name] = float(found[true].mean())
        result[f"{name}_purity"] = float(true[found].mean()) if found.any() else None
    return result


def own_labels(draw: Draw, rounds: Rounds) -> Ints:
    """Return the places, among T and the new labels, of those that count for the pool."""
    is_fair = rounds.at_random.any() or (not len(rounds.rows) and draw.first is draw.sky)
    return np.flatnonzero(rounds.weights(draw) > 0) if is_fair else np.empty(0, np.int64)


def the_one_that_leaves(
    draw: Draw, rounds: Rounds, seed: np.random.SeedSequence
) -> tuple[Floats, dict[str, Any]]:
    """Judge the candidates as a campaign does, and train the one that leaves on all labels."""
    own, data = own_labels(draw, rounds), draw.data(rounds.rows)
    every = np.arange(len(data))
    held = own[np.random.default_rng([draw.seed, 8]).permutation(len(own)) % FOLDS == 0]
    labelled, config = draw.labelled(rounds.rows), draw.sky.weights.config
    flux, start = draw.sky.data.flux, draw.sky.weights
    rows = np.append(draw.first_rows, rounds.rows)
    unseen = cross_validated_logits(labelled, config, seed=draw.seed, standard=draw.standard)
    confidence = {
        "start": expit(deciding_logit(labelled.features, config)),
        "head": expit(unseen),
    }
    z = dict.fromkeys(confidence, labelled.features.z_best)
    rehearsals = {"fine-tuned": 0, "with rehearsal": FinetuneOptions().rehearsal}
    for name, rehearsal in rehearsals.items():
        some = tuned(data[np.setdiff1d(every, held)], start, seed, rehearsal)
        best = predicted(some, flux[rows[held]])
        confidence[name], z[name] = np.full((2, len(data)), np.nan)
        confidence[name][held], z[name][held] = best.confidence, best.z
    leaves = judge_candidates(
        confidence, z, labelled.is_qso, data.z, rounds.weights(draw), every, seed=draw.seed
    ).leaves
    if leaves == "start":
        score = deciding_logit(draw.sky.features[draw.test], config)
    elif leaves == "head":
        score = head_logits(draw, rounds, every, draw.test)
    else:
        score = predicted(tuned(data, start, seed, rehearsals[leaves]), flux[draw.test]).confidence
    return score, {"leaves": leaves}


def tuned(
    data: TrainingData, start: Weights, seed: np.random.SeedSequence, rehearsal: int
) -> Weights:
    """Fine-tune with the package's options."""
    return finetune(start, data, FinetuneOptions(rehearsal=rehearsal), seed=seed).weights


def from_nothing(
    data: TrainingData, seed: np.random.SeedSequence, rows: Rows | None = None
) -> Weights:
    """Train one network from nothing to the end of a cosine."""
    n = len(data) if rows is None else len(rows.train)
    training = TrainingOptions(
        epochs=max(LEAST_EPOCHS, -(-STEPS * BATCH // n)),
        batch_size=BATCH,
        learning_rate=4e-3,
        schedule="cosine",
        precision="bfloat16",
    )
    config = preset("green2025", n_filters=32, dropout=0.0)
    return train(data, config, training, seed=seed, rows=rows).weights


def predicted(weights: Weights, flux: NDArray[np.float32]) -> BestLines:
    """Return the confidence and the redshift of the most confident line."""
    predictor = Predictor(weights)
    return emission_lines(decode(predictor.predict(flux), predictor.config), predictor.config, 1)
