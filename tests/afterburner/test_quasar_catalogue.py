"""From files written by astropy to a catalogue: rows, redshifts, warnings, and refusals."""

import gzip
import json
import sys
from pathlib import Path

import fitsio
import numpy as np
import pytest
from astropy.io import fits

from quasarloop.afterburner.file_columns import DESI_COLUMNS
from quasarloop.afterburner.maskbits import QsoBit
from quasarloop.afterburner.quasar_catalogue import write_quasar_catalogue
from quasarloop.afterburner.quasar_inputs import companion
from quasarloop.errors import DataFormatError, OutputError, SelectionError

sys.path.insert(0, str(Path(__file__).parent))
from quasar_tables import BGS, ELG, LINES, catalogue, make, network_table, petal, write


def test_rows_are_quasars_only_and_every_number_comes_from_the_fit_beside_it(tmp_path):
    redrock, network, mgii = petal()
    fit = redrock["REDSHIFTS"]
    fit["SPECTYPE"][1] = "QSO"
    fit["Z"][1], fit["ZERR"][1], fit["ZWARN"][1] = 1.7, 3e-4, 0
    network["C_CIV"][2] = network["C_LYA"][2] = 0.999
    network["IS_QSO_QN_NEW_RR"][2] = True
    network["Z_NEW"][2], network["ZERR_NEW"][2], network["ZWARN_NEW"][2] = 2.5, 7e-4, 16
    network["SPECTYPE_NEW"][2] = "QSO"
    mgii["IS_QSO_MGII"][3] = True
    network["C_MgII"][4] = 0.98  # not sure enough today
    rows, summary = catalogue(tmp_path, make(tmp_path, redrock, network, mgii), mgii="file")
    assert rows["ROW"].tolist() == [1, 2, 3]
    assert rows["TARGETID"].tolist() == fit["TARGETID"][1:4].tolist()
    assert rows["QSO_MASKBITS"].tolist() == [2, 24, 4]
    assert rows["Z"].tolist() == [1.7, 2.5, 0.5]
    assert rows["ZERR"] == pytest.approx([3e-4, 7e-4, 1e-4])
    assert rows["ZWARN"].tolist() == [0, 16, 4]  # of the new fit, not redrock's first
    assert rows["SPECTYPE"].tolist() == ["QSO", "QSO", "GALAXY"]
    assert rows["Z_SOURCE"].tolist() == ["REDROCK", "RERUN", "REDROCK"]
    assert rows["Z_RR"].tolist() == [1.7, 0.5, 0.5]
    assert rows["ZWARN_RR"].tolist() == [0, 4, 4]
    assert rows["DELTA_CHI2_MGII"].tolist() == [1, 1, 1]
    assert rows["VAR_B_MGII"].tolist() == [7, 7, 7]
    assert rows["TSNR2_LYA"].tolist() == [5, 5, 5]
    assert np.isnan(rows["Z_JOINT"]).all()  # desispec's file has none
    assert (summary.n_spectra, summary.n_quasars, summary.n_waiting) == (6, 3, 0)
    assert summary.bit_counts == {"REDROCK": 1, "MGII": 1, "NETWORK": 1, "RERUN": 1}


def test_columns_in_order_with_types_units_and_provenance(tmp_path):
    redrock, network, _ = petal()
    redrock["REDSHIFTS"]["SPECTYPE"][:] = "QSO"
    path = make(tmp_path, redrock, network)
    catalogue(tmp_path, path)
    with fitsio.FITS(tmp_path / "cat.fits") as file:
        assert file[1].get_extname() == "QSO_CAT"
        assert file[1].get_colnames() == [column.name for column in DESI_COLUMNS]
        dtype, _, _ = file[1].get_rec_dtype()
        for column in DESI_COLUMNS:
            if not column.dtype.startswith("U"):
                assert dtype[column.name].newbyteorder("=") == np.dtype(column.dtype), column.name
    history = fits.getheader(tmp_path / "cat.fits", 1)["HISTORY"]
    header = json.loads("".join(history))
    assert header["recipe"]["name"] == "lss-dr2"
    assert set(header["maskbits"]) == {f"{bit.name} ({int(bit)})" for bit in QsoBit}
    assert header["recipe"]["c_thresh"] == 0.99


