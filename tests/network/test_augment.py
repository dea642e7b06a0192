"""Shifted and disturbed spectra: the flux, the label, and what has no data."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.errors import GridError
from quasarloop.grid import LINEAR_GRID, LOG_GRID, normalise, rebin
from quasarloop.network import augment
from quasarloop.network.augment import disturb, shift_flux, shift_randomly
from quasarloop.network.config import preset
from quasarloop.network.labelled import TrainingData, joined_data
from quasarloop.network.options import TrainingOptions
from quasarloop.network.rehearsal import mixed_skies
from quasarloop.network.training import train


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


SKY = mixed_skies(400, 3)
CONFIG = preset("green2025")


def test_disturbing_none_changes_nothing():
    same = disturb(SKY, CONFIG, 0.0, np.random.default_rng(0))
    assert same.flux.tobytes() == SKY.flux.tobytes()
    assert same.empty.tobytes() == SKY.empty.tobytes()
    assert same.trains.all()


def test_disturbed_spectra_are_normalised_have_holes_and_keep_their_labels():
    some = disturb(SKY, CONFIG, 1.0, np.random.default_rng(1))
    again = disturb(SKY, CONFIG, 1.0, np.random.default_rng(1))
    assert some.flux.tobytes() == again.flux.tobytes()
    assert np.isfinite(some.flux).all()
    assert (some.z == SKY.z).all()
    assert (some.spectype == SKY.spectype).all()
    before, after = ((d.flux != d.empty[:, None]).sum(axis=1) for d in (SKY, some))
    assert (after <= before).all()
    assert 0.3 < (after < before).mean() < 0.8  # holes or ends: 1 - (1 - 0.4) (1 - 0.25) at most
    # Normalised by the inverse variance: of bins equally weighted only about 1.
    rms = [np.std(f[f != e]) / np.std(g[g != h]) for f, e, g, h in zip(
        some.flux, some.empty, SKY.flux, SKY.empty, strict=True)]  # fmt: skip
    assert 0.8 < np.median(rms) < 1.2


def test_a_hole_is_filled_as_rebinning_leaves_it():
    """Masked before rebinning or emptied after, a hole gives the same spectrum."""
    rng = np.random.default_rng(2)
    wave = np.arange(3600.0, 9824.0, 0.8)
    flux = (3 + np.sin(wave / 500) + rng.normal(size=(20, len(wave)))).astype(np.float32)
    ivar = np.ones_like(flux)
    whole = normalise(*rebin([(wave, flux, ivar)], LOG_GRID))
    bins = LOG_GRID.bin_of(wave)
    holed = ivar * ~((bins >= 191) & (bins < 222))  # 5589 to 6002 A
    true = normalise(*rebin([(wave, flux, holed)], LOG_GRID))
    empty, before = (
        (-one.mean_flux / one.rms_flux)[:, None].astype(np.float32) for one in (true, whole)
    )
    made, filled = augment._normalised(
        whole.flux - before, true.flux != empty, whole.flux, whole.flux != before
    )
    assert filled == pytest.approx(empty[:, 0], rel=0.05)
    assert made == pytest.approx(true.flux, abs=0.1)


def test_a_quasar_without_any_line_left_does_not_train(monkeypatch):
    monkeypatch.setattr(augment, "_ends", lambda n, n_bins, _: np.arange(n_bins) >= n * 0 + 150)
    monkeypatch.setattr(augment, "_ENDS", 1.0)
    # Left are 3600 to 5085 A: at z = 0.85 without a line; at z = 2.5 Lyman alpha is at 4255.
    data = quasars(np.tile(SKY.flux[:1], (2, 1)), [0.85, 2.5])
    star = TrainingData.make(SKY.flux[:1], [0], [0.0])
    some = disturb(joined_data(data, star), CONFIG, 1.0, np.random.default_rng(3))
    assert some.trains.tolist() == [False, True, True]


def test_training_disturbs():
    options = TrainingOptions(epochs=1, batch_size=64)
    small = preset("green2025", n_filters=4, n_dense=4)
    plain, other = (
        train(SKY[:64], small, replace(options, disturbed=share), seed=1).weights.digest()
        for share in (0.0, 1.0)
    )
    assert plain != other
