"""Weights files in and out, against an independent numpy network and QuasarNP's own fixtures."""

import json
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from benchmarks.plain_network import plain_predict

from quasarloop.classes import Thresholds
from quasarloop.errors import GridError, OutputError, WeightsError
from quasarloop.grid import LINEAR_GRID, LOG_GRID, WaveGrid
from quasarloop.lines import EMISSION_LINES, NETWORK_LINES
from quasarloop.network.config import NetworkConfig, RedshiftGrid, preset
from quasarloop.network.decode import classify_finds, decode
from quasarloop.network.keras_layout import quasarnp_obstacles
from quasarloop.network.model import LineFinder
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import (
    Weights,
    default_weights_path,
    from_module,
    inspect_weights,
    read_thresholds,
    read_weights,
    to_module,
    write_weights,
)

SMALL = preset("green2025", n_filters=6, n_dense=5, dropout=0.2)


def random_weights(config=SMALL, seed=0, provenance=None):
    module = LineFinder(config, torch.Generator().manual_seed(seed))
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for norm in [*module.conv_norms, module.common_norm]:
            n = norm.num_features
            for tensor, values in (
                (norm.running_mean, rng.normal(0, 0.3, n)),
                (norm.running_var, rng.uniform(0.3, 3, n)),
                (norm.weight, rng.normal(1, 0.3, n)),
                (norm.bias, rng.normal(0, 0.3, n)),
            ):
                tensor.copy_(torch.from_numpy(values))
    return from_module(module, provenance)


@pytest.fixture
def ours(tmp_path):
    path = tmp_path / "ours.h5"
    write_weights(random_weights(), path)
    return path


# --- an independent reader and forward pass: numpy, the HDF5 layout and nothing of ours --------


