"""Truth tables of every kind, and labels that cannot be."""

import csv

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from astropy.table import Table

from quasarloop.errors import DataFormatError, OutputError, TruthError
from quasarloop.read import named_id, read_spectra, read_truth, read_truths, write_truth
from quasarloop.truth import SpecType, TruthTable, match_truth

SHARED_COLUMNS = (
    "file,row,targetid_or_plate_mjd_fiber,class,z,zwarning,is_bal,source_of_label,object_group"
)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_merged_inspections(tmp_path):
    path = write(
        tmp_path / "desi-vi-merged.csv",
        "TARGETID,best_z,best_quality,best_spectype,N_VI,merger_comment\n"
        "39633345008634465,2.1035,4.0,QSO,3,fine\n"
        "39633345008634466,,1.5,,2,\n"
        "39633345008634467,-0.0002,3.5,star,2,\n",
    )
    truth = read_truth(path)
    assert truth.target_id.tolist() == [39633345008634465, 39633345008634466, 39633345008634467]
    assert truth.spectype.tolist() == [SpecType.QSO, SpecType.UNKNOWN, SpecType.STAR]
    np.testing.assert_array_equal(truth.z, [2.1035, np.nan, -0.0002])
    assert truth.quality.tolist() == [4.0, 1.5, 3.5]
    assert truth.trains.tolist() == [True, False, True]
    assert set(truth.bal) == {-1}
    assert set(truth.source) == {"desi-vi-merged.csv"}


def test_single_inspections_take_the_shown_value_where_blank(tmp_path):
    path = write(
        tmp_path / "desi-vi_a_b.csv",
        "TARGETID,Redrock_spectype,Redrock_z,VI_scanner,VI_quality,VI_issue,VI_z,VI_spectype\n"
        "1,GALAXY,0.5000,ab,4,,,\n"
        "2,GALAXY,0.5000,ab,3,RC,2.5,QSO\n"
        "3,STAR,0.0000,ab,0,,,\n",
    )
    truth = read_truth(path)
    assert truth.spectype.tolist() == [SpecType.GALAXY, SpecType.QSO, SpecType.STAR]
    assert truth.z.tolist() == [0.5, 2.5, 0.0]
    assert truth.quality.tolist() == [4, 3, 0]


def superset(path, **changes):
    columns = {
        "THING_ID": np.array([11, -1, 13, 14, 15, 16]),
        "PLATE": np.full(6, 7102),
        "MJD": np.full(6, 56666),
        "FIBERID": np.arange(1, 7),
        "Z_VI": np.array([2.5, 1.0, 0.0, 3.0, 0.3, 2.2]),
        "CLASS_PERSON": np.array([3, 30, 1, 30, 4, 0]),
        "Z_CONF_PERSON": np.array([3, 3, 3, 2, 3, 0]),
        "BAL_FLAG_VI": np.array([0, 1, 0, 1, 0, 0]),
        "BI_CIV": np.array([0.0, 512.0, 0.0, 0.0, 0.0, 7.0]),
    } | changes
    kept = {name: values for name, values in columns.items() if values is not None}
    fits.BinTableHDU(np.rec.fromarrays(list(kept.values()), names=list(kept))).writeto(path)
    return path


def test_superset_dr12q(tmp_path):
    truth = read_truth(superset(tmp_path / "Superset_DR12Q.fits"))
    assert truth.target_id.tolist() == [7102566660000 + i for i in range(1, 7)]
    assert truth.object_id.tolist() == [11, 7102566660002, 13, 14, 15, 16]
    kinds = [SpecType.QSO, SpecType.QSO, SpecType.STAR, SpecType.QSO, SpecType.GALAXY]
    assert truth.spectype.tolist() == [*kinds, SpecType.UNKNOWN]
    assert truth.quality.tolist() == [4, 4, 4, 2, 4, 0]
    # Flag and balnicity agree in rows 0, 1, 2 and 4; in 3 and 5 they contradict each other.
    assert truth.bal.tolist() == [0, 1, 0, -1, 0, -1]
    assert truth.trains.tolist() == [True, True, True, False, True, False]


def test_superset_without_balnicity_believes_the_inspector(tmp_path):
    path = superset(tmp_path / "a.fits", BAL_FLAG_VI=None, BI_CIV=None)
    assert read_truth(path).bal.tolist() == [0, 1, -1, 1, -1, -1]


