"""The network's shape against numbers derived by hand, and its arithmetic against numpy."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.errors import WeightsError
from quasarloop.grid import LINEAR_GRID, WaveGrid
from quasarloop.lines import BAL_LINE, EMISSION_LINES
from quasarloop.network.config import (
    PRESETS,
    NetworkConfig,
    RedshiftGrid,
    config_from_dict,
    config_to_dict,
    preset,
    same_padding,
)
from quasarloop.network.model import LineFinder


def n_parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_widths_without_padding_by_hand():
    # (443-10)//2+1 = 217; (217-10)//2+1 = 104; (104-10)//2+1 = 48; (48-10)//2+1 = 20
    assert preset("busca2018").widths == (443, 217, 104, 48, 20)
    # (458-10)//2+1 = 225; (225-10)//2+1 = 108; (108-10)//2+1 = 50; (50-10)//2+1 = 21
    assert preset("busca2018", LINEAR_GRID).widths == (458, 225, 108, 50, 21)


def test_widths_with_same_padding_by_hand():
    assert preset("green2025").widths == (443, 222, 111, 56, 28, 14, 7)
    assert preset("green2025", LINEAR_GRID).widths == (458, 229, 115, 58, 29, 15, 8)


def test_parameter_count_of_busca2018_by_hand():
    convolutions = (10 * 1 * 100 + 100) + 3 * (10 * 100 * 100 + 100)  # 301,400
    norms = 5 * 2 * 100  # gamma and beta
    common = 20 * 100 * 100 + 100  # 200,100
    heads = 7 * 2 * (100 * 13 + 13)  # 18,382
    assert convolutions + norms + common + heads == 520_882
    assert n_parameters(LineFinder(preset("busca2018"))) == 520_882


def test_parameter_count_of_green2025_by_hand():
    convolutions = (10 * 1 * 100 + 100) + 5 * (10 * 100 * 100 + 100)  # 501,600
    norms = 7 * 2 * 100
    common = 7 * 100 * 100 + 100  # 70,100
    heads = 7 * 2 * (100 * 13 + 13)
    assert n_parameters(LineFinder(preset("green2025"))) == convolutions + norms + common + heads
    wider = LineFinder(preset("green2025", LINEAR_GRID))  # one more width: 8 instead of 7
    assert n_parameters(wider) == convolutions + norms + common + heads + 100 * 100


def test_any_lines_boxes_and_grid():
    grid = WaveGrid("linear", 3800.0, 20.0, 257)
    config = preset("green2025", grid, lines=EMISSION_LINES[:3], n_boxes=5, n_filters=8, n_dense=9)
    box, offset, *_ = LineFinder(config)(torch.zeros(4, 257))
    assert box.shape == offset.shape == (4, 3, 5)


@given(width=st.integers(1, 600), kernel=st.integers(1, 15), stride=st.integers(1, 4))
def test_same_padding_gives_every_stride_one_read(width, kernel, stride):
    left, right = same_padding(width, kernel, stride)
    n_reads = (width + left + right - kernel) // stride + 1 if width + left + right >= kernel else 0
    if stride <= kernel:
        assert n_reads == -(-width // stride)
    assert right - left in (0, 1)


def test_same_padding_of_the_paper_is_4_and_then_4_or_5():
    pads = [tuple(p) for p in preset("green2025").paddings()]  # 443 222 111 56 28 14
    assert pads == [(4, 5), (4, 4), (4, 5), (4, 4), (4, 4), (4, 4)]


def test_forward_agrees_with_numpy_of_random_weights():
    config = preset("green2025", n_conv=3, n_filters=6, n_dense=7)
    module = LineFinder(config, torch.Generator().manual_seed(1)).eval()
    rng = np.random.default_rng(2)
    with torch.no_grad():
        for norm in [*module.conv_norms, module.common_norm]:
            norm.running_mean.copy_(torch.from_numpy(rng.normal(size=len(norm.running_mean))))
            norm.running_var.copy_(torch.from_numpy(rng.uniform(0.2, 2, len(norm.running_var))))
            norm.weight.copy_(torch.from_numpy(rng.normal(size=len(norm.weight))))
            norm.bias.copy_(torch.from_numpy(rng.normal(size=len(norm.bias))))
    flux = rng.normal(size=(5, 443)).astype(np.float32)
    with torch.no_grad():
        box, offset, *_ = module(torch.from_numpy(flux))
    state = {key: value.double().numpy() for key, value in module.state_dict().items()}

    def normed(x, name):
        scale = state[f"{name}.weight"] / np.sqrt(state[f"{name}.running_var"] + 1e-3)
        return (x - state[f"{name}.running_mean"]) * scale + state[f"{name}.bias"]

    x = flux[:, :, None].astype(float)  # channels last, as Keras holds them
    for layer, pad in enumerate([(4, 5), (4, 4), (4, 5)]):
        padded = np.pad(x, ((0, 0), pad, (0, 0)))
        kernel = state[f"convs.{layer}.weight"]  # (out, in, 10)
        reads = [
            np.einsum("ntc,fct->nf", padded[:, i : i + 10], kernel)
            for i in range(0, padded.shape[1] - 9, 2)
        ]
        x = np.stack(reads, axis=1) + state[f"convs.{layer}.bias"]
        x = np.maximum(normed(x, f"conv_norms.{layer}"), 0)
    flat = x.reshape(5, -1)
    hidden = flat @ state["common.weight"].T + state["common.bias"]
    hidden = np.maximum(normed(hidden, "common_norm"), 0)
    for name, ours in (("box", box), ("offset", offset)):
        theirs = (hidden @ state[f"{name}.weight"].T + state[f"{name}.bias"]).reshape(5, 7, 13)
        np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-5)


def test_offsets_reach_from_low_to_high():
    module = LineFinder(preset("busca2018"))
    ends = module.offsets(torch.tensor([-40.0, 0.0, 40.0]))
    np.testing.assert_allclose(ends.numpy(), [-0.1, 0.5, 1.1], atol=1e-6)


def test_first_weights_are_glorot_with_zero_biases_and_repeat_for_a_seed():
    config = preset("green2025")
    one, two = (LineFinder(config, torch.Generator().manual_seed(7)) for _ in range(2))
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    limits = {
        "convs.0.weight": np.sqrt(6 / (10 * 1 + 10 * 100)),
        "convs.3.weight": np.sqrt(6 / (10 * 100 + 10 * 100)),
        "common.weight": np.sqrt(6 / (700 + 100)),
        "box.weight": np.sqrt(6 / (100 + 13)),
        "offset.weight": np.sqrt(6 / (100 + 13)),
    }
    state = one.state_dict()
    for name, limit in limits.items():
        assert state[name].abs().max() <= limit
        assert state[name].std() == pytest.approx(limit / np.sqrt(3), rel=0.06)
        assert abs(state[name].mean()) < 0.1 * limit
        assert not state[name.replace("weight", "bias")].any()


def test_a_generator_leaves_the_global_stream_alone():
    before = torch.random.get_rng_state()
    LineFinder(preset("busca2018"), torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_batch_norm_is_that_of_keras():
    norm = LineFinder(preset("busca2018")).common_norm
    assert norm.eps == 1e-3
    assert norm.momentum == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_conv": 0}, "n_conv is 0"),
        ({"padding": "reflect"}, "reflect"),
        ({"dropout": 1.0}, "dropout"),
        ({"offset_low": 2.0}, "low < high"),
        ({"lines": ()}, "number of lines"),
        ({"n_conv": 7, "padding": "valid"}, "without padding"),
        ({"n_conv": 101, "padding": "same"}, "n_conv is 101; at most 100"),
        ({"n_conv": 1, "redshift": RedshiftGrid()}, "reads convolution 3 of 1"),
        ({"lines": (BAL_LINE,), "redshift": RedshiftGrid()}, "needs an emission line"),
    ],
)
def test_impossible_networks_are_refused(changes, words):
    with pytest.raises(WeightsError, match=words):
        dataclasses.replace(NetworkConfig(), **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"n_maps": 0}, "n_maps is 0; .*at least 1"), ({"step": 0.0}, "step is 0.0; .*positive")],
)
def test_impossible_redshift_heads_are_refused(changes, words):
    with pytest.raises(WeightsError, match=f"redshift head: {words}"):
        RedshiftGrid(**changes)


def test_unknown_presets_and_fields_are_refused():
    with pytest.raises(WeightsError, match="busca2018"):
        preset("busca2017")
    with pytest.raises(WeightsError, match="n_layers"):
        preset("busca2018", n_layers=4)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_configuration_survives_json(name):
    import json

    config = preset(name, LINEAR_GRID, dropout=0.8, lines=EMISSION_LINES)
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


def test_a_foreign_dictionary_is_no_configuration():
    with pytest.raises(WeightsError, match="lines"):
        config_from_dict({"grid": {}})
