"""Keras 2 weights files in HDF5: layers in their order, arrays, empty groups."""

import io
import json
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import WeightsError, check_regular
from quasarloop.network.config import NetworkConfig, config_to_dict
from quasarloop.network.keras_layout import array_shapes, describe_model, head_shapes

__all__ = [
    "KerasFile",
    "KerasLayer",
    "keras_hdf5",
    "layers_from_json",
    "read_keras_hdf5",
    "read_note",
]


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
    """The content of a weights file.

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
    head: Mapping[str, NDArray[Any]]

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


# Files cut down to what QuasarNP reads lack class names; QuasarNET's own names imply them.
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


# The root attribute of our own: configuration and provenance as JSON.
_NOTE: Final = "quasarloop"
# Keras 2 appends TensorFlow's output number to a weight's name; Keras 3 does not.
_KERAS_2_NAME = re.compile(r"^(.*):\d+$")
_KERAS_3_ADVICE: Final = (
    "save the network as HDF5 from Keras 2 (TF_USE_LEGACY_KERAS=1, model.save('weights.h5')), "
    "which is what QuasarNP and desispec read too"
)
# The root group with the arrays of our redshift head; readers of the Keras model never look.
_HEAD_GROUP: Final = "quasarloop_head"
# What h5py raises, by where a damaged file is damaged.
_UNREADABLE: Final = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)
# All arrays of a file together: the published networks have 3 MB, with their optimizer 9. A file of
# a few kilobytes can declare terabytes. Our choice.
_MOST_BYTES: Final = 1 << 28
# The version whose layout is written: that of QuasarNP's own 6-layer fixture.
_KERAS_VERSION: Final = "2.9.0"
# Source: the attribute QuasarNP's script adds to files together with ``model_grid``.
_SPACING: Final = {"log": "logarithmic", "linear": "linear"}


def read_keras_hdf5(path: Path) -> KerasFile:
    """Read a whole Keras 2 model.

    Raises:
        WeightsError: no such file, not HDF5, cut short, of Keras 3, or weights alone.
    """
    if not path.exists():
        raise WeightsError(f"{path}: no such weights file")
    try:
        check_regular(path)
    except OSError as exc:
        raise WeightsError(f"{path}: {exc.strerror}") from exc
    if zipfile.is_zipfile(path):
        raise WeightsError(f"{path}: a Keras 3 archive (.keras); {_KERAS_3_ADVICE}")
    try:
        with h5py.File(path, "r") as file:
            return _parse(file, path)
    except _UNREADABLE as exc:
        what = (
            "is cut short; copy it again" if "truncated" in str(exc) else "cannot be read as HDF5"
        )
        raise WeightsError(f"{path} {what} ({exc}); expected a Keras 2 weights file") from exc


def read_note(path: Path) -> Mapping[str, Any]:
    """Read what quasarloop wrote beside the weights, and no array; empty in files of others.

    Raises:
        WeightsError: not an HDF5 file, or a damaged note.
    """
    try:
        with h5py.File(check_regular(path), "r") as file:
            return _note(file)
    except _UNREADABLE as exc:
        raise WeightsError(f"cannot be read as a Keras 2 weights file ({exc})") from exc


def keras_hdf5(
    config: NetworkConfig,
    arrays: Mapping[str, NDArray[np.float32]],
    provenance: Mapping[str, Any],
) -> bytes:
    """Return the bytes of a Keras 2 HDF5 file; the same network gives the same bytes.

    Args:
        config: the network.
        arrays: float32 arrays by ``layer/weight``.
        provenance: what JSON can hold.

    Raises:
        WeightsError: the provenance holds what JSON cannot.
    """
    model = describe_model(config)
    content = {"config": config_to_dict(config), "provenance": dict(provenance)}
    try:
        note = json.dumps(content, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise WeightsError(f"the provenance holds what JSON cannot: {exc}") from exc
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=("earliest", "v110")) as file:
        file.attrs["backend"] = "tensorflow"
        file.attrs["keras_version"] = _KERAS_VERSION
        file.attrs["model_config"] = json.dumps(model)
        file.attrs["grid_spacing"] = _SPACING[config.grid.kind]
        file.attrs[_NOTE] = note
        file.create_dataset("model_grid", data=config.grid.lower_edges_aa)
        groups = file.create_group("model_weights")
        names = [layer["name"] for layer in model["config"]["layers"]]
        groups.attrs["layer_names"] = _bytes_array(names)
        groups.attrs["backend"] = "tensorflow"
        groups.attrs["keras_version"] = _KERAS_VERSION
        for layer in names:
            group = groups.create_group(layer)
            weights = [name for name in array_shapes(config) if name.startswith(f"{layer}/")]
            group.attrs["weight_names"] = _bytes_array([f"{name}:0" for name in weights])
            for name in weights:
                group.create_dataset(f"{name}:0", data=arrays[name])
        for name in head_shapes(config):
            file.create_dataset(f"{_HEAD_GROUP}/{name}", data=arrays[name])
    return memory.getvalue()


def _note(file: h5py.File) -> Mapping[str, Any]:
    note = json.loads(_text(file.attrs.get(_NOTE, "{}")))
    if not isinstance(note, dict) or not all(
        isinstance(note.get(name, {}), dict) for name in ("config", "provenance")
    ):
        raise ValueError("attribute quasarloop is not as written; get the file again")
    return note


def _check_content(file: h5py.File, path: Path) -> None:
    """Refuse data outside the file, and arrays of absurd size, before any is read."""
    arrays: dict[str, h5py.Dataset] = {}
    links: list[str] = []

    def note_link(name: str, link: object) -> None:
        links.extend([name] if isinstance(link, h5py.ExternalLink) else [])

    def note_array(name: str, item: h5py.Group | h5py.Dataset) -> None:
        arrays.update({name: item} if isinstance(item, h5py.Dataset) else {})

    file.visititems_links(note_link)
    file.visititems(note_array)
    outside = links + [name for name, a in arrays.items() if a.external or a.is_virtual]
    if outside:
        raise WeightsError(
            f"{path}: the numbers of {outside[0]} are in another file; expected all weights in one "
            "file: copy them into it"
        )
    # Of a chunked array whole chunks are read.
    sizes = (max(a.size, math.prod(a.chunks or ())) * a.dtype.itemsize for a in arrays.values())
    total = sum(sizes)
    if total > _MOST_BYTES:
        raise WeightsError(
            f"{path}: its arrays need {total >> 20:,} MiB; a network has a few, and at most "
            f"{_MOST_BYTES >> 20} are read. The file is damaged: get it again"
        )


def _parse(file: h5py.File, path: Path) -> KerasFile:
    _check_content(file, path)
    if "model_weights" not in file or "model_config" not in file.attrs:
        if {"layers", "_layer_checkpoint_dependencies"} & set(file):
            raise WeightsError(f"{path}: a Keras 3 file (.weights.h5); {_KERAS_3_ADVICE}")
        lost = "model_weights" if "model_weights" not in file else "model_config"
        raise WeightsError(
            f"{path}: has no {lost}; expected a whole Keras 2 model (model.save, not save_weights)"
        )
    groups = file["model_weights"]
    version = _text(file.attrs.get("keras_version", "not recorded"))
    arrays = {name: _layer_arrays(groups[name], name, path) for name in groups}
    try:
        note = _note(file)
    except (ValueError, RecursionError) as exc:
        raise WeightsError(f"{path}: {exc}") from exc
    try:
        layers = layers_from_json(json.loads(_text(file.attrs["model_config"])))
    except (json.JSONDecodeError, KeyError, TypeError, RecursionError) as exc:
        raise WeightsError(f"{path}: its model_config is not that of a Keras model: {exc}") from exc
    return KerasFile(
        name=str(path),
        layers=layers,
        arrays={name: found for name, found in arrays.items() if found},
        groups=tuple(groups),
        model_grid=file["model_grid"][()] if "model_grid" in file else None,
        keras_version=version,
        note=note,
        head={
            f"{layer}/{weight}": array[()]
            for layer, weights in file.get(_HEAD_GROUP, {}).items()
            for weight, array in weights.items()
        },
    )


def _layer_arrays(group: h5py.Group, layer: str, path: Path) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        match = _KERAS_2_NAME.match(name.rsplit("/", 1)[-1])
        if match is None:
            raise WeightsError(
                f"{path}: weight {name} of layer {layer} has a Keras 3 name (no ':0' at its end); "
                f"{_KERAS_3_ADVICE}"
            )
        found[match[1]] = item[()]

    if isinstance(group, h5py.Group):
        group.visititems(visit)
    return found


def _bytes_array(names: list[str]) -> NDArray[Any]:
    return np.array([name.encode() for name in names]) if names else np.zeros(0)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
