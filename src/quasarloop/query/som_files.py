"""Maps and cells on disk: one ``.npz`` per map, one row per spectrum of a store in Parquet."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from quasarloop.artefacts import checksum, versions, write_atomically
from quasarloop.engine import Engine, open_session
from quasarloop.errors import DataFormatError, GridError, SelectionError, reading
from quasarloop.grid import WaveGrid
from quasarloop.query.options import CountBy
from quasarloop.query.som import (
    NO_CELL,
    CellGrid,
    SelfOrganizingMap,
    engine_for,
    find_winners,
)
from quasarloop.store import Store, fingerprint, read_shard
from quasarloop.store.files import grid_from_dict

__all__ = [
    "CellsFile",
    "assign_store",
    "cells_beside",
    "cells_name",
    "check_fits",
    "count_cells",
    "read_cells",
    "read_map",
    "write_map",
]

_MAP_FORMAT: Final = "quasarloop map 1"


@dataclass(frozen=True)
class MapFile:
    """A map as read, with its manifest.

    Attributes:
        som: the map.
        grid: the bins of its weights.
        record: the manifest: ``data``, ``training``, ``options``, ``seed``, ``versions``.
        path: the file.
    """

    som: SelfOrganizingMap
    grid: WaveGrid
    record: dict[str, Any]
    path: Path


def write_map(
    path: str | Path, som: SelfOrganizingMap, grid: WaveGrid, record: Mapping[str, Any]
) -> None:
    """Write a map; the same map and record give the same bytes.

    The record is anything JSON can hold; ``data`` from `fingerprint` lets readers refuse others.

    Raises:
        GridError: the weights do not have the grid's bins.
        OutputError: the file cannot be written.
    """
    if som.weights.shape[1] != grid.n_bins:
        raise GridError(f"a map of {som.weights.shape[1]} bins is not on a {grid.describe()}")
    content = {
        "format": _MAP_FORMAT,
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
    with reading(file, "a map", "make one with `quasarloop som fit`"):
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            weights = np.asarray(content["weights"], dtype=np.float32)
            record = json.loads(content["manifest"].tobytes().decode())
        if record["format"] != _MAP_FORMAT:
            raise DataFormatError(
                f"{file}: map format {record['format']!r}; this version reads {_MAP_FORMAT!r}"
            )
        som = SelfOrganizingMap(CellGrid(**record["cells"]), weights)
        grid = grid_from_dict(record["grid"], str(file))
        if weights.shape != (som.cells.n_cells, grid.n_bins) or not np.isfinite(weights).all():
            raise DataFormatError(
                f"{file}: weights of shape {weights.shape}, not finite ones of "
                f"{som.cells.n_cells} cells and {grid.n_bins} bins; fit the map again"
            )
        return MapFile(som, grid, record, file)


def check_fits(map_file: MapFile, store: Store, *, other_data: bool = False) -> None:
    """Refuse to use a map on spectra it was not made from.

    Other data (spectra that came later) may be allowed; the grid must still agree.

    Raises:
        GridError: map and store have different grids.
        SelectionError: the store's data are not the map's.
    """
    if not map_file.grid.matches(store.grid):
        raise GridError(
            f"{map_file.path} is on a {map_file.grid.describe()}, {store.path} on a "
            f"{store.grid.describe()}; fit a map on this store"
        )
    made_from = map_file.record.get("data", {})
    if other_data or made_from.get("sha256") == fingerprint(store)["sha256"]:
        return
    raise SelectionError(
        f"{map_file.path} was made from {made_from.get('store', 'unnamed data')} "
        f"({made_from.get('n_rows', '?')} rows), not from {store.path} ({store.n_rows} rows). "
        "Fit a map on this store, or use the old one on new spectra with --other-data"
    )


# What is counted once: columns that differ from one to the next.
COUNT_BY: Final[dict[str, tuple[str, ...]]] = {
    "spectrum": (),
    "exposure": ("TARGETID", "TILEID", "NIGHT", "EXPID"),
    "object": ("OBJECT_ID",),
}

_CELLS_FORMAT: Final = "quasarloop cells 1"
_METADATA_KEY: Final = b"quasarloop"
_SCHEMA: Final = pa.schema(
    [
        ("SHARD", pa.string()),
        ("ROW", pa.int64()),
        *((name, pa.int64()) for name in ("TARGETID", "OBJECT_ID", "TILEID", "NIGHT", "EXPID")),
        ("FLAGS", pa.int32()),
        ("CELL", pa.int32()),
        ("DISTANCE", pa.float32()),
    ]
)
_CELLS_REMEDY: Final = "make them with `quasarloop som assign`"
# Shards worked on between two writes: results wait in memory no longer than that.
_BATCH: Final = 64


@dataclass(frozen=True)
class CellsFile:
    """An assignment as read: where its rows are, and which map they belong to.

    Attributes:
        path: the Parquet file: `SHARD`, `ROW`, `TARGETID`, `OBJECT_ID`, `TILEID`, `NIGHT`,
            `EXPID`, `FLAGS`, `CELL` (-1 without one), `DISTANCE` to the cell's weights.
        cells: the map's cells.
        record: ``map`` (path, checksum) and ``data`` (the store).
    """

    path: Path
    cells: CellGrid
    record: dict[str, Any]

    def __repr__(self) -> str:
        """Return one line: the record is not printed."""
        return f"CellsFile({self.path}, {self.cells.describe()})"

    def scan(self) -> pl.LazyFrame:
        """Return the rows, unread."""
        return pl.scan_parquet(self.path)


def assign_store(
    map_file: MapFile,
    store: Store,
    path: str | Path,
    *,
    engine: Engine | None = None,
    other_data: bool = False,
    on_shard: Callable[[], None] = lambda: None,
) -> CellsFile:
    """Find every spectrum's cell and write the assignment.

    Any number of workers gives the same rows; ``on_shard`` is called for every finished shard.

    Raises:
        GridError: map and store have different grids.
        SelectionError: the map was made from other data.
        TaskError: a shard cannot be read; the message names it.
        OutputError: the file cannot be written.
    """
    check_fits(map_file, store, other_data=other_data)
    record = {
        "format": _CELLS_FORMAT,
        "cells": asdict(map_file.som.cells),
        "map": {"path": str(map_file.path), "sha256": checksum(map_file.path)},
        "data": fingerprint(store),
        "versions": versions(),
    }
    text = json.dumps(record, sort_keys=True, ensure_ascii=False)
    schema = _SCHEMA.with_metadata({_METADATA_KEY: text.encode()})
    with (
        write_atomically(path) as temporary,
        pq.ParquetWriter(temporary, schema) as writer,
        open_session(
            _assign_shard, engine=engine_for(store.n_rows, engine), shared=map_file.som
        ) as session,
    ):
        for start in range(0, len(store.shards), _BATCH):
            tables = session.run(
                store.shards[start : start + _BATCH],
                name_of=lambda path: path.stem,
                on_result=lambda _path, _table: on_shard(),
            ).complete()
            # One row group, however small the shards.
            writer.write_table(pa.concat_tables(tables).cast(schema))
    return CellsFile(Path(path), map_file.som.cells, record)


def read_cells(path: str | Path) -> CellsFile:
    """Open an assignment.

    Raises:
        DataFormatError: missing, damaged, or no assignment.
    """
    file = Path(path)
    with reading(file, "cells of a map", _CELLS_REMEDY):
        schema = pq.read_schema(file)
        record = json.loads((schema.metadata or {})[_METADATA_KEY])
        if record["format"] != _CELLS_FORMAT:
            raise DataFormatError(
                f"{file}: format {record['format']!r}, expected {_CELLS_FORMAT!r}; make cells with "
                "`quasarloop som assign`"
            )
        # Words are of any width, as other writers have them.
        found = [(n, pa.string() if k == pa.large_string() else k)
                 for n, k in zip(schema.names, schema.types, strict=True)]  # fmt: skip
        wrong = [field.name for field in _SCHEMA if (field.name, field.type) not in found]
        if wrong:
            raise DataFormatError(
                f"{file}: columns {', '.join(wrong)} are missing or of another type; "
                f"{_CELLS_REMEDY}"
            )
        return CellsFile(file, CellGrid(**record["cells"]), record)


def cells_name(map_path: str | Path) -> Path:
    """Return where the cells of a map's own data are: beside it, ``map.cells.parquet``."""
    return Path(map_path).with_suffix(".cells.parquet")


