"""A small reader of FITS headers, images and table columns.

Survey files come by the hundred thousand, with tables of 236 columns: only what is used is decoded.
The length of a file is checked before anything is believed. fitsio reads tile-compressed images.
"""

import io
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.artefacts import open_input
from quasarloop.errors import DataFormatError, reading

__all__ = ["FitsFile", "Hdu", "open_fits"]

_Value = str | int | float | bool

_BLOCK_BYTES: Final = 2880  # everything in a FITS file is padded to it
_CARD_BYTES: Final = 80
_CHUNK_BYTES: Final = 1 << 20
_CHUNK_PIXELS: Final = 1 << 18  # put into native order while they are near
# Files no longer than this are read at once: one request to a file server in place of dozens.
_SMALL_BYTES: Final = 4 << 20
_MAX_HEADER_BLOCKS: Final = 4096  # longer ones are damage, not headers
# Limits of the standard; a larger number is damage.
_LARGEST: Final = {"NAXIS": 999, "ZNAXIS": 999, "TFIELDS": 999}
# Text in quotes (two quotes inside are one), a logical, or a number.
_VALUE: Final = re.compile(rb"'((?:[^']|'')*)|([TF])|([-+0-9.EeDd]+)")
# BITPIX and the letters of TFORM -> numpy types.
_IMAGE_TYPES: Final[Mapping[object, str]] = {
    8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8",
}  # fmt: skip
_COLUMN_TYPES: Final = {
    "L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8",
}  # fmt: skip
_COLUMN_BYTES: Final = {"X": 1 / 8, "C": 8, "M": 16, "P": 8, "Q": 16}