def numpy_network(path, flux, *, rescale):
    """Confidences and offsets (n, lines, 13) from a Keras 2 file, layers in config order."""
    with h5py.File(path) as file:
        layers = json.loads(file.attrs["model_config"])["config"]["layers"]
        stored = {
            layer: {key[:-2]: value[()] for key, value in group[layer].items()}
            for layer, group in file["model_weights"].items()
            if len(group)
        }
    norms = [stored[x["config"]["name"]] for x in layers if x["class_name"] == "BatchNormalization"]
    convs = [x["config"] for x in layers if x["class_name"] == "Conv1D"]

    def relu_norm(x, norm):
        centred = (x - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1e-3)
        return np.maximum(centred * norm["gamma"] + norm["beta"], 0)

    x = flux.astype(float)[:, :, None]
    for conv, norm in zip(convs, norms, strict=False):
        kernel, bias = stored[conv["name"]]["kernel"], stored[conv["name"]]["bias"]
        width, stride = len(kernel), conv["strides"][0]
        if conv["padding"] == "same":
            n_out = int(np.ceil(x.shape[1] / stride))
            total = max((n_out - 1) * stride + width - x.shape[1], 0)
            x = np.pad(x, ((0, 0), (total // 2, total - total // 2), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, width, axis=1)[:, ::stride]
        x = relu_norm(np.einsum("nwct,tcf->nwf", windows, kernel, optimize=True) + bias, norm)
    common = stored["fc_common"]
    x = relu_norm(x.reshape(len(x), -1) @ common["kernel"] + common["bias"], norms[-1])

    def head(kind, line):
        dense = stored[f"fc_{kind}_{line}"]
        return 1 / (1 + np.exp(-(x @ dense["kernel"] + dense["bias"])))

    n_lines = sum(layer.startswith("fc_box_") for layer in stored)
    confidence = np.stack([head("box", i) for i in range(n_lines)], axis=1)
    offset = np.stack([head("offset", i) for i in range(n_lines)], axis=1)
    return confidence, -0.1 + 1.2 * offset if rescale else offset


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


# --- our own files ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        preset("busca2018", LINEAR_GRID, n_filters=4, n_dense=3),
        replace(SMALL, grid=WaveGrid("linear", 3800.0, 20.0, 257), lines=EMISSION_LINES[:2]),
        replace(SMALL, n_boxes=5, n_conv=2, lines=(*NETWORK_LINES, *EMISSION_LINES)),
        replace(SMALL, offset_low=0.0, offset_high=1.0),
        replace(SMALL, offset_low=-0.2, offset_high=1.3),
        replace(SMALL, grid=WaveGrid("log", 3700.0, 7e-4 / 3, 600)),
        replace(SMALL, n_conv=12, kernel_width=3, stride=1),
        replace(SMALL, redshift=RedshiftGrid(n_channels=3)),
        replace(SMALL, redshift=RedshiftGrid(n_channels=4, conv=1, temperature=1.3)),
    ],
)
def test_written_files_read_back_digit_by_digit(tmp_path, config):
    weights = random_weights(config, provenance={"seed": 3, "history": [0.1, None, "ü"]})
    write_weights(weights, tmp_path / "w.h5")
    back, facts = inspect_weights(tmp_path / "w.h5")
    assert back.config == config
    paper = {"confidence": 0.95, "n_lines": 1, "high_z_min": 2.1}
    assert back.provenance == {**weights.provenance, "thresholds": paper}
    assert back.digest() == weights.digest()
    assert facts.quasarnp_rescales == config.rescales_offsets
    for name, array in weights.arrays.items():
        assert back.arrays[name].tobytes() == array.tobytes()
        assert back.arrays[name].dtype == np.float32
    flux = np.random.default_rng(0).normal(size=(9, config.grid.n_bins)).astype(np.float32)
    if (config.offset_low, config.offset_high) in ((-0.1, 1.1), (0, 1)):
        found = numpy_network(tmp_path / "w.h5", flux, rescale=config.rescales_offsets)
        outputs = Predictor(back).predict(flux)
        np.testing.assert_allclose(outputs.confidence, found[0], atol=1e-5)
        np.testing.assert_allclose(outputs.offset, found[1], atol=1e-5)


@pytest.fixture
def headed(tmp_path):
    path = tmp_path / "headed.h5"
    write_weights(random_weights(replace(SMALL, redshift=RedshiftGrid(n_channels=3))), path)
    return path


def test_quasarnp_reads_a_file_with_a_redshift_head(headed, quasarnp_io):
    flux = np.random.default_rng(0).normal(size=(30, 443)).astype(np.float32)
    model, _ = quasarnp_io.load_model(headed)
    theirs = np.stack(model.predict(flux[:, :, None]), axis=1)
    ours = Predictor(read_weights(headed)).predict(flux)
    np.testing.assert_allclose(ours.confidence, theirs[..., :13], atol=1e-5)
    np.testing.assert_allclose(ours.offset, theirs[..., 13:], atol=1e-5)


def test_the_head_stands_beside_the_keras_model(headed, tmp_path):
    """Other readers see what they saw: only a root group and the note are new."""
    plain = tmp_path / "plain.h5"
    write_weights(random_weights(), plain)
    with h5py.File(headed) as one, h5py.File(plain) as two:
        assert set(one) - set(two) == {"quasarloop_head"}
        assert one.attrs["model_config"] == two.attrs["model_config"]
        assert set(one["model_weights"]) == set(two["model_weights"])
        assert json.loads(two.attrs["quasarloop"])["config"].get("redshift") is None


@pytest.mark.parametrize("what", ["gone", "another shape", "not finite"])
def test_a_damaged_head_is_refused(headed, what):
    with h5py.File(headed, "r+") as file:
        group = file["quasarloop_head"]
        if what == "gone":
            del file["quasarloop_head"]
        elif what == "not finite":
            group["redshift_local/bias"][0] = np.nan
        else:
            del group["redshift_local/bias"]
            group["redshift_local/bias"] = np.zeros(7, np.float32)
    with pytest.raises(WeightsError, match="redshift head"):
        read_weights(headed)


def test_modules_survive_the_journey():
    weights = random_weights()
    module = to_module(weights)
    assert not module.training
    again = from_module(module, weights.provenance)
    assert again.digest() == weights.digest()
    module.box.weight.data.add_(1)  # the arrays are copies
    assert again.digest() == weights.digest()
    before = torch.random.get_rng_state()
    to_module(weights)
    assert torch.equal(before, torch.random.get_rng_state())


def test_same_weights_same_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        write_weights(random_weights(provenance={"b": 1, "a": 2}), tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    write_weights(read_weights(tmp_path / "a.h5"), tmp_path / "c.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "c.h5").read_bytes()


def test_a_written_file_has_what_other_readers_look_for(ours):
    with h5py.File(ours) as file:
        groups = file["model_weights"]
        assert isinstance(groups["lambda"], h5py.Group)
        assert len(groups["lambda"]) == 0
        numbered = [f"batch_normalization_{i}" for i in range(1, 8)]
        assert {n for n in groups if n.startswith("batch")} == set(numbered)
        assert {n for n in groups if n.startswith("conv_")} == {f"conv_{i}" for i in range(1, 7)}
        assert groups["conv_2/conv_2/kernel:0"].shape == (10, 6, 6)
        assert groups["fc_common/fc_common/kernel:0"].dtype == np.float32
        np.testing.assert_array_equal(file["model_grid"][()], LOG_GRID.lower_edges_aa)
        assert file.attrs["grid_spacing"] == "logarithmic"
        model = json.loads(file.attrs["model_config"])
        layers = model["config"]["layers"]
        assert model["class_name"] == "Functional"
        # Keras matches layers of the model to groups by this order, and weights by theirs.
        names = [x["config"]["name"] for x in layers]
        assert [n.decode() for n in groups.attrs["layer_names"]] == names
        assert len(set(names)) == len(names)
        seen = set()
        for layer in layers:
            sources = [source[0] for node in layer["inbound_nodes"] for source in node]
            assert set(sources) <= seen, layer["name"]
            seen.add(layer["name"])
            for full in groups[layer["name"]].attrs["weight_names"]:
                assert full.decode() in groups[layer["name"]]
        assert [x[0] for x in model["config"]["output_layers"]] == [
            f"conc_box_{i}" for i in range(7)
        ]
        note = json.loads(file.attrs["quasarloop"])
        assert note["provenance"]["thresholds"] == {
            "confidence": 0.95,
            "n_lines": 1,
            "high_z_min": 2.1,
        }
        assert [line["name"] for line in note["config"]["lines"]][:2] == ["LYA", "CIV(1548)"]


def test_plain_files_have_no_lambda_group(tmp_path):
    write_weights(
        random_weights(replace(SMALL, offset_low=0.0, offset_high=1.0)), tmp_path / "p.h5"
    )
    with h5py.File(tmp_path / "p.h5") as file:
        assert not any(name.startswith("lambda") for name in file["model_weights"])
    assert not read_weights(tmp_path / "p.h5").config.rescales_offsets


def test_thresholds_travel():
    assert random_weights().thresholds == Thresholds(0.95, 1, 2.1)
    stored = random_weights(provenance={"thresholds": {"confidence": 0.9, "n_lines": 2}})
    assert stored.thresholds == Thresholds(0.9, 2, 2.1)


def test_obstacles_for_quasarnp_are_named():
    assert quasarnp_obstacles(SMALL) == ()
    assert quasarnp_obstacles(replace(SMALL, offset_low=0.0, offset_high=1.0)) == ()
    assert "2 lines" in quasarnp_obstacles(replace(SMALL, lines=EMISSION_LINES[:2]))[0]
    assert "5 boxes" in quasarnp_obstacles(replace(SMALL, n_boxes=5))[0]
    assert "one digit" in quasarnp_obstacles(replace(SMALL, n_conv=10))[0]
    assert "1.3" in quasarnp_obstacles(replace(SMALL, offset_high=1.3))[0]
    assert "padding" in quasarnp_obstacles(replace(SMALL, stride=3))[0]


# --- every variant ----------------------------------------------------------------------------


def rebuild(path, *, rename=None, keep_group=None, edit=None, model_grid=True, note=False):
    """Rewrite a file with other layer names, fewer groups, another model_config."""
    rename = rename or {}

    def new(name):
        return rename.get(name, name)

    target = path.with_name("variant.h5")
    with h5py.File(path) as old, h5py.File(target, "w") as file:
        model = json.loads(old.attrs["model_config"])
        for layer in model["config"]["layers"]:
            layer["name"] = layer["config"]["name"] = new(layer["name"])
            for node in layer["inbound_nodes"]:
                for source in node:
                    source[0] = new(source[0])
        if edit:
            edit(model["config"]["layers"])
        file.attrs["model_config"] = json.dumps(model)
        if note:
            file.attrs["quasarloop"] = old.attrs["quasarloop"]
        groups = file.create_group("model_weights")
        for name, group in old["model_weights"].items():
            if keep_group is None or keep_group(name):
                made = groups.create_group(new(name))
                if name in group:
                    group.copy(name, made, new(name))
        if model_grid:
            old.copy("model_grid", file)
    return target


def norm_names(*new_names):
    return {f"batch_normalization_{i}": name for i, name in enumerate(new_names, 1)}


VARIANTS = {
    "first norm unnumbered": norm_names(
        "batch_normalization", *(f"batch_normalization_{i}" for i in range(1, 7))
    ),
    # By name 10 … 14 come before 8 and 9: only model_config has the order.
    "norms numbered from 8": norm_names(*(f"batch_normalization_{i}" for i in range(8, 15))),
    "norms with gaps": norm_names(
        *(f"batch_normalization_{i}" for i in (7, 9, 11, 30, 31, 100, 2))
    ),
    "convolutions numbered on": {f"conv_{i}": f"conv_{i + 6}" for i in range(1, 7)},
    "lambda_0 to lambda_6": {
        "lambda": "lambda_0",
        **{f"lambda_{i}": f"lambda_{i}" for i in range(1, 7)},
    },
    "lambda_7 to lambda_13": {
        "lambda": "lambda_7",
        **{f"lambda_{i}": f"lambda_{i + 7}" for i in range(1, 7)},
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_numbering_reads_alike(ours, variant):
    expected = read_weights(ours)
    path = rebuild(ours, rename=VARIANTS[variant])
    found, facts = inspect_weights(path)
    assert found.digest() == expected.digest()
    assert found.config.rescales_offsets
    assert facts.quasarnp_rescales == ("lambda_" not in variant)


def test_files_without_grid_are_on_the_log_grid(ours):
    path = rebuild(ours, model_grid=False)
    weights, facts = inspect_weights(path)
    assert weights.config.grid == LOG_GRID
    assert "the file has none" in facts.grid


def test_files_with_the_least_quasarnp_needs_are_read(ours):
    def strip(layers):
        for layer in layers:
            kept = ("name", "padding", "strides", "batch_input_shape")
            config = {key: value for key, value in layer["config"].items() if key in kept}
            layer.clear()
            layer["config"] = config

    found = read_weights(rebuild(ours, edit=strip))
    assert found.config.rescales_offsets
    assert found.config == replace(SMALL, dropout=0.0)


def test_a_lambda_group_need_not_stand_among_the_weights(ours):
    path = rebuild(ours, keep_group=lambda name: not name.startswith("lambda"))
    weights, facts = inspect_weights(path)
    assert weights.config.rescales_offsets
    assert not facts.quasarnp_rescales


def no_lambdas(layers):
    layers[:] = [layer for layer in layers if layer["class_name"] != "Lambda"]
    for layer in layers:
        for node in layer["inbound_nodes"]:
            for source in node:
                number = source[0].removeprefix("lambda").removeprefix("_") or "0"
                source[0] = f"fc_offset_{number}" if "lambda" in source[0] else source[0]


def test_no_lambda_at_all_is_plain(ours):
    path = rebuild(ours, edit=no_lambdas, keep_group=lambda name: not name.startswith("lambda"))
    weights, facts = inspect_weights(path)
    assert not weights.config.rescales_offsets
    assert facts.offsets.startswith("plain")


def drop_one_lambda(layers):
    layers[:] = [layer for layer in layers if layer["name"] != "lambda_3"]


def foreign_code(layers):
    import base64

    for layer in layers:
        if layer["class_name"] == "Lambda":
            layer["config"] |= {
                "function": [base64.b64encode(b"return 2 * x").decode(), None, None],
                "arguments": {},
            }


def unreadable_code(layers):
    foreign_code(layers)
    for layer in layers:
        if layer["class_name"] == "Lambda":
            layer["config"]["function"][0] = "a"


def one_other_span(layers):
    for layer in layers:
        if layer["name"] == "lambda_5":
            layer["config"]["arguments"]["high"] = 1.5


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (no_lambdas, "has no Lambda layer, but the weights have lambda"),
        (drop_one_lambda, "of 7 offset layers 6"),
        (foreign_code, "-0.1 and 1.2"),
        (unreadable_code, "cannot be decoded"),
        (one_other_span, "differently"),
    ],
)
def test_contradictory_offsets_are_refused_until_decided(ours, edit, words):
    path = rebuild(ours, edit=edit)
    with pytest.raises(WeightsError, match=words) as caught:
        read_weights(path)
    assert "offsets='rescaled' or 'plain'" in str(caught.value)
    assert read_weights(path, "rescaled").config.rescales_offsets
    assert not read_weights(path, "plain").config.rescales_offsets


def test_an_unknown_wish_is_refused(ours):
    with pytest.raises(WeightsError, match="expected 'auto'"):
        read_weights(ours, "sometimes")


def test_other_lines_must_be_named(tmp_path):
    config = replace(SMALL, lines=EMISSION_LINES)
    write_weights(random_weights(config), tmp_path / "six.h5")
    path = rebuild(tmp_path / "six.h5")
    with pytest.raises(WeightsError, match="6 line finders"):
        read_weights(path)
    assert read_weights(path, lines=EMISSION_LINES).config == config
    with pytest.raises(WeightsError, match="7 lines given"):
        read_weights(path, lines=NETWORK_LINES)


# --- bad files --------------------------------------------------------------------------------


def test_a_missing_layer_is_named(ours):
    path = rebuild(ours, keep_group=lambda name: name != "conv_3")
    with pytest.raises(WeightsError, match=r"variant.h5: layer conv_3 is missing"):
        read_weights(path)


@pytest.mark.parametrize("layer", ["fc_common", "fc_box_0", "fc_offset_6", "batch_normalization_7"])
def test_any_missing_layer_is_named(ours, layer):
    with pytest.raises(WeightsError, match=f"layer {layer} is missing"):
        read_weights(rebuild(ours, keep_group=lambda name: name != layer))


def change(path, action):
    with h5py.File(path, "r+") as file:
        action(file)
    return path


def replace_data(name, array):
    def action(file):
        del file[name]
        file[name] = array

    return action


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


def huge_grid(file):
    del file["model_grid"]
    # Declared, never written: the file stays small.
    file.create_dataset("model_grid", (1 << 29,), "f8", chunks=(1 << 16,))


def huge_array(file):
    file.create_dataset("model_weights/conv_1/more:0", (1 << 20, 1 << 20), "f4", chunks=True)


def huge_chunk(file):
    chunks = (1 << 14, 1 << 14)
    file.create_dataset(
        "model_weights/conv_1/more:0", (3, 3), "f4", chunks=chunks, maxshape=(None, None)
    )


def external_link(file):
    file["model_weights/conv_1/more:0"] = h5py.ExternalLink("other.h5", "/kernel")


def external_storage(file):
    where = [("other.bin", 0, 16)]
    file.create_dataset("model_weights/conv_1/more:0", (4,), "f4", external=where)


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "kernel", (4,))
    file.create_virtual_dataset("model_weights/conv_1/more:0", layout)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (huge_grid, "need 4,0.. MiB; a network has a few"),
        (huge_array, "MiB; a network has a few"),
        (huge_chunk, "MiB; a network has a few"),
        (external_link, "numbers of model_weights/conv_1/more:0 are in another file"),
        (external_storage, "numbers of model_weights/conv_1/more:0 are in another file"),
        (virtual, "are in another file; expected all weights in one file"),
    ],
)
def test_what_is_not_in_the_file_or_fills_the_memory_is_refused(ours, action, words):
    size = ours.stat().st_size
    path = change(ours, action)
    assert path.stat().st_size < size + 100_000
    with pytest.raises(WeightsError, match=rf"ours\.h5: .*{words}"):
        read_weights(path)


