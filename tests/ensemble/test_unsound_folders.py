"""Folders of ensembles and of tables that are of another version, or changed afterwards."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quasarloop.ensemble.manifest import open_ensemble, write_ensemble_manifest
from quasarloop.ensemble.shard_tables import Kind, open_tables
from quasarloop.errors import DataFormatError, WeightsError
from quasarloop.network.config import NetworkConfig

KIND = Kind("votes", "votes.json", "quasarloop ensemble vote")


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 99}, "ensemble format 99; this version reads 1"),
        ({"members": []}, "lists no member"),
        ({"training": []}, "training and versions must be objects"),
        ({"members": [{}]}, "restore it, or train the ensemble again"),
    ],
)
def test_an_ensemble_of_another_kind_is_named(tmp_path, changes, words):
    entries = [{"file": "members/0000.h5", "sha256": "0"}]
    write_ensemble_manifest(tmp_path, NetworkConfig(), entries, {})
    rewrite(tmp_path / "ensemble.json", **changes)
    with pytest.raises(WeightsError, match=re.escape(str(tmp_path / "ensemble.json"))) as caught:
        open_ensemble(tmp_path)
    assert words in str(caught.value)


def test_tables_of_another_kind_are_named(tmp_path):
    entries = [{"file": "a.parquet", "n_rows": 3}]
    (tmp_path / "votes.json").write_text(json.dumps({"format": 1, "files": entries}))
    pq.write_table(pa.table({"ROW": [0, 1, 2]}), tmp_path / "a.parquet")
    assert open_tables(tmp_path, KIND)[1:] == ((tmp_path / "a.parquet",), 3)
    pq.write_table(pa.table({"ROW": [0, 1]}), tmp_path / "a.parquet")
    with pytest.raises(DataFormatError, match=r"a\.parquet: 2 rows, but votes\.json has 3"):
        open_tables(tmp_path, KIND)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataFormatError, match=r"a\.parquet.*delete it, and run"):
        open_tables(tmp_path, KIND)
    rewrite(tmp_path / "votes.json", format=2)
    with pytest.raises(DataFormatError, match=r"votes\.json.*votes format 2; this version reads 1"):
        open_tables(tmp_path, KIND)
    (tmp_path / "votes.json").unlink()
    with pytest.raises(DataFormatError, match=r"no finished votes \(no votes\.json\)"):
        open_tables(tmp_path, KIND)