def cells_beside(path: str | Path) -> CellsFile:
    """Open an assignment, or the one beside a map.

    Raises:
        DataFormatError: see `read_cells`.
        SelectionError: the map was written anew since its cells were.
    """
    file = Path(path)
    if file.suffix != ".npz":
        return read_cells(file)
    found = read_cells(cells_name(file))
    if found.record["map"]["sha256"] != checksum(file):
        raise SelectionError(
            f"{found.path} was made with another map than {file}; run `quasarloop som assign`"
        )
    return found


def count_cells(cells_file: CellsFile, by: CountBy = "spectrum") -> NDArray[np.int64]:
    """Count what lies in every cell, empty cells included.

    Args:
        cells_file: an assignment.
        by: count every ``"spectrum"`` (the paper), each ``"exposure"`` of a target once, or each
            ``"object"`` once per cell it has spectra in.

    Returns:
        (n_cells,) int64.

    Raises:
        SelectionError: another word, or cells the map does not have.
    """
    if by not in COUNT_BY:
        raise SelectionError(f"cannot count by {by!r}; choose from {', '.join(COUNT_BY)}")
    rows = cells_file.scan().filter(pl.col("CELL") != NO_CELL)
    if COUNT_BY[by]:
        rows = rows.select("CELL", *COUNT_BY[by]).unique()
    with reading(cells_file.path, "cells of a map", _CELLS_REMEDY):
        table = rows.group_by("CELL").agg(pl.len().alias("n")).collect(engine="streaming")
    cell, n = table["CELL"].to_numpy(), table["n"].to_numpy()
    if len(cell) and (cell.min() < 0 or cell.max() >= cells_file.cells.n_cells):
        raise SelectionError(
            f"{cells_file.path}: cells up to {cell.max()} on a {cells_file.cells.describe()}: of "
            "another map; assign the store again"
        )
    counts = np.zeros(cells_file.cells.n_cells, dtype=np.int64)
    counts[cell] = n
    return counts


def _assign_shard(path: Path, som: SelfOrganizingMap) -> pa.Table:
    spectra = read_shard(path, with_ivar=False)
    found = find_winners(spectra.flux, som.weights, spectra.flags)
    columns = [
        pa.array([path.stem] * len(spectra), pa.string()),
        np.arange(len(spectra)),
        *spectra.keys.columns("TARGETID", "OBJECT_ID", "TILEID", "NIGHT", "EXPID").values(),
        spectra.flags,
        found.cell,
        found.distance,
    ]
    return pa.Table.from_arrays([pa.array(column) for column in columns], names=_SCHEMA.names)
