import numpy as np
import polars as pl
import pytest
from scipy.signal import savgol_filter

from quasarloop.errors import SelectionError
from quasarloop.evaluate.figures import save_figure
from quasarloop.evaluate.selection_figures import (
    SpectrumPanel,
    cell_figure,
    chosen_figure,
    counts_by_class,
    counts_figure,
    outlier_panels,
    outliers_figure,
    score_figure,
    smooth,
    walls_figure,
)
from quasarloop.query.som import CellGrid, SelfOrganizingMap
from quasarloop.spectra import Arm, Keys, Spectra
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
    assert [p.get_title() for p in panels] == ["all spectra (100)", "stars (11)"]
    assert _outlined(panels[0]) == {
        ((0.5, 0.5), (0.5, 1.5)),
        ((1.5, 0.5), (1.5, 1.5)),
        ((0.5, 0.5), (1.5, 0.5)),
        ((0.5, 1.5), (1.5, 1.5)),
    }
    assert "1 cells with fewer than 2.5 spectra" in figure.get_supxlabel()
    drawn = panels[1].images[0].get_array().filled(np.nan)
    assert np.isnan(drawn[1, 1])  # empty cells stay white
    assert _outlined(counts_figure(total, {}, CELLS, np.nan).axes[0]) == set()


def test_counts_of_another_map_are_refused():
    with pytest.raises(SelectionError, match="5 values"):
        counts_figure(np.ones(5, int), {}, CELLS, 1.0)


def test_figure_3_writes_the_cut_on_the_figure(tmp_path):
    edges, histogram = np.linspace(0, 1.585, 11), np.array([900, 0, 0, 3, 2, 0, 7, 1, 0, 1])
    figure = score_figure(edges, histogram, 0.9876, "entropy")
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "entropy (bits)"
    assert "914 objects" in axes.get_title()
    assert [t.get_text() for t in axes.texts] == ["chosen from\n0.9876"]
    assert axes.lines[0].get_xdata()[0] == 0.9876
    empty = score_figure(edges, histogram, np.nan, "random")
    assert not empty.axes[0].texts
    assert empty.axes[0].get_xlabel() == "random"
    save_figure(figure, tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


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


def test_smoothing_is_the_paper_s_filter_and_keeps_masks():
    rng = np.random.default_rng(0)
    flux = rng.normal(size=300)
    np.testing.assert_allclose(smooth(flux, np.ones(300)), savgol_filter(flux, 75, 3))
    ivar = np.ones(300)
    ivar[100:110] = 0
    flux[100:110] = 1e6
    smoothed = smooth(flux, ivar)
    assert np.isnan(smoothed[100:110]).all()
    assert np.nanmax(np.abs(smoothed)) < 3
    assert np.isnan(smooth(flux, np.zeros(300))).all()


def _panel(n_pix=200):
    wave = np.linspace(3600, 5800, n_pix)
    flux = np.ones((1, n_pix), np.float32)
    arms = (Arm("b", wave, flux, flux), Arm("r", wave + 2000, flux, 0 * flux))
    keys = Keys.make(np.array([5]))
    return SpectrumPanel(
        Spectra(arms, keys, np.zeros(1, np.int32), "x.fits", np.array([0])), "a title"
    )


@pytest.mark.parametrize(("n", "shape"), [(1, (1, 1)), (4, (4, 1)), (6, (3, 2)), (11, (3, 3))])
def test_figure_4_has_raw_and_smoothed_curves(n, shape):
    figure = outliers_figure([_panel()] * n)
    assert len(figure.axes) == shape[0] * shape[1]
    assert len(figure.axes[0].lines) == 4  # raw and smoothed, two arms
    assert figure.axes[0].get_title(loc="left") == "a title"


def test_outliers_are_read_from_their_files(shared_data, caplog):
    source = shared_data / "quasarnp_fixture" / "test_coadd.fits"
    rows = pl.DataFrame(
        {
            "TARGETID": [1, 2],
            "SOURCE": [str(source), "gone.fits"],
            "SOURCE_ROW": [3, 0],
            "ENTROPY": [1.2, 0.3],
            "Z_Q50": [float("nan"), 2.0],
        }
    )
    panels = outlier_panels(rows)
    assert len(panels) == 1
    assert panels[0].spectra.row.tolist() == [3]
    assert panels[0].title == "1   entropy 1.20 bits"
    assert "TARGETID 2 is not drawn" in caplog.text
    assert outlier_panels(rows.drop("SOURCE")) == []
