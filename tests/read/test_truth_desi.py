"""DESI's truth as it is published: prospect's habits, VI tables, two surveys, quasar catalogues."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from quasarloop.errors import TruthError
from quasarloop.read import read_truth
from quasarloop.tables import mended_csv
from quasarloop.truth import SpecType

PROSPECT = "TARGETID,Redrock_spectype,Redrock_z,VI_scanner,VI_quality,VI_z,VI_spectype,VI_comment\n"


def write(path, text):
    path.write_bytes(text.encode())
    return path


def test_a_row_that_was_only_commented_is_not_judged(tmp_path):
    rows = "1,QSO,1.9,ab,4,,,\n2,GALAXY,0.8,ab,-1,,,later\n"
    truth = read_truth(write(tmp_path / "a.csv", PROSPECT + rows))
    assert truth.quality.tolist() == [4, 0]
    assert truth.trains.tolist() == [True, False]
    bad = write(tmp_path / "b.csv", PROSPECT + "1,QSO,1.9,ab,-2,,,\n")
    with pytest.raises(TruthError, match=r"row 0: VI_QUALITY -2.0 is outside 0.0 … 4.0"):
        read_truth(bad)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_commas_inside_prospects_fields(tmp_path, end):
    rows = [
        '1,QSO,1.9,ab,4,,,broad","blue","odd',
        '2,STAR,0.0,ab,3,,,"one, two"',
        "3,QSO,1,ab,4,,,",
    ]
    text = end.join([PROSPECT.strip(), *rows, ""])
    truth = read_truth(write(tmp_path / "a.csv", text))
    assert truth.target_id.tolist() == [1, 2, 3]
    assert truth.spectype.tolist() == [SpecType.QSO, SpecType.STAR, SpecType.QSO]


@pytest.mark.parametrize(
    ("raw", "mended"),
    [
        ('A,B\n1,x","y\n', 'A,B\n1,"x,y"\n'),
        ('A,B\n1,x","y","z\r\n', 'A,B\n1,"x,y,z"\r\n'),
        ('A,B\n"1","y"\n', 'A,B\n"1","y"\n'),
        ('"A","B"\n1,x","y\n', '"A","B"\n1,x","y\n'),
        ('A,B\n1,"x"",""y"\n', 'A,B\n1,"x"",""y"\n'),
        ("A,B", "A,B"),
    ],
)
def test_only_prospects_commas_are_mended(raw, mended):
    assert mended_csv(raw.encode()).decode() == mended


def test_published_inspections_name_no_inspector(shared_data):
    folder = shared_data / "field_cases"
    truth = read_truth(folder / "12-vi-upper-case" / "EDR_VI_upper.csv")
    assert truth.quality.tolist() == [3.5, 1.5]
    truth = read_truth(folder / "09-vi-quality-minus-one" / "desi-vi_minus1_aaa.csv")
    assert truth.quality.tolist() == [4, 0]
    with pytest.raises(TruthError, match=r"3.96333E.16' and not an integer.*a spreadsheet changed"):
        read_truth(folder / "14-excel-targetid" / "desi-vi_excel_ggg.csv")


def zall(path, primary=None):
    columns = {
        "TARGETID": np.array([7, 8, 7]),
        "SURVEY": np.array(["sv3", "main", "main"]),
        "Z": np.array([2.0, 0.3, 1.9]),
        "ZWARN": np.array([0, 0, 0]),
        "SPECTYPE": np.array(["QSO", "GALAXY", "QSO"]),
        "DELTACHI2": np.array([90.0, 50.0, 60.0]),
    } | ({} if primary is None else {"ZCAT_PRIMARY": np.array(primary)})
    fits.HDUList(
        [fits.PrimaryHDU(), fits.table_to_hdu(Table(columns, meta={"EXTNAME": "ZCATALOG"}))]
    ).writeto(path)
    return path


def test_of_two_surveys_the_primary_row_is_the_label(tmp_path):
    truth = read_truth(zall(tmp_path / "a.fits", [False, True, True]), unvetted=True)
    assert dict(zip(truth.target_id.tolist(), truth.z.tolist(), strict=True)) == {7: 1.9, 8: 0.3}
    truth = read_truth(zall(tmp_path / "b.fits"), unvetted=True)  # else the clearest redshift
    assert dict(zip(truth.target_id.tolist(), truth.z.tolist(), strict=True)) == {7: 2.0, 8: 0.3}


@pytest.mark.parametrize("marked", ["name", "column"])
def test_quasar_catalogues_hold_quasars_whatever_redrock_thought(tmp_path, marked):
    columns = {"TARGETID": np.array([7, 8]), "Z": np.array([2.0, 1.2]), "ZWARN": np.array([0, 5])}
    columns |= {"SPECTYPE": np.array(["GALAXY", "QSO"])}
    if marked == "column":
        columns |= {"QSO_MASKBITS": np.array([4, 2])}
    meta = {"EXTNAME": "QSO_CAT" if marked == "name" else "ZCATALOG"}
    path = tmp_path / "QSO_cat_iron.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.table_to_hdu(Table(columns, meta=meta))]).writeto(path)
    with pytest.raises(TruthError, match=r"a quasar catalogue of DESI.*--unvetted"):
        read_truth(path)
    truth = read_truth(path, unvetted=True)
    assert set(truth.spectype) == {SpecType.QSO}
    assert truth.quality.tolist() == [4, 0]


def test_the_real_quasar_catalogue_of_fuji(shared_data):
    path = shared_data / "desi_tile80693" / "QSO_cat_fuji_dark_tile.fits"
    truth = read_truth(path, unvetted=True)
    table = fits.getdata(path, 1)
    np.testing.assert_array_equal(np.sort(truth.target_id), np.sort(table["TARGETID"]))
    assert set(truth.spectype) == {SpecType.QSO}
    assert truth.trains.all()
