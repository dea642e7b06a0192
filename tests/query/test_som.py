import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.errors import SelectionError
from quasarloop.query.som import (
    NO_CELL,
    CellGrid,
    SelfOrganizingMap,
    cell_counts,
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


def test_trailing_empty_cells_are_counted():
    cells = CellGrid(2, 3)
    counts = cell_counts(np.array([1, 1, 3, NO_CELL]), cells)
    assert counts.tolist() == [0, 2, 0, 1, 0, 0]
    assert cell_counts(np.array([], dtype=np.int32), cells).tolist() == [0] * 6


@given(st.lists(st.integers(-1, 11)))
def test_counts_add_up(values):
    counts = cell_counts(np.array(values, dtype=np.int32), CellGrid(3, 4))
    assert counts.sum() == sum(v >= 0 for v in values)
    assert len(counts) == 12


def test_cells_of_another_map_are_refused():
    with pytest.raises(SelectionError, match="another map"):
        cell_counts(np.array([0, 6]), CellGrid(2, 3))


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