def test_shared_truth_csv_groups_repeats(tmp_path):
    folder = tmp_path / "rm017"
    folder.mkdir()
    path = write(
        folder / "truth.csv",
        f"{SHARED_COLUMNS}\n"
        "a.fits,0,7102-56666-82,QSO,2.481,0,1,visual,g000\n"
        "b.fits,0,7338-56660-733,QSO,2.480,0,0,visual,g000\n"
        "c.fits,0,55862-B6212_sp06-005,STAR,-0.0003,,,pipeline,\n"
        "d.fits,1,39632936152072660,GALAXY,0.3,4,,pipeline,g001\n",
    )
    truth = read_truth(path)
    ids = [7102566660082, 7338566600733, named_id("55862-B6212_sp06-005"), 39632936152072660]
    assert truth.target_id.tolist() == ids
    assert truth.object_id[0] == truth.object_id[1] != truth.object_id[3]
    assert truth.object_id[2] == truth.target_id[2]
    assert truth.bal.tolist() == [1, 0, -1, -1]
    assert truth.source.tolist() == ["visual", "visual", "pipeline", "pipeline"]
    # Another folder's g000 is another object.
    other = tmp_path / "boss"
    other.mkdir()
    copied = read_truth(write(other / "truth.csv", path.read_text()))
    assert copied.object_id[0] != truth.object_id[0]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".fits"])
def test_our_own_tables_come_back_the_same(tmp_path, suffix):
    truth = TruthTable.make(
        np.array([39633345008634465, -5, 7]),
        np.array([2, -1, 0]),
        np.array([2.123456789012, np.nan, 0.0]),
        object_id=np.array([1, 2, 1]),
        quality=np.array([4.0, 0.0, 2.5]),
        bal=np.array([1, -1, 0]),
        source=np.array(["café, red", "", "round 2"]),
    )
    path = tmp_path / f"truth{suffix}"
    write_truth(truth, path)
    again = read_truth(path)
    for name in ("target_id", "object_id", "spectype", "z", "quality", "bal"):
        np.testing.assert_array_equal(getattr(again, name), getattr(truth, name), err_msg=name)
    assert again.source[2] == "round 2"
    if suffix != ".fits":  # FITS text is ASCII
        assert again.source.tolist() == truth.source.tolist()
    assert list(tmp_path.iterdir()) == [path]


def test_our_own_table_with_only_the_needed_columns(tmp_path):
    path = write(tmp_path / "mine.csv", "z,SpecType,TARGETID\n1.5,QSO,9\n")
    truth = read_truth(path)
    assert (truth.object_id[0], truth.quality[0], truth.bal[0]) == (9, 4.0, -1)
    assert truth.source[0] == "mine.csv"


def test_identical_repeats_are_merged_and_different_ones_named(tmp_path):
    header = "TARGETID,SPECTYPE,Z\n"
    same = read_truth(
        write(tmp_path / "a.csv", header + "1,QSO,2.0\n2,STAR,\n1,QSO,2.0\n2,STAR,\n")
    )
    assert same.target_id.tolist() == [1, 2]
    clash = write(tmp_path / "b.csv", header + "5,QSO,2.0\n6,STAR,0\n5,QSO,2.1\n6,QSO,0\n")
    with pytest.raises(TruthError, match=r"b\.csv: 2 TARGETIDs have two different .*5, 6.*merge"):
        read_truth(clash)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("1,QUASAR,2.0,4\n", "row 0: SPECTYPE class is 'QUASAR'; expected STAR, GALAXY, QSO"),
        ("1,QSO,2.0,4\n2,QSO,high,4\n", "row 1: Z 'high' is not a number"),
        ("1,QSO,21.0,4\n", "row 0: Z 21.0 is outside"),
        ("1,QSO,2.0,5\n", "row 0: QUALITY 5.0 is outside 0.0 … 4.0"),
        ("1.5,QSO,2.0,4\n", r"row 0 .*TARGETID is '1.5' and not an integer"),
        (",QSO,2.0,4\n", "row 0 .*TARGETID is blank; every row needs one"),
        ("1,QSO,2.0,4\n9223372036854775808,QSO,2.0,4\n", "row 1 .*does not fit into 64 bits"),
        ("0x10,QSO,2.0,4\n", "row 0 .*TARGETID is '0x10' and not an integer.*no point, exponent"),
        ("3.96333E+16,QSO,2.0,4\n", "row 0 .*a spreadsheet changed it, export the table again"),
        ("star,QSO,2.0,4\n", "row 0 .*TARGETID is 'star'"),
    ],
)
def test_impossible_values_are_named_with_their_row(tmp_path, rows, complaint):
    path = write(tmp_path / "bad.csv", "TARGETID,SPECTYPE,Z,QUALITY\n" + rows)
    with pytest.raises(TruthError, match=complaint):
        read_truth(path)


