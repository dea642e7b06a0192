"""Pieces of a store: a few hundred rows (thousands on a GPU), of one shard or several small ones.

Pieces are cut by the store's listing and the kind of device alone, never by the number of workers
or by what is already done, so that every row is computed in the same company, and its numbers are
the same bit for bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.spectra import RebinnedSpectra, concatenate
from quasarloop.store import count_rows, read_shard

__all__ = [
    "PIECE_ROWS",
    "Lot",
    "Part",
    "Piece",
    "cut_lots",
    "cut_pieces",
    "piece_rows_on",
    "read_piece",
]

# Rows of one piece: enough to be worth sending, few enough to spread over a cluster and to
# lose little by a kill. Source: our choice.
PIECE_ROWS: Final = 512
# The same of networks on a GPU: two whole blocks of the predictor. Source: our choice.
_DEVICE_PIECE_ROWS: Final = 8192
# A large store is cut into about so many tasks, for a scheduler takes some milliseconds for each.
_MOST_LOTS: Final = 20_000
# The pieces of longer shards are tasks of their own, so that many workers share one shard.
_LONG_ROWS: Final = 8192


class Part(NamedTuple):
    """Consecutive rows of one shard.

    Attributes:
        shard: number of the shard in the store's order.
        path: its file.
        first, stop: rows.
        n_shard_rows: rows of the whole shard.
    """

    shard: int
    path: Path
    first: int
    stop: int
    n_shard_rows: int


@dataclass(frozen=True)
class Piece:
    """Rows of a store that are predicted together, in order.

    Attributes:
        number: place in the list of all pieces.
        parts: where the rows are.
    """

    number: int
    parts: tuple[Part, ...]

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(part.stop - part.first for part in self.parts)

    def name(self) -> str:
        """Return the first and last shard, for messages."""
        first, last = self.parts[0], self.parts[-1]
        rows = f"rows {first.first} to {first.stop - 1}"
        if len(self.parts) == 1:
            return f"shard {first.path.stem}, {rows}"
        return f"shards {first.path.stem} to {last.path.stem}"

    def shard_names(self) -> list[str]:
        """Return the shard of every row."""
        names = [[part.path.stem] * (part.stop - part.first) for part in self.parts]
        return list(chain.from_iterable(names))

    def shard_rows(self) -> NDArray[np.int64]:
        """Return every row's number in its shard."""
        return np.concatenate([np.arange(part.first, part.stop) for part in self.parts])


@dataclass(frozen=True)
class Lot:
    """Pieces that one task works on.

    Attributes:
        pieces: in order.
        whole: they are whole shards, which the worker writes; else a part of a long one.
    """

    pieces: tuple[Piece, ...]
    whole: bool

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(map(len, self.pieces))

    def name(self) -> str:
        """Return its first and last piece, for messages."""
        names = [self.pieces[0].name(), self.pieces[-1].name()]
        return names[0] if len(self.pieces) == 1 else " to ".join(names)


def piece_rows_on(device: str) -> int:
    """Return the rows of one piece where networks compute on that kind of device."""
    return PIECE_ROWS if device == "cpu" else _DEVICE_PIECE_ROWS


def cut_lots(pieces: Sequence[Piece]) -> list[Lot]:
    """Join pieces, as `cut_pieces` gave them, into tasks: more rows each in a larger store."""
    enough = max(PIECE_ROWS, sum(map(len, pieces)) // _MOST_LOTS)
    lots: list[Lot] = []
    waiting: list[Piece] = []
    for piece in pieces:
        waiting.append(piece)
        last = piece.parts[-1]
        if last.stop < last.n_shard_rows or (
            sum(map(len, waiting)) < enough and piece is not pieces[-1]
        ):
            continue
        if any(part.n_shard_rows > _LONG_ROWS for one in waiting for part in one.parts):
            lots += [Lot((one,), False) for one in waiting]
        else:
            lots.append(Lot(tuple(waiting), True))
        waiting = []
    return lots


def cut_pieces(
    shards: Sequence[Path], n_rows: Sequence[int] | None = None, piece_rows: int = PIECE_ROWS
) -> list[Piece]:
    """Cut a store into pieces: long shards into several, short neighbours into one.

    Every row is in one piece, in order; `n_rows` of the shards are read from the files' footers
    if not given.
    """
    sizes = [count_rows(shard) for shard in shards] if n_rows is None else n_rows
    groups: list[list[Part]] = [[]]
    filled = 0
    for number, (path, size) in enumerate(zip(shards, sizes, strict=True)):
        for first in range(0, size, piece_rows):
            part = Part(number, path, first, min(first + piece_rows, size), size)
            if filled + part.stop - part.first > piece_rows:
                groups.append([])
                filled = 0
            groups[-1].append(part)
            filled += part.stop - part.first
    return [Piece(i, tuple(group)) for i, group in enumerate(g for g in groups if g)]


def read_piece(piece: Piece, *, with_flux: bool = True) -> RebinnedSpectra:
    """Read the rows of a piece."""
    return concatenate(
        [
            read_shard(p.path, rows=slice(p.first, p.stop), with_flux=with_flux, with_ivar=False)
            for p in piece.parts
        ]
    )
