import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.errors import InspectionError
from quasarloop.labels.prospect_csv import (
    COLUMNS,
    Inspection,
    file_name,
    read_inspections,
    write_inspections,
)
from quasarloop.labels.verdict import Verdict, clean, is_complete
from quasarloop.read import read_truth
from quasarloop.truth import SpecType

# As prospect writes it: two rows with every column, a quoted comma, a redrock value accepted.
SAMPLE = """\
TARGETID,EXPID,NIGHT,TILEID,Spec_version,Redrock_version,Template_version,Redrock_spectype,\
Redrock_z,Redrock_deltachi2,VI_scanner,VI_quality,VI_issue,VI_z,VI_spectype,VI_comment
39627945488154697,55555,20201223,80609,0.36.1,0.14.0,1.1,GALAXY,0.2213,1234.5,Ada L,4,RC,2.1034,\
QSO,"narrow lines, maybe two objects"
39627945488154698,55555,20201223,80609,0.36.1,0.14.0,1.1,QSO,1.5120,99.0,Ada L,3,,,,
"""


def test_columns_and_their_order_are_prospects():
    assert COLUMNS[0] == "TARGETID"
    assert COLUMNS[7:10] == ("Redrock_spectype", "Redrock_z", "Redrock_deltachi2")
    assert COLUMNS[10:] == (
        "VI_scanner",
        "VI_quality",
        "VI_issue",
        "VI_z",
        "VI_spectype",
        "VI_comment",
    )
    assert file_name("tile80609_night", "Ada L") == "desi-vi_tile80609-night_Ada-L.csv"


def test_a_prospect_file_comes_back_byte_for_byte(tmp_path):
    given_file, written = tmp_path / "in.csv", tmp_path / "out.csv"
    given_file.write_text(SAMPLE, encoding="utf-8")
    rows = read_inspections(given_file)
    first, second = rows
    assert first.target_id == 39627945488154697
    assert first.verdict == Verdict(
        SpecType.QSO, 2.1034, 4, issues="RC", comment="narrow lines; maybe two objects"
    )
    # Blank VI_z and VI_spectype accept what redrock showed.
    assert second.verdict == Verdict(SpecType.QSO, 1.512, 3)
    write_inspections(rows, written)
    assert written.read_bytes() == given_file.read_bytes()


def test_a_changed_verdict_is_written_anew_and_the_rest_kept(tmp_path):
    given_file, written = tmp_path / "in.csv", tmp_path / "out.csv"
    given_file.write_text(SAMPLE, encoding="utf-8")
    row = read_inspections(given_file)[1]
    changed = Verdict(SpecType.GALAXY, 0.2, 2, issues="S", comment="no, a galaxy")
    write_inspections(
        [Inspection(row.target_id, row.scanner, clean(changed), row.columns)], written
    )
    line = written.read_text(encoding="utf-8").splitlines()[1]
    assert line.endswith(",QSO,1.5120,99.0,Ada L,2,S,0.2000,GALAXY,no; a galaxy")


def test_columns_we_do_not_have_are_omitted(tmp_path):
    path = tmp_path / "out.csv"
    verdict = Verdict(SpecType.QSO, 2.1, 4, is_bal=True, comment="C IV")
    shown = {"Redrock_z": "2.0999", "Redrock_spectype": "QSO"}
    write_inspections([Inspection(5, "ada", verdict, shown), Inspection(6, "ada", verdict)], path)
    header, first, second = path.read_text(encoding="utf-8").splitlines()
    assert header == (
        "TARGETID,Redrock_spectype,Redrock_z,VI_scanner,VI_quality,VI_issue,VI_z,VI_spectype,"
        "VI_comment"
    )
    assert first == "5,QSO,2.0999,ada,4,,2.1000,QSO,BAL; C IV"
    assert second == "6,,,ada,4,,2.1000,QSO,BAL; C IV"
    assert [row.verdict.is_bal for row in read_inspections(path)] == [True, True]


@pytest.mark.parametrize(
    ("comment", "bal"),
    [
        ("Broad absorption line quasar (BAL)", True),
        ("BAL", True),
        ("not a BAL", None),
        ("BAL?", None),
    ],
)
def test_only_a_clear_word_makes_a_bal(tmp_path, comment, bal):
    path = tmp_path / "in.csv"
    names = "TARGETID,VI_scanner,VI_quality,VI_z,VI_spectype,VI_comment"
    path.write_text(f"{names}\n7,ada,4,2.1,QSO,{comment}\n", encoding="utf-8")
    assert read_inspections(path)[0].verdict.is_bal is bal


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,ada,4,2.1,QSO,", "line 2: TARGETID is 'x' and not an integer"),
        ("9223372036854775808,ada,4,2.1,QSO,", "64 bits"),
        ("7,ada,7,2.1,QSO,", "quality is 7"),
        ("7,ada,4,two,QSO,", "line 2.*float"),
        ("7,ada,4,2.1,AGN,", "class is 'AGN'"),
        ("7,ada,4,2.1,QSO,a,b", "fields than the header"),
        ("7,ada,4,2.1", "fields than the header"),
    ],
)
def test_rows_that_make_no_sense_are_named(tmp_path, row, message):
    path = tmp_path / "in.csv"
    names = "TARGETID,VI_scanner,VI_quality,VI_z,VI_spectype,VI_comment"
    path.write_text(f"{names}\n{row}\n", encoding="utf-8")
    with pytest.raises(InspectionError, match=message):
        read_inspections(path)


def test_a_file_without_the_columns_is_refused(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("TARGETID,Z\n1,2\n", encoding="utf-8")
    with pytest.raises(InspectionError, match="no column VI_scanner"):
        read_inspections(path)
    with pytest.raises(InspectionError, match="cannot be read"):
        read_inspections(tmp_path / "absent.csv")


verdicts = st.builds(
    Verdict,
    spectype=st.sampled_from(SpecType),
    z=st.none() | st.floats(-0.005, 7),
    quality=st.none() | st.integers(0, 4),
    issues=st.text("RCS", max_size=3),
    comment=st.text(max_size=120),
).map(clean)
rows = st.builds(
    Inspection,
    target_id=st.integers(-(2**63), 2**63 - 1),
    scanner=st.from_regex(r"[a-z]{1,10}", fullmatch=True),
    verdict=verdicts,
)


@given(st.lists(rows, min_size=1, max_size=8))
def test_our_own_rows_lose_nothing(tmp_path_factory, given_rows):
    path = tmp_path_factory.mktemp("round") / "out.csv"
    write_inspections(given_rows, path)
    back = read_inspections(path)
    assert [(r.target_id, r.scanner) for r in back] == [
        (r.target_id, r.scanner) for r in given_rows
    ]
    for one, other in zip(back, given_rows, strict=True):
        said = other.verdict.comment.startswith("BAL;") or "(BAL)" in other.verdict.comment
        if not said and other.verdict.comment != "BAL":
            assert one.verdict == other.verdict
    again = path.with_name("again.csv")
    write_inspections(back, again)
    assert again.read_bytes() == path.read_bytes()


def test_our_file_is_accepted_as_truth(tmp_path):
    path = tmp_path / "out.csv"
    verdict = Verdict(SpecType.QSO, 2.1034, 4)
    assert is_complete(verdict)
    write_inspections([Inspection(39627945488154697, "ada", verdict)], path)
    truth = read_truth(path)
    assert truth.target_id.tolist() == [39627945488154697]
    assert truth.z.tolist() == [2.1034]
