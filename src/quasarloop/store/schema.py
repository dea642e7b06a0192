"""Rebinned spectra as a Parquet table, and back: names, types and metadata."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from quasarloop.columns import IDENTITY, STORED, Keys
from quasarloop.errors import DataFormatError, GridError
from quasarloop.grid import WaveGrid
from quasarloop.spectra import ARM_NAMES, RebinnedSpectra

__all__ = [
    "FLUX_COLUMNS",
    "STORE_FORMAT",
    "check_columns",
    "grid_from_dict",
    "metadata_of",
    "schema_of",
    "spectra_from_table",
    "table_from_spectra",
]

# Raised whenever flags, normalising or columns change: shards of another number are made anew.
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
