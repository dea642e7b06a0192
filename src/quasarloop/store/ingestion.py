"""Ingest: survey files into a store, in parallel, resumable after a kill.

Every shard is written whole or not at all. An index beside the shards (`store.index`) remembers
which files are there already. Files are cut into tasks by their list alone, and a task's files
enter the index together: what a killed run left over is cut into the same tasks again.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TextIO

from quasarloop.arrays import MEMORY
from quasarloop.artefacts import locked_folder
from quasarloop.engine import Engine, open_session
from quasarloop.errors import DataFormatError, OutputError
from quasarloop.grid import LOG_GRID, WaveGrid
from quasarloop.read import Sources, is_path, list_sources
from quasarloop.spectra import Flag, Spectra
from quasarloop.store.files import Store, create_store, shard_files, shard_path
from quasarloop.store.index import INDEX_NAME, Index, IngestReport, file_key, file_size
from quasarloop.store.packs import (
    NAME_LENGTH,
    Shelf,
    contents_of,
    held_digest,
    ingest_files,
    ingest_held,
    take_out,
)

__all__ = ["PACK_FILES", "IngestSummary", "ingest"]

_LOG = logging.getLogger(__name__)

# Files no longer than this share shards; a DESI coadd of hundreds of spectra is longer.
_SHORT_BYTES: Final = 32 << 20
# Files of one task, and the bytes that end a task earlier. Source: our choice; 1,024 spectra of
# one file each take some 10 s.
PACK_FILES: Final = 1024
_PACK_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class IngestSummary:
    """What became of all files.

    Attributes:
        reports: of the files that are in the store now, in the order given.
        failures: path -> why it could not be ingested.
    """

    reports: tuple[IngestReport, ...]
    failures: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return one line: reports are not printed."""
        n_files, n_bad = len(self.reports), len(self.failures)
        return f"IngestSummary({self.n_rows} spectra of {n_files} files, {n_bad} failures)"

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
    spectra = {held_digest(thing): thing for thing in given if isinstance(thing, Spectra)}
    if len(spectra) < sum(not is_path(thing) for thing in given):
        raise DataFormatError("ingest takes files and spectra as observed, each once")
    held = {f"{MEMORY}:{digest[:NAME_LENGTH]}": digest for digest in spectra}
    keys = {str(path): format + file_key(str(path)) for path in given if is_path(path)}
    keys |= {name: f"{name}||" for name in held}
    store = create_store(store_dir, grid, mend_outliers=mend_outliers)
    path = store.path / INDEX_NAME
    with locked_folder(store.path), path.open("a", encoding="utf-8") as stream:
        run = _Run(store, keys, Index.read(path), stream, on_file or (lambda path, outcome: None))
        run.take_known()
        shelf = run.shelf(format)
        for name in held.keys() & set(run.missing()):
            run.keep((name,), [ingest_held(name, held[name], spectra[held[name]], shelf)])
        with open_session(ingest_files, engine=engine, shared=shelf) as session:
            options: Any = {"name_of": _name, "on_result": run.keep, "keep": False}
            done = session.run(run.tasks(), **options)
            if done.failures:  # tried again file by file, so that the bad one is named
                done = session.run([(path,) for path in run.missing()], **options)
        run.tidy()
    found = {path: run.outcomes[path] for path in keys if path in run.outcomes}
    bad = {path: text for path, text in found.items() if isinstance(text, str)}
    reports = tuple(entry for entry in found.values() if isinstance(entry, IngestReport))
    return IngestSummary(reports, bad | done.failures)


