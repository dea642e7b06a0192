"""What a round was worth, in words and numbers: what leaves, how good, at what cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from quasarloop.artefacts import read_manifest
from quasarloop.campaign.layout import LEDGER, truth_set
from quasarloop.campaign.ledger import read_ledger
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.candidates import START, WAYS, read_candidates
from quasarloop.campaign.steps.evaluation import read_numbers
from quasarloop.campaign.steps.labels import read_effort
from quasarloop.campaign.steps.networks import CONTROL, FINAL, SETS_NAME, set_name
from quasarloop.campaign.steps.redshifts import label_before
from quasarloop.evaluate.figures import AtPurity
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.evaluate.report import Table
from quasarloop.labels.rule import InspectionRule

__all__ = ["WAYS_IN_WORDS", "Verdict", "points_at_purity", "sample_judged", "verdict_of"]

WAYS_IN_WORDS: Final = {
    START: "the weights as they were given",
    "head": "a linear head on the weights as they were given",
    "finetune": "all layers trained further",
    "rehearse": "all layers trained further, with simulated spectra besides",
}
# Of one inspection, where none was recorded. Source: our assumption; the paper (Section 4) has
# three inspectors for every spectrum and gives no time.
ASSUMED_SECONDS: Final = 60.0
# Differences of so many errors and more count as real. Source: our choice.
_REAL_SIGMA: Final = 2.0


@dataclass(frozen=True)
class Verdict:
    """What a round was worth.

    Attributes:
        sentences: the first is the headline.
        table: completeness of every network that is compared.
        numbers: the same, as JSON holds them.
    """

    sentences: Sequence[str]
    table: Table
    numbers: Mapping[str, Any]


def sample_judged(context: Context) -> str:
    """Return the sample that truth sets are compared on: test spectra if there are any."""
    return "test" if read_numbers(context, "test") else "validation"


def points_at_purity(context: Context) -> dict[str, AtPurity]:
    """Return labels trained on, and completeness, of every network: those given come first."""
    sizes = read_manifest(context.step_folder("networks") / SETS_NAME)["sizes"]
    numbers = read_numbers(context, sample_judged(context))
    sets = [set_name(k) for k in range(context.round_number + 1)]
    order = dict.fromkeys((label_before(context.config), START, *sets, CONTROL, *WAYS, FINAL))
    return {
        name: AtPurity(
            sizes.get(name, 0),
            _by_purity(numbers[name], "completeness_at_purity"),
            _by_purity(numbers[name], "completeness_at_purity_error"),
        )
        for name in order
        if name in numbers
    }


def _by_purity(record: Mapping[str, Any], key: str) -> tuple[float, ...]:
    return tuple(float(record.get(key, {}).get(str(p), np.nan)) for p in FIXED_PURITIES)


def verdict_of(context: Context) -> Verdict:
    """Return what a round was worth, at purities fixed beforehand."""
    sample, points = sample_judged(context), points_at_purity(context)
    in_use = label_before(context.config)
    numbers = read_numbers(context, sample)
    newest = set_name(context.round_number)
    judged = FINAL if FINAL in points else newest
    gains = _above(numbers[judged], in_use)
    cost_sentence, cost = _cost(context)
    candidates = read_candidates(context)
    way = "nothing" if candidates is None else str(candidates["leaves"])
    any_one = numbers[judged]
    sentences = [
        _headline(judged, gains, way),
        f"What leaves: {FINAL}, {WAYS_IN_WORDS.get(way, 'a network trained from nothing')}"
        + ("." if way == START else f", on all {_n_final(context):,} labelled spectra."),
        f"How good: {judged} finds {_of_quasars(points[judged])} "
        f"({any_one['n_judged']:,} {sample} spectra, {any_one['n_true']:,} of them quasars, "
        f"{_held_out(context, sample)}).",
        f"Against {in_use}, the weights in use: {_in_words(gains)}.",
        _against_random(numbers, newest),
        f"What it cost: {cost_sentence}.",
    ]
    record = {
        "sample": sample,
        "n_judged": any_one["n_judged"],
        "n_quasars": any_one["n_true"],
        "purities": list(FIXED_PURITIES),
        "in_use": in_use,
        "judged": judged,
        "way": way,
        "networks": {
            name: {
                "labelled_spectra": point.n_labels,
                "completeness": list(point.completeness),
                "error": [None if np.isnan(e) else e for e in point.error],
                "above": numbers[name].get("above", {}),
            }
            for name, point in points.items()
        },
        "cost": cost,
    }
    words = _in_words_by_name(context, in_use, way)
    return Verdict(sentences, _table(context, points, numbers, in_use, words), record)


def _held_out(context: Context, sample: str) -> str:
    """Return how far the judged spectra are unknown to the networks."""
    if sample == "validation":
        return f"held out of every set; {FINAL} has learned from them and is not judged"
    judged = pl.read_parquet(
        context.step_folder("evaluation") / f"{sample}.parquet", columns=["OBJECT_ID"]
    )["OBJECT_ID"].unique()
    labelled = int(np.isin(judged, truth_set(context, context.round_number).object_id).sum())
    if labelled:
        return f"but {labelled:,} of their {len(judged):,} objects have labels in T: no fair test"
    return "none of them with a label in T"


def _n_final(context: Context) -> int:
    return int(read_manifest(context.step_folder("networks") / SETS_NAME)["sizes"][FINAL])


Gain = tuple[float, float]  # and its error


def _above(record: Mapping[str, Any], other: str) -> list[Gain]:
    """Return completeness above another network's and its error, purity by purity; or nothing."""
    found = record.get("above", {}).get(other)
    if found is None:
        return []
    return list(
        zip(_by_purity(found, "completeness_at_purity"), _by_purity(found, "error"), strict=True)
    )


