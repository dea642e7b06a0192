"""A step is done when its manifest is there, and stale when what it came from changed."""

import os
from pathlib import Path

import numpy as np
import pytest

from quasarloop.campaign.config import CampaignOptions, EvaluationSection, SelectionSection
from quasarloop.campaign.state import (
    MANIFEST,
    Context,
    Step,
    StepState,
    damaged_files,
    finish_step,
    round_numbers,
    step_origin,
    step_state,
)
from quasarloop.campaign.steps.ensemble import ENSEMBLE, VOTES
from quasarloop.campaign.steps.networks import NETWORKS, _bootstrap_rows
from quasarloop.errors import CampaignError, DataFormatError


def _work(context: Context) -> None:
    (context.step_folder("first") / "result.txt").write_text(str(context.config.selection.n))


FIRST = Step("first", "First", _work, lambda c: {"n": c.selection.n})
SECOND = Step("second", "Second", lambda _: None, lambda _: {}, needs=("first",))


def context(folder: Path, n: int = 10) -> Context:
    return Context(folder, CampaignOptions(selection=SelectionSection(n=n)), round_number=1)


def do(step: Step, where: Context) -> None:
    where.step_folder(step.name).mkdir(parents=True, exist_ok=True)
    origin = step_origin(step, where)
    step.run(where)
    finish_step(step, where, origin)


def test_done_only_with_a_manifest(tmp_path):
    here = context(tmp_path)
    assert step_state(FIRST, here) == (StepState.MISSING, "")
    here.step_folder(FIRST.name).mkdir(parents=True)
    FIRST.run(here)
    assert step_state(FIRST, here)[0] is StepState.MISSING  # killed before the manifest
    finish_step(FIRST, here, step_origin(FIRST, here))
    assert step_state(FIRST, here) == (StepState.DONE, "")
    assert round_numbers(tmp_path) == [1]


def test_changed_setting_names_what_it_makes_stale(tmp_path):
    do(FIRST, context(tmp_path, n=10))
    state, why = step_state(FIRST, context(tmp_path, n=20))
    assert (state, why) == (StepState.STALE, "n 10 -> 20")


def test_a_step_is_stale_only_if_an_earlier_result_differs(tmp_path):
    do(FIRST, context(tmp_path, 10))
    do(SECOND, context(tmp_path, 10))
    do(FIRST, context(tmp_path, 10))  # made again, same bytes
    assert step_state(SECOND, context(tmp_path, 10))[0] is StepState.DONE
    do(FIRST, context(tmp_path, 20))
    assert step_state(SECOND, context(tmp_path, 20)) == (StepState.STALE, "step first")


def test_outside_files_count(tmp_path):
    file = tmp_path / "truth.csv"
    file.write_text("a")
    step = Step("third", "", lambda _: None, lambda _: {}, files=lambda _: [file])
    do(step, context(tmp_path))
    assert step_state(step, context(tmp_path))[0] is StepState.DONE
    file.write_text("b")
    assert step_state(step, context(tmp_path)) == (StepState.STALE, "file truth.csv")
    file.unlink()
    with pytest.raises(CampaignError, match=r"named in campaign\.toml"):
        step_state(step, context(tmp_path))


def test_a_file_that_changes_while_the_step_runs_makes_it_stale(tmp_path):
    file = tmp_path / "truth.csv"
    file.write_text("a")
    step = Step("third", "", lambda _: file.write_text("b"), lambda _: {}, files=lambda _: [file])
    do(step, context(tmp_path))
    assert step_state(step, context(tmp_path)) == (StepState.STALE, "file truth.csv")


def test_spectra_replaced_at_equal_size_are_noticed(tmp_path):
    """Of two folders of one name, too."""
    nights = [tmp_path / survey / "spectra" for survey in ("a", "b")]
    for number, night in enumerate(nights):
        night.mkdir(parents=True)
        (night / "coadd-1.fits").write_text(f"sound {number}")
        os.utime(night / "coadd-1.fits", (1e9, 1e9))
    step = Step("third", "", lambda _: None, lambda _: {}, files=lambda _: nights)
    do(step, context(tmp_path))
    assert step_state(step, context(tmp_path))[0] is StepState.DONE
    for night in nights:
        (night / "coadd-1.fits").write_text("other 7")
        changed = f"file {night.relative_to(tmp_path)}"
        assert step_state(step, context(tmp_path)) == (StepState.STALE, changed)
        do(step, context(tmp_path))


def test_a_file_that_vanishes_during_the_walk_is_one_clear_line(tmp_path, monkeypatch):
    night = tmp_path / "night"
    night.mkdir()
    (night / "a.fits").touch()
    step = Step("third", "", lambda _: None, lambda _: {}, files=lambda _: [night])
    is_file = Path.is_file

    def is_file_and_goes(path):
        found = is_file(path)
        if found:
            path.unlink()
        return found

    monkeypatch.setattr(Path, "is_file", is_file_and_goes)
    with pytest.raises(CampaignError, match=r"a\.fits: cannot be looked at \(No such file"):
        step_origin(step, context(tmp_path))


def test_verify_finds_changed_and_missing_files(tmp_path):
    do(FIRST, context(tmp_path))
    assert damaged_files(tmp_path) == []
    result = context(tmp_path).step_folder("first") / "result.txt"
    result.write_text("tampered")
    assert damaged_files(tmp_path) == [f"{result}: changed since it was written"]
    result.unlink()
    assert damaged_files(tmp_path) == [f"{result}: gone"]


@pytest.mark.parametrize(
    "content",
    ["null", "[]", '{"files": null}', '{"origin": [], "files": {}}', '{"a":' * 50_000, "{"],
    ids=range(6),
)
def test_a_manifest_of_anything_else_is_named(tmp_path, content):
    do(FIRST, context(tmp_path))
    manifest = context(tmp_path).step_folder("first") / MANIFEST
    manifest.write_text(content)
    with pytest.raises((CampaignError, DataFormatError), match=r"manifest\.json.*again"):
        step_state(FIRST, context(tmp_path))
    (line,) = damaged_files(tmp_path)
    assert str(manifest) in line


def test_a_job_tried_again_draws_the_same_rows():
    seed = np.random.SeedSequence((1, 2, 3))
    rows = [_bootstrap_rows(seed, 50, 80).tolist() for _ in range(2)]
    first = np.random.SeedSequence((1, 2, 3)).spawn(1)[0]
    assert rows == [np.random.default_rng(first).integers(0, 50, 80).tolist()] * 2


def test_a_threshold_changed_under_way_leaves_the_ensemble_as_it_is():
    usual, high = (CampaignOptions(evaluation=EvaluationSection(threshold=t)) for t in (None, 0.99))
    assert ENSEMBLE.options(usual) == ENSEMBLE.options(high)
    assert VOTES.options(usual) != VOTES.options(high)
    assert NETWORKS.options(usual) != NETWORKS.options(high)
