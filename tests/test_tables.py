"""A table comes back from every format as it was written, or is not there at all."""

import json

import fitsio
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from quasarloop.catalogue.classify import line_columns, read_catalogue
from quasarloop.columns import catalogue_columns, integer_id
from quasarloop.errors import DataFormatError, OutputError
from quasarloop.fits_tables import new_fits
from quasarloop.lines import NETWORK_LINES
from quasarloop.tables import open_writer, read_record, read_table, write_table

COLUMNS = catalogue_columns(NETWORK_LINES)
HEADER = {"weights": "w.h5", "options": {"threshold": 0.95}, "long": "x" * 300}
FORMATS = ["fits", "parquet", "csv", "ecsv"]
BIG = 39627945488154697  # loses its last digits as a float


def block(n, seed=0):
    rng = np.random.default_rng(seed)
    words = {"CLASS": "LOW_Z", "BEST_LINE": "CIV(1548)", "SURVEY": "sv3", "SOURCE": "coadd-1.fits"}
    values = {}
    for column in COLUMNS:
        if column.dtype.startswith("U"):
            values[column.name] = np.full(n, words.get(column.name, ""))
        elif column.dtype == "?":
            values[column.name] = rng.random(n) < 0.5
        elif column.dtype.startswith("i"):
            values[column.name] = rng.integers(-1, 1000, n).astype(column.dtype)
        else:
            values[column.name] = rng.normal(size=n).astype(column.dtype)
    if n:
        values["TARGETID"][0] = BIG
        values["Z_LYA"][0] = np.nan
    return values


def write(path, *blocks, **options):
    with open_writer(path, COLUMNS, HEADER, **options) as append:
        for one in blocks:
            append(one)


@pytest.mark.parametrize("kind", FORMATS)
def test_blocks_come_back_in_order(tmp_path, kind):
    path = tmp_path / f"c.{kind}"
    first, second = block(3), block(2, seed=1)
    write(path, first, second)
    back = read_catalogue(path)
    assert list(back) == [column.name for column in COLUMNS]
    for column in COLUMNS:
        expected = np.concatenate([first[column.name], second[column.name]])
        if expected.dtype.kind == "f":
            np.testing.assert_array_equal(back[column.name].astype(column.dtype), expected)
        else:
            assert back[column.name].tolist() == expected.tolist(), column.name
    assert back["TARGETID"][0] == BIG


@pytest.mark.parametrize("kind", FORMATS)
def test_a_judgement_reads_the_columns_it_needs(tmp_path, kind):
    path = tmp_path / f"c.{kind}"
    write(path, block(5))
    found, whole = read_catalogue(path, ["TARGETID"], judged=True), read_catalogue(path)
    assert line_columns(found) == line_columns(whole)
    lines = {f"{letter}_{name}" for letter in "CZ" for name in line_columns(whole)}
    assert {"TARGETID"} | lines <= set(found)
    assert all(name == "TARGETID" or name[:2] in ("C_", "Z_") for name in found)
    for name, values in found.items():
        np.testing.assert_array_equal(values, whole[name])


@pytest.mark.parametrize("kind", FORMATS)
def test_no_rows_is_a_valid_table(tmp_path, kind):
    write(tmp_path / f"c.{kind}")
    back = read_catalogue(tmp_path / f"c.{kind}")
    assert list(back) == [column.name for column in COLUMNS]
    assert all(len(values) == 0 for values in back.values())


@pytest.mark.parametrize("kind", FORMATS)
def test_same_rows_same_bytes(tmp_path, kind):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.{kind}", block(4))
        assert read_record(tmp_path / f"{name}.{kind}") == HEADER
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


@pytest.mark.parametrize("kind", FORMATS)
def test_error_in_the_middle_leaves_nothing(tmp_path, kind):
    def fail():
        with open_writer(tmp_path / f"c.{kind}", COLUMNS, HEADER) as append:
            append(block(2))
            raise DataFormatError("a broken file")

    with pytest.raises(DataFormatError, match="a broken file"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_provenance_is_in_every_header(tmp_path):
    for kind in FORMATS:
        write(tmp_path / f"c.{kind}", block(1))
    history = fitsio.read_header(tmp_path / "c.fits", ext="QSO_CAT")
    text = "\n".join(str(r["value"]) for r in history.records() if r["name"] == "HISTORY")
    assert '"threshold": 0.95' in text
    assert json.loads(pq.read_schema(tmp_path / "c.parquet").metadata[b"quasarloop"]) == HEADER
    assert json.loads((tmp_path / "c.csv.json").read_text())["header"] == HEADER
    assert dict(Table.read(tmp_path / "c.ecsv", format="ascii.ecsv").meta) == HEADER


def test_fits_has_units_and_descriptions(tmp_path):
    write(tmp_path / "c.fits", block(1))
    table = Table.read(tmp_path / "c.fits", hdu="QSO_CAT")
    assert str(table["TARGET_RA"].unit) == "deg"
    header = fitsio.read_header(tmp_path / "c.fits", ext="QSO_CAT")
    assert header["TCOMM1"] == "survey's 64-bit target identifier"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("c.txt", "use one of .fits"),
        ("c", "no known format"),
        ("no/c.fits", "make it first"),
    ],
)
def test_impossible_outputs_are_refused_before_work(tmp_path, name, complaint):
    with pytest.raises(OutputError, match=complaint):
        write(tmp_path / name)


