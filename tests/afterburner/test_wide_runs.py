"""A narrow prior holds one minimum; a second run in desispec's window gives DELTACHI2 a meaning."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from afterburner_rows import network_answer, redrock_fits, redrock_rows

from quasarloop.afterburner.output import FirstFits, merge_runs
from quasarloop.afterburner.redrock_run import (
    Priors,
    RedrockOptions,
    plan_runs,
    write_for_later,
)
from quasarloop.afterburner.reruns import (
    RerunPlan,
    Selection,
    plan_reruns,
    policy_named,
    todays_width,
    unfit_rows,
)
from quasarloop.network.config import preset

LOG = preset("green2025")
A = todays_width(LOG)


def merged(wide, *, alone=0.0, zwarn=0, window=A):
    """Redrock's narrow fit is at 2.0 with chi² 9000; `wide` is its fit in the window."""
    priors = Priors(np.array([[2.0]]), np.array([[0.2]]))
    plan = RerunPlan(np.zeros(1, np.int32), priors, window)
    runs = plan_runs(np.array([7]), priors, window)
    narrow = redrock_fits([7], [2.0], deltachi2=np.array([alone]), zwarn=np.array([zwarn]))
    first = FirstFits(np.array([7]), np.array([0.3]), np.array(["GALAXY"]))
    return merge_runs(plan, first, runs, [*wide, narrow])


def fit(z, chi2, deltachi2, zwarn=0):
    columns = {"chi2": chi2, "deltachi2": deltachi2, "zwarn": zwarn}
    return [redrock_fits([7], [z], **{name: np.array([v]) for name, v in columns.items()})]


@pytest.mark.parametrize(
    ("wide", "deltachi2", "zwarn"),
    [
        (fit(2.0, 9000.0, 60.0), 60.0, 0),  # the same minimum, and how far the next one is
        (fit(2.003, 9000.5, 5.0), 5.0, 4),  # the same, with a close rival
        (fit(2.2, 8990.0, 10.0), 0.0, 4),  # another one is better
        (fit(2.2, 8000.0, 1000.0), 0.0, 4),  # by far
        (fit(2.0, 9000.0, 0.0), 0.0, 0),  # no other minimum at all: redrock does not warn either
        (fit(2.2, 8990.0, 10.0, zwarn=32), 0.0, 0),  # a bad fit is no rival
    ],
)
def test_deltachi2_is_the_distance_to_the_next_fit_in_the_window(wide, deltachi2, zwarn):
    new = merged(wide)
    assert (new.z[0], new.chi2[0]) == (2.0, 9000.0)  # the fit itself is the narrow prior's
    assert new.deltachi2[0] == pytest.approx(deltachi2)
    assert new.zwarn[0] == zwarn


def test_without_a_window_all_is_as_redrock_has_it():
    """DELTACHI2 0 without a warning, as in desispec's own step."""
    for zwarn in (0, 4, 32):
        new = merged([], zwarn=zwarn, window=0.0)
        assert (new.deltachi2[0], new.zwarn[0]) == (0.0, zwarn)


@given(alone=st.floats(0, 200), other=st.floats(0, 200), gap=st.floats(-100, 100))
def test_a_window_never_makes_a_fit_more_certain(alone, other, gap):
    for wide in (fit(2.0, 9000.0, other), fit(2.2, 9000.0 + gap, other)):
        before, after = merged([], alone=alone, window=0.0), merged(wide, alone=alone)
        if before.deltachi2[0] > 0:
            assert after.deltachi2[0] <= before.deltachi2[0]
        assert after.zwarn[0] & before.zwarn[0] == before.zwarn[0]
        if 0 < after.deltachi2[0] < 9 and after.deltachi2[0] != alone:
            assert after.zwarn[0] == 4


def test_a_target_without_a_fit_stays_blank():
    new = merged(fit(2.0, np.nan, 0.0))
    assert (new.z[0], new.zwarn[0]) == (2.0, 0)
    priors = Priors(np.array([[2.0]]), np.array([[0.2]]))
    plan = RerunPlan(np.zeros(1, np.int32), priors, A)
    first = FirstFits(np.array([7]), np.array([0.3]), np.array(["GALAXY"]))
    other = redrock_fits([8], [2.0])
    blank = merge_runs(plan, first, plan_runs(np.array([7]), priors, A), [other, other])
    assert np.isnan(blank.deltachi2[0])
    assert not blank.zwarn[0]


def test_a_wide_run_before_each(tmp_path):
    z, width = np.array([[2.0, 0.7], [3.0, np.nan]]), np.array([[0.2, 0.9], [0.3, np.nan]])
    runs = plan_runs(np.array([5, 6]), Priors(z, width), A)
    assert [(run.number, run.prior, run.wide, run.target_id.tolist()) for run in runs] == [
        (1, 0, True, [5, 6]),
        (2, 0, False, [5, 6]),
        (3, 1, True, [5]),
        (4, 1, False, [5]),
    ]
    assert runs[0].width == pytest.approx(A * np.array([3.0, 4.0]))
    assert runs[1].width.tolist() == [0.2, 0.3]
    assert runs[2].width.tolist() == [0.9]  # never narrower than the prior
    assert all(run.z.tolist() in ([2.0, 3.0], [0.7]) for run in runs)
    # what the wide run computed is not computed again
    options = RedrockOptions(rerun="later")
    lines = write_for_later(tmp_path / "o.fits", Path("c.fits"), runs, options).read_text()
    commands = [line.split() for line in lines.splitlines() if line.startswith("rrdesi")]
    scans = [[w for w in words if w.endswith(".h5")] for words in commands]
    assert scans == [["details-1.h5"], ["details-1.h5"], ["details-3.h5"], ["details-3.h5"]]
    assert [words[-2] for words in commands] == ["--details", "--chi2-scan"] * 2


def test_the_window_is_desispecs_and_ours_alone():
    redrock, network = redrock_rows(["GALAXY"], [0.5]), network_answer([2.0])
    unfit = unfit_rows(redrock, network, Selection())
    found = {
        name: plan_reruns(policy_named(name), redrock, network, LOG, unfit).window
        for name in ("ours", "today", "paper")
    }
    assert found == {"ours": A, "today": 0.0, "paper": 0.0}
