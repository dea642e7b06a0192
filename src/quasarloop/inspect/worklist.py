"""Reading what to look at, and what networks and redrock found for it."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import polars as pl

from quasarloop.classes import Thresholds, Vote
from quasarloop.ensemble.votes import count_column
from quasarloop.errors import InspectionError, reading
from quasarloop.labels.merge import MAX_Z_RANGE
from quasarloop.lines import NETWORK_LINES

__all__ = ["Entry", "neighbourhood", "read_worklist", "tidy_predictions"]

_QUANTILES: Final = (("z_q50", "median"), ("z_q16", "16 %"), ("z_q84", "84 %"), ("z_mean", "mean"))
_PROPOSALS: Final = ("proposals", "redshifts", "z_proposals", "redshift_proposals", "z")
_HIDDEN: Final = (
    *("object_id", "index", "tie", "group", "n_networks", "n_asked", "flags", "priority"),
    *("rank", "survey", "program", "distance", "z_std"),
)
_CLASSES: Final = tuple(vote.name for vote in Vote)
# Columns of confidences, in small letters, and the names of their lines.
_CONFIDENCES: Final = {f"c_{line.column.lower()}": line.column for line in NETWORK_LINES}
# Proposals closer than this are one chip: half of what the merge rule calls a conflict.
_SAME_Z: Final = MAX_Z_RANGE / 2


def tidy_predictions(raw: Mapping[str, Any], decision: Thresholds | None = None) -> dict[str, Any]:
    """Return a worklist entry's columns as the page shows them.

    Args:
        raw: names in small letters; votes as a mapping or as columns ``n_low_z_095``, redshifts
            as a list or as columns ``z_q50``, confidences as a mapping or ``c_lya``.
        decision: whose confidence names the columns of votes; None takes the package's.

    Returns:
        JSON-ready: any of ``votes``, ``score``, ``entropy``, ``proposals``, ``confidences``,
        ``cell``, ``redrock``, and everything else under ``more``.
    """
    used: set[str] = set()
    parts = {
        "votes": _votes(raw, used, (decision or Thresholds()).confidence),
        "score": _take(raw, used, "score", "entropy", "entropy_bits"),
        "entropy": _take(raw, used, "entropy", "entropy_bits"),
        "proposals": _proposals(raw, used),
        "confidences": _confidences(raw, used),
        "cell": _take(raw, used, "cell"),
        "map": _take(raw, used, "map", "neighbours", "neighbors"),
        "redrock": _take(raw, used, "redrock"),
    }
    hidden = {*_HIDDEN, "score", "entropy", "entropy_bits"}
    more = {
        key: value
        for key, value in raw.items()
        if key not in used and key not in hidden and not key.startswith(("n_", "p_"))
    }
    return {k: v for k, v in (parts | {"more": more}).items() if v not in (None, {}, [])}


def neighbourhood(counts: Sequence[int], cell: Any, reach: int = 2) -> list[list[int]]:
    """Return how many spectra lie in a map cell and around it; empty if that cannot be known.

    Args:
        counts: of every cell of a square map whose edges touch, row by row.
        cell: the object's cell.
        reach: cells to each side.

    >>> neighbourhood(list(range(9)), 0, reach=1)
    [[8, 6, 7], [2, 0, 1], [5, 3, 4]]
    """
    side = math.isqrt(len(counts))
    if not side or side * side != len(counts) or not isinstance(cell, int):
        return []
    if not 0 <= cell < len(counts):
        return []
    steps = range(-reach, reach + 1)
    row, column = divmod(cell, side)
    rows = [[(row + i) % side * side + (column + j) % side for j in steps] for i in steps]
    return [[int(counts[number]) for number in numbers] for numbers in rows]


def _votes(raw: Mapping[str, Any], used: set[str], threshold: float) -> dict[str, float] | None:
    given = raw.get("votes")
    if isinstance(given, Mapping):
        used.add("votes")
        by_name = {str(key).upper(): value for key, value in given.items()}
        return {name: by_name.get(name, 0) for name in _CLASSES}
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == len(_CLASSES):
        used.add("votes")
        return dict(zip(_CLASSES, given, strict=True))
    for names in _vote_columns(threshold):
        if all(name in raw for name in names):
            used.update(names)
            return {vote: raw[name] for vote, name in zip(_CLASSES, names, strict=True)}
    return None


@cache
def _vote_columns(threshold: float) -> tuple[tuple[str, ...], ...]:
    """Return the names that columns of votes may have, in small letters."""
    counted = tuple(count_column(vote, threshold).lower() for vote in Vote)
    return counted, tuple(f"n_{name.lower()}" for name in _CLASSES)


def _proposals(raw: Mapping[str, Any], used: set[str]) -> list[dict[str, Any]]:
    chips = _joint(raw, used)
    name = next((n for n in _PROPOSALS if isinstance(raw.get(n), list)), None)
    if name is not None:
        used.add(name)
        given = [_chip(part) for part in raw[name]]
        return [*chips, *(chip for chip in given if chip is not None)]
    for column, name in _QUANTILES:
        used.add(column)
        z = raw.get(column)
        if isinstance(z, int | float) and not any(_same(z, chip["z"]) for chip in chips):
            chips.append({"z": float(z), "name": name})
    return chips


def _joint(raw: Mapping[str, Any], used: set[str]) -> list[dict[str, Any]]:
    """The two peaks of p(z) of all lines together, with what the page draws of them."""
    used |= {"z_joint", "zerr_joint", "z_alt"}
    columns = ("z_joint", "z_alt", "zerr_joint", "p_alt")
    z, z_alt, error, p_alt = (raw.get(name) for name in columns)
    if not isinstance(z, int | float):
        return []
    p_alt = p_alt if isinstance(p_alt, int | float) else 0.0
    best: dict[str, Any] = {"z": float(z), "name": "all lines", "p": 1 - p_alt}
    if isinstance(error, int | float):
        best["z_err"] = float(error)
    if not isinstance(z_alt, int | float):
        return [best]
    return [best, {"z": float(z_alt), "name": f"next likely, p {p_alt:.2f}", "p": p_alt}]


def _chip(part: Any) -> dict[str, Any] | None:
    if isinstance(part, int | float):
        return {"z": float(part)}
    if isinstance(part, Mapping):
        by_name = {str(key).lower(): value for key, value in part.items()}
        z = next((by_name.pop(n) for n in ("z", "redshift", "value") if n in by_name), None)
        count = next((by_name[n] for n in ("count", "n", "votes", "weight") if n in by_name), None)
        names = ("name", "line", "best_line", "who")
        name = next((by_name[n] for n in names if n in by_name), None)
        if isinstance(z, int | float):
            chip = {"z": float(z), "count": count, "name": name}
            return {key: value for key, value in chip.items() if value is not None}
    return None


def _confidences(raw: Mapping[str, Any], used: set[str]) -> dict[str, float]:
    given = raw.get("confidences")
    if isinstance(given, Mapping):
        used.add("confidences")
        return dict(given)
    there = _CONFIDENCES.keys() & raw.keys()
    used |= there
    return {line: raw[name] for name, line in _CONFIDENCES.items() if name in there}


def _take(raw: Mapping[str, Any], used: set[str], *names: str) -> Any:
    for name in names:
        if raw.get(name) is not None:
            used.add(name)
            return raw[name]
    return None


def _same(z: float, other: float) -> bool:
    return abs(z - other) / (1 + min(z, other)) < _SAME_Z


# Names under which a file may give each part, in small letters.
_TARGET: Final = ("targetid", "target_id")
_SOURCE: Final = ("source", "file", "source_file", "path")
_ROW: Final = ("source_row", "row_in_file", "row")
_OBJECTS: Final = ("objects", "entries", "targets", "worklist", "rows")
# Written beside a selection by `quasarloop select` and by campaigns.
_SELECTION_RECORD: Final = "steps.json"
# Larger integers are not exact in JavaScript.
_SAFE_INTEGER: Final = 2**53


@dataclass(frozen=True)
class Entry:
    """One object to inspect.

    Attributes:
        target_id: survey identifier.
        source: file of its spectrum, ``""`` if unknown.
        row: row in that file, -1 if unknown.
        shard: the store's shard instead, ``""`` if unknown.
        shard_row: row in that shard, -1 if unknown.
        predictions: of networks and redrock (see `tidy_predictions`).
    """

    target_id: int
    source: str = ""
    row: int = -1
    shard: str = ""
    shard_row: int = -1
    predictions: dict[str, Any] = field(default_factory=dict)


def read_worklist(path: str | Path) -> list[Entry]:
    """Read a worklist.

    Args:
        path: JSON (a list of objects, or an object holding one under ``objects``), or a CSV or
            Parquet table with a TARGETID column (a selection, for one); SOURCE and ROW, or SHARD
            and ROW, are used where present. Map counts come from ``steps.json`` beside it.

    Returns:
        Entries in the file's order, the first of each TARGETID.

    Raises:
        InspectionError: unreadable, no TARGETID, or one that is no 64-bit integer.
    """
    file = Path(path)
    with reading(file, "a worklist", "give JSON, CSV or Parquet with TARGETIDs", InspectionError):
        rows = _read_json(file) if file.suffix == ".json" else _read_table(file)
        record = _selection_record(file)
    entries: dict[int, Entry] = {}
    counts, decision = record.get("counts", []), Thresholds().replaced(record.get("threshold"))
    nearby = cache(lambda cell: neighbourhood(counts, cell))  # few cells, many objects
    for number, row in enumerate(rows):
        entry = _entry(file, number, row, decision)
        cell = entry.predictions.get("cell")
        around = nearby(cell) if isinstance(cell, int) else []
        if around:
            entry.predictions["map"] = {"counts": around}
        entries.setdefault(entry.target_id, entry)
    if not entries:
        raise InspectionError(f"{file}: no object to inspect; expected at least one TARGETID")
    return list(entries.values())


def _read_json(file: Path) -> Iterable[Mapping[str, Any]]:
    content = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(content, dict):
        lists = [content[key] for key in _OBJECTS if isinstance(content.get(key), list)]
        if not lists:
            raise InspectionError(f"{file}: no list of objects; expected one under 'objects'")
        content = lists[0]
    if not isinstance(content, list):
        raise InspectionError(f"{file}: holds a {type(content).__name__}; expected a list")
    return [row if isinstance(row, dict) else {"TARGETID": row} for row in content]


def _selection_record(file: Path) -> Mapping[str, Any]:
    """The record that a selection leaves beside it: counts of map cells, threshold of votes."""
    record = file.with_name(_SELECTION_RECORD)
    content = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    return content if isinstance(content, dict) else {}


def _read_table(file: Path) -> Iterable[Mapping[str, Any]]:
    with file.open("rb") as stream:
        magic = stream.read(4)
    # Text columns stay text: a TARGETID that became a float would lose its last digits.
    frame = pl.read_parquet(file) if magic == b"PAR1" else pl.read_csv(file, infer_schema=False)
    if magic != b"PAR1":
        numbers = [name for name in frame.columns if name.lower() not in (*_TARGET, *_SOURCE)]
        frame = frame.with_columns(_number_where_exact(frame[name]) for name in numbers)
    return frame.iter_rows(named=True)


def _number_where_exact(words: pl.Series) -> pl.Series:
    for kind in (pl.Int64, pl.Float64):
        numbers = words.cast(kind, strict=False)
        if numbers.null_count() == words.null_count():
            return numbers
    return words


def _entry(file: Path, number: int, row: Mapping[str, Any], decision: Thresholds) -> Entry:
    by_name = {str(key).lower(): value for key, value in row.items()}
    target = _first(by_name, _TARGET)
    if target is None or isinstance(target, float):
        raise InspectionError(
            f"{file}: entry {number}: TARGETID is {target!r}; expected a 64-bit integer, "
            "in JSON best as a string"
        )
    used = {*_TARGET, *_SOURCE, *_ROW, "shard", "shard_row"}
    given = {k: _plain(v) for k, v in by_name.items() if k not in used}
    shard = str(by_name.get("shard") or "")
    in_file, in_shard = _row_columns(by_name, shard)
    row_in_file, shard_row = (
        _integer(file, number, _first(by_name, names), missing=-1, limit=2**31)
        for names in (in_file, in_shard)
    )
    return Entry(
        target_id=_integer(file, number, target, limit=2**63),
        source=str(_first(by_name, _SOURCE) or ""),
        row=row_in_file,
        shard=shard,
        shard_row=shard_row,
        predictions=tidy_predictions({k: v for k, v in given.items() if v is not None}, decision),
    )


def _row_columns(row: Mapping[str, Any], shard: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which columns count rows of the file and of the shard: votes mean the shard by ROW."""
    named = ("source_row", "row_in_file")
    row_is_shards = (
        bool(shard)
        and "shard_row" not in row
        and (_first(row, _SOURCE) is None or _first(row, named) is not None)
    )
    return (named, ("row",)) if row_is_shards else (_ROW, ("shard_row",))


def _first(row: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _integer(file: Path, number: int, value: Any, *, limit: int, missing: int | None = None) -> int:
    if missing is not None and (value is None or value == ""):
        return missing
    try:
        whole = int(str(value).strip())
    except ValueError as exc:
        raise InspectionError(f"{file}: entry {number}: {value!r} is not an integer") from exc
    if not -limit <= whole < limit:
        raise InspectionError(f"{file}: entry {number}: {whole} does not fit; expected < {limit}")
    return whole


def _plain(value: Any) -> Any:
    """What a browser can hold: NaN becomes nothing, integers past 2⁵³ become text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and abs(value) > _SAFE_INTEGER:
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    return value
