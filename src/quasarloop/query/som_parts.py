"""The data a map is trained on, in parts that load themselves when they are needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from quasarloop.quality import UNUSABLE
from quasarloop.store import read_shard

__all__ = ["ArrayPart", "Part", "StorePart", "name_of_part", "parts_of_array", "parts_of_shards"]

# Parts the data are cut into, whatever the number of workers: their sums are kept at once.
_MAX_PARTS: Final = 32
_ARRAY_PART_ROWS: Final = 16_384


class Part(Protocol):
    """A part of the data: a picklable value that loads its spectra when asked."""

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Give (n, n_bins) float32 blocks of usable spectra."""


@dataclass(frozen=True)
class ArrayPart:
    """Spectra already in memory; ``flags`` says which rows are left out."""

    flux: NDArray[np.float32]
    flags: NDArray[np.integer] | None = None

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Give the usable rows."""
        yield self.flux if self.flags is None else self.flux[(self.flags & UNUSABLE) == 0]


@dataclass(frozen=True)
class StorePart:
    """Some shards of a store."""

    shards: tuple[Path, ...]

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Read one shard after the other."""
        for shard in self.shards:
            spectra = read_shard(shard, with_ivar=False)
            yield spectra.flux[(spectra.flags & UNUSABLE) == 0]


def parts_of_array(
    flux: NDArray[np.float32], flags: NDArray[np.integer] | None = None
) -> list[ArrayPart]:
    """Cut spectra in memory into parts.

    Args:
        flux: (n, n_bins) float32, normalised.
        flags: (n,) `Flag` bits.
    """
    step = max(_ARRAY_PART_ROWS, -(-len(flux) // _MAX_PARTS))
    return [
        ArrayPart(flux[i : i + step], None if flags is None else flags[i : i + step])
        for i in range(0, len(flux), step)
    ]


def parts_of_shards(shards: Sequence[Path]) -> list[StorePart]:
    """Group a store's shards into parts, in order."""
    step = max(1, -(-len(shards) // _MAX_PARTS))
    return [StorePart(tuple(shards[i : i + step])) for i in range(0, len(shards), step)]


def name_of_part(part: Part) -> str:
    """Say which part failed, in messages."""
    if isinstance(part, StorePart):
        return f"shards {part.shards[0].name} to {part.shards[-1].name}"
    return "spectra in memory"
