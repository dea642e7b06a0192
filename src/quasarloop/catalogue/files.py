"""Catalogues on disk: written block by block, whole or not at all, and read back."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import fitsio
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import ascii as astropy_ascii
from astropy.table import Table
from numpy.typing import NDArray

from quasarloop.artefacts import check_output, write_atomically
from quasarloop.columns import Block, Column
from quasarloop.errors import DataFormatError, OutputError

__all__ = [
    "CATALOGUE_HDU",
    "FORMATS",
    "catalogue_format",
    "line_columns",
    "open_writer",
    "read_catalogue",
]

CATALOGUE_HDU: Final = "QSO_CAT"
# A file name longer than this is cut from the left in FITS, whose strings have a fixed width.
_NAME_WIDTH: Final = 120

Append = Callable[[Block], None]


def catalogue_format(path: str | Path) -> str:
    """Return ``fits``, ``parquet``, ``csv`` or ``ecsv`` from a file's name.

    Raises:
        OutputError: another ending.
    """
    ending = Path(path).suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise OutputError(
            f"{path}: cannot tell the format from the ending {ending!r}; "
            f"use one of {', '.join('.' + name for name in FORMATS)}"
        )
    return ending


@contextmanager
def open_writer(
    path: str | Path,
    columns: Sequence[Column],
    header: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Iterator[Append]:
    """Open a catalogue for appending blocks; it appears under its name when the block ends well.

    Args:
        path: ends in .fits, .parquet, .csv or .ecsv.
        columns: what every block holds, in order.
        header: provenance, what JSON can hold.
        overwrite: replace an existing file.

    Yields:
        A function that appends one `Block`.

    Raises:
        OutputError: unknown ending, file exists, folder missing or not writable, disk full.
    """
    kind = catalogue_format(path)
    check_output(path, overwrite=overwrite)
    with (
        write_atomically(path) as temporary,
        FORMATS[kind](temporary, columns, header) as append,
    ):
        # A catalogue without a single row is a valid table of no rows.
        append({column.name: np.empty(0, column.dtype) for column in columns})
        yield append


@contextmanager
def _fits(path: Path, columns: Sequence[Column], header: Mapping[str, Any]) -> Iterator[Append]:
    dtype = np.dtype(
        [(c.name, f"S{_NAME_WIDTH}" if c.dtype == "U" else _ascii(c)) for c in columns]
    )
    try:
        with fitsio.FITS(str(path), "rw", clobber=True) as fits:
            fits.create_table_hdu(
                dtype=dtype, units=[c.unit for c in columns], extname=CATALOGUE_HDU
            )
            hdu = fits[CATALOGUE_HDU]
            _fits_header(hdu, columns, header)

            def append(block: Block) -> None:
                rows = np.empty(len(block[columns[0].name]), dtype)
                for column in columns:
                    rows[column.name] = _ascii_values(block[column.name])
                if len(rows):
                    hdu.append(rows)

            yield append
    except OSError as exc:
        # cfitsio reports a full disk in words of its own.
        raise OutputError(f"{path.parent}: writing FITS failed ({exc}); is the disk full?") from exc


def _fits_header(hdu: Any, columns: Sequence[Column], header: Mapping[str, Any]) -> None:
    for number, column in enumerate(columns, start=1):
        hdu.write_key(f"TCOMM{number}", column.text)
    for line in json.dumps(header, sort_keys=True, indent=0, ensure_ascii=True).splitlines():
        hdu.write_history(line)


@contextmanager
def _parquet(path: Path, columns: Sequence[Column], header: Mapping[str, Any]) -> Iterator[Append]:
    fields = [
        pa.field(c.name, _arrow_type(c), metadata={"unit": c.unit, "description": c.text})
        for c in columns
    ]
    schema = pa.schema(fields, metadata={"quasarloop": json.dumps(header, sort_keys=True)})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def append(block: Block) -> None:
            arrays = [pa.array(block[c.name], type=_arrow_type(c)) for c in columns]
            if len(arrays[0]):
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

        yield append


@contextmanager
def _csv(path: Path, columns: Sequence[Column], header: Mapping[str, Any]) -> Iterator[Append]:
    with path.open("w", encoding="utf-8", newline="") as stream:
        for line in json.dumps(header, sort_keys=True, indent=1).splitlines():
            stream.write(f"# {line}\n")
        stream.write(",".join(c.name for c in columns) + "\n")
        yield _row_appender(stream, columns)


@contextmanager
def _ecsv(path: Path, columns: Sequence[Column], header: Mapping[str, Any]) -> Iterator[Append]:
    plain = json.loads(json.dumps(header))  # YAML knows no named tuples
    empty = Table({c.name: np.empty(0, c.dtype) for c in columns}, meta=plain)
    for column in columns:
        empty[column.name].unit = column.unit or None
        empty[column.name].description = column.text
    empty.write(path, format="ascii.ecsv", delimiter=",", overwrite=True)
    with path.open("a", encoding="utf-8", newline="") as stream:
        yield _row_appender(stream, columns)


def _row_appender(stream: TextIO, columns: Sequence[Column]) -> Append:
    # Words in quotes: in ECSV an empty word without them would be a missing one.
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)

    def append(block: Block) -> None:
        writer.writerows(zip(*(_values(block[c.name]) for c in columns), strict=True))

    return append


def _values(values: NDArray[Any]) -> list[Any]:
    # numpy's own text of a float32 is the shortest that reads back; a Python float's is longer.
    return [float(str(v)) for v in values] if values.dtype.kind == "f" else list(values.tolist())


def _ascii(column: Column) -> str:
    return column.dtype.replace("U", "S")


def _ascii_values(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind != "U":
        return values
    return np.array([v[-_NAME_WIDTH:].encode("ascii", "replace") for v in values.tolist()], "S")


def _arrow_type(column: Column) -> pa.DataType:
    return pa.string() if column.dtype.startswith("U") else pa.from_numpy_dtype(column.dtype)


FORMATS: Final[
    Mapping[
        str,
        Callable[[Path, Sequence[Column], Mapping[str, Any]], AbstractContextManager[Append]],
    ]
] = {"fits": _fits, "parquet": _parquet, "csv": _csv, "ecsv": _ecsv}


def read_catalogue(path: str | Path, needed: Sequence[str] = ()) -> Block:
    """Read a catalogue as arrays.

    Args:
        path: a file `open_writer` wrote, or any table with the same column names.
        needed: columns that must be there.

    Returns:
        Column name -> (n,) array; words as str, names as written.

    Raises:
        DataFormatError: missing, unreadable, or without a needed column.
    """
    file = Path(path)
    if not file.is_file():
        raise DataFormatError(f"{file}: no such catalogue; make it with quasarloop classify")
    try:
        block = _READERS[catalogue_format(file)](file)
    except (OSError, ValueError, pl.exceptions.PolarsError) as exc:
        raise DataFormatError(f"{file}: not a readable catalogue ({exc})") from exc
    missing = [name for name in needed if name not in block]
    if missing:
        raise DataFormatError(
            f"{file}: no column {', '.join(missing)}; expected a catalogue of quasarloop classify"
        )
    return block


def line_columns(block: Block) -> list[str]:
    """Return the names after ``C_`` of the emission lines, in order, the BAL finder left out."""
    names = [name[2:] for name in block if name.startswith("C_") and f"Z_{name[2:]}" in block]
    return [name for name in names if name != "BAL"]


def _read_fits(path: Path) -> Block:
    with fitsio.FITS(str(path)) as fits:
        if len(fits) < 2 or not fits[1].has_data():  # noqa: PLR2004 -- primary and table
            names = fits[1].get_colnames() if len(fits) > 1 else []
            return {name: np.empty(0) for name in names}
        rows = fits[1].read()
    return {name: _native(rows[name]) for name in rows.dtype.names}


def _read_parquet(path: Path) -> Block:
    return _from_polars(pl.read_parquet(path))


def _read_csv(path: Path) -> Block:
    return _from_polars(pl.read_csv(path, comment_prefix="#", infer_schema_length=None))


def _read_ecsv(path: Path) -> Block:
    table = astropy_ascii.read(path, format="ecsv", fill_values=[])  # empty words are words
    return {name: np.asarray(table[name]) for name in table.colnames}


def _from_polars(frame: pl.DataFrame) -> Block:
    block: Block = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype == pl.String:
            block[name] = np.array(column.fill_null("").to_list(), dtype=np.str_)
        else:
            block[name] = column.to_numpy()
    return block


def _native(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "S":
        return np.char.rstrip(values.astype(np.str_))
    return values.astype(values.dtype.newbyteorder("="))


_READERS = {"fits": _read_fits, "parquet": _read_parquet, "csv": _read_csv, "ecsv": _read_ecsv}
