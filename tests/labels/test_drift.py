"""Agreement of inspectors as time goes on: planted drift is found, steady inspectors have none."""

import math

import numpy as np
import pytest

from quasarloop.labels.drift import LOTS, Given, trends
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

N = 400


def panel(errors):
    """Verdicts on the same objects by inspectors that err at `errors[name](share of the way)`."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(N):
        for name, rate in errors.items():
            wrong = rng.random() < rate(i / N)
            z = float(rng.uniform(3, 4)) if wrong else 2.0
            verdict = Verdict(SpecType.QSO, z, 4.0)
            rows.append(Given(i, name, i, verdict, 30.0 if name == "slow" else 10.0))
    return rows


def test_planted_drift_is_found_and_a_steady_inspector_has_none():
    found = {
        trend.inspector: trend
        for trend in trends(
            panel(
                {
                    "tired": lambda t: 0.02 if t < 0.5 else 0.3,
                    "slow": lambda _: 0.02,
                    "third": lambda _: 0.02,
                }
            )
        )
    }
    tired, steady = found["tired"], found["slow"]
    assert tired.drift == pytest.approx(-0.28, abs=3 * tired.drift_error)
    assert tired.drift < -5 * tired.drift_error
    # Half of what the steady ones are compared with is the tired one's.
    assert steady.drift == pytest.approx(-0.14, abs=3 * steady.drift_error)
    assert len(tired.lots) == LOTS
    assert min(tired.lots[:4]) > max(tired.lots[4:])
    assert steady.seconds == {"all": 30.0, "qso": 30.0}
    alone = {t.inspector: t for t in trends(panel({"a": lambda _: 0.05, "b": lambda _: 0.05}))}
    assert abs(alone["a"].drift) < 3 * alone["a"].drift_error


def test_by_hand():
    qso, star = Verdict(SpecType.QSO, 2.0, 4.0), Verdict(SpecType.STAR, 0.0, 3.0)
    rows = [
        Given(1, "ada", 1, qso, 20.0),
        Given(1, "bea", 2, qso, 0.0),
        Given(1, "cyd", 3, star, 8.0),
        Given(2, "ada", 4, star, 40.0),
        Given(2, "cyd", 5, Verdict(SpecType.QSO, 1.0, None), 9.0),  # not complete
    ]
    ada, bea, cyd = trends(rows)
    assert (ada.n_compared, ada.agreement) == (1, 0.5)
    assert ada.seconds == {"all": 30.0, "qso": 20.0, "star": 40.0}
    assert ada.lots == ()
    assert math.isnan(ada.drift)
    assert bea.seconds == {}
    assert cyd.agreement == 0


def test_the_order_of_the_verdicts_is_what_counts_not_of_the_rows():
    rows = panel({"a": lambda t: t / 2, "b": lambda _: 0.0})
    assert trends(rows) == trends(rows[::-1])