@pytest.mark.parametrize(
    "note", ["[]", "null", '"text"', "3", '{"provenance": []}', '{"config": null}', "{", "[" * 9999]
)
def test_notes_that_are_no_objects_are_refused(ours, note):
    def action(file):
        file.attrs.create("quasarloop", note, dtype=h5py.string_dtype())

    change(ours, action)
    for read in (read_weights, read_thresholds):
        with pytest.raises(WeightsError, match=r"ours\.h5"):
            read(ours)


@pytest.mark.parametrize(("part", "name"), [("grid", "n_bins"), (None, "n_conv")])
def test_huge_numbers_in_a_note_end_at_once(ours, part, name):
    def action(file):
        note = json.loads(file.attrs["quasarloop"])
        (note["config"] if part is None else note["config"][part])[name] = 10**12
        file.attrs["quasarloop"] = json.dumps(note)

    with pytest.raises((WeightsError, GridError), match="1000000000000"):
        read_weights(change(ours, action))


def test_pipes_are_no_weights(tmp_path):
    os.mkfifo(tmp_path / "w.h5")
    for read in (read_weights, read_thresholds):
        with pytest.raises(WeightsError, match=r"w\.h5.*a pipe or a device"):
            read(tmp_path / "w.h5")


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


def keras_3_h5(path):
    with h5py.File(path, "w") as file:
        file.create_group("layers/conv1d/vars")["0"] = np.zeros(3)


