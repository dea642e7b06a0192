"""QuasarNET's own files: spectra already on its grid, DATA | METADATA.

The image holds one row per spectrum, flux in its first half and inverse variance in the
second, on the 443 bins of the log grid (or the 458 of the linear one).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import DataFormatError
from quasarloop.grid import LINEAR_GRID, LOG_GRID, WaveGrid
from quasarloop.read.fits_reader import FitsFile
from quasarloop.read.formats import Format, Identity, integer_column, sdss_target_id
from quasarloop.spectra import Arm, Keys

__all__ = ["QUASARNET_DATA"]

# Shape of a row of the image -> its grid.
_GRIDS: Final[dict[tuple[int, ...], WaveGrid]] = {
    (2 * grid.n_bins,): grid for grid in (LOG_GRID, LINEAR_GRID)
}
_PLATE_COLUMNS: Final = ("PLATE", "MJD", "FIBERID")


def _matches(fits: FitsFile) -> bool:
    return (
        fits.hdus[0].shape[1:] in _GRIDS
        and len(fits.hdus) > 1
        and "TARGETID" in fits.hdus[1].columns
    )


def _identify(fits: FitsFile) -> Identity:
    table = fits.hdus[1]
    n_rows = fits.hdus[0].n_rows
    thing_id = _thing_id(fits)
    if len(thing_id) != n_rows or n_rows == 0:
        raise DataFormatError(
            f"{fits.path}: {len(thing_id)} rows of metadata for {n_rows} spectra; expected the "
            "same number, and at least one"
        )
    target_id = thing_id
    found: dict[str, NDArray[Any]] = {}
    if set(_PLATE_COLUMNS) <= set(table.columns):
        found = {name: integer_column(fits, table, name) for name in _PLATE_COLUMNS}
        target_id = sdss_target_id(*found.values())
    unknown = np.full(n_rows, -1, dtype=np.int64)
    keys = Keys.make(
        target_id,
        object_id=np.where(thing_id > 0, thing_id, target_id),
        survey=np.full(n_rows, "boss" if found else ""),
        tile_id=found.get("PLATE", unknown),
        night=found.get("MJD", unknown),
        fiber=found.get("FIBERID", unknown),
    )
    return Identity(keys, np.zeros(n_rows, dtype=bool))


def _observe(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    grid = _GRIDS[fits.hdus[0].shape[1:]]
    image = fits.image(fits.hdus[0], rows)
    flux, ivar = image[:, : grid.n_bins], image[:, grid.n_bins :]
    middle = grid.wave_at(np.arange(grid.n_bins) + 0.5)  # falls back into the same bin
    return (Arm("brz", middle, flux, ivar),)


def _thing_id(fits: FitsFile) -> NDArray[np.int64]:
    # Old files hold THING_ID as a float; it fits in 32 bits, so nothing is lost.
    values = fits.columns(fits.hdus[1], ["TARGETID"])["TARGETID"]
    whole = values.dtype.kind in "iuf" and bool(np.all(values == np.round(values)))
    if not whole or values.ndim != 1:
        raise DataFormatError(
            f"{fits.path}: column TARGETID is of type {values.dtype}; expected one integer per row"
        )
    return values.astype(np.int64)


QUASARNET_DATA: Final = Format(
    "QuasarNET data file",
    "a primary image of 886 (or 916) columns and a table with TARGETID",
    _matches,
    _identify,
    _observe,
)
