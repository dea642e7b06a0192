"""Weights that travel: Keras 2 HDF5 files in every variant, and one safe form to write.

A file written here gives the same confidences and offsets in QuasarNP and desispec.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from quasarloop.artefacts import checksum, write_atomically
from quasarloop.classes import Thresholds
from quasarloop.errors import WeightsError
from quasarloop.grid import LINEAR_GRID, LOG_GRID, WaveGrid
from quasarloop.lines import Line
from quasarloop.network.config import NetworkConfig, config_to_dict
from quasarloop.network.joint import JointCalibration, stored_calibration
from quasarloop.network.keras_hdf5 import keras_hdf5, read_keras_hdf5, read_note
from quasarloop.network.keras_layout import array_shapes, module_places
from quasarloop.network.keras_reading import FileFacts, interpret
from quasarloop.network.model import LineFinder
from quasarloop.network.options import SHIPPED, Offsets, PredictOptions

__all__ = [
    "Weights",
    "default_weights_path",
    "from_module",
    "inspect_weights",
    "read_thresholds",
    "read_weights",
    "to_module",
    "weights_path",
    "write_weights",
]

# The files that come with the package, by the grid they read.
_SHIPPED: Final = {LOG_GRID: "default_weights.h5", LINEAR_GRID: "default_weights_linear.h5"}


@dataclass(frozen=True)
class Weights:
    """A trained network, apart from any framework.

    Attributes:
        config: its shape.
        arrays: float32 arrays by ``layer/weight`` in Keras' names and axis order.
        provenance: what JSON can hold: how it was trained, or which file it came from.

    Raises:
        WeightsError: an array is missing, unknown or of another shape.
    """

    config: NetworkConfig
    arrays: Mapping[str, NDArray[np.float32]]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = array_shapes(self.config)
        for name, shape in expected.items():
            if name not in self.arrays:
                raise WeightsError(f"the network's array {name} is missing")
            if self.arrays[name].shape != shape:
                raise WeightsError(
                    f"array {name} has shape {self.arrays[name].shape}; expected {shape}"
                )
        unknown = sorted(set(self.arrays) - set(expected))
        if unknown:
            raise WeightsError(f"array {unknown[0]} has no place in the network")

    def __repr__(self) -> str:
        """Return one line: arrays are not printed."""
        config = self.config
        return (
            f"Weights({config.n_conv} convolutions of {config.n_filters} filters, "
            f"{config.n_lines} lines, {config.grid.describe()}; {self.digest()[:12]})"
        )

    def with_changes(self, **changes: Any) -> "Weights":
        """Return the weights with another configuration of the same shape, e.g. another dropout.

        Raises:
            WeightsError: the shape would change.
        """
        try:
            return replace(self, config=replace(self.config, **changes))
        except WeightsError as exc:
            names = ", ".join(f"{name}={value!r}" for name, value in changes.items())
            raise WeightsError(
                f"given weights do not train further with {names}: {exc}; "
                "to train from nothing name a preset"
            ) from exc

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds in the provenance; the package's where it has none.

        Raises:
            WeightsError: they are impossible.
        """
        return _thresholds(self.provenance)

    @property
    def joint(self) -> JointCalibration:
        """How far lines are trusted where there is no redshift head.

        Raises:
            WeightsError: what the provenance has is impossible.
        """
        return stored_calibration(self.provenance)

    def digest(self) -> str:
        """Return the SHA-256 of configuration and arrays, in hex: one network, one digest."""
        text = json.dumps(config_to_dict(self.config), sort_keys=True)
        result = hashlib.sha256(text.encode())
        for name in array_shapes(self.config):
            result.update(np.ascontiguousarray(self.arrays[name], dtype="<f4").tobytes())
        return result.hexdigest()


def read_weights(
    path: str | Path,
    offsets: Offsets = PredictOptions.offsets,
    *,
    lines: tuple[Line, ...] | None = None,
    grid: WaveGrid | None = None,
) -> Weights:
    """Read a weights file of QuasarNET, or one of ours.

    Args:
        path: a Keras 2 HDF5 file.
        offsets: ``"auto"`` decides from the file whether offsets are rescaled; ``"rescaled"``
            and ``"plain"`` decide for it.
        lines: what the heads look for, needed if they are not QuasarNET's seven.
        grid: the grid of the input, needed if the file has none and it is not the log grid.

    Raises:
        WeightsError: not such a file, incomplete, or ambiguous; the message names the remedy.
    """
    return inspect_weights(path, offsets, lines=lines, grid=grid)[0]