@pytest.mark.parametrize("ending", ["parquet", "csv", "ecsv"])
def test_other_formats_hold_the_same(tmp_path, ending):
    redrock, network, _ = petal()
    redrock["REDSHIFTS"]["SPECTYPE"][:3] = "QSO"
    path = make(tmp_path, redrock, network)
    ours, _ = catalogue(tmp_path, path)
    other, _ = catalogue(tmp_path, path, out=f"cat.{ending}")
    for name in ("TARGETID", "Z", "ZWARN", "QSO_MASKBITS", "Z_SOURCE"):
        assert other[name].tolist() == ours[name].tolist()


def test_sky_fibres_bad_fibres_and_low_confidence_reruns(tmp_path):
    redrock, network, _ = petal(5)
    redrock["REDSHIFTS"]["SPECTYPE"][:] = "QSO"
    redrock["FIBERMAP"]["OBJTYPE"][0] = "SKY"
    redrock["FIBERMAP"]["COADD_FIBERSTATUS"][1] = 1 << 9
    redrock["FIBERMAP"]["COADD_FIBERSTATUS"][2] = 1 << 3
    network["IS_QSO_QN_NEW_RR"][3:] = True
    network["Z_NEW"][3:] = 3.0
    network["C_LYA"][3], network["C_LYA"][4] = 0.6, 0.995
    rows, _ = catalogue(tmp_path, make(tmp_path, redrock, network))
    assert rows["ROW"].tolist() == [2, 3, 4]
    assert rows["Z"].tolist() == [0.5, 0.5, 3.0]  # 0.6 is enough for a rerun, not to be believed
    assert rows["QSO_MASKBITS"].tolist() == [2, 2, 26]


def test_a_rerun_without_an_answer_or_outside_its_prior_is_no_rerun(tmp_path):
    redrock, network, _ = petal(3)
    network["C_LYA"][:] = 0.999
    network["IS_QSO_QN_NEW_RR"][:] = True
    network["Z_NEW"][1:] = 2.4
    network["RERUN_BITS"] = np.array([1, 1, 1 | 8192], dtype="i4")
    rows, summary = catalogue(tmp_path, make(tmp_path, redrock, network))
    assert rows["QSO_MASKBITS"].tolist() == [8, 24, 8]
    assert rows["Z"].tolist() == [0.5, 2.4, 0.5]
    assert rows["Z_SOURCE"].tolist() == ["WAITING", "RERUN", "WAITING"]
    assert summary.n_waiting == 2


def test_quasars_that_wait_may_have_the_networks_redshift(tmp_path):
    redrock, network, mgii = petal(7)
    fit = redrock["REDSHIFTS"]
    network["C_LYA"][:6] = 0.999
    network["RERUN_BITS"] = np.array([2048, 2048, 2048, 0, 64, 2048, 0], dtype="i4")
    fit["SPECTYPE"][[2, 3, 4]] = "QSO"  # rows 3 and 4: nobody asked for a second run
    mgii["IS_QSO_MGII"][1] = True  # a broad line, but at a redshift the network contradicts
    n = len(fit["Z"])
    network |= {"Z_JOINT": np.full(n, 2.25), "ZERR_JOINT": np.full(n, 0.01, "f4")}
    network |= {"Z_ALT": np.full(n, 1.0), "P_ALT": np.full(n, 0.01, "f4")}
    network["P_ALT"][2], network["Z_JOINT"][0] = 0.2, np.nan
    network["Z_JOINT"][5] = 0.52  # redrock's class is wrong, its redshift right
    path = make(tmp_path, redrock, network, mgii)
    kept, summary = catalogue(tmp_path, path, mgii="file")
    assert kept["Z_SOURCE"].tolist() == ["WAITING"] * 3 + ["REDROCK"] * 3
    assert (kept["Z"] == 0.5).all()
    taken, again = catalogue(tmp_path, path, mgii="file", waiting="network")
    assert (summary.n_waiting, again.n_waiting) == (3, 3)
    assert taken["Z_SOURCE"].tolist() == ["NETWORK"] * 3 + ["REDROCK"] * 3
    assert taken["Z"].tolist() == [1.0, 2.25, 2.25, 0.5, 0.5, 0.5]  # the first has no joint one
    assert taken["ZWARN"].tolist() == [0, 0, 4, 4, 4, 4]
    assert np.isnan(taken["ZERR"][0])
    assert taken["ZERR"][2] == pytest.approx(0.01)
    assert taken["SPECTYPE"].tolist() == ["QSO"] * 5 + ["GALAXY"]
    assert taken["QSO_MASKBITS"].tolist() == kept["QSO_MASKBITS"].tolist()
    assert taken["QSO_MASKBITS"].tolist() == [8, 12, 10, 10, 10, 8]


