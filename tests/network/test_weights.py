"""Weights files of ours: written, read back, the same bytes, what other readers look for."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from tests.network.numpy_network import numpy_network
from tests.network.weights_files import SMALL, random_weights

from quasarloop.classes import Thresholds
from quasarloop.errors import OutputError, WeightsError
from quasarloop.grid import LINEAR_GRID, LOG_GRID, WaveGrid
from quasarloop.lines import EMISSION_LINES, NETWORK_LINES
from quasarloop.network.config import RedshiftGrid, preset
from quasarloop.network.keras_layout import quasarnp_obstacles
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import (
    Weights,
    from_module,
    inspect_weights,
    read_weights,
    to_module,
    write_weights,
)


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
