"""From survey files to shards: a long file becomes one, thousands of short ones share one.

A shard is named by the contents of its files and by how they were treated; which rows are of
which file is in its metadata, and the file and row of every spectrum in its columns.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from quasarloop.artefacts import check_folder, versions, write_atomically
from quasarloop.columns import STORED
from quasarloop.errors import DataFormatError, OutputError, reading
from quasarloop.quality import count_flags, prepare, prepare_all
from quasarloop.read import SpectraFile, open_spectra
from quasarloop.spectra import RebinnedSpectra, Spectra, concatenate
from quasarloop.store.files import (
    FLUX_COLUMNS,
    STORE_FORMAT,
    Store,
    metadata_of,
    read_shard,
    schema_of,
    shard_path,
    table_from_spectra,
)
from quasarloop.store.index import IngestReport

__all__ = [
    "NAME_LENGTH",
    "Shelf",
    "contents_of",
    "held_digest",
    "ingest_file",
    "ingest_files",
    "ingest_held",
    "take_out",
]

# Spectra read, rebinned and written at once: one row group of about 2 MB.
_BLOCK_ROWS: Final = 512
# Short files are gathered until they have so many rows. Source: our choice.
_SHARD_ROWS: Final = 4096
NAME_LENGTH: Final = 32
# Fast, and floats compress a fifth better with their bytes split.
_PARQUET_OPTIONS: Final[Mapping[str, Any]] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": [column.name for column in STORED if column.in_memory == "U"],
    "column_encoding": {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in FLUX_COLUMNS},
    "write_statistics": ["TARGETID"],
    "write_page_checksum": True,
}


@dataclass(frozen=True)
class Shelf:
    """A store, and what is known of it when files are brought in.

    Attributes:
        store: where shards are written.
        shards: digest of a file -> the shard that holds it.
        n_rows: shard -> rows it was written with, where known.
        format: of the files, where they are read by specutils (`read.read_spectra`).
    """

    store: Store
    shards: Mapping[str, str] = field(default_factory=dict)
    n_rows: Mapping[str, int] = field(default_factory=dict)
    format: str = ""

    def find(self, digest: str) -> str:
        """Return the shard that holds the content of a file, empty if none does."""
        alone = shard_name([digest], self.store)
        there = shard_path(self.store.path, alone).exists()
        return alone if there else self.shards.get(digest, "")


@dataclass
class _Pack:
    """Short files of one shard; their rows wait until there are enough to rebin together."""

    store: Store
    files: list[tuple[str, str, int]] = field(default_factory=list)  # path, digest, rows
    waiting: list[Spectra] = field(default_factory=list)
    n_waiting: int = 0
    n_rows: int = 0
    rebinned: list[RebinnedSpectra] = field(default_factory=list)

    def add(self, path: str, digest: str, parts: Sequence[Spectra]) -> None:
        """Take in the rows of a file."""
        n_rows = sum(map(len, parts))
        self.files.append((path, digest, n_rows))
        self.waiting += parts
        self.n_waiting += n_rows
        self.n_rows += n_rows

    def settle(self) -> dict[str, IngestReport]:
        """Rebin rows if there are enough, and write the shard; return path -> report of those."""
        if self.n_waiting >= _BLOCK_ROWS:
            self._rebin()
        return self.write() if self.n_rows >= _SHARD_ROWS else {}

    def write(self) -> dict[str, IngestReport]:
        """Write the shard and empty the pack; return path -> report."""
        if not self.files:
            return {}
        if self.waiting:
            self._rebin()
        spectra = concatenate(self.rebinned)
        lengths = {digest: n for _, digest, n in self.files}
        if len(self.files) == 1:
            ((path, digest, _),) = self.files
            found = {path: _write(self.store, path, digest, _cut(spectra))}
        else:
            name = _write_joint(self.store, lengths, spectra)
            flags = np.split(spectra.flags, np.cumsum(list(lengths.values()))[:-1])
            found = {
                path: IngestReport(path, name, n, count_flags(own), digest=digest)
                for (path, digest, n), own in zip(self.files, flags, strict=True)
            }
        self.files.clear()
        self.rebinned.clear()
        self.n_rows = 0
        return found

    def _rebin(self) -> None:
        grid, mend = self.store.grid, self.store.mend_outliers
        self.rebinned.append(prepare_all(self.waiting, grid, mend_outliers=mend))
        self.waiting.clear()
        self.n_waiting = 0


_grid_record = lru_cache(maxsize=8)(asdict)  # of every file's name


def shard_name(digests: Sequence[str], store: Store) -> str:
    """Return the name of the shard of files with these contents, in this order."""
    held = digests[0] if len(digests) == 1 else list(digests)
    content = [held, _grid_record(store.grid), store.mend_outliers, STORE_FORMAT]
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:NAME_LENGTH]


def contents_of(shard: Path) -> dict[str, int]:
    """Return digest -> rows of the files of a shard, in order.

    Raises:
        DataFormatError: missing, damaged, or no shard.
    """
    with (
        reading(shard, "a shard", "delete it and ingest its files again"),
        pq.ParquetFile(shard) as parquet,
    ):
        content = metadata_of(parquet.schema_arrow, str(shard))
        if "source" in content:
            return {content["source"]["content_sha256"]: parquet.metadata.num_rows}
        return dict(zip(content["files"]["sha256"], content["files"]["n_rows"], strict=True))


def ingest_file(path: str | Path, store: Store, format: str = "") -> IngestReport:  # noqa: A002
    """Make the shard of one file, unless it is there; memory does not grow with its rows.

    Raises:
        DataFormatError: the file is not readable as spectra.
        OutputError: the shard cannot be written.
    """
    (found,) = _ingested([str(path)], Shelf(store, format=format))
    if isinstance(found, str):
        raise DataFormatError(found)
    return found


def ingest_files(paths: Sequence[str], shelf: Shelf) -> list[IngestReport | str] | OutputError:
    """Bring one file of any length into a store, or several short ones into common shards.

    Returns:
        The report of each file or what is wrong with it: a bad file is bad however often it is
        tried. A store that cannot be written is no fault of the files: the run has to end, or
        spectra would be missing from the store.
    """
    try:
        return _ingested(paths, shelf)
    except OutputError as exc:
        return exc


def _ingested(paths: Sequence[str], shelf: Shelf) -> list[IngestReport | str]:
    found: dict[str, IngestReport | str] = {}
    pack = _Pack(shelf.store)
    seen: set[str] = set()
    copies: dict[str, str] = {}
    reader = _ShelfReader(shelf)
    for path in paths:
        try:
            with open_spectra(path, shelf.format) as file:
                digest = file.digest()
                if shard := shelf.find(digest):
                    found[path] = reader.report(path, digest, shard)
                elif digest in seen:
                    copies[path] = digest
                elif len(paths) == 1:
                    blocks = (_prepared(block, shelf.store) for block in _blocks(file))
                    found[path] = _write(shelf.store, path, digest, blocks)
                else:
                    pack.add(path, digest, list(_blocks(file)))
                    seen.add(digest)
        except DataFormatError as exc:
            found[path] = str(exc)
        found |= pack.settle()
    found |= pack.write()
    first = {r.digest: r for r in found.values() if isinstance(r, IngestReport)}
    for path, digest in copies.items():
        found[path] = replace(first[digest], source=path, skipped=True)
    return [found[path] for path in paths]


def ingest_held(name: str, digest: str, spectra: Spectra, shelf: Shelf) -> IngestReport:
    """Make the shard of spectra in memory, unless it is there.

    Args:
        name: what they are called in place of a path.
        digest: `held_digest` of them.
        spectra: as observed.
        shelf: where to.

    Raises:
        OutputError: the shard cannot be written.
    """
    if shard := shelf.find(digest):
        return _ShelfReader(shelf).report(name, digest, shard)
    return _write(shelf.store, name, digest, [_prepared(spectra, shelf.store)])


def held_digest(spectra: Spectra) -> str:
    """Return the SHA-256 of all that spectra in memory hold."""
    digest = sha256(spectra.source.encode())
    pixels = [part for arm in spectra.arms for part in (arm.wave_aa, arm.flux, arm.ivar)]
    for array in (*pixels, spectra.flags, spectra.row, *spectra.keys.columns().values()):
        digest.update(
            f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        )
    return digest.hexdigest()


def _prepared(spectra: Spectra, store: Store) -> RebinnedSpectra:
    return prepare(spectra, store.grid, mend_outliers=store.mend_outliers)


def _blocks(file: SpectraFile) -> Iterator[Spectra]:
    try:
        yield from file.blocks(_BLOCK_ROWS, masks=False)
    except OSError as exc:  # of this file, not of the shard that is being written
        raise DataFormatError(f"{file.path}: cannot be read ({exc.strerror or exc})") from exc


def _write(store: Store, path: str, digest: str, blocks: Iterable[RebinnedSpectra]) -> IngestReport:
    """Write the shard of one file, block by block."""
    name = shard_name([digest], store)
    source = {"path": path, "content_sha256": digest}
    flags = _write_shard(store, name, {"source": source}, blocks)
    return IngestReport(path, name, len(flags), count_flags(flags), digest=digest)


def _write_joint(store: Store, lengths: Mapping[str, int], spectra: RebinnedSpectra) -> str:
    """Write the shard of several contents (digest -> rows, in order); return its name."""
    name = shard_name(list(lengths), store)
    files = {"sha256": list(lengths), "n_rows": list(lengths.values())}
    _write_shard(store, name, {"files": files}, _cut(spectra))
    return name


def _cut(spectra: RebinnedSpectra) -> Iterator[RebinnedSpectra]:
    for start in range(0, len(spectra), _BLOCK_ROWS):
        yield spectra[start : start + _BLOCK_ROWS]


def _write_shard(
    store: Store, name: str, content: Mapping[str, Any], blocks: Iterable[RebinnedSpectra]
) -> NDArray[np.int32]:
    """Write a shard whole or not at all; return the flags of its rows."""
    target = shard_path(store.path, name)
    schema = schema_of(store.grid, {**content, "versions": versions()})
    flags = [np.empty(0, np.int32)]
    check_folder(target.parent)
    with (
        write_atomically(target) as temporary,
        pq.ParquetWriter(temporary, schema, **_PARQUET_OPTIONS) as writer,
    ):
        for block in blocks:
            writer.write_table(table_from_spectra(block, schema))
            flags.append(block.flags)
    return np.concatenate(flags)


class _ShelfReader:
    """Reports of files that are in the store already; every shard is read once."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._flags: dict[str, dict[str, NDArray[np.int32]]] = {}

    def report(self, path: str, digest: str, shard: str) -> IngestReport:
        """Report a file whose content a shard holds.

        Raises:
            DataFormatError: the shard is damaged, or has lost rows.
        """
        if shard not in self._flags:
            self._flags[shard] = self._read(path, shard)
        flags = self._flags[shard][digest]
        return IngestReport(path, shard, len(flags), count_flags(flags), True, digest)

    def _read(self, path: str, shard: str) -> dict[str, NDArray[np.int32]]:
        file = shard_path(self._shelf.store.path, shard)
        flags = read_shard(file, with_flux=False, by_index=False).flags
        contents = contents_of(file)
        written = self._shelf.n_rows.get(shard, sum(contents.values()))
        if len(flags) != written or len(flags) != sum(contents.values()):
            raise DataFormatError(
                f"{path}: its shard {file} has lost rows; delete it, and ingest again"
            )
        parts = np.split(flags, np.cumsum(list(contents.values()))[:-1])
        return dict(zip(contents, parts, strict=True))


def take_out(store: Store, name: str, unwanted: set[str]) -> tuple[str, dict[str, int]]:
    """Write a shard anew without some of its contents; the former one stays.

    Args:
        store: whose shard it is.
        name: the shard.
        unwanted: digests of the contents, or the shard's own name.

    Returns:
        Name and contents (digest -> rows) of the new shard; empty if nothing is left.

    Raises:
        DataFormatError: the shard is damaged.
        OutputError: the new one cannot be written.
    """
    file = shard_path(store.path, name)
    contents = contents_of(file)
    kept = {digest: n for digest, n in contents.items() if digest not in unwanted}
    if not kept or name in unwanted:
        return "", {}
    of_kept = np.repeat([digest in kept for digest in contents], list(contents.values()))
    spectra = read_shard(file, rows=of_kept, by_index=False)
    if len(kept) > 1:
        return _write_joint(store, kept, spectra), kept
    (digest,) = kept
    return _write(store, str(spectra.source[0]), digest, _cut(spectra)).shard, kept
