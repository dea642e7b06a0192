"""What a Keras 2 weights file holds, in every variant QuasarNET's history has left.

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
from typing import Final, Literal, NamedTuple

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
from quasarloop.network.keras_hdf5 import KerasFile, KerasLayer
from quasarloop.network.keras_layout import (
    LAMBDA_GROUP,
    array_shapes,
    head_shapes,
    weight_names,
)

__all__ = ["FileFacts", "OffsetSpan", "Offsets", "decide_offsets", "interpret"]

Offsets = Literal["auto", "rescaled", "plain"]


class OffsetSpan(NamedTuple):
    """What was decided.

    Attributes:
        low: smallest offset, in boxes.
        high: largest offset, in boxes.
        why: a sentence for reports.
    """

    low: float
    high: float
    why: str


# How Python's marshal writes the two numbers of "-0.1 + 1.2 x" in a Lambda's bytecode.
_LAMBDA_NUMBERS: Final = tuple(
    struct.pack("<d", number)
    for number in (OFFSET_RANGE[0], round(OFFSET_RANGE[1] - OFFSET_RANGE[0], 9))
)


def decide_offsets(file: KerasFile, n_lines: int, asked: Offsets = "auto") -> OffsetSpan:
    """Decide how the offsets of a file are meant.

    Args:
        file: what was read.
        n_lines: number of line finders.
        asked: ``"auto"`` decides from the file, the others for it.

    Raises:
        WeightsError: the file contradicts itself; the message says how, and how to decide.
    """
    if asked == "rescaled":
        return OffsetSpan(*OFFSET_RANGE, "rescaled, as asked for")
    if asked == "plain":
        return OffsetSpan(*PLAIN_OFFSET_RANGE, "plain, as asked for")
    if asked != "auto":
        raise WeightsError(f"offsets={asked!r}; expected 'auto', 'rescaled' or 'plain'")
    lambdas = file.of_kind("Lambda")
    if not lambdas:
        groups = [group for group in file.groups if group.split("_")[0] == LAMBDA_GROUP]
        if groups:
            raise _undecided(
                file,
                f"model_config has no Lambda layer, but the weights have {', '.join(groups)}",
            )
        return OffsetSpan(*PLAIN_OFFSET_RANGE, "plain: model_config has no Lambda layer")
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
    return OffsetSpan(*spans.pop(), f"rescaled: model_config has the Lambda layers {names}")


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
        f"{file.name}: cannot tell whether offsets are rescaled (-0.1 + 1.2 x): {found}. Ask who "
        "trained the network, then pass offsets='rescaled' or 'plain' (--offsets); the wrong one "
        "shifts redshifts by up to 0.1 of a box"
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


class _Trunk(NamedTuple):
    convs: list[KerasLayer]
    norms: list[KerasLayer]


_HEAD = re.compile(r"fc_(box|offset)_(\d+)$")


def interpret(
    file: KerasFile, offsets: Offsets, lines: tuple[Line, ...] | None, grid: WaveGrid | None
) -> tuple[NetworkConfig, dict[str, NDArray[np.float32]], FileFacts]:
    """Return the network in a file: its shape, its arrays by our names, and what was decided.

    Args:
        file: what was read.
        offsets: ``"auto"`` decides from the Lambda layers of ``model_config``.
        lines: what the heads look for, if the file does not say and they are not seven.
        grid: the bins of the input, if the file does not say.

    Raises:
        WeightsError: a layer or array is missing or has another shape, or the file
            contradicts itself; the message names the layer and the way out.
    """
    trunk = _trunk(file)
    n_lines = _count_lines(file)
    span = decide_offsets(file, n_lines, offsets)
    used_grid, grid_source = _decide_grid(file, grid)
    config = _config(file, trunk, used_grid, _decide_lines(file, n_lines, lines), span)
    renamed = _renamed(trunk, n_lines)
    arrays = _collect(file, config, renamed)
    facts = FileFacts(
        layers=tuple(renamed.items()),
        offsets=span.why,
        quasarnp_rescales=LAMBDA_GROUP in file.groups and LAMBDA_GROUP not in file.arrays,
        grid=grid_source,
        keras_version=file.keras_version,
    )
    return config, arrays, facts


def _trunk(file: KerasFile) -> _Trunk:
    convs, norms = file.of_kind("Conv1D"), file.of_kind("BatchNormalization")
    names = {layer.name for layer in file.layers}
    unknown = sorted(set(file.arrays) - names)
    if unknown:
        raise WeightsError(
            f"{file.name}: weights of layer {unknown[0]} are there, but model_config does not "
            "name it; the file was put together from two models"
        )
    if not convs or "fc_common" not in names:
        missing = "fc_common" if convs else "any convolution"
        raise WeightsError(f"{file.name}: model_config lacks {missing}; not a QuasarNET network")
    if len(norms) != len(convs) + 1:
        raise WeightsError(
            f"{file.name}: {len(norms)} batch normalizations for {len(convs)} convolutions and one "
            f"dense layer; expected {len(convs) + 1}"
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
    return _Trunk(convs, norms)


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
        stored = config_from_dict(file.note["config"]).lines if "config" in file.note else None
        given = stored or (NETWORK_LINES if n_lines == len(NETWORK_LINES) else None)
    if given is None:
        raise WeightsError(
            f"{file.name}: {n_lines} line finders, and the file does not say of which lines "
            f"({len(NETWORK_LINES)} would be QuasarNET's own); pass lines=(...)"
        )
    if len(given) != n_lines:
        raise WeightsError(f"{file.name}: {n_lines} line finders, but {len(given)} lines given")
    return given


def _decide_grid(file: KerasFile, given: WaveGrid | None) -> tuple[WaveGrid, str]:
    grid, source = given or LOG_GRID, "as asked for" if given else "assumed, for the file has none"
    if file.model_grid is not None:
        try:
            grid, source = grid_from_edges(file.model_grid), "model_grid in the file"
        except GridError as exc:
            raise WeightsError(f"{file.name}: its model_grid is no grid: {exc}") from exc
        if given is not None and not given.matches(grid):
            raise WeightsError(
                f"{file.name}: its model_grid is the {grid.describe()}, not the {given.describe()}"
            )
    n_input = _n_input(file)
    if n_input not in (None, grid.n_bins):
        raise WeightsError(
            f"{file.name}: the network reads {n_input} bins, but its grid ({source}) has "
            f"{grid.n_bins}; if you know the right one pass grid=..., or --grid linear"
        )
    return grid, source


def _config(
    file: KerasFile,
    trunk: _Trunk,
    grid: WaveGrid,
    lines: tuple[Line, ...],
    span: OffsetSpan,
) -> NetworkConfig:
    kernel = file.array(trunk.convs[0].name, "kernel")
    if kernel.ndim != 3:  # noqa: PLR2004 -- width, channels, filters
        raise WeightsError(
            f"{file.name}: layer {trunk.convs[0].name} has a kernel of shape {kernel.shape}; "
            "expected (width, 1, filters)"
        )
    strides = {int(np.ravel(conv.settings.get("strides", 2))[0]) for conv in trunk.convs}
    paddings = {str(conv.settings.get("padding", "valid")) for conv in trunk.convs}
    rates = [float(layer.settings.get("rate", 0)) for layer in file.of_kind("Dropout")]
    for what, values in (("strides", strides), ("paddings", paddings)):
        if len(values) != 1:
            raise WeightsError(f"{file.name}: convolutions of different {what}: {sorted(values)}")
    config = NetworkConfig(
        n_conv=len(trunk.convs),
        n_filters=kernel.shape[2],
        kernel_width=kernel.shape[0],
        stride=strides.pop(),
        padding="same" if paddings.pop() == "same" else "valid",
        n_dense=file.array("fc_common", "bias").size,
        dropout=max(rates, default=0.0),
        n_boxes=file.array("fc_box_0", "bias").size,
        lines=lines,
        grid=grid,
        offset_low=span.low,
        offset_high=span.high,
    )
    return _as_stored(file, config)


def _as_stored(file: KerasFile, config: NetworkConfig) -> NetworkConfig:
    """Take what quasarloop stored, digits and all, after checking that it is the same network."""
    if "config" not in file.note:
        return config
    stored = replace(
        config_from_dict(file.note["config"]),
        lines=config.lines,
        offset_low=config.offset_low,
        offset_high=config.offset_high,
    )
    if replace(stored, grid=config.grid, redshift=None) != config or not stored.grid.matches(
        config.grid
    ):
        raise WeightsError(
            f"{file.name}: the configuration quasarloop stored does not fit the layers beside it; "
            "the file was changed by another program"
        )
    return stored


def _renamed(trunk: _Trunk, n_lines: int) -> dict[str, str]:
    renamed = {}
    for number, norm in enumerate(trunk.norms, 1):
        if number <= len(trunk.convs):
            renamed[trunk.convs[number - 1].name] = f"conv_{number}"
        else:
            renamed["fc_common"] = "fc_common"
        renamed[norm.name] = f"batch_normalization_{number}"
    heads = [f"fc_{kind}_{line}" for kind in ("offset", "box") for line in range(n_lines)]
    return renamed | {head: head for head in heads}


def _collect(
    file: KerasFile, config: NetworkConfig, renamed: Mapping[str, str]
) -> dict[str, NDArray[np.float32]]:
    shapes = array_shapes(config)
    arrays = {name: _head_array(file, name, shape) for name, shape in head_shapes(config).items()}
    for there, here in renamed.items():
        for weight in weight_names(here):
            array = file.array(there, weight)
            expected = shapes[f"{here}/{weight}"]
            if array.shape != expected:
                grid = f" (the {config.grid.describe()})" if there == "fc_common" else ""
                raise WeightsError(
                    f"{file.name}: {weight} of layer {there} has shape {array.shape}; "
                    f"expected {expected}{grid}"
                )
            arrays[f"{here}/{weight}"] = array
    return {name: arrays[name] for name in shapes}


def _head_array(file: KerasFile, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    array = file.head.get(name)
    if array is None or array.shape != shape or not np.all(np.isfinite(array)):
        found = "is missing" if array is None else f"of shape {array.shape} is not as written"
        raise WeightsError(
            f"{file.name}: array {name} of the redshift head {found} (expected {shape}); the file "
            "was changed by another program, get it again"
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def _n_input(file: KerasFile) -> int | None:
    for layer in file.layers:
        shape = layer.settings.get("batch_input_shape")
        if shape and len(shape) > 1 and shape[1] is not None:
            return int(shape[1])
    return None
