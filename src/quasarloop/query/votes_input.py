"""Votes and cells side by side, unread: what a selection works on."""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from quasarloop.artefacts import checksum
from quasarloop.classes import Thresholds, Vote
from quasarloop.columns import integer_id
from quasarloop.ensemble.shard_tables import METADATA_KEY
from quasarloop.ensemble.votes import count_column
from quasarloop.ensemble.votes_folder import MANIFEST, Votes, open_votes
from quasarloop.errors import DataFormatError, SelectionError, reading
from quasarloop.query.som_files import CellsFile

__all__ = ["INDEX", "VotesTable", "beside_cells", "read_target_ids", "read_votes_table"]

# Number of a row in the votes: the stable key of last resort.
INDEX: Final = "INDEX"
_KEYS: Final = ("TARGETID", "OBJECT_ID", "SHARD", "ROW", "FLAGS", "SURVEY", "PROGRAM")
_WANTED: Final = {
    **dict.fromkeys(("TARGETID", "OBJECT_ID", "ROW", "FLAGS", "N_ASKED"), pl.selectors.integer()),
    **dict.fromkeys(("SHARD", "SURVEY", "PROGRAM"), pl.selectors.string(include_categorical=True)),
    **dict.fromkeys(("ENTROPY", "SOFT_ENTROPY", "MUTUAL_INFORMATION"), pl.selectors.float()),
}
_REMEDY: Final = "make votes with `quasarloop ensemble vote`"
_FROM_CELLS: Final = ("CELL", "DISTANCE", "EXPID")


@dataclass(frozen=True)
class VotesTable:
    """Votes of a store, unread.

    Attributes:
        frame: one row per spectrum, in the store's order.
        thresholds: confidences the votes were counted at.
        decision: the one of them that decided entropy and redshifts.
        n_rows: spectra.
        record: where they came from, for manifests.
    """

    frame: pl.LazyFrame
    thresholds: tuple[float, ...]
    decision: float
    n_rows: int
    record: dict[str, Any]


def read_votes_table(path: str | Path) -> VotesTable:
    """Open a folder of votes, or one Parquet file with the same columns.

    Raises:
        DataFormatError: not votes, or columns missing.
    """
    file = Path(path)
    if file.is_dir():
        votes = open_votes(file)
        _check_unchanged(votes)
        if not votes.files:
            raise DataFormatError(f"{file}: votes of an empty store; there is nothing to choose")
        frame, n_rows, described = pl.scan_parquet(list(votes.files)), votes.n_rows, file / MANIFEST
        first = votes.files[0]
        counted, decision = votes.rule.thresholds, votes.rule.decision.confidence
    else:
        first = file
        with reading(first, "votes", _REMEDY):
            parquet = pq.ParquetFile(file)
            frame, n_rows, described = pl.scan_parquet(file), parquet.metadata.num_rows, file
            plan = json.loads((parquet.schema_arrow.metadata or {}).get(METADATA_KEY, b"{}"))
            counted = _thresholds_of(parquet.schema_arrow.names)
            decision = Thresholds.from_dict(plan.get("settings", {})).confidence
    with reading(first, "votes", _REMEDY):
        none = pl.DataFrame(schema=frame.collect_schema())
    wrong = [name for name, kind in _WANTED.items() if name not in none.select(kind).columns]
    if wrong:
        raise DataFormatError(
            f"{file}: columns {', '.join(wrong)} are missing or of another type; {_REMEDY}"
        )
    record = {"path": str(file), "sha256": checksum(described)}
    return VotesTable(frame, counted, decision, n_rows, record)


def beside_cells(votes: VotesTable, cells_file: CellsFile | None) -> pl.LazyFrame:
    """Put every spectrum's cell beside its votes, and number the rows.

    Both were written in the store's order, so no join is needed; that they agree is checked row
    by row.

    Without an assignment every row has cell -1.

    Raises:
        SelectionError: votes and cells are of different stores.
    """
    if cells_file is None:
        unmapped = [pl.lit(-1, pl.Int32).alias("CELL"), pl.lit(None, pl.Float32).alias("DISTANCE")]
        return votes.frame.with_columns(
            *unmapped, pl.lit(-1, pl.Int64).alias("EXPID")
        ).with_row_index(INDEX)
    keys = ("SHARD", "ROW", "TARGETID")
    cells = cells_file.scan().select(
        *_FROM_CELLS, *(pl.col(name).alias(f"{name}_CELLS") for name in keys)
    )
    both = pl.concat([votes.frame, cells], how="horizontal")
    n_cells = int(cells_file.scan().select(pl.len()).collect().item())
    same = n_cells == votes.n_rows and bool(
        both.select(pl.all_horizontal(pl.col(k) == pl.col(f"{k}_CELLS") for k in keys).all())
        .collect(engine="streaming")
        .item()
    )
    if not same:
        raise SelectionError(
            f"{votes.record['path']} ({votes.n_rows} rows) and {cells_file.path} ({n_cells} rows) "
            "are not of the same store; run `quasarloop som assign` on the store that was voted on"
        )
    return both.drop(f"{k}_CELLS" for k in keys).with_row_index(INDEX)


def read_target_ids(paths: Iterable[str | Path]) -> NDArray[np.int64]:
    """Read lists of TARGETIDs: Parquet or CSV with that column, or text with one per line.

    Raises:
        DataFormatError: a file is missing or a line is no number; the message names it.
    """
    lists = [_target_ids_of(Path(path)) for path in paths]
    return np.unique(np.concatenate([np.empty(0, np.int64), *lists]))


def _target_ids_of(path: Path) -> NDArray[np.int64]:
    expected = "one number per line, or a CSV with a column TARGETID"
    with reading(path, "a list of TARGETIDs", f"give {expected}"):
        if path.suffix == ".parquet":
            return pl.read_parquet(path, columns=["TARGETID"])["TARGETID"].cast(pl.Int64).to_numpy()
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        rows = list(csv.reader((line.split("#")[0].strip() for line in lines), strict=True))
    names = next(([name.strip() for name in row] for row in rows if row), [])
    column = names.index("TARGETID") if "TARGETID" in names else -1
    ids = []
    for i, row in enumerate(rows, start=1):
        if not row or (column >= 0 and [word.strip() for word in row] == names):
            continue
        try:
            ids.append(integer_id(row[max(column, 0)]))
        except (ValueError, IndexError) as exc:
            raise DataFormatError(
                f"{path}, line {i}: {','.join(row)[:40]!r} is no TARGETID; expected {expected}"
            ) from exc
    return np.array(ids, dtype=np.int64)


def _check_unchanged(votes: Votes) -> None:
    for entry, path in zip(votes.record["files"], votes.files, strict=True):
        if checksum(path) != entry.get("sha256"):
            raise DataFormatError(
                f"{path}: not as it was written (its checksum is not the manifest's); delete it "
                f"and {MANIFEST} beside it, and vote again into that folder"
            )


def _thresholds_of(names: Iterable[str]) -> tuple[float, ...]:
    prefix = count_column(Vote.NOT_QSO, 0.5).removesuffix("050")
    digits = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    return tuple(sorted(float(f"0.{text[1:]}") for text in digits))
