"""The store's index: which file (path, size, time) became which shard, with how many rows.

Thanks to it thousands of files that are there already are skipped without opening one, and a shard
that has lost rows, or is lost itself, is found. It is written line by line, after each shard.
"""

import json
import operator
import os
from collections.abc import Container
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

__all__ = ["INDEX_NAME", "Index", "IngestReport", "file_key", "index_of"]

INDEX_NAME: Final = "index.jsonl"


@dataclass(frozen=True)
class IngestReport:
    """What became of one file.

    Attributes:
        source: its path, as given.
        shard: name of its shard.
        n_rows: spectra in it.
        flags: name of flag -> rows that have it.
        skipped: True if the shard was there already.
    """

    source: str
    shard: str
    n_rows: int
    flags: dict[str, int]
    skipped: bool = False


def file_key(path: str) -> str:
    """Path, size and time of a file: changes whenever the file does."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- called for every file: Path objects cost more
    except OSError:
        return ""
    return f"{os.path.abspath(path)}|{status.st_size}|{status.st_mtime_ns}"  # noqa: PTH100 -- as above


@dataclass(frozen=True)
class Index:
    """Which file became which shard.

    Attributes:
        reports: file key -> its report.
        latest: path -> shard its file became last.
        n_rows: shard -> rows it was written with.
    """

    reports: dict[str, IngestReport]
    latest: dict[str, str]
    n_rows: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> "Index":
        """Read an index; one that is absent is empty."""
        index = cls({}, {}, {})
        lines = path.read_bytes().splitlines() if path.exists() else []
        for line in lines:
            try:
                entry = json.loads(line)
                key = entry.pop("key")
                report = IngestReport(**entry | {"skipped": True})
                index.n_rows[os.fspath(report.shard)] = operator.index(report.n_rows)
                index.latest[_path_of(key)] = report.shard
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue  # a line torn by a kill: its file is simply looked at again
            index.reports[key] = report
        return index

    def replace(self, key: str, report: IngestReport) -> str:
        """Note a file's shard; return the one its former content left, unless shared."""
        path = _path_of(key)
        former = self.latest.get(path, "")
        self.latest[path] = report.shard
        kept = former in ("", report.shard) or former in self.latest.values()
        return "" if kept else former

    def disagrees(self, report: IngestReport) -> bool:
        """Return whether a shard that was there has not the rows it was written with."""
        return report.skipped and self.n_rows.get(report.shard, report.n_rows) != report.n_rows

    def lost(self, names: Container[str]) -> list[str]:
        """Return the shards of files that are not among these names."""
        return sorted({name for name in self.latest.values() if name not in names})


def index_of(folder: Path) -> Index:
    """Return the index of a store, read again only when it has changed."""
    path = folder / INDEX_NAME
    try:
        status = path.stat()
    except OSError:
        return Index({}, {}, {})
    return _index_as_of(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _index_as_of(path: Path, _time_ns: int, _size: int) -> Index:
    return Index.read(path)


def _path_of(key: str) -> str:
    return key.rsplit("|", 2)[0]
