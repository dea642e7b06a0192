"""The store: rebinned spectra in Parquet shards, written once, scanned without loading."""

from quasarloop.store.files import (
    Store,
    count_rows,
    create_store,
    fingerprint,
    is_store,
    iter_store,
    load_targets,
    open_store,
    read_shard,
    shard_path,
)
from quasarloop.store.index import IngestReport
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
