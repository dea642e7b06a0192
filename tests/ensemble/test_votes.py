"""Columns of the votes, against numbers worked out by hand and against a written-out loop."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quasarloop.classes import Vote
from quasarloop.ensemble.entropy import (
    entropy_bits,
    mean_over_members,
    mutual_information,
    soft_classes,
)
from quasarloop.ensemble.votes import MemberFinds, VoteRule, count_column, vote_columns
from quasarloop.errors import DataFormatError
from quasarloop.lines import NETWORK_LINES


def finds(confidence, z):
    confidence = np.array(confidence, dtype=np.float32)
    line_mean = np.full((confidence.shape[1], len(NETWORK_LINES)), 0.25)
    return MemberFinds(confidence, np.array(z, dtype=np.float64), line_mean)


def test_one_spectrum_by_hand():
    # Five members: two sure of z≈3, one sure of z=1, one at 0.96 (z=3.2), one at 0.6 (z=1).
    said = finds([[0.999], [0.997], [0.999], [0.96], [0.6]], [[3.0], [3.1], [1.0], [3.2], [1.0]])
    columns = vote_columns(said, VoteRule(), NETWORK_LINES)
    assert columns["N_ASKED"].tolist() == [5]
    assert [columns[count_column(v, 0.5)][0] for v in Vote] == [0, 2, 3]
    assert [columns[count_column(v, 0.95)][0] for v in Vote] == [1, 1, 3]
    assert [columns[count_column(v, 0.99)][0] for v in Vote] == [2, 1, 2]
    assert columns["ENTROPY"][0] == pytest.approx(-2 * 0.2 * math.log2(0.2) - 0.6 * math.log2(0.6))
    p_high = (0.999 + 0.997 + 0.96) / 5
    assert columns["P_HIGH_Z"][0] == pytest.approx(p_high)
    assert columns["P_LOW_Z"][0] == pytest.approx((0.999 + 0.6) / 5)
    p = [p_high, (0.999 + 0.6) / 5, 1 - p_high - (0.999 + 0.6) / 5]
    assert columns["SOFT_ENTROPY"][0] == pytest.approx(-sum(q * math.log2(q) for q in p))
    z = [3.0, 3.1, 1.0, 3.2]
    assert columns["Z_MEAN"][0] == pytest.approx(np.mean(z))
    assert columns["Z_STD"][0] == pytest.approx(np.std(z))
    assert columns["Z_Q50"][0] == pytest.approx(3.0)  # the lower of the middle two, nothing between
    assert columns["C_LYA"][0] == columns["C_BAL"][0] == 0.25


def test_exactly_on_a_threshold_is_not_above_it():
    on = [[0.95]]
    columns = vote_columns(finds(on, [[1.0]]), VoteRule(), NETWORK_LINES)
    assert columns[count_column(Vote.NOT_QSO, 0.95)].tolist() == [1]
    above = [[np.nextafter(np.float32(0.95), np.float32(1))]]
    columns = vote_columns(finds(above, [[1.0]]), VoteRule(), NETWORK_LINES)
    assert columns[count_column(Vote.LOW_Z, 0.95)].tolist() == [1]


def test_rows_nobody_was_asked_about_count_zero_and_score_nan():
    nan = np.nan
    said = finds([[0.99, nan], [0.2, nan]], [[1.0, nan], [1.0, nan]])
    columns = vote_columns(said, VoteRule(), NETWORK_LINES)
    assert columns["N_ASKED"].tolist() == [2, 0]
    assert all(columns[count_column(v, 0.95)][1] == 0 for v in Vote)
    for name in ("ENTROPY", "MUTUAL_INFORMATION", "SOFT_ENTROPY", "P_LOW_Z", "Z_MEAN", "Z_Q84"):
        assert np.isnan(columns[name][1]), name
        assert not np.isnan(columns[name][0]), name


def test_members_not_asked_are_left_out_of_counts_and_means():
    nan = np.nan
    partly = finds([[0.99], [nan], [0.2]], [[3.0], [nan], [1.0]])
    without = finds([[0.99], [0.2]], [[3.0], [1.0]])
    left = vote_columns(partly, VoteRule(), NETWORK_LINES)
    right = vote_columns(without, VoteRule(), NETWORK_LINES)
    assert {name: c.tolist() for name, c in left.items()} == {
        name: c.tolist() for name, c in right.items()
    }


def test_nobody_says_quasar_so_there_is_no_redshift():
    columns = vote_columns(finds([[0.1], [0.9]], [[1.0], [1.0]]), VoteRule(), NETWORK_LINES)
    assert columns["ENTROPY"].tolist() == [0.0]
    assert np.isnan([columns[n][0] for n in ("Z_MEAN", "Z_STD", "Z_Q16", "Z_Q50", "Z_Q84")]).all()


@given(
    hnp.arrays(np.float32, (7, 5), elements=st.floats(0, 1, width=32)),
    hnp.arrays(np.float64, (7, 5), elements=st.floats(0, 7)),
)
def test_columns_equal_a_written_out_loop(confidence, z):
    settings = VoteRule()
    columns = vote_columns(finds(confidence, z), settings, NETWORK_LINES)
    for row in range(5):
        for threshold in settings.thresholds:
            counts = dict.fromkeys(Vote, 0)
            for c, zed in zip(confidence[:, row], z[:, row], strict=True):
                if not c > np.float32(threshold):
                    counts[Vote.NOT_QSO] += 1
                else:
                    counts[Vote.HIGH_Z if zed >= 2.1 else Vote.LOW_Z] += 1
            assert {v: columns[count_column(v, threshold)][row] for v in Vote} == counts
        sure = z[confidence[:, row] > np.float32(0.95), row]
        if len(sure):
            expected = np.quantile(sure, [0.16, 0.5, 0.84], method="inverted_cdf")
            got = [columns[name][row] for name in ("Z_Q16", "Z_Q50", "Z_Q84")]
            assert got == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_long_shards_are_the_sum_of_their_blocks():
    rng = np.random.default_rng(3)
    said = finds(rng.random((3, 2500)), rng.random((3, 2500)) * 5)
    whole = vote_columns(said, VoteRule(), NETWORK_LINES)
    tail = finds(said.confidence[:, 2400:], said.z_best[:, 2400:])
    part = vote_columns(tail, VoteRule(), NETWORK_LINES)
    assert all(np.array_equal(whole[n][2400:], part[n], equal_nan=True) for n in part)
    empty = vote_columns(finds(np.empty((3, 0)), np.empty((3, 0))), VoteRule(), NETWORK_LINES)
    assert {n: c.dtype for n, c in empty.items()} == {n: c.dtype for n, c in whole.items()}


def test_settings_always_hold_the_papers_threshold_and_travel_as_json():
    settings = VoteRule(thresholds=(0.99, 0.5))
    assert settings.thresholds == (0.5, 0.95, 0.99)
    assert VoteRule.from_dict(settings.to_dict()) == settings
    with pytest.raises(DataFormatError, match="between 0 and 1"):
        VoteRule(thresholds=(0.5, 1.0))


def test_heads_that_share_redshifts_vote_as_networks_with_that_redshift():
    """A certain split gives the numbers of networks; an uncertain one those worked out member by
    member."""
    rng = np.random.default_rng(2)
    confidence, z = rng.random((6, 40)), rng.uniform(1.5, 3.0, 40)
    confidence[:, 3] = np.nan
    z[3] = np.nan
    alone = finds(confidence, np.tile(z, (6, 1)))
    shared = alone._replace(z_best=z[None], p_high=(z >= 2.1).astype(np.float32))
    one, other = (vote_columns(found, VoteRule(), NETWORK_LINES) for found in (alone, shared))
    for name, column in one.items():
        np.testing.assert_allclose(other[name], column, atol=1e-6, err_msg=name)
    p_high = rng.random(40).astype(np.float32)
    unsure = vote_columns(shared._replace(p_high=p_high), VoteRule(), NETWORK_LINES)
    soft = soft_classes(alone.confidence, p_high)
    for name, expected in (
        ("MUTUAL_INFORMATION", mutual_information(soft)),
        ("SOFT_ENTROPY", entropy_bits(mean_over_members(soft))),
        ("P_HIGH_Z", mean_over_members(soft)[:, Vote.HIGH_Z]),
    ):
        np.testing.assert_allclose(unsure[name], expected, atol=1e-6)
    assert unsure["ENTROPY"].tolist()[:3] == one["ENTROPY"].tolist()[:3]