def test_target_classes_decide_and_all_makes_everyone_a_quasar_target(tmp_path):
    redrock, network, _ = petal(4)
    redrock["REDSHIFTS"]["SPECTYPE"][:] = "QSO"
    redrock["FIBERMAP"]["DESI_TARGET"][:] = [ELG, BGS, 1, 0]
    network["C_CIII"][:] = 0.7
    path = make(tmp_path, redrock, network)
    rows, _ = catalogue(tmp_path, path)
    assert rows["ROW"].tolist() == [0, 1]
    assert rows["QSO_MASKBITS"].tolist() == [64, 32]
    rows, _ = catalogue(tmp_path, path, targets="all")
    assert rows["QSO_MASKBITS"].tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("column", "quasar_bit"),
    [("SV1_DESI_TARGET", 2), ("SV2_DESI_TARGET", 2), ("SV3_DESI_TARGET", 2), ("CMX_TARGET", 12)],
)
def test_every_phase_has_its_own_bits(tmp_path, column, quasar_bit):
    redrock, network, _ = petal(2)
    redrock["REDSHIFTS"]["SPECTYPE"][:] = "QSO"
    redrock["FIBERMAP"]["DESI_TARGET"][:] = 0
    redrock["FIBERMAP"][column] = np.array([1 << quasar_bit, 0])
    rows, _ = catalogue(tmp_path, make(tmp_path, redrock, network))
    assert rows["ROW"].tolist() == [0]
    assert rows[column].tolist() == [1 << quasar_bit]


def test_variable_in_wise_by_bit_or_by_table(tmp_path):
    redrock, network, _ = petal(3)
    redrock["REDSHIFTS"]["SPECTYPE"][:] = "QSO"
    redrock["FIBERMAP"]["DESI_TARGET"][:] = 1 << 62
    redrock["FIBERMAP"]["SCND_TARGET"][0] = 1 << 35
    path = make(tmp_path, redrock, network)
    rows, _ = catalogue(tmp_path, path)
    assert rows["ROW"].tolist() == [0]
    table = tmp_path / "wise.csv"
    table.write_text(f"TARGETID\n{redrock['REDSHIFTS']['TARGETID'][2]}\n17\n")
    rows, _ = catalogue(tmp_path, path, wise_variable=table)
    assert rows["ROW"].tolist() == [0, 2]
    assert (rows["QSO_MASKBITS"] == QsoBit.WISE_VARIABLE).all()


def test_artefacts_of_dr1_are_cut_after_the_redshift_is_chosen(tmp_path):
    redrock, network, _ = petal(3)
    redrock["REDSHIFTS"]["SPECTYPE"][:] = "QSO"
    redrock["REDSHIFTS"]["Z"][:] = [3.7, 3.7, 0.5]
    network["C_LYA"][1:], network["C_CIV"][1] = 0.99, 0.99
    network["IS_QSO_QN_NEW_RR"][2], network["Z_NEW"][2] = True, 3.8
    path = make(tmp_path, redrock, network)
    rows, _ = catalogue(tmp_path, path, recipe="lss-dr1")
    assert rows["ROW"].tolist() == [1]
    rows, _ = catalogue(tmp_path, path, recipe="lss-dr2")
    assert rows["ROW"].tolist() == [0, 1, 2]


