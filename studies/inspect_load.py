"""Load the inspection page: many inspectors at once, every saved verdict counted afterwards.

    python studies/inspect_load.py --users 50 --rate 20 --seconds 60

A simulated sky is served by the real server in a process of its own; simulated inspectors log in,
fetch objects and spectra and save verdicts at the given total rate. Prints JSON: how many verdicts
the server acknowledged, how many are in the database, and how long saves and spectra took.
"""

import argparse
import asyncio
import json
import secrets
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import numpy as np
import sqlalchemy as sa

from inspect_browser import MAIN, PASSWORD, served
from quasarloop.inspect.database import open_database, set_setting
from quasarloop.inspect.people import invite, join
from quasarloop.inspect.server import prepare
from quasarloop.inspect.spectra_files import open_spectra
from quasarloop.inspect.tables import Label
from quasarloop.read import read_truth

N_OBJECTS = 300


@dataclass
class Timings:
    """What was measured, seconds each; and the save ids that the server acknowledged."""

    save: list[float] = field(default_factory=list)
    spectrum: list[float] = field(default_factory=list)
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


def run_load(folder: Path, db: str, *, users: int, rate: float, seconds: float) -> Report:
    """Make a campaign in a folder, serve it, load it, and count."""
    sky = folder / "sky"
    subprocess.run(
        [*MAIN, "simulate", "--out", str(sky), "--objects", str(N_OBJECTS), "--seed", "5"],
        check=True,
        capture_output=True,
    )
    _make_campaign(db, sky, users, wanted=int(rate * seconds))
    with served(db, sky) as url:
        timings, took = asyncio.run(_load(url, users, rate, seconds))
    return _report(db, timings, users, took)


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


async def _load(url: str, users: int, rate: float, seconds: float) -> tuple[Timings, float]:
    timings = Timings()
    clients = [httpx.AsyncClient(base_url=url, timeout=60) for _ in range(users)]
    try:
        tokens = [await _log_in(client, f"user{i}") for i, client in enumerate(clients)]
        started = time.monotonic()
        end = started + seconds
        pause = users / rate
        await asyncio.gather(
            *(
                _inspect(client, token, timings, started + pause * i / users, pause, end)
                for i, (client, token) in enumerate(zip(clients, tokens, strict=True))
            )
        )
        return timings, time.monotonic() - started
    finally:
        for client in clients:
            await client.aclose()


async def _log_in(client: httpx.AsyncClient, name: str) -> str:
    page = (await client.get("/login")).text
    token = page.split('name="csrf" content="')[1].split('"')[0]
    fields = {"csrf_token": token, "name": name, "password": PASSWORD}
    await client.post("/login", data=fields)
    me = (await client.get("/api/me")).raise_for_status().json()
    return str(me["csrf"])


async def _inspect(
    client: httpx.AsyncClient,
    token: str,
    timings: Timings,
    first: float,
    pause: float,
    end: float,
) -> None:
    objects = (await client.get("/api/list")).json()["objects"]
    due = first
    for thing in objects:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if time.monotonic() >= end:
            return
        due += pause
        path = f"/api/objects/{thing['target_id']}"
        await client.get(path)
        since = time.perf_counter()
        await client.get(f"{path}/spectrum")
        timings.spectrum.append(time.perf_counter() - since)
        save_id = secrets.token_hex(16)
        verdict = {"spectype": "QSO", "z": 2.1034, "quality": 4}
        save = {"verdict": verdict, "base_version": 0, "save_id": save_id, "seconds": 7.0}
        since = time.perf_counter()
        answer = await _put(client, f"{path}/label", save, token, timings)
        timings.save.append(time.perf_counter() - since)
        if answer.is_success:
            timings.acknowledged.append(save_id)
        else:
            timings.refused += 1


async def _put(
    client: httpx.AsyncClient, path: str, save: dict[str, object], token: str, timings: Timings
) -> httpx.Response:
    """Send a save until it is answered, like the page does."""
    while True:
        try:
            return await client.put(path, json=save, headers={"X-CSRF-Token": token})
        except httpx.TransportError:
            timings.sent_again += 1
            await asyncio.sleep(0.5)


def _report(db: str, timings: Timings, users: int, took: float) -> Report:
    database = open_database(db)
    with database.read() as session:
        stored = set(session.scalars(sa.select(Label.save_id)))
    database.close()

    def milliseconds(values: list[float], percentile: float) -> float:
        return round(1000 * float(np.percentile(values, percentile)), 1)

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
    )


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--rate", type=float, default=20.0, help="verdicts per second, all users")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--db", help="default: SQLite in a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        db = given.db or f"sqlite:///{folder / 'labels.db'}"
        report = run_load(folder, db, users=given.users, rate=given.rate, seconds=given.seconds)
    print(json.dumps(asdict(report), indent=1))


if __name__ == "__main__":
    main()
