"""Reading what to look at, and what networks and redrock found for it."""

import gc
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from quasarloop.classes import Thresholds
from quasarloop.errors import InspectionError, reading
from quasarloop.inspect.worklist_columns import SOURCE, TARGET, layout_of, predictions

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Entry", "neighbourhood", "read_worklist", "without_collection"]

_OBJECTS: Final = ("objects", "entries", "targets", "worklist", "rows")
# Written beside a selection by `quasarloop select` and by campaigns.
_SELECTION_RECORD: Final = "steps.json"


@dataclass(slots=True)
class Entry:
    """One object to inspect.

    Attributes:
        target_id: survey identifier.
        source: file of its spectrum, ``""`` if unknown.
        row: row in that file, -1 if unknown.
        shard: the store's shard instead, ``""`` if unknown.
        shard_row: row in that shard, -1 if unknown.
        predictions: of networks and redrock, JSON-ready: any of ``votes``, ``score``, ``entropy``,
            ``proposals``, ``confidences``, ``cell``, ``map``, ``redrock``; all else under ``more``.
    """

    target_id: int
    source: str = ""
    row: int = -1
    shard: str = ""
    shard_row: int = -1
    predictions: dict[str, Any] = field(default_factory=dict)


@contextmanager
def without_collection() -> Iterator[None]:
    """Look for no rubbish while all that is made is kept: a quarter to a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # or else the next collection looks at all of it
        gc.unfreeze()
        if was_on:
            gc.enable()


@without_collection()
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
        entry = _entry(file, number, row, decision.confidence)
        cell = entry.predictions.get("cell")
        around = nearby(cell) if isinstance(cell, int) else []
        if around:
            entry.predictions["map"] = {"counts": around}
        entries.setdefault(entry.target_id, entry)
    if not entries:
        raise InspectionError(f"{file}: no object to inspect; expected at least one TARGETID")
    return list(entries.values())


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


def _read_json(file: Path) -> Iterable[Mapping[str, Any]]:
    text = file.read_bytes()
    try:
        content = from_json(text, allow_inf_nan=False, cache_strings="keys")
    except ValueError:  # NaN becomes null; or else the reason is in the next line's error
        content = from_json(json.dumps(json.loads(text, parse_constant=lambda _: None)))
    if isinstance(content, dict):
        lists = [content[key] for key in _OBJECTS if isinstance(content.get(key), list)]
        if not lists:
            raise InspectionError(f"{file}: no list of objects; expected one under 'objects'")
        content = lists[0]
    if not isinstance(content, list):
        raise InspectionError(f"{file}: holds a {type(content).__name__}; expected a list")
    content.reverse()
    taken = (content.pop() for _ in range(len(content)))  # a row's memory is free for the next
    return (row if isinstance(row, dict) else {"TARGETID": row} for row in taken)


def _selection_record(file: Path) -> Mapping[str, Any]:
    """The record that a selection leaves beside it: counts of map cells, threshold of votes."""
    record = file.with_name(_SELECTION_RECORD)
    content = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    return content if isinstance(content, dict) else {}


def _read_table(file: Path) -> Iterable[Mapping[str, Any]]:
    import polars as pl  # noqa: PLC0415 -- the page starts without

    with file.open("rb") as stream:
        magic = stream.read(4)
    # Text columns stay text: a TARGETID that became a float would lose its last digits.
    frame = pl.read_parquet(file) if magic == b"PAR1" else pl.read_csv(file, infer_schema=False)
    if magic != b"PAR1":
        numbers = [name for name in frame.columns if name.lower() not in (*TARGET, *SOURCE)]
        frame = frame.with_columns(_number_where_exact(frame[name]) for name in numbers)
    floats = pl.selectors.float()
    finite = frame.with_columns(pl.when(floats.is_finite()).then(floats))  # NaN: no value
    return finite.iter_rows(named=True)


def _number_where_exact(words: "pl.Series") -> "pl.Series":
    import polars as pl  # noqa: PLC0415 -- the page starts without

    for kind in (pl.Int64, pl.Float64):
        numbers = words.cast(kind, strict=False)
        if numbers.null_count() == words.null_count():
            return numbers
    return words


def _entry(file: Path, number: int, row: Mapping[str, Any], confidence: float) -> Entry:
    at = layout_of(tuple(row), tuple(map(type, row.values())), confidence)
    if at.shard is not None and not row[at.shard]:
        return _entry(file, number, {**row, at.shard: None}, confidence)
    target = None if at.target is None else row[at.target]
    if target is None or isinstance(target, float):
        raise InspectionError(
            f"{file}: entry {number}: TARGETID is {target!r}; expected a 64-bit integer, "
            "in JSON best as a string"
        )
    return Entry(
        target_id=_integer(file, number, target, None, 2**63),
        source="" if at.source is None else str(row[at.source]),
        row=-1 if at.row is None else _integer(file, number, row[at.row], -1, 2**31),
        shard="" if at.shard is None else str(row[at.shard]),
        shard_row=-1
        if at.shard_row is None
        else _integer(file, number, row[at.shard_row], -1, 2**31),
        predictions=predictions(row, at),
    )


def _integer(file: Path, number: int, value: Any, missing: int | None, limit: int) -> int:
    if missing is not None and (value is None or value == ""):
        return missing
    try:
        whole = value if type(value) is int else int(str(value).strip())
    except ValueError as exc:
        raise InspectionError(f"{file}: entry {number}: {value!r} is not an integer") from exc
    if not -limit <= whole < limit:
        raise InspectionError(f"{file}: entry {number}: {whole} does not fit; expected < {limit}")
    return whole
