"""Figures are drawn from what they claim to show, and survive thin data."""

import numpy as np
import pytest

from quasarloop.errors import TruthError
from quasarloop.evaluate.compare import (
    AGREEMENT_KMS,
    compare_redshifts,
    confused_redshift,
    same_rows,
)
from quasarloop.evaluate.figures import save_figure
from quasarloop.evaluate.metrics import recession_velocity_kms
from quasarloop.evaluate.oscillation import oscillation_without_truth
from quasarloop.evaluate.redshift_figures import (
    comparison_figure,
    confusion_figure,
    oscillation_figure,
    scatter_figure,
)
from quasarloop.evaluate.repeats import (
    object_ids,
    repeat_objects,
    repeat_rows,
    scatter_in_bins,
    usable_rows,
)
from quasarloop.grid import LOG_GRID
from quasarloop.lines import line_named
from quasarloop.quality import Flag
from quasarloop.truth import TruthTable

RNG = np.random.default_rng(1)
IDS = np.repeat(np.arange(50), 4)


def repeats(p):
    return repeat_objects(IDS, RNG.random(200) < p, RNG.uniform(1, 3, 200))


def test_every_figure_can_be_saved(tmp_path):
    a, b = repeats(0.9), repeats(0.99)
    z = RNG.uniform(1.5, 3, 300)
    z_b = confused_redshift(z, line_named("MgII(2796)"), line_named("CIV(1548)"))
    comparison = compare_redshifts(np.ones(300), z, np.ones(300), np.where(z < 2, z_b, z))
    line = line_named("CIV(1548)")
    oscillation = {line.name: {"w": oscillation_without_truth(z, line, LOG_GRID, 13)}}
    figures = [
        confusion_figure({"old": a, "new": b}),
        confusion_figure({"alone": a}),
        scatter_figure({"old": scatter_in_bins(a), "new": scatter_in_bins(b)}),
        comparison_figure(comparison, "old", "new"),
        oscillation_figure(oscillation),
    ]
    for number, figure in enumerate(figures):
        save_figure(figure, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 5000
    labels = [t.get_text() for t in figures[3].axes[0].texts]
    n = int((z < 2).sum())
    assert labels[0] == f"Mg II → C IV ({n})"


@pytest.mark.parametrize("cosmology", ["Planck18", "H0=70,Om0=0.3,Ode0=0.6"])
def test_limits_of_agreement_are_those_of_recession_velocity(cosmology):
    z = RNG.uniform(0.3, 3.5, 500)
    z_b = z + RNG.uniform(-0.02, 0.02, 500) * (1 + z)
    comparison = compare_redshifts(np.ones(500), z, np.ones(500), z_b, cosmology=cosmology)
    bottom = comparison_figure(comparison, "old", "new").axes[1]
    drawn = [lines for lines in bottom.collections if len(lines.get_paths()) == 2]
    assert len(drawn) == len(AGREEMENT_KMS)
    for lines, limit_kms, within in zip(drawn, AGREEMENT_KMS, comparison.within, strict=True):
        low, high = (path.vertices for path in lines.get_paths())
        for curve, sign in ((low, -1), (high, 1)):
            at, dz = curve.T
            dv = recession_velocity_kms(at + dz * (1 + at), cosmology)
            dv -= recession_velocity_kms(at, cosmology)
            np.testing.assert_allclose(dv[at > 0.1], sign * limit_kms, rtol=0.01)
        # They are no flat lines, and the points between them are those that count as agreeing.
        assert high[:, 1].max() > 1.5 * high[:, 1].min()
        edges = [np.interp(z, *curve[np.argsort(curve[:, 0])].T) for curve in (low, high)]
        between = (comparison.dz > edges[0]) & (comparison.dz < edges[1])
        assert abs(between.sum() - within.part) <= 2


def test_repeats_of_two_exposures_are_columns_with_their_numbers():
    """Of two exposures the entropy is 0 or 1: nearly all objects are in two cells."""
    ids, z = np.repeat(np.arange(1000), 2), np.ones(2000)
    old, new = np.ones((1000, 2), bool), np.ones((1000, 2), bool)
    old[:30, 0], new[20:25, 0] = False, False
    a, b = (repeat_objects(ids, called.ravel(), z) for called in (old, new))
    figure = confusion_figure({"old": a, "new": b})
    left, right = figure.axes
    written = {tuple(text.get_position()): text.get_text() for text in left.texts}
    assert written == {(0, 0): "970", (1, 0): "25", (1, 1): "5"}
    assert [text.get_text() for text in left.get_xticklabels()] == ["0", "1"]
    bars = [[bar.get_height() for bar in container] for container in right.containers]
    assert bars == [[970, 30], [995, 5]]
    assert {text.get_text() for text in right.texts} == {"970", "30", "995", "5"}
    many = np.repeat(np.arange(50), 12)
    one = repeat_objects(many, RNG.random(600) < 0.7, np.ones(600))
    assert [t.get_text() for t in confusion_figure({"w": one}).axes[0].get_xticklabels()][
        -1
    ] == "1.0"


def test_labels_of_confusions_are_in_the_margin_and_apart():
    lines = [line_named(n) for n in ("LYA", "CIV(1548)", "CIII(1909)", "MgII(2796)")]
    z, z_b = [], []
    for a in lines:
        for b in lines:
            at = RNG.uniform(1.5, 2.5, 20)
            z.append(at)
            z_b.append(at if a is b else confused_redshift(at, a, b))
    z, z_b = np.concatenate(z), np.concatenate(z_b)
    good = z_b > 0
    comparison = compare_redshifts(good, z, good, z_b)
    figure = comparison_figure(comparison, "old", "new")
    figure.draw_without_rendering()
    panel, labels = figure.axes[0].get_window_extent(), figure.axes[0].texts
    boxes = [text.get_window_extent() for text in labels]
    assert len(boxes) == 7
    for i, box in enumerate(boxes):
        assert box.x0 >= panel.x1 or box.y0 >= panel.y1, labels[i].get_text()
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:i]), labels[i].get_text()


