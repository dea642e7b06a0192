import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.labels.agreement import agreement, krippendorff_alpha
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

nan = np.nan
# Krippendorff's own example: four observers, twelve units (2011, section on missing data).
EXAMPLE = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
    [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
]


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_of_the_published_example(level, alpha):
    assert krippendorff_alpha(EXAMPLE, level) == pytest.approx(alpha, abs=5e-4)


def test_alpha_where_it_is_undefined():
    assert math.isnan(krippendorff_alpha([[1, 1], [1, 1]], "nominal"))
    assert math.isnan(krippendorff_alpha([[1, nan], [nan, 1]], "nominal"))
    assert math.isnan(krippendorff_alpha(np.full((3, 4), nan), "ordinal"))
    assert math.isnan(krippendorff_alpha(np.zeros((3, 0)), "ordinal"))


@given(st.lists(st.lists(st.integers(0, 4), min_size=8, max_size=8), min_size=2, max_size=4))
def test_alpha_is_one_for_perfect_agreement_and_never_above(rows):
    same = np.array([rows[0], rows[0]], dtype=float)
    if len(set(rows[0])) > 1:
        assert krippendorff_alpha(same, "ordinal") == pytest.approx(1)
    alpha = krippendorff_alpha(np.array(rows, dtype=float), "nominal")
    assert math.isnan(alpha) or alpha <= 1 + 1e-12


def test_alpha_of_chance_is_near_zero():
    random = np.random.default_rng(5).integers(0, 3, size=(3, 5000))
    assert abs(krippendorff_alpha(random, "nominal")) < 0.03


def test_pairs_confusion_and_scatter_by_hand():
    qso, star = SpecType.QSO, SpecType.STAR
    verdicts = {
        1: {"ada": Verdict(qso, 1.0, 4), "bea": Verdict(qso, 1.002, 3)},  # |Δz|/(1+z) = 0.001
        2: {"ada": Verdict(qso, 2.0, 4), "bea": Verdict(star, 0.0, 4)},  # 2.0: an outlier
        3: {"ada": Verdict(star, 0.0, 3), "bea": Verdict(star, 0.0, 3)},
        4: {"ada": Verdict(qso, 1.0, 4)},  # nobody to compare with
        5: {"ada": Verdict(qso, 1.0, 4), "bea": Verdict(qso)},  # not complete
    }
    result = agreement(verdicts)
    assert result.n_objects == 3
    (pair,) = result.pairs
    assert (pair.first, pair.second, pair.n_common) == ("ada", "bea", 3)
    assert pair.same_class == pytest.approx(2 / 3)
    # Coincidences: QSO-QSO 2, QSO-STAR 1 each way, STAR-STAR 2; 3 values of each among n = 6.
    # Observed disagreement 2/6, expected 2·3·3/(6·5): alpha = 1 - (1/3)/(3/5).
    assert pair.alpha_class == pytest.approx(4 / 9)
    assert pair.alpha_class == pytest.approx(result.alpha_class)
    assert pair.alpha_quality == pytest.approx(result.alpha_quality)
    assert pair.quality_difference == pytest.approx(1 / 3)
    assert pair.z_scatter_kms == pytest.approx(1.4826 * 299792.458 * 0.001)
    assert pair.z_outliers == pytest.approx(1 / 3)
    # Rows are ada's class, columns bea's: STAR, GALAXY, QSO.
    assert pair.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert result.confusion.tolist() == [[2, 0, 1], [0, 0, 0], [1, 0, 2]]


def test_no_labels_at_all():
    result = agreement({})
    assert (result.n_objects, result.pairs) == (0, ())
    assert math.isnan(result.alpha_class)
    assert result.confusion.tolist() == [[0] * 3] * 3
