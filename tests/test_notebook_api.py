"""A notebook's calls: tables with their record, figures, one-line reprs, defaults that work."""

import json
import subprocess
import sys

import numpy as np
import pytest

import quasarloop as ql
from quasarloop.artefacts import checksum
from quasarloop.errors import DataFormatError, WeightsError
from quasarloop.network.decode import LineOutputs
from quasarloop.network.joint import joint_redshifts, redshift_density
from quasarloop.network.options import FinetuneOptions, TrainingOptions
from quasarloop.network.weights import default_weights_path, read_weights
from quasarloop.quality import prepare


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A small simulated sky: its folder, its truth, its spectra."""
    folder = tmp_path_factory.mktemp("sky")
    truth = ql.read_truth(ql.simulate_sky(folder, 40, seed=3))
    return folder, truth, ql.read_spectra(next(folder.rglob("coadd-*.fits")))


@pytest.fixture(scope="module")
def trained(sky):
    folder, truth, _ = sky
    options = TrainingOptions(epochs=1)
    small = {"network": "quasarloop2026", "n_filters": 4}
    return ql.train(folder, truth, options=options, validation=0.3, **small)


def test_a_table_has_units_descriptions_weights_checksum_and_options(sky):
    _, _, spectra = sky
    table = ql.classify(spectra, threshold=0.5)
    assert str(table["TARGET_RA"].unit) == "deg"
    assert all(table[name].description for name in table.colnames)
    assert table.meta["weights"] == "default_weights.h5"
    assert table.meta["weights_sha256"] == checksum(default_weights_path())
    assert table.meta["options"]["threshold"] == 0.5
    json.dumps(table.meta)


def test_weights_in_memory_classify_as_their_file_does(sky, trained, tmp_path):
    _, _, spectra = sky
    ql.write_weights(trained.weights, tmp_path / "w.h5")
    held, filed = ql.classify(spectra, trained.weights), ql.classify(spectra, tmp_path / "w.h5")
    assert (held["C_LYA"] == filed["C_LYA"]).all()
    assert held.meta["weights"] == "memory"
    assert held.meta["weights_sha256"] == trained.weights.digest()


def test_a_figure_has_the_lines_and_the_density(sky):
    folder, _, spectra = sky
    table = ql.classify(spectra)
    row = int(np.flatnonzero(table["IS_QSO"])[0])
    figure = ql.plot_spectrum(spectra, row, table)
    left, right = figure.axes
    names = {text.get_text().split()[0] for text in left.texts}
    assert names & {"Lyα", "C", "Mg", "Hβ", "Hα"}
    assert str(table["TARGETID"][row]) in left.get_title(loc="left")
    assert right.get_title() == f"z = {table['Z_JOINT'][row]:.4f}"
    z, p = right.lines[0].get_data()
    assert abs(z[np.argmax(p)] - table["Z_JOINT"][row]) < 0.01 * (1 + table["Z_JOINT"][row])
    # The same from the files, and without a catalogue.
    again = ql.plot_spectrum(folder, row)
    assert [t.get_text() for t in again.axes[0].texts] == [t.get_text() for t in left.texts]


def test_a_store_is_drawn_from_its_files_or_its_bins(sky, tmp_path):
    _, _, spectra = sky
    ql.ingest(spectra, tmp_path / "store")  # of memory: no file to go back to
    table = ql.classify(tmp_path / "store")
    assert len(ql.plot_spectrum(tmp_path / "store", 1, table).axes) == 2


def test_figures_of_other_rows_spectra_or_weights_are_refused(sky, trained):
    _, _, spectra = sky
    mine = ql.Spectra.from_arrays(
        spectra.arms[0].wave_aa, spectra.arms[0].flux[:3], spectra.arms[0].ivar[:3]
    )
    table = ql.classify(mine)
    with pytest.raises(DataFormatError, match="no row 3: 3 spectra"):
        ql.plot_spectrum(mine, 3, table)
    with pytest.raises(DataFormatError, match="give what was classified, in the same order"):
        ql.plot_spectrum(mine[::-1], 0, table)
    with pytest.raises(WeightsError, match=r"made with default_weights\.h5"):
        ql.plot_spectrum(mine, 0, table, weights=trained.weights)


def test_density_of_boxes_peaks_at_the_joint_redshift():
    config = read_weights(default_weights_path()).config
    confidence = np.full((1, config.n_lines, config.n_boxes), 1e-3)
    offset = np.full(confidence.shape, 0.5, np.float32)
    z = 2.5
    for index in config.emission_index:
        place = np.interp(
            config.lines[index].wave_rest_aa * (1 + z),
            config.grid.lower_edges_aa,
            np.arange(config.grid.n_bins) * config.n_boxes / config.grid.n_bins,
            left=-1,
            right=-1,
        )
        if place >= 0:
            confidence[0, index, int(place)] = 0.999
            offset[0, index, int(place)] = place % 1
    outputs = LineOutputs(confidence, offset)
    at, p = redshift_density(outputs, config)
    assert at[np.argmax(p[0])] == pytest.approx(z, abs=0.01)
    assert joint_redshifts(outputs, config).z[0] == pytest.approx(z, abs=0.01)
    assert p.max() == 1


def test_reprs_are_one_short_line(sky, trained, tmp_path):
    folder, truth, spectra = sky
    summary = ql.ingest(spectra, tmp_path / "store")
    store = ql.open_store(tmp_path / "store")
    made = ql.train_ensemble(
        folder, truth, tmp_path / "e", networks=2, options=TrainingOptions(epochs=1), n_filters=4
    )
    votes = ql.vote(made, store, tmp_path / "votes")
    cells = ql.map_store(store, tmp_path / "map.npz", rows=3, columns=3, epochs=1)
    judgement = ql.judge(ql.classify(store), truth)
    rebinned = prepare(spectra, store.grid)
    for thing in (
        *(spectra, spectra.keys, spectra.arms[0], rebinned, truth, summary, store, trained),
        *(trained.weights, made, votes, cells, ql.select(tmp_path / "votes", n=3), judgement),
    ):
        text = repr(thing)
        assert len(text) < 300, text
        assert "\n" not in text
        assert text.startswith(type(thing).__name__)


def test_the_recommended_options_are_the_defaults_everywhere():
    own = TrainingOptions()
    assert (own.epochs, own.learning_rate, own.schedule) == (60, 3e-3, "cosine")
    tuned = FinetuneOptions()
    assert (tuned.epochs, tuned.learning_rate, tuned.schedule) == (10, 1e-3, "constant")
    from quasarloop.ensemble.options import EnsembleOptions

    assert EnsembleOptions().training == own
    for command in (["train"], ["ensemble", "train"]):
        from typer.testing import CliRunner

        from quasarloop.cli import app

        shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).output
        assert "default: 60" in shown
        assert "default: cosine" in shown


def test_defaults_find_most_of_what_they_were_trained_on(shared_data):
    plate = shared_data / "boss_plate7102"
    files, truth = sorted(plate.glob("spec-*.fits"))[:50], ql.read_truth(plate / "truth.csv")
    weights = ql.train(files, truth, network="quasarloop2026", n_filters=24, seed=1).weights
    found = ql.judge(ql.classify(files, weights), truth)
    assert found.completeness.value > 0.5
    assert found.purity.value > 0.9


def test_classify_loads_neither_campaign_nor_figures_nor_training():
    code = (
        "import sys; from quasarloop import classify;"
        "heavy = ('campaign', 'simulate', 'ensemble', 'query', 'evaluate', 'inspect');"
        "heavy = ['quasarloop.' + name for name in heavy];"
        "heavy += ['matplotlib', 'pydantic', 'sklearn', 'specutils', 'astropy.cosmology'];"
        "print([m for m in heavy if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
