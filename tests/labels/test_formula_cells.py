"""Nothing that an inspector types becomes a formula in somebody's spreadsheet."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.labels.merge import Merged, read_merged, write_merged
from quasarloop.labels.prospect_csv import Inspection, read_inspections, write_inspections
from quasarloop.labels.verdict import Verdict, defuse, undo_defuse
from quasarloop.truth import SpecType

RISKY = ["=1+1", "+cmd|x", "-2+3", "@SUM(1)", "'=quoted", "=HYPERLINK(x)"]
HARMLESS = ["-0.0012", "+4", "-1e-5", "-", "--", "broad", "'tis", "", "QSO"]


@given(st.text(alphabet="'=+-@\t\r1ae(. "))
def test_every_cell_comes_back_and_none_is_a_formula(cell):
    safe = defuse(cell)
    assert undo_defuse(safe) == cell
    letters = any(sign.isalnum() or sign == "(" for sign in cell)
    if cell[:1] in {*"=+-@\t\r"} and letters:
        assert safe.startswith("'") or float(safe) == float(cell)


@pytest.mark.parametrize("cell", HARMLESS)
def test_numbers_and_words_stay(cell):
    assert defuse(cell) == cell


def _cells(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return [cell for row in csv.reader(stream) for cell in row]


@pytest.mark.parametrize("comment", RISKY)
@pytest.mark.parametrize("kind", ["prospect", "merged"])
def test_tables_are_defused_read_back_and_exact_on_demand(tmp_path, comment, kind):
    verdict = Verdict(SpecType.STAR, -0.001, 4.0, comment=comment)
    safe, exact = tmp_path / "safe.csv", tmp_path / "exact.csv"
    if kind == "prospect":
        rows = [Inspection(1, "ada", verdict, {"=column": comment})]
        write_inspections(rows, safe)
        write_inspections(rows, exact, exact=True)
        (back,) = read_inspections(safe)
        assert back.columns["=column"] == comment
    else:
        merged = {1: Merged(**vars(verdict), n_inspections=1, comments=comment)}
        write_merged(merged, safe)
        write_merged(merged, exact, exact=True)
        back = read_merged(safe)[1]
        assert back.comments == comment
        for suffix in (".fits", ".parquet"):
            write_merged(merged, tmp_path / f"t{suffix}")
            assert read_merged(tmp_path / f"t{suffix}")[1].comment == comment
    assert (back.verdict.comment, back.verdict.z) == (comment, -0.001)
    assert comment not in _cells(safe)
    assert f"'{comment}" in _cells(safe)
    assert comment in _cells(exact)
