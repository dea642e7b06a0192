"""Labels import takes what read_truth takes: published inspections, catalogues of SDSS."""

import pytest

from quasarloop.errors import InspectionError, TruthError
from quasarloop.inspect.exchange import import_file
from quasarloop.inspect.results import final_labels, inspections, results
from quasarloop.truth import SpecType

PROSPECT = "TARGETID,Redrock_spectype,Redrock_z,VI_scanner,VI_quality,VI_issue,VI_z,VI_spectype,"
PROSPECT += "VI_comment\n"


def imported(database, path, text):
    path.write_text(text, encoding="utf-8")
    with database.write() as session:
        done = import_file(session, path, "published")
    with database.read() as session:
        return done, final_labels(results(session, at_least=1))


def test_published_inspections_become_decisions(database, tmp_path, caplog):
    rows = "39633300968442591,1.9201,3.5,QSO\n8,0.8,1.5,GALAXY\n9,,0,\n"
    table = "TARGETID,VI_Z,VI_QUALITY,VI_SPECTYPE\n" + rows
    done, final = imported(database, tmp_path / "EDR_VI.csv", table)
    assert (done.new, done.new_objects) == (2, 2)
    label = final[39633300968442591]
    assert (label.spectype, label.z, label.quality) == (SpecType.QSO, 1.9201, 3.5)
    assert final[8].quality == 1.5
    assert "1 of 3 labels have no class or no redshift" in caplog.text
    again, _ = imported(database, tmp_path / "EDR_VI.csv", table)
    assert (again.new, again.same) == (0, 2)


def test_prospects_commas_and_rows_that_were_only_commented(database, tmp_path):
    rows = '1,QSO,1.9,ada,4,,,,broad","blue\n2,GALAXY,0.8,ada,-1,,,,look","again\n'
    done, final = imported(database, tmp_path / "desi-vi_a_ada.csv", PROSPECT + rows)
    assert done.new == 2
    assert list(final) == [1]
    with database.read() as session:
        (mine,) = inspections(results(session)).values()
    assert [row.verdict.comment for row in mine] == ["broad;blue", "look;again"]
    assert mine[1].verdict.quality is None


@pytest.mark.parametrize("header", [PROSPECT, "TARGETID,VI_Z,VI_QUALITY,VI_SPECTYPE\n"])
def test_a_number_that_a_spreadsheet_changed_is_named(database, tmp_path, header):
    row = "3.96333E+16,QSO,1.9,ada,4,,,,\n" if header is PROSPECT else "3.96333E+16,1.9,4,QSO\n"
    with pytest.raises((InspectionError, TruthError), match=r"a\.csv.*a spreadsheet changed it"):
        imported(database, tmp_path / "a.csv", header + row)


def test_labels_that_nobody_has_inspected_are_no_inspections(database, tmp_path):
    with pytest.raises(TruthError, match="nobody has inspected"):
        imported(database, tmp_path / "a.csv", "TARGETID,SPECTYPE,Z,ZWARN\n1,QSO,2.0,0\n")
    with pytest.raises(TruthError, match="found the columns A"):
        imported(database, tmp_path / "b.csv", "A\n1\n")
