"""What the page and `labels agreement` show of inspectors' agreement; final labels as truth."""

import logging
from dataclasses import fields
from xml.etree import ElementTree

import numpy as np
import pytest

from quasarloop.labels.agreement import (
    agreement,
    agreement_figure,
    agreement_svg,
    agreement_table,
)
from quasarloop.labels.merge import Merged, conflicts, from_truth, to_truth
from quasarloop.labels.verdict import Verdict, verdict_definition
from quasarloop.truth import SpecType, TruthTable

QSO, STAR = SpecType.QSO, SpecType.STAR
VERDICTS = {
    1: {"ada": Verdict(QSO, 1.0, 4), "bea": Verdict(QSO, 1.002, 3)},
    2: {"ada": Verdict(QSO, 2.0, 4), "bea": Verdict(STAR, 0.0, 4)},
    3: {"ada": Verdict(STAR, 0.0, 3), "bea": Verdict(STAR, 0.0, 3)},
    4: {"ada": Verdict(QSO, 1.0, 4), "cyn": Verdict(QSO, 1.0, 4)},
}


def test_the_table_has_a_row_per_pair_and_one_for_all():
    heading, first, second, every = agreement_table(agreement(VERDICTS))
    assert heading[:2] == ("inspectors", "objects")
    assert (first[:2], second[:2]) == (("ada – bea", "3"), ("ada – cyn", "1"))
    assert every[:2] == ("all", "4")
    assert len({len(row) for row in (heading, first, second, every)}) == 1
    assert "–" in second  # of one object there is no alpha
    assert not any("nan" in cell for cell in (*first, *second, *every))


def test_the_figure_counts_pairs_of_classes():
    found = agreement(VERDICTS)
    alpha, pairs, confusion = agreement_figure(found).axes
    names = [label.get_text() for label in pairs.get_yticklabels()]
    assert names == ["ada – bea", "ada – cyn"]
    same_class = pairs.lines[0].get_xdata()
    assert same_class == pytest.approx([200 / 3, 100])
    assert [int(text.get_text()) for text in confusion.texts] == found.confusion.ravel().tolist()
    assert found.confusion.sum() == 2 * 4
    assert "4 objects" in alpha.get_title()


@pytest.mark.parametrize("verdicts", [VERDICTS, {}], ids=["some", "none"])
def test_the_svg_is_the_same_for_the_same_numbers(verdicts):
    one, other = (agreement_svg(agreement(verdicts)) for _ in range(2))
    assert ElementTree.fromstring(one).tag.endswith("svg")
    assert one == other


def test_final_labels_are_truth_and_back(caplog):
    merged = {
        7: Merged(QSO, 2.1, 3.5, is_bal=True),
        8: Merged(STAR, 0.0, 4.0, is_bal=None),
        9: Merged(QSO, 0.7, 2.0, is_bal=False),
    }
    truth = to_truth(merged, "merged")
    assert truth.bal.tolist() == [1, -1, 0]
    back = from_truth(truth)
    assert back.keys() == merged.keys()
    for target, label in merged.items():
        got = back[target]
        assert (got.spectype, got.is_bal, got.quality) == (
            label.spectype, label.is_bal, label.quality,
        )  # fmt: skip
        assert got.z == pytest.approx(label.z)
        assert got.verdict == Verdict(label.spectype, got.z, label.quality, label.is_bal)
    unknown = TruthTable.make(
        np.array([1, 2]), np.array([SpecType.UNKNOWN, QSO], np.int8), np.array([1.0, np.nan])
    )
    with caplog.at_level(logging.WARNING):
        assert from_truth(unknown) == {}
    assert "2 of 2 labels have no class or no redshift" in caplog.text


def test_nothing_complete_is_no_conflict():
    assert conflicts([Verdict(QSO), Verdict(STAR)]) == ()


def test_the_page_has_every_field_of_a_verdict():
    definition = verdict_definition()
    assert definition["blank"].keys() == {field.name for field in fields(Verdict)}
    assert definition["classes"] == ["STAR", "GALAXY", "QSO"]
