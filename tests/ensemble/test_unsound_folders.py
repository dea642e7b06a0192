"""Folders of ensembles and of tables that are of another version, or changed afterwards."""

import json
import re
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.network.weights_files import SMALL, random_weights

from quasarloop.artefacts import checksum
from quasarloop.classes import ThresholdOptions
from quasarloop.ensemble.manifest import (
    load_heads,
    load_members,
    member_thresholds,
    open_ensemble,
    write_ensemble_manifest,
)
from quasarloop.ensemble.shard_tables import Kind, open_tables
from quasarloop.errors import DataFormatError, WeightsError
from quasarloop.grid import LINEAR_GRID
from quasarloop.network.config import NetworkConfig
from quasarloop.network.weights import write_weights

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


def test_members_that_do_not_fit_together_are_named(tmp_path):
    entries = []
    for index, confidence in enumerate((0.5, 0.9)):
        path = tmp_path / f"{index}.h5"
        write_weights(random_weights(provenance={"thresholds": {"confidence": confidence}}), path)
        entries.append({"file": path.name, "sha256": checksum(path)})
    made = write_ensemble_manifest(tmp_path, SMALL, entries, {})
    with pytest.raises(WeightsError, match=r"different thresholds.*0\.5.*0\.h5.*0\.9.*1\.h5"):
        member_thresholds(made, ThresholdOptions())
    assert member_thresholds(made, ThresholdOptions(threshold=0.7)).confidence == 0.7
    with pytest.raises(WeightsError, match="9 lines must count; the networks find 6"):
        member_thresholds(made, ThresholdOptions(threshold=0.7, n_lines=9))
    with pytest.raises(WeightsError, match="an ensemble of whole networks; expected heads"):
        load_heads(made)
    (tmp_path / "1.h5").unlink()
    with pytest.raises(WeightsError, match=r"1\.h5: this member of the ensemble is missing"):
        load_members(made)


def test_members_of_another_grid_are_refused(tmp_path):
    write_weights(random_weights(), tmp_path / "0.h5")
    entries = [{"file": "0.h5", "sha256": checksum(tmp_path / "0.h5")}]
    made = write_ensemble_manifest(tmp_path, replace(SMALL, grid=LINEAR_GRID), entries, {})
    with pytest.raises(WeightsError, match=r"0\.h5 has other lines or another grid"):
        load_members(made)
