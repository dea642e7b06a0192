import json

import polars as pl
import pytest

from quasarloop.errors import InspectionError
from quasarloop.inspect.worklist import Entry, read_worklist

BIG = 39627945488154697


def test_json_with_ids_as_text_keeps_every_digit(tmp_path):
    path = tmp_path / "w.json"
    entry = {
        "TARGETID": str(BIG),
        "SOURCE": "a/coadd.fits",
        "ROW": 7,
        "ENTROPY": 1.25,
        "VOTES": {"NOT_QSO": 3, "HIGH_Z": 7},
        "neighbours": [str(BIG + 1), BIG + 2],
        "nothing": float("nan"),
    }
    path.write_text(json.dumps({"format": "x", "objects": [entry]}), encoding="utf-8")
    (read,) = read_worklist(path)
    assert (read.target_id, read.source, read.row) == (BIG, "a/coadd.fits", 7)
    assert read.opinion["score"] == 1.25
    assert read.opinion["votes"] == {"NOT_QSO": 3, "HIGH_Z": 7}
    assert read.opinion["neighbours"] == [str(BIG + 1), str(BIG + 2)]
    assert "nothing" not in read.opinion


def test_bare_lists_and_tables(tmp_path):
    bare = tmp_path / "bare.json"
    bare.write_text(f'["{BIG}", 5, 5]', encoding="utf-8")
    assert read_worklist(bare) == [Entry(BIG), Entry(5)]
    table = tmp_path / "w.csv"
    table.write_text(f"TARGETID,SOURCE,ROW,entropy\n{BIG},f.fits,3,0.5\n", encoding="utf-8")
    (entry,) = read_worklist(table)
    assert entry == Entry(BIG, "f.fits", 3, {"entropy": 0.5, "score": 0.5})
    parquet = tmp_path / "w.parquet"
    pl.DataFrame({"TARGETID": [BIG, 5], "score": [1.0, 0.5]}).write_parquet(parquet)
    assert [e.target_id for e in read_worklist(parquet)] == [BIG, 5]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("w.json", "[", "cannot be read"),
        ("w.json", '{"a": 1}', "no list of objects"),
        ("w.json", '"x"', "expected a list"),
        ("w.json", "[]", "no object to inspect"),
        ("w.json", "[3.9627945488154697e16]", "expected a 64-bit integer"),
        ("w.json", '[{"Z": 1}]', "TARGETID is None"),
        ("w.json", '["99999999999999999999"]', "does not fit"),
        ("w.csv", "TARGETID\n12x\n", "not an integer"),
        ("w.csv", "", "cannot be read"),
    ],
)
def test_bad_worklists_are_refused(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InspectionError, match=message):
        read_worklist(path)
