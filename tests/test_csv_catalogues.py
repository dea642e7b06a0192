"""CSV catalogues as people read them: polars, pandas and astropy, each without arguments."""

import numpy as np
import polars as pl
import pytest
from astropy.table import Table

from quasarloop.columns import Column
from quasarloop.errors import OutputError
from quasarloop.tables import open_writer, read_record, read_table

COLUMNS = (
    Column("TARGETID", "i8", "", "identifier"),
    Column("Z", "f8", "", "redshift"),
    Column("ZERR_NEW", "f4", "", "missing throughout"),
    Column("SPECTYPE", "U6", "", "class"),
    Column("NOTE", "U9", "", "empty throughout"),
)
BIG = 39627945488154697  # loses its last digits as a float
ROWS = {
    "TARGETID": np.array([BIG, 2, 3]),
    "Z": np.array([np.nan, 2.5, 1 / 3]),
    "ZERR_NEW": np.full(3, np.nan, np.float32),
    "SPECTYPE": np.array(["QSO", "", 'a,"b']),
    "NOTE": np.full(3, ""),
}


@pytest.fixture
def path(tmp_path):
    with open_writer(tmp_path / "c.csv", COLUMNS, {"recipe": "ours"}) as append:
        append({name: values[:1] for name, values in ROWS.items()})
        append({name: values[1:] for name, values in ROWS.items()})
    return tmp_path / "c.csv"


def with_polars(path):
    frame = pl.read_csv(path)
    return {c.name: c.to_numpy() for c in frame}, frame.null_count().to_dicts()[0]


def with_pandas(path):
    pandas = pytest.importorskip("pandas", reason="pandas is one of the three readers compared")
    frame = pandas.read_csv(path)
    return {n: frame[n].to_numpy() for n in frame}, frame.isna().sum().to_dict()


def with_astropy(path):
    table = Table.read(path)
    missing = {n: int(np.sum(getattr(table[n], "mask", False))) for n in table.colnames}
    values = {n: np.ma.filled(table[n].astype(float), np.nan) for n in ("Z",)}
    return {n: values.get(n, np.asarray(table[n])) for n in table.colnames}, missing


@pytest.mark.parametrize("read", [with_polars, with_pandas, with_astropy])
def test_each_reader_finds_names_numbers_and_gaps(path, read):
    columns, missing = read(path)
    assert list(columns) == [c.name for c in COLUMNS]
    assert columns["TARGETID"].dtype.kind == "i"
    assert columns["TARGETID"].tolist() == [BIG, 2, 3]
    np.testing.assert_array_equal(columns["Z"].astype(np.float64), ROWS["Z"])
    assert columns["SPECTYPE"].tolist()[::2] == ["QSO", 'a,"b']
    assert (missing["TARGETID"], missing["Z"], missing["ZERR_NEW"]) == (0, 1, 3)


def test_our_reader_gives_back_types_and_header(path):
    back = read_table(path)
    for name, values in ROWS.items():
        np.testing.assert_array_equal(back[name], values)
        assert back[name].dtype.kind == values.dtype.kind
    assert read_record(path) == {"recipe": "ours"}


@pytest.mark.parametrize("beside", [None, "[1]", "{}"])
def test_without_our_file_beside_it_is_a_plain_table(path, beside):
    header = path.with_name("c.csv.json")
    header.unlink() if beside is None else header.write_text(beside)
    assert read_record(path) == {}
    np.testing.assert_array_equal(read_table(path)["Z"], ROWS["Z"])


def test_a_file_in_the_place_of_the_header_is_kept(tmp_path):
    (tmp_path / "c.csv.json").write_text("precious")
    with (
        pytest.raises(OutputError, match=r"c\.csv\.json exists"),
        open_writer(tmp_path / "c.csv", COLUMNS, {}),
    ):
        pass
    assert [p.read_text() for p in tmp_path.iterdir()] == ["precious"]
