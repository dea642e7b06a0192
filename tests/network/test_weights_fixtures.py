"""QuasarNP's own weights files, beside what TensorFlow, QuasarNET and QuasarNP make of them."""

import numpy as np
import pytest
from benchmarks.plain_network import plain_predict
from tests.network.numpy_network import numpy_network

from quasarloop.grid import LOG_GRID
from quasarloop.network.config import NetworkConfig, preset
from quasarloop.network.decode import classify_finds, decode
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import (
    inspect_weights,
    read_weights,
    write_weights,
)


@pytest.fixture
def fixture_dir(shared_data):
    return shared_data / "quasarnp_fixture"


@pytest.fixture
def coadd(fixture_dir):
    return np.load(fixture_dir / "coadd_x.npy").astype(np.float32)


FIXTURES = ["test_weights.h5", "test_weights_6_layer.h5"]


@pytest.mark.parametrize("name", FIXTURES)
def test_fixtures_agree_with_an_independent_network(fixture_dir, coadd, name):
    weights = read_weights(fixture_dir / name)
    confidence, offset = numpy_network(fixture_dir / name, coadd, rescale=True)
    for outputs in (Predictor(weights).predict(coadd), plain_predict(weights, coadd)):
        np.testing.assert_allclose(outputs.confidence, confidence, atol=1e-5)
        np.testing.assert_allclose(outputs.offset, offset, atol=1e-5)


def test_six_layer_fixture_gives_what_tensorflow_gave(fixture_dir, coadd):
    stored = np.load(fixture_dir / "qnet_output_6_layer.npy").transpose(1, 0, 2)
    outputs = Predictor(read_weights(fixture_dir / FIXTURES[1])).predict(coadd)
    np.testing.assert_allclose(outputs.confidence, stored[..., :13], atol=1e-5)
    np.testing.assert_allclose(outputs.offset, stored[..., 13:], atol=1e-5)


def test_decoding_gives_quasarnets_stored_confidences_and_redshifts(fixture_dir):
    # Made by QuasarNET itself, which goes on in a straight line past the red end.
    outputs = np.load(fixture_dir / "predict_data.npy").transpose(1, 0, 2)
    from quasarloop.network.decode import LineOutputs

    outputs = LineOutputs(outputs[..., :13], outputs[..., 13:])
    finds = decode(outputs, NetworkConfig())
    lines = np.load(fixture_dir / "predict_lya.npy").T
    np.testing.assert_allclose(finds.confidence[:, :6], lines, atol=1e-12)
    bal_z = np.load(fixture_dir / "predict_bal.npy")[0]
    ours = np.abs(finds.z[:, 6] - bal_z)
    clamped = np.abs(decode(outputs, NetworkConfig(), "clamp").z[:, 6] - bal_z)
    # One of the 383 lines is past the red end: 8e-5 off on our curve, 0.026 if clamped.
    assert (np.sort(ours)[:-1] < 1e-9).all()
    assert (np.sort(clamped)[:-1] < 1e-9).all()
    assert bal_z[ours.argmax()] == pytest.approx(5.46, abs=0.005)
    assert ours.max() == pytest.approx(8.4e-5, rel=0.01)
    assert clamped.max() == pytest.approx(0.0262, rel=0.01)


def test_the_rescale_trap_from_first_principles(fixture_dir, coadd):
    """QuasarNP reads the 6-layer file as plain; how much that moves its quasars."""
    path = fixture_dir / FIXTURES[1]
    confidence, sigmoid = numpy_network(path, coadd, rescale=False)
    right, as_quasarnp = read_weights(path), read_weights(path, "plain")
    assert right.config.rescales_offsets
    assert not as_quasarnp.config.rescales_offsets
    outputs = Predictor(as_quasarnp).predict(coadd)
    np.testing.assert_allclose(outputs.offset, sigmoid, atol=1e-5)
    # -0.1 + 1.2 s differs from s by at most a tenth of a box; here by 0.096
    assert np.abs(-0.1 + 0.2 * sigmoid).max() == pytest.approx(0.0957, abs=1e-4)

    emission = confidence[:, :6]
    best = emission.max(axis=2).argmax(axis=1)
    rows = np.flatnonzero(emission.max(axis=(1, 2)) > 0.95)
    box = emission[rows, best[rows]].argmax(axis=1)
    boxes_off = np.abs(-0.1 + 0.2 * sigmoid[rows, best[rows], box])
    light_km_s = 299_792.458
    by_hand = light_km_s * np.log(10) * 1e-3 * (443 / 13) * boxes_off.max()
    assert by_hand == pytest.approx(814, abs=1)

    z = [
        classify_finds(decode(Predictor(w).predict(coadd), w.config), w.config)
        for w in (right, as_quasarnp)
    ]
    assert z[0].is_qso.tolist() == z[1].is_qso.tolist()  # confidences agree: nobody notices
    velocity = light_km_s * np.abs(np.log((1 + z[0].z_best) / (1 + z[1].z_best)))
    assert velocity[z[0].is_qso].max() == pytest.approx(814, abs=1)


@pytest.mark.parametrize("name", FIXTURES)
def test_quasarnp_reads_our_files_like_us(fixture_dir, coadd, tmp_path, name, quasarnp_io):
    load_model = quasarnp_io.load_model
    source, copy = fixture_dir / name, tmp_path / "copy.h5"
    theirs = np.stack(load_model(source)[0].predict(coadd[:, :, None]), axis=1)
    facts = inspect_weights(source)[1]
    their_way = read_weights(source, "rescaled" if facts.quasarnp_rescales else "plain")
    ours = Predictor(their_way).predict(coadd)
    np.testing.assert_allclose(ours.confidence, theirs[..., :13], atol=1e-5)
    np.testing.assert_allclose(ours.offset, theirs[..., 13:], atol=1e-5)
    write_weights(read_weights(source), copy)
    model, wave = load_model(copy)
    theirs = np.stack(model.predict(coadd[:, :, None]), axis=1)
    ours = Predictor(read_weights(source)).predict(coadd)
    np.testing.assert_allclose(ours.confidence, theirs[..., :13], atol=1e-5)
    np.testing.assert_allclose(ours.offset, theirs[..., 13:], atol=1e-5)
    np.testing.assert_allclose(wave, LOG_GRID.lower_edges_aa)


def test_fixtures_tell_their_variant(fixture_dir):
    four, facts = inspect_weights(fixture_dir / FIXTURES[0])
    assert four.config.widths == (443, 217, 104, 48, 20)
    assert (four.config.n_filters, four.config.n_dense, four.config.dropout) == (25, 25, 0.2)
    assert dict(facts.layers)["batch_normalization"] == "batch_normalization_1"
    assert dict(facts.layers)["batch_normalization_4"] == "batch_normalization_5"
    assert facts.quasarnp_rescales
    six, facts = inspect_weights(fixture_dir / FIXTURES[1])
    assert six.config == preset("green2025")
    assert not facts.quasarnp_rescales
    assert "lambda_0" in facts.offsets
    assert six.provenance["origin"]["file"] == FIXTURES[1]
