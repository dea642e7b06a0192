"""The store: rebinned spectra in Parquet shards, written once, scanned without loading.

What needs pyarrow is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quasarloop.store.index import IngestReport, is_store

if TYPE_CHECKING:
    from quasarloop.store.files import (
        Store,
        count_rows,
        create_store,
        fingerprint,
        iter_store,
        load_targets,
        open_store,
        read_shard,
        shard_path,
    )
    from quasarloop.store.ingestion import IngestSummary, ingest
    from quasarloop.store.packs import ingest_file

__all__ = [
    "IngestReport",
    "IngestSummary",
    "Store",
    "count_rows",
    "create_store",
    "fingerprint",
    "ingest",
    "ingest_file",
    "is_store",
    "iter_store",
    "load_targets",
    "open_store",
    "read_shard",
    "shard_path",
]

_HOMES = {"IngestSummary": "ingestion", "ingest": "ingestion", "ingest_file": "packs"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'files')}"), name)