def test_existing_file_is_kept_unless_asked(tmp_path):
    (tmp_path / "c.csv").write_text("precious")
    with pytest.raises(OutputError, match="--overwrite"):
        write(tmp_path / "c.csv", block(1))
    assert (tmp_path / "c.csv").read_text() == "precious"
    write(tmp_path / "c.csv", block(1), overwrite=True)
    assert len(read_catalogue(tmp_path / "c.csv")["TARGETID"]) == 1


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.floats(width=32), min_size=1, max_size=5))
def test_csv_keeps_every_float(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("csv") / "c.csv"
    rows = block(len(values))
    rows["C_LYA"] = np.array(values, np.float32)
    write(path, rows)
    np.testing.assert_array_equal(
        read_catalogue(path)["C_LYA"].astype(np.float32), np.array(values, np.float32)
    )


def test_reader_names_what_is_wrong(tmp_path):
    with pytest.raises(DataFormatError, match="no such catalogue"):
        read_catalogue(tmp_path / "none.fits")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataFormatError, match=r"c\.parquet: cannot be read as a catalogue"):
        read_catalogue(tmp_path / "c.parquet")
    write(tmp_path / "c.csv", block(1))
    with pytest.raises(DataFormatError, match="no column NOPE"):
        read_catalogue(tmp_path / "c.csv", ["NOPE"])


def test_line_columns_leave_out_the_bal_finder():
    assert line_columns(block(1)) == ["LYA", "CIV", "CIII", "MgII", "Hbeta", "Halpha"]


WHOLE = pl.DataFrame(
    {"ID": [BIG, -5], "Z": [1.5, None], "Q": [float("nan"), 2.0], "WORD": ["cafe", ""]}
)


@pytest.mark.parametrize("kind", ["csv", "fits", "parquet"])
@pytest.mark.parametrize("n_rows", [0, 2])
def test_whole_tables_come_back(tmp_path, kind, n_rows):
    path = tmp_path / f"t.{kind}"
    write_table(WHOLE[:n_rows], path, hdu="T", blank=" ")
    back = read_table(path)
    assert list(back) == WHOLE.columns
    assert back["ID"].tolist() == [BIG, -5][:n_rows]
    assert back["WORD"].tolist() == ["cafe", ""][:n_rows]
    np.testing.assert_array_equal(back["Z"].astype(float), [1.5, np.nan][:n_rows])
    np.testing.assert_array_equal(back["Q"].astype(float), [np.nan, 2.0][:n_rows])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        ("", "TARGETID is blank; every row needs one"),
        ("3.96333E+16", "TARGETID is .* and not an integer; .*export the table again"),
        ("0x10", "TARGETID is '0x10' and not an integer"),
        ("star", "TARGETID is 'star' and not an integer"),
        ("9223372036854775808", "TARGETID is 9223372036854775808, which does not fit"),
        ("1" * 40, "TARGETID is '1+' and not an integer; identifiers have up to 19 digits"),
    ],
)
def test_rows_without_an_identifier_are_named(tmp_path, cell, complaint):
    path = tmp_path / "cat.csv"
    path.write_text(f"TARGETID,Z\n{BIG},1.5\n{cell},2.5\n{BIG},3.5\n")
    with pytest.raises(DataFormatError, match=rf"cat\.csv: row 1 .*{complaint}"):
        read_table(path)


def test_identifiers_stay_whole_beside_a_blank_and_as_floats(tmp_path):
    pl.DataFrame({"TARGETID": [BIG, None]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataFormatError, match=r"a\.parquet: row 1 .*TARGETID is blank"):
        read_table(tmp_path / "a.parquet")
    pl.DataFrame({"TARGETID": [7.0, 8.0]}).write_parquet(tmp_path / "b.parquet")
    assert read_table(tmp_path / "b.parquet")["TARGETID"].dtype == np.int64  # exact so far
    pl.DataFrame({"TARGETID": [7.0, float(BIG)]}).write_parquet(tmp_path / "c.parquet")
    with pytest.raises(DataFormatError, match=r"row 1 .*not an integer"):
        read_table(tmp_path / "c.parquet")


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_64_bit_identifier_is_read(number):
    assert integer_id(number) == integer_id(f" {number}") == number


def test_csv_values_are_kept_as_written_on_request(tmp_path):
    (tmp_path / "t.csv").write_text("ID,Z\n007,1.50\n#8,\n")
    back = read_table(tmp_path / "t.csv", as_text=True)
    assert {name: values.tolist() for name, values in back.items()} == {
        "ID": ["007", "#8"],
        "Z": ["1.50", ""],
    }
    assert read_table(tmp_path / "t.csv")["ID"].tolist() == [7]


def test_format_is_found_from_the_content(tmp_path):
    for kind in FORMATS:
        write(tmp_path / f"c.{kind}", block(2))
        (tmp_path / f"c.{kind}").rename(tmp_path / f"{kind}.table")
        assert read_table(tmp_path / f"{kind}.table")["TARGETID"][0] == BIG
    with pytest.raises(OSError, match=r"none\.fits"):
        read_table(tmp_path / "none.fits")


def test_a_failing_fits_file_leaves_nothing_and_is_explained(tmp_path):
    def fail():
        with new_fits(tmp_path / "t.fits") as fits:
            fits.write(np.zeros(3), extname="A")
            raise OSError("cfitsio: error writing to file")

    with pytest.raises(OutputError, match=r"t\.fits: writing FITS failed .*is the disk full"):
        fail()
    assert list(tmp_path.iterdir()) == []