def test_short_and_shuffled_opinions_are_matched_by_target(tmp_path, caplog):
    redrock, network, mgii = petal(5)
    ids = redrock["REDSHIFTS"]["TARGETID"]
    network["C_LYA"][:] = [0.1, 0.1, 0.1, 0.999, 0.1]
    shuffled = np.array([4, 3, 0, 2, 1])
    network = {name: values[shuffled] for name, values in network.items()}
    mgii["IS_QSO_MGII"][:] = True
    mgii = {name: values[[1]] for name, values in mgii.items()}  # desispec's restricted output
    rows, _ = catalogue(tmp_path, make(tmp_path, redrock, network, mgii), mgii="file")
    assert rows["TARGETID"].tolist() == [ids[1], ids[3]]
    assert rows["QSO_MASKBITS"].tolist() == [4, 8]
    assert np.isnan(rows["A_MGII"]).tolist() == [False, True]
    assert "1 of the 5 targets" in caplog.text


def test_many_files_count_repeats_and_bad_ones_can_be_passed(tmp_path):
    paths = []
    for number in range(3):
        redrock, network, _ = petal(4)
        redrock["REDSHIFTS"]["SPECTYPE"][:2] = "QSO"
        paths.append(make(tmp_path, redrock, network, name=f"{number}-1.fits"))
    (tmp_path / "qso_qn-1-1.fits").unlink()
    with pytest.raises(DataFormatError, match=r"qso_qn-1-1\.fits is missing"):
        catalogue(tmp_path, paths)
    assert not (tmp_path / "cat.fits").exists()  # nothing half-written
    bad = []
    rows, summary = catalogue(tmp_path, paths, on_bad=lambda path, exc: bad.append(path.name))
    assert bad == ["redrock-1-1.fits"]
    assert rows["SOURCE"].tolist() == ["redrock-0-1.fits"] * 2 + ["redrock-2-1.fits"] * 2
    assert (summary.n_spectra, summary.n_quasars, summary.n_repeated) == (8, 4, 2)


def test_folders_any_number_of_workers_and_gzip(tmp_path, two_workers):
    tree, network_tree = tmp_path / "tiles", tmp_path / "qn"
    for number in range(3):
        for night in ("20210101", "20210102"):
            folder, network_folder = tree / f"{number}" / night, network_tree / f"{number}" / night
            for one in (folder, network_folder):
                one.mkdir(parents=True)
            redrock, network, _ = petal(4)
            redrock["REDSHIFTS"]["SPECTYPE"][number] = "QSO"
            network["Z_QN"][:] = int(night[-1])  # the two nights have files of one name
            path = write(folder, "redrock", redrock, "0-1.fits")
            if number == 2:
                packed = path.with_name(path.name + ".gz")
                packed.write_bytes(gzip.compress(path.read_bytes()))
                path.unlink()
            write(network_folder, "qso_qn", {"QN_RR": network}, "0-1.fits")
    rows, summary = catalogue(tmp_path, tree, network_dir=network_tree)
    assert (summary.n_spectra, summary.n_quasars, summary.n_repeated) == (24, 6, 3)
    assert rows["Z_QN"].tolist() == [1, 2, 1, 2, 1, 2]
    assert rows["ROW"].tolist() == [0, 0, 1, 1, 2, 2]
    plain = (tmp_path / "cat.fits").read_bytes()
    catalogue(tmp_path, tree, network_dir=network_tree, engine=two_workers)
    assert (tmp_path / "cat.fits").read_bytes() == plain
    with pytest.raises(DataFormatError, match="no redrock"):
        catalogue(tmp_path, network_tree)
    with pytest.raises(DataFormatError, match="no such file"):
        catalogue(tmp_path, tmp_path / "nothing.fits")


def test_no_quasar_gives_an_empty_catalogue(tmp_path):
    redrock, network, _ = petal()
    rows, summary = catalogue(tmp_path, make(tmp_path, redrock, network))
    assert summary.n_quasars == 0
    assert list(rows) == [column.name for column in DESI_COLUMNS]
    assert len(rows["Z"]) == 0


def test_all_nan_confidences_are_no_quasars(tmp_path):
    redrock, network, _ = petal(2)
    for line in LINES:
        network[f"C_{line}"][:] = np.nan
    network["C_CIV"][1] = 0.999  # one line can be judged
    rows, _ = catalogue(tmp_path, make(tmp_path, redrock, network))
    assert rows["ROW"].tolist() == [1]