def test_impossible_bal(tmp_path):
    path = write(tmp_path / "bad.csv", "TARGETID,SPECTYPE,Z,IS_BAL\n1,QSO,2,maybe\n")
    with pytest.raises(TruthError, match="row 0: IS_BAL 'maybe'"):
        read_truth(path)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, None, 0, -1], [1, -1, 0, -1]), ([True, False, None, True], [1, 0, -1, 1])],
)
def test_bal_with_nulls_and_as_logical(tmp_path, values, expected):
    columns = {"TARGETID": [1, 2, 3, 4], "SPECTYPE": ["QSO"] * 4, "Z": [2.0] * 4}
    pl.DataFrame(columns | {"IS_BAL": values}).write_parquet(tmp_path / "a.parquet")
    assert read_truth(tmp_path / "a.parquet").bal.tolist() == expected


SKY = 616089241430393241  # a TARGETID of DESI with the sky bit


def redshifts(path, fibermap=True, **changes):
    """A catalogue of redrock: eight rows of six targets."""
    columns = {
        "TARGETID": np.array([11, 12, 13, 14, 15, SKY, 11, 11]),
        "Z": np.array([2.0, 0.3, 1.0, -0.005, 0.0, 1.5, 1.9, 1.8]),
        "ZWARN": np.array([4, 0, 5, 512, 0, 0, 0, 0]),
        "SPECTYPE": np.array(["QSO", "GALAXY", "QSO", "GALAXY", "STAR", "QSO", "QSO", "QSO"]),
        "DELTACHI2": np.array([9.0, 50.0, 3.0, 1e99, 90.0, 30.0, 60.0, 40.0]),
        "OBJTYPE": np.array(["TGT", "TGT", "TGT", "TGT", "BAD", "SKY", "TGT", "TGT"]),
    } | changes
    kept = {name: values for name, values in columns.items() if values is not None}
    if str(path).endswith(".csv"):
        pl.DataFrame(kept).write_csv(path)
    elif fibermap:
        types = {name: kept.pop(name) for name in ("OBJTYPE",) if name in kept}
        tables = {"REDSHIFTS": kept, "FIBERMAP": {"TARGETID": kept["TARGETID"]} | types}
        hdus = [fits.table_to_hdu(Table(table, meta={"EXTNAME": n})) for n, table in tables.items()]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    else:
        fits.table_to_hdu(Table(kept)).writeto(path)
    return path


@pytest.mark.parametrize("name", ["redrock-a.fits", "zpix-a.fits", "QSO_cat.csv"])
def test_catalogues_of_redrock_are_no_inspections(tmp_path, name, caplog):
    path = redshifts(tmp_path / name, fibermap=name.startswith("redrock"))
    with pytest.raises(TruthError, match=rf"{name}: a redshift catalogue.*--unvetted"):
        read_truth(path)
    truth = read_truth(path, unvetted=True)
    assert truth.target_id.tolist() == [12, 13, 14, 15, SKY, 11]
    # Warnings other than a close second, no data, a broken fibre and the sky never train.
    assert truth.quality.tolist() == [4, 0, 0, 0, 0, 4]
    assert truth.trains.tolist() == [True, False, False, False, False, True]
    assert truth.z[-1] == 1.9  # of a target's rows the clearest one
    assert "of 8 rows 4 are of targets and without a warning" in caplog.text
    assert "2 repeats left out" in caplog.text
    assert read_truths([path], unvetted=True).target_id.tolist() == truth.target_id.tolist()