def _headline(judged: str, gains: Sequence[Gain], way: str) -> str:
    subject = "The weights that leave are" if judged == FINAL else f"The network of {judged} is"
    real = {np.sign(gain) for gain, error in gains if abs(gain) >= _REAL_SIGMA * error and gain}
    if way == START:
        return "No training on the labels was better than the weights as they were given."
    if not gains:
        return "The labels cannot be judged: nothing can be compared."
    if real == {1.0}:
        return f"The labels helped: {subject[0].lower()}{subject[1:]} better than those in use."
    if real == {-1.0}:
        return f"{subject} worse than those in use: keep those in use."
    if real:
        return f"{subject} better than those in use at one purity and worse at another."
    return f"{subject} neither better nor worse than those in use, within {_REAL_SIGMA:g} σ."


def _in_words(gains: Sequence[Gain]) -> str:
    if not gains:
        return "not compared"
    parts = []
    for (gain, error), purity in zip(gains, FIXED_PURITIES, strict=True):
        more = f"{abs(gain):.3f} ± {error:.3f} {'more' if gain >= 0 else 'less'} complete"
        sigma = f" ({abs(gain) / error:.1f} σ)" if error else ""
        what = more if gain or error else "equally complete"
        parts.append(f"{what} at purity {purity}{sigma}")
    return ", ".join(parts)


def _of_quasars(point: AtPurity) -> str:
    return " and ".join(
        # A bootstrap of few objects that are all found has no error; ± 0 would be wrong.
        f"{value:.3f} {f'± {error:.3f}' if error else '(in every resampling)'} "
        f"of the quasars at purity {p}"
        for value, error, p in zip(point.completeness, point.error, FIXED_PURITIES, strict=True)
    )


def _against_random(numbers: Mapping[str, Any], newest: str) -> str:
    if CONTROL not in numbers:
        return "Against labels of random spectra: not compared, as nobody labelled any."
    gains = _in_words(_above(numbers[newest], CONTROL))
    return f"Against as many new labels of random spectra ({newest} against {CONTROL}): {gains}."


def _cost(context: Context) -> tuple[str, dict[str, Any]]:
    """Return what the labels cost, in words and numbers."""
    rounds = context.round_number
    spent = int((read_ledger(context.step_folder("truth") / LEDGER)["ROUND"] > 0).sum())
    labels = f"{spent:,} labels in {rounds} {'round' if rounds == 1 else 'rounds'}"
    n_timed, seconds = read_effort(context)
    if n_timed:
        hours, per_one = seconds / 3600, seconds / n_timed
        how = f"recorded by the inspection page: {n_timed:,} inspections of {per_one:.0f} s"
        sentence = f"{labels}, {hours:.1f} hours of inspection ({how})"
    else:
        rule = InspectionRule.from_text(str(context.config.inspection.inspectors))
        per_one = ASSUMED_SECONDS
        hours = spent * rule.first * per_one / 3600
        sentence = (
            f"{labels}, about {hours:.1f} hours of inspection (no time was recorded; "
            f"{rule.first} inspectors per spectrum at {per_one:.0f} s each are assumed)"
        )
    numbers = {"labels": spent, "rounds": rounds, "hours": hours, "recorded": n_timed}
    return sentence, {**numbers, "seconds_per_inspection": per_one}


def _table(
    context: Context,
    points: Mapping[str, AtPurity],
    numbers: Mapping[str, Any],
    in_use: str,
    words: Mapping[str, str],
) -> Table:
    header = ["network", "trained on", "labelled spectra"]
    header += [f"complete at purity {p}" for p in FIXED_PURITIES]
    header += [f"above {in_use} at {p}" for p in FIXED_PURITIES]
    rows = []
    for name, point in points.items():
        values = zip(point.completeness, point.error, strict=True)
        gains = [] if name == in_use else _above(numbers[name], in_use)
        cells = [f"{gain:+.3f} ± {error:.3f}" for gain, error in gains]
        rows.append(
            [
                name,
                words[name],
                f"{point.n_labels:,}",
                *(f"{value:.3f} ± {error:.3f}" for value, error in values),
                *(cells or ["–"] * len(FIXED_PURITIES)),
            ]
        )
    note = (
        f"Completeness on the {sample_judged(context)} spectra where the threshold is set so that "
        "purity is as given. Errors are 1 σ, of a bootstrap over objects; differences are paired. "
        "T is the truth table; validation spectra are left out of it, but for what leaves."
    )
    return Table("The networks compared", header, rows, note)


def _in_words_by_name(context: Context, in_use: str, way: str) -> dict[str, str]:
    newest = set_name(context.round_number)
    return {
        in_use: "the survey's weights in use",
        START: "no label: " + WAYS_IN_WORDS[START],
        set_name(0): "the first T",
        **{set_name(k): f"T after round {k}" for k in range(1, context.round_number + 1)},
        CONTROL: "the first T and as many new labels of random spectra",
        "finetune": f"{newest}, {WAYS_IN_WORDS['finetune']}",
        "rehearse": f"{newest}, {WAYS_IN_WORDS['rehearse']}",
        FINAL: "leaves: " + (START if way == START else "all labels"),
    }
