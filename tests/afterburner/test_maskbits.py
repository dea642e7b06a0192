"""Each rule alone, all rules against the published code's own words, and the cuts."""

import itertools
from dataclasses import replace

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
from quasarloop.afterburner.options import CatalogueOptions

DR2, DESISPEC, DR1 = RECIPES["lss-dr2"], RECIPES["desispec-0.71.5"], RECIPES["lss-dr1"]


def one(**known):
    """Evidence of a single object; whatever is not said is False, confidence 0."""
    flags = (
        "qso_target", "bgs_target", "elg_target", "wise_variable", "redrock_qso", "mgii", "rerun",
    )  # fmt: skip
    values = {name: np.array([known.get(name, False)]) for name in flags}
    return Evidence(**values, confidence=np.array([known.get("confidence", 0.0)]))


def bits_of(recipe=DR2, usable=True, **known):
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
    assert bits_of(DR2, **known) == 0
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
        return bool(takes_rerun(one(rerun=True, **known), DR2)[0])

    assert taken(qso_target=True, confidence=0.995)
    assert not taken(qso_target=True, confidence=0.7)
    assert taken(wise_variable=True, confidence=0.995)
    assert not taken(wise_variable=True, confidence=0.7)
    assert taken(elg_target=True, confidence=0.7)
    assert not taken(elg_target=True, confidence=0.55)
    assert not takes_rerun(one(qso_target=True, confidence=1.0), DR2)[0]
    assert not takes_rerun(one(qso_target=True, confidence=np.nan, rerun=True), DR2)[0]


def test_fibres_that_count():
    restricted, variable = 1 << 3, 1 << 20
    status = [0, restricted, variable, restricted | variable, 1 << 23, 1 << 24, 1, variable | 1]
    science = np.ones(len(status), dtype=bool)
    kept = {
        DR2: [0, restricted],
        DESISPEC: [0, restricted, variable, restricted | variable],
        DR1: [0, 1 << 23, 1 << 24],
    }
    for recipe, good in kept.items():
        usable = is_usable(np.array(status), science, recipe)
        assert usable.tolist() == [value in good for value in status], recipe.name
        assert not is_usable(np.array(status), ~science, recipe).any()


def test_desispec_and_lss_differ_in_their_fibres_only():
    theirs = {n: getattr(DR2, n) for n in ("name", "source", "good_fiberstatus")}
    assert replace(DESISPEC, **theirs) == DR2
    assert CatalogueOptions().recipe == DR2.name


def test_artefact_redshifts_need_two_sure_lines():
    z = np.array([3.7, 3.7, 3.7, 3.7, 5.2, 3.65, 3.9, 2.0, np.nan])
    lya = np.array([0.99, 0.99, 0.5, np.nan, 0.5, 0.5, 0.5, 0.5, 0.5])
    civ = np.array([0.99, 0.5, 0.99, 0.99, 0.5, 0.5, 0.5, 0.5, 0.5])
    found = spurious_redshift(z, lya, civ, DR1)
    assert found.tolist() == [False, True, True, True, True, False, False, False, False]
    assert not spurious_redshift(z, lya, civ, DR2).any()


def test_every_bit_is_explained_and_has_a_rule():
    assert set(BIT_TEXT) == set(QsoBit)
    everything = one(
        qso_target=True, wise_variable=True, redrock_qso=True, mgii=True, rerun=True, confidence=1.0
    )
    bits = int(maskbits(everything, DR2, np.array([True]))[0])
    bgs = one(bgs_target=True, redrock_qso=True, confidence=1.0)
    elg = one(elg_target=True, redrock_qso=True, confidence=1.0)
    for other in (bgs, elg):
        bits |= int(maskbits(other, DR2, np.array([True]))[0])
    assert bits == sum(QsoBit)
