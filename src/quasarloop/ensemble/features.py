"""Features of a store on disk: one pass of given weights, kept row for row with the store.

Heads (`quasarloop.ensemble.heads`) are trained on them and vote with them; the pass over the
spectra, which is nearly all of the work, is not repeated.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from quasarloop.artefacts import locked_folder
from quasarloop.engine import Engine
from quasarloop.ensemble.heads import Standard
from quasarloop.ensemble.pieces import Piece, piece_rows_on, read_piece
from quasarloop.ensemble.shard_tables import (
    Kind,
    TablesWriter,
    identity_columns,
    open_tables,
    shard_file,
)
from quasarloop.errors import GridError, WeightsError, reading
from quasarloop.network.config import NetworkConfig, config_from_dict, config_to_dict
from quasarloop.network.device import place_tasks
from quasarloop.network.features import Features, compute_features
from quasarloop.network.options import TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import Weights
from quasarloop.quality import UNUSABLE
from quasarloop.store import Store, fingerprint

__all__ = ["FeaturesFolder", "features_folder", "make_features", "open_features"]

MANIFEST: Final = "features.json"
_KIND: Final = Kind("features", MANIFEST, "quasarloop ensemble vote")
_LISTS: Final = {"HIDDEN": "hidden", "LINE_LOGIT": "line_logit"}
_NUMBERS: Final = {"Z_BEST": "z_best", "P_HIGH": "p_high"}


@dataclass(frozen=True)
class FeaturesFolder:
    """Finished features of a store.

    Attributes:
        folder: where they are.
        files: one per shard that holds spectra, in the store's order.
        n_rows: spectra in all files.
        record: the manifest: weights and their configuration, store, class border.
    """

    folder: Path
    files: tuple[Path, ...]
    n_rows: int
    record: dict[str, Any]

    @property
    def config(self) -> NetworkConfig:
        """The configuration of the weights."""
        return config_from_dict(self.record["config"])

    def check_weights(self, weights: Weights) -> None:
        """Raise WeightsError if the features are of other weights."""
        if self.record["weights"] != weights.digest():
            raise WeightsError(
                f"{self.folder} holds features of other weights ({self.record['weights'][:16]}, "
                f"these are {weights.digest()[:16]}); give another folder, or leave it out"
            )

    def read(self, piece: Piece) -> tuple[dict[str, Any], Features]:
        """Read the columns that name the spectra of a piece of the store, and their features."""
        parts = [
            _read(shard_file(self.folder, part.path)).slice(part.first, part.stop - part.first)
            for part in piece.parts
        ]
        table = pa.concat_tables(parts)
        return {name: table[name] for name in _names(table)}, _features(table)

    def shards(self) -> Iterator[tuple[dict[str, NDArray[Any]], Features]]:
        """Yield the columns that name the spectra of each file, and their features."""
        for path in self.files:
            table = _read(path)
            yield {name: table[name].to_numpy() for name in _names(table)}, _features(table)

    def standard(self) -> Standard:
        """Return mean and scatter of the hidden units over the whole store."""
        kept = self.record.get("standard")
        if kept is None:  # of an earlier version, or without any usable spectrum
            return Standard.of(features.hidden for _, features in self.shards())
        return Standard(np.array(kept["mean"]), np.array(kept["factor"]))


def _standard(files: Iterable[Path]) -> dict[str, list[float]] | None:
    """Return the record of `FeaturesFolder.standard`; None without any usable spectrum."""
    try:
        found = Standard.of(_lists(_read(path, ["HIDDEN"]))["hidden"] for path in files)
    except WeightsError:
        return None
    return {"mean": found.mean.tolist(), "factor": found.factor.tolist()}


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    with reading(path, "features", "delete their folder, and run the same command again"):
        return pq.read_table(path, columns=columns)


@dataclass(frozen=True)
class _Pass:
    """What every worker needs, sent to it once."""

    weights: Weights
    device: str
    high_z_min: float

    @cached_property
    def predictor(self) -> Predictor:
        """The network, on the device of the worker that computes."""
        return Predictor(self.weights, self.device)


def features_folder(weights: Weights, store: Store) -> Path:
    """Return where the features of a store by some weights are kept: beside its shards."""
    of_store = str(fingerprint(store)["sha256"])
    return store.path / "features" / f"{weights.digest()[:16]}-{of_store[:8]}"


def make_features(
    weights: Weights,
    store: Store,
    folder: str | Path | None = None,
    *,
    high_z_min: float | None = None,
    device: str = TrainingOptions.device,
    engine: Engine | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> FeaturesFolder:
    """Apply weights once to all spectra of a store, or open what an earlier pass left.

    Killed at any moment and started again, it goes on with the shards that are not yet done; the
    finished bytes are the same, for any number of workers.

    Args:
        weights: the trunk.
        store: the spectra.
        folder: of the features; None takes that beside the store's shards.
        high_z_min: lowest redshift of `Vote.HIGH_Z`; None takes the weights'.
        device: of the pass.
        engine: where to run.
        on_progress: called with the number of spectra done since the last call.

    Raises:
        GridError: store and weights have different grids.
        OutputError: the folder holds features of other weights, of another store, or split at
            another redshift; or another command works there.
        TaskError: some piece failed for good; the rest is written.
        WeightsError: no such device on this machine.
    """
    grid = weights.config.grid
    if not grid.matches(store.grid):
        raise GridError(
            f"the weights read a {grid.describe()}, the store holds a {store.grid.describe()}; "
            "ingest the files on the weights' grid"
        )
    border = weights.thresholds.high_z_min if high_z_min is None else high_z_min
    plan = {
        "weights": weights.digest(),
        "store": fingerprint(store)["sha256"],
        "high_z_min": border,
        "config": config_to_dict(weights.config),
    }
    device, where = place_tasks(device, engine)
    root = Path(folder) if folder is not None else features_folder(weights, store)
    with locked_folder(root):
        writer = TablesWriter(root, _KIND, store, plan, on_progress=on_progress)
        work = _Pass(weights, device, border)
        made = writer.fill(_features_of_piece, work, where, piece_rows_on(device))
        if made or not (root / MANIFEST).exists():
            writer.finish(device=device, standard=_standard(writer.files))
        return open_features(root)


def open_features(folder: str | Path) -> FeaturesFolder:
    """Open finished features.

    Raises:
        DataFormatError: not finished, of another format, or a file is missing.
    """
    root = Path(folder)
    record, files, n_rows = open_tables(root, _KIND)
    return FeaturesFolder(root, files, n_rows, record)


def _features_of_piece(piece: Piece, shared: _Pass) -> list[pa.Table]:
    spectra = read_piece(piece)
    usable = np.flatnonzero((spectra.flags & UNUSABLE) == 0)
    flux = np.ascontiguousarray(spectra.flux[usable])
    made = compute_features(shared.predictor, flux, high_z_min=shared.high_z_min)
    return [_table(piece, spectra.keys, spectra.flags, usable, made, shared.predictor.config)]


def _table(
    piece: Piece,
    keys: Any,
    flags: NDArray[np.int32],
    usable: NDArray[np.intp],
    made: Features,
    config: NetworkConfig,
) -> pa.Table:
    whole = Features.empty(len(flags), config)
    columns = identity_columns(keys, flags, piece.shard_names(), piece.shard_rows())
    for column, name in {**_LISTS, **_NUMBERS}.items():
        values = getattr(whole, name)
        values[usable] = getattr(made, name)
        columns[column] = (
            pa.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])
            if column in _LISTS
            else values
        )
    return pa.table(columns)


def _names(table: pa.Table) -> list[str]:
    """Return the columns that name spectra."""
    return [name for name in table.column_names if name not in (*_LISTS, *_NUMBERS)]


def _features(table: pa.Table) -> Features:
    return Features(**_lists(table), **{name: table[c].to_numpy() for c, name in _NUMBERS.items()})


def _lists(table: pa.Table) -> dict[str, NDArray[Any]]:
    """Return the lists that a table has, as arrays (n, length)."""
    return {
        name: table[column].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        for column, name in _LISTS.items()
        if column in table.column_names
    }
