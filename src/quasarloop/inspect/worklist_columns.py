"""Which columns of a worklist hold what, and how the page shows what networks and redrock found."""

import math
from collections.abc import Container, Mapping, Sequence
from functools import cache, lru_cache
from types import NoneType
from typing import Any, Final, NamedTuple

from quasarloop.classes import Vote
from quasarloop.ensemble.votes import count_column
from quasarloop.labels.merge import MAX_Z_RANGE
from quasarloop.lines import NETWORK_LINES

__all__ = ["SOURCE", "TARGET", "Layout", "layout_of", "predictions"]

# Names under which a file may give each part, in small letters.
TARGET: Final = ("targetid", "target_id")
SOURCE: Final = ("source", "file", "source_file", "path")
_ROW: Final = ("source_row", "row_in_file", "row")
_QUANTILES: Final = (("z_q50", "median"), ("z_q16", "16 %"), ("z_q84", "84 %"), ("z_mean", "mean"))
_PROPOSALS: Final = ("proposals", "redshifts", "z_proposals", "redshift_proposals", "z")
_HIDDEN: Final = (
    *("object_id", "index", "tie", "group", "n_networks", "n_asked", "flags", "priority"),
    *("rank", "survey", "program", "distance", "z_std"),
)
_CLASSES: Final = tuple(vote.name for vote in Vote)
_CLASSES_SET: Final = frozenset(_CLASSES)
# Columns of confidences, in small letters, and the names of their lines.
_CONFIDENCES: Final = {f"c_{line.column.lower()}": line.column for line in NETWORK_LINES}
_JOINT: Final = ("z_joint", "zerr_joint", "z_alt", "p_alt")
_SINGLE: Final = {
    "score": ("score", "entropy", "entropy_bits"),
    "entropy": ("entropy", "entropy_bits"),
    "cell": ("cell",),
    "map": ("map", "neighbours", "neighbors"),
    "redrock": ("redrock",),
}
_OF_CHIP: Final = {
    "count": ("count", "n", "votes", "weight"),
    "name": ("name", "line", "best_line", "who"),
}
# Proposals closer than this are one chip: half of what the merge rule calls a conflict.
_SAME_Z: Final = MAX_Z_RANGE / 2
# Larger integers are not exact in JavaScript.
_SAFE_INTEGER: Final = 2**53


def _plain(value: Any) -> Any:
    """What a browser can hold: NaN becomes nothing, integers past 2⁵³ become text."""
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is int:
        return value if -_SAFE_INTEGER <= value <= _SAFE_INTEGER else str(value)
    if kind is list:
        return [_plain(part) for part in value]
    if kind is dict:
        return {
            key: part if type(part) is float and math.isfinite(part) else _plain(part)
            for key, part in value.items()
        }
    return value


class Layout(NamedTuple):
    """Where rows with the same columns, of the same types, have what; None for what they lack.

    There are few of them in a worklist: a column is looked up once, not in every row.
    """

    target: str | None
    source: str | None
    row: str | None
    shard: str | None
    shard_row: str | None
    votes: tuple[str, ...]  # three columns, or one that has all
    single: tuple[tuple[str, str], ...]  # part, column
    joint: tuple[str | None, ...]
    proposals: str | None
    quantiles: tuple[tuple[str, str], ...]  # column, name
    confidences: str | None
    lines: tuple[tuple[str, str], ...]  # name, column
    more: tuple[tuple[str, str], ...]  # name, column


@lru_cache(maxsize=4096)
def layout_of(names: tuple[str, ...], types: tuple[type, ...], confidence: float) -> Layout:
    """Find the parts of an entry: the first name of each that has a value, in any case."""
    known = {str(name).lower(): (name, kind) for name, kind in zip(names, types, strict=True)}
    there = {low: name for low, (name, kind) in known.items() if kind is not NoneType}
    kind_of = {low: known[low][1] for low in there}
    used = {*TARGET, *SOURCE, *_ROW, "shard", "shard_row", *_JOINT[:3]}

    def take(options: Sequence[str], *kinds: type) -> str | None:
        for low in options:
            if low in there and issubclass(kind_of[low], kinds or object):
                used.add(low)
                return there[low]
        return None

    single = {part: take(options) for part, options in _SINGLE.items()}
    votes: tuple[str, ...] = ()
    if (given := take(("votes",), dict, list)) is not None:
        votes = (given,)
    for columns in () if votes else _vote_columns(confidence):
        if there.keys() >= {*columns}:
            used.update(columns)
            votes = tuple(there[low] for low in columns)
            break
    proposals = take(_PROPOSALS, list)
    quantiles = [(take((low,), int, float), name) for low, name in _QUANTILES if proposals is None]
    confidences = take(("confidences",), dict)
    lines = [(line, take((low,))) for low, line in _CONFIDENCES.items() if confidences is None]
    shard = take(("shard",))
    in_file, in_shard = _row_columns(there, shard)
    hidden = {*used, *_HIDDEN, *_SINGLE["score"]}
    more = {low: name for low, name in there.items() if low not in hidden}
    return Layout(
        target=take(TARGET),
        source=take(SOURCE),
        row=take(in_file),
        shard=shard,
        shard_row=take(in_shard),
        votes=votes,
        single=tuple((part, name) for part, name in single.items() if name is not None),
        joint=tuple(take((low,), int, float) for low in _JOINT),
        proposals=proposals,
        quantiles=tuple((column, name) for column, name in quantiles if column is not None),
        confidences=confidences,
        lines=tuple((line, column) for line, column in lines if column is not None),
        more=tuple((k, v) for k, v in more.items() if not k.startswith(("n_", "p_"))),
    )


