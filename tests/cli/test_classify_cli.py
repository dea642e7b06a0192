"""The classify command as a user types it, with the weights inside the package."""

import json

import pytest
from astropy.table import Table
from typer.testing import CliRunner

from quasarloop.catalogue.classify import read_catalogue
from quasarloop.cli import app
from quasarloop.errors import DataFormatError, OutputError


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def coadd(tmp_path, spectrum_files):
    return spectrum_files.write_coadd(
        tmp_path / "coadd-1.fits", target_ids=[39627945488154697, -5, 0, 9]
    )


@pytest.mark.parametrize("ending", ["fits", "parquet", "csv", "ecsv"])
def test_every_format_with_the_weights_inside(tmp_path, coadd, ending):
    made = tmp_path / f"c.{ending}"
    assert run("classify", coadd, "--out", made).exit_code == 0
    assert read_catalogue(made)["TARGETID"].tolist() == [39627945488154697, -5, 0, 9]


def test_ecsv_header_holds_what_json_can_hold(tmp_path, coadd):
    run("classify", coadd, "--out", tmp_path / "c.ecsv")
    meta = dict(Table.read(tmp_path / "c.ecsv", format="ascii.ecsv").meta)
    assert json.loads(json.dumps(meta)) == meta
    assert meta["options"]["threshold"] == 0.95


def test_existing_and_impossible_outputs_are_refused_before_work(tmp_path, coadd):
    (tmp_path / "c.fits").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        run("classify", coadd, "--out", tmp_path / "c.fits")
    assert (tmp_path / "c.fits").read_text() == "mine"
    with pytest.raises(OutputError, match="folder"):
        run("classify", coadd, "--out", tmp_path / "no" / "c.fits")
    with pytest.raises(OutputError, match="ending"):
        run("classify", coadd, "--out", tmp_path / "c.doc")


def test_bad_files_are_named_and_the_others_done(tmp_path, coadd):
    (tmp_path / "coadd-2.fits").write_bytes(coadd.read_bytes()[:40000])
    both = (coadd, tmp_path / "coadd-2.fits")
    with pytest.raises(DataFormatError, match="coadd-2"):
        run("classify", *both, "--out", tmp_path / "c.csv")
    assert not (tmp_path / "c.csv").exists()
    result = run("classify", *both, "--out", tmp_path / "c.csv", "--skip-bad-files")
    assert result.exit_code == 1
    assert "4 spectra" in result.stdout
    assert len(read_catalogue(tmp_path / "c.csv")["TARGETID"]) == 4
