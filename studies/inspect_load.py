"""Load the inspection page: many inspectors at once, every saved verdict counted afterwards.

    python studies/inspect_load.py --users 50 --rate 20 --fits 2 --seconds 60 --kill

A simulated sky is served by the real server in a process of its own; simulated inspectors log in,
save verdicts and press `F` at the given total rates, and fetch the next object and its spectrum
after each save; half way the server is killed and started again. Prints JSON: how many verdicts the
server acknowledged, how many are in the database, and how long saves, spectra and fits took, from
when they were first sent until they were answered, however often they had to be sent again.
"""

import argparse
import asyncio
import json
import secrets
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

import httpx
import numpy as np
import sqlalchemy as sa

from inspect_browser import MAIN, PASSWORD, free_port, start_server
from quasarloop.inspect.database import open_database, set_setting
from quasarloop.inspect.people import invite, join
from quasarloop.inspect.server import prepare
from quasarloop.inspect.spectra_files import open_spectra
from quasarloop.inspect.tables import Label
from quasarloop.read import read_truth

N_OBJECTS = 300
RETRY_S = (0.5, 1, 2, 4, 8, 15)  # as the page has it, static/api.js


@dataclass
class Timings:
    """What was measured, seconds each; and the save ids that the server acknowledged."""

    save: list[float] = field(default_factory=list)
    spectrum: list[float] = field(default_factory=list)
    fit: list[float] = field(default_factory=list)
    back: float = 0.0
    acknowledged: list[str] = field(default_factory=list)
    refused: int = 0
    sent_again: int = 0


@dataclass(frozen=True)
class Report:
    """The outcome, as printed."""

    users: int
    seconds: float
    verdicts_per_s: float
    acknowledged: int
    in_database: int
    lost: int
    refused: int
    sent_again: int
    save_median_ms: float
    save_p95_ms: float
    spectrum_median_ms: float
    spectrum_p95_ms: float
    fits: int
    fit_median_ms: float
    fit_p95_ms: float
    save_longest_ms: float
    back_after_s: float


@dataclass(frozen=True)
class Load:
    """What is done: verdicts and fits per second of all users together; a kill half way."""

    users: int
    rate: float
    fits: float
    seconds: float
    kill: bool


def run_load(folder: Path, db: str, load: Load) -> Report:
    """Make a campaign in a folder, serve it, load it, and count."""
    sky = folder / "sky"
    subprocess.run(
        [*MAIN, "simulate", "--out", str(sky), "--objects", str(N_OBJECTS), "--seed", "5"],
        check=True,
        capture_output=True,
    )
    _make_campaign(db, sky, load.users, wanted=int(load.rate * load.seconds))
    port = free_port()
    servers = [start_server(db, sky, port)]

    def replace_server() -> None:
        servers[-1].kill()
        servers[-1].wait()
        servers.append(start_server(db, sky, port))

    try:
        timings, took = asyncio.run(_load(f"http://127.0.0.1:{port}", load, replace_server))
    finally:
        servers[-1].terminate()
        servers[-1].wait()
    return _report(db, timings, load.users, took)


