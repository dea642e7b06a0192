"""The spectra of a map in parts, each small enough to be in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from quasarloop.quality import UNUSABLE
from quasarloop.store import count_rows, read_shard

__all__ = [
    "ArrayPart",
    "Part",
    "StorePart",
    "name_of_parts",
    "parts_of_array",
    "parts_of_shards",
]

# Most parts the data are cut into: their sums are kept at once.
_MAX_PARTS: Final = 32
# Fewer rows make no part: its sums are as large as a thousand spectra. Source: our choice.
_PART_ROWS: Final = 1024
_ARRAY_PART_ROWS: Final = 16_384


class Part(Protocol):
    """A part of the data: a picklable value that loads its spectra when used."""

    @property
    def n_rows(self) -> int:
        """Spectra, usable or not."""

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Give (n, n_bins) float32 blocks of usable spectra."""


@dataclass(frozen=True)
class ArrayPart:
    """Spectra already in memory; ``flags`` marks the rows left out."""

    flux: NDArray[np.float32]
    flags: NDArray[np.integer] | None = None

    @property
    def n_rows(self) -> int:
        """Spectra, usable or not."""
        return len(self.flux)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Give the usable rows."""
        yield self.flux if self.flags is None else self.flux[(self.flags & UNUSABLE) == 0]


@dataclass(frozen=True)
class StorePart:
    """Some shards of a store, and their number of rows."""

    shards: tuple[Path, ...]
    n_rows: int

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Read one shard after the other; short ones are joined."""
        waiting: list[NDArray[np.float32]] = []
        for shard in self.shards:
            spectra = read_shard(shard, with_ivar=False)
            waiting.append(spectra.flux[(spectra.flags & UNUSABLE) == 0])
            if sum(map(len, waiting)) >= _PART_ROWS:
                yield np.concatenate(waiting)
                waiting.clear()
        if waiting:
            yield np.concatenate(waiting)


def parts_of_array(
    flux: NDArray[np.float32], flags: NDArray[np.integer] | None = None
) -> list[ArrayPart]:
    """Cut (n, n_bins) normalised spectra in memory, and (n,) flags, into parts."""
    step = max(_ARRAY_PART_ROWS, -(-len(flux) // _MAX_PARTS))
    return [
        ArrayPart(flux[i : i + step], None if flags is None else flags[i : i + step])
        for i in range(0, len(flux), step)
    ]


def parts_of_shards(shards: Sequence[Path]) -> list[StorePart]:
    """Group a store's shards into parts, in order."""
    n_rows = [count_rows(shard) for shard in shards]
    enough = max(_PART_ROWS, sum(n_rows) / _MAX_PARTS)
    parts: list[StorePart] = []
    part: list[Path] = []
    filled = 0
    for shard, n in zip(shards, n_rows, strict=True):
        part, filled = [*part, shard], filled + n
        if filled >= enough:
            parts, part, filled = [*parts, StorePart(tuple(part), filled)], [], 0
    return [*parts, StorePart(tuple(part), filled)] if part else parts


def name_of_parts(parts: Sequence[Part]) -> str:
    """Return what messages call parts."""
    first, last = parts[0], parts[-1]
    if isinstance(first, StorePart) and isinstance(last, StorePart):
        return f"shards {first.shards[0].name} to {last.shards[-1].name}"
    return "spectra in memory"
