"""Skies and sizes of the label-saving study: what one seed starts from (see label_saving.py)."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quasarloop.network.labelled import TrainingData, label_spectra
from quasarloop.quality import REFUSED
from quasarloop.read import read_truth
from quasarloop.store import iter_store, open_store
from score_table import World, training_data

SKIES = ("alike", "poor", "rare")
# Random labels judged beyond the loop's last ones, as parts of those.
WIDER = (1.5, 2, 3, 4)


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
        rare: share of quasars in the sky where they are rare.
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
    rare: float = 0.08

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
        seed: of the draw, and of what follows.
    """

    first: TrainingData
    known: NDArray[np.int64]
    pool: NDArray[np.int64]
    test: NDArray[np.int64]
    seed: int


def read_labelled(store: Path, truth: Path) -> TrainingData:
    """Read all spectra of a store that may train."""
    return label_spectra(iter_store(open_store(store)), read_truth(truth))[0]


def draw_sets(world: World, poor: TrainingData, sky: str, seed: int, setting: Setting) -> Draw:
    """Draw disjoint sets; pool and test set of a seed are the same on alike and poor skies."""
    usable = np.flatnonzero(((world.spectra.flags & int(REFUSED)) == 0) & world.labels.trains)
    drawn = np.random.default_rng([seed, 1]).permutation(usable)
    edges = np.cumsum([setting.first, setting.pool, setting.test])
    if sky == "rare":
        drawn = _with_rare_quasars(world, drawn, seed, setting)
        # What is left of the sky is small: half to choose from, half to judge on.
        half = (len(drawn) - setting.first) // 2
        edges = np.cumsum([setting.first, half, half])
    if edges[-1] > len(drawn) or edges[0] >= edges[1]:
        raise SystemExit(f"{len(drawn)} usable spectra, {edges[-1]} wanted: simulate more")
    first, pool, test = drawn[: edges[0]], drawn[edges[0] : edges[1]], drawn[edges[1] : edges[2]]
    if sky == "alike":
        return Draw(training_data(world, first), first, pool, test, seed)
    rows = np.random.default_rng([seed, 2]).permutation(len(poor))[: setting.first]
    return Draw(poor[rows], first[:0], pool, test, seed)


def joined(first: TrainingData, second: TrainingData) -> TrainingData:
    """Put two sets of labelled spectra together."""
    return TrainingData(
        **{
            f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)])
            for f in fields(TrainingData)
        }
    )


def _with_rare_quasars(
    world: World, drawn: NDArray[np.int64], seed: int, setting: Setting
) -> NDArray[np.int64]:
    """Keep all that are no quasars, and so many quasars that their share is right."""
    is_qso = world.labels.is_qso[drawn]
    n_others = int((~is_qso).sum())
    kept = round(n_others * setting.rare / (1 - setting.rare))
    rows = np.concatenate([drawn[~is_qso], drawn[is_qso][:kept]])
    return np.random.default_rng([seed, 5]).permutation(rows)
