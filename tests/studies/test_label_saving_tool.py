"""The study of labels saved, small: it runs, goes on where it was, and has what must hold."""

import argparse
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from quasarloop.cli import app
from quasarloop.network.features import Features
from quasarloop.network.labelled import TrainingData
from quasarloop.network.weights import default_weights_path, read_weights

_STUDIES = Path(__file__).resolve().parents[2] / "studies"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(_STUDIES))
    return importlib.import_module("label_saving")


@pytest.fixture
def arms(study):
    return importlib.import_module("label_saving_arms")


@pytest.fixture
def page(study):
    return importlib.import_module("label_saving_page")


def _labelled(arms, n, seed):
    """Objects whose features hold their class: quasars at positive logits, with noise."""
    rng = np.random.default_rng(seed)
    weights = read_weights(default_weights_path())
    config = weights.config
    spectype = np.where(rng.random(n) < 0.5, 2, 0)
    data = TrainingData.make(
        rng.normal(size=(n, config.grid.n_bins)).astype(np.float32), spectype, np.full(n, 1.5)
    )
    found = arms.Labelled(data, weights)
    logit = np.where(spectype == 2, 1.0, -1.0) + rng.normal(size=n)
    found.__dict__["features"] = Features(
        rng.random((n, config.n_dense)).astype(np.float32),
        np.repeat(logit[:, None], config.n_lines, axis=1).astype(np.float32),
        np.full(n, 1.5),
        rng.random(n).astype(np.float32),
    )
    found.__dict__["cells"] = rng.integers(-1, 30, n).astype(np.int32)
    return found


@pytest.fixture
def draw(study, arms, monkeypatch):
    monkeypatch.setattr(study, "FIRST", 40)
    monkeypatch.setattr(study, "POOL", 300)
    monkeypatch.setattr(arms, "HEADS", 5)
    sky, poor = _labelled(arms, 600, 1), _labelled(arms, 100, 2)
    return lambda case, seed=3: study.draw_sets(sky, poor, case, seed)


def test_sets_are_disjoint_and_shared_by_cases(draw):
    alike, poor = draw("alike"), draw("poor")
    every = np.concatenate([alike.first_rows, alike.pool, alike.test])
    assert len(np.unique(every)) == len(every) == 600
    assert len(alike.pool) == 300
    np.testing.assert_array_equal(alike.pool, poor.pool)
    np.testing.assert_array_equal(alike.test, poor.test)
    assert poor.first is not poor.sky
    assert alike.first is alike.sky


def test_rounds_keep_their_limits(draw, arms):
    arm = arms.Arm("heads", "ours", (40, 40), random_share=0.25)
    start = draw("alike")
    first, second = arms.chosen(start, arm, [40, 80])
    assert len(np.unique(second.rows)) == 80
    np.testing.assert_array_equal(second.rows[:40], first.rows)
    assert np.isin(second.rows, start.pool).all()
    assert second.at_random.sum() == 20
    assert second.n_left == {1: 300 - 30, 2: 260 - 30}
    for number in (1, 2):
        chosen = second.rows[(second.number == number) & ~second.at_random]
        cells = start.sky.cells[chosen]
        assert cells.min() >= 0  # nothing of cells that hold too few
        assert np.bincount(cells).max() <= 2
    # What is unsure is chosen: logits near 0, which are far from all there are.
    logit = np.abs(start.sky.features.line_logit[:, 0])
    assert logit[second.rows[~second.at_random]].mean() < 0.7 * logit[start.pool].mean()


def test_labels_weighted_back_count_for_the_pool(draw, arms):
    start = draw("alike")
    (random,) = arms.chosen(start, arms.Arm("heads", "random", (50,)), [50])
    weight = random.weights(start)
    assert np.ptp(weight[-50:]) == 0
    assert weight.sum() == pytest.approx(300, rel=0.2)
    # Labels of another survey count for nothing.
    assert not random.weights(draw("poor"))[:40].any()


def test_numbers_of_labels_that_are_missing(study, tmp_path):
    out = tmp_path / "runs.jsonl"
    line = {"case": "alike", "seed": 1, "arm": "from nothing, random"}
    out.write_text(
        "".join(json.dumps(line | {"labels": [n], "at_0.99": [0.5]}) + "\n" for n in (600, 0))
    )
    options = argparse.Namespace(out=out, seeds=[1], arms=[line["arm"]], cases=["alike"])
    assert list(study.missing(options)) == [
        ("alike", 1, line["arm"], [n for n in study.FEW_RANDOM_LABELS if n not in (0, 600)])
    ]
    assert study.labels_of(study.ARMS["heads, ours"]) == [100, 200, 300, 600]


