"""Votes on disk: one Parquet file per shard of the store, and a manifest that lists them.

One byte holds the confidence, two the redshift. The steps are laid so that verdicts do not
change: every vote threshold is an edge of the confidence code, and the border between the
two redshift classes is an edge of the redshift code, so all votes follow exactly.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from quasarloop.artefacts import (
    check_folder,
    checksum,
    read_manifest,
    versions,
    write_atomically,
    write_manifest,
)
from quasarloop.ensemble.votes import VoteSettings
from quasarloop.errors import DataFormatError, OutputError
from quasarloop.spectra import Keys

__all__ = [
    "BYTES_PER_MEMBER",
    "MANIFEST",
    "MemberRecord",
    "Votes",
    "claim_folder",
    "confidence_edges",
    "decode_confidence",
    "decode_z",
    "encode_confidence",
    "encode_z",
    "members_file",
    "open_votes",
    "read_member_record",
    "votes_file",
    "votes_table",
    "write_table",
    "write_votes_manifest",
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


MANIFEST: Final = "votes.json"
_PLAN: Final = "plan.json"
_FORMAT: Final = 1
_METADATA_KEY: Final = b"quasarloop"
_WORDS: Final = ("SHARD", "SURVEY", "PROGRAM")


@dataclass(frozen=True)
class Votes:
    """A finished folder of votes.

    Attributes:
        folder: where it stands.
        files: one per shard, in the store's order.
        settings: thresholds and class border.
        n_rows: spectra in all files.
        record: the whole manifest.
    """

    folder: Path
    files: tuple[Path, ...]
    settings: VoteSettings
    n_rows: int
    record: dict[str, Any]

    @property
    def is_cascade(self) -> bool:
        """Whether most spectra were asked of some members only."""
        return self.record.get("cascade") is not None


@dataclass(frozen=True)
class MemberRecord:
    """What every member said, read back from the compact record.

    Attributes:
        confidence: (n, n_networks) float32; NaN where a member was not asked.
        z: (n, n_networks) float64, of the most confident line; NaN where not asked.
    """

    confidence: NDArray[np.float32]
    z: NDArray[np.float64]


def votes_file(folder: Path, shard: Path) -> Path:
    """Return the votes of a shard."""
    return folder / f"{shard.stem}.parquet"


def members_file(folder: Path, shard: Path) -> Path:
    """Return the members' record of a shard."""
    return folder / "members" / f"{shard.stem}.parquet"


def votes_table(
    keys: Keys,
    flags: NDArray[np.int32],
    shard: str,
    first_row: int,
    columns: Mapping[str, NDArray[Any]],
    n_networks: int,
) -> pa.Table:
    """Join identity and scores of consecutive rows of one shard.

    Args:
        keys: of the rows.
        flags: of the rows.
        shard: its name.
        first_row: row of the first in the shard.
        columns: from `vote_columns`.
        n_networks: members of the ensemble.
    """
    n = len(keys)
    identity: dict[str, Any] = {
        **keys.columns("TARGETID", "OBJECT_ID"),
        "SHARD": pa.array([shard] * n, pa.string()),
        "ROW": np.arange(first_row, first_row + n, dtype=np.int64),
        "FLAGS": flags,
        **keys.columns("SURVEY", "PROGRAM"),
        "N_NETWORKS": np.full(n, n_networks, dtype=np.uint16),
    }
    return pa.table({**identity, **columns})


