"""quasarloop qsocat as a user types it: DESI files, and surveys without redrock."""

import csv

import fitsio
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from typer.testing import CliRunner

from quasarloop.afterburner.file_columns import NETWORK_COLUMNS
from quasarloop.afterburner.maskbits import QsoBit
from quasarloop.afterburner.quasar_catalogue import network_quasar_rows
from quasarloop.catalogue.classify import ClassifyOptions, classify_spectra, read_catalogue
from quasarloop.cli import app
from quasarloop.errors import DataFormatError
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import default_weights_path, read_weights
from quasarloop.quality import prepare
from quasarloop.read import find_files, read_spectra
from quasarloop.spectra import Flag

LINES = ("LYA", "CIV", "CIII", "MgII", "Hbeta", "Halpha")


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def truth_of(folder):
    with (folder / "truth.csv").open() as stream:
        return {row["file"].rsplit("/", 1)[-1]: row for row in csv.DictReader(stream)}


@pytest.fixture
def pair(shared_data, tmp_path):
    """The real pair in a folder of its own, and a qso_qn file that calls it a quasar."""
    name = "4-80613-thru20210324.fits"
    for kind in ("coadd", "redrock"):
        (tmp_path / f"{kind}-{name}").symlink_to(shared_data / "desi_redrock" / f"{kind}-{name}")
    ids = fitsio.read(tmp_path / f"redrock-{name}", "REDSHIFTS")["TARGETID"]
    columns = {"TARGETID": ids, "IS_QSO_QN_NEW_RR": [True], "Z_QN": [0.371]}
    columns |= {f"C_{line}": [0.97] for line in LINES} | {f"Z_{line}": [0.371] for line in LINES}
    columns |= {"Z_NEW": [0.37], "ZERR_NEW": [1e-4], "ZWARN_NEW": [4], "SPECTYPE_NEW": ["QSO"]}
    hdu = fits.table_to_hdu(Table(columns))
    hdu.name = "QN_RR"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / f"qso_qn-{name}")
    return tmp_path / f"redrock-{name}"


@pytest.mark.parametrize("command", ["desi", "mgii", "network"])
def test_help_has_an_example(command):
    result = run("qsocat", command, "--help")
    assert result.exit_code == 0
    assert f"quasarloop qsocat {command}" in result.stdout


def test_desi_from_files_beside_one_another(pair, tmp_path):
    out = tmp_path / "cat.fits"
    # A bright galaxy target, so the network alone is not enough; as a quasar target it is.
    result = run("qsocat", "desi", pair, "--out", out, "--recipe", "lss-dr1")
    assert result.exit_code == 0
    assert "1 spectra, 0 quasars" in result.stdout
    result = run(
        "qsocat",
        "desi",
        pair,
        "--out",
        out,
        "--targets",
        "all",
        "--recipe",
        "lss-dr1",
        "--overwrite",
    )
    assert result.exit_code == 0, result.output
    assert "1 spectra, 1 quasars" in result.stdout
    rows = read_catalogue(out)
    assert rows["QSO_MASKBITS"].tolist() == [int(QsoBit.NETWORK | QsoBit.RERUN)]
    assert (rows["Z"][0], rows["ZWARN"][0], rows["SPECTYPE"][0]) == (0.37, 4, "QSO")
    result = run("qsocat", "desi", pair, "--out", out, "--targets", "all", "--overwrite")
    assert "0 quasars" in result.stdout  # 0.97 is not enough today
    result = run(
        *("qsocat", "desi", pair, "--out", out, "--targets", "all", "--overwrite"),
        *("--threshold", "0.9", "--mgii", "none"),
    )
    assert "1 quasars" in result.stdout


def test_desi_says_which_file_was_not_used(pair, tmp_path):
    other = tmp_path / "redrock-5-1.fits"
    other.write_bytes(pair.read_bytes())
    out = tmp_path / "cat.fits"
    result = run("qsocat", "desi", pair, other, "--out", out, "--skip-bad-files")
    assert result.exit_code == 1
    assert "redrock-5-1.fits" in result.output
    assert len(read_catalogue(out)) > 0
    with pytest.raises(DataFormatError, match="qso_qn-5-1"):
        run("qsocat", "desi", other, "--out", out, "--overwrite")


def test_mgii_writes_what_desi_reads(pair, tmp_path):
    coadd = pair.with_name(pair.name.replace("redrock", "coadd"))
    out = pair.with_name(pair.name.replace("redrock", "qso_mgii"))
    result = run("qsocat", "mgii", "--coadd", coadd, "--redrock", pair, "--out", out)
    assert result.exit_code == 0
    assert "1 spectra, 1 with Mg II in view, 0 with a broad line" in result.stdout
    result = run("qsocat", "desi", pair, "--out", tmp_path / "c.csv", "--mgii", "file")
    assert result.exit_code == 0


