"""Counts by hand, intervals against tables, curves against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quasarloop.errors import TruthError
from quasarloop.evaluate.metrics import (
    completeness,
    completeness_at_purity,
    purity,
    redshift_errors,
    share,
    threshold_curve,
)

TRUE = np.array([1, 1, 1, 1, 0, 0], dtype=bool)
FOUND = np.array([1, 1, 1, 0, 1, 0], dtype=bool)


def test_completeness_and_purity_by_hand():
    assert (completeness(FOUND, TRUE).part, completeness(FOUND, TRUE).whole) == (3, 4)
    assert (purity(FOUND, TRUE).part, purity(FOUND, TRUE).whole) == (3, 4)
    # Found but false objects must not raise completeness (as Eq. 4.1 literally would).
    everything = np.ones(6, dtype=bool)
    assert completeness(everything, TRUE).value == 1.0
    assert purity(everything, TRUE).value == pytest.approx(4 / 6)


def test_empty_wholes_are_not_numbers():
    nothing = np.zeros(6, dtype=bool)
    assert np.isnan(purity(nothing, TRUE).value)
    assert np.isnan(completeness(FOUND, nothing).value)
    assert str(share(0, 0)) == "– (0/0)"


def test_interval_against_its_definition():
    # Clopper-Pearson: the ends are where the tails of the binomial hold (1 - level)/2 each.
    from scipy.stats import binom

    s = share(7, 20)
    tail = (1 - 0.6827) / 2
    assert binom.sf(6, 20, s.low) == pytest.approx(tail, abs=1e-9)
    assert binom.cdf(7, 20, s.high) == pytest.approx(tail, abs=1e-9)


@given(st.integers(0, 50), st.integers(0, 50))
def test_share_lies_in_its_interval(part, rest):
    s = share(part, part + rest)
    assert 0 <= s.low <= s.high <= 1
    if s.whole:
        assert s.low <= s.value <= s.high


def test_share_refuses_impossible_counts():
    with pytest.raises(ValueError, match="no share"):
        share(3, 2)


@given(
    arrays(np.float64, 30, elements=st.sampled_from([0.0, 0.2, 0.5, 0.95, 0.99, 1.0, np.nan])),
    arrays(bool, 30),
)
def test_curve_equals_counting(confidence, true):
    cuts = np.array([0.0, 0.3, 0.5, 0.95, 1.0])
    curve = threshold_curve(confidence, true, cuts)
    for i, cut in enumerate(cuts):
        found = np.nan_to_num(confidence, nan=-1) > cut
        assert curve.completeness[i] == pytest.approx(completeness(found, true).value, nan_ok=True)
        assert curve.purity[i] == pytest.approx(purity(found, true).value, nan_ok=True)


@given(arrays(np.float64, 25, elements=st.floats(0, 1)), arrays(bool, 25))
def test_completeness_at_purity_is_the_best_of_all_cuts(confidence, true):
    best = 0.0
    for cut in np.concatenate([[0.0], confidence]):
        found = confidence > cut
        if found.any() and purity(found, true).value >= 0.8 and true.any():
            best = max(best, completeness(found, true).value)
    assert completeness_at_purity(confidence, true, 0.8) == pytest.approx(best)


def test_redshift_errors_by_hand():
    z_true = np.array([1.0, 1.0, 2.0, 0.5, np.nan])
    z = np.array([1.02, 0.98, 2.0, 3.5, 1.0])  # dv = 0.01, -0.01, 0, 2
    errors = redshift_errors(z, z_true)
    assert errors.n == 4
    assert errors.right.part == 3
    assert errors.bias == pytest.approx(0.005)  # median of -0.01, 0, 0.01, 2
    assert errors.nmad == pytest.approx(1.4826 * 0.01)  # |dv - 0.005|: 0.005 0.005 0.015 1.995
    assert errors.scatter == pytest.approx(np.std([0.01, -0.01, 0.0]))
    assert redshift_errors([], []).n == 0


def test_unmatched_rows_are_refused():
    with pytest.raises(TruthError, match="match them by TARGETID"):
        completeness(FOUND, TRUE[:3])
