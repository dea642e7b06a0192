"""A training as it stands after an epoch: arrays in one .npz file, written whole or not at all.

No random state is kept: every epoch draws from seeds of its own.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from quasarloop.artefacts import write_atomically
from quasarloop.errors import WeightsError
from quasarloop.network.history import EpochRecord

__all__ = [
    "Checkpoint",
    "optimizer_arrays",
    "read_checkpoint",
    "restore_optimizer",
    "write_checkpoint",
]

Arrays = Mapping[str, NDArray[Any]]

_FORMAT: Final = "quasarloop training checkpoint 1"
_GROUPS: Final = ("model", "optimizer", "best")


@dataclass(frozen=True)
class Checkpoint:
    """A training between two epochs.

    Attributes:
        run: what it is a training of: configuration, options, seed, checksum of the data.
        records: the finished epochs.
        model: parameters and buffers by name.
        optimizer: Adam's moments by parameter number and name.
        best: parameters and buffers of the best epoch; empty if none is kept.
    """

    run: Mapping[str, Any]
    records: tuple[EpochRecord, ...]
    model: Arrays
    optimizer: Arrays
    best: Arrays


def write_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Replace the checkpoint at that path.

    Raises:
        OutputError: the file cannot be written.
    """
    story = {
        "format": _FORMAT,
        "run": checkpoint.run,
        "records": [asdict(record) for record in checkpoint.records],
    }
    arrays = {
        f"{group}/{name}": array
        for group in _GROUPS
        for name, array in getattr(checkpoint, group).items()
    }
    arrays["story"] = np.frombuffer(json.dumps(story).encode(), dtype=np.uint8)
    with write_atomically(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def read_checkpoint(path: str | Path, run: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint of exactly that run.

    Args:
        path: written by `write_checkpoint`.
        run: what shall be resumed.

    Raises:
        WeightsError: not a checkpoint, or one of another run; the message says what differs.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        story = json.loads(arrays.pop("story").tobytes())
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as exc:
        raise WeightsError(
            f"{path} is not a readable checkpoint ({exc}); remove it to train from the start"
        ) from exc
    if story.get("format") != _FORMAT:
        raise WeightsError(f"{path} is no checkpoint of this version; remove it to start anew")
    wanted = json.loads(json.dumps(run))
    if story["run"] != wanted:
        raise WeightsError(
            f"{path} belongs to another training: {_differences(story['run'], wanted)}; give the "
            "same data and settings to resume it, or remove it to start anew"
        )
    groups: dict[str, dict[str, NDArray[Any]]] = {group: {} for group in _GROUPS}
    for name, array in arrays.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = array
    records = tuple(EpochRecord(**record) for record in story["records"])
    return Checkpoint(run=wanted, records=records, **groups)


def optimizer_arrays(optimizer: torch.optim.Optimizer) -> dict[str, NDArray[Any]]:
    """Return everything an optimizer remembers of its parameters."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}/{name}": value.detach().cpu().numpy()
        for number, memory in state.items()
        for name, value in memory.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, arrays: Arrays) -> None:
    """Give an optimizer of the same parameters its memory back."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, array in arrays.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = torch.from_numpy(np.array(array))
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    parts = []
    for name in sorted(set(found) | set(wanted)):
        one, two = found.get(name), wanted.get(name)
        if isinstance(one, dict) and isinstance(two, dict):
            inner = [key for key in sorted(set(one) | set(two)) if one.get(key) != two.get(key)]
            parts += [f"{key} was {one.get(key)}, now {two.get(key)}" for key in inner]
        elif one != two:
            parts.append(f"{name} was {one}, now {two}")
    return "; ".join(parts)
