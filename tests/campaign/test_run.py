"""A small campaign on a simulated sky: goes on from anywhere, ends with the same bytes."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from quasarloop.artefacts import locked_folder, read_manifest
from quasarloop.campaign.config import (
    CampaignOptions,
    DataSection,
    EnsembleSection,
    EvaluationSection,
    InspectionSection,
    MapSection,
    OracleSection,
    SelectionSection,
    TrainingSection,
)
from quasarloop.campaign.config_file import write_config
from quasarloop.campaign.ledger import read_ledger
from quasarloop.campaign.people import withdraw_targets
from quasarloop.campaign.run import (
    Campaign,
    campaign_status,
    run_campaign,
)
from quasarloop.campaign.state import StepState, damaged_files
from quasarloop.campaign.steps.redshifts import label_before
from quasarloop.cli import app
from quasarloop.errors import CampaignError, OutputError
from quasarloop.read import read_truth, write_truth
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.observing import ObservingOptions
from quasarloop.simulate.population import Population
from quasarloop.simulate.survey import SurveyOptions, simulate_survey

N_CHOSEN = {1: 12, 2: 9}


def simulate(folder: Path, n: int, seed: int, exposures: int = 1) -> None:
    sky = ModelSky(Population(), None)
    observing = ObservingOptions(exposures=exposures)
    plan = SurveyOptions(folder, seed=seed, source=sky, observing=observing)
    simulate_survey(plan, n)


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sky")
    simulate(folder / "pool", 150, seed=1)
    simulate(folder / "repeats", 20, seed=4, exposures=2)
    simulate(folder / "first", 60, seed=2)
    simulate(folder / "test", 60, seed=3)
    return folder


def config(rounds: int = 1, by: str = "oracle", **more) -> CampaignOptions:
    return CampaignOptions(
        rounds=rounds,
        data=DataSection(
            unlabelled=("../sky/pool", "../sky/repeats"),
            labelled=("../sky/first",),
            truth=("../sky/first/truth.csv",),
        ),
        ensemble=EnsembleSection(
            kind="networks", start="", networks=2, epochs=2, learning_rate=1e-3, filters=4
        ),
        map=MapSection(rows=4, columns=4, epochs=2),
        selection=SelectionSection(
            n=tuple(N_CHOSEN.values()), n_outliers=3, random_share=(0.5, 0.0)
        ),
        inspection=InspectionSection(
            by=by,
            oracle=OracleSection(
                truth=("../sky/pool/truth.csv", "../sky/repeats/truth.csv"), unsure=0.2
            ),
        ),
        training=TrainingSection(
            start="", epochs=2, learning_rate=3e-3, schedule="cosine", filters=4
        ),
        evaluation=EvaluationSection(
            test=("../sky/test",),
            test_truth=("../sky/test/truth.csv",),
            random_control=by == "oracle",
            bootstraps=1,
        ),
        **more,
    )


def begin(place: Path, sky: Path, options: CampaignOptions) -> Path:
    shutil.copytree(sky, place / "sky")
    folder = place / "campaign"
    folder.mkdir()
    write_config(folder, options)
    return folder


def results(folder: Path) -> dict[str, str]:
    """Checksums of everything the rounds made."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "rounds").rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory, sky):
    """Two rounds, undisturbed."""
    place = tmp_path_factory.mktemp("finished")
    folder = begin(place, sky, config(rounds=2))
    # A relative path: what is written names its sources as they were given.
    with contextlib.chdir(place):
        assert run_campaign(folder.name) == 2
    return folder


def test_rounds_leave_everything_a_survey_needs(finished):
    for number in (1, 2):
        place = finished / "rounds" / f"{number:02d}"
        chosen = pl.read_parquet(place / "selection" / "selection.parquet")
        assert len(chosen) == N_CHOSEN[number]
        assert (place / "networks" / "final.h5").is_file()
        assert (place / "report" / "report.html").stat().st_size > 50_000
        assert (place / "report" / "report.pdf").read_bytes().startswith(b"%PDF")
    ledger = read_ledger(finished / "rounds" / "02" / "truth" / "ledger.parquet")
    counts = dict(ledger.filter(ledger["ORIGIN"] == "loop").group_by("ROUND").len().iter_rows())
    assert counts == N_CHOSEN
    assert {state for *_, state, _ in campaign_status(finished)} == {StepState.DONE}
    assert damaged_files(finished) == []


def test_no_object_is_chosen_twice(finished):
    chosen = [
        pl.read_parquet(finished / "rounds" / number / "selection" / "selection.parquet")
        for number in ("01", "02")
    ]
    first = read_truth(finished.parent / "sky" / "first" / "truth.csv")
    objects = np.concatenate([frame["OBJECT_ID"].to_numpy() for frame in chosen])
    assert len(np.unique(objects)) == sum(N_CHOSEN.values())
    assert not np.isin(objects, first.object_id).any()


