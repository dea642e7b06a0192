"""Weights files as other versions of Keras and of QuasarNET number their layers."""

from dataclasses import replace

import pytest
from tests.network.weights_files import SMALL, random_weights, rebuild

from quasarloop.errors import WeightsError
from quasarloop.grid import LOG_GRID
from quasarloop.lines import EMISSION_LINES, NETWORK_LINES
from quasarloop.network.weights import (
    inspect_weights,
    read_weights,
    write_weights,
)


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
