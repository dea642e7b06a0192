"""Kills, full disks, a second command, a folder removed: the same bytes, or one clear line."""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.campaign import test_run as small

pytestmark = pytest.mark.slow
sky, finished = small.sky, small.finished


def run(folder: Path, wrapper: str = "") -> "subprocess.Popen[str]":
    """Run a campaign in a process of its own; its output is for the test."""
    command = f"{wrapper} {shlex.quote(sys.executable)} -m quasarloop campaign run {folder.name}"
    return subprocess.Popen(
        ["sh", "-c", f"exec {command}"],
        cwd=folder.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def errors(text: str) -> list[str]:
    assert "Traceback" not in text
    return [line for line in text.splitlines() if line.startswith("error:")]


def n_made(folder: Path) -> int:
    return sum(path.name[0] != "." for path in (folder / "rounds").rglob("*.*"))


def killed(folder: Path, n_files: int, delay: float) -> bool:
    """Run, and kill some time after so many files are there; whether it still ran then."""
    process = small.start(folder)
    while process.poll() is None and n_made(folder) < n_files:
        time.sleep(0.02)
    time.sleep(delay)
    process.kill()
    return process.wait() == -signal.SIGKILL


def test_killed_at_twenty_random_moments(tmp_path, sky, finished):
    rng, n_files = random.Random(20), n_made(finished)
    kills, places = 0, 0
    while kills < 20:
        folder = small.begin(tmp_path / str(places), sky, small.config(rounds=2))
        for number in sorted(rng.sample(range(n_files), 10)):
            kills += killed(folder, number, rng.uniform(0, 0.5))
        assert small.start(folder).wait() == 0
        small.assert_same_results(folder, finished)
        places += 1


def test_of_two_at_once_the_second_ends_with_one_line(tmp_path, sky, finished, wait_until):
    folder = small.begin(tmp_path, sky, small.config(rounds=2))
    first = run(folder)
    wait_until(lambda: (folder / ".lock").exists() or first.poll() is not None)
    second = run(folder)
    _, text = second.communicate()
    if first.poll() is None:  # the first was at work all the time
        assert second.returncode == 1
        (line,) = errors(text)
        assert f"{folder.name} is in use by process {first.pid} on " in line
    _, text = first.communicate()
    assert (first.returncode, errors(text)) == (0, [])
    small.assert_same_results(folder, finished)


def test_a_full_disk_ends_with_one_line_and_the_campaign_goes_on(tmp_path, sky, finished):
    folder = small.begin(tmp_path / "c", sky, small.config(rounds=2))
    if subprocess.run(["unshare", "-rm", "true"], check=False).returncode != 0:
        pytest.skip("no file systems of our own here: unshare is not permitted")
    whole = sum(path.stat().st_size for path in finished.rglob("*") if path.is_file())
    here, command = shlex.quote(str(folder)), f"{shlex.quote(sys.executable)} -m quasarloop"
    script = [
        f"cp {here}/campaign.toml ..",
        f"mount -t tmpfs -o size=1m none {here}",
        f"cp ../campaign.toml {here}",
        f"cd {here}/..",
    ]
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        script += [
            f"mount -o remount,size={int(share * whole)} {here}",
            f"{command} campaign run campaign",
            'echo "status $?" >&2',
        ]
    script += [
        f"mount -o remount,size={4 * whole} {here}",
        f"{command} campaign run campaign && cp -r {here}/rounds ../rounds",
    ]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", "\n".join(script)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = errors(done.stderr)
    assert len(lines) >= 4
    assert all("disk is full" in line for line in lines)
    assert done.stderr.count("status 1") == len(lines)
    small.assert_same_results(tmp_path, finished)


@pytest.mark.parametrize("removed", ["rounds", "rounds/01/votes", "stores"])
def test_a_folder_removed_under_way(tmp_path, sky, finished, removed, wait_until):
    folder = small.begin(tmp_path, sky, small.config(rounds=2))
    process = run(folder)
    begun = folder / "rounds" / "01" / "votes" / "plan.json"
    wait_until(lambda: begun.exists() or process.poll() is not None)
    shutil.rmtree(folder / removed, ignore_errors=True)
    _, text = process.communicate()
    assert (process.returncode, len(errors(text))) in ((0, 0), (1, 1)), text
    again = run(folder)
    _, text = again.communicate()
    if removed == "stores":
        (line,) = errors(text)
        assert "stores/pool is gone; delete campaign/rounds/01/ingest and run" in line
        shutil.rmtree(folder / "rounds" / "01" / "ingest")
        again = run(folder)
        _, text = again.communicate()
    assert (again.returncode, errors(text)) == (0, []), text
    small.assert_same_results(folder, finished)
