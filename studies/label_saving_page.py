"""Tables and figure of docs/measurements/label_saving.md, from the runs of `label_saving.py`."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from learning_curves import Curves, LearningCurve, mean_curve, speed_up
from quasarloop.artefacts import write_atomically
from quasarloop.evaluate.figures import COLOURS, save_figure, use_style
from quasarloop.evaluate.judge import FIXED_PURITIES

Run = dict[str, Any]

TITLES: Final = {
    "alike": "first T like the pool",
    "poor": "first T covers the pool badly",
    "rare": "the same T, quasars are rare",
}
REAL: Final = "real"
NO_LABEL, OURS, LEAVES = "no label", "heads, ours", "the network that leaves"
# Of the choice: random labels under the same training. Of the whole: the paper's way.
CHOICES: Final = {
    OURS: "heads, random",
    "heads, quasar or not": "heads, random",
    "heads, soft entropy": "heads, random",
    "heads, soft entropy, nothing at random": "heads, random",
    "heads, the paper's choice": "heads, random",
    "fine-tuned, ours": "fine-tuned, random",
    "fine-tuned, ours, 1 rehearsed": "fine-tuned, random",
    "fine-tuned, ours, 3 rehearsed": "fine-tuned, random",
    LEAVES: "fine-tuned, random",
    "from nothing, the paper's choice": "from nothing, random",
}
WHOLE: Final = ("from nothing, the paper's choice", "from nothing, random")
HEADLINE_LABELS: Final = 300
# Compared after as many labels, on the seeds that have a network that leaves.
NETWORKS: Final = (
    *(NO_LABEL, "fine-tuned, random", "fine-tuned, ours", "fine-tuned, ours, 1 rehearsed"),
    *("fine-tuned, ours, 3 rehearsed", OURS, LEAVES),
)
FIRST_POINT: Final = 30  # where the figure draws T alone: its axis is logarithmic


def merged(runs: list[Run]) -> list[Run]:
    """Put records of one run together: labels judged at another time are on another line."""
    together: dict[tuple[str, int, str], Run] = {}
    for run in runs:
        first = together.setdefault((run["case"], run["seed"], run["arm"]), run)
        if first is not run:
            lists = [name for name, values in run.items() if isinstance(values, list)]
            points = {name: [*first[name], *run[name]] for name in lists}
            order = np.argsort(points["labels"], kind="stable").tolist()
            first.update({name: [values[i] for i in order] for name, values in points.items()})
    return list(together.values())


def curves(runs: list[Run], case: str, arm: str, measure: str) -> Curves:
    """Return seed -> curve."""
    return {
        run["seed"]: LearningCurve.make(run["labels"], run[measure])
        for run in runs
        if (run["case"], run["arm"]) == (case, arm)
    }


def write_page(runs: list[Run], page: Path, figure: Path) -> None:
    """Draw the figure, and fill the parts of the page between their marks."""
    save_figure(drawn(runs), figure)
    parts = {
        "headline": headline(runs),
        "factors": factor_table(runs),
        "networks": networks_table(runs),
        "table": "\n".join(case_tables(runs)),
        "real": real_table(runs),
    }
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


def headline(runs: list[Run]) -> str:
    """Markdown: both factors of every case, after as many labels as users mostly spend."""
    lines = []
    for case, title in TITLES.items():
        ours = curves(runs, case, OURS, f"at_{FIXED_PURITIES[0]}")
        if not ours or HEADLINE_LABELS not in mean_curve(ours).labels:
            continue
        parts = []
        for what, control in (("choice", CHOICES[OURS]), ("whole", WHOLE[0])):
            found = [factor(runs, case, OURS, control, p, HEADLINE_LABELS) for p in FIXED_PURITIES]
            seeds = len(set(ours) & set(curves(runs, case, control, f"at_{FIXED_PURITIES[0]}")))
            many = f"{seeds} seed{'s' * (seeds != 1)}"
            values = [f"{f} at purity {p}" for f, p in zip(found, FIXED_PURITIES, strict=True)]
            known = f"{', '.join(values)} ({many})"
            parts.append(f"{what} {known if seeds else 'not measured yet'}")
        lines.append(f"- **{title[0].upper()}{title[1:]}**, after {HEADLINE_LABELS} labels: ")
        lines[-1] += "; ".join(parts) + "."
    return "\n".join(lines) + "\n"


def factor_table(runs: list[Run]) -> str:
    """Markdown: the two factors of our way, after every round."""
    heads = [f"{what} at purity {p}" for what in ("choice", "whole") for p in FIXED_PURITIES]
    lines = [f"| case | labels | {' | '.join(heads)} |", "|---|---:|" + "---:|" * len(heads)]
    for case, title in TITLES.items():
        ours = curves(runs, case, OURS, f"at_{FIXED_PURITIES[0]}")
        for labels in mean_curve(ours).labels.tolist() if ours else []:
            cells = [
                factor(runs, case, OURS, control, purity, labels)
                for control in (CHOICES[OURS], WHOLE[0])
                for purity in FIXED_PURITIES
            ]
            lines.append(f"| {title} | {labels} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def factor(runs: list[Run], case: str, arm: str, control: str, purity: float, labels: int) -> str:
    """Return labels the control needs over ours, for the same completeness."""
    measure = f"at_{purity}"
    theirs = curves(runs, case, control, measure)
    ours = {
        seed: curve
        for seed, curve in curves(runs, case, arm, measure).items()
        if labels in curve.labels
    }
    return str(speed_up(ours, theirs, labels)) if theirs else "–"


def networks_table(runs: list[Run]) -> str:
    """Markdown: whole networks and the head side by side, case by case, and which left."""
    columns, left = [], []
    for case, title in TITLES.items():
        at = {arm: 0 if arm == NO_LABEL else HEADLINE_LABELS for arm in NETWORKS}
        found = {
            (run["arm"], run["seed"]): run
            for run in runs
            if run["case"] == case and at.get(run["arm"]) in run["labels"]
        }
        seeds = [seed for arm, seed in found if arm == LEAVES]
        if not seeds:
            continue
        cells = [f"{title} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))})"]
        for arm, labels in at.items():
            points = [found[arm, seed] for seed in seeds if (arm, seed) in found]
            means = [_mean(points, labels, f"at_{p}") for p in FIXED_PURITIES]
            cells.append(" / ".join(means) if len(points) == len(seeds) else "–")
        columns.append(cells)
        ways = [found[LEAVES, seed] for seed in sorted(seeds)]
        left += [", ".join(run["leaves"][run["labels"].index(HEADLINE_LABELS)] for run in ways)]
    rows = [[title, *cells] for title, *cells in zip(("network", *NETWORKS), *columns, strict=True)]
    rows = [*rows[:1], ["---"] * len(rows[0]), *rows[1:], ["it was", *left]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def case_tables(runs: list[Run]) -> list[str]:
    """Markdown lines: what every arm reaches in every case, at every number of labels."""
    measures = [f"at_{p}" for p in FIXED_PURITIES]
    carried = ["carried_0.99", "carried_0.99_purity"]
    lines = []
    for case, title in TITLES.items():
        mine = [run for run in runs if run["case"] == case]
        if not mine:
            continue
        lines += [
            f"### {title[0].upper()}{title[1:]}",
            "",
            "| arm | labels | seeds | quasars among them | complete at purity 0.99 | at 0.998 "
            "| factor at 0.99 | at 0.998 | complete at a carried threshold | purity there |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for arm in dict.fromkeys(run["arm"] for run in mine):
            of_arm = [run for run in mine if run["arm"] == arm]
            for labels in sorted({n for run in of_arm for n in run["labels"]}):
                points = [run for run in of_arm if labels in run["labels"]]
                cells = [arm, str(labels), str(len(points)), _mean(points, labels, "quasars", 2)]
                cells += [_mean(points, labels, name) for name in measures]
                control = CHOICES.get(arm)
                cells += [
                    factor(runs, case, arm, control, p, labels) if control and labels else "–"
                    for p in FIXED_PURITIES
                ]
                cells += [_mean(points, labels, name) for name in carried]
                lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return lines


def real_table(runs: list[Run]) -> str:
    """Markdown: real spectra, judged on objects without a label."""
    measures = ("found", "false", *(f"at_{p}" for p in FIXED_PURITIES))
    mine = [run for run in runs if run["case"] == REAL]
    lines = [
        "| labels | training | splits | quasars found | others found | complete at purity 0.99 "
        "| at 0.998 |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    for labels in sorted({n for run in mine for n in run["labels"]}):
        for arm in dict.fromkeys(run["arm"] for run in mine):
            points = [run for run in mine if run["arm"] == arm and labels in run["labels"]]
            cells = [str(labels), arm, str(len(points))]
            cells += [_mean(points, labels, name) for name in measures]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean(runs: list[Run], labels: int, measure: str, digits: int = 3) -> str:
    """Mean over seeds and its standard error; a dash where nothing is known."""
    every = [run[measure][run["labels"].index(labels)] for run in runs if measure in run]
    known = [value for value in every if value is not None]
    if not known:
        return "–"
    if len(known) == 1 or digits < 3:  # noqa: PLR2004 -- a share needs no error
        return f"{np.mean(known):.{digits}f}"
    error = np.std(known, ddof=1) / np.sqrt(len(known))
    return f"{np.mean(known):.{digits}f} ± {error:.{digits}f}"


def drawn(runs: list[Run]) -> Figure:
    """Draw completeness against labels: a column of panels per case, a row per purity."""
    cases = [case for case in TITLES if any(run["case"] == case for run in runs)]
    arms = [OURS, "heads, random", "heads, the paper's choice", "the network that leaves"]
    arms += ["fine-tuned, random", *WHOLE]
    with use_style():
        figure = Figure(figsize=(4.6 * len(cases), 7.2), layout="constrained")
        panels = figure.subplots(len(FIXED_PURITIES), len(cases), squeeze=False, sharex=True)
        for row, purity in enumerate(FIXED_PURITIES):
            for panel, case in zip(panels[row], cases, strict=True):
                zero = curves(runs, case, NO_LABEL, f"at_{purity}")
                if zero:
                    panel.axhline(mean_curve(zero).figure[0], color="0.4", ls="--", label=NO_LABEL)
                for arm, colour in zip(arms, COLOURS, strict=False):
                    if arm in WHOLE and panel.has_data():  # they begin far below all others
                        panel.set_ylim(panel.get_ylim())
                    _draw(panel, curves(runs, case, arm, f"at_{purity}"), arm, colour)
                panel.set(xscale="log", title=TITLES[case] if row == 0 else "")
            panels[row, 0].set_ylabel(f"completeness at purity {purity}")
        for panel in panels[-1]:
            panel.set_xlabel("labels after T")
            ticks = [FIRST_POINT, 100, 300, 1000, 3000]
            panel.set_xticks(ticks, ["T", *map(str, ticks[1:])])
        named = {
            label: handle
            for panel in panels.flat
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=4)
        return figure


def _draw(panel: Axes, found: Curves, arm: str, colour: str) -> None:
    if not found:
        return
    mean = mean_curve(found)
    places, error = np.maximum(mean.labels, FIRST_POINT), np.nan_to_num(mean.error)
    style = "o--" if "random" in arm else "o-"
    panel.errorbar(places, mean.figure, error, fmt=style, color=colour, ms=4, capsize=2, label=arm)
