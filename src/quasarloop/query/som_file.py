"""A trained map on disk: one ``.npz`` that names its grid, data and parameters."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from quasarloop.artefacts import versions, write_atomically
from quasarloop.errors import DataFormatError, GridError, SelectionError
from quasarloop.grid import WaveGrid
from quasarloop.query.som import SelfOrganizingMap
from quasarloop.query.topology import CellGrid
from quasarloop.store import Store

__all__ = ["MapFile", "check_fits", "fingerprint", "read_map", "write_map"]

_FORMAT: Final = "quasarloop map 1"


@dataclass(frozen=True)
class MapFile:
    """A map as read, with what it says of itself.

    Attributes:
        som: the map.
        grid: the bins its weights stand on.
        record: the manifest: ``data``, ``training``, ``options``, ``seed``, ``versions``.
        path: the file.
    """

    som: SelfOrganizingMap
    grid: WaveGrid
    record: dict[str, Any]
    path: Path


def fingerprint(store: Store) -> dict[str, Any]:
    """Say which data a store holds: its shards are named by what is in them."""
    names = "\n".join(shard.stem for shard in store.shards)
    return {
        "store": str(store.path),
        "n_shards": len(store.shards),
        "n_rows": store.n_rows,
        "sha256": sha256(names.encode()).hexdigest(),
    }


def write_map(
    path: str | Path, som: SelfOrganizingMap, grid: WaveGrid, record: Mapping[str, Any]
) -> None:
    """Write a map; the same map and record give the same bytes.

    Args:
        path: ends in ``.npz``.
        som: the map.
        grid: the bins its weights stand on.
        record: anything JSON can hold; ``data`` from `fingerprint` lets readers refuse others.

    Raises:
        GridError: the weights do not have the grid's bins.
        OutputError: the file cannot be written.
    """
    if som.weights.shape[1] != grid.n_bins:
        raise GridError(f"a map of {som.weights.shape[1]} bins is not on a {grid.describe()}")
    content = {
        "format": _FORMAT,
        "cells": asdict(som.cells),
        "grid": asdict(grid),
        "versions": versions(),
        **record,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with write_atomically(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, weights=som.weights, manifest=np.frombuffer(text.encode(), dtype=np.uint8))


def read_map(path: str | Path) -> MapFile:
    """Read a map.

    Raises:
        DataFormatError: missing, damaged, or not a map.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            weights = np.asarray(content["weights"], dtype=np.float32)
            record = json.loads(content["manifest"].tobytes().decode())
        if record["format"] != _FORMAT:
            raise DataFormatError(
                f"{file}: map format {record['format']!r}; this version reads {_FORMAT!r}"
            )
        som = SelfOrganizingMap(CellGrid(**record["cells"]), weights)
        return MapFile(som, WaveGrid(**record["grid"]), record, file)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as exc:
        raise DataFormatError(
            f"{file}: cannot be read as a map ({exc}); make one with `quasarloop som fit`"
        ) from exc


def check_fits(map_file: MapFile, store: Store, *, other_data: bool = False) -> None:
    """Refuse to use a map on spectra it was not made from.

    Args:
        map_file: the map.
        store: the spectra.
        other_data: allow another store (spectra that came later); the grid must still agree.

    Raises:
        GridError: map and store stand on different grids.
        SelectionError: the store's data are not the map's.
    """
    if not map_file.grid.matches(store.grid):
        raise GridError(
            f"{map_file.path} stands on a {map_file.grid.describe()}, {store.path} on a "
            f"{store.grid.describe()}; fit a map on this store"
        )
    made_from = map_file.record.get("data", {})
    if other_data or made_from.get("sha256") == fingerprint(store)["sha256"]:
        return
    raise SelectionError(
        f"{map_file.path} was made from {made_from.get('store', 'unnamed data')} "
        f"({made_from.get('n_rows', '?')} rows), not from {store.path} ({store.n_rows} rows). "
        "Fit a map on this store, or say --other-data to use the old one on new spectra"
    )
