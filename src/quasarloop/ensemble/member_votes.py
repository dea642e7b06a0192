"""Ask members about rows of a store: the unit of work of all voting.

A piece of work is a few hundred rows, from one shard or from several small ones. Pieces are
cut by the store's listing alone, never by the number of workers or by what is already done,
so that every row is computed in the same company, and its numbers are the same bit for bit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from quasarloop.ensemble.votes import MemberFinds, VoteSettings
from quasarloop.network.decode import LineFinds, decode
from quasarloop.network.predict import Predictor
from quasarloop.quality import UNUSABLE
from quasarloop.spectra import RebinnedSpectra, concatenate
from quasarloop.store import read_shard

__all__ = [
    "PIECE_ROWS",
    "Part",
    "Piece",
    "ask_members",
    "best_line",
    "cut_pieces",
    "read_piece",
]

# Rows of one piece: enough to be worth sending, few enough to spread over a cluster and to
# lose little by a kill. Source: our choice.
PIECE_ROWS: Final = 512


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
    """Rows to ask about, in order.

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


def cut_pieces(
    shards: Sequence[Path], n_rows: Sequence[int] | None = None, piece_rows: int = PIECE_ROWS
) -> list[Piece]:
    """Cut a store into pieces: long shards into several, short neighbours into one.

    Args:
        shards: in the store's order.
        n_rows: of each shard; read from the files' footers if not given.
        piece_rows: most rows of a piece.

    Returns:
        Every row once, in order; shards without rows are left out.
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


def count_rows(shard: Path) -> int:
    """Return the number of rows of a Parquet file, from its footer."""
    return int(pq.read_metadata(shard).num_rows)


def read_piece(piece: Piece) -> RebinnedSpectra:
    """Read the rows of a piece."""
    return concatenate(
        [
            read_shard(part.path, rows=slice(part.first, part.stop), with_ivar=False)
            for part in piece.parts
        ]
    )


def ask_members(
    spectra: RebinnedSpectra, members: Sequence[Predictor], settings: VoteSettings
) -> MemberFinds:
    """Ask every member about every spectrum; unusable spectra are not asked about (NaN).

    Args:
        spectra: on the members' grid.
        members: in the ensemble's order.
        settings: number of lines, red end.
    """
    n = len(spectra)
    usable = np.flatnonzero((spectra.flags & UNUSABLE) == 0)
    config = members[0].config
    confidence = np.full((len(members), n), np.nan, dtype=np.float32)
    z_best = np.full((len(members), n), np.nan)
    line_sum = np.zeros((len(usable), config.n_lines))
    flux = np.ascontiguousarray(spectra.flux[usable])
    for index, finds in enumerate(_finds(flux, members, settings)):
        emission = list(config.emission_index)
        confidence[index, usable], z_best[index, usable] = best_line(
            finds.confidence[:, emission], finds.z[:, emission], settings.n_lines
        )
        line_sum += finds.confidence  # float64, in the order of members
    line_mean = np.full((n, config.n_lines), np.nan)
    line_mean[usable] = line_sum / len(members)
    return MemberFinds(confidence, z_best, line_mean)


def best_line(
    confidence: NDArray[np.float32], z: NDArray[np.floating], n_lines: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the confidence that decides, and the redshift of the most confident line.

    Args:
        confidence: (n, n_emission) of each line.
        z: (n, n_emission).
        n_lines: lines that must count: the ``n_lines``-th largest confidence decides.
    """
    rows = np.arange(len(confidence))
    best = np.argmax(confidence, axis=1)
    deciding = np.partition(confidence, -n_lines, axis=1)[:, -n_lines]
    return deciding, z[rows, best].astype(np.float64)


def _finds(
    flux: NDArray[np.float32], members: Sequence[Predictor], settings: VoteSettings
) -> Iterator[LineFinds]:
    if len(flux) == 0:
        return
    for member in members:
        yield decode(member.predict(flux), member.config, red_end=settings.red_end)