def test_as_many_random_labels_are_drawn_as_the_loop_has_chosen(finished):
    folders = [finished / "rounds" / number / "selection" for number in ("01", "02")]
    random = [pl.read_parquet(folder / "random_control.parquet") for folder in folders]
    assert [len(frame) for frame in random] == [12, 12 + 9]
    assert set(random[0]["TARGETID"]) < set(random[1]["TARGETID"])


def test_validation_objects_train_no_network_but_the_final(finished):
    folder = finished / "rounds" / "02" / "networks"
    record = read_manifest(folder / "sets.json")
    sizes = record["sizes"]
    # The newest set without the validation spectra, and the final one with them.
    assert sizes["T2"] + record["validation"] == sizes["final"]
    assert sizes["T0"] <= sizes["T1"] <= sizes["T2"]


def cells(*values) -> str:
    return "".join(f"<td>{value}</td>" for value in values)


def test_weights_that_leave_are_held_against_the_first_on_unlabelled_spectra(finished):
    place = finished / "rounds" / "02"
    numbers = read_manifest(place / "redshifts" / "redshifts.json")
    said = {
        label: pl.read_parquet(place / "redshifts" / f"{name}.parquet")
        for label, name in (("T0", "before"), ("final", "final"))
    }
    labelled = read_truth(place / "truth" / "truth.csv").object_id
    for label, frame in said.items():
        # 150 of the pool, 20 seen twice and their coadds, 60 of the test: nothing lost.
        assert len(frame) == 150 + 3 * 20 + 60
        unlabelled = frame.filter(~pl.col("OBJECT_ID").is_in(labelled.tolist()))
        single = unlabelled.filter(pl.col("EXPID") > 0)
        counts = single.group_by("OBJECT_ID").agg(n=pl.len(), q=pl.col("IS_QSO").sum())
        twice = counts.filter(pl.col("n") == 2)
        repeats = numbers["one line"]["repeats"][label]
        assert 0 < repeats["objects"] == len(twice) < 20
        assert repeats["confused"] == len(twice.filter(pl.col("q") == 1))
        assert numbers["spectra"] == len(unlabelled)
    compared = numbers["all lines together"]["comparison"]
    assert compared["spectra"] == numbers["spectra"]
    first, last = (
        frame.filter(~pl.col("OBJECT_ID").is_in(labelled.tolist()))["IS_QSO"].to_numpy()
        for frame in said.values()
    )
    assert compared["only T0"] == (first & ~last).sum()
    assert compared["quasars of both"] == (first & last).sum()
    text = (place / "report" / "report.html").read_text()
    assert "Repeats: is an object called the same each time?" in text
    for label in said:
        one = numbers["one line"]["repeats"][label]
        assert cells(label, "one line", one["objects"], one["confused"]) in text
    one = numbers["one line"]["comparison"]
    shown = ("spectra", "quasars of both", "only T0", "only final", "within 3000 km/s")
    assert cells("one line", *(one[name] for name in shown)) in text
    assert "Old weights and new" in text


def test_todays_weights_are_the_reference_if_named(tmp_path, finished):
    folder = tmp_path / "campaign"
    shutil.copytree(finished, folder)
    shutil.copytree(finished.parent / "sky", tmp_path / "sky")
    options = config(rounds=2)
    named = replace(options.evaluation, reference="../today.h5")
    write_config(folder, replace(options, evaluation=named))
    with pytest.raises(CampaignError, match=r"today\.h5 is missing; it is named in campaign"):
        run_campaign(folder, redo=lambda _: True)
    final = folder / "rounds/02/networks/final.h5"
    shutil.copy(final, tmp_path / "today.h5")
    before = final.stat().st_mtime_ns
    run_campaign(folder, redo=lambda _: True)
    assert final.stat().st_mtime_ns == before, "only what depends on the reference is made again"
    numbers = read_manifest(folder / "rounds/02/redshifts/redshifts.json")
    compared = numbers["one line"]["comparison"]
    assert compared["only today"] == compared["only final"] == 0
    assert compared["confusions"] == []


@pytest.mark.parametrize(
    ("reference", "label"),
    [("", "T0"), ("old/dr1.h5", "dr1"), ("../last/rounds/02/networks/final.h5", "reference")],
)
def test_weights_before_are_never_called_as_those_that_leave(reference, label):
    evaluation = EvaluationSection(reference=reference)
    options = CampaignOptions(evaluation=evaluation, training=TrainingSection(start=""))
    assert label_before(options) == label
    from_weights = CampaignOptions(evaluation=evaluation)
    assert label_before(from_weights) == (label if reference else "start")


