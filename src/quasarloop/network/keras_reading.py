"""The network in a Keras 2 weights file, in every variant QuasarNET's history has left.

QuasarNET puts a Lambda layer, -0.1 + 1.2 x, behind every offset. QuasarNP looks for one
empty group named exactly ``lambda``; files whose Lambda layers are numbered from 0, or from
7, it reads as plain. ``model_config`` names the layers and what they do: it decides here.

Layers are put in order by ``model_config``, never by their names: a process that built
several models numbers them on and on. Plain Python; `weights` opens the HDF5.
"""

import base64
import binascii
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import GridError, WeightsError
from quasarloop.grid import LOG_GRID, WaveGrid, grid_from_edges
from quasarloop.lines import NETWORK_LINES, Line
from quasarloop.network.config import (
    BATCH_NORM_EPS,
    OFFSET_RANGE,
    PLAIN_OFFSET_RANGE,
    NetworkConfig,
    config_from_dict,
)
from quasarloop.network.keras_hdf5 import KerasFile, KerasLayer, layers_from_json
from quasarloop.network.keras_layout import (
    HEAD_PREFIX,
    LAMBDA_GROUP,
    array_shapes,
    describe_model,
)
from quasarloop.network.options import Offsets

__all__ = ["FileFacts", "interpret"]

# How Python's marshal writes the two numbers of "-0.1 + 1.2 x" in a Lambda's bytecode.
_LAMBDA_NUMBERS: Final = tuple(
    struct.pack("<d", number)
    for number in (OFFSET_RANGE[0], round(OFFSET_RANGE[1] - OFFSET_RANGE[0], 9))
)


def _decide_offsets(file: KerasFile, n_lines: int, requested: Offsets) -> tuple[float, float, str]:
    """Return the range of the offsets, in boxes, and a sentence with the reason."""
    if requested == "rescaled":
        return (*OFFSET_RANGE, "rescaled, as requested")
    if requested == "plain":
        return (*PLAIN_OFFSET_RANGE, "plain, as requested")
    if requested != "auto":
        raise WeightsError(f"offsets={requested!r}; expected 'auto', 'rescaled' or 'plain'")
    lambdas = file.of_kind("Lambda")
    if not lambdas:
        groups = [group for group in file.groups if group.split("_")[0] == LAMBDA_GROUP]
        if groups:
            raise _undecided(
                file,
                f"model_config has no Lambda layer, but the weights have {', '.join(groups)}",
            )
        return (*PLAIN_OFFSET_RANGE, "plain: model_config has no Lambda layer")
    names = ", ".join(layer.name for layer in lambdas)
    fed = {source for layer in lambdas for source in layer.sources}
    n_linked = sum(f"fc_offset_{line}" in fed for line in range(n_lines)) if fed else len(lambdas)
    if n_linked != n_lines:
        raise _undecided(
            file, f"of {n_lines} offset layers {n_linked} have a Lambda layer behind them ({names})"
        )
    spans = {_span_of(file, layer) for layer in lambdas}
    if len(spans) != 1:
        raise _undecided(file, f"its Lambda layers ({names}) rescale differently")
    return (*spans.pop(), f"rescaled: model_config has the Lambda layers {names}")


def _span_of(file: KerasFile, layer: KerasLayer) -> tuple[float, float]:
    arguments = layer.settings.get("arguments") or {}
    if {"low", "high"} <= set(arguments):  # as quasarloop writes it
        return float(arguments["low"]), float(arguments["high"])
    function = layer.settings.get("function")
    if isinstance(function, list) and function and isinstance(function[0], str):
        try:
            code = base64.b64decode(function[0])
        except binascii.Error as exc:
            raise _undecided(file, f"the function of {layer.name} cannot be decoded") from exc
        # The bytecode is looked at, never run.
        if not all(number in code for number in _LAMBDA_NUMBERS):
            raise _undecided(file, f"the function of {layer.name} does not hold -0.1 and 1.2")
    return OFFSET_RANGE


