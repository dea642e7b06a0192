"""The standard deviation of a fitted redshift goes through merging and every table."""

import pytest

from quasarloop.errors import InspectionError
from quasarloop.labels.merge import (
    Merged,
    from_decision,
    from_truth,
    merge_verdicts,
    read_merged,
    to_truth,
    write_merged,
)
from quasarloop.labels.prospect_csv import Inspection, read_inspections, write_inspections
from quasarloop.labels.verdict import Verdict
from quasarloop.read import read_truth, write_truth
from quasarloop.truth import SpecType

QSO = SpecType.QSO
LABELS = {
    39627945488154697: Merged(QSO, 2.1034, 4.0, n_inspections=2, z_err=0.000123456789),
    12: Merged(SpecType.STAR, -0.0003, 3.0, n_inspections=2),
}
SUFFIXES = [".csv", ".fits", ".parquet"]


@pytest.mark.parametrize(
    ("z_errs", "expected"),
    [
        ((), None),
        ((2e-4, 4e-4, None), 3e-4),  # the third has no redshift
        ((2e-4, 2e-4, 9e-4), 2e-4),
        ((2e-4, None, None), None),  # one was typed
        ((None, None, None), None),
    ],
)
def test_a_mean_of_fits_has_their_mean_error_and_one_with_a_typed_redshift_none(z_errs, expected):
    verdicts = [Verdict(QSO, 2.1, 3), Verdict(QSO, 2.102, 3)]
    fitted = merge_verdicts(verdicts, z_errs[:2])
    assert fitted.z_err == (None if expected is None else pytest.approx(expected))
    assert fitted.z == pytest.approx(2.101)
    unidentified = [Verdict(quality=1), Verdict(quality=1), Verdict(quality=1)]
    assert merge_verdicts(unidentified, z_errs).z_err is None


def test_a_decision_has_the_error_of_its_own_fit():
    decision = Verdict(QSO, 2.1, 4)
    assert from_decision(decision, [], 1e-4).z_err == 1e-4
    assert from_decision(decision, []).z_err is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_merged_tables_keep_it_and_truth_is_read_from_them(tmp_path, suffix):
    path = tmp_path / f"merged{suffix}"
    write_merged(LABELS, path)
    assert read_merged(path) == LABELS
    assert read_truth(path).z_err == pytest.approx([0.000123456789, float("nan")], nan_ok=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truth_tables_keep_it_and_have_no_column_without_any(tmp_path, suffix):
    path = tmp_path / f"truth{suffix}"
    write_truth(to_truth(LABELS, "round 1"), path)
    back = from_truth(read_truth(path))
    assert {target: label.z_err for target, label in back.items()} == {
        target: label.z_err for target, label in LABELS.items()
    }
    none_known = {12: LABELS[12]}
    write_truth(to_truth(none_known, "round 1"), path)
    assert b"ZERR" not in path.read_bytes()
    assert from_truth(read_truth(path))[12].z_err is None


def test_codes_for_no_error_are_not_errors(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("TARGETID,SPECTYPE,Z,ZERR\n1,QSO,2,-1\n2,QSO,2,\n3,QSO,2,0.001\n", "utf-8")
    expected = [float("nan"), float("nan"), 0.001]
    assert read_truth(path).z_err == pytest.approx(expected, nan_ok=True)


def test_inspections_have_it_after_prospects_columns_but_not_in_its_exact_form(tmp_path):
    rows = [
        Inspection(5, "ada", Verdict(QSO, 2.1034, 4), z_err=0.00012),
        Inspection(6, "ada", Verdict(QSO, 1.5, 4)),
    ]
    path = tmp_path / "ada.csv"
    write_inspections(rows, path)
    assert path.read_text("utf-8").splitlines()[0].endswith("VI_spectype,VI_comment,VI_z_err")
    back = read_inspections(path)
    assert [row.z_err for row in back] == [0.00012, None]
    assert read_truth(path).z_err == pytest.approx([0.00012, float("nan")], nan_ok=True)
    again = tmp_path / "again.csv"
    write_inspections(back, again)
    assert again.read_bytes() == path.read_bytes()
    for given in (rows, back):
        write_inspections(given, again, exact=True)
        assert again.read_text("utf-8").splitlines()[0].endswith("VI_spectype,VI_comment")
    write_inspections(rows[1:], again)
    assert "VI_z_err" not in again.read_text("utf-8")


def test_an_imported_error_is_written_word_for_word_until_it_changes(tmp_path):
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    header = "TARGETID,VI_scanner,VI_quality,VI_issue,VI_z,VI_spectype,VI_comment,VI_z_err"
    path.write_text(f"{header}\n5,ada,4,,2.1,QSO,,0.00120\n", "utf-8")
    (row,) = read_inspections(path)
    write_inspections([row], out)
    assert out.read_bytes() == path.read_bytes()
    changed = Inspection(5, "ada", row.verdict, z_err=0.002, columns=row.columns)
    write_inspections([changed], out)
    assert [inspection.z_err for inspection in read_inspections(out)] == [0.002]


@pytest.mark.parametrize("word", ["-0.1", "7", "wide"])
def test_impossible_errors_name_the_place(tmp_path, word):
    path = tmp_path / "ada.csv"
    header = "TARGETID,VI_scanner,VI_quality,VI_z,VI_spectype,VI_z_err"
    path.write_text(f"{header}\n5,ada,4,2.1,QSO,{word}\n", "utf-8")
    with pytest.raises(InspectionError, match=r"ada.csv, line 2: error of the redshift is"):
        read_inspections(path)
