"""A sky with known truth, written as real surveys write theirs."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

__all__ = ["published"]


@cache
def published(name: str) -> np.recarray[Any, Any]:
    """Return a table of published or measured numbers, ``data/<name>.ecsv``.

    Units, meanings and sources of the columns are in the file's header.
    """
    path = Path(__file__).parent / "data" / f"{name}.ecsv"
    table: np.recarray[Any, Any] = (
        Table.read(path, format="ascii.ecsv").as_array().view(np.recarray)
    )
    return table
