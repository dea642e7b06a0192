"""The process that fits: results kept, a killed process replaced, saves that do not wait for it."""

import asyncio
import json
import threading

import pytest

from quasarloop.engine.processes import Outcome
from quasarloop.errors import InspectionError
from quasarloop.inspect.fit_worker import FitTask, FitWorker
from quasarloop.inspect.spectra_files import open_spectra

BIG_ID = 39627945488154697
PATH = f"/api/objects/{BIG_ID}"


@pytest.fixture
def worker(prepared):
    made = FitWorker(open_spectra([prepared[1]]))
    yield made
    made.close()


def test_results_are_kept_and_a_killed_process_is_replaced(worker, prepared):
    task = FitTask(str(prepared[1]), 0, BIG_ID)
    body = asyncio.run(worker.fit(task))
    assert json.loads(body)["fits"][0]["z"] == pytest.approx(2.5, abs=2e-3)
    assert asyncio.run(worker.fit(task)) is body
    (process,) = [one.process for one in worker._pool._workers]
    process.kill()
    process.join()
    other = asyncio.run(worker.fit(FitTask(str(prepared[1]), 1, BIG_ID + 1)))
    assert json.loads(other)["fits"][0]["z"] == pytest.approx(1.0, abs=2e-3)
    with pytest.raises(InspectionError, match="missing"):
        asyncio.run(worker.fit(FitTask("gone.fits", 0, BIG_ID)))


def test_a_fit_that_ends_its_process_each_time_is_one_clear_line(worker, caplog, monkeypatch):
    tries = []

    def run(tasks, queue):
        tries.append(tasks)
        yield Outcome(queue.popleft(), None, "its worker process was killed by SIGKILL")

    monkeypatch.setattr(worker._pool, "loaded", worker)
    monkeypatch.setattr(worker._pool, "run", run)
    task = FitTask("coadd.fits", 3, BIG_ID)
    with pytest.raises(InspectionError, match="the fit failed; try again"):
        asyncio.run(worker.fit(task))
    assert tries == [[task], [task]]
    assert "row=3" in caplog.text
    assert "SIGKILL" in caplog.text


def test_a_save_does_not_wait_for_a_fit(campaign, client):
    ada = client("ada")
    busy = threading.Event()
    held = campaign.state.campaign.fits._queue.submit(busy.wait)  # a fit that takes for ever
    verdict = {"spectype": "QSO", "z": 2.5, "quality": 4}
    save = {"verdict": verdict, "base_version": 0, "save_id": "while-fitting", "z_err": 1e-4}
    answer = ada.put(f"{PATH}/label", save)
    assert not held.done()
    busy.set()
    assert answer.status_code == 200
    assert held.result()