@pytest.mark.parametrize("called", [True, False])
def test_repeats_that_agree_perfectly_are_drawn_without_a_warning(tmp_path, called):
    same = repeat_objects([1, 1, 2, 2], [called] * 4, [1.0, 1.0, 2.0, 2.0])
    figures = [confusion_figure({"w": same}), scatter_figure({"w": scatter_in_bins(same)})]
    for number, figure in enumerate(figures):
        save_figure(figure, tmp_path / f"{number}.png")
    assert [bar.get_height() for bar in figures[0].axes[1].containers[0]] == [2]


def catalogue(targets, rows):
    return {
        "TARGETID": np.array(targets),
        "OBJECT_ID": np.array(targets),
        "ROW": np.array(rows),
        "SOURCE": np.full(len(rows), "a.fits"),
        "FLAGS": np.zeros(len(rows), np.int32),
    }


def test_rows_are_paired_by_identity_not_by_order():
    first, second = catalogue([1, 2, 3], [0, 1, 2]), catalogue([3, 1, 9], [2, 0, 5])
    a, b = same_rows(first, second)
    assert (a.tolist(), b.tolist()) == ([0, 2], [1, 0])
    with pytest.raises(TruthError, match="no spectrum in common"):
        same_rows(first, catalogue([1], [7]))


def test_truth_says_which_targets_are_one_object():
    truth = TruthTable.make(
        np.array([1, 2]), np.array([2, 2]), np.array([1.0, 1.0]), object_id=np.array([77, 77])
    )
    assert object_ids(catalogue([1, 2, 3], [0, 1, 2]), truth).tolist() == [77, 77, 3]
    assert usable_rows(catalogue([1], [0])).tolist() == [True]


def test_a_coadd_is_no_look_of_its_own():
    objects = np.array([1, 1, 1, 2, 2, 3, 3, 4, 4])
    block = {
        "EXPID": np.array([-1, 10, 11, -1, -1, -1, 10, 10, 11]),
        "FLAGS": np.array([0, 0, 0, 0, 0, 0, 0, 0, int(Flag.NO_DATA)]),
    }
    # Two exposures and their coadd; two coadds; a coadd of one; one exposure lost its data.
    expected = [False, True, True, True, True, True, False, False, False]
    assert repeat_rows(block, objects).tolist() == expected
    del block["EXPID"]
    assert repeat_rows(block, objects).tolist() == [True] * 8 + [False]


def test_powers_of_ten_are_drawn_as_such(tmp_path):
    """The first label of an axis is made where no mathematics is drawn; others are not."""
    ids = np.repeat(np.arange(200), 2)
    z = np.repeat(RNG.uniform(2, 3, 200), 2) + RNG.normal(0, 0.003, 400)
    figure = scatter_figure({"w": scatter_in_bins(repeat_objects(ids, np.ones(400, bool), z))})
    save_figure(figure, tmp_path / "scatter.png")
    labels = figure.axes[0].get_yticklabels(which="both")
    assert all(text.get_parse_math() for text in labels if "$" in text.get_text())
    assert any("$" in text.get_text() for text in labels)
