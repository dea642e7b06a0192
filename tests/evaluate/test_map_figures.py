"""Figures of the map: what is outlined, on which scale, and where the chosen ones are."""

import numpy as np
import pytest

from quasarloop.errors import SelectionError
from quasarloop.evaluate.map_figures import (
    cell_figure,
    chosen_figure,
    counts_by_class,
    counts_figure,
    walls_figure,
)
from quasarloop.query.som import CellGrid, SelfOrganizingMap
from quasarloop.truth import TruthTable

CELLS = CellGrid(3, 4)


def _outlined(axes):
    return {tuple(map(tuple, segment)) for c in axes.collections for segment in c.get_segments()}


def test_counts_by_class_by_hand():
    truth = TruthTable.make(
        np.array([1, 2, 3, 4, 5]),
        np.array([0, 1, 2, 2, 2]),
        np.array([0, 0.5, 2.09, 2.1, np.nan]),  # a quasar without redshift does not train
    )
    counts = counts_by_class(
        np.array([1, 2, 3, 4, 4, 5, 9, 1]), np.array([0, 1, 2, 3, 3, 3, 3, -1]), truth, CELLS
    )
    assert {name: np.flatnonzero(c).tolist() for name, c in counts.items()} == {
        "stars": [0],
        "galaxies": [1],
        "quasars below z = 2.1": [2],
        "quasars from z = 2.1": [3],
    }
    assert counts["quasars from z = 2.1"][3] == 2


def test_figure_2_outlines_exactly_the_sparse_cells():
    total = np.full(12, 9)
    total[5] = 1  # row 1, column 1
    figure = counts_figure(total, {"stars": total // 9}, CELLS, 2.5)
    panels = figure.axes[:2]
    assert [p.get_title() for p in panels] == ["all spectra (100)", "stars\n(11)"]
    assert _outlined(panels[0]) == {
        ((0.5, 0.5), (0.5, 1.5)),
        ((1.5, 0.5), (1.5, 1.5)),
        ((0.5, 0.5), (1.5, 0.5)),
        ((0.5, 1.5), (1.5, 1.5)),
    }
    assert _outlined(panels[1]) == _outlined(panels[0])
    drawn = panels[1].images[0].get_array().filled(np.nan)
    assert np.isnan(drawn[1, 1])  # empty cells stay white
    assert _outlined(counts_figure(total, {}, CELLS, np.nan).axes[0]) == set()


def test_figure_2_has_one_scale_for_all_spectra_and_one_for_the_classes():
    total = np.arange(100, 1300, 100)
    by_class = {"stars": np.array([0, 1, 2, 3] * 3), "galaxies": np.array([0, 0, 1, 6] * 3)}
    by_class |= {"quasars, low": np.eye(1, 12, 3, dtype=int)[0], "quasars, high": np.zeros(12, int)}
    figure = counts_figure(total, by_class, CELLS, np.nan)
    scales = {
        axes.get_title(): (axes.images[0].norm.vmin, axes.images[0].norm.vmax)
        for axes in figure.axes
        if axes.images
    }
    assert scales.pop("all spectra (7,800)") == (100, 1200)
    assert len(scales) == 4
    assert set(scales.values()) == {(1, 6)}
    bars = [axes for axes in figure.axes if axes.get_xlabel().endswith("spectra per cell")]
    ticks = [[text.get_text() for text in axes.get_xticklabels()] for axes in bars]
    assert ticks == [["100", "200", "500", "1,000"], ["1", "2", "5"]]


def test_counts_of_another_map_are_refused():
    with pytest.raises(SelectionError, match="5 values"):
        counts_figure(np.ones(5, int), {}, CELLS, 1.0)


def test_walls_cell_and_chosen_draw_what_they_are_given():
    weights = np.zeros((12, 5), np.float32)
    weights[7] = 10
    walls = walls_figure(SelfOrganizingMap(CELLS, weights)).axes[0].images[0].get_array()
    assert walls.argmax() == 7
    flux = np.arange(15.0).reshape(3, 5)
    axes = cell_figure(np.arange(5.0), weights[7], flux, 7).axes[0]
    assert axes.lines[0].get_ydata().tolist() == [5, 6, 7, 8, 9]
    assert "cell 7: 3 spectra" in axes.get_title()
    assert len(cell_figure(np.arange(5.0), weights[7], flux[:0], 7).axes[0].lines) == 1
    chosen = chosen_figure(np.ones(12, int), CELLS, 0.0, np.array([6, 6, 1, -1])).axes[0]
    dots = chosen.collections[-1]
    assert dots.get_offsets().tolist() == [[1, 0], [2, 1]]
    assert dots.get_sizes()[1] == 2 * dots.get_sizes()[0]
    assert "3 chosen, in 2 cells (at most 2)" in chosen.get_title()
    assert [text.get_text() for text in chosen.get_legend().get_texts()] == ["1", "2"]
    none = chosen_figure(np.ones(12, int), CELLS, 0.0, np.zeros(0, int)).axes[0]
    assert "0 chosen" in none.get_title()
