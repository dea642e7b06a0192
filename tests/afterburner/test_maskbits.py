"""Each rule alone, all rules against the published code's own words, and the cuts."""

import itertools

import numpy as np
import pytest

from quasarloop.afterburner.maskbits import (
    BIT_TEXT,
    RECIPES,
    Evidence,
    QsoBit,
    is_usable,
    maskbits,
    spurious_redshift,
    takes_rerun,
)

TODAY, DR1 = RECIPES["today"], RECIPES["dr1"]


def one(**known):
    """Evidence of a single object; whatever is not said is False, confidence 0."""
    flags = (
        "qso_target", "bgs_target", "elg_target", "wise_variable", "redrock_qso", "mgii", "rerun",
    )  # fmt: skip
    values = {name: np.array([known.get(name, False)]) for name in flags}
    return Evidence(**values, confidence=np.array([known.get("confidence", 0.0)]))


def bits_of(recipe=TODAY, usable=True, **known):
    return QsoBit(int(maskbits(one(**known), recipe, np.array([usable]))[0]))


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"qso_target": True}, 0),
        ({"qso_target": True, "redrock_qso": True}, 2),
        ({"qso_target": True, "mgii": True}, 4),
        ({"qso_target": True, "confidence": 0.995}, 8),
        ({"qso_target": True, "confidence": 0.995, "rerun": True}, 24),
        ({"qso_target": True, "confidence": 0.97, "rerun": True}, 0),
        ({"qso_target": True, "redrock_qso": True, "mgii": True, "confidence": 1.0}, 14),
        ({"qso_target": True, "confidence": np.nan}, 0),
        # No quasar target, no opinion is enough.
        ({"redrock_qso": True, "mgii": True, "confidence": 1.0, "rerun": True}, 0),
        ({"bgs_target": True, "redrock_qso": True}, 0),
        ({"bgs_target": True, "redrock_qso": True, "confidence": 0.61}, 32),
        ({"bgs_target": True, "redrock_qso": True, "mgii": True}, 32),
        ({"bgs_target": True, "mgii": True, "confidence": 1.0}, 0),
        ({"elg_target": True, "redrock_qso": True, "confidence": 0.61}, 64),
        ({"elg_target": True, "redrock_qso": True, "confidence": 0.6}, 0),
        ({"elg_target": True, "redrock_qso": True, "mgii": True}, 0),
        # Emission-line galaxies before bright galaxies, quasars before both.
        ({"bgs_target": True, "elg_target": True, "redrock_qso": True, "confidence": 0.7}, 64),
        ({"bgs_target": True, "qso_target": True, "redrock_qso": True, "confidence": 0.7}, 2),
        ({"wise_variable": True, "redrock_qso": True}, 128),
        ({"wise_variable": True, "mgii": True}, 128),
        ({"wise_variable": True, "confidence": 0.995}, 128),
        ({"wise_variable": True, "confidence": 0.98}, 0),
        ({"wise_variable": True, "qso_target": True, "redrock_qso": True}, 130),
    ],
)
def test_each_rule(known, expected):
    assert bits_of(**known) == expected


def test_the_recipes_differ_in_their_thresholds():
    known = {"qso_target": True, "confidence": 0.97}
    assert bits_of(DR1, **known) == QsoBit.NETWORK
    assert bits_of(TODAY, **known) == 0
    assert bits_of(DR1, qso_target=True, confidence=0.95) == 0  # strictly above


def test_whatever_is_not_usable_has_no_bits():
    assert bits_of(usable=False, qso_target=True, redrock_qso=True, mgii=True, confidence=1.0) == 0


def test_all_cases_against_the_definition_in_words():
    # An independent reading of the published rules, object by object.
    flags = (
        "qso_target", "bgs_target", "elg_target", "wise_variable", "redrock_qso", "mgii", "rerun",
    )  # fmt: skip
    for values in itertools.product([False, True], repeat=len(flags)):
        for confidence in (0.3, 0.8, 0.999):
            k = dict(zip(flags, values, strict=True), confidence=confidence)
            sure, likely = confidence > 0.99, confidence > 0.6
            expected = 0
            if k["qso_target"]:
                expected += 2 * k["redrock_qso"] + 4 * k["mgii"] + 8 * sure
                expected += 16 * (sure and k["rerun"])
            elif k["elg_target"]:
                expected += 64 * (k["redrock_qso"] and likely)
            elif k["bgs_target"]:
                expected += 32 * (k["redrock_qso"] and (likely or k["mgii"]))
            if k["wise_variable"]:
                expected += 128 * (k["redrock_qso"] or k["mgii"] or sure)
            assert bits_of(**k) == expected, k


def test_a_second_fit_is_taken_only_where_the_network_is_sure_enough():
    def taken(**known):
        return bool(takes_rerun(one(rerun=True, **known), TODAY)[0])

    assert taken(qso_target=True, confidence=0.995)
    assert not taken(qso_target=True, confidence=0.7)
    assert taken(wise_variable=True, confidence=0.995)
    assert not taken(wise_variable=True, confidence=0.7)
    assert taken(elg_target=True, confidence=0.7)
    assert not taken(elg_target=True, confidence=0.55)
    assert not takes_rerun(one(qso_target=True, confidence=1.0), TODAY)[0]
    assert not takes_rerun(one(qso_target=True, confidence=np.nan, rerun=True), TODAY)[0]


def test_fibres_that_count():
    status = np.array([0, 8, 1 << 23, 1 << 24, 9, 1])
    science = np.ones(6, dtype=bool)
    assert is_usable(status, science, DR1).tolist() == [True, False, True, True, False, False]
    assert is_usable(status, science, TODAY).tolist() == [True, True, False, False, False, False]
    assert not is_usable(status, ~science, TODAY).any()


def test_artefact_redshifts_need_two_sure_lines():
    z = np.array([3.7, 3.7, 3.7, 3.7, 5.2, 3.65, 3.9, 2.0, np.nan])
    lya = np.array([0.99, 0.99, 0.5, np.nan, 0.5, 0.5, 0.5, 0.5, 0.5])
    civ = np.array([0.99, 0.5, 0.99, 0.99, 0.5, 0.5, 0.5, 0.5, 0.5])
    found = spurious_redshift(z, lya, civ, DR1)
    assert found.tolist() == [False, True, True, True, True, False, False, False, False]
    assert not spurious_redshift(z, lya, civ, TODAY).any()


def test_every_bit_is_explained_and_has_a_rule():
    assert set(BIT_TEXT) == set(QsoBit)
    everything = one(
        qso_target=True, wise_variable=True, redrock_qso=True, mgii=True, rerun=True, confidence=1.0
    )
    bits = int(maskbits(everything, TODAY, np.array([True]))[0])
    bgs = one(bgs_target=True, redrock_qso=True, confidence=1.0)
    elg = one(elg_target=True, redrock_qso=True, confidence=1.0)
    for other in (bgs, elg):
        bits |= int(maskbits(other, TODAY, np.array([True]))[0])
    assert bits == sum(QsoBit)
