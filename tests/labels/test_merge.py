import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.errors import InspectionError
from quasarloop.labels.merge import conflicts, from_decision, merge_verdicts, z_range
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

QSO, STAR, GALAXY = SpecType.QSO, SpecType.STAR, SpecType.GALAXY


def test_agreeing_inspectors_merge_to_means():
    merged = merge_verdicts(
        [
            Verdict(QSO, 2.100, 4, is_bal=True, issues="R", comment="broad"),
            Verdict(QSO, 2.103, 3, is_bal=True, issues="SR", comment="noisy"),
            Verdict(QSO, 2.106, 3, comment="broad"),
        ]
    )
    assert merged is not None
    assert merged.spectype == QSO
    assert merged.z == pytest.approx(2.103)
    assert merged.quality == pytest.approx(10 / 3)
    assert (merged.is_bal, merged.n_inspections) == (True, 3)
    assert (merged.issues, merged.comments, merged.comment) == ("RS", "broad noisy", "")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (Verdict(QSO, 1.0, 4), Verdict(QSO, 1.0, 3), ()),
        (Verdict(QSO, 1.0, 4), Verdict(QSO, 1.0, 2), ("quality",)),
        # (1.0066 - 1) / 2 = 0.0033: the limit itself is a conflict; just below is none.
        (Verdict(QSO, 1.0, 4), Verdict(QSO, 1.00661, 4), ("redshift",)),
        (Verdict(QSO, 1.0, 4), Verdict(QSO, 1.0065, 4), ()),
        # The lower redshift divides, whoever gave it.
        (Verdict(QSO, 1.00661, 4), Verdict(QSO, 1.0, 4), ("redshift",)),
        (Verdict(STAR, 0.0, 4), Verdict(STAR, 0.0033, 4), ("redshift",)),
        (Verdict(QSO, 1.0, 4), Verdict(GALAXY, 1.0, 4), ("class",)),
        (Verdict(QSO, 3.0, 4), Verdict(STAR, 0.0, 1), ("quality", "redshift", "class")),
        (Verdict(quality=0), Verdict(quality=1), ()),
        (Verdict(quality=1), Verdict(GALAXY, 0.4, 2), ("class",)),
    ],
)
def test_conflict_rules(first, second, expected):
    assert conflicts([first, second]) == expected
    assert (merge_verdicts([first, second]) is None) == bool(expected)


def test_one_inspection_never_conflicts_and_open_ones_do_not_count():
    only = Verdict(GALAXY, 0.5, 3)
    assert conflicts([only, Verdict(STAR)]) == ()
    merged = merge_verdicts([only, Verdict(STAR)])
    assert merged is not None
    assert (merged.n_inspections, merged.z) == (1, 0.5)


def test_disagreement_on_broad_absorption_leaves_it_unknown():
    merged = merge_verdicts([Verdict(QSO, 2.0, 4, is_bal=True), Verdict(QSO, 2.0, 4, is_bal=False)])
    assert merged is not None
    assert merged.is_bal is None


def test_nothing_to_merge_is_an_error():
    with pytest.raises(InspectionError, match="no complete verdict"):
        merge_verdicts([Verdict(QSO)])


def test_a_decision_keeps_what_the_inspectors_wrote():
    inspectors = [
        Verdict(QSO, 2.0, 4, issues="C", comment="QSO"),
        Verdict(STAR, 0.0, 3, comment="M star"),
    ]
    merged = from_decision(Verdict(QSO, 2.01, 4, comment="Mg II clear"), inspectors)
    assert (merged.spectype, merged.z, merged.quality) == (QSO, 2.01, 4.0)
    assert (merged.issues, merged.comments) == ("C", "QSO M star")
    assert (merged.comment, merged.n_inspections) == ("Mg II clear", 2)
    with pytest.raises(InspectionError, match="needs a quality"):
        from_decision(Verdict(QSO, 2.0), inspectors)


verdicts = st.builds(
    Verdict,
    spectype=st.sampled_from([STAR, GALAXY, QSO]),
    z=st.floats(0, 6),
    quality=st.integers(0, 4),
)


@given(st.lists(verdicts, min_size=1, max_size=5), st.randoms())
def test_merging_does_not_depend_on_the_order(given_verdicts, random):
    shuffled = given_verdicts.copy()
    random.shuffle(shuffled)
    assert conflicts(shuffled) == conflicts(given_verdicts)
    one, other = merge_verdicts(given_verdicts), merge_verdicts(shuffled)
    if one is None or other is None:
        assert one is other
    else:
        assert other.z == pytest.approx(one.z)
        assert other.quality == pytest.approx(one.quality)


def test_z_range_of_few():
    assert z_range([]) == 0
    assert z_range([None, 1.5]) == 0
    assert z_range([1.0, None, 2.0]) == 0.5
