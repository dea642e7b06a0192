"""Repeat exposures: entropies and scatters by hand and against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quasarloop.errors import TruthError
from quasarloop.evaluate.repeats import repeat_objects, scatter_in_bins


def test_by_hand():
    ids = [1, 1, 1, 2, 2, 2, 2, 2, 3, 4, 4]
    qso = [1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0]
    z = [2.0, 2.1, 2.2, 1, 1, 1, 9, 9, 3, 0, 0]
    r = repeat_objects(ids, qso, z)
    assert r.object_id.tolist() == [1, 2, 4]  # object 3 was seen once
    assert r.n_exposures.tolist() == [3, 5, 2]
    # Paper, Section 4.3.1: 60 % against 40 %.
    expected = -(0.6 * np.log2(0.6) + 0.4 * np.log2(0.4))
    assert r.entropy_bits == pytest.approx([0, expected, 0])
    assert r.always_qso.tolist() == [True, False, False]
    assert r.z_mean[0] == pytest.approx(2.1)
    assert r.z_std[0] == pytest.approx(0.1)
    assert np.isnan(r.z_std[1:]).all()


def test_unusable_exposures_do_not_count():
    r = repeat_objects([1, 1, 1], [1, 1, 0], [2.0, 2.0, np.nan], usable=[True, True, False])
    assert r.entropy_bits.tolist() == [0.0]
    assert r.always_qso.all()
    with pytest.raises(TruthError, match="two usable exposures"):
        repeat_objects([1, 1, 2], [1, 1, 1], [1, 1, 1], usable=[True, False, True])


@given(arrays(np.int64, 20, elements=st.integers(0, 4)), arrays(bool, 20))
def test_entropy_is_bounded_and_symmetric(ids, qso):
    z = np.arange(20.0)
    a, b = repeat_objects(ids, qso, z), repeat_objects(ids, ~qso, z)
    assert np.all((a.entropy_bits >= 0) & (a.entropy_bits <= 1))
    assert a.entropy_bits.tolist() == b.entropy_bits.tolist()
    for k, one in enumerate(a.object_id):
        mine = z[ids == one]
        if a.always_qso[k]:
            assert a.z_std[k] == pytest.approx(mine.std(ddof=1))
            assert a.z_mean[k] == pytest.approx(mine.mean())
        assert (a.entropy_bits[k] == 0) == (len(set(qso[ids == one])) == 1)


def test_planted_scatter_is_recovered_in_bins():
    rng = np.random.default_rng(3)
    ids = np.repeat(np.arange(2000), 8)
    true = np.repeat(rng.uniform(1, 3, 2000), 8)
    sigma = np.where(true < 2, 0.002, 0.01)
    r = repeat_objects(ids, np.ones(len(ids), bool), true + sigma * rng.normal(size=len(ids)))
    bins = scatter_in_bins(r, [0.9, 1.9, 2.1, 3.1])
    assert bins.n.sum() == 2000
    # The mean of the standard deviation of 8 Gaussian values is 0.9650 σ (c4 of 8).
    assert abs(bins.scatter[0] - 0.965 * 0.002) < 4 * bins.error[0]
    assert abs(bins.scatter[2] - 0.965 * 0.01) < 4 * bins.error[2]
    assert np.all(np.diff(bins.z) > 0)
