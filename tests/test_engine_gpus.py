"""Of several GPUs each process sees one alone, whichever process has died before it."""

import os
from pathlib import Path
from types import ModuleType

import pytest

from quasarloop.engine import Engine, keep_workers, run_tasks


def test_processes_take_the_gpus_in_turn_and_a_new_one_that_of_the_dead(
    jobs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5,GPU-3")
    engine = Engine(workers=3, gpus=("GPU-5", "GPU-3"))
    with keep_workers(engine) as kept:
        assert kept.gpus == engine.gpus
        shared = jobs.Shared(tmp_path)
        seen = run_tasks(jobs.gpu_of_worker, range(9), engine=kept, shared=shared).complete()
    assert set(seen) <= {"GPU-5", "GPU-3"}
    begun = [path.name.split("-", 2)[2] for path in tmp_path.glob("begun-*")]
    expected = ["GPU-5", "GPU-3", "GPU-5", (tmp_path / "died").read_text()]
    assert sorted(begun) == sorted(expected)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-5,GPU-3"


def test_without_a_list_a_process_sees_what_its_parent_sees(
    jobs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    (tmp_path / "died").touch()
    for number in range(3):
        (tmp_path / f"begun-{number}").touch()
    engine, shared = Engine(workers=2), jobs.Shared(tmp_path)
    assert run_tasks(jobs.gpu_of_worker, [1], engine=engine, shared=shared).results == ["1,2"]
