"""A campaign that begins from weights: heads vote, and of several networks the best leaves."""

import contextlib
import re
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.campaign import test_run
from tests.campaign.test_run import begin, config, kill_once, results

from quasarloop.artefacts import read_manifest
from quasarloop.campaign.config import CampaignOptions, EnsembleSection, TrainingSection
from quasarloop.campaign.config_file import config_text, read_config, recipe, write_config
from quasarloop.campaign.run import campaign_status, run_campaign
from quasarloop.campaign.state import Context, StepState
from quasarloop.campaign.steps.evaluation import (
    AGAIN,
    _of_lines,
    _sharing_trunks,
    _test_data,
    read_judgements,
    read_numbers,
)
from quasarloop.campaign.steps.labels import read_labels
from quasarloop.campaign.steps.verdict import verdict_of
from quasarloop.errors import CampaignError, WeightsError
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.evaluate.metrics import completeness_at_purity
from quasarloop.grid import LINEAR_GRID
from quasarloop.network.config import preset
from quasarloop.network.decode import decode, emission_lines
from quasarloop.network.model import LineFinder
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import (
    default_weights_path,
    from_module,
    read_weights,
    write_weights,
)

HEADS = 12


sky = test_run.sky


def from_weights(**changes) -> CampaignOptions:
    """Heads on the shipped weights; all candidates."""
    options = config(rounds=2)
    return replace(
        options,
        ensemble=EnsembleSection(networks=HEADS),
        training=TrainingSection(epochs=1, rehearsal=1),
        selection=replace(options.selection, random_share=(0.5, 0.4)),
        # So many that some drawn at random of both classes are among them.
        evaluation=replace(options.evaluation, validation=0.5),
        **changes,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory, sky):
    place = tmp_path_factory.mktemp("finished")
    folder = begin(place, sky, from_weights())
    with contextlib.chdir(place):
        assert run_campaign(folder.name) == 2
    return folder


def test_every_truth_set_has_a_head_and_the_newest_all_candidates(finished):
    for number in (1, 2):
        networks = finished / "rounds" / f"{number:02d}" / "networks"
        sizes = read_manifest(networks / "sets.json")["sizes"]
        sets = [f"T{k}" for k in range(number + 1)]
        assert set(sizes) == {"start", *sets, "random", "finetune", "rehearse", "final"}
        assert sizes["start"] == 0
        assert sizes["finetune"] == sizes["rehearse"] == sizes[sets[-1]]
        assert (networks / "T0-bootstrap-1.h5").is_file()
        found = read_manifest(networks / "candidates.json")
        assert set(found["scores"]) == {"start", "head", "finetune", "rehearse"}
        leaves = found["leaves"]
        final = read_weights(networks / "final.h5")
        assert ("head" in final.provenance) == (leaves == "head")
        if leaves == "start":
            assert final.digest() == read_weights(networks / "start.h5").digest()
        elif leaves != "head":
            assert final.provenance["n_training_rows"] == sizes["final"]


def test_heads_share_the_trunk_and_start_is_as_it_was_given(finished):
    networks = finished / "rounds" / "02" / "networks"
    first, head = (read_weights(networks / f"{name}.h5") for name in ("start", "T2"))
    changed = {
        name for name in first.arrays if not np.array_equal(first.arrays[name], head.arrays[name])
    }
    assert changed == {f"fc_box_{i}/{part}" for i in range(6) for part in ("kernel", "bias")}
    assert head.thresholds == first.thresholds


def test_features_are_made_once_for_all_rounds(finished):
    (features,) = (finished / "stores" / "pool" / "features").iterdir()
    votes = finished / "rounds" / "02" / "votes" / "votes.json"
    assert (features / "features.json").stat().st_mtime_ns < votes.stat().st_mtime_ns
    assert read_manifest(votes)["n_networks"] == HEADS


def test_candidates_are_judged_on_random_labels_weighted_back(finished):
    found = read_manifest(finished / "rounds" / "02" / "networks" / "candidates.json")
    assert found["weighted"]
    n_labels = {name: score["n_labels"] for name, score in found["scores"].items()}
    held_out = read_manifest(finished / "rounds" / "02" / "networks" / "sets.json")["validation"]
    assert 0 < n_labels["finetune"] == n_labels["rehearse"] <= held_out
    assert n_labels["finetune"] < n_labels["start"] == n_labels["head"]


