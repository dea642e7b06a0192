"""The store on disk: a manifest, and immutable Parquet shards of ingested files.

A shard is named by what it holds (the checksums of its files and the grid), so the same content
is never stored twice and a half-finished ingest is simply continued. Its table has the identity
columns, flux and ivar; its metadata the grid.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from quasarloop.artefacts import check_folder, read_manifest, versions, write_manifest
from quasarloop.columns import IDENTITY, STORED, Keys
from quasarloop.errors import DataFormatError, GridError, reading
from quasarloop.grid import WaveGrid
from quasarloop.spectra import ARM_NAMES, RebinnedSpectra, concatenate
from quasarloop.store.index import INDEX_NAME, MANIFEST, index_of, is_store

__all__ = [
    "FLUX_COLUMNS",
    "STORE_FORMAT",
    "Store",
    "check_columns",
    "count_rows",
    "create_store",
    "fingerprint",
    "grid_from_dict",
    "iter_store",
    "load_targets",
    "metadata_of",
    "open_store",
    "read_shard",
    "schema_of",
    "shard_files",
    "shard_path",
    "spectra_from_table",
    "table_from_spectra",
]

# Raised whenever columns, normalising, or flags of sound spectra change: shards of another number
# are made anew.
STORE_FORMAT: Final = 2

FLUX_COLUMNS: Final = ("FLUX", "IVAR")
_METADATA_KEY: Final = b"quasarloop"


def schema_of(grid: WaveGrid, metadata: Mapping[str, Any] | None = None) -> pa.Schema:
    """Return the schema of a shard on this grid; `metadata_of` reads grid and metadata back."""
    bins = pa.list_(pa.float32(), grid.n_bins)
    columns = [(c.name, pa.from_numpy_dtype(np.dtype(c.in_memory))) for c in STORED]
    columns += [(name, bins) for name in FLUX_COLUMNS]
    content = {"format": STORE_FORMAT, "grid": asdict(grid)} | dict(metadata or {})
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return pa.schema(columns, metadata={_METADATA_KEY: text.encode()})


def table_from_spectra(spectra: RebinnedSpectra, schema: pa.Schema) -> pa.Table:
    """Return the rows as a table of that schema."""
    arrays = [pa.array(v, schema.field(name).type) for name, v in spectra.columns().items()]
    for values in (spectra.flux, spectra.ivar):
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, spectra.grid.n_bins))
    return pa.Table.from_arrays(arrays, schema=schema)


def spectra_from_table(table: pa.Table, grid: WaveGrid) -> RebinnedSpectra:
    """Return a table's rows; without flux columns, flux and ivar have shape (n, 0).

    Raises:
        DataFormatError: missing values, or flux that no normalised spectrum has.
    """
    for name in table.column_names:
        if table[name].null_count:
            raise DataFormatError(f"column {name} has {table[name].null_count} missing values")
    columns = {c.name: _values(table[c.name]) for c in STORED if c.name in table.column_names}
    keys = {field: columns[c.name] for field, c in IDENTITY.items() if c.name in columns}
    flux, ivar = (_bins(table, name, grid) for name in FLUX_COLUMNS)
    norm = np.einsum("ij,ij->i", flux, flux)  # overflows where a map's distances would
    if not np.isfinite(norm).all():
        row = int(np.argmin(np.isfinite(norm)))
        raise DataFormatError(f"row {row}: flux of {np.abs(flux[row]).max():g}, not normalised")
    return RebinnedSpectra(
        grid=grid,
        flux=flux,
        ivar=ivar,
        mean_flux=columns["MEAN_FLUX"],
        rms_flux=columns["RMS_FLUX"],
        sn=np.stack([columns[f"SN_{arm.upper()}"] for arm in ARM_NAMES], axis=1),  # (n, 3)
        flags=columns["FLAGS"],
        keys=Keys.make(**keys),
        source=columns["SOURCE"],
        row=columns["ROW"],
    )


def check_columns(schema: pa.Schema, grid: WaveGrid, unread: Sequence[str] = ()) -> None:
    """Check that a shard has its columns, with their types; identity columns may be absent.

    Raises:
        DataFormatError: one is missing or of another type.
    """
    optional = {*unread, *(column.name for column in IDENTITY.values())}
    for field in schema_of(grid):
        index = schema.get_field_index(field.name)
        found = schema.field(index).type if index >= 0 else None
        if found != field.type and not (found is None and field.name in optional):
            what = "is missing" if found is None else f"is of type {found}"
            raise DataFormatError(f"column {field.name} {what}; expected {field.type}")


def metadata_of(schema: pa.Schema, name: str) -> dict[str, Any]:
    """Return what `schema_of` wrote into the file of that name.

    Raises:
        DataFormatError: not one of our shards, or of another format number.
    """
    text = (schema.metadata or {}).get(_METADATA_KEY)
    try:
        content = json.loads(text) if text is not None else {}
    except json.JSONDecodeError as exc:
        raise DataFormatError(f"{name}: its metadata are damaged; ingest the file again") from exc
    if not isinstance(content, dict) or content.get("format") != STORE_FORMAT:
        raise DataFormatError(
            f"{name}: not a shard of format {STORE_FORMAT}; ingest the spectra into a new store"
        )
    return content


def grid_from_dict(content: Mapping[str, Any], name: str) -> WaveGrid:
    """Return the grid that `dataclasses.asdict` described.

    Raises:
        DataFormatError: fields missing or of another type.
    """
    try:
        start_aa, step = float(content["start_aa"]), float(content["step"])
        return WaveGrid(content["kind"], start_aa, step, int(content["n_bins"]))
    except (KeyError, TypeError, ValueError, OverflowError, GridError) as exc:
        raise DataFormatError(f"{name}: no wavelength grid in it ({content!r})") from exc


def _bins(table: pa.Table, name: str, grid: WaveGrid) -> NDArray[np.float32]:
    if name not in table.column_names:
        return np.empty((len(table), 0), dtype=np.float32)
    chunks = [chunk.flatten().to_numpy() for chunk in table[name].chunks]
    flat = chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0, np.float32), *chunks])
    return np.asarray(flat, dtype=np.float32).reshape(len(table), grid.n_bins)


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_string(column.type):
        return np.asarray(column.to_pylist(), dtype=np.str_)
    return np.asarray(column.to_numpy())


_SHARDS: Final = "shards"
_SUFFIX: Final = ".parquet"

Rows = slice | Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]


@dataclass(frozen=True)
class Store:
    """A folder of shards on one grid.

    Attributes:
        path: the folder.
        grid: the bins of every shard.
        mend_outliers: impossible pixels were given ivar 0 (`quality.prepare`).
    """

    path: Path
    grid: WaveGrid
    mend_outliers: bool = True

    @cached_property
    def shards(self) -> tuple[Path, ...]:
        """Paths of all shards, by name: the order of everything that walks a store.

        Raises:
            DataFormatError: some that the index contains are missing.
        """
        found = shard_files(self.path)
        lost = index_of(self.path).lost({path.stem for path in found})
        if lost:
            raise DataFormatError(
                f"{self.path}: {len(lost)} shards are missing (first: {lost[0]}{_SUFFIX}); ingest "
                f"the same files again, or delete {INDEX_NAME} to go on without these spectra"
            )
        return tuple(found)

    @cached_property
    def n_rows(self) -> int:
        """Number of spectra (reads every shard's footer once)."""
        return sum(map(count_rows, self.shards))

    def shard(self, name: str) -> Path:
        """Return the path of the shard of that name.

        Raises:
            DataFormatError: there is none.
        """
        path = shard_path(self.path, name)
        if not path.exists():
            raise DataFormatError(
                f"{self.path}: no shard {name}; was its file ingested into another store?"
            )
        return path


def create_store(path: str | Path, grid: WaveGrid, *, mend_outliers: bool = True) -> Store:
    """Open a store, or make an empty one.

    Raises:
        GridError: the folder is a store of another grid.
        DataFormatError: its outliers were treated in the other way.
        OutputError: the folder cannot be made or written.
    """
    folder = Path(path)
    if is_store(folder):
        store = open_store(folder)
        if not store.grid.matches(grid):
            raise GridError(
                f"{folder} holds a {store.grid.describe()}, not a {grid.describe()}. "
                "Use another folder, or the store's own grid"
            )
        if store.mend_outliers != mend_outliers:
            made = "--mend-outliers" if store.mend_outliers else "--no-mend-outliers"
            raise DataFormatError(f"{folder} was made with {made}; use it again, or another folder")
        return store
    check_folder(folder)
    check_folder(folder / _SHARDS)
    content = {
        "format": STORE_FORMAT,
        "grid": asdict(grid),
        "mend_outliers": mend_outliers,
        "versions": versions(),
    }
    write_manifest(folder / MANIFEST, content)
    return Store(folder, grid, mend_outliers)


def open_store(path: str | Path) -> Store:
    """Open a store.

    Raises:
        DataFormatError: no store there, or one of another format.
    """
    folder = Path(path)
    if not is_store(folder):
        raise DataFormatError(
            f"{folder} is no store (no {MANIFEST}); make one with `quasarloop ingest`"
        )
    content = read_manifest(folder / MANIFEST)
    if content.get("format") != STORE_FORMAT:
        raise DataFormatError(
            f"{folder / MANIFEST}: store format {content.get('format')!r}; this version reads "
            f"{STORE_FORMAT}. Ingest the files into a new store"
        )
    grid = grid_from_dict(content.get("grid", {}), str(folder / MANIFEST))
    return Store(folder, grid, bool(content.get("mend_outliers", True)))


def fingerprint(store: Store) -> dict[str, Any]:
    """Return which data a store contains: shards are named by their content."""
    names = "\n".join(shard.stem for shard in store.shards)
    return {
        "store": str(store.path),
        "n_shards": len(store.shards),
        "n_rows": store.n_rows,
        "sha256": sha256(names.encode()).hexdigest(),
    }


def read_shard(
    path: str | Path,
    with_flux: bool = True,
    rows: Rows | None = None,
    *,
    with_ivar: bool = True,
    by_index: bool = True,
) -> RebinnedSpectra:
    """Read a shard, or some of its rows.

    Args:
        path: the shard.
        with_flux: False leaves flux and ivar of shape (n, 0): ids and flags come quickly.
        rows: a slice, row numbers (in the order wanted) or a mask; all by default.
        with_ivar: False leaves ivar of shape (n, 0): networks and maps see the flux alone.
        by_index: check the number of rows against the store's index, unless that is being written.

    Raises:
        DataFormatError: missing, damaged, cut off, or no shard.
    """
    file = Path(path)
    with _opened(file, by_index=by_index) as parquet:
        grid = grid_from_dict(metadata_of(parquet.schema_arrow, str(file))["grid"], str(file))
        unread = () if with_flux and with_ivar else FLUX_COLUMNS[int(with_flux) :]
        names = [name for name in parquet.schema_arrow.names if name not in unread]
        check_columns(parquet.schema_arrow, grid, unread)
        if rows is None:
            return spectra_from_table(parquet.read(columns=names), grid)
        wanted = np.arange(parquet.metadata.num_rows)[rows]
        table, first = _row_groups(parquet, names, wanted)
        return spectra_from_table(table.take(pa.array(wanted - first)), grid)


def iter_store(store: Store) -> Iterator[RebinnedSpectra]:
    """Read shard after shard, in the order of `Store.shards`."""
    return map(read_shard, store.shards)


def load_targets(store: Store, target_ids: ArrayLike) -> RebinnedSpectra:
    """Read all spectra of these targets, in the store's order; absent ones are left out."""
    wanted = np.unique(np.asarray(target_ids, dtype=np.int64))
    parts = []
    for shard in store.shards:
        with _opened(shard) as parquet:
            ids = parquet.read(columns=["TARGETID"])["TARGETID"].to_numpy()
        rows = np.flatnonzero(np.isin(ids, wanted))
        if len(rows):
            parts.append(read_shard(shard, rows=rows))
    if not parts:
        return spectra_from_table(schema_of(store.grid).empty_table(), store.grid)
    return concatenate(parts)


def shard_files(folder: Path) -> list[Path]:
    """Return the files of all shards that are there, by name."""
    return sorted((folder / _SHARDS).glob(f"*/[!.]*{_SUFFIX}"), key=lambda p: p.name)


def shard_path(folder: Path, name: str) -> Path:
    """Return the path of the shard of that name in a store, present or not."""
    stem = name.removesuffix(_SUFFIX)
    return folder / _SHARDS / stem[:2] / f"{stem}{_SUFFIX}"


def _folder_of(shard: Path) -> Path:
    """Return the store of a shard: what `shard_path` was given."""
    return Path(*shard.parts[:-3])


def count_rows(shard: Path) -> int:
    """Return the number of rows of a shard, from its footer.

    Raises:
        DataFormatError: missing, damaged, cut off, or no shard.
    """
    with _opened(shard) as parquet:
        return int(parquet.metadata.num_rows)


@contextmanager
def _opened(shard: Path, *, by_index: bool = True) -> Iterator[pq.ParquetFile]:
    """Open a shard; damaged pages are found while they are read."""
    remedy = "delete it and ingest its file again"
    with (
        reading(shard, "a shard", remedy),
        pq.ParquetFile(shard, page_checksum_verification=True) as parquet,
    ):
        n_rows = parquet.metadata.num_rows
        written = index_of(_folder_of(shard)).n_rows.get(shard.stem, n_rows) if by_index else n_rows
        if n_rows != written:
            raise DataFormatError(
                f"{n_rows} rows, but {INDEX_NAME} of its store has {written}; {remedy}"
            )
        yield parquet


def _row_groups(
    parquet: pq.ParquetFile, names: list[str], wanted: NDArray[np.int64]
) -> tuple[pa.Table, int]:
    """Read the row groups from the first to the last wanted row, and the row they start with."""
    sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    if len(wanted) == 0:
        return parquet.schema_arrow.empty_table().select(names), 0
    first, last = np.searchsorted(starts, [wanted.min(), wanted.max()], side="right") - 1
    groups = list(range(int(first), int(last) + 1))
    return parquet.read_row_groups(groups, columns=names), int(starts[first])