@pytest.mark.parametrize("name", ["desi_tile80693", "desi_healpix9144"])
def test_real_coadds_through_afterburner_and_catalogue(shared_data, tmp_path, name):
    # redrock is made to call every one of these quasars a galaxy at z = 0.5.
    coadd = find_files([shared_data / name])[0]
    rest = coadd.name.removeprefix("coadd-").removesuffix(".gz")
    (tmp_path / coadd.name).symlink_to(coadd)
    ids = read_spectra(coadd).keys.target_id
    n = len(ids)
    redshifts = {
        "TARGETID": ids, "Z": np.full(n, 0.5), "ZERR": np.full(n, 1e-4), "ZWARN": np.full(n, 4),
        "CHI2": np.full(n, 1e3), "COEFF": np.zeros((n, 10)), "SPECTYPE": np.full(n, "GALAXY"),
        "SUBTYPE": np.full(n, "", "U20"), "DELTACHI2": np.full(n, 5.0),
    }  # fmt: skip
    hdus = [fits.PrimaryHDU()]
    for hdu_name, columns in (("REDSHIFTS", redshifts), ("FIBERMAP", {"TARGETID": ids})):
        hdus.append(fits.table_to_hdu(Table(columns)))
        hdus[-1].name = hdu_name
    redrock = tmp_path / f"redrock-{rest}"
    fits.HDUList(hdus).writeto(redrock)
    burned = run(
        *("afterburner", "--coadd", tmp_path / coadd.name, "--redrock", redrock),
        *("--output", tmp_path / f"qso_qn-{rest}", "--rerun", "later"),
    )
    assert burned.exit_code == 0, burned.output
    out = tmp_path / "cat.parquet"
    result = run(
        "qsocat", "desi", redrock, "--out", out, "--targets", "all", "--waiting", "network"
    )
    assert result.exit_code == 0, result.output
    assert f"{n} spectra, {n} quasars" in result.stdout
    rows = read_catalogue(out)
    assert set(rows["Z_SOURCE"].tolist()) == {"NETWORK"}
    with (shared_data / name / "truth.csv").open() as stream:
        truth = {
            int(row["targetid_or_plate_mjd_fiber"]): float(row["z"])
            for row in csv.DictReader(stream)
        }
    z = np.array([truth[target] for target in rows["TARGETID"].tolist()])
    assert (np.abs(rows["Z"] - z) < 0.02 * (1 + z)).all()


def test_boss_plate_without_redrock(shared_data, tmp_path):
    plate = shared_data / "boss_plate7102"
    out = tmp_path / "cat.parquet"
    result = run("qsocat", "network", plate, "--out", out, "--device", "cpu")
    assert result.exit_code == 0
    rows = read_catalogue(out)
    assert list(rows) == [column.name for column in NETWORK_COLUMNS]
    truth = truth_of(plate)
    kinds = [truth[source.rsplit("/", 1)[-1]] for source in rows["SOURCE"].tolist()]
    right = [kind["class"] == "QSO" for kind in kinds]
    assert sum(right) >= 0.9 * 62  # of the 62 quasars of the visual inspection
    assert sum(right) == len(right)  # and nothing else
    z = np.array([float(kind["z"]) for kind in kinds])
    assert np.mean(np.abs(rows["Z"] - z) < 0.05 * (1 + z)) > 0.95
    assert (rows["QSO_MASKBITS"] == QsoBit.NETWORK).all()
    assert set(rows["Z_SOURCE"].tolist()) == {"JOINT"}


def test_lamost_stars_without_redrock(shared_data, tmp_path):
    out = tmp_path / "cat.fits"
    result = run("qsocat", "network", shared_data / "lamost_dr1_stars", "--out", out)
    assert result.exit_code == 0
    rows = read_catalogue(out)
    # Another instrument than the network was trained for: most stars are refused, not all.
    assert len(rows["Z"]) < 0.2 * 60


def test_network_rows_are_the_called_targets_of_the_block(shared_data):
    weights = read_weights(default_weights_path())
    spectra = read_spectra(shared_data / "quasarnp_fixture" / "test_coadd.fits")
    options = ClassifyOptions(threshold=0.5)
    block = classify_spectra(prepare(spectra, weights.config.grid), Predictor(weights), options)
    called = np.flatnonzero(block["IS_QSO"])
    assert len(called) >= 3
    block["FLAGS"][called[0]] |= Flag.NOT_TARGET
    block["Z_JOINT"][called[1]] = np.nan
    block["P_ALT"][called[2]], block["P_ALT"][called[1]] = 0.3, np.nan
    rows = network_quasar_rows(block)
    assert rows["ROW"].tolist() == block["ROW"][called[1:]].tolist()
    assert rows["Z_SOURCE"][:2].tolist() == ["LINE", "JOINT"]
    assert rows["Z"][0] == block["Z_BEST"][called[1]]
    assert rows["Z"][1] == block["Z_JOINT"][called[2]]
    assert rows["ZWARN"][:2].tolist() == [0, 4]
    without = {name: values for name, values in block.items() if "JOINT" not in name}
    without = {n: v for n, v in without.items() if n not in ("Z_ALT", "P_ALT")}
    plain = network_quasar_rows(without)  # classified with joint=False
    assert set(plain["Z_SOURCE"].tolist()) == {"LINE"}
    assert np.isnan(plain["ZERR"]).all()


def test_network_passes_broken_files_only_if_told(shared_data, tmp_path):
    good = find_files([shared_data / "boss_plate7102"])[0]
    broken = tmp_path / "spec-1-2-3.fits"
    broken.write_bytes(good.read_bytes()[:9000])
    out = tmp_path / "cat.fits"
    with pytest.raises(DataFormatError, match="spec-1-2-3"):
        run("qsocat", "network", good, broken, "--out", out)
    assert not out.exists()
    result = run("qsocat", "network", good, broken, "--out", out, "--skip-bad-files")
    assert result.exit_code == 1
    assert "spec-1-2-3" in result.output
    assert out.exists()
