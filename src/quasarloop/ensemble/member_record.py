"""Record of the members' predictions in three bytes per member and spectrum.

One byte holds the confidence, two the redshift. The steps are laid so that classes do not
change: every vote threshold is an edge of the confidence code, and the border between the
two redshift classes is an edge of the redshift code, so all votes follow exactly.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from quasarloop.ensemble.shard_tables import METADATA_KEY
from quasarloop.ensemble.votes import MemberFinds, VoteRule
from quasarloop.errors import DataFormatError, reading

__all__ = [
    "BYTES_PER_MEMBER",
    "MemberRecord",
    "confidence_edges",
    "decode_confidence",
    "decode_z",
    "encode_confidence",
    "encode_z",
    "members_metadata",
    "members_table",
    "read_member_record",
]

BYTES_PER_MEMBER: Final = 3
# Confidence is coded evenly in its logit, ln c/(1-c), between these: 0.0003 … 0.9997.
# Source: our choice: steps of 0.065, about 0.003 in confidence at 0.95.
_LOGIT_RANGE: Final = 8.0
_N_EDGES: Final = 255
# Redshift is coded evenly in ln(1+z), 13.8 km/s a step, from z = -0.55 to 8.15 (for a class
# border of 2.1). Source: our choice; every line of both grids falls well inside.
_Z_STEP: Final = 4.6e-5
_Z_ZERO: Final = 42_000  # code of the first step at and above the class border


@dataclass(frozen=True)
class MemberRecord:
    """Predictions of every member, read back from the compact record.

    Attributes:
        confidence: (n, n_networks) float32; NaN where there is no prediction.
        z: (n, n_networks) float64, of the most confident line; NaN likewise.
    """

    confidence: NDArray[np.float32]
    z: NDArray[np.float64]


def confidence_edges(thresholds: Sequence[float]) -> NDArray[np.float32]:
    """Return the (255,) increasing edges of the confidence code.

    Args:
        thresholds: vote thresholds; each takes the place of the edge nearest to it.

    Raises:
        DataFormatError: thresholds too close to each other to have an edge each.
    """
    logits = np.linspace(-_LOGIT_RANGE, _LOGIT_RANGE, _N_EDGES)
    edges = (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)
    for threshold in thresholds:
        edges[np.argmin(np.abs(logits - np.log(threshold / (1.0 - threshold))))] = threshold
    wanted = np.array(thresholds, dtype=np.float32)
    if not np.isin(wanted, edges).all() or np.any(np.diff(edges) <= 0):
        raise DataFormatError(
            f"thresholds {', '.join(map(str, thresholds))} lie too close together, or too near 0 "
            f"or 1, for the record of members; its steps are {np.diff(logits)[0]:.3f} in logit"
        )
    return edges


def encode_confidence(
    confidence: NDArray[np.float32], edges: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Return the number of edges below each confidence: c > t keeps meaning code > place of t."""
    return np.searchsorted(edges, confidence, side="left").astype(np.uint8)


def decode_confidence(code: NDArray[np.uint8], edges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the middle of each code's step in logit; the outermost steps end at 0 and 1."""
    logits = np.log(edges.astype(np.float64) / (1.0 - edges))
    step = 2.0 * _LOGIT_RANGE / (_N_EDGES - 1)
    middles = np.concatenate(
        [[logits[0] - step / 2], (logits[:-1] + logits[1:]) / 2, [logits[-1] + step / 2]]
    )
    values: NDArray[Any] = 1.0 / (1.0 + np.exp(-middles))
    return values.astype(np.float32)[code]


def encode_z(z: NDArray[np.floating], *, high_z_min: float) -> NDArray[np.uint16]:
    """Return redshift codes; NaN becomes 0, and what lies outside the range its nearest end."""
    with np.errstate(invalid="ignore"):
        steps = np.floor((np.log1p(z) - np.log1p(high_z_min)) / _Z_STEP)
    code = np.clip(_Z_ZERO + steps, 1, np.iinfo(np.uint16).max)
    # Rounding of the logarithm must not carry a redshift over the class border.
    code = np.where(z >= high_z_min, np.maximum(code, _Z_ZERO), np.minimum(code, _Z_ZERO - 1))
    return np.where(np.isnan(z), 0, code).astype(np.uint16)


def decode_z(code: NDArray[np.uint16], *, high_z_min: float) -> NDArray[np.float64]:
    """Return the middle of each code's step; NaN for code 0."""
    logs = np.log1p(high_z_min) + (code.astype(np.float64) - _Z_ZERO + 0.5) * _Z_STEP
    return np.where(code == 0, np.nan, np.expm1(logs))


def members_table(finds: MemberFinds, rule: VoteRule) -> pa.Table:
    """Return the record of some spectra, one row each."""
    codes = encode_confidence(finds.confidence.T, confidence_edges(rule.thresholds))
    z_best = np.broadcast_to(finds.z_best, finds.confidence.shape)
    z_codes = encode_z(z_best.T, high_z_min=rule.decision.high_z_min)
    return pa.table({"CONFIDENCE": _bytes(codes), "REDSHIFT": _bytes(z_codes.astype("<u2"))})


def members_metadata(rule: VoteRule, n_networks: int) -> dict[str, Any]:
    """Return what a file of records needs to contain to be read back."""
    return {
        "confidence_edges": confidence_edges(rule.thresholds).tolist(),
        "high_z_min": rule.decision.high_z_min,
        "n_networks": n_networks,
    }


def read_member_record(path: str | Path) -> MemberRecord:
    """Read the predictions of every member for one shard's spectra.

    Raises:
        DataFormatError: no such record; votes keep it with ``--keep-members``.
    """
    with reading(path, "a record of members", "vote again with --keep-members"):
        table = pq.read_table(path)
        metadata = json.loads(table.schema.metadata[METADATA_KEY])
        edges = np.array(metadata["confidence_edges"], dtype=np.float32)
        shape = (len(table), int(metadata["n_networks"]))
        codes = np.frombuffer(b"".join(table["CONFIDENCE"].to_pylist()), np.uint8).reshape(shape)
        z_codes = np.frombuffer(b"".join(table["REDSHIFT"].to_pylist()), "<u2").reshape(shape)
        z = decode_z(z_codes.astype(np.uint16), high_z_min=float(metadata["high_z_min"]))
    confidence = np.where(z_codes == 0, np.float32(np.nan), decode_confidence(codes, edges))
    return MemberRecord(confidence.astype(np.float32), z)


def _bytes(values: NDArray[Any]) -> pa.Array:
    # As bytes: Parquet would keep small integers in four bytes each.
    width = values.shape[1] * values.dtype.itemsize
    buffer = pa.py_buffer(np.ascontiguousarray(values).tobytes())
    return pa.Array.from_buffers(pa.binary(width), len(values), [None, buffer])