class _Header(Mapping[str, _Value]):
    """Keywords and values, each parsed when it is looked up: of a thousand cards few are."""

    def __init__(self, cards: bytes) -> None:
        self._cards = cards
        self._places = {cards[i : i + 8]: i for i in range(0, len(cards), _CARD_BYTES)}

    def __getitem__(self, key: str) -> _Value:
        start = self._places[_card_name(key)]
        value = _parse_card(self._cards[start : start + _CARD_BYTES])
        if value is None:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return (k for place in self._places if (k := place.rstrip().decode("latin-1")) in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


# Of thousands of spec files most headers are the same in all: what was found in one is kept.
_header = lru_cache(maxsize=128)(_Header)


@dataclass(frozen=True)
class Hdu:
    """One header and the place of its data.

    Attributes:
        index: number in the file, from 0.
        cards: the header's bytes.
        data_start: offset of the data.
    """

    index: int
    cards: bytes
    data_start: int

    @cached_property
    def header(self) -> Mapping[str, _Value]:
        """Keywords and values; comments, history and continuations left out."""
        return _header(self.cards)

    @cached_property
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

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data in C order: rows first; () without data."""
        key = "ZNAXIS" if self.is_compressed else "NAXIS"
        return tuple(self._integer(f"{key}{i}") for i in range(self._integer(key), 0, -1))

    @cached_property
    def columns(self) -> Mapping[str, int]:
        """Names of a table's columns, in capitals, and their numbers from 1."""
        return _column_numbers(self.cards, self._integer("TFIELDS") if self.is_table else 0)

    @property
    def n_rows(self) -> int:
        """Length of the first axis; 0 without data."""
        return self.shape[0] if self.shape else 0

    @cached_property
    def data_bytes(self) -> int:
        """Length of the data without padding; only the first block of cards is parsed."""
        front = Hdu(self.index, self.cards[:_BLOCK_BYTES], self.data_start)
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


class FitsFile:
    """An open FITS file; use `open_fits`."""

    def __init__(self, path: Path, stream: BinaryIO, size: int) -> None:
        self.path = path
        self._stream = stream
        self.hdus: Sequence[Hdu] = _scan(path, stream, size)

    def named(self, name: str) -> Hdu | None:
        """Return the first HDU of that EXTNAME (any case), or None."""
        return next((hdu for hdu in self.hdus if hdu.name == name.upper()), None)

    def need(self, name: str) -> Hdu:
        """Return the HDU of that name.

        Raises:
            DataFormatError: there is none; the message lists those there are.
        """
        hdu = self.named(name)
        if hdu is None:
            raise DataFormatError(
                f"{self.path}: no HDU named {name}; found {self.describe()}. "
                "The file is incomplete or of another kind"
            )
        return hdu

    def describe(self) -> str:
        """List the HDUs for messages."""
        return ", ".join(hdu.name or f"#{hdu.index}" for hdu in self.hdus)

    def chunks(self, hdu: Hdu) -> Iterator[bytes]:
        """Read an HDU's bytes, piece by piece."""
        end = hdu.data_start + hdu.data_bytes
        for start in range(hdu.data_start, end, _CHUNK_BYTES):
            yield self._read(start, min(_CHUNK_BYTES, end - start))

    def image(self, hdu: Hdu, rows: slice | None = None) -> NDArray[Any]:
        """Read an image, or some of its rows (first axis; step 1), in native byte order."""
        if hdu.is_compressed:
            return self._compressed_image(hdu, rows)
        bits = hdu.header.get("BITPIX")
        if hdu.is_table or bits not in _IMAGE_TYPES or not hdu.shape:
            raise DataFormatError(f"{self.path}: {hdu.label()} holds no image; expected one")
        dtype = np.dtype(_IMAGE_TYPES[bits])
        start, count = _row_range(rows, hdu.n_rows)
        values = np.empty((count, *hdu.shape[1:]), dtype.newbyteorder("="))
        flat, place = values.reshape(-1), hdu.data_start + start * values[:1].nbytes
        for some in np.split(flat, range(_CHUNK_PIXELS, flat.size, _CHUNK_PIXELS)):
            some[...] = np.frombuffer(self._read(place, some.nbytes), dtype)
            place += some.nbytes
        scaled = _scaled(values, hdu.header.get("BSCALE", 1), hdu.header.get("BZERO", 0))
        blank = None if dtype.kind == "f" else hdu.header.get("BLANK")
        return scaled if blank is None else np.where(values == blank, np.nan, scaled)

    def columns(
        self, hdu: Hdu, names: Sequence[str], rows: slice | None = None
    ) -> dict[str, NDArray[Any]]:
        """Read those of the named columns that the table has (any case).

        Returns:
            Requested name -> values in native byte order; text stripped. Absent ones left out.

        Raises:
            DataFormatError: not a table, or a column that is neither number, logical nor text.
        """
        if not hdu.is_table:
            raise DataFormatError(f"{self.path}: {hdu.label()} is no binary table; expected one")
        wanted = {name: hdu.columns[name.upper()] for name in names if name.upper() in hdu.columns}
        layout = _layout(hdu.cards, hdu.label(), hdu.shape[1], tuple(wanted.items()))
        start, count = _row_range(rows, hdu.n_rows)
        raw = self._read(hdu.data_start + start * layout.itemsize, count * layout.itemsize)
        table = np.frombuffer(raw, dtype=layout, count=count)
        return {name: _column_values(table[name], hdu.header, i) for name, i in wanted.items()}

    def _read(self, start: int, length: int) -> bytes:
        self._stream.seek(start)
        raw = self._stream.read(length)
        if len(raw) != length:
            raise DataFormatError(
                f"{self.path}: ends {length - len(raw)} bytes early; copy or download it again"
            )
        return raw

    def _compressed_image(self, hdu: Hdu, rows: slice | None) -> NDArray[Any]:
        import fitsio  # noqa: PLC0415 -- only for compressed files

        start, count = _row_range(rows, hdu.n_rows)
        try:
            with fitsio.FITS(str(self.path)) as file:
                others = (slice(None),) * (len(hdu.shape) - 1)
                values = file[hdu.index][(slice(start, start + count), *others)]
        except OSError as exc:
            raise DataFormatError(
                f"{self.path}: {hdu.label()} cannot be decompressed ({exc}); copy it again"
            ) from exc
        return np.asarray(values)


@contextmanager
def open_fits(path: str | Path) -> Iterator[FitsFile]:
    """Open a FITS file, plain or gzipped (found from its first bytes, not its name).

    A gzipped file is unpacked in memory; a plain one is read where needed.

    Raises:
        DataFormatError: missing, no file, not FITS, truncated, damaged, or too large unpacked.
    """
    file = Path(path)
    with reading(file, "FITS", "copy or download it again"), open_input(file) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        yield FitsFile(file, stream if size > _SMALL_BYTES else io.BytesIO(stream.read()), size)


def _scan(path: Path, stream: BinaryIO, size: int) -> tuple[Hdu, ...]:
    hdus: list[Hdu] = []
    offset = 0
    while offset < size:
        stream.seek(offset)
        first = stream.read(_BLOCK_BYTES)
        if not hdus and not first.startswith(b"SIMPLE  ="):
            raise DataFormatError(
                f"{path}: not a FITS file (it starts with {first[:12]!r}); "
                "give FITS spectra, plain or gzipped"
            )
        if hdus and not first.startswith(b"XTENSION"):
            break  # the standard allows other records after the last HDU
        hdu = Hdu(len(hdus), _read_header(path, stream, first), stream.tell())
        try:
            needed = hdu.data_bytes
        except DataFormatError as exc:
            raise DataFormatError(f"{path}: damaged header: {exc}") from exc
        padded = -(-needed // _BLOCK_BYTES) * _BLOCK_BYTES
        # A cut inside the padding costs this HDU nothing, but those that followed are gone.
        if hdu.data_start + padded > size:
            raise DataFormatError(
                f"{path}: truncated: {hdu.label()} needs {padded} bytes from byte "
                f"{hdu.data_start}, but the file has {size}; copy or download it again"
            )
        hdus.append(hdu)
        offset = hdu.data_start + padded
    if not hdus:
        raise DataFormatError(f"{path}: empty file; expected FITS spectra")
    return tuple(hdus)


def _read_header(path: Path, stream: BinaryIO, first: bytes) -> bytes:
    blocks = [first]
    while all(found.start() % _CARD_BYTES for found in re.finditer(b"END     ", blocks[-1])):
        block = stream.read(_BLOCK_BYTES)
        if len(block) < _BLOCK_BYTES or len(blocks) > _MAX_HEADER_BLOCKS:
            raise DataFormatError(
                f"{path}: truncated inside a header; copy or download the file again"
            )
        blocks.append(block)
    return b"".join(blocks)


@lru_cache(maxsize=4096)
def _card_name(key: str) -> bytes:
    return key.ljust(8).encode("latin-1", "replace")


@lru_cache(maxsize=16_384)  # most cards of thousands of spec files are the same in all
def _parse_card(card: bytes) -> _Value | None:
    if card[8:10] != b"= " or card.startswith((b"COMMENT", b"HISTORY")):
        return None
    found = _VALUE.match(card[10:].lstrip())
    if found is None:
        return None
    words, logical, number = found.groups()
    if words is not None:
        return str(words.replace(b"''", b"'").decode("latin-1").rstrip())
    if logical is not None:
        return bool(logical == b"T")
    try:
        whole = number.lstrip(b"+-").isdigit()
        return int(number) if whole else float(number.upper().replace(b"D", b"E"))
    except ValueError:
        return None


@lru_cache(maxsize=128)
def _column_numbers(cards: bytes, count: int) -> Mapping[str, int]:
    header = _header(cards)
    return {str(header.get(f"TTYPE{i}", "")).strip().upper(): i for i in range(1, count + 1)}


@lru_cache(maxsize=128)
def _layout(
    cards: bytes, label: str, row_bytes: int, wanted: tuple[tuple[str, int], ...]
) -> np.dtype[np.void]:
    header, places, offset = _header(cards), {}, 0
    for number in range(1, max((number for _, number in wanted), default=0) + 1):
        kind, width = _column_format(str(header.get(f"TFORM{number}", "")))
        places[number] = (offset, kind)
        offset += width
    for name, number in wanted:
        if places[number][1] is None or offset > row_bytes:
            raise DataFormatError(
                f"{label}: column {name} has the format {header.get(f'TFORM{number}')!r}; "
                "expected numbers or text"
            )
    return np.dtype(
        {
            "names": [name for name, _ in wanted],
            "formats": [places[number][1] for _, number in wanted],
            "offsets": [places[number][0] for _, number in wanted],
            "itemsize": row_bytes,
        }
    )


@lru_cache(maxsize=1024)
def _column_format(tform: str) -> tuple[str | None, int]:
    match = re.match(r"\s*(\d*)([A-Z])", tform.upper())
    if match is None:
        return None, 0
    repeat, letter = int(match[1] or 1), match[2]
    if letter == "A":
        return f"S{max(repeat, 1)}", repeat
    if letter in _COLUMN_TYPES:
        dtype = np.dtype(_COLUMN_TYPES[letter])
        shape = "" if repeat == 1 else f"({repeat},)"
        return f"{shape}{dtype.str}", repeat * dtype.itemsize
    return None, int(np.ceil(repeat * _COLUMN_BYTES.get(letter, 0)))


def _column_values(values: NDArray[Any], header: Mapping[str, _Value], number: int) -> NDArray[Any]:
    form = str(header.get(f"TFORM{number}", ""))
    if "A" in form:
        return np.char.rstrip(np.char.decode(values, "latin-1"))
    if form.strip().endswith("L"):
        return np.asarray(values == b"T")
    native = values.astype(values.dtype.newbyteorder("="))
    return _scaled(native, header.get(f"TSCAL{number}", 1), header.get(f"TZERO{number}", 0))


def _scaled(values: NDArray[Any], scale: _Value, zero: _Value) -> NDArray[Any]:
    if scale in (1, 1.0) and zero in (0, 0.0):
        return values
    if values.dtype.kind in "iu" and scale in (1, 1.0) and float(zero).is_integer():
        # Unsigned integers travel as signed ones with an offset of half their range.
        if float(zero) == 2.0**63:
            return np.asarray(values.astype(np.uint64) ^ np.uint64(1 << 63))
        return np.asarray(values.astype(np.int64) + int(zero))
    return np.asarray(values * float(scale) + float(zero))


def _row_range(rows: slice | None, n_rows: int) -> tuple[int, int]:
    start, stop, step = (rows or slice(None)).indices(n_rows)
    if step != 1:
        raise DataFormatError(f"rows are read in steps of 1; found a step of {step}")
    return start, max(0, stop - start)
