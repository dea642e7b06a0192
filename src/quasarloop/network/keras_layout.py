"""The layout of a network: its layers as a Keras 2 model, their arrays, and torch's names of them.

`describe_model` lists the layers once; names, order and shapes of all arrays follow from it.
Plain Python: `keras_hdf5` reads and writes the files.
"""

from typing import Any, Final

from quasarloop.network.config import (
    BATCH_NORM_EPS,
    BATCH_NORM_MOMENTUM,
    OFFSET_RANGE,
    NetworkConfig,
)

__all__ = [
    "HEAD_PREFIX",
    "LAMBDA_GROUP",
    "array_shapes",
    "describe_model",
    "head_shapes",
    "module_places",
    "quasarnp_obstacles",
]

# QuasarNP rescales offsets if, and only if, an empty group of this name is in the file.
LAMBDA_GROUP: Final = "lambda"
# Layers of our redshift head. They are no layers of the Keras model: other readers pass by.
HEAD_PREFIX: Final = "redshift_"

# Arrays of a batch normalisation: Keras' name -> torch's.
_NORM_NAMES: Final = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_INITIALIZERS: Final = {
    "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
    "bias_initializer": {"class_name": "Zeros", "config": {}},
}
# QuasarNP builds every model with seven lines and decodes thirteen boxes.
_QUASARNP_LINES: Final = 7
_QUASARNP_BOXES: Final = 13
# It takes the last digit of a layer's name as its number.
_QUASARNP_CONVS: Final = 9


def array_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Return ``layer/weight`` and shape of every array of a network, in Keras' order.

    >>> shapes = array_shapes(NetworkConfig())
    >>> shapes["conv_2/kernel"], shapes["fc_common/kernel"], shapes["fc_box_6/bias"]
    ((10, 100, 100), (700, 100), (13,))
    """
    shapes: dict[str, tuple[int, ...]] = {}
    size = {"input_1": 1}  # channels, or numbers, that leave each layer
    for layer in describe_model(config)["config"]["layers"][1:]:
        kind, name, settings = layer["class_name"], layer["name"], layer["config"]
        n_in = size[layer["inbound_nodes"][0][0][0]]
        size[name] = config.n_flat if kind == "Flatten" else n_in
        if kind == "BatchNormalization":
            shapes |= {f"{name}/{weight}": (n_in,) for weight in _NORM_NAMES}
        elif kind in ("Conv1D", "Dense"):
            size[name] = n_out = settings["filters" if kind == "Conv1D" else "units"]
            shapes[f"{name}/kernel"] = (*settings.get("kernel_size", ()), n_in, n_out)
            shapes[f"{name}/bias"] = (n_out,)
    return shapes | head_shapes(config)


def head_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every array of the redshift head; none without one."""
    head = config.redshift
    if head is None:
        return {}
    n_out = config.stride**head.conv * len(config.emission_index)
    return {
        f"{HEAD_PREFIX}local/kernel": (config.n_filters * head.n_maps, head.n_channels),
        f"{HEAD_PREFIX}local/bias": (head.n_channels,),
        f"{HEAD_PREFIX}whole/kernel": (config.n_dense, head.n_channels),
        f"{HEAD_PREFIX}lines/kernel": (head.n_channels, n_out),
        f"{HEAD_PREFIX}lines/bias": (n_out,),
        f"{HEAD_PREFIX}knots/kernel": (config.n_dense, head.n_knots),
        f"{HEAD_PREFIX}knots/bias": (head.n_knots,),
    }


def module_places(config: NetworkConfig) -> dict[str, tuple[str, slice]]:
    """Return where a `LineFinder` holds every array of `array_shapes`, its axes in reverse order.

    Returns:
        The name in its ``state_dict``, and the rows there: one tensor holds the heads of all lines.

    >>> module_places(NetworkConfig())["fc_box_2/bias"]
    ('box.bias', slice(26, 39, None))
    """
    names = _NORM_NAMES | {"kernel": "weight", "bias": "bias"}
    places = {}
    for array in array_shapes(config):
        layer, _, weight = array.partition("/")
        stem, _, number = layer.rpartition("_")
        rows = slice(None)
        if layer.startswith(HEAD_PREFIX):
            module = layer.replace(HEAD_PREFIX, "redshift.")
        elif layer == "fc_common":
            module = "common"
        elif stem == "conv":
            module = f"convs.{int(number) - 1}"
        elif stem == "batch_normalization":
            last = int(number) > config.n_conv
            module = "common_norm" if last else f"conv_norms.{int(number) - 1}"
        else:
            module = stem.removeprefix("fc_")
            rows = slice(int(number) * config.n_boxes, (int(number) + 1) * config.n_boxes)
        places[array] = (f"{module}.{names[weight]}", rows)
    return places


