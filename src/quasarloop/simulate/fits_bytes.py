"""FITS as bytes, for writing thousands of small files of one shape quickly.

SDSS keeps one file per spectrum: opening each with a FITS library costs more than
simulating it. The headers of such files are the same but for a few cards.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["block", "card", "header", "table_header"]

_BLOCK: Final = 2880
_CARD: Final = 80
_CODES: Final = {"i1": "B", "u1": "B", "i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}

Value = bool | int | float | str


def card(name: str, value: Value) -> bytes:
    """Return one header card.

    >>> card("MJD", 58000).decode().rstrip()
    'MJD     =                58000'
    """
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, int):
        text = f"{value:>20d}"
    elif isinstance(value, float):
        text = f"{value:>20.12G}"
    else:
        text = f"'{value:<8}'"
    return f"{name:<8}= {text}".encode("ascii").ljust(_CARD)


def header(cards: Iterable[bytes]) -> bytes:
    """Return cards and END, filled with blanks to whole blocks."""
    joined = b"".join(cards) + b"END".ljust(_CARD)
    return joined.ljust(-(-len(joined) // _BLOCK) * _BLOCK)


def table_header(dtype: np.dtype[Any], n_rows: int, name: str) -> bytes:
    """Return the header of a binary table.

    Args:
        dtype: structured; text columns as bytes (``S``), sub-arrays of one dimension allowed.
        n_rows: number of rows.
        name: EXTNAME.
    """
    cards = [
        b"XTENSION= 'BINTABLE'".ljust(_CARD),
        card("BITPIX", 8),
        card("NAXIS", 2),
        card("NAXIS1", dtype.itemsize),
        card("NAXIS2", n_rows),
        card("PCOUNT", 0),
        card("GCOUNT", 1),
        card("TFIELDS", len(dtype.names or ())),
    ]
    for number, column in enumerate(dtype.names or (), start=1):
        cards += [card(f"TTYPE{number}", column), card(f"TFORM{number}", _form(dtype[column]))]
    return header([*cards, card("EXTNAME", name)])


def block(data: NDArray[np.void] | bytes) -> bytes:
    """Return table rows (big-endian dtype) filled with zeros to whole blocks."""
    raw = data if isinstance(data, bytes) else data.tobytes()
    return raw.ljust(-(-len(raw) // _BLOCK) * _BLOCK, b"\0")


def _form(kind: np.dtype[Any]) -> str:
    if kind.subdtype is not None:
        base, shape = kind.subdtype
        return f"{shape[0]}{_form(base)}"
    if kind.kind == "S":
        return f"{kind.itemsize}A"
    return _CODES[kind.str[1:]]
