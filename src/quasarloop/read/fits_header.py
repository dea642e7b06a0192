"""FITS headers: what an HDU is called, how large it is, what its columns are."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from quasarloop.errors import DataFormatError

__all__ = ["BLOCK_BYTES", "CARD_BYTES", "Hdu", "HeaderValue"]

HeaderValue = str | int | float | bool

BLOCK_BYTES: Final = 2880  # everything in a FITS file is padded to it
CARD_BYTES: Final = 80
# Limits of the standard; a larger number is damage.
_LARGEST: Final = {"NAXIS": 999, "ZNAXIS": 999, "TFIELDS": 999}
_NUMBER: Final = re.compile(rb"[-+0-9.EeDd]+")


@dataclass(frozen=True)
class Hdu:
    """One header and where its data stand.

    Attributes:
        index: number in the file, from 0.
        cards: the header's bytes.
        data_start: offset of the data.
    """

    index: int
    cards: bytes
    data_start: int

    @cached_property
    def header(self) -> Mapping[str, HeaderValue]:
        """Keywords and values; comments, history and continuations left out."""
        return dict(_parse_cards(self.cards))

    @property
    def name(self) -> str:
        """EXTNAME in capitals, ``""`` without one."""
        return str(self.header.get("EXTNAME", "")).strip().upper()

    @property
    def is_table(self) -> bool:
        """True for a binary table that is not a tile-compressed image."""
        return self.header.get("XTENSION") == "BINTABLE" and not self.is_compressed

    @property
    def is_compressed(self) -> bool:
        """True for a tile-compressed image."""
        return self.header.get("ZIMAGE") is True

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data in C order: rows first; () without data."""
        key = "ZNAXIS" if self.is_compressed else "NAXIS"
        axes = [self._integer(f"{key}{i}") for i in range(self._integer(key), 0, -1)]
        return tuple(axes)

    @cached_property
    def columns(self) -> Mapping[str, int]:
        """Names of a table's columns, in capitals, and their numbers from 1."""
        count = self._integer("TFIELDS") if self.is_table else 0
        return {
            str(self.header.get(f"TTYPE{i}", "")).strip().upper(): i for i in range(1, count + 1)
        }

    @property
    def n_rows(self) -> int:
        """Length of the first axis; 0 without data."""
        return self.shape[0] if self.shape else 0

    @property
    def data_bytes(self) -> int:
        """Length of the data without padding; needs only the cards the standard puts first."""
        front = Hdu(self.index, self.cards[:BLOCK_BYTES], self.data_start)
        axes = [front._integer(f"NAXIS{i}") for i in range(1, front._integer("NAXIS") + 1)]
        if not axes:
            return 0
        elements = math.prod(axes) + front._integer("PCOUNT", 0)
        return abs(front._integer("BITPIX")) // 8 * front._integer("GCOUNT", 1) * elements

    def label(self) -> str:
        """Return how messages name it: ``HDU 3 (B_FLUX)``."""
        return f"HDU {self.index}" + (f" ({self.name})" if self.name else "")

    def _integer(self, key: str, missing: int | None = None) -> int:
        value = self.header.get(key, missing)
        if not isinstance(value, int) or isinstance(value, bool):
            raise DataFormatError(f"HDU {self.index}: {key} is {value!r}; expected an integer")
        if not 0 <= value <= _LARGEST.get(key, value) and key != "BITPIX":
            raise DataFormatError(f"HDU {self.index}: {key} is {value}: impossible")
        return value


def _parse_cards(cards: bytes) -> Iterator[tuple[str, HeaderValue]]:
    for start in range(0, len(cards), CARD_BYTES):
        card = cards[start : start + CARD_BYTES]
        if card[8:10] != b"= " or card.startswith((b"COMMENT", b"HISTORY")):
            continue
        value = _parse_value(card[10:].lstrip())
        if value is not None:
            yield card[:8].rstrip().decode("latin-1"), value


def _parse_value(text: bytes) -> HeaderValue | None:
    if text.startswith(b"'"):
        # Two quotes inside stand for one.
        body = re.match(rb"'((?:[^']|'')*)", text)
        return body[1].replace(b"''", b"'").decode("latin-1").rstrip() if body else None
    if text[:1] in (b"T", b"F"):
        return text[:1] == b"T"
    number = _NUMBER.match(text)
    if number is None:
        return None
    try:
        return int(number[0])
    except ValueError:
        try:
            return float(number[0].upper().replace(b"D", b"E"))
        except ValueError:
            return None
