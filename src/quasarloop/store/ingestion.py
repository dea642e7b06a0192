"""Ingest: from survey files to shards of a store, in parallel, resumable after a kill.

Every shard is written whole or not at all. An index beside the shards (`store.index`) remembers
which files are there already.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from quasarloop.arrays import MEMORY
from quasarloop.artefacts import check_folder, locked_folder, versions, write_atomically
from quasarloop.columns import STORED
from quasarloop.engine import Engine, run_tasks
from quasarloop.errors import DataFormatError, OutputError
from quasarloop.grid import LOG_GRID, WaveGrid
from quasarloop.quality import count_flags, prepare
from quasarloop.read import Sources, content_digest, is_path, iter_spectra, list_sources
from quasarloop.spectra import Flag, Spectra
from quasarloop.store.files import (
    FLUX_COLUMNS,
    STORE_FORMAT,
    Store,
    create_store,
    read_shard,
    schema_of,
    shard_path,
    table_from_spectra,
)
from quasarloop.store.index import INDEX_NAME, Index, IngestReport, file_key

__all__ = ["IngestSummary", "ingest", "ingest_file"]

_LOG = logging.getLogger(__name__)

# Spectra read, rebinned and written at once: one row group of about 2 MB.
_BLOCK_ROWS: Final = 512
_NAME_LENGTH: Final = 32
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
class IngestSummary:
    """What became of all files.

    Attributes:
        reports: of the files that are in the store now, in the order given.
        failures: path -> why it could not be ingested.
    """

    reports: tuple[IngestReport, ...]
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """Spectra of all files that are in the store now."""
        return sum(report.n_rows for report in self.reports)

    @property
    def n_skipped(self) -> int:
        """Files whose shards were there already."""
        return sum(report.skipped for report in self.reports)

    @property
    def flags(self) -> dict[str, int]:
        """Rows per flag over all reports, in bit order, only those that occur."""
        total: Counter[str] = Counter()
        for report in self.reports:
            total.update(report.flags)
        return {str(flag.name): total[str(flag.name)] for flag in Flag if total[str(flag.name)]}


def ingest(
    files: Sources,
    store_dir: str | Path,
    grid: WaveGrid = LOG_GRID,
    *,
    mend_outliers: bool = True,
    format: str = "",  # noqa: A002 -- as in astropy
    engine: Engine | None = None,
    on_file: Callable[[str, IngestReport | str], None] | None = None,
) -> IngestSummary:
    """Bring files into a store; those already there are skipped, a bad one stops nothing.

    Args:
        files: spectra of any known format; or in memory (`read.spectra_from_memory`).
        store_dir: the store; made if absent.
        grid: the bins of the whole store.
        mend_outliers: give impossible pixels ivar 0 (`quality.prepare`), in the whole store.
        format: of the files, where they are read by specutils (`read.read_spectra`).
        engine: where to work; this process by default.
        on_file: called with each path and its report (or what is wrong), as they come.

    Returns:
        One report per good file; failures by path.

    Raises:
        GridError: the store has another grid.
        DataFormatError: its outliers were treated in the other way.
        OutputError: the store cannot be written.
    """
    given = list_sources(files)
    held = {f"{MEMORY}:{_digest(s)[:_NAME_LENGTH]}": s for s in given if isinstance(s, Spectra)}
    if len(held) < sum(not is_path(thing) for thing in given):
        raise DataFormatError("ingest takes files and spectra as observed, each once")
    paths = [str(path) for path in given if is_path(path)]
    store = create_store(store_dir, grid, mend_outliers=mend_outliers)
    report = on_file or (lambda path, outcome: None)
    index = Index.read(store.path / INDEX_NAME)
    keys = {path: format + file_key(path) for path in paths} | {name: f"{name}||" for name in held}
    outcomes: dict[str, IngestReport | str] = {}
    for path, key in keys.items():
        known = index.reports.get(key)
        if known is not None and shard_path(store.path, known.shard).exists():
            outcomes[path] = known
            report(path, known)
    todo = [path for path in keys if path not in outcomes]
    with locked_folder(store.path), (store.path / INDEX_NAME).open("a", encoding="utf-8") as stream:

        def keep(path: str, outcome: IngestReport | str | OutputError) -> None:
            if isinstance(outcome, OutputError):
                raise outcome
            if isinstance(outcome, IngestReport) and index.disagrees(outcome):
                shard = shard_path(store.path, outcome.shard)
                outcome = f"{path}: its shard {shard} has lost rows; delete it, and ingest again"
            outcomes[path] = outcome
            if isinstance(outcome, IngestReport):
                stream.write(json.dumps({"key": keys[path], **asdict(outcome)}) + "\n")
                stream.flush()
                former = index.replace(keys[path], outcome)
                if former:
                    _LOG.warning("%s has changed: its former shard %s is removed", path, former)
                    shard_path(store.path, former).unlink(missing_ok=True)
            report(path, outcome)

        for name in [name for name in todo if name in held]:
            keep(name, _write_shard(name, _digest(held[name]), [held[name]], store))
        todo = [path for path in todo if path not in held]
        shared = (store, format)
        done = run_tasks(_ingest_task, todo, engine=engine, shared=shared, on_result=keep)
    found = {path: outcomes[path] for path in keys if path in outcomes}
    failures = {path: text for path, text in found.items() if isinstance(text, str)}
    reports = tuple(entry for entry in found.values() if isinstance(entry, IngestReport))
    return IngestSummary(reports, failures | done.failures)


def ingest_file(path: str | Path, store: Store, format: str = "") -> IngestReport:  # noqa: A002
    """Make the shard of one file, unless it is there; memory does not grow with its rows.

    Raises:
        DataFormatError: the file is not readable as spectra.
        OutputError: the shard cannot be written.
    """
    digest = content_digest(path, format)
    return _write_shard(str(path), digest, _blocks(path, format), store)


def _write_shard(path: str, digest: str, blocks: Iterable[Spectra], store: Store) -> IngestReport:
    name = _shard_name(digest, store)
    target = shard_path(store.path, name)
    if target.exists():
        flags = read_shard(target, with_flux=False, by_index=False).flags
        return IngestReport(path, name, len(flags), count_flags(flags), skipped=True)
    source = {"path": path, "content_sha256": digest}
    schema = schema_of(store.grid, {"source": source, "versions": versions()})
    counts: Counter[str] = Counter()
    n_rows = 0
    check_folder(target.parent)
    with (
        write_atomically(target) as temporary,
        pq.ParquetWriter(temporary, schema, **_PARQUET_OPTIONS) as writer,
    ):
        for block in blocks:
            rebinned = prepare(block, store.grid, mend_outliers=store.mend_outliers)
            writer.write_table(table_from_spectra(rebinned, schema))
            counts.update(count_flags(rebinned.flags))
            n_rows += len(rebinned)
    return IngestReport(path, name, n_rows, dict(counts))


def _blocks(path: str | Path, file_format: str) -> Iterator[Spectra]:
    try:
        yield from iter_spectra(path, _BLOCK_ROWS, masks=False, format=file_format)
    except OSError as exc:  # of this file, not of the shard that is being written
        raise DataFormatError(f"{path}: cannot be read ({exc.strerror or exc})") from exc


def _ingest_task(path: str, shared: tuple[Store, str]) -> IngestReport | str | OutputError:
    # A bad file is bad however often it is tried: it comes back as its message. A store that cannot
    # be written is no fault of the file: the run ends, or spectra would be missing from the store.
    try:
        return ingest_file(path, *shared)
    except DataFormatError as exc:
        return str(exc)
    except OutputError as exc:
        return exc


def _digest(spectra: Spectra) -> str:
    """Return the SHA-256 of all that spectra in memory hold."""
    digest = sha256(spectra.source.encode())
    pixels = [part for arm in spectra.arms for part in (arm.wave_aa, arm.flux, arm.ivar)]
    for array in (*pixels, spectra.flags, spectra.row, *spectra.keys.columns().values()):
        digest.update(
            f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        )
    return digest.hexdigest()


def _shard_name(digest: str, store: Store) -> str:
    content = [digest, asdict(store.grid), store.mend_outliers, STORE_FORMAT]
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_NAME_LENGTH]
