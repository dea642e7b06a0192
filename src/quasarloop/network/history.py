"""What happened in each epoch of a training, kept as Parquet."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from quasarloop.artefacts import write_atomically
from quasarloop.errors import DataFormatError

__all__ = ["EpochRecord", "read_history", "write_history"]

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
        is_best: the best epoch so far by what is monitored (last one: the one kept).
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

    @property
    def judged_loss(self) -> float:
        """The validation loss, else the training loss."""
        return self.loss if math.isnan(self.validation_loss) else self.validation_loss


_KINDS = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def write_history(records: Sequence[EpochRecord], path: str | Path) -> None:
    """Write one row per epoch, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    hints = get_type_hints(EpochRecord)
    schema = pa.schema([(f.name, _KINDS[hints[f.name]]) for f in fields(EpochRecord)])
    table = pa.Table.from_pylist([asdict(record) for record in records], schema=schema)
    with write_atomically(path) as temporary:
        pq.write_table(table, temporary)


def read_history(path: str | Path) -> tuple[EpochRecord, ...]:
    """Read the epochs back.

    Raises:
        DataFormatError: missing, not Parquet, or not a history.
    """
    try:
        rows = pq.read_table(path).to_pylist()
        return tuple(EpochRecord(**row) for row in rows)
    except (OSError, pa.ArrowInvalid, TypeError) as exc:
        raise DataFormatError(f"{path} is not a training history: {exc}") from exc
