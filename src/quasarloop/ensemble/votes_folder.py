"""Votes on disk: one Parquet file per shard of the store, and a manifest that lists them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from quasarloop.ensemble.manifest import Ensemble
from quasarloop.ensemble.member_record import members_metadata, members_table
from quasarloop.ensemble.options import VoteOptions
from quasarloop.ensemble.shard_tables import (
    Kind,
    TablesWriter,
    open_tables,
    shard_file,
)
from quasarloop.ensemble.votes import MemberFinds, VoteRule, vote_columns
from quasarloop.errors import GridError, reading
from quasarloop.lines import Line
from quasarloop.store import Store

__all__ = [
    "MANIFEST",
    "Votes",
    "members_file",
    "open_votes",
    "piece_votes",
    "votes_table",
    "votes_writer",
]

MANIFEST: Final = "votes.json"
_KIND: Final = Kind("votes", MANIFEST, "quasarloop ensemble vote")
_MEMBERS: Final = "members"


@dataclass(frozen=True)
class Votes:
    """A finished folder of votes.

    Attributes:
        folder: where it is.
        files: one per shard, in the store's order.
        rule: thresholds.
        n_rows: spectra in all files.
        record: the whole manifest.
    """

    folder: Path
    files: tuple[Path, ...]
    rule: VoteRule
    n_rows: int
    record: dict[str, Any]

    def __repr__(self) -> str:
        """Return one line: the manifest is not printed."""
        return f"Votes(on {self.n_rows} spectra, in {self.folder})"


def members_file(folder: Path, shard: Path) -> Path:
    """Return the members' record of a shard."""
    return shard_file(folder / _MEMBERS, shard)


def piece_votes(
    identity: Mapping[str, Any],
    finds: MemberFinds,
    rule: VoteRule,
    lines: tuple[Line, ...],
    *,
    keep_members: bool,
) -> list[pa.Table]:
    """Return the votes on a piece, and if `keep_members` the compact record of its members."""
    table = votes_table(identity, vote_columns(finds, rule, lines), len(finds.confidence))
    return [table, members_table(finds, rule)] if keep_members else [table]


def votes_table(
    identity: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], n_networks: int
) -> pa.Table:
    """Join the names (`identity_columns`) and scores (`vote_columns`) of n spectra."""
    n_rows = len(identity["TARGETID"])
    number = {"N_NETWORKS": np.full(n_rows, n_networks, dtype=np.uint16)}
    return pa.table({**identity, **number, **columns})


def votes_writer(
    ensemble: Ensemble,
    store: Store,
    folder: Path,
    rule: VoteRule,
    options: VoteOptions,
    device: str,
) -> TablesWriter:
    """Make the folder of the votes, or check that it holds the same ones.

    Raises:
        GridError: store and ensemble have different grids.
        OutputError: the folder holds votes of another ensemble or with other options.
    """
    grid = ensemble.config.grid
    if not grid.matches(store.grid):
        raise GridError(
            f"the ensemble reads a {grid.describe()}, the store holds a "
            f"{store.grid.describe()}; ingest the files on the ensemble's grid"
        )
    plan = {
        "ensemble": ensemble.identity,
        "n_networks": len(ensemble),
        "settings": rule.to_dict(),
        "keep_members": options.keep_members,
        "device": device,
        "cascade": None,  # of earlier versions; votes they began are finished
        "grid": asdict(store.grid),
        "lines": [line.column for line in ensemble.config.lines],
        **({"tf32": True} if options.tf32 else {}),
    }
    beside = {_MEMBERS: members_metadata(rule, len(ensemble))} if options.keep_members else {}
    return TablesWriter(folder, _KIND, store, plan, beside)


def open_votes(folder: str | Path) -> Votes:
    """Open finished votes; the list of files comes from the manifest.

    Raises:
        DataFormatError: not finished, of another format, or a file is missing.
    """
    root = Path(folder)
    record, files, n_rows = open_tables(root, _KIND)
    with reading(root / MANIFEST, "the manifest of votes", "vote again into another folder"):
        rule = VoteRule.from_dict(record["settings"])
    return Votes(root, files, rule, n_rows, record)
