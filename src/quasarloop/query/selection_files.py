"""What a selection leaves behind: tables, lists and the worklist the inspection page opens."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.artefacts import (
    check_folder,
    versions,
    without_nan,
    write_atomically,
    write_manifest,
)
from quasarloop.classes import Vote
from quasarloop.ensemble.votes import count_column
from quasarloop.lines import NETWORK_LINES
from quasarloop.query import CHOSEN_NAME, WORKLIST_NAME
from quasarloop.query.select import Selection
from quasarloop.spectra import RebinnedSpectra
from quasarloop.store import Store, read_shard
from quasarloop.tables import write_table

__all__ = [
    "OUTLIERS_NAME",
    "STEPS_NAME",
    "store_features",
    "with_sources",
    "worklist",
    "write_selection",
]

OUTLIERS_NAME: Final = "outliers.parquet"
STEPS_NAME: Final = "steps.json"
_TARGETS_NAME: Final = "targets.csv"
# Source: desihub/prospect, `prospect_pages --target_list`: one TARGETID per row, "#" comments.
_PROSPECT_NAME: Final = "prospect_targets.txt"
_WORKLIST_FORMAT: Final = "quasarloop worklist 1"
_PROPOSALS: Final = (("Z_Q50", "median"), ("Z_Q16", "16 %"), ("Z_Q84", "84 %"))


def write_selection(
    selection: Selection, folder: str | Path, *, record: Mapping[str, Any] | None = None
) -> Path:
    """Write a selection into a folder: tables, lists, worklist, counts.

    Args:
        selection: what was chosen; `with_sources` first makes the worklist independent of the
            store.
        folder: made if needed.
        record: options and inputs, for ``steps.json``.

    Returns:
        The folder.

    Raises:
        OutputError: the folder cannot be written.
    """
    out = check_folder(folder)
    write_table(selection.chosen, out / CHOSEN_NAME, statistics=False)
    write_table(selection.outliers, out / OUTLIERS_NAME, statistics=False)
    table = selection.chosen.select("TARGETID", "OBJECT_ID", "RANK", "SCORE", "REASON")
    _write_text(out / _TARGETS_NAME, table.write_csv())
    _write_text(out / _PROSPECT_NAME, "".join(f"{target}\n" for target in table["TARGETID"]))
    both = worklist(pl.concat([selection.chosen, selection.outliers]), selection.decision)
    _write_text(out / WORKLIST_NAME, json.dumps(both, indent=1, ensure_ascii=False) + "\n")
    content = _record(selection) | dict(record or {}) | {"versions": versions()}
    write_manifest(out / STEPS_NAME, content)
    return out


def _record(selection: Selection) -> dict[str, Any]:
    """Return the count table and what Figures 2 and 3 need, as plain values."""
    return {
        "n_spectra": selection.n_spectra,
        "threshold": selection.decision,
        "steps": [
            {"what": step.sentence, "removed": step.removed, "left": step.left}
            for step in selection.steps
        ],
        "n_drawn_from": selection.n_drawn_from,
        "score_cut": without_nan(selection.score_cut),
        "least_count": without_nan(selection.least_count),
        "counts": selection.counts.tolist(),
        "edges": selection.edges.tolist(),
        "histogram": selection.histogram.tolist(),
    }


def with_sources(selection: Selection, store: Store) -> Selection:
    """Add the file every spectrum came from, and its row there: `SOURCE`, `SOURCE_ROW`.

    Raises:
        DataFormatError: a shard the votes name is not in the store.
    """
    return selection._replace(
        chosen=_located(selection.chosen, store), outliers=_located(selection.outliers, store)
    )


def worklist(chosen: pl.DataFrame, threshold: float) -> dict[str, Any]:
    """Return chosen spectra as the inspection page opens them (schema: docs/guides/selection.md).

    Shown are the votes counted at the confidence ``threshold``.
    """
    counts = {vote.name: count_column(vote, threshold) for vote in Vote}
    return {
        "format": _WORKLIST_FORMAT,
        "objects": [_entry(row, counts) for row in chosen.iter_rows(named=True)],
    }


def store_features(store: Store, rows: pl.DataFrame) -> NDArray[np.float32]:
    """Read the normalised flux of some rows (`SHARD`, `ROW`), in their order."""
    flux = np.zeros((len(rows), store.grid.n_bins), dtype=np.float32)
    for place, spectra in _by_shard(rows, store):
        flux[place] = spectra.flux
    return flux


def _by_shard(
    rows: pl.DataFrame, store: Store, *, with_flux: bool = True
) -> Iterator[tuple[NDArray[np.integer], RebinnedSpectra]]:
    """Read rows shard by shard; yield their places in the table, and the spectra."""
    places = rows.select("SHARD", "ROW").with_row_index("PLACE")
    for (shard,), group in places.group_by("SHARD"):
        wanted = group["ROW"].to_numpy()
        yield (
            group["PLACE"].to_numpy(),
            read_shard(store.shard(str(shard)), with_flux=with_flux, rows=wanted),
        )


def _located(frame: pl.DataFrame, store: Store) -> pl.DataFrame:
    source = np.full(len(frame), "", dtype=object)
    row = np.full(len(frame), -1, dtype=np.int64)
    for place, spectra in _by_shard(frame, store, with_flux=False):
        source[place] = spectra.source
        row[place] = spectra.row
    words = pl.Series([str(path) for path in source], dtype=pl.String)
    return frame.with_columns(SOURCE=words, SOURCE_ROW=pl.Series(row))


def _entry(row: Mapping[str, Any], counts: Mapping[str, str]) -> dict[str, Any]:
    entry = {
        "TARGETID": str(row["TARGETID"]),  # 64 bits do not fit a number of JavaScript
        "OBJECT_ID": str(row["OBJECT_ID"]),
        "SHARD": row["SHARD"],
        "SHARD_ROW": row["ROW"],
        "RANK": row["RANK"],
        "REASON": row["REASON"],
        "SCORE": without_nan(row["SCORE"]),
        "ENTROPY": without_nan(row["ENTROPY"]),
        "CELL": row["CELL"],
        "VOTES": {name: row[column] for name, column in counts.items() if column in row},
        "PROPOSALS": [
            {"z": row[name], "who": label}
            for name, label in _PROPOSALS
            if without_nan(row.get(name))
        ],
        "CONFIDENCES": {
            line.column: without_nan(row[f"C_{line.column}"])
            for line in NETWORK_LINES
            if f"C_{line.column}" in row
        },
    }
    if "SOURCE" in row:
        entry |= {"SOURCE": row["SOURCE"], "ROW": row["SOURCE_ROW"]}
    return entry


def _write_text(path: Path, text: str) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
