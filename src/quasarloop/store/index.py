"""The store's index: which file (path, size, time) is in which shard, and every shard's rows.

Thanks to it thousands of files that are there already are skipped without opening one, and a shard
that has lost rows, or is lost itself, is found. It is written line by line, after each task.
"""

import json
import operator
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, TextIO

__all__ = [
    "INDEX_NAME",
    "MANIFEST",
    "Index",
    "IngestReport",
    "file_key",
    "file_size",
    "index_of",
    "is_store",
]

INDEX_NAME: Final = "index.jsonl"
MANIFEST: Final = "store.json"


def is_store(path: str | Path) -> bool:
    """Return whether the folder is a store."""
    return (Path(path) / MANIFEST).is_file()


@dataclass(frozen=True)
class IngestReport:
    """What became of one file.

    Attributes:
        source: its path, as given.
        shard: name of its shard.
        n_rows: spectra in it.
        flags: name of flag -> rows that have it.
        skipped: True if its spectra were in the store already.
        digest: of its content (`read.content_digest`); empty in indexes of earlier versions.
    """

    source: str
    shard: str
    n_rows: int
    flags: dict[str, int]
    skipped: bool = False
    digest: str = ""

    @property
    def content(self) -> str:
        """What is stored once: the digest, or the shard where only that is known."""
        return self.digest or self.shard


def file_key(path: str) -> str:
    """Path, size and time of a file: changes whenever the file does."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- called for every file: Path objects cost more
    except OSError:
        return ""
    return f"{os.path.abspath(path)}|{status.st_size}|{status.st_mtime_ns}"  # noqa: PTH100 -- as above


def file_size(key: str) -> int:
    """Return the bytes of a file, from its key; 0 where it is missing."""
    parts = key.rsplit("|", 2)[1:]
    return int(parts[0]) if parts else 0


@dataclass
class Index:
    """Which files are in which shards.

    Attributes:
        reports: file key -> its report.
        latest: path -> report of the content its file had last.
        n_rows: shard -> rows it was written with.
        failed: keys of files that could not be read.
        ever: (shard, content) of all that was written.
    """

    reports: dict[str, IngestReport] = field(default_factory=dict)
    latest: dict[str, IngestReport] = field(default_factory=dict)
    n_rows: dict[str, int] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    ever: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> "Index":
        """Read an index; one that is absent is empty."""
        index = cls()
        for line in path.read_bytes().splitlines() if path.exists() else []:
            try:
                content = json.loads(line)
                if "key" in content:  # of earlier versions: one file, one shard
                    content = {"shards": {content["shard"]: content["n_rows"]}, "files": [content]}
                shards = {os.fspath(k): operator.index(v) for k, v in content["shards"].items()}
                files = {entry.pop("key"): IngestReport(**entry) for entry in content["files"]}
                failed = {*content.get("failed", ())}
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue  # a line torn by a kill: its files are simply looked at again
            index.add(files, shards, failed)
        return index

    def add(
        self, files: Mapping[str, IngestReport], shards: Mapping[str, int], failed: Iterable[str]
    ) -> None:
        """Take in files by their keys, rows by shard, and keys of files that failed."""
        self.n_rows |= shards
        self.failed |= set(failed)
        for key, report in files.items():
            self.reports[key] = self.latest[_path_of(key)] = replace(report, skipped=True)
            self.ever.add((report.shard, report.content))

    def write(
        self,
        stream: TextIO,
        files: Mapping[str, IngestReport],
        shards: Mapping[str, int],
        failed: Sequence[str] = (),
    ) -> None:
        """Take in what `add` does, and write it as one line: whole, or not there at all."""
        self.add(files, shards, failed)
        entries = [{"key": key, **vars(report)} for key, report in files.items()]
        content = {"shards": dict(shards), "files": entries, "failed": list(failed)}
        stream.write(json.dumps(content) + "\n")
        stream.flush()

    def homes(self, order: Iterable[str]) -> dict[str, str]:
        """Return content -> the shard that holds it.

        Args:
            order: keys; of shards that hold the same content, it is that of the first file.
        """
        found: dict[str, str] = {}
        for path in (*map(_path_of, order), *self.latest):
            report = self.latest.get(path)
            if report is not None:
                found.setdefault(report.content, report.shard)
        return found

    def of_shard(self, name: str) -> dict[str, IngestReport]:
        """Return key -> report of the files whose present content the shard holds."""
        return {
            key: report
            for key, report in self.reports.items()
            if report.shard == name and self.latest[_path_of(key)] is report
        }

    def lost(self, names: Container[str]) -> list[str]:
        """Return the shards of files that are not among these names."""
        return sorted({r.shard for r in self.latest.values() if r.shard not in names})


def index_of(folder: Path) -> Index:
    """Return the index of a store, read again only when it has changed."""
    path = folder / INDEX_NAME
    try:
        status = path.stat()
    except OSError:
        return Index()
    return _index_as_of(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _index_as_of(path: Path, _time_ns: int, _size: int) -> Index:
    return Index.read(path)


def _path_of(key: str) -> str:
    return key.rsplit("|", 2)[0]
