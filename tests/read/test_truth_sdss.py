"""Truth tables of SDSS: DR14Q, DR16Q and its superset, spAll of fibres and of robots."""

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from astropy.table import Table

from quasarloop.errors import TruthError
from quasarloop.read import read_spectra, read_truth, sdss_target_id
from quasarloop.truth import SpecType

QSO, STAR, GALAXY, UNKNOWN = SpecType.QSO, SpecType.STAR, SpecType.GALAXY, SpecType.UNKNOWN


def write(path, columns, **changes):
    kept = {name: np.asarray(v) for name, v in (columns | changes).items() if v is not None}
    if path.suffix == ".csv":
        pl.DataFrame(kept).write_csv(path)
    else:
        fits.table_to_hdu(Table(kept)).writeto(path)
    return path


# Rows: sure quasar; unsure; star; galaxy; blazar; not inspected but a quasar; not a quasar;
# not inspected, with a warning.
DR16Q = {
    "PLATE": np.full(8, 7102),
    "MJD": np.full(8, 56666),
    "FIBERID": np.arange(1, 9),
    "THING_ID": [11, -1, 13, 0, 15, 16, 17, 18],
    "CLASS_PERSON": [30, 3, 1, 4, 50, -999, -999, 0],
    "Z_VI": [2.5, 1.0, 0.0, 0.3, 0.4, -999.0, -999.0, -999.0],
    "Z_CONF": [3, 1, 3, 3, 3, -999, -999, -999],
    "Z": [2.51, 1.01, 0.0, 0.3, 0.4, 1.7, 0.1, 2.2],
    "IS_QSO_FINAL": [1, 1, 0, 0, 1, 1, 0, 1],
    "ZWARNING": [0, 0, 0, 0, 0, 0, 0, 4],
    "BAL_PROB": [0.9, 0.0, -1.0, -1.0, 0.5, 0.0, -1.0, -1.0],
    "BI_CIV": [512.0, 0.0, -1.0, -1.0, 0.0, 3.0, -1.0, -1.0],
}


@pytest.mark.parametrize("name", ["DR16Q_Superset_v3.fits", "superset.csv"])
def test_dr16q_trusts_inspectors_alone(tmp_path, name, caplog):
    path = write(tmp_path / name, DR16Q)
    truth = read_truth(path)
    assert truth.target_id.tolist() == [7102566660000 + i for i in range(1, 9)]
    ids = [11, 7102566660002, 13, 7102566660004, 15, 16, 17, 18]
    assert truth.object_id.tolist() == ids
    assert truth.spectype.tolist() == [QSO, QSO, STAR, GALAXY, QSO, QSO, UNKNOWN, QSO]
    assert truth.z.tolist() == [2.5, 1.0, 0.0, 0.3, 0.4, 1.7, 0.1, 2.2]
    assert truth.quality.tolist() == [4, 1, 4, 4, 4, 0, 0, 0]
    assert truth.bal.tolist() == [1, 0, -1, -1, -1, -1, -1, -1]
    assert "3 of 8 rows were not inspected: quality 0" in caplog.text
    taken = read_truth(path, unvetted=True)
    assert taken.quality.tolist() == [4, 1, 4, 4, 4, 4, 0, 0]


def test_dr14q_says_which_redshifts_were_inspected(tmp_path):
    columns = {
        **{name: DR16Q[name][:4] for name in ("PLATE", "MJD", "FIBERID", "THING_ID")},
        "Z": [2.5, 1.0, -1.0, 0.7],
        "Z_VI": [2.5, -1.0, 0.9, -1.0],
        "SOURCE_Z": ["VI", "PIPE", "PIPE", "AUTO"],
        "ZWARNING": [0, 0, 0, 16],
        "BI_CIV": [100.0, 0.0, 0.0, 0.0],
    }
    path = write(tmp_path / "DR14Q_v4_4.fits", columns)
    truth = read_truth(path)
    assert set(truth.spectype) == {QSO}
    assert truth.z.tolist() == [2.5, 1.0, 0.9, 0.7]
    assert truth.quality.tolist() == [4, 0, 4, 0]
    assert truth.bal.tolist() == [1, -1, -1, -1]
    assert read_truth(path, unvetted=True).quality.tolist() == [4, 4, 4, 0]


SPALL = {
    "CLASS": ["QSO", "STAR", "GALAXY", "QSO", "QSO"],
    "Z": [2.0, 0.0, 0.3, 2.1, 1.5],
    "ZWARNING": [0, 0, 4, 0, 0],
    "MJD": [60000, 60000, 60000, 60010, 60000],
    "OBJTYPE": ["QSO", "QSO", "QSO", "QSO", "SKY"],
}


def test_spall_of_sdssv_has_a_row_for_each_visit(tmp_path, caplog):
    ids = [27021598149616104, 27021598149616105, 63050395075696130, 27021598149616104, 5]
    columns = SPALL | {"CATALOGID": ids, "SDSS_ID": [1, 2, 3, 1, -999]}
    columns |= {"FIELD": np.full(5, 112360), "TARGET_INDEX": np.arange(1, 6)}
    path = write(tmp_path / "spAll.fits", columns, SPECPRIMARY=[0, 1, 1, 1, 1])
    with pytest.raises(TruthError, match=r"table of SDSS's pipeline.*--unvetted"):
        read_truth(path)
    truth = read_truth(path, unvetted=True)
    assert truth.target_id.tolist() == [*ids[1:4], 5]
    assert truth.z.tolist() == [0.0, 0.3, 2.1, 1.5]
    assert truth.object_id.tolist() == [2, 3, 1, 5]
    assert truth.quality.tolist() == [4, 0, 4, 0]
    assert "1 repeats left out" in caplog.text


def test_spall_of_plates(tmp_path):
    columns = SPALL | {"PLATE": np.full(5, 3655), "FIBERID": np.arange(1, 6)}
    truth = read_truth(write(tmp_path / "spAll.fits", columns), unvetted=True)
    expected = sdss_target_id(np.full(5, 3655), SPALL["MJD"], np.arange(1, 6))
    assert truth.target_id.tolist() == expected.tolist()


def test_labels_of_sdssv_meet_their_spectra(tmp_path, survey_files):
    spectra = read_spectra(survey_files.write_sdssv(tmp_path / "a.fits"))
    row = {name: values.tolist() for name, values in survey_files.sdssv_row().items()}
    path = write(tmp_path / "spAll.fits", row | {"CLASS": ["QSO"], "Z": [2.7], "ZWARNING": [0]})
    truth = read_truth(path, unvetted=True)
    assert truth.target_id.tolist() == spectra.keys.target_id.tolist()
    assert truth.object_id.tolist() == spectra.keys.object_id.tolist()


def test_the_field_case_and_real_tables(shared_data):
    case = shared_data / "field_cases" / "07-dr16q-superset" / "DR16Q_Superset_v3.fits"
    table = fits.getdata(case, 1)
    truth = read_truth(case)
    assert len(truth) == len(table)
    sure = (table["Z_CONF"] == 3) & (table["CLASS_PERSON"] > 0)
    np.testing.assert_array_equal(truth.quality == 4, sure)
    best = np.where(table["Z_VI"] > -1, table["Z_VI"], table["Z"])
    np.testing.assert_allclose(truth.z[sure], best[sure])
    plate = shared_data / "boss_qso_plates" / "spAll-plate3655.fits"
    truth = read_truth(plate, unvetted=True)
    table = fits.getdata(plate, 1)
    ids = sdss_target_id(table["PLATE"], table["MJD"], table["FIBERID"])
    assert sorted(truth.target_id) == sorted(ids)
