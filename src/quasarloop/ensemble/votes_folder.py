"""Votes on disk: one Parquet file per shard of the store, and a manifest that lists them."""

import json
from collections.abc import Mapping
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
from quasarloop.ensemble.members import decode_confidence, decode_z
from quasarloop.ensemble.votes import VoteSettings
from quasarloop.errors import DataFormatError, OutputError
from quasarloop.spectra import Keys

__all__ = [
    "MANIFEST",
    "MemberRecord",
    "Votes",
    "claim_folder",
    "members_file",
    "open_votes",
    "read_member_record",
    "votes_file",
    "votes_table",
    "write_table",
    "write_votes_manifest",
]

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
        "TARGETID": keys.target_id,
        "OBJECT_ID": keys.object_id,
        "SHARD": pa.array([shard] * n, pa.string()),
        "ROW": np.arange(first_row, first_row + n, dtype=np.int64),
        "FLAGS": flags,
        "SURVEY": pa.array(keys.survey.tolist(), pa.string()),
        "PROGRAM": pa.array(keys.program.tolist(), pa.string()),
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
