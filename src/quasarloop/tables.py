"""Tables on disk as FITS, Parquet, CSV or ECSV: written whole or not at all, and read back.

A table in memory is written at once (`write_table`), a catalogue of any length block by block
(`open_writer`). Polars and pyarrow are imported where a table needs them: FITS does not.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.artefacts import check_output, write_atomically
from quasarloop.columns import Block, Column, integer_ids
from quasarloop.errors import DataFormatError, OutputError, check_regular, reading
from quasarloop.fits_tables import Append, fits_record, new_fits, open_fits_writer, read_fits

if TYPE_CHECKING:
    import polars as pl

__all__ = ["mended_csv", "open_writer", "read_record", "read_table", "write_table"]


def write_table(
    table: "pl.DataFrame | Mapping[str, NDArray[Any]]",
    path: str | Path,
    *,
    hdu: str = "",
    blank: str = "",
    statistics: bool = True,
) -> None:
    """Write a table at once; an existing file is replaced.

    Args:
        table: numbers and words; missing numbers are NaN or null.
        path: ends in .csv, .fits or .parquet.
        hdu: name of the FITS extension.
        blank: an empty word in FITS.
        statistics: write those of Parquet.

    Raises:
        OutputError: another ending, folder missing or not writable, disk full.
    """
    import polars as pl

    frame = pl.DataFrame(table)
    kind = _format(path, ("csv", "fits", "parquet"))
    if kind == "fits":
        with new_fits(path) as fits:
            fits.write({c.name: _fits_column(c, blank) for c in frame}, extname=hdu)
        return
    with write_atomically(path) as temporary:
        if kind == "csv":
            frame.with_columns(pl.selectors.float().fill_nan(None)).write_csv(temporary)
        else:
            frame.write_parquet(temporary, statistics=statistics)


def _fits_column(column: "pl.Series", blank: str) -> NDArray[Any]:
    if str(column.dtype) == "String":
        words = [(word or blank).encode() for word in column]
        return np.array(words, f"S{max([1, *map(len, words)])}")  # FITS has no text of no width
    # Filling integers would make floats of TARGETIDs.
    return (column.fill_null(np.nan) if column.dtype.is_float() else column).to_numpy()


def _format(path: str | Path, known: Sequence[str]) -> str:
    ending = Path(path).suffix.lower().lstrip(".")
    if ending not in known:
        names = ", ".join(f".{name}" for name in known[:-1])
        raise OutputError(
            f"{path}: no known format has the ending {ending!r}; use one of {names} or .{known[-1]}"
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
        path: ends in .fits, .parquet, .csv (the header goes to a file beside, .csv.json) or .ecsv.
        columns: what every block holds, in order.
        header: provenance, what JSON can hold.
        overwrite: replace an existing file.

    Yields:
        A function that appends one `Block`.

    Raises:
        OutputError: unknown ending, file exists, folder missing or not writable, disk full.
    """
    write = _WRITERS[_format(path, tuple(_WRITERS))]
    check_output(path, overwrite=overwrite)
    if write is _csv:
        check_output(_beside(Path(path)), overwrite=overwrite)
    with write(Path(path), columns, header) as append:
        # A catalogue without a single row is a valid table of no rows.
        append({column.name: np.empty(0, column.dtype) for column in columns})
        yield append


