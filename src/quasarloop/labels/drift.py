"""How each inspector agrees with the others as time goes on, and what objects cost them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Final

import numpy as np

from quasarloop.labels.merge import conflicts
from quasarloop.labels.verdict import Verdict, is_complete
from quasarloop.truth import CLASSES

__all__ = ["LOTS", "Given", "InspectorTrend", "trends"]

# Parts of equal size into which an inspector's verdicts are cut, in the order they were given.
LOTS: Final = 8
# Fewer compared verdicts than this show no trend (our choice).
_LEAST: Final = 16


@dataclass(frozen=True)
class Given:
    """One inspector's newest verdict on one object.

    Attributes:
        target_id: the object.
        inspector: their name.
        order: larger for verdicts given later.
        verdict: the verdict.
        seconds: time spent on the object; 0 where it is not known.
    """

    target_id: int
    inspector: str
    order: int
    verdict: Verdict
    seconds: float


@dataclass(frozen=True)
class InspectorTrend:
    """One inspector beside the others.

    Attributes:
        inspector: their name.
        n_compared: verdicts on objects that somebody else has a verdict on.
        agreement: share of the others' verdicts that are no conflict with theirs, mean over
            objects.
        lots: the same of each of `LOTS` parts, from the first verdicts to the last; empty for
            few verdicts.
        drift: agreement in the second half minus that in the first; NaN for few verdicts.
        drift_error: its standard error.
        quality_first, quality_second: mean quality minus the others', in each half; NaN likewise.
        seconds: class in small letters, and ``all`` -> median time of a verdict, s; classes
            without known times are left out.
    """

    inspector: str
    n_compared: int
    agreement: float
    lots: tuple[float, ...]
    drift: float
    drift_error: float
    quality_first: float
    quality_second: float
    seconds: dict[str, float]


def trends(given: Iterable[Given]) -> list[InspectorTrend]:
    """Compare every inspector with all others, in the order of their verdicts.

    Args:
        given: every inspector's newest verdicts; incomplete ones do not count.
    """
    by_object, by_name = defaultdict[int, list[Given]](list), defaultdict[str, list[Given]](list)
    for one in given:
        if is_complete(one.verdict):
            by_object[one.target_id].append(one)
            by_name[one.inspector].append(one)
    return [
        _trend(name, sorted(mine, key=lambda one: one.order), by_object)
        for name, mine in sorted(by_name.items())
    ]


def _trend(name: str, mine: Sequence[Given], by_object: dict[int, list[Given]]) -> InspectorTrend:
    agrees, quality = [], []
    for one in mine:
        others = [o.verdict for o in by_object[one.target_id] if o.inspector != name]
        if others:
            agrees.append(mean(not conflicts([one.verdict, other]) for other in others))
            quality.append((one.verdict.quality or 0) - mean(o.quality or 0 for o in others))
    nan = float("nan")
    lots: tuple[float, ...] = ()
    drift, error, low, high = nan, nan, nan, nan
    if len(agrees) >= _LEAST:
        lots = tuple(float(part.mean()) for part in np.array_split(agrees, LOTS))
        first, second = np.array_split(agrees, 2)
        drift = float(second.mean() - first.mean())
        error = float(
            np.hypot(*(half.std(ddof=1) / np.sqrt(len(half)) for half in (first, second)))
        )
        low, high = (float(half.mean()) for half in np.array_split(quality, 2))
    share = float(np.mean(agrees)) if agrees else nan
    return InspectorTrend(name, len(agrees), share, lots, drift, error, low, high, _seconds(mine))


def _seconds(mine: Sequence[Given]) -> dict[str, float]:
    timed = [one for one in mine if one.seconds > 0]
    groups = {"all": timed}
    for spectype in CLASSES:
        groups[spectype.word.lower()] = [o for o in timed if o.verdict.spectype == spectype]
    return {name: median(o.seconds for o in part) for name, part in groups.items() if part}
