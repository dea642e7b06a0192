"""Clumping of known strength is measured at that strength; none is measured as none."""

import numpy as np
import pytest

from quasarloop.errors import TruthError
from quasarloop.evaluate.oscillation import (
    oscillation_of_best_lines,
    oscillation_with_truth,
    oscillation_without_truth,
    position_in_box,
)
from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.lines import EMISSION_LINES, line_named

CIV = line_named("CIV(1548)")
BOXES = 13
# One box of the log grid: 443/13 bins of 1e-3 dex.
BOX_KMS = 299792.458 * np.log(10) * 1e-3 * 443 / 13


def sky(clumping, noise_kms, n=20_000, seed=1):
    """Redshifts whose position in the box is drawn towards the centre by a part of itself."""
    rng = np.random.default_rng(seed)
    z_true = 10 ** rng.uniform(np.log10(3600 / CIV.wave_rest_aa) + 0.005, np.log10(6.2), n) - 1
    f = position_in_box(z_true, CIV, LOG_GRID, BOXES)
    shift_kms = -clumping * np.sin(2 * np.pi * (f - 0.5)) * BOX_KMS
    error = shift_kms + noise_kms * rng.normal(size=n)
    return z_true + error / 299792.458 * (1 + z_true), z_true


def test_position_in_box_by_hand():
    # Box 3 begins at bin 3 * 443/13; a quarter of a box further is position 0.25.
    wave = LOG_GRID.wave_at(np.array([3.25 * 443 / 13]))
    z = wave / CIV.wave_rest_aa - 1
    assert position_in_box(z, CIV, LOG_GRID, BOXES)[0] == pytest.approx(0.25, abs=1e-9)
    assert np.isnan(position_in_box([0.0], CIV, LOG_GRID, BOXES)[0])


def test_planted_amplitude_is_recovered_with_truth():
    z, z_true = sky(clumping=0.02, noise_kms=300)
    measured = oscillation_with_truth(z, z_true, CIV, LOG_GRID, BOXES)
    assert abs(measured.half_amplitude_kms - 0.02 * BOX_KMS) < 4 * measured.error_kms + 5
    assert measured.error_kms < 20
    np.testing.assert_allclose(measured.scatter_kms, 300, rtol=0.25)
    # Drawn to the centre: too high below it, too low above it.
    assert measured.curve_kms[4] > 0 > measured.curve_kms[-5]


def test_planted_amplitude_is_recovered_without_truth():
    z, _ = sky(clumping=0.02, noise_kms=0)
    measured = oscillation_without_truth(z, CIV, LOG_GRID, BOXES)
    assert abs(measured.half_amplitude_kms - 0.02 * BOX_KMS) < 4 * measured.error_kms + 10


def test_no_clumping_is_measured_as_noise():
    z, z_true = sky(clumping=0.0, noise_kms=300)
    for measured in (
        oscillation_with_truth(z, z_true, CIV, LOG_GRID, BOXES),
        oscillation_without_truth(z, CIV, LOG_GRID, BOXES),
    ):
        assert measured.half_amplitude_kms < measured.noise_kms + 4 * measured.error_kms


def test_confusions_do_not_count():
    z, z_true = sky(clumping=0.02, noise_kms=100)
    z[::10] += 1.0
    measured = oscillation_with_truth(z, z_true, CIV, LOG_GRID, BOXES)
    assert measured.n == 18_000
    assert abs(measured.half_amplitude_kms - 0.02 * BOX_KMS) < 4 * measured.error_kms + 5


def test_linear_grid_and_same_seed():
    z, _ = sky(clumping=0.0, noise_kms=0)
    a, b = (oscillation_without_truth(z, CIV, LINEAR_GRID, BOXES, seed=5) for _ in range(2))
    assert a.half_amplitude_kms == b.half_amplitude_kms
    assert a.error_kms == b.error_kms


def test_too_few_lines_are_refused():
    with pytest.raises(TruthError, match=r"too few to see an oscillation"):
        oscillation_with_truth([2.0], [2.0], CIV, LOG_GRID, BOXES)


def test_best_lines_of_several_kinds_share_one_planted_amplitude():
    rng = np.random.default_rng(4)
    lines = EMISSION_LINES[:3]
    which = rng.integers(0, 3, 6000)
    z_true = np.empty(6000)
    planted = np.empty(6000)
    for i, line in enumerate(lines):
        mine = which == i
        low, high = 3700 / line.wave_rest_aa - 1, 9500 / line.wave_rest_aa - 1
        z_true[mine] = rng.uniform(max(low, 0.01), high, mine.sum())
        position = position_in_box(z_true[mine], line, LOG_GRID, BOXES)
        planted[mine] = 300 * np.sin(2 * np.pi * position)
    z = z_true + (planted + rng.normal(0, 200, 6000)) / 299792.458 * (1 + z_true)
    found = oscillation_of_best_lines(z, z_true, which, lines, LOG_GRID, BOXES)
    assert found.half_amplitude_kms == pytest.approx(300, abs=5 * found.error_kms)
    assert found.error_kms < 20
    mixed = oscillation_of_best_lines(z, z_true, (which + 1) % 3, lines, LOG_GRID, BOXES)
    assert mixed.half_amplitude_kms < 150  # phases of the wrong lines do not add up
    with pytest.raises(TruthError, match="too few"):
        oscillation_of_best_lines(z[:20], z_true[:20], which[:20], lines, LOG_GRID, BOXES)
