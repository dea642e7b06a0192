"""Medians of many rows: those of numpy, however the values are spread."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasarloop.constants import median_where

WIDTHS = (1, 2, 50, 443, 700, 2751)


def plain(values, usable):
    rows = [row[keep] for row, keep in zip(values, usable, strict=True)]
    halves = [np.sort(row)[[(len(row) - 1) // 2, len(row) // 2]] for row in rows if len(row)]
    found = np.full(len(rows), np.nan, np.float32)
    found[[len(row) > 0 for row in rows]] = [0.5 * low + 0.5 * high for low, high in halves]
    return found


@given(st.integers(0, 2**32 - 1), st.sampled_from(WIDTHS), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_medians_are_those_of_sorted_rows(seed, width, part):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(7, width)).astype(np.float32)
    values[::2] = np.round(values[::2])  # many equal ones
    usable = rng.random(values.shape) < part * rng.random((7, 1))
    np.testing.assert_array_equal(median_where(values, usable), plain(values, usable))


@pytest.mark.parametrize("step", [2, 4, 8, 16])
@pytest.mark.parametrize("extreme", [-np.inf, -1e9, 1e9, np.inf])
def test_regular_values_do_not_mislead(step, extreme):
    """Looking at some of the pixels first must not decide."""
    values = np.random.default_rng(0).normal(size=(5, 2751)).astype(np.float32)
    values[1:, ::step] = extreme
    usable = np.ones(values.shape, bool)
    usable[2:, 1::2] = False
    usable[3, 0::2] = False
    np.testing.assert_array_equal(median_where(values, usable), plain(values, usable))


def test_values_stay_as_they_are():
    values = np.arange(3000, dtype=np.float32).reshape(2, 1500)
    usable = values % 2 == 0
    before = values.copy()
    median_where(values, usable)
    np.testing.assert_array_equal(values, before)
