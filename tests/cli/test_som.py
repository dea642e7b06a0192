"""The map's commands, end to end on a small store."""

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from quasarloop.cli import app
from quasarloop.errors import DataFormatError, OutputError, SelectionError
from quasarloop.grid import LOG_GRID
from quasarloop.query.som_files import read_cells, read_map
from quasarloop.spectra import Keys, RebinnedSpectra
from quasarloop.store import create_store, shard_path
from quasarloop.store.files import schema_of, table_from_spectra


def _make_store(folder, seed):
    rng = np.random.default_rng(seed)
    create_store(folder, LOG_GRID)
    for i in range(2):
        n = 40
        line = np.exp(-0.5 * ((np.arange(443) - rng.uniform(0, 443, (n, 1))) / 8) ** 2)
        spectra = RebinnedSpectra(
            grid=LOG_GRID,
            flux=(5 * line + 0.1 * rng.normal(size=(n, 443))).astype(np.float32),
            ivar=np.ones((n, 443), np.float32),
            mean_flux=np.zeros(n),
            rms_flux=np.ones(n),
            sn=np.ones((n, 3), np.float32),
            flags=np.zeros(n, np.int32),
            keys=Keys.make(np.arange(n) + 100 * i + 1),
            source=np.full(n, "x.fits"),
            row=np.arange(n),
        )
        path = shard_path(folder, f"{i:02d}{seed}")
        path.parent.mkdir(parents=True)
        pq.write_table(table_from_spectra(spectra, schema_of(LOG_GRID)), path)
    return folder


def _run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def store(tmp_path):
    return _make_store(tmp_path / "store", 0)


def test_fit_assign_plot(tmp_path, store):
    som = tmp_path / "map.npz"
    fitted = _run("som", "fit", store, "--out", som, "--rows", 4, "--columns", 5, "--epochs", 3)
    assert "80 spectra" in fitted.output
    assert read_map(som).som.cells.describe() == "4 x 5 torus"
    assert read_map(som).record["options"]["n_epochs"] == 3
    cells = read_cells(tmp_path / "map.cells.parquet")
    assert cells.scan().collect()["CELL"].is_between(0, 19).all()
    again = tmp_path / "again.parquet"
    _run("som", "assign", som, store, "--out", again)
    assert pl.read_parquet(again).equals(cells.scan().collect())
    (tmp_path / "truth.csv").write_text(
        "TARGETID,SPECTYPE,Z\n" + "".join(f"{i},QSO,{0.05 * i}\n" for i in range(1, 41))
    )
    figures = tmp_path / "figures"
    _run("som", "plot", som, "--out", figures, "--truth", tmp_path / "truth.csv",
         "--store", store, "--cell", 3, "--cell", 19)  # fmt: skip
    names = {path.name for path in figures.iterdir()}
    assert names == {"counts.png", "walls.png", "cell-0003.png", "cell-0019.png"}
    with pytest.raises(SelectionError, match="below 20"):
        _run("som", "plot", som, "--out", figures, "--store", store, "--cell", 20)


def test_sequential_training_and_sheets(tmp_path, store):
    som = tmp_path / "map.npz"
    _run("som", "fit", store, "--out", som, "--rows", 2, "--columns", 2, "--no-torus",
         "--sequential", "--no-assign")  # fmt: skip
    assert read_map(som).record["options"]["n_iterations"] == 200
    assert not read_map(som).som.cells.torus
    assert not (tmp_path / "map.cells.parquet").exists()


def test_other_data_and_existing_files_are_refused(tmp_path, store):
    som = tmp_path / "map.npz"
    _run("som", "fit", store, "--out", som, "--rows", 2, "--columns", 2, "--epochs", 1)
    other = _make_store(tmp_path / "other", 1)
    out = tmp_path / "other.parquet"
    with pytest.raises(SelectionError, match="--other-data"):
        _run("som", "assign", som, other, "--out", out)
    assert not out.exists()
    _run("som", "assign", som, other, "--out", out, "--other-data")
    with pytest.raises(OutputError, match="exists"):
        _run("som", "fit", store, "--out", som)
    with pytest.raises(DataFormatError, match=r"map\.npz"):
        _run("som", "fit", store, "--out", tmp_path / "map.fits")
    # A map made anew no longer owns the cells that stand beside it.
    _run("som", "fit", store, "--out", som, "--rows", 3, "--columns", 2, "--epochs", 1,
         "--no-assign", "--overwrite")  # fmt: skip
    with pytest.raises(SelectionError, match="another map"):
        _run("som", "plot", som, "--out", tmp_path / "figures")
