"""Planted numbers come out in the verdict's words, its table and its JSON."""

import json

import numpy as np
import polars as pl
import pytest

from quasarloop.artefacts import write_manifest
from quasarloop.campaign.config import CampaignOptions, EvaluationSection
from quasarloop.campaign.layout import LEDGER
from quasarloop.campaign.ledger import Origin, add_labels, new_ledger, write_ledger
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.verdict import verdict_of
from quasarloop.truth import TruthTable


def labels(ids):
    return TruthTable.make(np.array(ids), np.full(len(ids), 2), np.ones(len(ids)))


def numbers(at_purity, error, above=None):
    of = {"0.99": at_purity, "0.998": at_purity - 0.1}
    errors = {"0.99": error, "0.998": error}
    compared = {
        other: {
            "completeness_at_purity": {"0.99": gain, "0.998": gain / 2},
            "error": {"0.99": 0.01, "0.998": 0.02},
        }
        for other, gain in (above or {}).items()
    }
    return {
        "n_judged": 2000,
        "n_true": 700,
        "completeness_at_purity": of,
        "completeness_at_purity_error": errors,
        "above": compared,
    }


def campaign(folder, *, gain=0.05, way="head", test_objects=(101, 102), reference="", error=0.025):
    """A round of known numbers; the weights in use are the reference, or those at the start."""
    context = Context(folder, CampaignOptions(evaluation=EvaluationSection(reference=reference)), 1)
    for step in ("networks", "evaluation", "truth", "labels"):
        context.step_folder(step).mkdir(parents=True)
    ledger = add_labels(
        new_ledger(labels([1, 2])), labels([3, 4, 5]), origin=Origin.LOOP, round_number=1
    )
    write_ledger(ledger, context.step_folder("truth") / LEDGER)
    networks, evaluation = context.step_folder("networks"), context.step_folder("evaluation")
    sizes = {"start": 0, "T0": 200, "T1": 300, "random": 290, "final": 0 if way == "start" else 400}
    write_manifest(networks / "sets.json", {"sizes": sizes, "validation": 100})
    write_manifest(networks / "candidates.json", {"leaves": way, "scores": {}})
    base = "dr1" if reference else "start"
    found = {
        "start": numbers(0.80, 0.02),
        "T0": numbers(0.81, 0.02, {base: 0.01, "random": -0.02}),
        "T1": numbers(0.84, 0.03, {base: 0.04, "random": 0.01}),
        "random": numbers(0.83, 0.03, {base: 0.03, "random": 0.0}),
        "final": numbers(0.80 + gain, error, {base: gain, "random": 0.02}),
    }
    if reference:
        found["dr1"] = numbers(0.70, 0.02)
    write_manifest(evaluation / "numbers.json", {"test": found})
    pl.DataFrame({"OBJECT_ID": test_objects}).write_parquet(evaluation / "test.parquet")
    return context


def test_a_bootstrap_without_scatter_gives_no_error(tmp_path):
    good = verdict_of(campaign(tmp_path, error=0.0)).sentences[2]
    assert "final finds 0.850 (in every resampling) of the quasars at purity 0.99" in good
    assert "± 0.000" not in good


def test_every_sentence_has_its_numbers(tmp_path):
    context = campaign(tmp_path)
    verdict = verdict_of(context)
    headline, leaves, good, against, random, cost = verdict.sentences
    assert headline == "The labels helped: the weights that leave are better than those in use."
    assert leaves.endswith("on all 400 labelled spectra.")
    assert "0.850 ± 0.025 of the quasars at purity 0.99" in good
    assert "0.750 ± 0.025 of the quasars at purity 0.998" in good
    assert "(2,000 test spectra, 700 of them quasars, none of them with a label in T)" in good
    assert "Against start" in against
    assert "0.050 ± 0.010 more complete at purity 0.99 (5.0 σ)" in against
    assert "0.025 ± 0.020 more complete at purity 0.998 (1.2 σ)" in against
    assert "T1 against random" in random
    assert "0.010 ± 0.010 more complete at purity 0.99 (1.0 σ)" in random
    assert "3 labels in 1 round" in cost
    rows = {row[0]: row for row in verdict.table.rows}
    assert list(rows) == ["start", "T0", "T1", "random", "final"]
    assert rows["T0"][1:] == [
        *("the first T", "200", "0.810 ± 0.020", "0.710 ± 0.020"),
        *("+0.010 ± 0.010", "+0.005 ± 0.020"),
    ]
    record = json.loads(json.dumps(verdict.numbers))
    np.testing.assert_allclose(record["networks"]["final"]["completeness"], [0.85, 0.75])
    assert record["networks"]["final"]["above"]["start"]["error"]["0.99"] == 0.01
    assert record["cost"]["labels"] == 3


@pytest.mark.parametrize(
    ("gain", "way", "words"),
    [
        (0.05, "head", "The labels helped"),
        (0.0199, "head", "neither better nor worse than those in use, within 2 σ"),
        (-0.05, "head", "worse than those in use: keep those in use"),
        (0.0, "start", "No training on the labels was better"),
    ],
)
def test_headline_is_what_the_errors_allow(tmp_path, gain, way, words):
    verdict = verdict_of(campaign(tmp_path, gain=gain, way=way))
    assert words in verdict.sentences[0]
    final = next(row for row in verdict.table.rows if row[0] == "final")
    assert final[2] == ("0" if way == "start" else "400")


def test_weights_in_use_are_those_that_were_named(tmp_path):
    verdict = verdict_of(campaign(tmp_path, reference="old/dr1.h5"))
    assert verdict.sentences[3].startswith("Against dr1, the weights in use: 0.050 ± 0.010 more")
    assert [row[0] for row in verdict.table.rows][:2] == ["dr1", "start"]
    assert "above dr1 at 0.99" in verdict.table.header


def test_judged_objects_with_labels_are_reported(tmp_path):
    verdict = verdict_of(campaign(tmp_path, test_objects=(101, 102, 3, 3)))
    assert "1 of their 3 objects have labels in T: no fair test" in verdict.sentences[2]
