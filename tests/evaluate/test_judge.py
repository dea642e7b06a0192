"""A judgement of a small catalogue, counted by hand."""

import numpy as np
import pytest

from quasarloop.classes import Thresholds
from quasarloop.errors import TruthError
from quasarloop.evaluate.figures import judgement_figure, save_figure
from quasarloop.evaluate.judge import judge_catalogue, judgement_record
from quasarloop.truth import TruthTable

LINES = ["LYA", "CIV"]
# Six spectra: four quasars (one insecure), a star, a galaxy; and one without a label.
TRUTH = TruthTable.make(
    np.array([1, 2, 3, 4, 5, 6]),
    np.array([2, 2, 2, 2, 0, 1]),
    np.array([2.0, 2.5, 3.0, 2.2, 0.0, 0.3]),
    quality=np.array([4, 4, 4, 1, 4, 4]),
)
CATALOGUE = {
    "TARGETID": np.array([6, 5, 4, 3, 2, 1, 99]),
    "C_LYA": np.array([0.1, 0.97, 0.99, 0.99, 0.5, 0.96, 0.99]),
    "C_CIV": np.array([0.2, 0.10, 0.99, 0.98, 0.4, np.nan, 0.99]),
    "Z_LYA": np.array([1, 1, 2.2, 3.01, 2.5, 2.6, 1.0]),
    "Z_CIV": np.array([1, 1, 2.2, 9.00, 2.5, np.nan, 1.0]),
}


def test_counts_by_hand():
    j = judge_catalogue(CATALOGUE, TRUTH, lines=LINES, thresholds=Thresholds(0.95))
    assert (j.n_rows, j.n_judged, j.n_true) == (7, 5, 3)  # insecure and unlabelled left out
    assert (j.completeness.part, j.completeness.whole) == (2, 3)  # targets 3 and 1
    assert (j.purity.part, j.purity.whole) == (2, 3)  # the star is the third
    assert dict(j.false_found) == {"STAR": 1, "GALAXY": 0}
    # The most confident line decides: 3.01 for target 3, 2.6 for target 1.
    assert sorted(j.z.tolist()) == [2.6, 3.01]
    assert j.redshift.right.part == 1
    assert j.at_purity[0] == pytest.approx(1 / 3)  # only above 0.97 is it pure: target 3


def test_two_lines_are_stricter():
    j = judge_catalogue(CATALOGUE, TRUTH, lines=LINES, thresholds=Thresholds(0.95, 2))
    assert (j.completeness.part, j.purity.whole) == (1, 1)
    with pytest.raises(TruthError, match="3 lines must count; the catalogue has 2"):
        judge_catalogue(CATALOGUE, TRUTH, lines=LINES, thresholds=Thresholds(0.95, 3))


def test_repeated_target_is_judged_each_time():
    twice = {name: np.concatenate([values, values]) for name, values in CATALOGUE.items()}
    j = judge_catalogue(twice, TRUTH, lines=LINES, thresholds=Thresholds(0.95))
    assert (j.n_judged, j.n_true, j.completeness.part) == (10, 6, 4)


def test_no_common_target_is_refused():
    with pytest.raises(TruthError, match="do both use the same TARGETIDs"):
        judge_catalogue(CATALOGUE, TRUTH[3:4], lines=LINES, thresholds=Thresholds(0.95))
    with pytest.raises(TruthError, match=r"none of the 7 spectra .* among the 0"):
        judge_catalogue(CATALOGUE, TRUTH[:0], lines=LINES, thresholds=Thresholds(0.95))


def test_record_is_json_and_figure_draws(tmp_path):
    import json

    j = judge_catalogue(CATALOGUE, TRUTH, lines=LINES, thresholds=Thresholds(0.95))
    nothing = judge_catalogue(CATALOGUE, TRUTH, lines=LINES, thresholds=Thresholds(1.0))
    record = json.loads(json.dumps(judgement_record(nothing), allow_nan=False))
    assert record["purity"]["value"] is None
    assert record["completeness"]["part"] == 0
    figure = judgement_figure({"none": nothing, "a": j})
    save_figure(figure, tmp_path / "j.png")
    assert (tmp_path / "j.png").stat().st_size > 10_000
    labels = figure.axes[2].get_yticklabels()
    assert [text.get_text() for text in labels][:2] == ["0", "1"]  # not its formula
