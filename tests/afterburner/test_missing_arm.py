"""Second fits whose strongest line would be in an arm without data are shown, but not taken."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from afterburner_rows import redrock_fits

from quasarloop.afterburner.output import FirstFits, merge_runs
from quasarloop.afterburner.redrock_run import Priors, plan_runs
from quasarloop.afterburner.reruns import RerunBit, RerunPlan
from quasarloop.quality import in_missing_arm
from quasarloop.spectra import Flag

B, R, Z = Flag.ARM_B_MASKED, Flag.ARM_R_MASKED, Flag.ARM_Z_MASKED


def merged(z, flags):
    """One rerun: redrock had a quasar at 2.088, its second fit is at `z`."""
    priors = Priors(np.array([[z]]), np.array([[0.2]]))
    plan = RerunPlan(np.zeros(1, np.int32), priors)
    before = FirstFits(np.array([7]), np.array([2.088]), np.array(["QSO"]), np.array([int(flags)]))
    return merge_runs(plan, before, plan_runs(np.array([7]), priors), [redrock_fits([7], [z])])


@pytest.mark.parametrize(
    ("z", "flags", "taken"),
    [
        (3.632, B, False),  # Lya at 5631 A: the edge of the missing arm took it for its break
        (3.632, R, True),
        (3.632, 0, True),
        (3.632, Z, True),
        (3.632, Flag.LOW_COVERAGE, True),
        (2.088, B, False),
        (2.088, R | Z, True),
        (4.2, B, True),  # Lya at 6321 A
        (4.2, R, False),
        (5.6, Z, False),  # Lya at 8024 A
        (0.3, Z, False),  # Halpha at 8532 A
        (0.3, B, True),
        (0.8, B, False),  # Mg II at 5033 A, H beta is weaker
        (0.8, Z, True),
        (3.745, B, True),  # Lya at 5768 A, where r overlaps b
    ],
)
def test_the_arm_of_the_strongest_line_is_needed(z, flags, taken):
    new = merged(z, flags)
    assert new.taken.tolist() == [taken]
    assert bool(new.bits[0] & RerunBit.MISSING_ARM) is not taken
    assert new.bits[0] & RerunBit.RERUN
    assert new.z[0] == z  # shown all the same
    if not taken:
        assert not new.bits[0] & RerunBit.CHANGED


def test_wavelengths_of_masked_arms():
    wave = np.array([3600.0, 5759.0, 5770.0, 6000.0, 7550.0, 9000.0, np.nan])
    assert in_missing_arm(wave, np.full(7, B)).tolist() == [True, True, *[False] * 5]
    assert in_missing_arm(wave, np.full(7, R | Z)).tolist() == [
        *[False] * 3,
        True,
        False,
        True,
        False,
    ]
    assert not in_missing_arm(wave, np.zeros(7, int)).any()
