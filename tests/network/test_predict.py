"""Fast prediction: folded, blocked, and still the network it was made from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.plain_network import plain_predict
from hypothesis import given, settings
from hypothesis import strategies as st

from quasarloop.errors import WeightsError
from quasarloop.grid import LINEAR_GRID, WaveGrid
from quasarloop.lines import EMISSION_LINES
from quasarloop.network.config import NetworkConfig, preset
from quasarloop.network.decode import classify_finds, decode
from quasarloop.network.model import LineFinder
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import from_module

SMALL_GRID = WaveGrid("linear", 4000.0, 30.0, 61)
CONFIGS = {
    "busca2018": preset("busca2018", n_filters=20, n_dense=30),
    "green2025": preset("green2025", n_filters=20, n_dense=30),
    "linear grid": preset("green2025", LINEAR_GRID, n_filters=20, n_dense=30),
    "own shape": NetworkConfig(
        n_conv=3,
        n_filters=5,
        kernel_width=7,
        stride=3,
        n_dense=4,
        n_boxes=4,
        lines=EMISSION_LINES[:2],
        grid=SMALL_GRID,
        offset_low=0.0,
        offset_high=1.0,
    ),
    "one filter": NetworkConfig(n_conv=2, n_filters=1, kernel_width=4, n_dense=3, grid=SMALL_GRID),
}


def trained_like(config, seed=0):
    """A network whose normalisations have seen something, as after training."""
    module = LineFinder(config, torch.Generator().manual_seed(seed))
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for norm in [*module.conv_norms, module.common_norm]:
            n = norm.num_features
            norm.running_mean.copy_(torch.from_numpy(rng.normal(0, 0.3, n)))
            norm.running_var.copy_(torch.from_numpy(rng.uniform(0.3, 3, n)))
            norm.weight.copy_(torch.from_numpy(rng.normal(1, 0.3, n)))
            norm.bias.copy_(torch.from_numpy(rng.normal(0, 0.3, n)))
        for layer in [*module.convs, module.common, module.box, module.offset]:
            layer.bias.copy_(torch.from_numpy(rng.normal(0, 0.3, len(layer.bias))))
    return from_module(module)


def spectra(config, n, seed=1):
    return np.random.default_rng(seed).normal(size=(n, config.grid.n_bins)).astype(np.float32)


@pytest.mark.parametrize("name", CONFIGS)
def test_folded_network_agrees_with_the_plain_one(name):
    weights = trained_like(CONFIGS[name])
    flux = spectra(weights.config, 300)  # more than one block, the last one short
    fast, slow = Predictor(weights).predict(flux), plain_predict(weights, flux)
    assert fast.confidence.shape == (300, weights.config.n_lines, weights.config.n_boxes)
    np.testing.assert_allclose(fast.confidence, slow.confidence, atol=1e-5)
    np.testing.assert_allclose(fast.offset, slow.offset, atol=1e-5)
    assert slow.confidence.std() > 0.01  # a network that says something


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.integers(0, 399), min_size=1, max_size=12, unique=True))
def test_a_spectrum_gets_the_same_answer_in_any_company(rows):
    weights = trained_like(CONFIGS["green2025"])
    flux = spectra(weights.config, 400)
    predictor = Predictor(weights)
    together, alone = predictor.predict(flux), predictor.predict(flux[rows])
    np.testing.assert_allclose(alone.confidence, together.confidence[rows], atol=1e-6)


def test_the_same_rows_give_the_same_bytes():
    weights = trained_like(CONFIGS["green2025"])
    flux = spectra(weights.config, 200)
    one, two = (Predictor(weights).predict(flux) for _ in range(2))
    assert one.confidence.tobytes() == two.confidence.tobytes()
    assert one.offset.tobytes() == two.offset.tobytes()


@pytest.mark.parametrize("name", CONFIGS)
def test_best_boxes_of_the_device_are_those_that_decoding_all_outputs_finds(name):
    predictor = Predictor(trained_like(CONFIGS[name]))
    flux = spectra(predictor.config, 300)
    expected = decode(predictor.predict(flux), predictor.config, "clamp")
    for source in (flux, predictor.upload(flux)):
        found = predictor.finds(source, "clamp")
        np.testing.assert_array_equal(found.z, expected.z)
        np.testing.assert_allclose(found.confidence, expected.confidence, rtol=1e-14)
    assert found.confidence.dtype == np.float64
    assert predictor.finds(flux[:0]).z.shape == (0, predictor.config.n_lines)


def test_what_is_uploaded_is_a_copy_on_the_right_grid():
    predictor = Predictor(trained_like(CONFIGS["green2025"]))
    flux = spectra(predictor.config, 3).astype(np.float64)
    flux.flags.writeable = False
    there = predictor.upload(flux)
    assert (there.dtype, there.device) == (torch.float32, predictor.device)
    np.testing.assert_array_equal(there.cpu().numpy(), flux.astype(np.float32))
    with pytest.raises(WeightsError, match="the network reads"):
        predictor.upload(flux[:, :-1])
    with pytest.raises(WeightsError, match="the network reads"):
        predictor.finds(there[:, :-1])


def test_offsets_stay_in_their_range():
    config = CONFIGS["green2025"]
    outputs = Predictor(trained_like(config)).predict(50 * spectra(config, 64))
    assert outputs.offset.min() >= np.float32(-0.1)
    assert outputs.offset.max() <= np.float32(1.1)
    assert outputs.offset.min() < 0.1  # huge input: offsets reach far out
    assert 0 <= outputs.confidence.min() <= outputs.confidence.max() <= 1


def test_the_better_of_two_certain_lines_is_still_the_better():
    # Logits 18 and 19: both confidences are 1 in float32, and the first line would win.
    weights = trained_like(CONFIGS["busca2018"])
    arrays = dict(weights.arrays)
    for line in range(7):
        arrays[f"fc_box_{line}/kernel"] = np.zeros((30, 13), np.float32)
        arrays[f"fc_box_{line}/bias"] = np.full(13, {0: 18, 2: 19}.get(line, -5), np.float32)
    certain = replace(weights, arrays=arrays)
    flux = spectra(certain.config, 3)
    for outputs in (Predictor(certain).predict(flux), plain_predict(certain, flux)):
        assert np.all(outputs.confidence[:, [0, 2]].astype(np.float32) == 1)
        finds = decode(outputs, certain.config)
        assert classify_finds(finds, certain.config).best_line.tolist() == [2, 2, 2]


def test_input_is_not_changed_and_any_array_will_do():
    config = CONFIGS["busca2018"]
    predictor = Predictor(trained_like(config))
    flux = spectra(config, 5)
    before = flux.copy()
    expected = predictor.predict(flux).confidence
    assert np.array_equal(flux, before)
    for same in (flux.astype(float), np.asfortranarray(flux), flux.tolist(), flux[::-1][::-1]):
        np.testing.assert_array_equal(predictor.predict(same).confidence, expected)
    flux.setflags(write=False)  # as memory-mapped rows of a store are
    np.testing.assert_array_equal(predictor.predict(flux).confidence, expected)


def test_no_rows_and_empty_rows():
    config = CONFIGS["busca2018"]
    predictor = Predictor(trained_like(config))
    assert len(predictor.predict(np.zeros((0, 443)))) == 0
    empty = predictor.predict(np.zeros((3, 443)))
    result = classify_finds(decode(empty, config), config)
    assert np.isfinite(empty.confidence).all()
    assert np.isfinite(result.z_best).all()


@pytest.mark.parametrize("shape", [(3, 458), (443,), (2, 443, 1)])
def test_spectra_of_another_grid_are_refused(shape):
    with pytest.raises(WeightsError, match="443 bins"):
        Predictor(trained_like(CONFIGS["busca2018"])).predict(np.zeros(shape))


@pytest.mark.skipif(
    not (torch.cuda.is_available() or torch.backends.mps.is_available()),
    reason="no accelerator on this machine",
)
@pytest.mark.parametrize("name", CONFIGS)
def test_the_accelerator_agrees_with_the_cpu(name):
    weights = trained_like(CONFIGS[name])
    flux = spectra(weights.config, 100)
    here, there = (Predictor(weights, device).predict(flux) for device in ("cpu", "auto"))
    np.testing.assert_allclose(there.confidence, here.confidence, atol=1e-5)