def test_second_run_touches_nothing(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
    with contextlib.chdir(finished.parent):
        assert run_campaign(finished.name) == 2
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()} == before


def test_nothing_changes_a_campaign_that_another_command_runs(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
    with locked_folder(finished):
        for command in (
            lambda: run_campaign(finished),
            lambda: withdraw_targets(finished, [1], "a third of the grid is corrupted"),
            Campaign(finished).next,
        ):
            with pytest.raises(OutputError, match=rf"in use by process {os.getpid()} on"):
                command()
        assert {state for *_, state, _ in campaign_status(finished)} == {StepState.DONE}
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()} == before


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Run a campaign in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "quasarloop", "campaign", "run", folder.name],
        cwd=folder.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_once(folder: Path, done: str) -> None:
    """Run, and kill as soon as a file of that pattern is there."""
    process = start(folder)
    while not any((folder / "rounds").glob(done)):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def assert_same_results(folder: Path, finished: Path) -> None:
    ours, theirs = results(folder), results(finished)
    assert set(ours) == set(theirs)
    different = [name for name in theirs if ours[name] != theirs[name]]
    assert different == []


def test_killed_campaign_ends_with_the_same_bytes(tmp_path, sky, finished):
    folder = begin(tmp_path, sky, config(rounds=2))
    kill_once(folder, "01/ensemble/members/*.h5")
    kill_once(folder, "02/votes/manifest.json")
    with contextlib.chdir(tmp_path):
        assert run_campaign(folder.name) == 2
    assert_same_results(folder, finished)


def test_changed_setting_is_named_and_made_again_only_if_asked(tmp_path, finished):
    folder = tmp_path / "campaign"
    shutil.copytree(finished, folder)
    shutil.copytree(finished.parent / "sky", tmp_path / "sky")
    write_config(folder, replace(config(rounds=2, workers=1), name="another"))
    with pytest.raises(CampaignError, match=r"report is stale \(name 'campaign' -> 'another'"):
        run_campaign(folder)
    asked = []
    run_campaign(folder, redo=lambda question: asked.append(question) or True)
    assert len(asked) == 1
    assert "another: round 2" in (folder / "rounds/02/report/report.html").read_text()


def command(*words, status: int = 0) -> str:
    """Run a campaign command and return its output; its errors are raised."""
    run = CliRunner().invoke(app, ["campaign", *map(str, words)], catch_exceptions=False)
    assert run.exit_code == status, run.output
    return run.output


def test_people_close_a_round(tmp_path, sky):
    folder = begin(tmp_path, sky, config(by="people"))
    assert "campaign close" in command("run", folder)
    with pytest.raises(CampaignError, match="not finished"):
        command("next", folder)
    chosen = pl.read_parquet(folder / "rounds/01/selection/selection.parquet")
    pool = read_truth(sky / "pool" / "truth.csv")
    repeats = read_truth(sky / "repeats" / "truth.csv")
    write_truth(pool[np.isin(pool.target_id, repeats.target_id)], tmp_path / "none.csv")
    with pytest.raises(CampaignError, match="none of its 0 targets"):
        command("close", folder, "--labels", tmp_path / "none.csv")
    ids = chosen["TARGETID"].to_numpy()
    labelled = pool[np.isin(pool.target_id, ids)]
    write_truth(labelled, tmp_path / "merged.csv")
    came = command("close", folder, "--labels", tmp_path / "merged.csv")
    assert f"{len(labelled)} labels are in" in came
    assert "report.html" in command("run", folder).replace("\n", "")
    came = command("withdraw", folder, labelled.target_id[0], "--reason", "a third is corrupted")
    assert "1 withdrawn" in came
    with pytest.raises(CampaignError, match="truth is stale"):
        command("run", folder)
    assert "stale" in command("status", folder)
    command("run", folder, "--redo")
    assert "as it was written" in command("verify", folder)
    truth = read_truth(folder / "rounds/01/truth/truth.csv")
    assert labelled.target_id[0] not in truth.target_id
    assert labelled.target_id[1] in truth.target_id
    assert "round 2 begun" in command("next", folder)
    (folder / "rounds/01/truth/truth.csv").write_text("")
    assert "truth.csv" in command("verify", folder, status=1)


def test_init_refuses_a_second_campaign(tmp_path):
    assert "campaign.toml, then" in command("init", tmp_path / "c").replace("\n", "")
    with pytest.raises(CampaignError, match="holds a campaign already"):
        command("init", tmp_path / "c")
    with pytest.raises(CampaignError, match="no unlabelled spectra"):
        command("run", tmp_path / "c")