def _make_campaign(db: str, sky: Path, users: int, wanted: int) -> None:
    ids = read_truth(sky / "truth.csv").target_id.tolist()
    worklist = sky / "worklist.json"
    worklist.write_text(json.dumps([str(target) for target in ids]), encoding="utf-8")
    database = open_database(db)
    with database.write() as session:
        # Everybody gets enough objects never to run out.
        each = min(9, -(-2 * wanted // len(ids)))
        set_setting(session, "per_object", str(each))
        for number in range(users):
            join(session, invite(session, f"user{number}", "inspector"), PASSWORD)
    prepare(database, open_spectra([sky]), worklist=worklist)
    database.close()


async def _load(url: str, load: Load, replace_server: Callable[[], None]) -> tuple[Timings, float]:
    timings = Timings()
    clients = [httpx.AsyncClient(base_url=url, timeout=60) for _ in range(load.users)]
    try:
        objects = []
        for i, client in enumerate(clients):
            client.headers["X-CSRF-Token"] = await _log_in(client, f"user{i}")
            listed = (await client.get("/api/list")).json()["objects"]
            objects.append([f"/api/objects/{thing['target_id']}" for thing in listed])
        started = time.monotonic()
        end = started + load.seconds
        tasks = []
        for i, client in enumerate(clients):
            turn = i / load.users
            pause = load.users / load.rate
            due = _due(objects[i], started + pause * turn, pause, end)
            tasks.append(_inspect(client, timings, due, objects[i]))
            if load.fits:
                pause = load.users / load.fits
                due = _due(objects[i], started + pause * turn, pause, end)
                tasks.append(_press_f(client, timings, due))
        if load.kill:
            tasks.append(_kill(load.seconds / 2, replace_server, timings))
        await asyncio.gather(*tasks)
        return timings, time.monotonic() - started
    finally:
        for client in clients:
            await client.aclose()


async def _kill(wait: float, replace_server: Callable[[], None], timings: Timings) -> None:
    await asyncio.sleep(wait)
    killed = time.monotonic()
    await asyncio.to_thread(replace_server)
    timings.back = time.monotonic() - killed


async def _log_in(client: httpx.AsyncClient, name: str) -> str:
    page = (await client.get("/login")).text
    token = page.split('name="csrf" content="')[1].split('"')[0]
    fields = {"csrf_token": token, "name": name, "password": PASSWORD}
    await client.post("/login", data=fields)
    me = (await client.get("/api/me")).raise_for_status().json()
    return str(me["csrf"])


async def _due(
    paths: list[str], first: float, pause: float, end: float
) -> AsyncIterator[tuple[int, str]]:
    """Numbers and paths of somebody's objects, one when each is due."""
    for number, path in enumerate(paths):
        due = first + number * pause
        if max(due, time.monotonic()) >= end:
            return
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        yield number, path


async def _inspect(
    client: httpx.AsyncClient,
    timings: Timings,
    due: AsyncIterator[tuple[int, str]],
    paths: list[str],
) -> None:
    """Save verdicts when they are due; fetch the next object ahead, as the page does."""
    async for number, path in due:
        save_id = secrets.token_hex(16)
        verdict = {"spectype": "QSO", "z": 2.1034, "quality": 4}
        save = {"verdict": verdict, "base_version": 0, "save_id": save_id, "seconds": 7.0}
        answer = await _send(client, "PUT", f"{path}/label", timings, timings.save, save)
        if answer.is_success:
            timings.acknowledged.append(save_id)
        else:
            timings.refused += 1
        following = paths[(number + 1) % len(paths)]
        await _send(client, "GET", following, timings, [])
        await _send(client, "GET", f"{following}/spectrum", timings, timings.spectrum)


async def _press_f(
    client: httpx.AsyncClient, timings: Timings, due: AsyncIterator[tuple[int, str]]
) -> None:
    async for _, path in due:
        answer = await _send(client, "POST", f"{path}/fit", timings, timings.fit, {})
        answer.raise_for_status()


async def _send(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    timings: Timings,
    took: list[float],
    body: dict[str, object] | None = None,
) -> httpx.Response:
    """Send a request until it is answered, like the page does; time all of it."""
    first = time.perf_counter()
    for attempt in count():
        try:
            answer = await client.request(method, path, json=body)
        except httpx.TransportError:
            timings.sent_again += 1
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        else:
            break
    took.append(time.perf_counter() - first)
    return answer


def _report(db: str, timings: Timings, users: int, took: float) -> Report:
    database = open_database(db)
    with database.read() as session:
        stored = set(session.scalars(sa.select(Label.save_id)))
    database.close()

    def milliseconds(values: list[float], percentile: float) -> float:
        return round(1000 * float(np.percentile(values or [0.0], percentile)), 1)

    return Report(
        users=users,
        seconds=round(took, 1),
        verdicts_per_s=round(len(timings.acknowledged) / took, 1),
        acknowledged=len(timings.acknowledged),
        in_database=len(stored),
        lost=len(set(timings.acknowledged) - stored),
        refused=timings.refused,
        sent_again=timings.sent_again,
        save_median_ms=milliseconds(timings.save, 50),
        save_p95_ms=milliseconds(timings.save, 95),
        spectrum_median_ms=milliseconds(timings.spectrum, 50),
        spectrum_p95_ms=milliseconds(timings.spectrum, 95),
        fits=len(timings.fit),
        fit_median_ms=milliseconds(timings.fit, 50),
        fit_p95_ms=milliseconds(timings.fit, 95),
        save_longest_ms=milliseconds(timings.save, 100),
        back_after_s=round(timings.back, 2),
    )


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--rate", type=float, default=20.0, help="verdicts per second, all users")
    parser.add_argument("--fits", type=float, default=2.0, help="F per second, all users")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kill", action="store_true", help="kill the server half way")
    parser.add_argument("--db", help="default: SQLite in a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        db = given.db or f"sqlite:///{folder / 'labels.db'}"
        load = Load(given.users, given.rate, given.fits, given.seconds, given.kill)
        report = run_load(folder, db, load)
    print(json.dumps(asdict(report), indent=1))


if __name__ == "__main__":
    main()
