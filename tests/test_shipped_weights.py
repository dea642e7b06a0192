"""The weights that come with the package: one file for each grid, chosen by the spectra's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.campaign.test_run import config
from tests.network.test_weights import numpy_network
from typer.testing import CliRunner

import quasarloop as ql
from quasarloop.afterburner.network_step import load_network
from quasarloop.afterburner.quasar_catalogue import write_network_catalogue
from quasarloop.artefacts import checksum
from quasarloop.campaign.layout import start_weights
from quasarloop.campaign.state import Context
from quasarloop.catalogue.classify import classify_to_file, read_catalogue
from quasarloop.catalogue.inputs import find_inputs
from quasarloop.cli import app
from quasarloop.ensemble.manifest import open_ensemble
from quasarloop.errors import WeightsError
from quasarloop.grid import LINEAR_GRID, LOG_GRID, WaveGrid
from quasarloop.network.config import preset
from quasarloop.network.keras_layout import quasarnp_obstacles
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import default_weights_path, read_weights, weights_path
from quasarloop.quality import prepare
from quasarloop.store import ingest, iter_store, open_store
from quasarloop.tables import read_record

GRIDS = {"log": LOG_GRID, "linear": LINEAR_GRID}
BY_GRID = pytest.mark.parametrize("kind", GRIDS)


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """60 simulated spectra: folder of files, truth table, a store on each grid."""
    folder = tmp_path_factory.mktemp("sky")
    truth = ql.simulate_sky(folder / "files", 60, seed=8)
    for kind, grid in GRIDS.items():
        ingest(sorted((folder / "files").rglob("coadd-*")), folder / kind, grid=grid)
    return folder, truth


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@BY_GRID
def test_each_file_is_a_network_of_its_grid_with_its_story(kind):
    weights = read_weights(default_weights_path(GRIDS[kind]))
    assert weights.config.grid == GRIDS[kind]
    assert weights.config == replace(
        preset("quasarloop2026", GRIDS[kind]), redshift=weights.config.redshift
    )
    assert weights.config.redshift is not None
    assert not quasarnp_obstacles(weights.config)
    recipe = weights.provenance["recipe"]
    assert recipe["run"] == "ship"
    assert recipe["seed"] > 0
    assert recipe["templates_sha256"]
    assert recipe["classes"]["head"]["trunk"] != weights.digest()
    assert "head" not in weights.provenance  # heads on it share it as their trunk
    assert weights.provenance["first_weights_sha256"] != "none"
    assert weights.provenance["thresholds"]["confidence"] == 0.95


def flux_of(sky: tuple[Path, Path], kind: str) -> NDArray[np.float32]:
    return np.concatenate([part.flux for part in iter_store(open_store(sky[0] / kind))])


@BY_GRID
def test_an_independent_network_gives_the_same(sky, kind):
    path, flux = default_weights_path(GRIDS[kind]), flux_of(sky, kind)
    outputs = Predictor(read_weights(path)).predict(flux)
    confidence, offset = numpy_network(path, flux, rescale=True)
    np.testing.assert_allclose(outputs.confidence, confidence, atol=1e-5)
    np.testing.assert_allclose(outputs.offset, offset, atol=1e-5)


@BY_GRID
def test_quasarnp_gives_the_same(sky, kind, quasarnp_io):
    path, flux = default_weights_path(GRIDS[kind]), flux_of(sky, kind)
    outputs = Predictor(read_weights(path)).predict(flux)
    model, wave = quasarnp_io.load_model(path)
    theirs = np.stack(model.predict(flux[:, :, None]), axis=1)
    np.testing.assert_allclose(wave, GRIDS[kind].lower_edges_aa)
    np.testing.assert_allclose(outputs.confidence, theirs[..., :13], atol=1e-5)
    np.testing.assert_allclose(outputs.offset, theirs[..., 13:], atol=1e-5)


def test_the_wheel_stays_small():
    assert sum(default_weights_path(grid).stat().st_size for grid in GRIDS.values()) < 7e6


@pytest.mark.parametrize(
    ("name", "kind", "file"),
    [
        (None, "log", "default_weights.h5"),
        ("shipped", "log", "default_weights.h5"),
        (None, "linear", "default_weights_linear.h5"),
        (Path("shipped"), "linear", "default_weights_linear.h5"),
        ("shipped-linear", "log", "default_weights_linear.h5"),
        ("shipped-log", "linear", "default_weights.h5"),
        ("mine.h5", "linear", "mine.h5"),
    ],
)
def test_names_of_weights(name, kind, file):
    assert weights_path(name, GRIDS[kind]).name == file


def test_no_weights_for_another_grid():
    with pytest.raises(WeightsError, match=r"none for a log grid, 88 bins .*quasarloop train"):
        default_weights_path(WaveGrid("log", 3600.0, 0.005, 88))


@BY_GRID
def test_an_installation_without_weights(monkeypatch, tmp_path, kind):
    monkeypatch.setattr("quasarloop.network.weights.resources.files", lambda _: tmp_path)
    with pytest.raises(WeightsError, match="--weights"):
        default_weights_path(GRIDS[kind])


def test_files_come_on_the_log_grid_unless_named(sky):
    folder, _ = sky
    assert find_inputs(folder / "files").grid == LOG_GRID
    for name, kind in (("shipped", "log"), ("shipped-linear", "linear")):
        table = ql.classify(folder / "files", name)
        assert table.meta["weights_sha256"] == checksum(default_weights_path(GRIDS[kind]))
    assert load_network().predictor.config.grid == LOG_GRID
    assert load_network("shipped-linear").predictor.config.grid == LINEAR_GRID
    assert "458 bins" in run("weights", "info", "shipped-linear")


@BY_GRID
def test_everything_that_reads_a_store_takes_the_file_of_its_grid(sky, tmp_path, kind):
    folder, truth = sky
    store, own = folder / kind, default_weights_path(GRIDS[kind])
    classify_to_file([store], tmp_path / "c.parquet")
    run("classify", store, "--weights", "shipped", "--out", tmp_path / "d.parquet")
    for name in "cd":
        assert read_record(tmp_path / f"{name}.parquet")["weights_sha256"] == checksum(own)
    found = read_catalogue(tmp_path / "c.parquet")["IS_QSO"]
    assert np.array_equal(found, ql.classify(store)["IS_QSO"])
    write_network_catalogue([store], tmp_path / "q.parquet")
    assert read_record(tmp_path / "q.parquet")["weights_sha256"] == checksum(own)
    rebinned = prepare(ql.read_spectra(next((folder / "files").rglob("coadd-*"))), GRIDS[kind])
    assert ql.classify(rebinned).meta["weights"] == own.name
    ql.plot_spectrum(store, 3, ql.classify(store))

    run("ensemble", "train", "--store", store, "--truth", truth, "--heads", 2, "--out",
        tmp_path / "heads")  # fmt: skip
    trunk = read_weights(own).digest()
    assert read_weights(open_ensemble(tmp_path / "heads").members[0]).config.grid == GRIDS[kind]
    labels = ql.read_truth(truth)
    heads = ql.train_ensemble(store, labels, tmp_path / "more", heads=2)
    assert read_weights(heads.members[0]).config.grid == GRIDS[kind]
    options = ql.FinetuneOptions(epochs=1, rehearsal=0)
    tuned = ql.finetune(store, labels, options=options).weights
    assert tuned.provenance["first_weights_sha256"] == trunk
    run("train", "--from", "shipped", "--store", store, "--truth", truth, "--epochs", 1,
        "--rehearsal", 0, "--out", tmp_path / "w.h5")  # fmt: skip
    assert read_weights(tmp_path / "w.h5").provenance["first_weights_sha256"] == trunk


@BY_GRID
def test_training_from_nothing_takes_the_grid_of_its_store(sky, kind):
    folder, truth = sky
    options = ql.TrainingOptions(epochs=1)
    small = {"network": "quasarloop2026", "n_filters": 2}
    result = ql.train(folder / kind, ql.read_truth(truth), options=options, **small)
    assert result.weights.config.grid == GRIDS[kind]


@BY_GRID
def test_a_campaign_begins_from_the_file_of_its_grid(tmp_path, kind):
    options = config(rounds=1)
    options = replace(options, data=replace(options.data, grid=kind))
    weights = start_weights(Context(tmp_path, options, 1), "shipped")
    assert weights.digest() == read_weights(default_weights_path(GRIDS[kind])).digest()


@BY_GRID
def test_calibrating_takes_the_file_of_the_store(sky, tmp_path, kind):
    """With too few quasars it ends, but after the grid of the weights was found to be right."""
    folder, truth = sky
    arguments = ["shipped", "--store", folder / kind, "--truth", truth, "--out", tmp_path / "w.h5"]
    result = CliRunner().invoke(app, ["weights", "calibrate", *map(str, arguments)])
    assert "too few to calibrate" in str(result.exception)