def test_report_begins_with_what_labels_were_worth(finished):
    context = Context(finished, read_config(finished), 2)
    networks = context.step_folder("networks")
    sizes = read_manifest(networks / "sets.json")["sizes"]
    if read_manifest(networks / "candidates.json")["leaves"] == "start":
        assert sizes["final"] == 0  # labels that the network as it was given learned from
    verdict = verdict_of(context)
    headline, leaves, good, against, random, cost = verdict.sentences
    names = ["start", "T0", "T1", "T2", "random", "finetune", "rehearse", "final"]
    assert [row[0] for row in verdict.table.rows] == names
    assert [row[2] for row in verdict.table.rows] == [str(sizes[name]) for name in names]
    judged = read_judgements(context, "test")
    found = [[float(cell.split(" ± ")[0]) for cell in row[3:5]] for row in verdict.table.rows]
    np.testing.assert_allclose(found, [judged[name].at_purity for name in names], atol=6e-4)
    gains = np.subtract(judged["final"].at_purity, judged["start"].at_purity)
    assert [row[5].split(" ± ")[0] for row in verdict.table.rows][-1] == f"{gains[0]:+.3f}"
    for gain, purity in zip(gains, FIXED_PURITIES, strict=True):
        word = "more" if gain >= 0 else "less"
        more = rf"{abs(gain):.3f} ± \d.\d{{3}} {word}" if sizes["final"] else "equally"
        assert re.search(rf"{more} complete at purity {purity}", against)
    assert re.search(rf"{judged['final'].at_purity[0]:.3f} (± \d|\(in every)", good)
    assert f"{judged['final'].n_judged} test spectra" in good
    assert f"on all {sizes['final']} labelled spectra" in leaves or "as they were given" in leaves
    assert "T2 against random" in random
    rounds = [Context(finished, context.config, number) for number in (1, 2)]
    n_labels = sum(len(labels) for one in rounds for labels in read_labels(one).values())
    assert n_labels >= 12 + 9
    assert f"{n_labels} labels in 2 rounds, about {n_labels * 3 / 60:.1f} hours" in cost
    assert "in use" in headline or "as they were given" in headline


def test_report_has_its_figures_and_its_numbers(finished):
    context = Context(finished, read_config(finished), 2)
    text = (context.step_folder("report") / "report.html").read_text()
    titles = (
        *verdict_of(context).sentences,
        "Completeness against labelled spectra",
        "Which network leaves",
        "Is it the data or only their",
        "Lines taken for others",
    )
    assert all(title in text for title in titles)
    candidates = text[text.index("Which network leaves") :]
    places = [candidates.index(f"<td>{name}") for name in ("start", "head", "finetune", "rehearse")]
    assert places == sorted(places)  # the rule prefers those listed first
    numbers = read_manifest(context.step_folder("report") / "report.json")
    assert numbers["verdict"] == list(verdict_of(context).sentences)
    judged = read_judgements(context, "test")
    for name, record in numbers["networks"].items():
        np.testing.assert_allclose(record["completeness"], judged[name].at_purity)
    assert numbers["judged"]["test"] == read_numbers(context, "test")
    assert numbers["cost"]["hours"] == numbers["cost"]["labels"] * 3 / 60


def test_bootstrapped_heads_are_judged_as_their_files_are(finished):
    context = Context(finished, read_config(finished), 2)
    found = read_numbers(context, AGAIN)
    assert {name: len(values) for name, values in found.items()} == {"T0": 1, "T1": 1}
    predictor = Predictor(read_weights(context.step_folder("networks") / "T0-bootstrap-1.h5"))
    data = _test_data(context)
    finds = decode(predictor.predict(data.flux), predictor.config)
    confidence = emission_lines(finds, predictor.config, 1).confidence
    expected = [completeness_at_purity(confidence, data.is_qso, p) for p in FIXED_PURITIES]
    np.testing.assert_allclose(found["T0"][0], expected, atol=1.1 / data.is_qso.sum())