def write_table(table: pa.Table, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write votes or a members' record, whole or not at all."""
    text = json.dumps(metadata, sort_keys=True, ensure_ascii=False)
    with write_atomically(path) as temporary:
        pq.write_table(
            table.replace_schema_metadata({_METADATA_KEY: text.encode()}),
            temporary,
            compression="zstd",
            use_dictionary=[name for name in _WORDS if name in table.column_names],
            row_group_size=max(len(table), 1),
        )


def claim_folder(folder: Path, plan: Mapping[str, Any]) -> None:
    """Make the folder of these votes, or check that it is theirs.

    Raises:
        OutputError: it holds votes of another ensemble, of other settings or of another kind.
    """
    check_folder(folder)
    path = folder / _PLAN
    if not path.exists():
        if any(folder.glob("*.parquet")):
            raise OutputError(f"{folder} holds Parquet files but no {_PLAN}; give another folder")
        write_manifest(path, plan)
    found = read_manifest(path)
    different = sorted(
        key for key in {*found, *plan} if found.get(key) != json.loads(json.dumps(plan.get(key)))
    )
    if different:
        raise OutputError(
            f"{folder} holds votes that differ in {', '.join(different)}; give another folder, or "
            "delete this one"
        )
    for torn in [
        *folder.glob(".*.parquet"),
        *folder.glob("members/.*.parquet"),
    ]:  # half-written when an earlier run was killed
        torn.unlink()


def write_votes_manifest(
    folder: Path, plan: Mapping[str, Any], shards: Mapping[Path, int], extra: Mapping[str, Any]
) -> Votes:
    """Write the manifest that makes a folder of files finished votes.

    Args:
        folder: of the votes.
        plan: what `claim_folder` was given.
        shards: path of every shard of the store and its rows, in order.
        extra: more to record.
    """
    files = [
        {
            "file": votes_file(folder, shard).name,
            "n_rows": n_rows,
            "sha256": checksum(votes_file(folder, shard)),
        }
        for shard, n_rows in shards.items()
        if n_rows > 0
    ]
    content = {**plan, **extra, "format": _FORMAT, "files": files, "versions": versions()}
    write_manifest(folder / MANIFEST, content)
    return open_votes(folder)


def open_votes(folder: str | Path) -> Votes:
    """Open finished votes; the list of files comes from the manifest.

    Raises:
        DataFormatError: not finished, of another format, or a file is missing.
    """
    root = Path(folder)
    if not (root / MANIFEST).exists():
        raise DataFormatError(
            f"{root} holds no finished votes (no {MANIFEST}); run `quasarloop ensemble vote` with "
            "the same options again to finish them"
        )
    record = read_manifest(root / MANIFEST)
    if record.get("format") != _FORMAT:
        raise DataFormatError(
            f"{root}: votes format {record.get('format')!r}; this version reads {_FORMAT}"
        )
    files = tuple(root / entry["file"] for entry in record["files"])
    missing = [path.name for path in files if not path.exists()]
    if missing:
        raise DataFormatError(
            f"{root}: {len(missing)} of {len(files)} files of votes are missing (first: "
            f"{missing[0]}); vote again into this folder after deleting {MANIFEST}"
        )
    n_rows = sum(int(entry["n_rows"]) for entry in record["files"])
    return Votes(root, files, VoteSettings.from_dict(record["settings"]), n_rows, record)


def read_member_record(path: str | Path) -> MemberRecord:
    """Read what every member said of one shard's spectra.

    Raises:
        DataFormatError: no such record; votes keep it with ``--keep-members``.
    """
    try:
        table = pq.read_table(path)
        metadata = json.loads(table.schema.metadata[_METADATA_KEY])
    except (OSError, pa.ArrowInvalid, KeyError, TypeError) as exc:
        raise DataFormatError(
            f"{path}: no record of members ({exc}); vote again with --keep-members"
        ) from exc
    edges = np.array(metadata["confidence_edges"], dtype=np.float32)
    shape = (len(table), int(metadata["n_networks"]))
    codes = np.frombuffer(b"".join(table["CONFIDENCE"].to_pylist()), np.uint8).reshape(shape)
    z_codes = np.frombuffer(b"".join(table["REDSHIFT"].to_pylist()), "<u2").reshape(shape)
    z = decode_z(z_codes.astype(np.uint16), high_z_min=float(metadata["high_z_min"]))
    confidence = np.where(z_codes == 0, np.float32(np.nan), decode_confidence(codes, edges))
    return MemberRecord(confidence.astype(np.float32), z)