@contextmanager
def _parquet(path: Path, columns: Sequence[Column], header: Mapping[str, Any]) -> Iterator[Append]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = [pa.from_numpy_dtype(np.dtype(c.dtype)) for c in columns]
    fields = [
        pa.field(c.name, kind, metadata={"unit": c.unit, "description": c.text})
        for c, kind in zip(columns, types, strict=True)
    ]
    schema = pa.schema(fields, metadata={"quasarloop": json.dumps(header, sort_keys=True)})
    with (
        write_atomically(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):

        def append(block: Block) -> None:
            arrays = [pa.array(block[field.name], field.type) for field in schema]
            if len(arrays[0]):
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

        yield append


@contextmanager
def _csv(path: Path, columns: Sequence[Column], header: Mapping[str, Any]) -> Iterator[Append]:
    import polars as pl

    described = [
        {"name": c.name, "dtype": c.dtype, "unit": c.unit, "text": c.text} for c in columns
    ]
    with (
        write_atomically(_beside(path)) as beside,
        write_atomically(path) as temporary,
        temporary.open("wb") as stream,
    ):
        record = {"header": header, "columns": described}
        beside.write_text(json.dumps(record, sort_keys=True, indent=1) + "\n", encoding="utf-8")

        def append(block: Block) -> None:
            frame = pl.DataFrame({c.name: block[c.name] for c in columns})
            # Missing numbers are empty, missing words are quotes around nothing.
            frame = frame.with_columns(pl.selectors.float().fill_nan(None))
            frame.write_csv(stream, include_header=stream.tell() == 0)

        yield append


def _beside(csv_file: Path) -> Path:
    """Return where the header and the types of a CSV catalogue are."""
    return csv_file.with_name(f"{csv_file.name}.json")


@contextmanager
def _ecsv(path: Path, columns: Sequence[Column], header: Mapping[str, Any]) -> Iterator[Append]:
    from astropy.table import Table

    plain = json.loads(json.dumps(header))  # YAML knows no named tuples
    empty = Table({c.name: np.empty(0, c.dtype) for c in columns}, meta=plain)
    for column in columns:
        empty[column.name].unit = column.unit or None
        empty[column.name].description = column.text
    with write_atomically(path) as temporary:
        empty.write(temporary, format="ascii.ecsv", delimiter=",", overwrite=True)
        with temporary.open("a", encoding="utf-8", newline="") as stream:
            # Words in quotes: an empty word without them would be a missing one.
            writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            yield lambda block: writer.writerows(
                zip(*(_values(block[c.name]) for c in columns), strict=True)
            )


def _values(values: NDArray[Any]) -> list[Any]:
    # numpy's own text of a float32 is the shortest that reads back; a Python float's is longer.
    return [float(str(v)) for v in values] if values.dtype.kind == "f" else list(values.tolist())


_Writer = Callable[[Path, Sequence[Column], Mapping[str, Any]], AbstractContextManager[Append]]
_WRITERS: Final[Mapping[str, _Writer]] = {
    "fits": open_fits_writer,
    "parquet": _parquet,
    "csv": _csv,
    "ecsv": _ecsv,
}


def read_table(
    path: str | Path, *, as_text: bool = False, wanted: Callable[[str], bool] = lambda name: True
) -> Block:
    """Read a table whose format is found from its first bytes.

    Args:
        path: FITS (the first extension), Parquet, ECSV or CSV.
        as_text: keep the values of a CSV file as written; otherwise types are found from them,
            and lines starting with ``#`` are comments.
        wanted: whether a column of this name is read.

    Returns:
        Column name -> (n,) array; words as str, missing ones ``""``, missing numbers NaN;
        identifiers, unless `as_text`, as int64.

    Raises:
        DataFormatError: an identifier is blank, or no 64-bit integer.
        Exception: whatever a damaged file raises; call it inside `quasarloop.errors.reading`.
    """
    file = Path(path)
    block = _read_columns(file, wanted, as_text=as_text)
    try:
        ids = {n: integer_ids(block[n], n) for n in block if _is_identifier(n) and not as_text}
    except ValueError as exc:
        raise DataFormatError(f"{file}: {exc}") from exc
    return block | ids


def _is_identifier(name: str) -> bool:
    return name.upper() in ("TARGETID", "OBJECT_ID")


def _read_columns(file: Path, wanted: Callable[[str], bool], *, as_text: bool) -> Block:
    kind = _kind_of(file)
    if kind == "fits":
        return read_fits(file, wanted)
    import polars as pl

    if kind == "parquet":
        names = list(filter(wanted, pl.read_parquet_schema(file)))
        return _from_polars(pl.read_parquet(file, columns=names))
    if kind == "ecsv":
        table = _ecsv_table(file)
        return {name: np.asarray(table[name]) for name in table.colnames if wanted(name)}
    if as_text:
        frame = pl.read_csv(mended_csv(file.read_bytes()), infer_schema=False)
        return _from_polars(frame.select([name for name in frame.columns if wanted(name)]))
    # One spoilt cell would change the type of all identifiers: they stay text where there is one.
    names = pl.read_csv(file, comment_prefix="#", n_rows=0).columns
    names = list(filter(wanted, names))
    as_words = {name: pl.String for name in names if _is_identifier(name)}
    frame = pl.read_csv(
        file,
        columns=names,
        comment_prefix="#",
        infer_schema_length=None,
        schema_overrides=as_words,
    )
    # Of a column without a single value only the file beside knows that it holds numbers.
    known = {c["name"]: c["dtype"] for c in _described(file).get("columns", ())}
    empty = [c.name for c in frame if c.null_count() and c.dtype == pl.String]
    floats = [name for name in empty if known.get(name, "").startswith("f")]
    frame = frame.with_columns(pl.col(floats).cast(pl.Float64))
    numbers = frame.select(pl.col(list(as_words)).cast(pl.Int64, strict=False))
    return _from_polars(frame.with_columns(n for n in numbers if n.null_count() == 0))


def _described(csv_file: Path) -> dict[str, Any]:
    """Return header and columns of a CSV catalogue of ours; nothing for any other table."""
    beside = _beside(csv_file)
    found = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    return found if isinstance(found, dict) else {}


# How prospect writes a comma inside a field, without quotes around the field.
_PROSPECT_COMMA: Final = b'","'


def mended_csv(raw: bytes) -> bytes:
    r"""Return CSV in which fields that prospect wrote as ``one","two`` are quoted as a whole.

    Lines with any other quote, and files whose header has quotes, are returned as they are.

    Source: docs/reference/labels.md, "Prospect CSV".

    >>> mended_csv(b'ID,COMMENT\n1,broad","blue')
    b'ID,COMMENT\n1,"broad,blue"'
    """
    header, newline, rest = raw.partition(b"\n")
    if b'"' in header or _PROSPECT_COMMA not in rest:
        return raw
    return header + newline + b"\n".join(map(_mended_line, rest.split(b"\n")))


def _mended_line(line: bytes) -> bytes:
    if _PROSPECT_COMMA not in line or b'"' in line.replace(_PROSPECT_COMMA, b""):
        return line
    body = line.removesuffix(b"\r")
    fields = body.replace(_PROSPECT_COMMA, b"\0").split(b",")
    quoted = (b'"%b"' % f.replace(b"\0", b",") if b"\0" in f else f for f in fields)
    return b",".join(quoted) + line[len(body) :]


def read_record(path: str | Path) -> dict[str, Any]:
    """Read the provenance that `open_writer` was given; empty in tables of others."""
    try:
        with reading(path, "a table", ""):
            record = _record(Path(path))
    except DataFormatError:
        return {}
    return record if isinstance(record, dict) else {}


_ECSV_START: Final = b"# %ECSV"


def _kind_of(file: Path) -> str:
    with check_regular(file).open("rb") as stream:
        start = stream.read(len(_ECSV_START))
    if start.startswith((b"SIMPLE", b"\x1f\x8b")):
        return "fits"
    if start.startswith(b"PAR1"):
        return "parquet"
    return "ecsv" if start == _ECSV_START else "csv"


def _ecsv_table(path: Path) -> Any:
    from astropy.io import ascii as astropy_ascii

    return astropy_ascii.read(path, format="ecsv", fill_values=[])  # empty words are words


def _from_polars(frame: "pl.DataFrame") -> Block:
    import polars as pl

    words = frame.with_columns(pl.selectors.string().fill_null(""))
    return {c.name: _column_values(c) for c in words}


def _column_values(column: "pl.Series") -> NDArray[Any]:
    if str(column.dtype) == "String":
        return np.array(column.to_list(), np.str_)
    if column.null_count() and _is_identifier(column.name):
        return np.array(column.to_list(), object)  # as floats they would lose digits
    return column.to_numpy()


def _record(file: Path) -> Any:
    kind = _kind_of(file)
    if kind == "fits":
        return fits_record(file)
    if kind == "parquet":
        import pyarrow.parquet as pq

        return json.loads(pq.read_schema(file).metadata[b"quasarloop"])
    if kind == "ecsv":
        return dict(_ecsv_table(file).meta)
    return _described(file).get("header")
