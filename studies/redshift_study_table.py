"""Tables of `studies/redshift_study.py`."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

# What a network is called, and what was found of it.
Found = tuple[str, dict[str, Any]]
SKIES = ("desi", "flat")


def tables(found: dict[str, Found]) -> str:
    """Return all tables; networks are compared with the first one's one-line redshifts."""
    return "\n".join([*_networks(found), "", *_confusions(found)])


def _networks(every: dict[str, Found]) -> Iterator[str]:
    yield (
        "| network | completeness, purity at 0.95 | completeness at purity 0.98 "
        "| NMAD one line → joint, km/s | wrong at S/N 0.5–2 | times fewer "
        "| half amplitude, km/s | pull width; within 1 σ, 2 σ |"
    )
    yield "|---|---|---:|---|---|---|---|---|"
    classic = every["classic"][1]
    for text, found in every.values():
        skies = [found[key] for key in SKIES]
        pairs = [
            (
                f"{s['one line']['nmad']:.0f} → {s['joint']['nmad']:.0f}",
                f"{len(s['one line']['wrong'])} → {len(s['joint']['wrong'])} of {s['faint']}",
                f"{_mean(s, 'one line'):.0f} → {_mean(s, 'joint'):.0f} ({_noise(s):.0f})",
                f"{s['width']:.2f}; {s['within'][0]:.3f}, {s['within'][1]:.3f}",
            )
            for s in skies
        ]
        cells = [" / ".join(both) for both in zip(*pairs, strict=True)]
        cells.insert(2, _fewer(classic, found))
        yield (
            f"| {text} | {found['completeness']:.4f}, {found['purity']:.4f} "
            f"| {found['completeness at purity']:.4f} | " + " | ".join(cells) + " |"
        )
    yield (
        "\nDESI-like / flat n(z). NMAD and pulls: quasars called. Wrong: by more than 15,000 km/s, "
        "all quasars. Times fewer: than with one line in the first row, both skies together; the "
        "error is of counting, quasars wrong in both taken into account. Half "
        "amplitude: mean over Lyα, C IV, C III and Mg II; in brackets what noise alone gives."
    )


def _confusions(every: dict[str, Found]) -> Iterator[str]:
    yield "| network | wrong, joint | no line above 0.5 | called | commonest (line taken for) |"
    yield "|---|---:|---:|---:|---|"
    for text, found in every.values():
        skies = [found[key] for key in SKIES]
        total: Counter[str] = Counter()
        for sky in skies:
            total.update(sky["joint"]["confusions"])
        wrong, blind, sure = (
            sum(v)
            for v in zip(
                *((len(s["joint"]["wrong"]), s["blind"], s["sure"]) for s in skies), strict=True
            )
        )
        common = ", ".join(f"{pair} {n}" for pair, n in total.most_common(6))
        yield f"| {text} | {wrong} | {blind} | {sure} | {common} |"


def _fewer(classic: dict[str, Any], found: dict[str, Any]) -> str:
    """Return how many times fewer are wrong, with the error of its counts."""
    before, after = (
        {(key, row) for key in SKIES for row in one[key][label]["wrong"]}
        for one, label in ((classic, "one line"), (found, "joint"))
    )
    a, b, both = len(before), len(after), len(before & after)
    error = math.sqrt(max(1 / a + 1 / b - 2 * both / (a * b), 0.0))
    return f"{a / b:.2f} ± {a / b * error:.2f}"


def _mean(sky: dict[str, Any], which: str) -> float:
    return float(np.mean([one[1] for one in sky[which]["oscillation"][:4]]))


def _noise(sky: dict[str, Any]) -> float:
    return float(np.mean([one[2] for one in sky["joint"]["oscillation"][:4]]))
