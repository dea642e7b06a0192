"""The records of a training: one per epoch, kept as Parquet, and the checkpoint after an epoch.

A checkpoint is one .npz file, which a kill leaves whole; the checksums in it show whether a power
cut has damaged it. It holds no random state: every epoch draws from seeds of its own.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from quasarloop.artefacts import write_atomically
from quasarloop.errors import WeightsError, reading

__all__ = [
    "Arrays",
    "Checkpoint",
    "EpochRecord",
    "read_checkpoint",
    "read_history",
    "write_checkpoint",
    "write_history",
]

_NAN = math.nan


@dataclass(frozen=True)
class EpochRecord:
    """One epoch; validation numbers are NaN without validation rows.

    Attributes:
        epoch: 1 for the first.
        learning_rate: at the last step.
        loss: mean over the steps, with dropout.
        loss_positive, loss_negative, loss_offset: its three terms (`loss.LossParts`).
        loss_redshift: the fourth, of a redshift head, times its weight; 0 without one.
        validation_loss: on the validation rows, without dropout; its terms follow.
        completeness: true quasars found over true quasars.
        purity: true quasars found over all found.
        z_nmad: robust scatter of (z − z_true)/(1 + z_true) of quasars true and found.
        z_scatter: its standard deviation.
        is_best: the best epoch so far by what is monitored; the last such one is kept.
    """

    epoch: int
    learning_rate: float
    loss: float
    loss_positive: float
    loss_negative: float
    loss_offset: float
    validation_loss: float = _NAN
    validation_positive: float = _NAN
    validation_negative: float = _NAN
    validation_offset: float = _NAN
    completeness: float = _NAN
    purity: float = _NAN
    z_nmad: float = _NAN
    z_scatter: float = _NAN
    is_best: bool = False
    loss_redshift: float = 0.0
    validation_redshift: float = _NAN

    def describe(self) -> str:
        """Return loss, and completeness and purity where rows were held out, in one line."""
        if math.isnan(self.validation_loss):
            return f"loss {self.loss:.3f}"
        return (
            f"loss {self.loss:.3f}, validation {self.validation_loss:.3f}, completeness "
            f"{self.completeness:.3f}, purity {self.purity:.3f}"
        )

    @property
    def judged_loss(self) -> float:
        """The validation loss, else the training loss."""
        return self.loss if math.isnan(self.validation_loss) else self.validation_loss


def write_history(records: Sequence[EpochRecord], path: str | Path) -> None:
    """Write one row per epoch, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    table = pa.Table.from_pylist([asdict(record) for record in records])
    with write_atomically(path) as temporary:
        pq.write_table(table, temporary)


def read_history(path: str | Path) -> tuple[EpochRecord, ...]:
    """Read the epochs back.

    Raises:
        DataFormatError: missing, not Parquet, or not a history.
    """
    with reading(path, "a training history", "restore it, or train again"):
        rows = pq.read_table(path).to_pylist()
        return tuple(EpochRecord(**row) for row in rows)


Arrays = Mapping[str, NDArray[Any]]

_FORMAT: Final = "quasarloop training checkpoint 1"
_GROUPS: Final = ("model", "optimizer", "best")


@dataclass(frozen=True)
class Checkpoint:
    """A training between two epochs.

    Attributes:
        run: what decides its result: configuration, options, seed, checksum of the data.
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
    """Replace the checkpoint at that path; without waiting for the disk, every epoch.

    Raises:
        OutputError: the file cannot be written.
    """
    header = {
        "format": _FORMAT,
        "run": checkpoint.run,
        "records": [asdict(record) for record in checkpoint.records],
    }
    arrays = {
        f"{group}/{name}": array
        for group in _GROUPS
        for name, array in getattr(checkpoint, group).items()
    }
    arrays["story"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with write_atomically(path, flush=False) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def read_checkpoint(path: str | Path, run: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint of exactly that run.

    Args:
        path: written by `write_checkpoint`.
        run: the training to resume.

    Raises:
        DataFormatError: damaged, or not a checkpoint.
        WeightsError: one of another run; the message lists what differs.
    """
    with reading(path, "a checkpoint", "remove it, or train from the start"):
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        header = json.loads(arrays.pop("story").tobytes())
    if header.get("format") != _FORMAT:
        raise WeightsError(f"{path} is no checkpoint of this version; remove it to start anew")
    wanted = json.loads(json.dumps(run))
    if header["run"] != wanted:
        raise WeightsError(
            f"{path} belongs to another training: {_differences(header['run'], wanted)}; give the "
            "same data and options to resume it, or remove it to start anew"
        )
    groups: dict[str, dict[str, NDArray[Any]]] = {group: {} for group in _GROUPS}
    for name, array in arrays.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = array
    records = tuple(EpochRecord(**record) for record in header["records"])
    return Checkpoint(run=wanted, records=records, **groups)


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    parts = []
    for name in sorted(set(found) | set(wanted)):
        one, two = found.get(name), wanted.get(name)
        if isinstance(one, dict) and isinstance(two, dict):
            parts.append(_differences(one, two))
        elif one != two:
            parts.append(f"{name} was {one}, now {two}")
    return "; ".join(filter(None, parts))
