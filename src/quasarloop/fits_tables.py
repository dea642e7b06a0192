"""Tables in FITS files: written whole or not at all, block by block, and read back.

Apart from `tables`, so that commands that write FITS alone need no other packages.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import fitsio
import numpy as np
from numpy.typing import NDArray

from quasarloop.artefacts import open_input, write_atomically
from quasarloop.columns import Block, Column
from quasarloop.errors import OutputError

__all__ = ["Append", "fits_record", "new_fits", "open_fits_writer", "read_fits"]

_CATALOGUE_HDU: Final = "QSO_CAT"
# A file name longer than this is cut from the left in FITS, whose strings have a fixed width.
_NAME_WIDTH: Final = 120

Append = Callable[[Block], None]


@contextmanager
def new_fits(path: str | Path) -> Iterator[fitsio.FITS]:
    """Open a FITS file for writing; it appears under its name when the block ends well.

    Raises:
        OutputError: folder missing or not writable, or the disk is full.
    """
    with write_atomically(path) as temporary:
        try:
            with fitsio.FITS(str(temporary), "rw", clobber=True) as fits:
                yield fits
        except OSError as exc:
            # cfitsio reports a full disk in words of its own.
            raise OutputError(f"{path}: writing FITS failed ({exc}); is the disk full?") from exc


@contextmanager
def open_fits_writer(
    path: Path, columns: Sequence[Column], header: Mapping[str, Any]
) -> Iterator[Append]:
    """Open a catalogue for appending blocks, as `tables.open_writer` does."""
    widths = {"U": f"S{_NAME_WIDTH}"}
    dtype = np.dtype([(c.name, widths.get(c.dtype, c.dtype.replace("U", "S"))) for c in columns])
    with new_fits(path) as fits:
        fits.create_table_hdu(dtype=dtype, units=[c.unit for c in columns], extname=_CATALOGUE_HDU)
        hdu = fits[_CATALOGUE_HDU]
        for number, column in enumerate(columns, start=1):
            hdu.write_key(f"TCOMM{number}", column.text)
        for line in json.dumps(header, sort_keys=True, indent=0, ensure_ascii=True).splitlines():
            hdu.write_history(line)

        def append(block: Block) -> None:
            rows = np.empty(len(block[columns[0].name]), dtype)
            for column in columns:
                rows[column.name] = _ascii_values(block[column.name])
            if len(rows):
                hdu.append(rows)

        yield append


def read_fits(path: Path, wanted: Callable[[str], bool]) -> Block:
    """Read columns of the first extension, as `tables.read_table` does."""
    open_input(path).close()  # a gzipped file that is damaged or too large ends here
    with fitsio.FITS(str(path)) as fits:
        names = list(filter(wanted, fits[1].get_colnames())) if len(fits) > 1 else []
        if not names or not fits[1].has_data():
            return {name: np.empty(0) for name in names}
        rows = fits[1].read(columns=names)
    return {name: _native(rows[name]) for name in names}


def fits_record(path: Path) -> Any:
    """Read the header that `open_fits_writer` was given.

    Raises:
        Exception: whatever a damaged file, or one of others, raises.
    """
    cards = fitsio.read_header(str(path), ext=1).records()
    return json.loads("".join(str(c["value"]) for c in cards if c["name"] == "HISTORY"))


def _ascii_values(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind != "U":
        return values
    return np.array([v[-_NAME_WIDTH:].encode("ascii", "replace") for v in values.tolist()], "S")


def _native(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "U":
        return np.char.rstrip(values)
    return values.astype(values.dtype.newbyteorder("="))
