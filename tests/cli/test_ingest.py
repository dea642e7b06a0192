"""``quasarloop ingest``, as typed."""

import numpy as np
import pytest
from typer.testing import CliRunner

from quasarloop.cli import app
from quasarloop.errors import DataFormatError, GridError
from quasarloop.grid import LINEAR_GRID
from quasarloop.store import open_store


def run(*arguments):
    return CliRunner().invoke(app, ["ingest", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path, spectrum_files):
    (tmp_path / "survey").mkdir()
    types = {"OBJTYPE": np.array(["TGT", "SKY", "TGT", "TGT"])}
    spectrum_files.write_coadd(tmp_path / "survey" / "coadd-1.fits", columns=types)
    spectrum_files.write_coadd(tmp_path / "survey" / "coadd-2.fits", seed=5)
    return tmp_path / "survey"


def test_a_folder_with_counts_per_flag(tmp_path, folder):
    result = run(folder, "--store", tmp_path / "store")
    assert result.exit_code == 0, result.output
    assert "8 spectra of 2 files in the store (0 were there before)" in result.stdout
    assert "NOT_TARGET" in result.stdout
    assert "12.50%" in result.stdout
    again = run(folder, "--store", tmp_path / "store", "--workers", 2)
    assert "8 spectra of 2 files in the store (2 were there before)" in again.stdout


def test_bad_files_end_with_status_1_after_all_others(tmp_path, folder):
    (folder / "coadd-0.fits").write_text("nothing of the kind" * 200)
    result = run(folder, "--store", tmp_path / "store")
    assert result.exit_code == 1
    assert "8 spectra of 2 files" in result.stdout
    assert "1 files could not be ingested" in result.stderr
    assert "coadd-0.fits: not a FITS file" in result.stderr


def test_outliers_are_kept_when_requested(tmp_path, folder):
    assert run(folder, "--store", tmp_path / "kept", "--no-mend-outliers").exit_code == 0
    assert not open_store(tmp_path / "kept").mend_outliers
    assert run(folder, "--store", tmp_path / "store").exit_code == 0
    assert open_store(tmp_path / "store").mend_outliers


def test_the_grid_is_chosen_once(tmp_path, folder):
    assert run(folder, "--store", tmp_path / "store", "--grid", "linear").exit_code == 0
    assert open_store(tmp_path / "store").grid == LINEAR_GRID
    # Later files take the store's own grid unless another is asked for.
    assert run(folder, "--store", tmp_path / "store").exit_code == 0
    assert isinstance(
        run(folder, "--store", tmp_path / "store", "--grid", "log").exception, GridError
    )
    assert isinstance(run(folder, "--store", tmp_path / "s", "--grid", "x").exception, GridError)


def test_nothing_to_ingest(tmp_path):
    result = run(tmp_path, "--store", tmp_path / "store")
    assert isinstance(result.exception, DataFormatError)
    assert not (tmp_path / "store").exists()


def test_help_shows_an_example():
    assert "quasarloop ingest coadd-*.fits --store sky" in run("--help").output