def keras_3_names(path):
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
        file["model_weights/conv_1/conv_1/kernel"] = np.zeros((10, 1, 4), "f4")


def keras_3_zip(path):
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")


def weights_only(path):
    with h5py.File(path, "w") as file:
        file["conv_1/conv_1/kernel:0"] = np.zeros((10, 1, 4), "f4")


def no_config(path):
    with h5py.File(path, "w") as file:
        file["model_weights/conv_1/conv_1/kernel:0"] = np.zeros((10, 1, 4), "f4")


def broken_config(path):
    no_config(path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = '{"config": 3}'


def not_a_network(path):
    no_config(path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = '{"config": {"layers": [{"config": {"name": "conv_1"}}]}}'


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (keras_3_h5, "Keras 3 file.*Keras 2"),
        (keras_3_names, "Keras 3 name .*Keras 2"),
        (keras_3_zip, "Keras 3 archive.*Keras 2"),
        (weights_only, "has no model_weights.*not save_weights"),
        (no_config, "has no model_config"),
        (broken_config, "not that of a Keras model"),
        (not_a_network, "lacks fc_common"),
        (lambda path: path.write_text("not HDF5 at all"), "cannot be read as HDF5"),
        (lambda path: path.write_bytes(b""), "cannot be read as HDF5"),
        (lambda path: path.mkdir(), "no such weights file"),
        (lambda path: None, "no such weights file"),
    ],
)
def test_files_that_are_no_weights_say_so(tmp_path, make, words):
    path = tmp_path / "odd.h5"
    make(path)
    with pytest.raises(WeightsError, match=words) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(ours, part):
    content = ours.read_bytes()
    ours.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(WeightsError, match=r"cut short|cannot be read"):
        read_weights(ours)