def drop(table, name):
    del table[name]


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (lambda r, q, m: drop(r["REDSHIFTS"], "ZWARN"), DataFormatError, "no column ZWARN"),
        (lambda r, q, m: drop(q, "C_MgII"), DataFormatError, "qso_qn.*no column C_MgII"),
        (lambda r, q, m: drop(m, "SIGMA"), DataFormatError, "qso_mgii.*no column SIGMA"),
        (lambda r, q, m: drop(r, "FIBERMAP"), DataFormatError, "FIBERMAP"),
        (lambda r, q, m: [t.update(TARGETID=np.array([1, 2, 2, 4, 5, 6])) for t in r.values()],
         DataFormatError, "REDSHIFTS has 1 targets more than once"),
        (lambda r, q, m: q.update(TARGETID=np.array([7, 8, 8, 9, 10, 11])),
         DataFormatError, "more than once"),
        (lambda r, q, m: q.update(TARGETID=q["TARGETID"] + 3),
         DataFormatError, "3 of 6 targets are not in the redrock file"),
        (lambda r, q, m: r["FIBERMAP"].update(TARGETID=np.arange(6)), DataFormatError, "FIBERMAP"),
        (lambda r, q, m: drop(r["FIBERMAP"], "DESI_TARGET"), SelectionError, "targets 'all'"),
    ],
)  # fmt: skip
def test_unfit_input_is_refused_by_name(tmp_path, damage, error, words):
    redrock, network, mgii = petal()
    damage(redrock, network, mgii)
    path = make(tmp_path, redrock, network, mgii)
    with pytest.raises(error, match=words):
        catalogue(tmp_path, path, mgii="file")


def test_missing_mgii_files_wrong_names_and_old_catalogues(tmp_path):
    redrock, network, _ = petal()
    path = make(tmp_path, redrock, network)
    with pytest.raises(DataFormatError, match=r"no qso_mgii-.* or coadd-"):
        catalogue(tmp_path, path, mgii="auto")
    other = tmp_path / "zbest-0.fits"
    other.write_bytes(path.read_bytes())
    with pytest.raises(DataFormatError, match="expected a name redrock-"):
        catalogue(tmp_path, other)
    catalogue(tmp_path, path)
    with pytest.raises(OutputError, match="exists"):
        write_quasar_catalogue([path], tmp_path / "cat.fits")
    bad = tmp_path / "wise.csv"
    bad.write_text("TARGETID\n1.5\n")
    with pytest.raises(DataFormatError, match=r"TARGETID is '1\.5' and not"):
        catalogue(tmp_path, path, wise_variable=bad)


def test_older_hdu_name_and_a_folder_of_their_own(tmp_path):
    redrock, network, _ = petal()
    network["C_LYA"][0] = 0.999
    folder = tmp_path / "qn"
    folder.mkdir()
    write(folder, "qso_qn", {"QN+RR": network})
    path = write(tmp_path, "redrock", redrock)
    rows, _ = catalogue(tmp_path, path, network_dir=folder)
    assert rows["ROW"].tolist() == [0]


def test_real_pair_with_its_galaxy_gives_no_quasar(tmp_path, shared_data):
    redrock = shared_data / "desi_redrock" / "redrock-4-80613-thru20210324.fits"
    coadd = shared_data / "desi_redrock" / "coadd-4-80613-thru20210324.fits"
    for path in (redrock, coadd):
        (tmp_path / path.name).symlink_to(path)
    network = network_table(fitsio.read(redrock, "REDSHIFTS")["TARGETID"])
    write(tmp_path, "qso_qn", {"QN_RR": network}, "4-80613-thru20210324.fits")
    rows, summary = catalogue(tmp_path, tmp_path / redrock.name, mgii="fit")
    assert (summary.n_spectra, len(rows["Z"])) == (1, 0)


def test_a_redrock_file_named_without_a_folder_has_its_companions_in_the_folder_given(tmp_path):
    found = companion(Path("redrock-0.fits"), "qso_qn-", tmp_path)
    assert found == tmp_path / "qso_qn-0.fits"
