"""Targets: hand-computed boxes, the edges of the grid, BAL truth, labels that may not train."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.errors import GridError
from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.lines import EMISSION_LINES, NETWORK_LINES
from quasarloop.network.config import NetworkConfig
from quasarloop.network.loss import line_positions, make_targets, shift_redshift
from quasarloop.truth import SpecType

CONFIG = NetworkConfig()
QSO, STAR, GALAXY = SpecType.QSO, SpecType.STAR, SpecType.GALAXY


def one(spectype, z, bal=-1, trains=True, config=CONFIG):
    return make_targets([spectype], [z], [bal], [trains], config)


def has_box(targets):
    return targets.box.any(2)


def test_box_and_offset_by_hand():
    # Lyman alpha at 4000 Å: bin 45 runs from 3993.029 to 4002.234 Å, so 45.75728 bins,
    # 45.75728 / 443 * 13 = 1.342763 boxes: box 1, offset 0.342763.
    targets = one(QSO, 4000.0 / 1215.67 - 1.0)
    assert has_box(targets)[0, 0]
    assert targets.box[0, 0].tolist() == [0.0, 1.0] + [0.0] * 11
    assert float(targets.offset[0, 0]) == pytest.approx(0.342763, abs=2e-6)


def test_linear_grid_by_hand():
    # (4000 - 3600) / 13.6 = 29.411765 bins; / 458 * 13 = 0.834832: box 0.
    config = NetworkConfig(grid=LINEAR_GRID)
    targets = one(QSO, 4000.0 / 1215.67 - 1.0, config=config)
    assert targets.box[0, 0, 0] == 1.0
    assert float(targets.offset[0, 0]) == pytest.approx(0.834832, abs=2e-6)


@pytest.mark.parametrize("spectype", [STAR, GALAXY])
def test_all_boxes_of_stars_and_galaxies_are_trained_to_zero(spectype):
    targets = one(spectype, 0.3)
    assert not targets.box.any()
    assert not has_box(targets).any()
    assert targets.weight[0].tolist() == [1, 1, 1, 1, 1, 1, 0]


def test_lines_off_the_grid_have_no_box_but_are_trained():
    targets = one(QSO, 0.4)  # only MgII 3915, Hβ 6808 and Hα 9188 Å are on the grid
    assert has_box(targets)[0].tolist() == [False, False, False, True, True, True, False]
    assert targets.box[0].sum(axis=1).tolist() == [0, 0, 0, 1, 1, 1, 0]
    assert targets.weight[0, :6].tolist() == [1] * 6


def test_line_at_the_very_edges():
    first = LOG_GRID.lower_edges_aa[0]
    end = LOG_GRID.end_aa
    rest = 1215.67
    inside = one(QSO, first * (1 + 1e-12) / rest - 1)
    assert inside.box[0, 0, 0] == 1.0
    assert not has_box(one(QSO, first * (1 - 1e-9) / rest - 1))[0, 0]
    last = one(QSO, end * (1 - 1e-15) / rest - 1)
    assert last.box[0, 0].sum() in (0.0, 1.0)
    assert not has_box(one(QSO, end * (1 + 1e-9) / rest - 1))[0, 0]
    assert one(QSO, end * (1 - 1e-9) / rest - 1).box[0, 0, 12] == 1.0


@pytest.mark.parametrize(
    ("bal", "there", "weight"), [(1, True, 1.0), (0, False, 1.0), (-1, False, 0.0)]
)
def test_bal_finder_of_a_quasar(bal, there, weight):
    targets = one(QSO, 2.0, bal=bal)
    assert bool(has_box(targets)[0, 6]) is there
    assert targets.weight[0, 6] == weight
    # Both look at C IV, so a BAL's box is the emission line's box.
    if there:
        np.testing.assert_array_equal(targets.box[0, 6], targets.box[0, 1])
        assert targets.offset[0, 6] == targets.offset[0, 1]


@pytest.mark.parametrize(("bal", "weight"), [(0, 1.0), (-1, 0.0)])
def test_bal_finder_of_a_star_follows_the_bal_truth_alone(bal, weight):
    targets = one(STAR, 0.0, bal=bal)
    assert not targets.box[0, 6].any()
    assert targets.weight[0, 6] == weight


@pytest.mark.parametrize(
    ("spectype", "z"), [(QSO, 2.0), (STAR, 0.0), (SpecType.UNKNOWN, np.nan), (QSO, np.nan)]
)
def test_labels_that_may_not_train_have_no_weight_at_all(spectype, z):
    targets = one(spectype, z, bal=1, trains=False)
    assert not targets.weight.any()


def test_any_number_of_boxes_and_lines():
    config = NetworkConfig(n_boxes=7, lines=EMISSION_LINES[:2])
    targets = one(QSO, 2.0, config=config)
    assert targets.box.shape == (1, 2, 7)
    assert targets.offset.shape == (1, 2)
    assert len(targets.box) == 1


@given(
    z=st.lists(st.floats(0.0, 7.0), min_size=1, max_size=20),
    n_boxes=st.integers(1, 40),
    linear=st.booleans(),
)
def test_target_is_the_interpolated_line_position(z, n_boxes, linear):
    grid = LINEAR_GRID if linear else LOG_GRID
    config = NetworkConfig(n_boxes=n_boxes, grid=grid)
    n = len(z)
    targets = make_targets([QSO] * n, z, [1] * n, [True] * n, config)
    edges = np.append(grid.lower_edges_aa, grid.end_aa)
    for row in range(n):
        for i, line in enumerate(NETWORK_LINES):
            wave = line.wave_rest_aa * (1 + z[row])
            on_grid = edges[0] <= wave < edges[-1]
            assert has_box(targets)[row, i] == on_grid
            assert targets.box[row, i].sum() == on_grid
            if on_grid:
                place = int(targets.box[row, i].argmax()) + float(targets.offset[row, i])
                expected = np.interp(wave, edges, np.arange(len(edges))) / grid.n_bins * n_boxes
                assert place == pytest.approx(expected, abs=1e-6)
            else:
                assert targets.offset[row, i] == 0


@given(z=st.floats(0.0, 6.0), bins=st.integers(-60, 60))
def test_a_shift_on_the_log_grid_moves_every_line_by_as_many_bins(z, bins):
    shifted = shift_redshift([z], [bins], LOG_GRID)
    before = line_positions([QSO], [z], [1], CONFIG)
    after = line_positions([QSO], shifted, [1], CONFIG)
    both = np.isfinite(before) & np.isfinite(after)
    np.testing.assert_allclose(after[both], before[both] + bins, atol=1e-8)
    gone = np.isfinite(before) & ~np.isfinite(after)
    moved = before[gone] + bins
    assert np.all((moved < 1e-8) | (moved > LOG_GRID.n_bins - 1e-8))


def test_no_shift_on_the_linear_grid():
    with pytest.raises(GridError, match="log"):
        shift_redshift([1.0], [3], LINEAR_GRID)
