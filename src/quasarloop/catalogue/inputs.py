"""What to read: stores, survey files and spectra in memory, a block at a time on one grid."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from quasarloop import store as store_files  # pyarrow is imported with the first store
from quasarloop.errors import DataFormatError, GridError
from quasarloop.grid import LOG_GRID, WaveGrid
from quasarloop.quality import prepare_all
from quasarloop.read import Sources, find_files, is_path, iter_spectra, list_sources
from quasarloop.spectra import RebinnedSpectra, Spectra, concatenate

__all__ = ["Inputs", "find_inputs", "iter_inputs"]

# Small files are gathered until so many rows: networks are slow on single spectra.
_GATHER_ROWS: Final = 1024

_Part = Spectra | RebinnedSpectra


@dataclass(frozen=True)
class Inputs:
    """Stores, files and spectra to read, in order.

    Attributes:
        stores: opened stores, read first.
        files: survey files.
        spectra: what is in memory already, read last.
        format: of the files, where they are read by specutils (`read.read_spectra`).
    """

    stores: tuple["store_files.Store", ...]
    files: tuple[Path, ...] = field(default=())
    spectra: tuple[_Part, ...] = field(default=())
    format: str = ""

    def __len__(self) -> int:
        """Return the number of shards, files and others: the steps of a progress bar."""
        shards = sum(len(store.shards) for store in self.stores)
        return shards + len(self.files) + len(self.spectra)

    @property
    def grid(self) -> WaveGrid:
        """The grid they are on already; files can be put on any, and come on the log grid."""
        grids = [store.grid for store in self.stores]
        grids += [one.grid for one in self.spectra if isinstance(one, RebinnedSpectra)]
        return next(iter(grids), LOG_GRID)


def find_inputs(
    sources: Sources,
    *,
    mend_outliers: bool | None = None,
    format: str = "",  # noqa: A002 -- as in astropy
) -> Inputs:
    """Sort what was given into stores, files and spectra; folders are searched.

    Args:
        sources: files, folders and stores, or spectra in memory (`read.spectra_from_memory`); one
            or a list.
        mend_outliers: how the outliers of stores must have been treated; None takes any.
        format: of the files, where they are read by specutils (`read.read_spectra`).

    Raises:
        DataFormatError: nothing there, a folder without spectra, something that holds none, or a
            store of the other treatment.
    """
    given = list_sources(sources)
    opened = [
        store_files.open_store(thing) if is_path(thing) and store_files.is_store(thing) else thing
        for thing in given
    ]
    stores = tuple(thing for thing in opened if hasattr(thing, "shards"))
    others = [thing for thing in opened if isinstance(thing, str | Path)]
    files = tuple(find_files(others, every=bool(format))) if others else ()
    spectra = tuple(thing for thing in given if isinstance(thing, Spectra | RebinnedSpectra))
    if not stores and not files and not spectra:
        raise DataFormatError("no spectra given; name files, folders of files, or a store")
    for store in stores:
        if mend_outliers is not None and store.mend_outliers != mend_outliers:
            made = "--mend-outliers" if store.mend_outliers else "--no-mend-outliers"
            raise DataFormatError(
                f"{store.path} was made with {made}; use it here, too, or ingest the files again"
            )
    return Inputs(stores, files, spectra, format)


def iter_inputs(
    inputs: Inputs,
    grid: WaveGrid,
    *,
    mend_outliers: bool = True,
    on_bad: Callable[[Path, DataFormatError], None] | None = None,
    on_done: Callable[[], None] = lambda: None,
) -> Iterator[RebinnedSpectra]:
    """Read all inputs on one grid, a block at a time, in order; the next one while one is used.

    Args:
        inputs: from `find_inputs`.
        grid: the network's grid.
        mend_outliers: give impossible pixels of files ivar 0 (`quality.prepare`).
        on_bad: called with a file that cannot be read; None lets the error out.
        on_done: called after every shard or file read, in the reader's thread, as `on_bad` is.

    Raises:
        GridError: a store on another grid.
        DataFormatError: a broken file, unless `on_bad` takes it.
    """
    return _ahead(_iter_blocks(inputs, grid, mend_outliers, on_bad, on_done))


def _ahead(blocks: Iterator[RebinnedSpectra]) -> Iterator[RebinnedSpectra]:
    """Yield blocks in order; a thread makes the next one while the caller works on one."""
    with ThreadPoolExecutor(1, "reader") as reader:
        following = reader.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = reader.submit(next, blocks, None)
            yield block


def _iter_blocks(
    inputs: Inputs,
    grid: WaveGrid,
    mend_outliers: bool,
    on_bad: Callable[[Path, DataFormatError], None] | None,
    on_done: Callable[[], None],
) -> Iterator[RebinnedSpectra]:
    waiting: list[_Part] = []
    n_rows = 0
    for part in _iter_parts(inputs, grid, on_bad, on_done):
        waiting.append(part)
        n_rows += len(part)
        if n_rows >= _GATHER_ROWS:
            yield _on_grid(waiting, grid, mend_outliers)
            waiting, n_rows = [], 0
    if waiting:
        yield _on_grid(waiting, grid, mend_outliers)


def _on_grid(parts: list[_Part], grid: WaveGrid, mend_outliers: bool) -> RebinnedSpectra:
    """Join parts in order; those as observed are rebinned together."""
    joined: list[RebinnedSpectra] = []
    for is_observed, same in groupby(parts, lambda part: isinstance(part, Spectra)):
        found: Any = list(same)
        joined += [prepare_all(found, grid, mend_outliers=mend_outliers)] if is_observed else found
    return concatenate(joined)


def _iter_parts(
    inputs: Inputs,
    grid: WaveGrid,
    on_bad: Callable[[Path, DataFormatError], None] | None,
    on_done: Callable[[], None],
) -> Iterator[_Part]:
    for store in inputs.stores:
        _check_grid(store.grid, grid, "the store holds")
        for block in store_files.iter_store(store):
            yield block
            on_done()
    for path in inputs.files:
        try:
            # Pixel masks are for looking at spectra; networks never see them.
            yield from iter_spectra(path, masks=False, format=inputs.format)
        except DataFormatError as exc:
            if on_bad is None:
                raise
            on_bad(path, exc)
        on_done()
    for held in inputs.spectra:
        for start in range(0, len(held), _GATHER_ROWS):
            part = held[start : start + _GATHER_ROWS]
            if isinstance(part, RebinnedSpectra):
                _check_grid(part.grid, grid, "the spectra hold")
            yield part
        on_done()


def _check_grid(found: WaveGrid, grid: WaveGrid, what: str) -> None:
    if not found.matches(grid):
        raise GridError(
            f"{what} a {found.describe()}, the weights want a {grid.describe()}; ingest the "
            "files again with the weights' grid"
        )