def _row_columns(
    there: Container[str], shard: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which columns count rows of the file and of the shard: votes mean the shard by ROW."""
    named = ("source_row", "row_in_file")
    row_is_shards = (
        shard is not None
        and "shard_row" not in there
        and (not any(name in there for name in SOURCE) or any(name in there for name in named))
    )
    return (named, ("row",)) if row_is_shards else (_ROW, ("shard_row",))


@cache
def _vote_columns(threshold: float) -> tuple[tuple[str, ...], ...]:
    """Return the names that columns of votes may have, in small letters."""
    counted = tuple(count_column(vote, threshold).lower() for vote in Vote)
    return counted, tuple(f"n_{name.lower()}" for name in _CLASSES)


def predictions(row: Mapping[str, Any], at: Layout) -> dict[str, Any]:
    """Return a row's columns as the page shows them: votes, score, …, the others under `more`."""
    parts = {part: _plain(row[column]) for part, column in at.single}
    if at.votes:
        parts["votes"] = _votes([row[column] for column in at.votes])
    if chips := _proposals(row, at):
        parts["proposals"] = chips
    if at.confidences is not None:
        parts["confidences"] = _plain(row[at.confidences])
    elif at.lines:
        parts["confidences"] = {line: row[column] for line, column in at.lines}
    if at.more:
        parts["more"] = {name: _plain(row[column]) for name, column in at.more}
    if all(parts.values()):  # so it nearly always is
        return parts
    return {part: value for part, value in parts.items() if value or value == 0}


def _votes(given: list[Any]) -> dict[str, float] | None:
    counts = given[0] if len(given) == 1 else given
    if isinstance(counts, dict):
        if not counts.keys() >= _CLASSES_SET:
            by_name = {str(key).upper(): value for key, value in counts.items()}
            counts = {name: by_name.get(name, 0) for name in _CLASSES}
        return {name: counts[name] for name in _CLASSES}
    return dict(zip(_CLASSES, counts, strict=True)) if len(counts) == len(_CLASSES) else None


def _proposals(row: Mapping[str, Any], at: Layout) -> list[dict[str, Any]]:
    chips: list[dict[str, Any]] = []
    if at.joint[0] is not None:
        chips = _joint(*(row[column] if column else None for column in at.joint))
    if at.proposals is not None:
        for part in row[at.proposals]:
            if (chip := _chip(part)) is not None:
                chips.append(chip)
        return chips
    for column, name in at.quantiles:
        z = row[column]
        if not any(_same(z, chip["z"]) for chip in chips):
            chips.append({"z": float(z), "name": name})
    return chips


def _joint(
    z: Any, error: float | None, z_alt: float | None, p_alt: float | None
) -> list[dict[str, Any]]:
    """The two peaks of p(z) of all lines together, with what the page draws of them."""
    p_alt = p_alt or 0.0
    best: dict[str, Any] = {"z": float(z), "name": "all lines", "p": 1 - p_alt}
    if error is not None:
        best["z_err"] = float(error)
    if z_alt is None:
        return [best]
    return [best, {"z": float(z_alt), "name": f"next likely, p {p_alt:.2f}", "p": p_alt}]


def _chip(part: Any) -> dict[str, Any] | None:
    if not isinstance(part, dict):
        part = {"z": part}
    column, others = _chip_columns(tuple(part), tuple(map(type, part.values())))
    if column is None or not math.isfinite(z := float(part[column])):
        return None
    chip: dict[str, Any] = {"z": z}
    for name, other in others:
        chip[name] = part[other]
    return chip


@lru_cache(maxsize=4096)
def _chip_columns(
    names: tuple[str, ...], types: tuple[type, ...]
) -> tuple[str | None, tuple[tuple[str, str], ...]]:
    """Where a proposal has its redshift, and its count and name if it has them."""
    known = zip(names, types, strict=True)
    there = {str(name).lower(): (name, kind) for name, kind in known if kind is not NoneType}
    z = next((there[low] for low in ("z", "redshift", "value") if low in there), None)
    others = {
        part: next((there[low][0] for low in options if low in there), None)
        for part, options in _OF_CHIP.items()
    }
    return (
        z[0] if z is not None and issubclass(z[1], int | float) else None,
        tuple((part, name) for part, name in others.items() if name is not None),
    )


def _same(z: float, other: float) -> bool:
    return abs(z - other) / (1 + min(z, other)) < _SAME_Z
