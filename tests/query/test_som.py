import numpy as np
import pytest

from quasarloop.errors import SelectionError
from quasarloop.query.som import (
    NO_CELL,
    CellGrid,
    SelfOrganizingMap,
    find_winners,
    nearest_two,
    u_matrix,
)
from quasarloop.spectra import Flag


def _written_out(flux, weights):
    winners, distances = [], []
    for spectrum in flux.astype(np.float64):
        best, least = -1, np.inf
        for cell, weight in enumerate(weights.astype(np.float64)):
            distance = sum((a - b) ** 2 for a, b in zip(spectrum, weight, strict=True)) ** 0.5
            if distance < least:
                best, least = cell, distance
        winners.append(best)
        distances.append(least)
    return winners, distances


def test_winners_equal_the_written_out_loop():
    rng = np.random.default_rng(3)
    flux = rng.normal(size=(700, 9)).astype(np.float32)  # more than one block
    weights = rng.normal(size=(20, 9)).astype(np.float32)
    winners, distances = _written_out(flux, weights)
    found = find_winners(flux, weights)
    assert found.cell.tolist() == winners
    np.testing.assert_allclose(found.distance, distances, rtol=1e-5)
    assert found.cell.dtype == np.int32
    assert found.distance.dtype == np.float32


def test_ties_go_to_the_lowest_cell():
    weights = np.array([[1, 0], [0, 0], [1, 0], [0, 0]], dtype=np.float32)
    flux = np.array([[1, 0], [0, 0], [0.5, 0]], dtype=np.float32)
    assert find_winners(flux, weights).cell.tolist() == [0, 1, 0]


def test_a_spectrum_equal_to_its_cell_is_at_distance_zero():
    weights = np.random.default_rng(0).normal(size=(6, 443)).astype(np.float32) * 100
    assert find_winners(weights, weights).distance.tolist() == [0.0] * 6


def test_rows_without_data_get_no_cell():
    flux = np.zeros((3, 4), dtype=np.float32)
    flags = np.array([0, Flag.NO_DATA, Flag.CONSTANT_FLUX | Flag.CORRUPTED])
    found = find_winners(flux, np.ones((2, 4), np.float32), flags)
    assert found.cell.tolist() == [0, NO_CELL, NO_CELL]
    assert np.isnan(found.distance).tolist() == [False, True, True]
    assert find_winners(flux[:0], np.ones((2, 4), np.float32), flags[:0]).cell.shape == (0,)


def test_a_row_s_winner_does_not_depend_on_the_rows_around_it():
    rng = np.random.default_rng(5)
    flux = rng.normal(size=(1100, 30)).astype(np.float32)
    weights = rng.normal(size=(50, 30)).astype(np.float32)
    whole = find_winners(flux, weights)
    for part in (slice(3, 4), slice(500, 530), slice(1099, 1100)):
        alone = find_winners(flux[part], weights)
        assert np.array_equal(alone.cell, whole.cell[part])
        assert np.array_equal(alone.distance, whole.distance[part])


def test_nearest_two_are_the_two_nearest():
    rng = np.random.default_rng(4)
    flux = rng.normal(size=(50, 7)).astype(np.float32)
    weights = rng.normal(size=(12, 7)).astype(np.float32)
    distance = np.linalg.norm(flux[:, None] - weights[None], axis=2)
    order = np.argsort(distance, axis=1)
    first, second = nearest_two(flux, weights)
    assert np.array_equal(first, order[:, 0])
    assert np.array_equal(second, order[:, 1])


def test_other_bins_and_broken_weights_are_refused():
    flux = np.zeros((2, 443), np.float32)
    with pytest.raises(SelectionError, match="458 bins"):
        find_winners(flux, np.zeros((4, 458), np.float32))
    with pytest.raises(SelectionError, match="not finite"):
        find_winners(flux, np.full((4, 443), np.nan, np.float32))
    with pytest.raises(SelectionError, match=r"\(4, n_bins\)"):
        SelfOrganizingMap(CellGrid(2, 2), np.zeros((3, 5), np.float32))


def test_u_matrix_by_hand():
    # Four cells in a line that does not wrap: 0, 1, 3, 3.
    som = SelfOrganizingMap(CellGrid(1, 4, torus=False), np.array([[0], [1], [3], [3]], np.float32))
    assert u_matrix(som).tolist() == [[1.0, 1.5, 1.0, 0.0]]
    ring = SelfOrganizingMap(CellGrid(1, 4), som.weights)
    assert u_matrix(ring).tolist() == [[2.0, 1.5, 1.0, 1.5]]


def test_the_paper_s_map_has_2025_cells():
    assert CellGrid().n_cells == 2025


def test_separations_by_hand_on_torus_and_sheet():
    torus, sheet = CellGrid(4, 5), CellGrid(4, 5, torus=False)
    # Cell 0 is (0, 0); cell 19 is (3, 4): one step back in both directions on a torus.
    assert torus.separations[0, 19] == pytest.approx(np.sqrt(2))
    assert sheet.separations[0, 19] == pytest.approx(5.0)
    assert torus.separations[0, 2] == 2
    assert np.array_equal(torus.separations, torus.separations.T)


def test_mean_separation_is_the_released_code_s_scale():
    grid = CellGrid(3, 3)
    # From any cell of a 3 x 3 torus: itself 0, four at 1, four at sqrt 2.
    assert grid.mean_separation == pytest.approx((4 + 4 * np.sqrt(2)) / 9)


@pytest.mark.parametrize("grid", [CellGrid(4, 5), CellGrid(4, 5, torus=False), CellGrid(1, 7)])
@pytest.mark.parametrize("width", [0.3, 1.0, 4.0])
def test_smoothing_by_axes_equals_the_full_matrix(grid, width):
    values = np.random.default_rng(0).normal(size=(grid.n_cells, 3))
    full = np.exp(-0.5 * (grid.separations / width) ** 2) @ values
    np.testing.assert_allclose(grid.smooth(values, width), full, rtol=1e-12)
    np.testing.assert_allclose(grid.smooth(values[:, 0], width), full[:, 0], rtol=1e-12)


def test_touching_counts_corners_and_wraps():
    torus, sheet = CellGrid(4, 4), CellGrid(4, 4, torus=False)
    first, second = np.array([0, 0, 0, 0, 5]), np.array([1, 5, 2, 15, 5])
    assert torus.touching(first, second).tolist() == [True, True, False, True, True]
    assert sheet.touching(first, second).tolist() == [True, True, False, False, True]


def test_a_map_without_cells_is_refused():
    with pytest.raises(SelectionError, match="n_rows is 0; it must be at least 1"):
        CellGrid(0, 3)