def _undecided(file: KerasFile, found: str) -> WeightsError:
    return WeightsError(
        f"{file.name}: cannot decide whether offsets are rescaled (-0.1 + 1.2 x): {found}. Find "
        "out how the network was trained, then pass offsets='rescaled' or 'plain' (--offsets); the "
        "wrong one shifts redshifts by up to 0.1 of a box"
    )


@dataclass(frozen=True)
class FileFacts:
    """Which variant a file is, and what was decided about it.

    Attributes:
        layers: (name in the file, name here) of every layer with weights, in order.
        offsets: a sentence: rescaled or plain, and why.
        quasarnp_rescales: whether QuasarNP rescales this file's offsets.
        grid: where the grid comes from.
        keras_version: the version that wrote the file.
    """

    layers: tuple[tuple[str, str], ...]
    offsets: str
    quasarnp_rescales: bool
    grid: str
    keras_version: str


_HEAD = re.compile(r"fc_(box|offset)_(\d+)$")


def interpret(
    file: KerasFile, offsets: Offsets, lines: tuple[Line, ...] | None, grid: WaveGrid | None
) -> tuple[NetworkConfig, dict[str, NDArray[np.float32]], FileFacts]:
    """Return the network in a file: its shape, its arrays by our names, and what was decided.

    Arguments are those of `weights.read_weights`.

    Raises:
        WeightsError: a layer or array is missing or has another shape, or the file
            contradicts itself; the message names the layer and the way out.
    """
    unknown = sorted(set(file.arrays) - {layer.name for layer in file.layers})
    if unknown:
        raise WeightsError(
            f"{file.name}: weights of layer {unknown[0]} are there, but model_config does not "
            "name it; the file was put together from two models"
        )
    _check_settings(file)
    stored = config_from_dict(file.note["config"]) if "config" in file.note else None
    if stored is None:
        _check_trunk(file)  # other networks are refused before anything is decided about them
    n_lines = _count_lines(file)
    low, high, reason = _decide_offsets(file, n_lines, offsets)
    used_grid, grid_source = _decide_grid(file, grid)
    used_lines = _decide_lines(file, n_lines, lines or (stored.lines if stored else None))
    config = _checked(file, stored, used_grid) if stored else _deduced(file, used_grid)
    config = replace(config, lines=used_lines, offset_low=low, offset_high=high)
    renamed = _renamed(file, config)
    extra = sorted(set(file.arrays) - set(renamed))
    if extra:
        raise WeightsError(
            f"{file.name}: layer {extra[0]} has weights, but no place in a network of QuasarNET; "
            "its outputs would be left out"
        )
    facts = FileFacts(
        layers=tuple(renamed.items()),
        offsets=reason,
        quasarnp_rescales=LAMBDA_GROUP in file.groups and LAMBDA_GROUP not in file.arrays,
        grid=grid_source,
        keras_version=file.keras_version,
    )
    return config, _collect(file, config, renamed), facts


# Settings the forward pass takes for granted, per kind of layer; what a file leaves out is so.
_HIDDEN: Final = {"data_format": ("channels_last",), "use_bias": (True,)}
_COMPUTED: Final[Mapping[str, Mapping[str, tuple[Any, ...]]]] = {
    "InputLayer": {},
    "Conv1D": _HIDDEN
    | {
        "padding": ("valid", "same"),
        "dilation_rate": (1,),
        "groups": (1,),
        "activation": ("linear",),
    },
    "BatchNormalization": {"center": (True,), "scale": (True,)},
    "Activation": {"activation": ("relu",)},
    "Dropout": {},
    "Flatten": {"data_format": ("channels_last",)},
    "Dense": _HIDDEN | {"activation": ("linear",)},
    "Lambda": {},
    "Concatenate": {},
    "": {},  # of files cut down to what QuasarNP reads
}


def _check_settings(file: KerasFile) -> None:
    """Refuse layers that compute anything else than the network here would."""
    for layer in file.layers:
        if layer.kind not in _COMPUTED:
            raise WeightsError(
                f"{file.name}: layer {layer.name} is of kind {layer.kind}, which no network of "
                f"QuasarNET has; known are {', '.join(filter(None, _COMPUTED))}"
            )
        head = {"activation": ("sigmoid",)} if _HEAD.match(layer.name) else {}
        for name, computed in {**_COMPUTED[layer.kind], **head}.items():
            found = layer.settings.get(name, computed[0])
            if found not in (*computed, *([value] for value in computed)):
                raise WeightsError(
                    f"{file.name}: layer {layer.name} has {name} {found!r}; what is computed here, "
                    f"and by QuasarNP, is {' or '.join(map(str, computed))}"
                )


