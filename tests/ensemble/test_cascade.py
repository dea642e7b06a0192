"""A cascade finds the exact top with a part of the questions, and the same after any accident."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
import polars as pl
import pytest

from quasarloop.classes import Thresholds
from quasarloop.engine import Engine
from quasarloop.ensemble.cascade import cascade_vote
from quasarloop.ensemble.cascade_run import CascadeRun
from quasarloop.ensemble.options import CascadeOptions, VoteOptions
from quasarloop.ensemble.vote import vote
from quasarloop.errors import OutputError, SelectionError

M, N, K = 48, 5000, 100


@pytest.fixture(scope="module")
def answers(fakes):
    return fakes.made_up_answers(N, M, seed=9)


def ask_everybody(fakes, answers, options):
    members = fakes.RecordedMembers(*answers)
    members.asked[:] = True
    return CascadeRun(members, options, Thresholds(), M).exact_scores()


def run_cascade(fakes, answers, **changes):
    options = CascadeOptions(**({"top_k": K} | changes))
    members = fakes.RecordedMembers(*answers)
    run = CascadeRun(members, options, Thresholds(), M)
    return run, run.find(), members, ask_everybody(fakes, answers, options)


# One dissenter among many members is worth a high mutual information, and is not seen coming.
@pytest.mark.parametrize(
    ("score", "slack"), [("entropy", 0.02), ("soft_entropy", 0.02), ("mutual_information", 0.05)]
)
def test_the_top_is_found_with_a_part_of_the_work(fakes, answers, score, slack):
    run, report, members, exact = run_cascade(fakes, answers, score=score)
    asked_of_all = members.asked.all(axis=0)
    kth = np.sort(exact)[-K]
    lost = np.count_nonzero((exact > kth) & ~asked_of_all)
    assert lost <= slack * K
    assert report["work"] == members.asked.mean() < 0.3
    assert report["n_exact"] == asked_of_all.sum()
    # Where all were asked the score is exact.
    assert np.array_equal(run.score[asked_of_all], exact[asked_of_all])
    assert lost / K <= report["expected_loss"] + slack


def test_nobody_half_asked_ranks_among_the_top(fakes, answers):
    run, report, members, _ = run_cascade(fakes, answers)
    so_far = run.exact_scores()  # from whoever was asked
    half = ~members.asked.all(axis=0)
    assert so_far[half].max() < report["score_at_top_k"]
    top = np.argsort(-so_far, kind="stable")[:K]
    assert members.asked[:, top].all()


def test_less_loss_costs_more_work(fakes, answers):
    work = [run_cascade(fakes, answers, max_loss=loss)[1]["work"] for loss in (0.001, 0.03, 0.3)]
    assert min(work[:2]) > work[2]


def test_stages_report_what_they_did(fakes, answers):
    _, report, members, _ = run_cascade(fakes, answers)
    assert [stage["members"] for stage in report["stages"]] == [4, 6, 8, 11, 15, 22, 30, 42]
    assert report["stages"][0]["spectra"] == N
    assert sum(n for _, n in members.calls) == report["questions"]
    budget = CascadeOptions().max_loss * K
    assert sum(stage["expected_lost"] for stage in report["stages"]) <= budget + 1e-6
    assert report["audit"]["spectra"] <= CascadeOptions().n_audit


def test_a_top_larger_than_the_sky_asks_everybody(fakes, answers):
    few = answers[0][:, :300], answers[1][:, :300]
    _, report, members, _ = run_cascade(fakes, few, top_k=1000)
    assert members.asked.all()
    assert report["work"] == 1.0


def test_an_ensemble_smaller_than_the_first_stage_is_asked_whole(fakes, answers):
    members = fakes.RecordedMembers(answers[0][:3, :500], answers[1][:3, :500])
    run = CascadeRun(members, CascadeOptions(top_k=10), Thresholds(), 3)
    assert run.find()["work"] == 1.0
    assert members.asked.all()


def test_unusable_spectra_are_not_asked_again(fakes, answers):
    confidence, z = answers[0].copy(), answers[1].copy()
    confidence[:, ::7] = np.nan
    _, _, members, _ = run_cascade(fakes, (confidence, z))
    assert members.asked[4:, ::7].sum() == 0


def test_impossible_options_are_refused():
    with pytest.raises(SelectionError, match="first is 1; it must be at least 2"):
        CascadeOptions(first=1)
    with pytest.raises(SelectionError, match="max_loss is 0"):
        CascadeOptions(max_loss=0)


# With real networks and a real store.

HOW = CascadeOptions(top_k=12, first=2, n_audit=5)
WHAT = VoteOptions(keep_members=True)


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cascade") / "votes"
    return cascade_vote(*inputs, folder, cascade=HOW, options=WHAT)


@pytest.fixture(scope="module")
def exact(inputs, tmp_path_factory):
    return vote(*inputs, tmp_path_factory.mktemp("cascade") / "exact")


def read_all(votes):
    return pl.concat([pl.read_parquet(path) for path in votes.files])


def test_cascade_votes_of_fully_asked_spectra_are_the_exact_ones(undisturbed, exact):
    ours, theirs = read_all(undisturbed), read_all(exact)
    assert ours["TARGETID"].to_list() == theirs["TARGETID"].to_list()
    assert undisturbed.is_cascade
    assert not exact.is_cascade
    full = (ours["N_ASKED"] == ours["N_NETWORKS"]).to_numpy()
    assert HOW.top_k <= full.sum() < len(ours)
    counts = [name for name in ours.columns if name.startswith("N_") or name == "ENTROPY"]
    assert ours.filter(full).select(counts).equals(theirs.filter(full).select(counts))
    close = ["P_LOW_Z", "SOFT_ENTROPY", "C_LYA", "Z_MEAN"]
    left, right = (t.filter(full).select(close).to_numpy() for t in (ours, theirs))
    assert np.allclose(left, right, atol=1e-5, equal_nan=True)
    # Unusable spectra keep their rows; nobody half asked outranks the top.
    assert (ours["N_ASKED"] == 0).sum() == (theirs["N_ASKED"] == 0).sum() > 0
    half = ours.filter((pl.col("N_ASKED") > 0) & ~pl.Series(full))
    assert half["ENTROPY"].max() < undisturbed.record["cascade_report"]["score_at_top_k"]


def test_cascade_finds_the_exact_top(undisturbed, exact):
    kth = np.sort(np.nan_to_num(read_all(exact)["ENTROPY"].to_numpy()))[-HOW.top_k]
    # For polars NaN is larger than any number.
    above = read_all(exact).filter(pl.col("ENTROPY").fill_nan(0) > kth)["TARGETID"]
    found = read_all(undisturbed).filter(pl.col("N_ASKED") == pl.col("N_NETWORKS"))["TARGETID"]
    assert set(above) <= set(found)


def test_manifest_reports_work_and_loss(undisturbed):
    report = undisturbed.record["cascade_report"]
    assert 0 < report["work"] < 1
    assert report["expected_loss"] >= 0
    assert undisturbed.record["cascade"] == asdict(HOW)
    assert not (undisturbed.folder / "answers").exists()


def test_a_finished_cascade_is_taken_as_it_is(undisturbed, inputs):
    steps = []
    again = cascade_vote(
        *inputs,
        undisturbed.folder,
        cascade=HOW,
        options=WHAT,
        on_step=lambda *step: steps.append(step),
    )
    assert again == undisturbed
    assert steps == []
    with pytest.raises(OutputError, match="differ in cascade"):
        vote(*inputs, undisturbed.folder, options=WHAT)


def test_two_workers_of_a_cluster_give_the_same_bytes(
    undisturbed, inputs, fakes, tmp_path, cluster
):
    engine = Engine(scheduler=cluster)
    cascade_vote(*inputs, tmp_path / "v", cascade=HOW, options=WHAT, engine=engine)
    assert fakes.folder_digest(tmp_path / "v") == fakes.folder_digest(undisturbed.folder)


_MAIN = """
from quasarloop.ensemble.cascade import cascade_vote
from quasarloop.ensemble.options import CascadeOptions
from quasarloop.ensemble.manifest import open_ensemble
from quasarloop.ensemble.options import CascadeOptions, VoteOptions
from quasarloop.store import open_store
if __name__ == "__main__":
    cascade_vote(open_ensemble({ensemble!r}), open_store({store!r}), {out!r},
                 cascade=CascadeOptions(top_k=12, first=2, n_audit=5),
                 options=VoteOptions(keep_members=True))
"""


@pytest.mark.parametrize("n_steps", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_killed_cascade_resumes_to_the_same_bytes(undisturbed, inputs, fakes, tmp_path, n_steps):
    ensemble, store = inputs
    out, script = tmp_path / "v", tmp_path / "main.py"
    script.write_text(
        _MAIN.format(ensemble=str(ensemble.folder), store=str(store.path), out=str(out))
    )
    process = subprocess.Popen([sys.executable, str(script)])
    end = time.monotonic() + 60
    while len(list(out.glob("answers/*"))) < n_steps:
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    cascade_vote(ensemble, store, out, cascade=HOW, options=WHAT)
    assert fakes.folder_digest(out) == fakes.folder_digest(undisturbed.folder)