@pytest.mark.parametrize(
    "settings",
    [{"strides": ["two"]}, {"strides": []}, {"strides": {}}, {"name": None}],
)
def test_garbled_settings_are_refused(ours, settings):
    path = rebuild(ours, edit=lambda layers: layers[1]["config"].update(settings))
    with pytest.raises(WeightsError):
        read_weights(path)


@pytest.mark.parametrize("layers", [3, [3], [[]], [{}], [{"config": 1}], [{"config": {}}], {}])
def test_garbled_layers_are_refused(ours, layers):
    def action(file):
        file.attrs["model_config"] = json.dumps({"config": {"layers": layers}})

    with pytest.raises(WeightsError, match=str(ours)):
        read_weights(change(ours, action))


def test_arrays_must_fit_the_network():
    weights = random_weights()
    arrays = dict(weights.arrays)
    kernel = arrays.pop("conv_2/kernel")
    with pytest.raises(WeightsError, match="conv_2/kernel is missing"):
        Weights(SMALL, arrays)
    with pytest.raises(WeightsError, match="conv_2/kernel has shape"):
        Weights(SMALL, {**arrays, "conv_2/kernel": kernel[1:]})
    with pytest.raises(WeightsError, match="conv_9/kernel has no place"):
        Weights(SMALL, {**weights.arrays, "conv_9/kernel": kernel})


def test_results_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        write_weights(random_weights(), tmp_path / "nowhere" / "w.h5")
    with pytest.raises(WeightsError, match="JSON"):
        write_weights(random_weights(provenance={"when": object()}), tmp_path / "w.h5")
    with pytest.raises(WeightsError, match="JSON"):
        write_weights(random_weights(provenance={"loss": float("nan")}), tmp_path / "w.h5")
    assert list(tmp_path.iterdir()) == []


def test_default_weights_are_there_or_the_way_out_is(monkeypatch, tmp_path):
    monkeypatch.setattr("quasarloop.network.weights.resources.files", lambda _: tmp_path)
    with pytest.raises(WeightsError, match="--weights"):
        default_weights_path()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "default_weights.h5").touch()
    assert default_weights_path() == Path(tmp_path / "data" / "default_weights.h5")
