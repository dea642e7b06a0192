"""What the machines think of an object, brought from a worklist's columns to one shape."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from quasarloop.classes import CONFIDENCE_THRESHOLD, Vote
from quasarloop.lines import NETWORK_LINES

__all__ = ["neighbourhood", "tidy_opinion"]

# The threshold of the vote columns shown, as in their names: N_LOW_Z_095.
_SUFFIX: Final = f"_{round(100 * CONFIDENCE_THRESHOLD):03d}"
_QUANTILES: Final = (("z_q50", "median"), ("z_q16", "16 %"), ("z_q84", "84 %"), ("z_mean", "mean"))
_PROPOSALS: Final = ("proposals", "redshifts", "z_proposals", "redshift_proposals", "z")
_TOLD: Final = (
    *("object_id", "index", "tie", "group", "n_networks", "n_asked", "flags", "priority"),
    *("rank", "survey", "program", "distance", "z_std"),
)
# Proposals closer than this are one chip: half of what the merge rule calls a conflict.
_SAME_Z: Final = 0.0033 / 2


def tidy_opinion(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a worklist entry's columns as the page shows them.

    Args:
        raw: names in small letters; votes as a mapping or as columns ``n_low_z_095``, redshifts
            as a list or as columns ``z_q50``, confidences as a mapping or ``c_lya``.

    Returns:
        JSON-ready: any of ``votes``, ``score``, ``entropy``, ``proposals``, ``confidences``,
        ``cell``, ``redrock``, and everything else under ``more``.
    """
    used: set[str] = set()
    parts = {
        "votes": _votes(raw, used),
        "score": _take(raw, used, "score", "entropy", "entropy_bits"),
        "entropy": _take(raw, used, "entropy", "entropy_bits"),
        "proposals": _proposals(raw, used),
        "confidences": _confidences(raw, used),
        "cell": _take(raw, used, "cell"),
        "map": _take(raw, used, "map", "neighbours", "neighbors"),
        "redrock": _take(raw, used, "redrock"),
    }
    hidden = {*_TOLD, "score", "entropy", "entropy_bits"}
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


def _votes(raw: Mapping[str, Any], used: set[str]) -> dict[str, float] | None:
    given = raw.get("votes")
    if isinstance(given, Mapping):
        used.add("votes")
        by_name = {str(key).upper(): value for key, value in given.items()}
        return {vote.name: by_name.get(vote.name, 0) for vote in Vote}
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == len(Vote):
        used.add("votes")
        return {vote.name: count for vote, count in zip(Vote, given, strict=True)}
    for suffix in (_SUFFIX, ""):
        names = {vote.name: f"n_{vote.name.lower()}{suffix}" for vote in Vote}
        if all(name in raw for name in names.values()):
            used.update(names.values())
            return {vote: raw[name] for vote, name in names.items()}
    return None


def _proposals(raw: Mapping[str, Any], used: set[str]) -> list[dict[str, Any]]:
    name = next((n for n in _PROPOSALS if isinstance(raw.get(n), list)), None)
    if name is not None:
        used.add(name)
        given = [_chip(part) for part in raw[name]]
        return [chip for chip in given if chip is not None]
    chips: list[dict[str, Any]] = []
    for column, who in _QUANTILES:
        used.add(column)
        z = raw.get(column)
        if isinstance(z, int | float) and not any(_same(z, chip["z"]) for chip in chips):
            chips.append({"z": float(z), "who": who})
    return chips


def _chip(part: Any) -> dict[str, Any] | None:
    if isinstance(part, int | float):
        return {"z": float(part)}
    if isinstance(part, Mapping):
        by_name = {str(key).lower(): value for key, value in part.items()}
        z = next((by_name.pop(n) for n in ("z", "redshift", "value") if n in by_name), None)
        count = next((by_name[n] for n in ("count", "n", "votes", "weight") if n in by_name), None)
        who = next((by_name[n] for n in ("who", "line", "best_line", "name") if n in by_name), None)
        if isinstance(z, int | float):
            chip = {"z": float(z), "count": count, "who": who}
            return {key: value for key, value in chip.items() if value is not None}
    return None


def _confidences(raw: Mapping[str, Any], used: set[str]) -> dict[str, float]:
    given = raw.get("confidences")
    if isinstance(given, Mapping):
        used.add("confidences")
        return dict(given)
    found = {}
    for line in NETWORK_LINES:
        name = f"c_{line.column.lower()}"
        if name in raw:
            used.add(name)
            found[line.column] = raw[name]
    return found


def _take(raw: Mapping[str, Any], used: set[str], *names: str) -> Any:
    for name in names:
        if raw.get(name) is not None:
            used.add(name)
            return raw[name]
    return None


def _same(z: float, other: float) -> bool:
    return abs(z - other) / (1 + min(z, other)) < _SAME_Z
