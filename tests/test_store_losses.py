"""Spectra that a store has lost are missed: rows, pages, shards, rows of tables beside them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quasarloop.ensemble.shard_tables import Kind, TablesWriter, open_tables, shard_file
from quasarloop.errors import DataFormatError
from quasarloop.store import count_rows, ingest, iter_store, load_targets, open_store, read_shard


@pytest.fixture
def files(tmp_path, spectrum_files):
    return [
        spectrum_files.write_coadd(tmp_path / "coadd-1.fits"),
        spectrum_files.write_coadd(tmp_path / "coadd-2.fits", seed=7),
    ]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setattr("quasarloop.store.ingestion.PACK_FILES", 1)


@pytest.fixture
def store(tmp_path, files):
    ingest(files, tmp_path / "store")
    return open_store(tmp_path / "store")


def cut(path, n_rows):
    """Write a Parquet file again with fewer rows, and all that it knows about itself."""
    pq.write_table(pq.read_table(path).slice(0, n_rows), path)


@pytest.mark.parametrize("n_rows", [0, 1, 3])
@pytest.mark.parametrize(
    "read",
    [
        lambda store, shard: read_shard(shard),
        lambda store, shard: read_shard(shard, with_flux=False, rows=slice(0, 1)),
        lambda store, shard: count_rows(shard),
        lambda store, shard: store.n_rows,
        lambda store, shard: list(iter_store(store)),
        lambda store, shard: load_targets(store, [101]),
    ],
)
def test_rows_cut_off_are_missed(store, read, n_rows):
    shard = store.shards[1]
    cut(shard, n_rows)
    with pytest.raises(DataFormatError, match=f"{shard}: {n_rows} rows, but index.jsonl .* has 4"):
        read(open_store(store.path), shard)


def test_ingest_does_not_accept_a_shard_that_lost_rows(store, files):
    shard = store.shards[0]
    cut(shard, 2)
    moved = [file.rename(file.with_name(f"moved-{file.name}")) for file in files]
    summary = ingest(moved, store.path)
    assert [f"{shard} has lost rows" in text for text in summary.failures.values()] == [True]
    shard.unlink()
    assert not ingest(moved, store.path).failures
    assert open_store(store.path).n_rows == 8


def test_a_wrong_number_in_the_index_is_overruled_by_a_shard_made_anew(store, files):
    index = store.path / "index.jsonl"
    index.write_text(index.read_text().replace('": 4}', '": 5}'))
    with pytest.raises(DataFormatError, match=r"4 rows, but index\.jsonl of its store has 5"):
        read_shard(store.shards[0])
    for shard in store.shards:
        shard.unlink()
    assert ingest(files, store.path).n_rows == 8
    assert open_store(store.path).n_rows == 8


def test_a_lost_shard_is_missed(store, files):
    lost, kept = store.shards
    lost.unlink()
    with pytest.raises(DataFormatError, match=f"1 shards are missing .first: {lost.name}"):
        list(iter_store(open_store(store.path)))
    index = store.path / "index.jsonl"
    known = index.read_text()
    index.unlink()
    assert open_store(store.path).shards == (kept,)
    index.write_text(known)
    ingest(files, store.path)
    assert open_store(store.path).shards == (lost, kept)


def test_lines_of_the_index_that_hold_no_numbers_are_ignored(store):
    index = store.path / "index.jsonl"
    first = json.loads(index.read_text().splitlines()[0])
    odd = [{"shards": {"x": "7"}}, {"shards": {"x": None}}, {"shards": ["x"]}, {"files": 3}]
    with index.open("a") as stream:
        stream.writelines(json.dumps(first | change) + "\n" for change in odd)
    assert open_store(store.path).n_rows == 8


def test_a_bit_flipped_inside_a_page_is_found(store):
    shard = store.shards[0]
    raw = bytearray(shard.read_bytes())
    flux = pq.read_metadata(shard).row_group(0).column(pq.read_schema(shard).names.index("FLUX"))
    raw[flux.data_page_offset + flux.total_compressed_size // 2] ^= 1
    shard.write_bytes(raw)
    with pytest.raises(DataFormatError, match=rf"{shard.name}: cannot be read as a shard .*CRC"):
        read_shard(shard)


def test_tables_beside_a_store_miss_their_rows(store, tmp_path):
    kind = Kind("votes", "votes.json", "quasarloop ensemble vote")
    writer = TablesWriter(tmp_path / "votes", kind, store, {"plan": 1})
    for shard in store.shards:
        table = pa.table({"ROW": np.arange(4)})
        pq.write_table(table, shard_file(writer.folder, shard))
    writer.finish()
    assert open_tables(writer.folder, kind)[2] == 8
    cut(shard_file(writer.folder, store.shards[1]), 3)
    with pytest.raises(DataFormatError, match=f"{store.shards[1].name}: 3 rows, but votes.json"):
        open_tables(writer.folder, kind)