def inspect_weights(
    path: str | Path,
    offsets: Offsets = PredictOptions.offsets,
    *,
    lines: tuple[Line, ...] | None = None,
    grid: WaveGrid | None = None,
) -> tuple[Weights, FileFacts]:
    """Read a weights file and report which variant it is; arguments as `read_weights`."""
    source = Path(path)
    file = read_keras_hdf5(source)
    try:
        config, arrays, facts = interpret(file, offsets, lines, grid)
    except (AttributeError, LookupError, TypeError, ValueError) as exc:
        raise WeightsError(
            f"{source}: its model_config is not as Keras 2 writes it ({exc!r}); get the file again"
        ) from exc
    provenance = file.note.get("provenance")
    if provenance is None:
        origin = {"file": source.name, "sha256": checksum(source), "offsets": facts.offsets}
        provenance = {"origin": origin}
    weights = Weights(config, arrays, provenance)
    try:
        # Impossible ones are an error here, with the file's name.
        weights.thresholds, weights.joint  # noqa: B018
    except WeightsError as exc:
        raise WeightsError(f"{source}: {exc}") from exc
    return weights, facts


def read_thresholds(path: str | Path) -> Thresholds:
    """Read the thresholds of a weights file, and not its arrays; the package's if it has none.

    Raises:
        WeightsError: not a weights file, or impossible thresholds.
    """
    try:
        return _thresholds(read_note(Path(path)).get("provenance") or {})
    except WeightsError as exc:
        raise WeightsError(f"{path}: {exc}") from exc


def write_weights(weights: Weights, path: str | Path) -> None:
    """Write the file every reader understands alike; the same weights give the same bytes.

    Layers are numbered from 1, an empty group ``lambda`` marks the rescaling, and the
    grid, lines, thresholds and provenance are inside.

    Raises:
        WeightsError: the provenance holds what JSON cannot.
        OutputError: the file cannot be written.
    """
    provenance = {"thresholds": weights.thresholds.to_dict(), **weights.provenance}
    content = keras_hdf5(weights.config, weights.arrays, provenance)
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def to_module(weights: Weights) -> LineFinder:
    """Return the network as a torch module, in evaluation mode."""
    module = LineFinder(weights.config, torch.Generator())
    state = module.state_dict()
    for array, (name, rows) in module_places(weights.config).items():
        state[name][rows] = torch.tensor(weights.arrays[array].transpose())
    return module.eval()


def from_module(module: LineFinder, provenance: Mapping[str, Any] | None = None) -> Weights:
    """Return a copy of a module's weights, with a record of how they came to be."""
    state = {
        name: tensor.detach().to("cpu", torch.float32).numpy()
        for name, tensor in module.state_dict().items()
    }
    arrays = {
        array: np.array(state[name][rows].transpose(), order="C")
        for array, (name, rows) in module_places(module.config).items()
    }
    return Weights(module.config, arrays, dict(provenance or {}))


def default_weights_path(grid: WaveGrid = LOG_GRID) -> Path:
    """Return the weights file that comes with the package, for spectra on a grid.

    Raises:
        WeightsError: this installation has none, or none for that grid.
    """
    name = next((file for own, file in _SHIPPED.items() if own.matches(grid)), None)
    remedy = "give a file with --weights, or train one with `quasarloop train`"
    if name is None:
        known = " and a ".join(own.describe() for own in _SHIPPED)
        raise WeightsError(
            f"the package has weights for a {known}, none for a {grid.describe()}; {remedy}"
        )
    path = Path(str(resources.files("quasarloop") / "data" / name))
    if not path.is_file():
        raise WeightsError(f"this installation comes without {name}; {remedy}")
    return path


def weights_path(name: str | Path | None, grid: WaveGrid = LOG_GRID) -> Path:
    """Return the path of a weights file.

    Args:
        name: a file; None and ``shipped`` are the one that comes with the package for the grid,
            ``shipped-log`` and ``shipped-linear`` the one of that grid.
        grid: of the spectra; survey files can be put on any.

    Raises:
        WeightsError: the package has no such weights.
    """
    if name is None or str(name) == SHIPPED:
        return default_weights_path(grid)
    kinds = {f"{SHIPPED}-{own.kind}": own for own in _SHIPPED}
    return default_weights_path(kinds[str(name)]) if str(name) in kinds else Path(name)


def _thresholds(provenance: Mapping[str, Any]) -> Thresholds:
    stored = provenance.get("thresholds") or {}
    try:
        return Thresholds.from_dict(stored)
    except (AttributeError, TypeError, ValueError) as exc:
        raise WeightsError(
            f"impossible thresholds in the provenance, {stored!r} ({exc}); expected confidence, "
            "n_lines and high_z_min"
        ) from exc
