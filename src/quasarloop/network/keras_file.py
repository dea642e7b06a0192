"""The parts of a Keras 2 weights file, as read: layers in their order, arrays, empty groups."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import WeightsError

__all__ = ["KerasFile", "KerasLayer", "layers_from_json"]


@dataclass(frozen=True)
class KerasLayer:
    """One layer of ``model_config``.

    Attributes:
        name: its name in the file.
        kind: its Keras class, guessed from the name where the file leaves it out.
        settings: its ``config``.
        sources: names of the layers it reads; empty where the file leaves them out.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class KerasFile:
    """What matters of a weights file.

    Attributes:
        name: the file's name, for messages.
        layers: the layers of ``model_config``, in its order.
        arrays: weights of every layer that has some: layer → weight → array.
        groups: every group under ``model_weights``, empty ones included.
        model_grid: lower bin edges, Å, or None.
        keras_version: the version that wrote it, or "not recorded".
        note: what quasarloop wrote beside the weights; empty in files of others.
        head: arrays of our redshift head by ``layer/weight``; empty without one.
    """

    name: str
    layers: tuple[KerasLayer, ...]
    arrays: Mapping[str, Mapping[str, NDArray[Any]]]
    groups: tuple[str, ...]
    model_grid: NDArray[np.float64] | None
    keras_version: str
    note: Mapping[str, Any]
    head: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def of_kind(self, kind: str) -> list[KerasLayer]:
        """Return the layers of a Keras class, in order."""
        return [layer for layer in self.layers if layer.kind == kind]

    def array(self, layer: str, weight: str) -> NDArray[np.float32]:
        """Return one array.

        Raises:
            WeightsError: the layer or the array is missing, or holds no finite numbers.
        """
        if layer not in self.arrays:
            raise WeightsError(
                f"{self.name}: layer {layer} is missing; the file is incomplete, get it again"
            )
        if weight not in self.arrays[layer]:
            raise WeightsError(
                f"{self.name}: layer {layer} has no {weight}; found "
                f"{', '.join(sorted(self.arrays[layer])) or 'nothing'}"
            )
        array = self.arrays[layer][weight]
        if array.dtype.kind != "f" or not np.all(np.isfinite(array)):
            raise WeightsError(
                f"{self.name}: {weight} of layer {layer} is not made of finite decimal numbers"
            )
        return np.ascontiguousarray(array, dtype=np.float32)


# Files cut down to what QuasarNP reads lack class names; QuasarNET's own names tell them.
_KIND_BY_PREFIX = {
    "conv": "Conv1D",
    "batch_normalization": "BatchNormalization",
    "dropout": "Dropout",
    "lambda": "Lambda",
    "fc_": "Dense",
}


def layers_from_json(model_config: Any) -> tuple[KerasLayer, ...]:
    """Return the layers of a parsed ``model_config``.

    Raises:
        KeyError, TypeError: it is not the description of a Keras model.
    """
    return tuple(_layer(plain) for plain in model_config["config"]["layers"])


def _layer(plain: Mapping[str, Any]) -> KerasLayer:
    settings = plain["config"]
    name = str(settings["name"])
    guess = next((kind for start, kind in _KIND_BY_PREFIX.items() if name.startswith(start)), "")
    return KerasLayer(
        name, str(plain.get("class_name", guess)), settings, _sources(plain.get("inbound_nodes"))
    )


def _sources(nodes: Any) -> tuple[str, ...]:
    """Names in Keras 2's ``[[["conv_1", 0, 0, {}], …], …]``."""
    if not isinstance(nodes, list):
        return ()
    inputs = [source for node in nodes if isinstance(node, list) for source in node]
    return tuple(str(source[0]) for source in inputs if isinstance(source, list) and source)
