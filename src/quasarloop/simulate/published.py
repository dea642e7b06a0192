"""Tables of published or measured numbers that simulated spectra are made of."""

from functools import cache
from pathlib import Path

import polars as pl

__all__ = ["published"]


@cache
def published(name: str) -> pl.DataFrame:
    """Return a table of published or measured numbers, ``data/<name>.ecsv``.

    Units, meanings and sources of the columns are in the file's header.
    """
    path = Path(__file__).parent / "data" / f"{name}.ecsv"
    return pl.read_csv(path, comment_prefix="#", separator=" ", infer_schema_length=None)
