"""Weights of other models, layers, arrays and grids are refused by name."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from tests.network.weights_files import SMALL, change, random_weights, rebuild, replace_data

from quasarloop.errors import WeightsError
from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.network.weights import (
    read_weights,
    write_weights,
)


def test_a_missing_layer_is_named(ours):
    path = rebuild(ours, keep_group=lambda name: name != "conv_3")
    with pytest.raises(WeightsError, match=r"variant.h5: layer conv_3 is missing"):
        read_weights(path)


@pytest.mark.parametrize("layer", ["fc_common", "fc_box_0", "fc_offset_6", "batch_normalization_7"])
def test_any_missing_layer_is_named(ours, layer):
    with pytest.raises(WeightsError, match=f"layer {layer} is missing"):
        read_weights(rebuild(ours, keep_group=lambda name: name != layer))


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("conv_3/conv_3/kernel:0", np.zeros((10, 6, 7), "f4"), "kernel of layer conv_3 has shape"),
        ("conv_1/conv_1/kernel:0", np.zeros((10, 6), "f4"), "conv_1"),
        ("fc_box_4/fc_box_4/bias:0", np.zeros(12, "f4"), "bias of layer fc_box_4"),
        ("conv_2/conv_2/bias:0", np.full(6, np.nan, "f4"), "bias of layer conv_2 is not"),
        ("conv_2/conv_2/bias:0", np.zeros(6, "i4"), "bias of layer conv_2 is not"),
    ],
)
def test_wrong_arrays_are_named(ours, name, array, words):
    path = change(ours, replace_data(f"model_weights/{name}", array))
    with pytest.raises(WeightsError, match=words):
        read_weights(path)


def test_a_missing_array_is_named(ours):
    def action(file):
        del file["model_weights/batch_normalization_2/batch_normalization_2/gamma:0"]

    with pytest.raises(WeightsError, match="batch_normalization_2 has no gamma; found beta"):
        read_weights(change(ours, action))


def wrong_epsilon(layers):
    layers[2]["config"]["epsilon"] = 1e-5


def swap_norms(layers):
    layers[2], layers[6] = layers[6], layers[2]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda layers: layers.pop(1), "conv_1 are there, but model_config does not name it"),
        (lambda layers: layers[2].update(class_name="Dropout"), "6 batch normalizations for 6"),
        (lambda layers: layers[1].update(class_name="Flatten"), "7 batch normalizations for 5"),
        (lambda layers: layers[3].update(class_name="Dropout"), "6 activations for 7 batch"),
        (lambda layers: layers[3].update(class_name="ELU"), "activation_1 is of kind ELU"),
        (wrong_epsilon, "epsilon 1e-05"),
        (lambda layers: layers[1]["config"].update(padding="valid"), "different paddings"),
        (lambda layers: layers[5]["config"].update(strides=[1]), "different strides"),
        (swap_norms, "expected it after conv_1"),
    ],
)
def test_other_models_are_refused(ours, edit, words):
    with pytest.raises(WeightsError, match=words):
        read_weights(rebuild(ours, edit=edit))


def layer_named(layers, name):
    return next(layer["config"] for layer in layers if layer["config"]["name"] == name)


@pytest.mark.parametrize("note", [False, True])
@pytest.mark.parametrize(
    ("layer", "setting", "value"),
    [
        ("conv_2", "dilation_rate", [2]),
        ("conv_2", "groups", 2),
        ("conv_2", "activation", "relu"),
        ("conv_2", "padding", "causal"),
        ("conv_2", "use_bias", False),
        ("conv_2", "data_format", "channels_first"),
        ("activation_3", "activation", "elu"),
        ("activation_3", "activation", {"class_name": "LeakyReLU"}),
        ("fc_common", "activation", "tanh"),
        ("fc_box_2", "activation", "softmax"),
        ("fc_offset_2", "activation", "linear"),
        ("batch_normalization_2", "scale", False),
    ],
)
def test_what_is_not_computed_here_is_refused(ours, layer, setting, value, note):
    def edit(layers):
        layer_named(layers, layer)[setting] = value

    with pytest.raises(WeightsError, match=rf"variant\.h5: layer {layer} has {setting}"):
        read_weights(rebuild(ours, edit=edit, note=note))


def test_layers_without_a_place_are_refused(ours):
    def edit(layers):
        extra = json.loads(json.dumps(next(x for x in layers if x["name"] == "fc_common")))
        extra["name"] = extra["config"]["name"] = "fc_second"
        layers.append(extra)

    path = rebuild(ours, edit=edit)
    with h5py.File(path, "r+") as file:
        file["model_weights/fc_second/fc_second/bias:0"] = np.zeros(5, "f4")
    with pytest.raises(WeightsError, match="layer fc_second has weights, but no place"):
        read_weights(path)


def test_a_negative_variance_is_refused(ours):
    variance = np.array([1, 1, -0.5, 1, 1, 1], "f4")
    name = "model_weights/batch_normalization_2/batch_normalization_2/moving_variance:0"
    with pytest.raises(
        WeightsError, match=r"ours\.h5: moving_variance of layer batch_norm.*_2 is n"
    ):
        read_weights(change(ours, replace_data(name, variance)))


def test_wrong_grids_are_refused_and_a_missing_one_can_be_given(tmp_path, ours):
    with pytest.raises(WeightsError, match="reads 443 bins, but its grid"):
        read_weights(change(ours, replace_data("model_grid", LINEAR_GRID.lower_edges_aa)))
    with pytest.raises(WeightsError, match="uniform neither"):
        read_weights(change(ours, replace_data("model_grid", np.geomspace(1, 9, 443) ** 3 + 50)))
    linear = tmp_path / "linear.h5"
    write_weights(random_weights(replace(SMALL, grid=LINEAR_GRID)), linear)
    bare = rebuild(linear, model_grid=False)
    with pytest.raises(WeightsError, match=r"reads 458 bins.*--grid linear"):
        read_weights(bare)
    assert read_weights(bare, grid=LINEAR_GRID).config.grid == LINEAR_GRID
    with pytest.raises(WeightsError, match="not the log grid"):
        read_weights(linear, grid=LOG_GRID)


def test_a_wrong_grid_shows_in_the_dense_layer_at_the_latest(tmp_path):
    def forget_input(layers):
        layers[0]["config"].pop("batch_input_shape")

    linear = tmp_path / "linear.h5"
    write_weights(random_weights(replace(SMALL, grid=LINEAR_GRID)), linear)
    with pytest.raises(WeightsError, match=r"kernel of layer fc_common .*\(48, 5\).*log grid"):
        read_weights(rebuild(linear, model_grid=False, edit=forget_input))


def test_a_file_edited_by_another_program_is_refused(ours):
    def other_stride(layers):
        for layer in layers:
            if layer["class_name"] == "Dropout":
                layer["config"]["rate"] = 0.3

    with pytest.raises(WeightsError, match="changed by another program"):
        read_weights(rebuild(ours, edit=other_stride, note=True))
