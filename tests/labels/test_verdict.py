import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.errors import InspectionError
from quasarloop.labels.verdict import (
    MAX_COMMENT,
    Verdict,
    clean,
    clean_comment,
    clean_issues,
    is_complete,
)
from quasarloop.truth import SpecType


@given(st.text(max_size=300))
def test_a_clean_comment_fits_prospects_column_and_stays_as_it_is(text):
    comment = clean_comment(text)
    assert len(comment) <= MAX_COMMENT
    assert comment.isascii()
    assert not set(comment) & set(',"\n\r\t')
    assert clean_comment(comment) == comment


def test_comment_spells_greek_and_turns_commas_into_semicolons():
    assert (
        clean_comment("Lyα, Hβ at 5000 Å\nsecond é") == "Lyalpha; Hbeta at 5000 Angstrom second ?"
    )


def test_issues_come_in_order_and_unknown_ones_are_refused():
    assert clean_issues("scr") == "RCS"
    with pytest.raises(InspectionError, match="X"):
        clean_issues("RX")


@pytest.mark.parametrize(
    ("verdict", "complete"),
    [
        (Verdict(), False),
        (Verdict(SpecType.QSO, 2.1), False),
        (Verdict(SpecType.QSO, 2.1, 4), True),
        (Verdict(SpecType.QSO, None, 3), False),
        (Verdict(SpecType.UNKNOWN, 2.1, 2), False),
        (Verdict(quality=1), True),
        (Verdict(quality=0), True),
    ],
)
def test_complete_needs_class_and_redshift_from_quality_two(verdict, complete):
    assert is_complete(verdict) is complete


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(quality=5),
        Verdict(quality=-1),
        Verdict(z=float("nan")),
        Verdict(z=11),
        Verdict(z=-1),
    ],
)
def test_impossible_numbers_are_refused(verdict):
    with pytest.raises(InspectionError):
        clean(verdict)


def test_only_quasars_carry_the_bal_flag():
    assert clean(Verdict(SpecType.STAR, 0.0, 4, is_bal=True)).is_bal is None
    assert clean(Verdict(SpecType.QSO, 2.0, 4, is_bal=True)).is_bal is True


def test_class_names_go_both_ways():
    for spectype in SpecType:
        assert SpecType.from_word(spectype.word) == spectype
    with pytest.raises(ValueError, match="AGN"):
        SpecType.from_word("AGN")
