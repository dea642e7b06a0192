"""A sky with known truth, written as real surveys write theirs."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Floats32", "Floats64", "Rng", "SurveyFormat", "published"]

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]
Rng = np.random.Generator
# Surveys whose files can be written.
SurveyFormat = Literal["desi", "sdss", "sdssv", "lamost", "4most", "weave"]


@cache
def published(name: str) -> "pl.DataFrame":
    """Return a table of published or measured numbers, ``data/<name>.ecsv``.

    Units, meanings and sources of the columns are in the file's header.
    """
    import polars as pl  # only when used: commands read the names above without it

    path = Path(__file__).parent / "data" / f"{name}.ecsv"
    return pl.read_csv(path, comment_prefix="#", separator=" ", infer_schema_length=None)
