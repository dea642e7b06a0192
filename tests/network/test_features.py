"""Features: what a network's heads read, and the share of p(z) at high redshift."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.plain_network import plain_predict

from quasarloop.network.config import NetworkConfig, RedshiftGrid
from quasarloop.network.decode import LineOutputs, decode, emission_lines
from quasarloop.network.features import Features, compute_features, high_z_probability
from quasarloop.network.model import LineFinder
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import from_module, to_module

SMALL = NetworkConfig(n_conv=2, n_filters=4, stride=4, n_dense=8, redshift=RedshiftGrid(conv=1))


@pytest.fixture(scope="module")
def weights():
    return from_module(LineFinder(SMALL, torch.Generator().manual_seed(3)))


@pytest.fixture(scope="module")
def flux():
    return np.random.default_rng(1).normal(size=(300, 443)).astype(np.float32)


def test_features_are_those_of_the_plain_network(weights, flux):
    features = compute_features(Predictor(weights), flux)
    module = to_module(weights)
    hidden = []
    module.box.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
    outputs = plain_predict(weights, flux)
    np.testing.assert_allclose(
        features.line_logit,
        np.log(outputs.confidence / (1 - outputs.confidence)).max(axis=2),
        atol=1e-4,
    )
    box = features.hidden @ module.box.weight.detach().numpy().T + module.box.bias.detach().numpy()
    largest = box.reshape(300, SMALL.n_lines, SMALL.n_boxes).max(axis=2)
    np.testing.assert_allclose(features.line_logit, largest, atol=1e-5)
    z_best = emission_lines(decode(Predictor(weights).predict(flux), SMALL), SMALL, 1).z
    assert np.array_equal(features.z_best, z_best)


def test_a_row_does_not_depend_on_its_company(weights, flux):
    whole, part = (compute_features(Predictor(weights), rows) for rows in (flux, flux[256:]))
    for name in ("hidden", "line_logit", "z_best", "p_high"):
        np.testing.assert_allclose(getattr(whole[256:], name), getattr(part, name), rtol=1e-4)


def test_high_z_is_the_mass_of_p_above_the_border():
    head = SMALL.redshift
    p = np.full((2, head.n_z), 1e-12)
    low, high = (np.searchsorted(head.z, z) for z in (1.0, 3.0))
    p[0, [low, high]] = 0.3, 0.7
    p[1, [low, high]] = 1.0, 0.0
    cold = replace(SMALL, redshift=replace(head, temperature=2.0))
    nothing = np.zeros((2, SMALL.n_lines, SMALL.n_boxes))
    with np.errstate(divide="ignore"):
        outputs = LineOutputs(nothing, nothing, np.log(p).astype(np.float32))
    np.testing.assert_allclose(high_z_probability(outputs, SMALL, 2.1), [0.7, 0.0], atol=1e-6)
    warm = np.sqrt(0.7) / (np.sqrt(0.7) + np.sqrt(0.3))
    found = high_z_probability(outputs, cold, 2.1)
    assert found[0] == pytest.approx(warm, abs=2e-3)  # 1e-12 of 904 bins counts a little now
    np.testing.assert_allclose(high_z_probability(outputs, SMALL, 3.5), 0.0, atol=1e-6)


def test_without_a_redshift_head_boxes_split_high_from_low():
    boxes = NetworkConfig(n_conv=2, n_filters=4, stride=4, n_dense=8)
    confidence = np.full((2, boxes.n_lines, boxes.n_boxes), 1e-4)
    offset = np.full(confidence.shape, 0.5)
    grid = boxes.grid
    for row, z in enumerate((1.0, 3.0)):  # every line that is on the grid, in its box
        for line in boxes.emission_index:
            wave = boxes.lines[line].wave_rest_aa * (1 + z)
            place = np.log10(wave / grid.start_aa) / grid.step / grid.n_bins * boxes.n_boxes
            if 0 <= place < boxes.n_boxes:
                confidence[row, line, int(place)] = 0.999
                offset[row, line, int(place)] = place % 1
    found = high_z_probability(LineOutputs(confidence, offset), boxes, 2.1)
    assert found[0] < 0.01
    assert found[1] > 0.99


def test_rows_of_features_are_joined_in_order(weights, flux):
    features = compute_features(Predictor(weights), flux)
    joined = Features.concatenate([features[:100], features[100:]])
    assert np.array_equal(joined.hidden, features.hidden)
    assert np.isnan(Features.empty(3, SMALL).line_logit).all()
