"""Damage in a store, folders that are none, output that cannot be: each is named."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quasarloop.errors import DataFormatError, OutputError
from quasarloop.grid import LOG_GRID
from quasarloop.store import (
    create_store,
    ingest,
    is_store,
    open_store,
    read_shard,
)

pytestmark = pytest.mark.usefixtures("one_file_a_task")


def test_damage_is_named(tmp_path, survey):
    ingest(survey, tmp_path / "store")
    store = open_store(tmp_path / "store")
    shard = store.shards[0]
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(DataFormatError, match=r"cannot be read as a shard .*ingest its file again"):
        read_shard(shard)
    with pytest.raises(DataFormatError, match="cannot be read as a shard"):
        read_shard(tmp_path / "absent.parquet")
    with pytest.raises(DataFormatError, match="no shard abc"):
        store.shard("abc")
    table = pq.read_table(store.shards[1])
    pq.write_table(table.replace_schema_metadata({}), tmp_path / "foreign.parquet")
    with pytest.raises(DataFormatError, match="not a shard of format"):
        read_shard(tmp_path / "foreign.parquet")


def _put(name, value, kind):
    """Replace every value of a column."""

    def change(table):
        index = table.schema.get_field_index(name)
        return table.set_column(index, name, pa.array([value] * len(table), kind))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["FLAGS"]), "column FLAGS is missing; expected int32"),
        (lambda t: t.drop_columns(["FLUX"]), "column FLUX is missing"),
        (_put("IVAR", [1.0], pa.list_(pa.float32())), "column IVAR is of type list"),
        (_put("TARGETID", None, pa.int64()), "column TARGETID has 4 missing values"),
        (
            _put("FLUX", [3e38] * 443, pa.list_(pa.float32(), 443)),
            r"row 0: flux of 3e\+38, not normalised",
        ),
    ],
)
def test_a_shard_whose_content_is_damaged_is_named(tmp_path, survey, change, message):
    ingest(survey, tmp_path / "store")
    shard = open_store(tmp_path / "store").shards[0]
    pq.write_table(change(pq.read_table(shard)), shard)
    with pytest.raises(DataFormatError, match=f"{shard.name}: .*{message}"):
        read_shard(shard)
    shard.write_bytes(shard.read_bytes()[:-9] + b"\xff" * 9)
    with pytest.raises(DataFormatError, match=shard.name):
        _ = open_store(tmp_path / "store").n_rows


def test_what_is_no_store(tmp_path):
    assert not is_store(tmp_path)
    with pytest.raises(DataFormatError, match=r"is no store \(no store\.json\)"):
        open_store(tmp_path)
    create_store(tmp_path / "new", LOG_GRID)
    assert is_store(tmp_path / "new")
    manifest = tmp_path / "new" / "store.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(DataFormatError, match="store format 99"):
        open_store(tmp_path / "new")
    manifest.write_text(json.dumps(content | {"grid": {"kind": "log"}}))
    with pytest.raises(DataFormatError, match="no wavelength grid"):
        open_store(tmp_path / "new")


def test_output_that_cannot_be(tmp_path, survey):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot make the folder"):
        ingest(survey, tmp_path / "file")
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(OutputError, match="no permission"):
            ingest(survey, tmp_path / "locked")
