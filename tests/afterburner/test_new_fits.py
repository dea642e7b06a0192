"""Second fits on their rows: by TARGETID, the best kept, the warning always the fit's own."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from afterburner_rows import redrock_fits

from quasarloop.afterburner.file_columns import output_columns
from quasarloop.afterburner.output import FirstFits, merge_runs, put_fits, wait_for_runs
from quasarloop.afterburner.redrock_run import Priors, plan_runs
from quasarloop.afterburner.reruns import RerunBit, RerunPlan

IDS = np.array([11, 12, 13, 14])
NAN = np.nan


def setup(z, width=0.2):
    z = np.array(z, dtype=float)
    priors = Priors(z, np.where(np.isfinite(z), width, NAN))
    plan = RerunPlan(np.zeros(len(z), dtype=np.int32), priors)
    before = FirstFits(IDS, np.full(4, 0.5), np.full(4, "GALAXY"))
    return plan, before, plan_runs(IDS, priors)


def test_matched_by_targetid_whatever_the_order():
    plan, before, runs = setup([[2.0], [NAN], [1.0], [3.0]])
    result = redrock_fits([14, 11, 13], [3.01, 2.01, 1.01], zwarn=np.array([32, 0, 0]))
    new = merge_runs(plan, before, runs, [result])
    assert new.z.tolist() == pytest.approx([2.01, NAN, 1.01, 3.01], nan_ok=True)
    assert new.zwarn.tolist() == [0, 0, 0, 32]
    done = RerunBit.RERUN | RerunBit.CHANGED
    assert new.bits.tolist() == [done, 0, done, done | RerunBit.WARNED]
    assert new.coeff[0].tolist() == [4, 5, 6, 7, 0, 0, 0, 0, 0, 0]
    assert np.isnan(new.coeff[1]).all()
    assert new.spectype.tolist() == ["QSO", "", "QSO", "QSO"]


def test_a_target_redrock_left_out_is_said_so():
    plan, before, runs = setup([[2.0], [2.0], [NAN], [NAN]])
    new = merge_runs(plan, before, runs, [redrock_fits([12], [2.0])])
    assert new.bits.tolist()[:2] == [
        RerunBit.RERUN | RerunBit.NO_ANSWER,
        RerunBit.RERUN | RerunBit.CHANGED,
    ]
    assert new.taken.tolist() == [False, True, False, False]


def test_the_better_of_two_priors_is_kept_with_its_own_warning():
    plan, before, runs = setup([[2.0, 0.7], [2.0, 0.7], [2.0, NAN], [NAN, NAN]])
    first = redrock_fits([11, 12, 13], [2.0, 2.0, 2.0], chi2=np.array([9000.0, 9100.0, 9000.0]))
    second = redrock_fits(
        [12, 11],
        [0.7, 0.71],
        chi2=np.array([9060.0, 9200.0]),
        zwarn=np.array([0, 0]),
        zerr=np.array([0.5, 0.6]),
    )
    new = merge_runs(plan, before, runs, [first, second])
    assert new.z.tolist() == pytest.approx([2.0, 0.7, 2.0, NAN], nan_ok=True)
    assert new.zerr[1] == 0.5
    won = [bool(bits & RerunBit.SECOND_WON) for bits in new.bits]
    assert won == [False, True, False, False]
    # the other prior's fit is a rival: 40 worse where redrock's own was 100 worse
    assert new.deltachi2.tolist() == pytest.approx([100.0, 40.0, 100.0, NAN], nan_ok=True)


def test_a_close_rival_is_warned_of_as_redrock_would():
    plan, before, runs = setup([[2.0, 0.7], [NAN, NAN], [NAN, NAN], [NAN, NAN]])
    results = [
        redrock_fits([11], [2.0], chi2=np.array([9000.0])),
        redrock_fits([11], [0.7], chi2=np.array([9004.0])),
    ]
    new = merge_runs(plan, before, runs, results)
    assert new.deltachi2[0] == 4.0
    assert new.zwarn[0] == 4  # SMALL_DELTA_CHI2
    assert new.bits[0] & RerunBit.WARNED
    # the same minimum found under both priors is no rival
    overlapping, before, runs = setup([[2.0, 2.1], [NAN, NAN], [NAN, NAN], [NAN, NAN]])
    results = [redrock_fits([11], [2.05]), redrock_fits([11], [2.0501], chi2=np.array([9001.0]))]
    assert merge_runs(overlapping, before, runs, results).deltachi2[0] == 100.0


def test_a_bad_fit_comes_after_a_sound_one():
    plan, before, runs = setup([[2.0, 0.7], [2.0, 0.7], [NAN, NAN], [NAN, NAN]])
    first = redrock_fits([11, 12], [2.0, 2.5], chi2=np.array([8000.0, 8000.0]), zwarn=[32, 0])
    second = redrock_fits([11, 12], [0.7, 0.7])
    new = merge_runs(plan, before, runs, [first, second])
    # Z_FITLIMIT in the first row, outside its prior in the second
    assert new.z[:2].tolist() == [0.7, 0.7]
    assert new.zwarn[0] == 0


def test_answers_outside_the_prior_or_without_data_are_shown_but_not_taken():
    plan, before, runs = setup([[2.0], [2.0], [2.0], [NAN]])
    result = redrock_fits(
        [11, 12, 13],
        [2.4, 0.0, 2.0],
        zwarn=np.array([0, 512, 0]),
        spectype=np.array(["QSO", "GALAXY", "QSO"]),
    )
    new = merge_runs(plan, before, runs, [result])
    assert new.z[:3].tolist() == [2.4, 0.0, 2.0]
    assert new.taken.tolist() == [False, False, True, False]
    assert new.bits[0] & RerunBit.OUTSIDE_PRIOR
    assert new.bits[1] & RerunBit.NO_ANSWER
    assert not (new.bits[:2] & RerunBit.CHANGED).any()


def test_of_one_targetid_on_two_rows_only_the_row_whose_prior_holds_the_fit_is_new():
    ids = np.array([11, 11, 12])
    priors = Priors(np.array([[2.0], [0.7], [NAN]]), np.array([[0.2], [0.2], [NAN]]))
    plan = RerunPlan(np.zeros(3, dtype=np.int32), priors)
    before = FirstFits(ids, np.full(3, 0.5), np.full(3, "GALAXY"))
    new = merge_runs(plan, before, plan_runs(ids, priors), [redrock_fits([11], [2.01])])
    assert new.bits[1] & RerunBit.OUTSIDE_PRIOR
    columns = output_columns("DESI_TARGET")
    table = np.zeros(3, dtype=[(c.name, c.dtype) for c in columns])
    table["Z_RR"] = 0.5
    put_fits(table, new)
    assert table["IS_QSO_QN_NEW_RR"].tolist() == [True, False, False]
    assert table["Z"].tolist() == [2.01, 0.5, 0.5]
    assert table["Z_NEW"][1] == 2.01  # shown all the same


def test_unchanged_within_redrocks_own_tolerance():
    plan, _, runs = setup([[2.0], [2.0], [NAN], [NAN]])
    before = FirstFits(IDS, np.array([2.0, 2.0, 0, 0]), np.full(4, "QSO"))
    new = merge_runs(plan, before, runs, [redrock_fits([11, 12], [2.009, 2.011])])
    # 1000 km/s at z = 2 is 0.01
    assert [bool(b & RerunBit.CHANGED) for b in new.bits] == [False, True, False, False]


def test_waiting_rows_are_not_rerun_rows():
    plan, _, _ = setup([[2.0], [NAN], [NAN], [2.0]])
    new = wait_for_runs(plan)
    assert new.bits.tolist() == [RerunBit.WAITING, 0, 0, RerunBit.WAITING]
    assert not new.taken.any()
    assert np.isnan(new.z).all()
