import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasarloop.errors import InspectionError, OutputError
from quasarloop.labels.merge import MERGED_COLUMNS, Merged, read_merged, to_truth, write_merged
from quasarloop.labels.verdict import clean_comment, clean_issues
from quasarloop.read import read_truth, write_truth
from quasarloop.truth import SpecType

LABELS = {
    39627945488154697: Merged(SpecType.QSO, 2.1034, 11 / 3, True, "R", "Mg II", 3, "a b"),
    -5: Merged(quality=0.0, n_inspections=3),
    12: Merged(SpecType.STAR, -0.0003, 2.0, False, "CS", n_inspections=2),
}
SUFFIXES = [".csv", ".fits", ".parquet"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_round_trip_loses_nothing(tmp_path, suffix):
    path = tmp_path / f"merged{suffix}"
    write_merged(LABELS, path)
    assert read_merged(path) == LABELS


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(SUFFIXES),
    st.dictionaries(
        st.integers(-(2**63), 2**63 - 1),
        st.builds(
            Merged,
            spectype=st.sampled_from(SpecType),
            z=st.none() | st.floats(-0.01, 8),
            quality=st.floats(0, 4),
            is_bal=st.sampled_from([True, False, None]),
            n_inspections=st.integers(1, 9),
            issues=st.text("RCS", max_size=3).map(clean_issues),
            comments=st.text(max_size=50).map(clean_comment),
            comment=st.text(max_size=50).map(clean_comment),
        ),
        max_size=5,
    ),
)
def test_any_labels_come_back_from_any_kind_of_file(tmp_path_factory, suffix, labels):
    path = tmp_path_factory.mktemp("m") / f"merged{suffix}"
    write_merged(labels, path)
    assert read_merged(path) == labels


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_training_reads_the_table_as_it_is(tmp_path, suffix):
    path = tmp_path / f"merged{suffix}"
    write_merged(LABELS, path)
    truth = read_truth(path)
    assert truth.target_id.tolist() == list(LABELS)
    assert truth.spectype.tolist() == [2, -1, 0]
    assert truth.quality == pytest.approx([11 / 3, 0, 2], abs=1e-6)
    assert truth.z[0] == 2.1034
    assert np.isnan(truth.z[1])
    assert truth.trains.tolist() == [True, False, False]
    assert truth.bal.tolist() == [1, -1, 0]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_our_own_truth_table_keeps_broad_absorption(tmp_path, suffix):
    path = tmp_path / f"truth{suffix}"
    write_truth(to_truth(LABELS, "round 1"), path)
    truth = read_truth(path)
    assert truth.target_id.tolist() == list(LABELS)
    assert truth.bal.tolist() == [1, -1, 0]
    assert set(truth.source.tolist()) == {"round 1"}


def test_columns_are_those_of_the_merged_tables():
    assert MERGED_COLUMNS[:8] == (
        "TARGETID",
        "best_z",
        "best_quality",
        "best_spectype",
        "N_VI",
        "all_VI_issues",
        "all_VI_comments",
        "merger_comment",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("TARGETID,best_z\n1,2\n", "no column best_quality"),
        ("TARGETID,best_z,best_quality,best_spectype\n1,2,999,QSO\n", "best_quality is '999'"),
        (
            "TARGETID,best_z,best_quality,best_spectype\n1,2,4,QSO\n1,2,4,QSO\n",
            "is there twice",
        ),
        ("TARGETID,best_z,best_quality,best_spectype\n1,x,4,QSO\n", "row 0"),
    ],
)
def test_tables_that_make_no_sense_are_refused(tmp_path, text, message):
    path = tmp_path / "merged.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InspectionError, match=message):
        read_merged(path)


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(OutputError, match=r"\.csv, \.fits or \.parquet"):
        write_merged(LABELS, tmp_path / "merged.txt")
