"""Tables and figure of docs/label_saving.md, from the runs of `label_saving.py`."""

from pathlib import Path
from typing import Any

import numpy as np

from learning_curves import LearningCurve, label_saving_figure, mean_curve, speed_up
from quasarloop.artefacts import write_atomically
from quasarloop.evaluate.figures import save_figure
from score_table import PURITIES

CONTROL = "random labels"
SKIES = {
    "alike": "first T drawn like the pool",
    "poor": "first T that covers the pool badly",
    "rare": "the same first T, quasars are rare",
}
# Where quasars are rare, 0.99 allows two or three false ones of thousands: too few to compare by.
LOW_PURITY = 0.95
COMPARED_AT = {"alike": PURITIES, "poor": PURITIES, "rare": (LOW_PURITY, PURITIES[0])}
Curves = dict[int, LearningCurve]


def merged(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put records of one run together: labels judged at another time are on another line."""
    together: dict[tuple[str, int, str], dict[str, Any]] = {}
    for run in runs:
        key = run["sky"], run["seed"], run["arm"]
        if key not in together:
            together[key] = run
            continue
        first = together[key]
        order = np.argsort([*first["labels"], *run["labels"]]).tolist()
        lists = [name for name, value in run.items() if isinstance(value, list)]
        joined = {name: [*first[name], *run[name]] for name in lists}
        together[key] = first | {name: [joined[name][i] for i in order] for name in lists}
    return list(together.values())


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: for each sky, what every way of choosing reaches, and how many labels it saves."""
    lines = []
    for sky, title in SKIES.items():
        mine = [run for run in runs if run["sky"] == sky]
        if mine:
            lines += [f"### Sky: {title}", "", *_sky_table(mine, COMPARED_AT[sky]), ""]
    return "\n".join(lines)


def search_table(runs: list[dict[str, Any]]) -> str:
    """Markdown: what every way of choosing reached on the seeds it was tried on."""
    arms = list(dict.fromkeys(run["arm"] for run in runs))
    last = min(run["labels"][-1] for run in runs)
    lines = [
        "| choice | seeds | quasars among the new | "
        + " | ".join(f"{sky}: at purity {COMPARED_AT[sky][0]} | {sky}: factor" for sky in SKIES)
        + " |",
        "|---|---:|---:|" + "---:|---:|" * len(SKIES),
    ]
    for arm in arms:
        # Where quasars are rare their share among the new is another thing.
        usual = [run for run in runs if run["arm"] == arm and run["sky"] != "rare"]
        shares = [run["quasars"][run["labels"].index(last)] for run in usual]
        seeds = {run["seed"] for run in runs if run["arm"] == arm}
        cells = [arm, str(len(seeds)), f"{np.mean(shares):.2f}" if shares else "–"]
        for sky in SKIES:
            control = _curves(runs, sky, CONTROL, _main_measure(sky))
            mine = _curves(runs, sky, arm, _main_measure(sky))
            if arm == CONTROL:
                cells += [f"{_reached(mine, last):.3f}", "1"] if mine else ["–", "–"]
            else:
                cells += _tried(mine, control, last)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def untouched_table(runs: list[dict[str, Any]], tuned: set[int]) -> str:
    """Markdown: factors on seeds that no setting was chosen by; empty if settings were not."""
    rest = [run for run in runs if run["seed"] not in tuned]
    if not tuned or not rest:
        return ""
    last = min(run["labels"][-1] for run in rest)
    arms = list(dict.fromkeys(run["arm"] for run in rest if run["arm"] != CONTROL))
    lines = [
        f"Seeds {', '.join(str(seed) for seed in sorted({run['seed'] for run in rest}))} alone:",
        "",
        f"| choice | {' | '.join(f'{sky}: factor' for sky in SKIES)} |",
        "|---|" + "---:|" * len(SKIES),
    ]
    for arm in arms:
        cells = [arm]
        for sky in SKIES:
            control = _curves(rest, sky, CONTROL, _main_measure(sky))
            cells.append(_tried(_curves(rest, sky, arm, _main_measure(sky)), control, last)[1])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def figure(runs: list[dict[str, Any]], path: Path) -> None:
    """Draw completeness and speed-up against labels for every sky."""
    arms = list(dict.fromkeys(run["arm"] for run in runs))
    skies = [sky for sky in SKIES if any(run["sky"] == sky for run in runs)]
    curves = {
        f"{SKIES[sky]}\n(purity {COMPARED_AT[sky][0]})": {
            arm: mine for arm in arms if (mine := _curves(runs, sky, arm, _main_measure(sky)))
        }
        for sky in skies
    }
    save_figure(label_saving_figure(curves, CONTROL, "completeness at fixed purity"), path)


def fill(page: Path, parts: dict[str, str]) -> None:
    """Write each part between its marks, ``<!-- name -->`` and ``<!-- end of name -->``."""
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(first)
        _, ended, after = rest.partition(last)
        if not found or not ended:
            raise SystemExit(f"{page} has no part {name!r} to fill: put {first.strip()} and {last}")
        text = f"{before}{first}{part.rstrip()}\n{last}{after}"
    with write_atomically(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sky_table(runs: list[dict[str, Any]], purities: tuple[float, ...]) -> list[str]:
    measures = {f"complete at purity {p}": f"at_{p}" for p in purities}
    measures |= {"complete at confidence 0.95": "at_threshold", "purity there": "purity"}
    heads = list(measures)
    lines = [
        f"| labels | choice | seeds | quasars among the new | {' | '.join(heads)} "
        f"| factor at purity {' | factor at purity '.join(map(str, purities))} |",
        "|---:|---|---:|---:|" + "---:|" * (len(heads) + 2),
    ]
    arms = sorted({run["arm"] for run in runs}, key=lambda arm: (arm != CONTROL, arm))
    sky = runs[0]["sky"]
    for labels in sorted({n for run in runs for n in run["labels"]}):
        for arm in arms:
            line = _line(runs, sky, arm, labels, measures)
            if line:
                lines.append(f"| {' | '.join(line)} |")
    return lines


def _line(
    runs: list[dict[str, Any]], sky: str, arm: str, labels: int, measures: dict[str, str]
) -> list[str]:
    here = [run for run in runs if run["arm"] == arm and labels in run["labels"]]
    if not here:
        return []
    shares = [run["quasars"][run["labels"].index(labels)] for run in here]
    known = [share for share in shares if share is not None]
    cells = [str(labels), arm, str(len(here)), f"{np.mean(known):.2f}" if known else "–"]
    for measure in measures.values():
        mean = mean_curve(_curves(here, sky, arm, measure))
        at = int(np.flatnonzero(mean.labels == labels)[0])
        error = "" if np.isnan(mean.error[at]) else f" ± {mean.error[at]:.3f}"
        cells.append(f"{mean.figure[at]:.3f}{error}")
    for measure in list(measures.values())[:2]:
        mine = _curves(runs, sky, arm, measure)
        control = _curves(runs, sky, CONTROL, measure)
        compared = arm != CONTROL and labels > 0
        cells.append(str(speed_up(mine, control, labels)) if compared else "–")
    return cells


def _tried(mine: Curves, control: Curves, labels: int) -> list[str]:
    """What was reached with so many labels, and the factors with half of them and all."""
    if not mine:
        return ["–", "–"]
    factors = [str(speed_up(mine, control, n)) for n in (labels // 2, labels)]
    return [f"{_reached(mine, labels):.3f}", ", ".join(factors)]


def _reached(curves: Curves, labels: int) -> float:
    mean = mean_curve(curves)
    return float(mean.figure[np.flatnonzero(mean.labels == labels)[0]])


def _curves(runs: list[dict[str, Any]], sky: str, arm: str, measure: str) -> Curves:
    """Seed → curve; judges of a run are averaged."""
    return {
        run["seed"]: LearningCurve.make(run["labels"], [np.mean(v) for v in run[measure]])
        for run in runs
        if run["sky"] == sky and run["arm"] == arm
    }


def _main_measure(sky: str) -> str:
    return f"at_{COMPARED_AT[sky][0]}"
