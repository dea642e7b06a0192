"""What a catalogue is made from: survey files or a store, read block by block."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quasarloop.errors import DataFormatError, GridError
from quasarloop.grid import WaveGrid
from quasarloop.quality import prepare
from quasarloop.read import find_files, iter_spectra
from quasarloop.spectra import RebinnedSpectra, concatenate
from quasarloop.store import Store, is_store, iter_store, open_store

__all__ = ["Inputs", "find_inputs", "iter_inputs"]

# Small files are gathered until so many rows: networks are slow on single spectra.
_GATHER_ROWS: Final = 1024


@dataclass(frozen=True)
class Inputs:
    """Stores and files to read, in order.

    Attributes:
        stores: opened stores, read first.
        files: survey files.
    """

    stores: tuple[Store, ...]
    files: tuple[Path, ...] = field(default=())

    def __len__(self) -> int:
        """Return the number of shards and files: the steps of a progress bar."""
        return sum(len(store.shards) for store in self.stores) + len(self.files)


def find_inputs(paths: Sequence[str | Path], *, mend_outliers: bool | None = None) -> Inputs:
    """Sort what was given into stores and files; folders are searched for spectra.

    Args:
        paths: files, folders and stores.
        mend_outliers: how the outliers of stores must have been treated; None takes any.

    Raises:
        DataFormatError: nothing there, a folder without spectra, or a store of the other treatment.
    """
    stores = tuple(open_store(path) for path in paths if is_store(path))
    others = [path for path in paths if not is_store(path)]
    files = tuple(find_files(others)) if others else ()
    if not stores and not files:
        raise DataFormatError("no spectra given; name files, folders of files, or a store")
    for store in stores:
        if mend_outliers is not None and store.mend_outliers != mend_outliers:
            made = "--mend-outliers" if store.mend_outliers else "--no-mend-outliers"
            raise DataFormatError(
                f"{store.path} was made with {made}; use it here, too, or ingest the files again"
            )
    return Inputs(stores, files)


def iter_inputs(
    inputs: Inputs,
    grid: WaveGrid,
    *,
    mend_outliers: bool = True,
    on_bad: Callable[[Path, DataFormatError], None] | None = None,
    on_done: Callable[[], None] = lambda: None,
) -> Iterator[RebinnedSpectra]:
    """Read all inputs on one grid, a block at a time, in order.

    Args:
        inputs: from `find_inputs`.
        grid: the network's grid.
        mend_outliers: give impossible pixels of files ivar 0 (`quality.prepare`).
        on_bad: called with a file that cannot be read; None lets the error out.
        on_done: called after every shard or file.

    Raises:
        GridError: a store on another grid.
        DataFormatError: a broken file, unless `on_bad` takes it.
    """
    waiting: list[RebinnedSpectra] = []
    for part in _iter_parts(inputs, grid, mend_outliers, on_bad, on_done):
        waiting.append(part)
        if sum(map(len, waiting)) >= _GATHER_ROWS:
            yield concatenate(waiting)
            waiting = []
    if waiting:
        yield concatenate(waiting)


def _iter_parts(
    inputs: Inputs,
    grid: WaveGrid,
    mend_outliers: bool,
    on_bad: Callable[[Path, DataFormatError], None] | None,
    on_done: Callable[[], None],
) -> Iterator[RebinnedSpectra]:
    for store in inputs.stores:
        if not store.grid.matches(grid):
            raise GridError(
                f"the store holds a {store.grid.describe()}, the weights want a "
                f"{grid.describe()}; ingest the files again with the weights' grid"
            )
        for block in iter_store(store):
            yield block
            on_done()
    for path in inputs.files:
        try:
            # Pixel masks are for looking at spectra; networks never see them.
            for spectra in iter_spectra(path, masks=False):
                yield prepare(spectra, grid, mend_outliers=mend_outliers)
        except DataFormatError as exc:
            if on_bad is None:
                raise
            on_bad(path, exc)
        on_done()
