import gc
import json

import polars as pl
import pytest

from quasarloop.errors import InspectionError
from quasarloop.inspect import worklist_columns
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
        "others": [str(BIG + 1), BIG + 2],
        "nothing": float("nan"),
    }
    path.write_text(json.dumps({"format": "x", "objects": [entry]}), encoding="utf-8")
    (read,) = read_worklist(path)
    assert (read.target_id, read.source, read.row) == (BIG, "a/coadd.fits", 7)
    assert read.predictions == {
        "score": 1.25,
        "entropy": 1.25,
        "votes": {"NOT_QSO": 3, "LOW_Z": 0, "HIGH_Z": 7},
        "more": {"others": [str(BIG + 1), str(BIG + 2)]},
    }


def test_a_selection_names_shards_and_its_columns_become_an_opinion(tmp_path):
    path = tmp_path / "selection.parquet"
    columns = {
        "TARGETID": [BIG],
        "OBJECT_ID": [BIG],
        "SHARD": ["ab12"],
        "ROW": [4],
        "N_NOT_QSO_095": [5],
        "N_LOW_Z_095": [2],
        "N_HIGH_Z_095": [3],
        "N_LOW_Z_050": [4],
        "ENTROPY": [1.49],
        "SCORE": [1.49],
        "Z_Q16": [2.1],
        "Z_Q50": [2.5],
        "Z_Q84": [2.5001],
        "C_LYA": [0.9],
        "C_BAL": [0.1],
        "CELL": [77],
        "HOW": ["score"],
    }
    pl.DataFrame(columns).write_parquet(path)
    (entry,) = read_worklist(path)
    assert (entry.source, entry.row, entry.shard, entry.shard_row) == ("", -1, "ab12", 4)
    assert entry.predictions == {
        "votes": {"NOT_QSO": 5, "LOW_Z": 2, "HIGH_Z": 3},
        "score": 1.49,
        "entropy": 1.49,
        "proposals": [{"z": 2.5, "name": "median"}, {"z": 2.1, "name": "16 %"}],
        "confidences": {"LYA": 0.9, "BAL": 0.1},
        "cell": 77,
        "more": {"how": "score"},
    }


@pytest.mark.parametrize(
    ("columns", "file_row", "shard_row"),
    [
        ({"SOURCE": "f", "ROW": 3}, 3, -1),
        ({"SHARD": "s", "ROW": 3}, -1, 3),
        ({"SHARD": "s", "ROW": 3, "SOURCE": "f", "SOURCE_ROW": 8}, 8, 3),
        ({"SHARD": "s", "SHARD_ROW": 3, "SOURCE": "f", "ROW": 8}, 8, 3),
        ({"SHARD": "s", "SHARD_ROW": 3}, -1, 3),
        ({"SHARD": "", "ROW": 3}, 3, -1),
    ],
)
def test_rows_of_files_and_of_shards_are_told_apart(tmp_path, columns, file_row, shard_row):
    path = tmp_path / "w.json"
    path.write_text(json.dumps([{"TARGETID": "5", **columns}]), encoding="utf-8")
    (entry,) = read_worklist(path)
    assert (entry.row, entry.shard_row) == (file_row, shard_row)


def test_a_map_beside_the_selection_gives_cells_their_neighbours(tmp_path):
    path = tmp_path / "w.json"
    path.write_text('[{"TARGETID": "5", "CELL": 12}, {"TARGETID": "6"}]', encoding="utf-8")
    record = {"counts": list(range(25))}
    (tmp_path / "steps.json").write_text(json.dumps(record), encoding="utf-8")
    with_cell, without = read_worklist(path)
    assert with_cell.predictions["map"]["counts"][2] == [10, 11, 12, 13, 14]
    assert "map" not in without.predictions


def test_proposals_of_members_become_chips(tmp_path):
    path = tmp_path / "w.json"
    chips = [{"z": 2.5, "count": 7, "line": "LYA"}, {"Z": 0.4}, 1.2, "x", None, {"z": None}]
    rows = [{"TARGETID": "5", "proposals": chips}, {"TARGETID": "6", "Votes": [1, 2, 3]}]
    path.write_text(json.dumps(rows), encoding="utf-8")
    first, second = (entry.predictions for entry in read_worklist(path))
    assert first["proposals"] == [{"z": 2.5, "count": 7, "name": "LYA"}, {"z": 0.4}, {"z": 1.2}]
    assert second == {"votes": {"NOT_QSO": 1, "LOW_Z": 2, "HIGH_Z": 3}}