def _check_trunk(file: KerasFile) -> None:
    convs, norms = file.of_kind("Conv1D"), file.of_kind("BatchNormalization")
    names = {layer.name for layer in file.layers}
    if not convs or "fc_common" not in names:
        missing = "fc_common" if convs else "any convolution"
        raise WeightsError(f"{file.name}: model_config lacks {missing}; not a QuasarNET network")
    if len(norms) != len(convs) + 1:
        raise WeightsError(
            f"{file.name}: {len(norms)} batch normalizations for {len(convs)} convolutions and one "
            f"dense layer; expected {len(convs) + 1}"
        )
    relus = file.of_kind("Activation")
    if relus and len(relus) != len(norms):
        raise WeightsError(
            f"{file.name}: {len(relus)} activations for {len(norms)} batch normalizations; "
            "expected one behind each"
        )
    for before, norm in zip([*(conv.name for conv in convs), "fc_common"], norms, strict=True):
        if norm.sources and before not in norm.sources:
            raise WeightsError(
                f"{file.name}: {norm.name} follows {norm.sources[0]}; expected it after {before}"
            )
        epsilon = float(norm.settings.get("epsilon", BATCH_NORM_EPS))
        if not np.isclose(epsilon, BATCH_NORM_EPS):
            raise WeightsError(
                f"{file.name}: layer {norm.name} has epsilon {epsilon}; every reader of these "
                f"files uses {BATCH_NORM_EPS}"
            )


def _count_lines(file: KerasFile) -> int:
    found: dict[str, set[int]] = {"box": set(), "offset": set()}
    for layer in file.layers:
        if match := _HEAD.match(layer.name):
            found[match[1]].add(int(match[2]))
    n_lines = len(found["box"] | found["offset"])
    for kind, numbers in found.items():
        lost = sorted(set(range(max(n_lines, 1))) - numbers)
        if lost:
            raise WeightsError(
                f"{file.name}: model_config lacks layer fc_{kind}_{lost[0]}; every line needs a "
                "box and an offset layer, numbered from 0"
            )
    return n_lines


def _decide_lines(
    file: KerasFile, n_lines: int, given: tuple[Line, ...] | None
) -> tuple[Line, ...]:
    if given is None:
        if n_lines == len(NETWORK_LINES):
            return NETWORK_LINES
        raise WeightsError(
            f"{file.name}: {n_lines} line finders, and the file does not name their lines "
            f"({len(NETWORK_LINES)} would be QuasarNET's own); pass lines=(...)"
        )
    if len(given) != n_lines:
        raise WeightsError(f"{file.name}: {n_lines} line finders, but {len(given)} lines given")
    return given


def _decide_grid(file: KerasFile, given: WaveGrid | None) -> tuple[WaveGrid, str]:
    grid, source = given or LOG_GRID, "as requested" if given else "assumed, for the file has none"
    if file.model_grid is not None:
        try:
            grid, source = grid_from_edges(file.model_grid), "model_grid in the file"
        except GridError as exc:
            raise WeightsError(f"{file.name}: its model_grid is no grid: {exc}") from exc
        if given is not None and not given.matches(grid):
            raise WeightsError(
                f"{file.name}: its model_grid is the {grid.describe()}, not the {given.describe()}"
            )
    shapes = [layer.settings.get("batch_input_shape") for layer in file.layers]
    n_input = next((int(s[1]) for s in shapes if s and len(s) > 1 and s[1] is not None), None)
    if n_input not in (None, grid.n_bins):
        raise WeightsError(
            f"{file.name}: the network reads {n_input} bins, but its grid ({source}) has "
            f"{grid.n_bins}; if you know the right one pass grid=..., or --grid linear"
        )
    return grid, source


