import numpy as np
import polars as pl
import pytest

from quasarloop.errors import SelectionError
from quasarloop.query.scores import (
    SCORES,
    in_proportion,
    predicted_class,
    random_number,
    score_expression,
)


def _votes(**columns):
    return pl.DataFrame(columns)


def _value(frame, name, thresholds=(0.95,), **options):
    return frame.select(S=score_expression(name, thresholds, **options))["S"].to_numpy()


def test_scores_read_from_columns():
    frame = _votes(ENTROPY=[0.5, 1.5], SOFT_ENTROPY=[0.1, 0.2], MUTUAL_INFORMATION=[0.3, 0.4])
    assert _value(frame, "entropy").tolist() == [0.5, 1.5]
    assert _value(frame, "soft_entropy").tolist() == [0.1, 0.2]
    assert _value(frame, "mutual_information").tolist() == [0.3, 0.4]


def test_least_confidence_and_margin_by_hand():
    frame = _votes(P_NOT_QSO=[0.5, 0.2], P_LOW_Z=[0.3, 0.2], P_HIGH_Z=[0.2, 0.6])
    np.testing.assert_allclose(_value(frame, "least_confidence"), [0.5, 0.4])
    np.testing.assert_allclose(_value(frame, "margin"), [0.8, 0.6])


def test_entropy_of_quasar_or_not_by_hand():
    frame = _votes(
        ENTROPY=[0.0, 1.0, 0.25, np.nan],
        P_NOT_QSO=[0.5, 0.5, 0.0, np.nan],
        P_LOW_Z=[0.25, 0.5, 0.5, np.nan],
        P_HIGH_Z=[0.25, 0.0, 0.5, np.nan],
    )
    np.testing.assert_allclose(_value(frame, "quasar_or_not"), [1.0, 1.0, 0.0, np.nan])
    np.testing.assert_allclose(_value(frame, "two_entropies"), [1.0, 2.0, 0.25, np.nan])


def test_mean_entropy_averages_thresholds_and_keeps_unasked_rows_nan():
    frame = _votes(
        N_ASKED=[4, 4, 0],
        N_NOT_QSO_050=[2, 4, 0],
        N_LOW_Z_050=[2, 0, 0],
        N_HIGH_Z_050=[0, 0, 0],
        N_NOT_QSO_095=[4, 2, 0],
        N_LOW_Z_095=[0, 1, 0],
        N_HIGH_Z_095=[0, 1, 0],
    ).cast(pl.UInt16)
    found = _value(frame, "mean_entropy", (0.5, 0.95))
    # Half and half is 1 bit, a half and two quarters is 1.5 bits.
    np.testing.assert_allclose(found, [0.5, 0.75, np.nan])


def test_redshift_scatter_is_zero_where_nobody_sees_a_quasar():
    frame = _votes(
        N_ASKED=[5, 5, 0],
        Z_Q16=[1.0, np.nan, np.nan],
        Z_Q50=[1.5, np.nan, np.nan],
        Z_Q84=[2.0, np.nan, np.nan],
    )
    np.testing.assert_allclose(_value(frame, "redshift_scatter"), [0.2, 0.0, np.nan])


def test_predicted_class_is_the_likeliest():
    frame = _votes(P_NOT_QSO=[0.5, 0.2, 0.1], P_LOW_Z=[0.3, 0.6, 0.1], P_HIGH_Z=[0.2, 0.2, 0.8])
    assert frame.select(C=predicted_class())["C"].to_list() == [0, 1, 2]


def test_random_numbers_belong_to_objects_and_seeds():
    ids = np.concatenate([np.arange(-5, 20_000), [7, 7]])
    frame = _votes(OBJECT_ID=ids)
    first = _value(frame, "random", seed=1)
    assert first[-1] == first[-2] == first[12]
    assert np.array_equal(first, _value(frame, "random", seed=1))
    other = _value(frame, "random", seed=2)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.03
    assert abs(np.corrcoef(first[:-3], first[1:-2])[0, 1]) < 0.03
    counts = np.histogram(first, bins=10, range=(0, 1))[0]
    assert np.all(np.abs(counts - 2000) < 5 * np.sqrt(2000))


def test_random_number_is_splitmix_of_the_id():
    def mix(z):
        z = (z + 0x9E3779B97F4A7C15) % 2**64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    ids, seed = [-3, 0, 39633333333333333], 4
    expected = [
        (mix(mix((i + 0x9E3779B97F4A7C15 * (seed + 1)) % 2**64)) >> 11) / 2**53 for i in ids
    ]
    found = _votes(OBJECT_ID=ids).select(R=random_number(seed))["R"].to_list()
    assert found == expected


def test_draws_in_proportion_follow_the_score():
    n = 40_000
    score = np.tile([0.0, 1.0, 3.0], n)
    frame = _votes(OBJECT_ID=np.arange(3 * n), SCORE=score)
    key = frame.select(K=in_proportion(pl.col("SCORE"), seed=3))["K"].to_numpy()
    drawn = score[np.argsort(-key)[:4000]]
    assert np.isfinite(key).all()
    assert np.count_nonzero(drawn == 0) == 0
    assert np.count_nonzero(drawn == 3) / 4000 == pytest.approx(0.75, abs=0.03)


def test_unknown_score_names_the_known_ones():
    with pytest.raises(SelectionError, match=r"soft_entropy.*random"):
        score_expression("entropie", (0.95,))
    assert all(name == score.name and score.help for name, score in SCORES.items())