def test_what_a_browser_cannot_hold_is_left_out_or_text_in_every_format(tmp_path):
    rows = [
        {"TARGETID": BIG, "SCORE": float("nan"), "CELL": 3, "PLATE": 1.5, "other": BIG},
        {"TARGETID": BIG + 1, "SCORE": 0.5, "CELL": 4, "PLATE": float("inf"), "other": BIG + 1},
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "w.parquet")
    pl.DataFrame(rows).write_csv(tmp_path / "w.csv")
    (tmp_path / "w.json").write_text(json.dumps(rows), encoding="utf-8")
    for name in ("w.parquet", "w.csv", "w.json"):
        assert [
            (entry.target_id, entry.predictions) for entry in read_worklist(tmp_path / name)
        ] == [
            (BIG, {"cell": 3, "more": {"plate": 1.5, "other": str(BIG)}}),
            (BIG + 1, {"score": 0.5, "cell": 4, "more": {"other": str(BIG + 1)}}),
        ]


def test_columns_are_looked_up_once_for_rows_alike(tmp_path):
    """Of 300 rows of three kinds, columns are looked up three times, not in every row."""
    path = tmp_path / "w.json"
    kinds = [{"SCORE": 0.5}, {"SCORE": 0.5, "Z_Q50": 2.1}, {"SCORE": 1, "HOW": "score"}]
    rows = [{"TARGETID": str(number), **kinds[number % 3]} for number in range(300)]
    path.write_text(json.dumps(rows), encoding="utf-8")
    worklist_columns.layout_of.cache_clear()
    assert len(read_worklist(path)) == 300
    assert worklist_columns.layout_of.cache_info().misses == 3


def test_bare_lists_and_tables(tmp_path):
    bare = tmp_path / "bare.json"
    bare.write_text(f'["{BIG}", 5, 5]', encoding="utf-8")
    assert read_worklist(bare) == [Entry(BIG), Entry(5)]
    table = tmp_path / "w.csv"
    table.write_text(f"TARGETID,SOURCE,ROW,entropy\n{BIG},f.fits,3,0.5\n", encoding="utf-8")
    (entry,) = read_worklist(table)
    assert entry == Entry(BIG, "f.fits", 3, predictions={"entropy": 0.5, "score": 0.5})
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
        ("w.json", r'[{"TARGETID": "5", "HOW": "\ud800"}]', "hex escape"),
        ("w.csv", "TARGETID\n12x\n", "not an integer"),
        ("w.csv", "", "cannot be read"),
    ],
)
def test_bad_worklists_are_refused(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InspectionError, match=message):
        read_worklist(path)


def test_both_peaks_of_the_joint_redshift_come_first_with_their_probabilities(tmp_path):
    path = tmp_path / "catalogue.csv"
    path.write_text(
        "TARGETID,Z_JOINT,ZERR_JOINT,Z_ALT,P_ALT,Z_Q50\n"
        "5,2.5,0.002,0.87,0.25,2.5001\n6,1.5,0.001,nan,0,1.9\n7,nan,nan,nan,nan,1.2\n",
        encoding="utf-8",
    )
    both, one, none = (entry.predictions for entry in read_worklist(path))
    assert both["proposals"] == [
        {"z": 2.5, "name": "all lines", "p": 0.75, "z_err": 0.002},
        {"z": 0.87, "name": "next likely, p 0.25", "p": 0.25},
    ]
    assert [(chip["z"], chip.get("p")) for chip in one["proposals"]] == [(1.5, 1.0), (1.9, None)]
    assert [chip["z"] for chip in none["proposals"]] == [1.2]
    assert not any("more" in found for found in (both, one, none))


def test_collection_goes_on_after_an_error(tmp_path):
    with pytest.raises(InspectionError):
        read_worklist(tmp_path / "none.json")
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
