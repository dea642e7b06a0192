"""Shifted spectra: the flux, the label and what comes in at the ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.errors import GridError
from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.network.labelled import TrainingData
from quasarloop.network.training_run import shift_flux, shift_randomly


def quasars(flux, z):
    return TrainingData.make(flux, np.full(len(flux), 2), z)


def bins_moved(before, after):
    return np.rint(np.log10((1 + after.z) / (1 + before.z)) / LOG_GRID.step).astype(int)


def test_shift_by_hand_both_ways():
    flux = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 8, 7, 6]], dtype=np.float32)
    empty = np.array([-1, -2, -3], dtype=np.float32)
    moved = shift_flux(flux, np.array([2, -1, 0]), empty)
    assert moved.tolist() == [[-1, -1, 1, 2], [6, 7, 8, -2], [9, 8, 7, 6]]
    assert shift_flux(flux, np.array([9, -9, 4]), empty)[:, 0].tolist() == [-1, -2, -3]
    assert moved.dtype == np.float32


@given(z=st.floats(0.3, 3.0), largest=st.integers(0, 50), seed=st.integers(0, 1000))
def test_a_line_stays_on_its_label(z, largest, seed):
    """A spike at MgII is found, after the shift, at MgII of the shifted redshift."""
    flux = np.zeros((1, 443), dtype=np.float32)
    bin_before = LOG_GRID.bin_of([2796.3511 * (1 + z)])[0]
    if not 0 <= bin_before < 443:
        return
    flux[0, bin_before] = 9.0
    rng = np.random.default_rng(seed)
    data = quasars(flux, [z])
    shifted = shift_randomly(data, LOG_GRID, largest, rng)
    bins = bins_moved(data, shifted)
    assert abs(bins[0]) <= largest
    # A line within rounding of a bin's edge may fall one bin over.
    edge = np.log10(2796.3511 * (1 + z) / 3600) / 1e-3 % 1
    if 1e-6 < edge < 1 - 1e-6:
        bin_after = LOG_GRID.bin_of([2796.3511 * (1 + shifted.z[0])])[0]
        assert bin_after == bin_before + bins[0]
        if 0 <= bin_after < 443:
            assert shifted.flux[0, bin_after] == 9.0
        else:
            assert not shifted.flux.any()


def test_shifts_are_uniform_and_both_ends_occur():
    rng = np.random.default_rng(0)
    n = 70_000
    data = quasars(np.zeros((n, 443), np.float32), np.ones(n))
    shifted = shift_randomly(data, LOG_GRID, 3, rng)
    counts = np.bincount(bins_moved(data, shifted) + 3)
    assert len(counts) == 7
    assert np.all(np.abs(counts - n / 7) < 5 * np.sqrt(n / 7))


def test_not_on_a_linear_grid():
    with pytest.raises(GridError):
        data = quasars(np.zeros((1, 458), np.float32), np.ones(1))
        shift_randomly(data, LINEAR_GRID, 3, np.random.default_rng(0))
