"""Several networks in one launch: what each predicts by itself."""

import numpy as np
import pytest
import torch
from tests.network.test_predict import CONFIGS, spectra, trained_like

from quasarloop.errors import WeightsError
from quasarloop.network import predict
from quasarloop.network.config import preset
from quasarloop.network.predict import Predictor, finds_together
from quasarloop.network.weights import default_weights_path, read_weights

SHAPES = {**CONFIGS, **{f"whole {name}": preset(name) for name in ("busca2018", "green2025")}}


def predictors(networks, launch_rows):
    made = [Predictor(weights) for weights in networks]
    for one in made:
        one.launch_rows = launch_rows
    return made


@pytest.fixture
def stacks(monkeypatch):
    """Numbers of networks computed in one launch."""
    sizes = []
    stacked = predict.stacked_layers
    monkeypatch.setattr(
        predict, "stacked_layers", lambda layers: sizes.append(len(layers)) or stacked(layers)
    )
    return sizes


def agree(networks, flux, red_end="extrapolate"):
    there = networks[0].upload(flux)
    together = list(finds_together(networks, there, red_end))
    assert len(together) == len(networks)
    for one, found in zip(networks, together, strict=True):
        alone = one.finds(there, red_end)
        assert found.confidence.shape == (len(flux), one.config.n_lines)
        np.testing.assert_allclose(found.confidence, alone.confidence, atol=1e-6)
        np.testing.assert_allclose(found.z, alone.z, atol=1e-5)  # another box would be 0.1 away
    return together


@pytest.mark.parametrize("name", SHAPES)
def test_networks_together_find_what_they_find_alone(name, stacks):
    networks = predictors([trained_like(SHAPES[name], seed) for seed in range(5)], 60)
    one, two, *_ = agree(networks, spectra(SHAPES[name], 20), "clamp")
    assert stacks == [3, 2]
    assert np.abs(one.confidence - two.confidence).max() > 0.01


def test_the_shipped_network_whose_redshift_head_is_not_needed(stacks):
    shipped = read_weights(default_weights_path())
    assert shipped.config.redshift is not None
    agree(predictors([shipped] * 3, 4096), spectra(shipped.config, 8))
    assert stacks == [3]


def test_spectra_that_fill_a_launch_pass_one_network_at_a_time(stacks):
    config = CONFIGS["green2025"]
    networks = [trained_like(config, seed) for seed in range(2)]
    for launch_rows in (0, 30):  # of a CPU; of a device that 20 spectra fill by more than half
        agree(predictors(networks, launch_rows), spectra(config, 20))
    assert Predictor(networks[0], "cpu").launch_rows == 0
    assert stacks == []


def test_no_spectra_and_spectra_of_another_grid():
    config = CONFIGS["green2025"]
    networks = predictors([trained_like(config, seed) for seed in range(2)], 60)
    assert [len(found.z) for found in agree(networks, spectra(config, 3)[:0])] == [0, 0]
    short = networks[0].upload(spectra(config, 3))[:, :-1]
    with pytest.raises(WeightsError, match="the network reads"):
        list(finds_together(networks, short))


@pytest.mark.parametrize("launch_rows", [0, 1000])
@pytest.mark.parametrize("tf32", [False, True])
def test_bits_of_products_are_those_chosen_and_put_back(monkeypatch, launch_rows, tf32):
    def now():
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    seen, before, forward = [], now(), predict.forward
    monkeypatch.setattr(predict, "forward", lambda *a: seen.append(now()) or forward(*a))
    config = CONFIGS["own shape"]
    members = [Predictor(trained_like(config, seed), tf32=tf32) for seed in (1, 2)]
    for one in members:
        one.launch_rows = launch_rows
    list(finds_together(members, members[0].upload(spectra(config, 5))))
    assert set(seen) == {(tf32, tf32)}
    assert now() == before
