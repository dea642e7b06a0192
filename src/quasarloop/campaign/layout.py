"""Where the parts of a campaign are kept, and how a step gets at them."""

from collections.abc import Callable, Iterable
from enum import IntEnum
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from quasarloop.campaign.config import CampaignOptions, LearningSection
from quasarloop.campaign.ledger import active_truth, read_ledger
from quasarloop.campaign.state import Context
from quasarloop.classes import ThresholdOptions
from quasarloop.engine import Engine
from quasarloop.ensemble.features import FeaturesFolder, make_features
from quasarloop.errors import CampaignError, WeightsError
from quasarloop.grid import grid_named
from quasarloop.network.config import NetworkConfig
from quasarloop.network.device import place_tasks
from quasarloop.network.options import SHIPPED, Device, PresetOptions, TrainingOptions
from quasarloop.network.weights import Weights, read_weights, weights_path
from quasarloop.options import common_options
from quasarloop.read import read_truths
from quasarloop.spectra import RebinnedSpectra
from quasarloop.store import Store, is_store, load_targets, open_store
from quasarloop.truth import TruthTable

__all__ = [
    "EVERY_ROUND",
    "LEDGER",
    "WITHDRAWALS",
    "Stream",
    "configured_truth",
    "device_of",
    "engine_of",
    "features_of",
    "ledger_before",
    "network_of",
    "pool_store",
    "seed_number",
    "seed_of",
    "spectra_of_truth",
    "start_files",
    "start_weights",
    "test_store",
    "thresholds_of",
    "training_of",
    "truth_before",
    "truth_set",
    "truth_stores",
]

LEDGER: Final = "ledger.parquet"
WITHDRAWALS: Final = "withdrawals.csv"
EVERY_ROUND: Final = 0


class Stream(IntEnum):
    """Random streams of a campaign; a number never changes, or campaigns would change bytes."""

    ENSEMBLE = 2
    MAP = 4
    SELECTION = 5
    RANDOM_CONTROL = 6
    ORACLE = 7
    NETWORKS = 8
    VALIDATION = 9


def engine_of(context: Context) -> Engine:
    """Return where tasks run, networks too; its workers stay from step to step."""
    return context.engine


def device_of(context: Context) -> Device:
    """Return where networks compute.

    Raises:
        WeightsError: no such device on this machine.
    """
    return place_tasks(context.config.device, context.engine)[0]


def network_of(section: LearningSection, config: CampaignOptions) -> NetworkConfig:
    """Return the shape of the networks that a section describes."""
    return common_options(PresetOptions, section).network(grid_named(config.data.grid))


def training_of(section: LearningSection, device: Device) -> TrainingOptions:
    """Return how they learn; the last epoch is kept, so that no label is spent on stopping."""
    return common_options(TrainingOptions, section, device=device)


def start_files(context: Context, start: str) -> list[Path]:
    """Return the weights file a section names as its start; none for an empty one."""
    if not start:
        return []
    if start != SHIPPED:
        return [context.folder / start]
    return [weights_path(start, grid_named(context.config.data.grid))]


def start_weights(context: Context, start: str) -> Weights:
    """Read the weights a section names as its start.

    Raises:
        WeightsError: not a weights file, or on another grid than the campaign's.
    """
    (path,) = start_files(context, start)
    weights, grid = read_weights(path), grid_named(context.config.data.grid)
    if not weights.config.grid.matches(grid):
        raise WeightsError(
            f"{path} reads a {weights.config.grid.describe()}, the campaign has a "
            f"{grid.describe()}; set grid under [data], or start from other weights"
        )
    return weights


def thresholds_of(config: CampaignOptions) -> ThresholdOptions:
    """Return what the campaign gives in place of the thresholds of its weights."""
    return ThresholdOptions(config.evaluation.threshold)


def seed_of(
    context: Context, stream: Stream, *more: int, round_number: int | None = None
) -> np.random.SeedSequence:
    """Return a seed that depends on the campaign's root, the round and the stream alone.

    `more` numbers streams within the stream; `EVERY_ROUND` gives all rounds the same seed.
    """
    number = context.round_number if round_number is None else round_number
    return np.random.SeedSequence((context.config.seed, number, int(stream), *more))


def seed_number(
    context: Context, stream: Stream, *more: int, round_number: int | None = None
) -> int:
    """Return `seed_of` as one number."""
    return int(seed_of(context, stream, *more, round_number=round_number).generate_state(1)[0])


def pool_store(context: Context) -> Store:
    """Open the store of U."""
    return _opened(context, "pool")


def test_store(context: Context) -> Store | None:
    """Open the store of test spectra, if there is one."""
    return _opened(context, "test") if context.config.evaluation.test else None


def spectra_of_truth(context: Context, truths: Iterable[TruthTable]) -> list[RebinnedSpectra]:
    """Read the spectra that some of these truth sets label: the first T's, borrowed, the pool's.

    Of all others only the TARGETIDs are read, once for all sets.
    """
    ids = np.unique(np.concatenate([truth.target_id for truth in truths]))
    return [load_targets(_opened(context, name), ids) for name in truth_stores(context)]


def truth_stores(context: Context) -> list[str]:
    """Return the names of the stores that hold spectra of T."""
    data = context.config.data
    named = {"labelled": data.labelled, "borrowed": data.borrowed, "pool": data.unlabelled}
    return [name for name, paths in named.items() if paths]


def features_of(
    context: Context,
    weights: Weights,
    store: str = "pool",
    on_progress: Callable[[int], None] | None = None,
) -> FeaturesFolder:
    """Apply weights once to a store, or open what an earlier pass left.

    Raises:
        WeightsError: no such device on this machine.
    """
    return make_features(
        weights,
        _opened(context, store),
        high_z_min=thresholds_of(context.config).over(weights.thresholds).high_z_min,
        device=device_of(context),
        engine=engine_of(context),
        on_progress=on_progress,
    )


def _opened(context: Context, name: str) -> Store:
    folder = context.store_folder(name)
    if not is_store(folder):
        first = context.step_folder("ingest", 1)
        raise CampaignError(
            f"{folder} is gone; delete {first} and run the campaign again to bring its spectra in"
        )
    return open_store(folder)


def ledger_before(context: Context) -> pl.DataFrame:
    """Read the history of labels as this round found it."""
    return read_ledger(context.step_folder("ingest") / LEDGER)


def truth_before(context: Context) -> TruthTable:
    """Return T as this round's ensemble learns it: in the first round with borrowed labels."""
    return active_truth(ledger_before(context), with_borrowed=context.round_number == 1)


def truth_set(context: Context, after_round: int) -> TruthTable:
    """Return T as it was after a round; 0 is the first T.

    Borrowed labels belong to what the first round trains on, not to a truth set of the survey.
    """
    folder = context.step_folder("truth")
    return active_truth(read_ledger(folder / LEDGER), up_to_round=after_round)


def configured_truth(context: Context, paths: tuple[str, ...]) -> TruthTable | None:
    """Read and join configured truth tables; None where none is configured."""
    unvetted = context.config.data.unvetted
    return read_truths(context.resolve(paths), unvetted=unvetted) if paths else None
