"""A row is not rerun where its strongest line would be in an arm without data; `ours` alone."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from afterburner_rows import network_answer, redrock_rows

from quasarloop.afterburner.reruns import RerunBit, Selection, plan_reruns, policy_named, unfit_rows
from quasarloop.network.config import preset
from quasarloop.quality import in_missing_arm
from quasarloop.spectra import Flag

B, R, Z = Flag.ARM_B_MASKED, Flag.ARM_R_MASKED, Flag.ARM_Z_MASKED


def planned(z, flags, policy="ours", spectype="GALAXY", **changes):
    """One row: redrock has a galaxy at 2.088, the network a quasar at `z`."""
    redrock = redrock_rows([spectype], [2.088])
    network = network_answer([z], columns={"FLAGS": np.array([int(flags)])}, **changes)
    unfit = unfit_rows(redrock, network, Selection())
    return plan_reruns(policy_named(policy), redrock, network, preset("green2025"), unfit)


@pytest.mark.parametrize(
    ("z", "flags", "rerun"),
    [
        (3.5, B, False),  # Lya at 5471 A: the edge of the missing arm is taken for its break
        (3.5, R, True),
        (3.5, 0, True),
        (3.5, Z, True),
        (3.5, Flag.LOW_COVERAGE, True),
        (2.088, B, False),
        (2.088, R | Z, True),
        (4.6, B, True),  # Lya at 6808 A
        (4.6, R, False),
        (5.7, Z, False),  # Lya at 8145 A
        (0.3, Z, False),  # Halpha at 8532 A
        (0.3, B, True),
        (0.8, B, False),  # Mg II at 5033 A, H beta is weaker
        (0.8, Z, True),
        (3.745, B, False),  # Lya at 5768 A, where r overlaps b; in the prior also at 5600 A
    ],
)
def test_the_arm_of_the_strongest_line_is_needed(z, flags, rerun):
    plan = planned(z, flags)
    assert plan.chosen.tolist() == [rerun]
    assert plan.bits.tolist() == [0 if rerun else RerunBit.MISSING_ARM]
    for policy in ("today", "paper"):  # desispec looks at no arm
        assert planned(z, flags, policy).chosen.tolist() == [True]
        assert planned(z, flags, policy).bits.tolist() == [0]


def test_a_second_peak_in_the_missing_arm_leaves_no_choice():
    plan = planned(4.6, B, z_alt=np.array([2.0]), p_alt=np.array([0.3]))
    assert plan.bits.tolist() == [RerunBit.MISSING_ARM]
    assert not plan.chosen.any()


def test_what_is_not_rerun_anyway_has_its_own_reason():
    assert planned(2.088, B, spectype="QSO").bits.tolist() == [RerunBit.REDROCK_AGREES]


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
