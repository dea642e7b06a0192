"""Inspectors per object: the grammar, where one more looks, the control."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.errors import InspectionError
from quasarloop.labels.rule import CONTROL_SHARE, InspectionRule, control_of
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

TWO_AND_ONE = InspectionRule.from_text("2+1", seed=5)
CONTROL = next(target for target in range(1000) if TWO_AND_ONE.is_control(target))
OTHER = next(target for target in range(1000) if not TWO_AND_ONE.is_control(target))


def quasar(z=2.0, quality=4.0):
    return Verdict(SpecType.QSO, z, quality)


@given(st.integers(1, 5), st.integers(0, 4))
def test_a_rule_is_read_as_it_is_written(first, more):
    rule = InspectionRule(first, more)
    assert InspectionRule.from_text(str(rule)) == rule


@pytest.mark.parametrize("text", ["", "0", "2+", "+1", "2+0", "10", "5+5", "2+1+1", "two", "2 + 1"])
def test_anything_else_is_refused(text):
    with pytest.raises(InspectionError, match="expected a number from 1 to 9"):
        InspectionRule.from_text(text)


@pytest.mark.parametrize(
    ("verdicts", "needed"),
    [
        ([], 2),
        ([quasar()], 2),
        ([quasar(quality=1.0)], 2),  # unsure, but the second has not looked yet
        ([quasar(), quasar(2.001)], 2),
        ([quasar(), quasar(2.5)], 3),
        ([quasar(), Verdict(SpecType.STAR, 0.0, 4.0)], 3),
        ([quasar(quality=3.0), quasar(quality=3.0)], 2),
        ([quasar(quality=3.0), quasar(quality=2.0)], 3),
        ([quasar(), quasar(), quasar()], 2),
        ([quasar(), Verdict(SpecType.QSO, 2.0, None)], 2),  # begun, not complete
    ],
)
def test_a_third_looks_where_the_first_two_differ_or_are_unsure(verdicts, needed):
    assert TWO_AND_ONE.needed(OTHER, verdicts) == needed
    assert TWO_AND_ONE.needed(CONTROL, verdicts) == 3
    assert InspectionRule(3).needed(CONTROL, verdicts) == 3


def test_the_control_is_a_random_tenth_and_always_the_same():
    def members(seed, start=0):
        rule = InspectionRule(2, 1, seed)
        return {t for t in range(start, start + 20000) if rule.is_control(t)}

    first = members(1)
    assert abs(len(first) / 20000 - CONTROL_SHARE) < 0.01  # 4.7 standard deviations
    assert first == members(1)
    # Another seed draws others: a tenth of a tenth in common.
    assert abs(len(first & members(2)) / 20000 - CONTROL_SHARE**2) < 0.003
    assert not any(InspectionRule(3).is_control(t) for t in range(1000))


def test_the_control_measures_what_two_let_through():
    # All control objects: of every ten, one where the third differs from two that agree.
    targets = [t for t in range(20000) if TWO_AND_ONE.is_control(t)][:200]
    rows = [
        (t, [quasar(), quasar(), quasar(2.5 if i % 10 == 0 else 2.0)])
        for i, t in enumerate(targets)
    ]
    rows += [
        (OTHER, [quasar(), quasar(), quasar(2.5)]),  # not of the control
        (targets[0], [quasar(), quasar()]),  # the third is yet to come
        (targets[1], [quasar(), quasar(2.5), quasar()]),  # the first two differ
    ]
    found = control_of(TWO_AND_ONE, rows)
    assert (found.n_settled, found.n_differ) == (200, 20)
    low, high = found.interval
    assert low < 0.1 < high
    assert "20 of 200" in found.describe()
    assert control_of(InspectionRule(3), rows).describe() == ""
