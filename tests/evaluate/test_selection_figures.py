import numpy as np
import polars as pl
import pytest
from scipy.signal import savgol_filter

from quasarloop.evaluate.figures import save_figure
from quasarloop.evaluate.selection_figures import (
    SpectrumPanel,
    outlier_panels,
    outliers_figure,
    score_figure,
    smooth,
)
from quasarloop.spectra import Arm, Keys, Spectra


def _legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_figure_3_shows_the_chosen_and_the_lowest_by_rank(tmp_path):
    edges, histogram = np.linspace(0, 1.585, 11), np.array([900, 0, 0, 3, 2, 0, 7, 1, 0, 1])
    chosen = pl.DataFrame(
        {"SCORE": [1.5, 1.2, 0.9876, 0.01], "REASON": ["top entropy"] * 3 + ["random"]}
    )
    figure = score_figure(edges, histogram, chosen, "entropy")
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "entropy (bits)"
    assert _legend(figure) == [
        "914 that could be chosen",
        "3 chosen by rank",
        "1 drawn at random",
        "by rank from 0.988",
    ]
    assert axes.lines[0].get_xdata()[0] == 0.9876  # not the lower one that was drawn at random
    ranked, at_random = (stairs.get_data().values for stairs in axes.patches[2:])
    assert (ranked.tolist(), at_random.tolist()) == ([0] * 6 + [1, 1, 0, 1], [1] + [0] * 9)
    empty = score_figure(edges, histogram, chosen.head(0), "random")
    assert not empty.axes[0].lines
    assert empty.axes[0].get_xlabel() == "random"
    save_figure(figure, tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


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
        Spectra(arms, keys, np.zeros(1, np.int32), "x.fits", np.array([0])),
        "2305843009213693951\nquasar or not 0.998 bits",
    )


@pytest.mark.parametrize(("n", "shape"), [(1, (1, 1)), (4, (4, 1)), (6, (3, 2)), (11, (4, 2))])
def test_figure_4_has_raw_and_smoothed_curves(n, shape):
    figure = outliers_figure([_panel()] * n)
    assert len(figure.axes) == shape[0] * shape[1]
    assert len(figure.axes[0].lines) == 4  # raw and smoothed, two arms
    assert figure.axes[0].get_title(loc="left") == "2305843009213693951\nquasar or not 0.998 bits"
    figure.draw_without_rendering()
    for axes in figure.axes[:n]:
        box = axes.get_tightbbox()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1  # no title is cut off


def test_outliers_are_read_from_their_files(shared_data, caplog):
    source = shared_data / "quasarnp_fixture" / "test_coadd.fits"
    rows = pl.DataFrame(
        {
            "TARGETID": [1, 2],
            "SOURCE": [str(source), "gone.fits"],
            "SOURCE_ROW": [3, 0],
            "ENTROPY": [0.0, 0.0],
            "SCORE": [0.9312, 0.3],
            "Z_Q50": [float("nan"), 2.0],
        }
    )
    panels = outlier_panels(rows, "quasar_or_not")
    assert len(panels) == 1
    assert panels[0].spectra.row.tolist() == [3]
    assert panels[0].title == "1\nquasar or not 0.931 bits"
    assert "TARGETID 2 is not drawn" in caplog.text
    assert outlier_panels(rows.drop("SOURCE"), "entropy") == []
