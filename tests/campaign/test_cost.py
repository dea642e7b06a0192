"""The demonstration: a survey the shipped weights do not know, and its cost from measured rates."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from quasarloop.campaign import demo
from quasarloop.campaign.demo import SMALL, estimate_cost, simulate_demo
from quasarloop.cli import app
from quasarloop.network.finetune import finetune
from quasarloop.network.options import FinetuneOptions
from quasarloop.read import read_truth
from quasarloop.simulate.population import Population
from quasarloop.truth import SpecType


def test_training_is_measured_as_the_campaign_trains(monkeypatch):
    seen = []

    def watched(weights, data, options, **more):
        seen.append((options, len(data)))
        return finetune(weights, data[:64], options, **more)

    monkeypatch.setattr(demo, "finetune", watched)
    one, two = estimate_cost(SMALL, 1), estimate_cost(SMALL, 2)
    for options, n in seen:
        assert options == replace(FinetuneOptions(), epochs=1, rehearsal=0)
        assert n == demo._SAMPLE
    assert one.train_hours > 0
    assert one.disk_gb == two.disk_gb > 0
    assert "hours" in one.describe()
    twice = replace(SMALL, n_pool=SMALL.n_pool + SMALL.n_spectra)
    assert twice.n_spectra == 2 * SMALL.n_spectra
    assert estimate_cost(twice, 1).disk_gb == pytest.approx(2 * one.disk_gb)


def test_the_papers_scale_is_not_begun_without_a_yes(tmp_path, monkeypatch):
    cost = SimpleNamespace(describe=lambda: "some 40 hours")
    monkeypatch.setattr(demo, "estimate_cost", lambda scale, workers: cost)
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(app, ["demo", "--paper-scale"], input="n\n")
    assert refused.exit_code == 1
    assert "some 40 hours" in refused.output
    assert list(tmp_path.iterdir()) == []


def test_the_survey_is_not_what_the_shipped_weights_learned(tmp_path):
    tiny = replace(SMALL, n_pool=400, n_repeated=1, n_first=1, n_test=1)
    simulate_demo(tmp_path, tiny, 1)
    truth = read_truth(tmp_path / "sky" / "pool" / "truth.csv")
    quasar = truth.spectype == SpecType.QSO
    known = Population().quasars
    assert 0.15 < quasar.mean() < 0.35 < known.weight
    # 100 quasars: 35 ± 5 with broad absorption, where the weights learned of 13.
    assert (truth.bal[quasar] == 1).mean() > 0.2 > known.bal_fraction