def test_lines_of_one_run_are_put_together(page):
    line = {"case": "poor", "seed": 1, "arm": "heads, random"}
    early = line | {"labels": [0, 600], "at_0.99": [0.1, 0.6], "quasars": [None, 0.5]}
    late = line | {"labels": [300], "at_0.99": [0.3], "quasars": [0.4]}
    other = early | {"seed": 2}
    assert page.merged([early, other, late]) == [
        line | {"labels": [0, 300, 600], "at_0.99": [0.1, 0.3, 0.6], "quasars": [None, 0.4, 0.5]},
        other,
    ]


def test_factor_of_the_choice_is_read_between_random_labels(page):
    def run(arm, labels, reached):
        both = {"at_0.99": reached, "at_0.998": reached}
        return {"case": "alike", "seed": 0, "arm": arm, "labels": labels, **both}

    runs = [
        run("heads, random", [0, 100, 1600], [0.7, 0.8, 0.9]),
        run("heads, ours", [100, 200], [0.85, 0.95]),
    ]
    table = page.factor_table(runs)
    # Half way from 100 to 1600 labels is 400, in logarithms; 0.95 is beyond 1600.
    assert "| 100 | 4.00 | 4.00 | – | – |" in table
    assert "| 200 | > 8.00 | > 8.00 | – | – |" in table
    figure = page.drawn(runs)
    panels = figure.axes
    assert [panel.get_ylabel() for panel in panels] == [
        "completeness at purity 0.99",
        "completeness at purity 0.998",
    ]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["heads, ours", "heads, random"]


def test_networks_are_compared_on_the_seeds_of_the_one_that_leaves(page):
    def run(arm, seed, labels, reached, **more):
        both = {"at_0.99": reached, "at_0.998": [value - 0.1 for value in reached]}
        return {"case": "rare", "seed": seed, "arm": arm, "labels": labels, **both, **more}

    runs = [
        run("no label", 0, [0], [0.5]),
        run("heads, ours", 0, [100, 300], [0.6, 0.8]),
        run("heads, ours", 1, [300], [0.4]),  # nothing left there
        run("fine-tuned, random", 0, [100], [0.9]),
        run(page.LEAVES, 0, [300], [0.8], leaves=["head"]),
    ]
    lines = page.networks_table(runs).splitlines()
    assert lines[0] == "| network | the same T, quasars are rare (seed 0) |"
    assert "| no label | 0.500 / 0.400 |" in lines
    assert "| heads, ours | 0.800 / 0.700 |" in lines
    assert "| fine-tuned, random | – |" in lines
    assert lines[-1] == "| it was | head |"


@pytest.mark.slow
def test_study_runs_and_goes_on(study, arms, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    for name, objects, seed, more in (
        ("sky", 3000, 1, []),
        ("poor", 400, 2, ["--format", "sdss", "--population", _STUDIES / "poor_first_t.toml"]),
    ):
        folder = tmp_path / name
        simulated = ["simulate", "--out", folder, "--objects", objects, "--seed", seed, *more]
        for words in (simulated, ["ingest", folder, "--store", folder / "store"]):
            result = CliRunner().invoke(app, [str(word) for word in words])
            assert result.exit_code == 0, result.output
    monkeypatch.setattr(study, "POOL", 1500)
    monkeypatch.setattr(arms, "HEADS", 10)
    small = {"heads, random": (0, 50), "heads, ours": (25, 25), "no label": (0,)}
    few = {name: study.ARMS[name].__class__(**{**vars(study.ARMS[name]), "labels": labels})
           for name, labels in small.items()}  # fmt: skip
    monkeypatch.setattr(study, "ARMS", few)
    out = tmp_path / "runs.jsonl"
    options = argparse.Namespace(
        sky=tmp_path / "sky", poor=tmp_path / "poor", weights=default_weights_path(),
        out=out, cases=["alike", "poor"], arms=list(few), seeds=[0],
    )  # fmt: skip
    study.run(options)
    text = out.read_text()
    runs = study.merged(study.read_runs(out))
    assert len(runs) == 2 * 3
    assert all(0 < value <= 1 for run in runs for value in run["at_0.99"])
    study.run(options)  # nothing is missing
    assert out.read_text() == text
    out.write_text("".join(text.splitlines(keepends=True)[:-1]))
    study.run(options)  # the last one again, the same
    assert out.read_text() == text
