import numpy as np
import pytest

from quasarloop.errors import SelectionError
from quasarloop.query.som import CellGrid


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
    with pytest.raises(SelectionError, match="0 x 3"):
        CellGrid(0, 3)