def _name(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


@dataclass
class _Run:
    """One ingest: what is known, and what became of each file so far."""

    store: Store
    keys: Mapping[str, str]  # path -> key
    index: Index
    stream: TextIO
    on_file: Callable[[str, IngestReport | str], None]
    outcomes: dict[str, IngestReport | str] = field(default_factory=dict)

    def take_known(self) -> None:
        """Take in files that are in a shard, by the index alone."""
        existing = self._existing()
        for path, key in self.keys.items():
            known = self.index.reports.get(key)
            if known is not None and known.shard in existing:
                self._report(path, known)

    def missing(self) -> list[str]:
        """Return the files of which nothing is known yet."""
        return [path for path in self.keys if path not in self.outcomes]

    def tasks(self) -> list[tuple[str, ...]]:
        """Cut the missing files into tasks: a long one alone, short ones by the thousand.

        What failed before comes last, so that the others are cut as if it was not there.
        """
        tasks: list[tuple[str, ...]] = []
        for before in (False, True):
            short: list[str] = []
            size = 0
            for path in self.missing():
                key = self.keys[path]
                if (key in self.index.failed) != before:
                    continue
                if file_size(key) > _SHORT_BYTES:
                    tasks.append((path,))
                    continue
                short.append(path)
                size += file_size(key)
                if len(short) >= PACK_FILES or size >= _PACK_BYTES:
                    tasks.append(tuple(short))
                    short, size = [], 0
            tasks += [tuple(short)] if short else []
        return tasks

    def shelf(self, file_format: str) -> Shelf:
        """Return what the store holds, by content; shards that the index lacks are looked at.

        What others hold, too, was left there by a kill, and is taken out.
        """
        existing = self._existing()
        latest = self.index.latest.values()
        held = {r.digest: r.shard for r in latest if r.digest and r.shard in existing}
        for name in sorted(existing - self.index.n_rows.keys()):
            file = shard_path(self.store.path, name)
            contents, place = contents_of(file), name
            if repeated := contents.keys() & held.keys():
                place, contents = take_out(self.store, name, repeated)
                file.unlink()
            held |= dict.fromkeys(contents, place)
        return Shelf(self.store, held, self.index.n_rows, file_format)

    def keep(self, paths: Sequence[str], found: Sequence[IngestReport | str] | OutputError) -> None:
        """Take in what became of the files of a task."""
        if isinstance(found, OutputError):
            raise found
        outcomes = dict(zip(paths, found, strict=True))
        files = {self.keys[p]: r for p, r in outcomes.items() if isinstance(r, IngestReport)}
        rows: Counter[str] = Counter()
        for report in files.values():
            if not report.skipped:
                rows[report.shard] += report.n_rows
        for name in {r.shard for r in files.values()} - {*rows, *self.index.n_rows}:
            rows[name] = sum(contents_of(shard_path(self.store.path, name)).values())
        failed = [self.keys[path] for path, text in outcomes.items() if isinstance(text, str)]
        self.index.write(self.stream, files, rows, failed)
        for path, outcome in outcomes.items():
            self._report(path, outcome)

    def tidy(self) -> None:
        """Take out of shards what changed files left there, and what another shard holds, too."""
        homes, existing = self.index.homes(self.keys.values()), self._existing()
        surplus: dict[str, set[str]] = {}
        used = set(homes.values())
        for name, content in self.index.ever:
            # Earlier versions knew no contents: their shards of one file are named instead.
            needed = name in used if content == name else homes.get(content) == name
            if name in existing and not needed:
                surplus.setdefault(name, set()).add(content)
        for name in sorted(surplus):
            new, contents = take_out(self.store, name, surplus[name])
            moved = {
                key: replace(r, shard=homes[r.content] if r.content in surplus[name] else new)
                for key, r in self.index.of_shard(name).items()
            }
            self.index.write(self.stream, moved, {new: sum(contents.values())} if new else {})
            shard_path(self.store.path, name).unlink()
            _LOG.warning(
                "files have changed or are there twice: %d are taken out of shard %s",
                len(surplus[name]),
                name,
            )
            for path, key in self.keys.items():
                if key in moved:
                    self.outcomes[path] = moved[key]

    def _existing(self) -> set[str]:
        return {path.stem for path in shard_files(self.store.path)}

    def _report(self, path: str, outcome: IngestReport | str) -> None:
        self.outcomes[path] = outcome
        self.on_file(path, outcome)
