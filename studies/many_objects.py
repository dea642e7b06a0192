"""What 100,000 objects cost the inspection page: ``python studies/many_objects.py``.

A worklist like those of `quasarloop select` is read, put into a new database, shared out among
three inspectors and listed for one of them. Then a fourth joins while labels are saved. Prints the
table of docs/measurements/scaling.md.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import numpy as np

from quasarloop.inspect.campaign import load_worklist, share_out
from quasarloop.inspect.database import Database, open_database
from quasarloop.inspect.inspect_api import my_list
from quasarloop.inspect.ledger import NotAssignedError, Save, item_of, save_label
from quasarloop.inspect.people import invite, join
from quasarloop.inspect.spectra_files import SpectrumFiles
from quasarloop.inspect.tables import User
from quasarloop.inspect.worklist import read_worklist
from quasarloop.labels.verdict import Verdict
from quasarloop.lines import NETWORK_LINES
from quasarloop.truth import SpecType

FIRST_ID = 39_633_333_000_000_000
N_CELLS = 2025
BETWEEN_SAVES_S = 0.3
STAR = Verdict(SpecType.STAR, 0.0, 3)
Found = TypeVar("Found")


def write_worklist(folder: Path, n: int) -> Path:
    """Write a worklist as a selection leaves it, with what is beside it."""
    rng = np.random.default_rng(0)
    names = [line.column for line in NETWORK_LINES]
    objects = [
        {
            "TARGETID": str(FIRST_ID + i),
            "OBJECT_ID": str(FIRST_ID + i),
            "RANK": i + 1,
            "REASON": "score",
            "SCORE": 1.3,
            "ENTROPY": 1.2,
            "CELL": i % N_CELLS,
            "VOTES": {"NOT_QSO": 50, "LOW_Z": 100, "HIGH_Z": 50},
            "PROPOSALS": [{"z": float(z), "who": "median"} for z in rng.uniform(0, 3, 3)],
            "CONFIDENCES": dict(zip(names, rng.random(len(names)).tolist(), strict=True)),
            "SOURCE": f"spec-{i}.fits",
            "ROW": 0,
        }
        for i in range(n)
    ]
    path = folder / "worklist.json"
    path.write_text(json.dumps({"objects": objects}, indent=1), encoding="utf-8")
    (folder / "steps.json").write_text(json.dumps({"counts": [3] * N_CELLS}), encoding="utf-8")
    return path


def add_person(database: Database, name: str) -> User:
    """Let an inspector join."""
    with database.write() as session:
        return join(session, invite(session, name, "inspector"), "correct horse battery")


def timed(what: str, work: Callable[[], Found]) -> Found:
    """Do something and print a row: seconds of the processor and by the clock."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"| {what} | {cpu:.1f} | {wall:.1f} |", flush=True)
    return found


def saves_beside(database: Database, inspector: User, work: Callable[[], object]) -> list[float]:
    """Save labels of one inspector while something is done; return how long each took."""
    waits: list[float] = []
    done = threading.Event()

    def save() -> None:
        while not done.wait(BETWEEN_SAVES_S):
            start = time.perf_counter()
            # What the fourth takes over first is no longer the inspector's.
            with suppress(NotAssignedError), database.write() as session:
                item = item_of(session, FIRST_ID + len(waits))
                assert item is not None
                save_label(session, item, inspector.id, Save(STAR, 0, f"save-{len(waits):06}"))
            waits.append(time.perf_counter() - start)

    saver = threading.Thread(target=save)
    saver.start()
    try:
        work()
    finally:
        done.set()
        saver.join()
    return waits


def load(database: Database, folder: Path, n: int) -> None:
    """Put a worklist into the database, and let go of it as the server does."""
    path, files = write_worklist(folder, n), SpectrumFiles({}, [], folder)
    entries = timed(f"read a worklist of {n:,}", lambda: read_worklist(path))
    with database.write() as session:
        timed("put it into the database", lambda: load_worklist(session, entries, files))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    n = parser.parse_args().objects
    print("| what | processor, s | by the clock, s |", "|---|---:|---:|", sep="\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = open_database(f"sqlite:///{folder / 'labels.db'}")
        load(database, folder, n)
        ada, *_ = [add_person(database, name) for name in ("ada", "bea", "cyd")]
        timed("three inspectors share it", lambda: share_out(database))
        campaign: SimpleNamespace = SimpleNamespace(database=database)
        timed("the list of one of them", lambda: my_list(campaign, ada))  # type: ignore[arg-type]
        add_person(database, "eve")
        waits = saves_beside(
            database, ada, lambda: timed("a fourth joins", lambda: share_out(database))
        )
        database.close()
    longest = max(waits, default=0.0)
    print(f"\n{len(waits)} saves beside the fourth's joining, the longest {longest:.1f} s")


if __name__ == "__main__":
    main()
