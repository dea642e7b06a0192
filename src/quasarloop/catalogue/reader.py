"""Read a catalogue back, whatever format it was written in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fitsio
import numpy as np
import polars as pl
from astropy.io import ascii as astropy_ascii
from numpy.typing import NDArray

from quasarloop.catalogue.columns import CatalogueBlock
from quasarloop.catalogue.writers import catalogue_format
from quasarloop.errors import DataFormatError

__all__ = ["line_columns", "read_catalogue"]


def read_catalogue(path: str | Path, needed: Sequence[str] = ()) -> CatalogueBlock:
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


def line_columns(block: CatalogueBlock) -> list[str]:
    """Return the names after ``C_`` of the emission lines, in order, the BAL finder left out."""
    names = [name[2:] for name in block if name.startswith("C_") and f"Z_{name[2:]}" in block]
    return [name for name in names if name != "BAL"]


def _fits(path: Path) -> CatalogueBlock:
    with fitsio.FITS(str(path)) as fits:
        if len(fits) < 2 or not fits[1].has_data():  # noqa: PLR2004 -- primary and table
            names = fits[1].get_colnames() if len(fits) > 1 else []
            return {name: np.empty(0) for name in names}
        rows = fits[1].read()
    return {name: _native(rows[name]) for name in rows.dtype.names}


def _parquet(path: Path) -> CatalogueBlock:
    return _from_polars(pl.read_parquet(path))


def _csv(path: Path) -> CatalogueBlock:
    return _from_polars(pl.read_csv(path, comment_prefix="#", infer_schema_length=None))


def _ecsv(path: Path) -> CatalogueBlock:
    table = astropy_ascii.read(path, format="ecsv", fill_values=[])  # empty words are words
    return {name: np.asarray(table[name]) for name in table.colnames}


def _from_polars(frame: pl.DataFrame) -> CatalogueBlock:
    block: CatalogueBlock = {}
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


_READERS = {"fits": _fits, "parquet": _parquet, "csv": _csv, "ecsv": _ecsv}
