"""Hand-made rows: which are rerun under each policy, with which priors."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from afterburner_rows import network_answer, redrock_rows

from quasarloop.afterburner.reruns import (
    RerunBit,
    Selection,
    box_widths,
    plan_reruns,
    policy_named,
    published_threshold,
    todays_width,
    unfit_rows,
)
from quasarloop.errors import SelectionError
from quasarloop.grid import LINEAR_GRID
from quasarloop.network.config import preset

LOG = preset("green2025")
LINEAR = preset("green2025", grid=LINEAR_GRID)
A = 2 * ((9961.0 / 3600) ** (1 / 13) - 1)  # INTEROP.md: 0.1629


def plan(policy, redrock, network, config=LOG, **how):
    unfit = unfit_rows(redrock, network, Selection())
    return plan_reruns(policy_named(policy), redrock, network, config, unfit, **how)


def test_todays_width_is_desispecs():
    assert todays_width(LOG) == pytest.approx(0.1629, abs=5e-5)
    assert todays_width(LOG) == pytest.approx(A, rel=1e-4)


def test_box_follows_the_grid():
    z = np.array([1.0, 2.0])
    rest = np.array([2796.3511, 1215.67])
    # log: 443 / 13 bins of 1e-3 dex; linear: 458 / 13 bins of 13.6 Å, whatever the redshift
    assert box_widths(z, rest, LOG) == pytest.approx((1 + z) * (10 ** (0.443 / 13) - 1))
    assert box_widths(z, rest, LINEAR) == pytest.approx(458 / 13 * 13.6 / rest)


def test_paper_reruns_galaxies_only():
    redrock = redrock_rows(["GALAXY", "STAR", "QSO", ""], [0.5, 0.0, 0.5, 0.5])
    found = plan("paper", redrock, network_answer([2.0] * 4))
    assert found.chosen.tolist() == [True, False, False, False]
    assert found.bits.tolist() == [0, *[RerunBit.CLASS_EXEMPT] * 3]
    assert found.priors.z[0, 0] == 2.0
    assert found.priors.width[0, 0] == 0.1
    assert np.isnan(found.priors.z[1:]).all()


def test_today_reruns_what_disagrees_within_half_the_width():
    near, far = 2.0 + 0.499 * A * 3, 2.0 + 0.501 * A * 3
    redrock = redrock_rows(["QSO", "QSO", "STAR", "GALAXY"], [near, far, 2.0, 2.0])
    found = plan("today", redrock, network_answer([2.0] * 4))
    assert found.chosen.tolist() == [False, True, True, True]
    assert found.bits[0] == RerunBit.REDROCK_AGREES
    assert found.priors.width[1:, 0] == pytest.approx(3 * A, rel=1e-4)


def test_ours_takes_the_joint_redshift_and_its_error():
    answer = network_answer(
        [2.0, 2.0, 2.0, 2.0],
        z_joint=np.array([2.1, 2.1, 2.1, np.nan]),
        z_joint_err=np.array([0.04, 1e-4, 9.0, np.nan]),
    )
    found = plan("ours", redrock_rows(["GALAXY"] * 4, [0.5] * 4), answer)
    box = 3 * (10 ** (0.443 / 13) - 1)
    assert found.priors.z[:, 0] == pytest.approx([2.1, 2.1, 2.1, 2.0])
    # five sigma to both sides; never less than half a box, never more than one, to both sides
    assert found.priors.width[:, 0] == pytest.approx([0.4, box, 2 * box, 2 * box])


def test_ours_follows_the_box_on_a_linear_grid():
    answer = network_answer(
        [0.4, 2.4], z_joint_err=np.array([9.0, 9.0]), line_rest_aa=np.array([2796.3511, 2796.3511])
    )
    found = plan("ours", redrock_rows(["GALAXY"] * 2, [0.5] * 2), answer, LINEAR)
    assert found.priors.width[:, 0] == pytest.approx([2 * 458 / 13 * 13.6 / 2796.3511] * 2)


def test_two_peaks_two_priors():
    answer = network_answer(
        [2.0, 2.0, 2.0],
        z_alt=np.array([0.7, 0.7, np.nan]),
        p_alt=np.array([0.3, 0.001, 0.0]),
    )
    redrock = redrock_rows(["GALAXY", "GALAXY", "GALAXY"], [0.5] * 3)
    found = plan("ours", redrock, answer)
    assert found.priors.present.tolist() == [[True, True], [True, False], [True, False]]
    assert found.priors.z[0].tolist() == [2.0, 0.7]
    assert found.bits.tolist() == [RerunBit.TWO_PRIORS, 0, 0]


def test_a_quasar_at_either_peak_is_left_alone():
    answer = network_answer([2.0, 2.0], z_alt=np.array([0.7, 0.7]), p_alt=np.array([0.3, 0.3]))
    found = plan("ours", redrock_rows(["QSO", "QSO"], [0.7, 1.3]), answer)
    assert found.chosen.tolist() == [False, True]
    assert found.bits[0] == RerunBit.REDROCK_AGREES


def test_only_science_targets_with_spectra_of_the_asked_classes():
    redrock = redrock_rows(
        ["GALAXY"] * 5,
        [0.5] * 5,
        object_type=np.array(["SKY", "BAD", "TGT", "TGT", "TGT"]),
        target_bits=np.array([4, 4, 2, 4, 4]),
    )
    answer = network_answer(
        [2.0] * 5,
        is_qso=np.array([True, True, True, False, True]),
        usable=np.array([True, True, True, True, False]),
    )
    unfit = unfit_rows(redrock, answer, Selection(target_classes=("QSO",)))
    assert unfit.tolist() == [
        RerunBit.NOT_TARGET,
        RerunBit.NOT_TARGET,
        RerunBit.CLASS_NOT_ASKED,
        RerunBit.NOT_QUASAR,
        RerunBit.NO_SPECTRUM,
    ]
    for policy in ("paper", "today", "ours"):
        assert not plan_reruns(policy_named(policy), redrock, answer, LOG, unfit).chosen.any()


def test_unknown_type_goes_by_the_number():
    sky = 616089241430393241  # of DESI: the bit of blank sky is set
    redrock = redrock_rows(["GALAXY"] * 4, [0.5] * 4, object_type=np.full(4, ""))
    redrock.fits.target_id[1:] = [-7, 0, sky]
    found = plan("today", redrock, network_answer([2.0] * 4))
    assert found.chosen.tolist() == [True, False, False, False]
    assert found.bits.tolist() == [0, *[RerunBit.NOT_TARGET] * 3]
    # the type goes first where it is known
    known = redrock_rows(["GALAXY"], [0.5])
    known.fits.target_id[0] = sky
    assert plan("today", known, network_answer([2.0])).chosen.tolist() == [True]


def test_priors_no_template_reaches():
    grid = (10 ** np.arange(np.log10(1.05), np.log10(7.9), 5e-4) - 1,)
    redrock = redrock_rows(["GALAXY"] * 3, [0.5] * 3)
    answer = network_answer([0.01, 2.0, 7.5], z_joint=np.array([0.01, 2.0, 7.5]))
    found = plan("ours", redrock, answer, grids=grid)
    assert found.bits.tolist() == [RerunBit.NO_TEMPLATE, 0, RerunBit.NO_TEMPLATE]
    # the second peak takes the place of a first one out of reach
    answer = network_answer([7.5], z_alt=np.array([2.0]), p_alt=np.array([0.4]))
    found = plan("ours", redrock_rows(["GALAXY"], [0.5]), answer, grids=grid)
    assert found.priors.present.tolist() == [[True, False]]
    assert found.priors.z[0, 0] == 2.0


def test_thresholds_have_names():
    assert [published_threshold(n) for n in ("pipeline", "paper", "catalogue")] == [
        0.5,
        0.95,
        0.99,
    ]
    with pytest.raises(SelectionError, match="known: pipeline, paper, catalogue"):
        published_threshold("mine")
    with pytest.raises(SelectionError, match="a confidence lies between 0 and 1"):
        Selection(threshold=2)
    with pytest.raises(SelectionError, match="known: paper, today, ours"):
        policy_named("theirs")