def test_redshifts_without_a_type_of_object_go_by_the_number(tmp_path):
    truth = read_truth(redshifts(tmp_path / "a.fits", OBJTYPE=None), unvetted=True)
    assert dict(zip(truth.target_id.tolist(), truth.quality.tolist(), strict=True)) == {
        **{11: 4, 12: 4, 13: 0, 14: 0, 15: 4},
        SKY: 0,
    }


def test_a_quality_of_inspectors_goes_before_warnings(tmp_path):
    table = "TARGETID,SPECTYPE,Z,ZWARN,QUALITY\n1,QSO,2.0,5,3.5\n"
    assert read_truth(write(tmp_path / "a.csv", table)).quality.tolist() == [3.5]
    table = "TARGETID,Z,SPECTYPE,ZWARN,VI_z,VI_quality,VI_spectype\n1,0.3,GALAXY,5,2.0,4,QSO\n"
    assert read_truth(write(tmp_path / "b.csv", table)).z.tolist() == [2.0]


def test_float_identifiers_are_refused(tmp_path):
    frame = pl.DataFrame({"TARGETID": [3.9e16], "SPECTYPE": ["QSO"], "Z": [2.0]})
    frame.write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(TruthError, match=r"row 0 .*TARGETID is '3.9e.16' and not an integer"):
        read_truth(tmp_path / "bad.parquet")


def test_files_that_are_no_truth(tmp_path):
    with pytest.raises(
        TruthError, match=r"found the columns A B; expected .*; or SPECTYPE TARGETID Z"
    ):
        read_truth(write(tmp_path / "bad.csv", "a,b\n1,2\n"))
    with pytest.raises(TruthError, match=r"absent\.csv: cannot be read"):
        read_truth(tmp_path / "absent.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(TruthError, match="cannot be read as a truth table"):
        read_truth(tmp_path / "bad.parquet")
    fits.PrimaryHDU(np.arange(3)).writeto(tmp_path / "image.fits")
    with pytest.raises(TruthError, match="no table in this FITS file"):
        read_truth(tmp_path / "image.fits")
    (tmp_path / "cut.fits").write_bytes((tmp_path / "image.fits").read_bytes()[:1000])
    with pytest.raises(DataFormatError, match="truncated"):
        read_truth(tmp_path / "cut.fits")
    with pytest.raises(OutputError, match=r"use one of \.csv, \.fits or \.parquet"):
        write_truth(
            read_truth(write(tmp_path / "a.csv", "TARGETID,SPECTYPE,Z\n")), tmp_path / "a.h5"
        )


def test_real_superset_equals_its_truth_csv(shared_data):
    folder = shared_data / "boss_plate7102"
    superset_truth = read_truth(folder / "Superset_DR12Q_plate7102.fits")
    truth = read_truth(folder / "truth.csv")
    rows = match_truth(truth.target_id, superset_truth)
    assert (rows >= 0).all()
    for name in ("spectype", "quality", "bal"):
        np.testing.assert_array_equal(getattr(superset_truth, name)[rows], getattr(truth, name))
    np.testing.assert_allclose(superset_truth.z[rows], truth.z, atol=1e-5)
    thing_ids = [read_spectra(path).keys.object_id[0] for path in sorted(folder.glob("spec-*"))]
    assert set(thing_ids) == set(superset_truth.object_id.tolist())


def test_every_real_truth_csv_keeps_its_labels(shared_data):
    paths = sorted(shared_data.glob("*/truth.csv"))
    assert len(paths) == 10
    for path in paths:
        with path.open(newline="") as stream:
            listed = list(csv.DictReader(stream))
        truth = read_truth(path)
        ids = np.array([named_id(row["targetid_or_plate_mjd_fiber"]) for row in listed])
        rows = match_truth(ids, truth)
        assert (rows >= 0).all(), path
        assert [SpecType(int(s)).name for s in truth.spectype[rows]] == [r["class"] for r in listed]
        np.testing.assert_allclose(truth.z[rows], [float(r["z"]) for r in listed], rtol=1e-12)
        expected = [int(r["is_bal"]) if r["is_bal"] else -1 for r in listed]
        assert truth.bal[rows].tolist() == expected
        groups = {r["object_group"] for r in listed if r["object_group"]}
        alone = sum(not r["object_group"] for r in listed)
        if groups:
            assert len(np.unique(truth.object_id)) == len(groups) + alone, path