def _deduced(file: KerasFile, grid: WaveGrid) -> NetworkConfig:
    """Return the configuration of a file of others, lines and offsets apart."""
    convs = file.of_kind("Conv1D")
    kernel = file.array(convs[0].name, "kernel")
    if kernel.ndim != 3:  # noqa: PLR2004 -- width, channels, filters
        raise WeightsError(
            f"{file.name}: layer {convs[0].name} has a kernel of shape {kernel.shape}; "
            "expected (width, 1, filters)"
        )
    strides = {int(np.ravel(conv.settings.get("strides", 2))[0]) for conv in convs}
    paddings = {str(conv.settings.get("padding", "valid")) for conv in convs}
    rates = [float(layer.settings.get("rate", 0)) for layer in file.of_kind("Dropout")]
    for what, values in (("strides", strides), ("paddings", paddings)):
        if len(values) != 1:
            raise WeightsError(f"{file.name}: convolutions of different {what}: {sorted(values)}")
    return NetworkConfig(
        n_conv=len(convs),
        n_filters=kernel.shape[2],
        kernel_width=kernel.shape[0],
        stride=strides.pop(),
        padding="same" if paddings.pop() == "same" else "valid",
        n_dense=file.array("fc_common", "bias").size,
        dropout=max(rates, default=0.0),
        n_boxes=file.array("fc_box_0", "bias").size,
        grid=grid,
    )


# The settings of a layer that shape a network.
_SHAPING: Final = ("filters", "kernel_size", "strides", "padding", "units", "rate")


def _checked(file: KerasFile, stored: NetworkConfig, grid: WaveGrid) -> NetworkConfig:
    """Return the configuration quasarloop stored, after checking that it is the same network."""
    found, expected = (
        [(one.name, one.kind, *map(one.settings.get, _SHAPING)) for one in layers]
        for layers in (file.layers, layers_from_json(describe_model(stored)))
    )
    if found != expected or not stored.grid.matches(grid):
        raise WeightsError(
            f"{file.name}: the configuration quasarloop stored does not fit the layers beside it; "
            "the file was changed by another program"
        )
    return stored


def _renamed(file: KerasFile, config: NetworkConfig) -> dict[str, str]:
    """Return the name here of every layer with weights, by its name in the file."""
    ours = layers_from_json(describe_model(config))
    there = {kind: iter(file.of_kind(kind)) for kind in ("Conv1D", "BatchNormalization")}
    renamed = {}
    for layer in ours:
        if layer.kind in there:  # whatever their numbers: in the order of model_config
            renamed[next(there[layer.kind]).name] = layer.name
        elif layer.kind == "Dense":
            renamed[layer.name] = layer.name
    return renamed


def _collect(
    file: KerasFile, config: NetworkConfig, renamed: Mapping[str, str]
) -> dict[str, NDArray[np.float32]]:
    there = {here: name for name, here in renamed.items()}
    arrays = {}
    for name, expected in array_shapes(config).items():
        layer, _, weight = name.partition("/")
        if layer.startswith(HEAD_PREFIX):
            arrays[name] = _head_array(file, name, expected)
            continue
        array = arrays[name] = file.array(there[layer], weight)
        if array.shape != expected:
            grid = f" (the {config.grid.describe()})" if layer == "fc_common" else ""
            raise WeightsError(
                f"{file.name}: {weight} of layer {there[layer]} has shape {array.shape}; "
                f"expected {expected}{grid}"
            )
        if weight == "moving_variance" and (array < 0).any():
            raise WeightsError(
                f"{file.name}: moving_variance of layer {there[layer]} is negative; every spectrum "
                "would give NaN. The file is damaged: get it again"
            )
    return arrays


def _head_array(file: KerasFile, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    array = file.head.get(name)
    if array is None or array.shape != shape or not np.all(np.isfinite(array)):
        found = "is missing" if array is None else f"of shape {array.shape} is not as written"
        raise WeightsError(
            f"{file.name}: array {name} of the redshift head {found} (expected {shape}); the file "
            "was changed by another program, get it again"
        )
    return np.ascontiguousarray(array, dtype=np.float32)