def describe_model(config: NetworkConfig) -> dict[str, Any]:
    """Return the ``model_config`` of a network: a Keras 2 functional model.

    Where offsets are rescaled, a Lambda layer follows each. Its function is a name, not
    Python bytecode: Keras loads the file with ``custom_objects={"rescale_offset": ...}``.
    """
    layers = [_layer("InputLayer", "input_1", [], batch_input_shape=[None, config.grid.n_bins, 1])]
    layers += _trunk(config)
    layers += [
        _dense(f"fc_offset_{line}", "fc_activation", config.n_boxes, "sigmoid")
        for line in range(config.n_lines)
    ]
    offsets = [f"fc_offset_{line}" for line in range(config.n_lines)]
    for line, offset in enumerate(offsets):
        layers.append(_dense(f"fc_box_{line}", "fc_activation", config.n_boxes, "sigmoid"))
        if config.rescales_offsets:
            layers.append(
                _layer(
                    "Lambda",
                    LAMBDA_GROUP if line == 0 else f"{LAMBDA_GROUP}_{line}",
                    [offset],
                    function="rescale_offset",
                    function_type="function",
                    module="quasarloop",
                    output_shape=None,
                    output_shape_type="raw",
                    output_shape_module=None,
                    arguments={"low": config.offset_low, "high": config.offset_high},
                )
            )
            offsets[line] = layers[-1]["name"]
    outputs = [f"conc_box_{line}" for line in range(config.n_lines)]
    for line, output in enumerate(outputs):
        layers.append(_layer("Concatenate", output, [f"fc_box_{line}", offsets[line]], axis=-1))
    body = {
        "name": "QuasarNET",
        "layers": layers,
        "input_layers": [["input_1", 0, 0]],
        "output_layers": [[output, 0, 0] for output in outputs],
    }
    return {"class_name": "Functional", "config": body}


def quasarnp_obstacles(config: NetworkConfig) -> tuple[str, ...]:
    """Return what keeps QuasarNP from using a network correctly; nothing if it can.

    >>> quasarnp_obstacles(NetworkConfig())
    ()
    """
    found = []
    if config.n_lines != _QUASARNP_LINES:
        found.append(f"{config.n_lines} lines; it always reads {_QUASARNP_LINES}")
    if config.n_boxes != _QUASARNP_BOXES:
        found.append(f"{config.n_boxes} boxes; it decodes {_QUASARNP_BOXES}")
    if config.n_conv > _QUASARNP_CONVS:
        found.append(f"{config.n_conv} convolutions; it numbers them with one digit")
    if config.rescales_offsets and (config.offset_low, config.offset_high) != OFFSET_RANGE:
        found.append(
            f"offsets from {config.offset_low:g} to {config.offset_high:g}; it rescales them to "
            f"{OFFSET_RANGE[0]:g} … {OFFSET_RANGE[1]:g}"
        )
    left = (config.kernel_width - 1) // 2
    if config.padding == "same" and any(pad.left != left for pad in config.paddings()):
        found.append("a kernel and stride whose 'same' padding it gets wrong")
    return tuple(found)


def _trunk(config: NetworkConfig) -> list[dict[str, Any]]:
    layers, source = [], "input_1"
    for number in range(1, config.n_conv + 1):
        layers.append(
            _layer(
                "Conv1D",
                f"conv_{number}",
                [source],
                filters=config.n_filters,
                kernel_size=[config.kernel_width],
                strides=[config.stride],
                padding=config.padding,
                data_format="channels_last",
                dilation_rate=[1],
                groups=1,
                activation="linear",
                use_bias=True,
                **_INITIALIZERS,
            )
        )
        layers += _norm_and_relu(number, f"activation_{number}", f"conv_{number}", axis=2)
        source = f"activation_{number}"
        if config.dropout > 0:
            layers.append(_layer("Dropout", f"dropout_{number}", [source], rate=config.dropout))
            source = f"dropout_{number}"
    layers.append(_layer("Flatten", "flatten", [source], data_format="channels_last"))
    layers.append(_dense("fc_common", "flatten", config.n_dense, "linear"))
    return layers + _norm_and_relu(config.n_conv + 1, "fc_activation", "fc_common", axis=1)


def _norm_and_relu(number: int, relu: str, source: str, *, axis: int) -> list[dict[str, Any]]:
    name = f"batch_normalization_{number}"
    norm = _layer(
        "BatchNormalization",
        name,
        [source],
        axis=[axis],
        momentum=BATCH_NORM_MOMENTUM,
        epsilon=BATCH_NORM_EPS,
        center=True,
        scale=True,
    )
    return [norm, _layer("Activation", relu, [name], activation="relu")]


def _dense(name: str, source: str, units: int, activation: str) -> dict[str, Any]:
    settings = {"units": units, "activation": activation, "use_bias": True, **_INITIALIZERS}
    return _layer("Dense", name, [source], **settings)


def _layer(kind: str, name: str, sources: list[str], **settings: Any) -> dict[str, Any]:
    inbound = [[[source, 0, 0, {}] for source in sources]] if sources else []
    config = {"name": name, "dtype": "float32", **settings}
    if sources:
        config["trainable"] = True
    return {"class_name": kind, "config": config, "name": name, "inbound_nodes": inbound}