def test_networks_of_one_trunk_are_judged_as_each_alone(finished):
    context = Context(finished, read_config(finished), 2)
    table = pl.read_parquet(context.step_folder("evaluation") / "test.parquet")
    data, networks = _test_data(context), context.step_folder("networks")
    names = table["NETWORK"].unique(maintain_order=True)
    groups = _sharing_trunks({name: networks / f"{name}.h5" for name in names})
    (shared,) = ({name for name, _ in group} for group in groups if "start" in dict(group))
    assert {"T0", "T1", "T2"} <= shared
    assert {"finetune", "rehearse"}.isdisjoint(shared)
    for name in ("start", "T2", "finetune"):
        predictor = Predictor(read_weights(networks / f"{name}.h5"))
        alone = decode(predictor.predict(data.flux), predictor.config)
        rows = table.filter(pl.col("NETWORK") == name)
        emission = list(predictor.config.emission_index)
        for found, values in zip(_of_lines(rows), (alone.confidence, alone.z), strict=True):
            np.testing.assert_allclose(found, values[:, emission], atol=1e-5)
        # Judged redshifts are those of the most confident line.
        best = emission_lines(alone, predictor.config, 1)
        judgement = read_judgements(context, "test")[name]
        both = judgement.thresholds.is_quasar(best.confidence) & data.is_qso
        # Of two lines that are alike to rounding, either gives the redshift.
        first = np.sort(alone.confidence[both][:, emission], axis=1)
        clear = first[:, -1] - first[:, -2] > 1e-6
        np.testing.assert_allclose(judgement.z[clear], best.z[both][clear], atol=1e-5)
        np.testing.assert_array_equal(judgement.z_true, data.z[both])


def test_killed_campaign_with_heads_ends_with_the_same_bytes(tmp_path, sky, finished):
    folder = begin(tmp_path, sky, from_weights())
    kill_once(folder, "01/networks/T0.h5")
    kill_once(folder, "01/report/manifest.json")
    ours, theirs = (
        {name: digest for name, digest in results(place).items() if name.startswith("rounds/01/")}
        for place in (folder, finished)
    )
    assert [name for name in theirs if ours.get(name) != theirs[name]] == []
    assert set(ours) == set(theirs)


def test_other_weights_make_stale_what_depends_on_them(tmp_path, finished):
    folder = tmp_path / "campaign"
    shutil.copytree(finished, folder)
    shutil.copytree(finished.parent / "sky", tmp_path / "sky")
    network = preset("green2025", n_filters=4)
    write_weights(from_module(LineFinder(network).eval()), tmp_path / "others.h5")
    options = from_weights()
    changed = replace(options, ensemble=replace(options.ensemble, start="../others.h5"))
    write_config(folder, changed)
    states = {(number, step.name): state for number, step, state, _ in campaign_status(folder)}
    assert states[1, "ingest"] is StepState.DONE
    assert states[1, "ensemble"] is StepState.STALE


def test_weights_on_another_grid_are_refused(tmp_path, sky):
    options = from_weights()
    section = replace(options.ensemble, start=str(default_weights_path(LINEAR_GRID)))
    folder = begin(tmp_path, sky, replace(options, ensemble=section))
    with pytest.raises(WeightsError, match="set grid under"):
        run_campaign(folder)


@pytest.mark.parametrize(("kind", "start_from"), [("heads", ""), ("networks", "shipped")])
def test_kind_and_start_must_fit(kind, start_from):
    with pytest.raises(CampaignError, match="heads need weights to start from"):
        EnsembleSection(kind=kind, start=start_from)


def test_recipe_of_the_paper_is_complete(tmp_path):
    paper = recipe("paper")
    write_config(tmp_path, paper)
    assert read_config(tmp_path) == paper
    assert (paper.ensemble.kind, paper.ensemble.start, paper.training.start) == ("networks", "", "")
    assert (paper.ensemble.networks, paper.ensemble.filters) == (200, 100)
    assert (paper.selection.score, paper.selection.draw, paper.selection.n) == (
        "entropy",
        "top",
        1000,
    )
    assert (paper.selection.per_cell, paper.selection.random_share) == (0, 0.0)
    assert (paper.map.rows, paper.map.columns, paper.map.percentile) == (45, 45, 15.0)
    assert (paper.evaluation.threshold, paper.evaluation.bootstraps) == (0.95, 10)
    assert paper.training.epochs == 100
    assert recipe("quasarloop") == CampaignOptions()


def test_campaign_of_an_earlier_version_is_told_how_to_go_on(tmp_path):
    text = config_text(CampaignOptions()).replace('kind = "heads"\n', "")
    (tmp_path / "campaign.toml").write_text(text)
    read_config(tmp_path)  # nothing was done with it yet
    (tmp_path / "rounds").mkdir()
    with pytest.raises(CampaignError, match=r'add kind = "networks" and start = ""'):
        read_config(tmp_path)
