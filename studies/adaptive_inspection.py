"""A simulated panel of inspectors under several rules: hours spent, and wrong labels let through.

    python studies/adaptive_inspection.py

Prints the table of docs/guides/inspection.md. Objects are quasars, galaxies and stars; a tenth
mislead: whoever errs there errs in the same way (one line taken for another, an early galaxy for
a star), which is what gets past inspectors who agree. The verdicts pass through the package's own
rules; a merger decides what is left. All rates below were written down before the first run.
"""

import numpy as np

from quasarloop.labels.merge import conflicts, from_decision, merge_verdicts
from quasarloop.labels.rule import InspectionRule, control_of
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import MIN_QUALITY, SpecType

N = 20000
RULES = ("1", "2", "2+1", "3")
# Wrong verdicts of one inspector, over all objects: careful, usual, careless.
ERROR_RATES = (0.02, 0.05, 0.10)
# Share of objects that mislead, and of all wrong verdicts that are given on them.
MISLEADING, ON_MISLEADING = 0.1, 0.5
# Qualities of right verdicts (4, 3, 2), and of wrong ones: who errs is less sure.
RIGHT_QUALITY, WRONG_QUALITY = (0.7, 0.2, 0.1), (0.3, 0.4, 0.3)
# Seconds of a verdict and of a decision; a merger errs half as often as an inspector.
VERDICT_S, DECISION_S, MERGER = 40.0, 60.0, 0.5
SEED = 2025


class Panel:
    """A sky, and what any inspector gives for its objects."""

    def __init__(self, rate: float, rng: np.random.Generator) -> None:
        self.rng = rng
        self.spectype = rng.choice(
            [SpecType.QSO, SpecType.GALAXY, SpecType.STAR], N, p=(0.5, 0.3, 0.2)
        )
        self.z = np.where(self.spectype == SpecType.STAR, 0.0, rng.uniform(0.3, 3.5, N))
        misleads = rng.random(N) < MISLEADING
        on, off = ON_MISLEADING * rate / MISLEADING, (1 - ON_MISLEADING) * rate / (1 - MISLEADING)
        self.rate = np.where(misleads, on, off)
        self.misleads = misleads
        self.common_z = self.z + rng.uniform(0.2, 0.8, N)

    def verdict(self, i: int, factor: float = 1.0) -> Verdict:
        """Return one verdict of an object."""
        wrong = self.rng.random() < factor * self.rate[i]
        quality = float(self.rng.choice((4, 3, 2), p=WRONG_QUALITY if wrong else RIGHT_QUALITY))
        kind, z = SpecType(int(self.spectype[i])), float(self.z[i] + self.rng.normal(0, 3e-4))
        if wrong:
            kind = SpecType.STAR if kind == SpecType.GALAXY else SpecType.QSO
            own = self.z[i] + self.rng.uniform(0.1, 1.0)
            z = float(self.common_z[i] if self.misleads[i] else own)
        return Verdict(kind, z, quality)

    def is_right(self, i: int, verdict: Verdict) -> bool:
        """Return whether class and redshift are the object's own, by the merge rules."""
        true = Verdict(SpecType(int(self.spectype[i])), float(self.z[i]), verdict.quality)
        return not conflicts([true, verdict])


def inspected(rule: InspectionRule, panel: Panel) -> tuple[float, ...]:
    """Return, per object: verdicts, decisions, hours, wrong labels that train; and the control."""
    n_verdicts = n_decisions = n_wrong = 0
    given = []
    for i in range(N):
        verdicts: list[Verdict] = []
        while len(verdicts) < rule.needed(i, verdicts):
            verdicts.append(panel.verdict(i))
        final = merge_verdicts(verdicts)
        if final is None:
            n_decisions += 1
            final = from_decision(panel.verdict(i, MERGER), verdicts)
        n_verdicts += len(verdicts)
        given.append((i, verdicts))
        trains = (final.quality or 0) >= MIN_QUALITY
        n_wrong += trains and not panel.is_right(i, final.verdict)
    hours = (n_verdicts * VERDICT_S + n_decisions * DECISION_S) / 3600
    control = control_of(rule, given)
    share = control.n_differ / control.n_settled if control.n_settled else np.nan
    return n_verdicts / N, n_decisions / N, hours / N, n_wrong / N, share


def main() -> None:
    """Print the table."""
    print(
        "| wrong verdicts | rule | verdicts per object | to the merger | hours per 1000 |", end=""
    )
    print(" hours saved | wrong labels per 1000 | third differs, by the control |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for rate in ERROR_RATES:
        rows = {}
        for text in RULES:
            panel = Panel(rate, np.random.default_rng(SEED))
            rows[text] = inspected(InspectionRule.from_text(text, SEED), panel)
        three = rows["3"][2]
        for text, (verdicts, decisions, hours, wrong, share) in rows.items():
            control = "–" if np.isnan(share) else f"{100 * share:.1f} %"
            print(
                f"| {100 * rate:.0f} % | {text} | {verdicts:.2f} | {100 * decisions:.1f} % | "
                f"{1000 * hours:.1f} | {100 * (1 - hours / three):.0f} % | {1000 * wrong:.1f} | "
                f"{control} |"
            )


if __name__ == "__main__":
    main()
