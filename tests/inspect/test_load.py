"""Many inspectors at once, and a kill: none of their verdicts is lost, and nobody waits long."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("httpx", reason="the load test needs the package httpx")

TOOL = Path(__file__).resolve().parents[2] / "studies" / "inspect_load.py"
PATIENCE_MS = 2000


def _load(*options):
    done = subprocess.run(
        [sys.executable, str(TOOL), *options], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


@pytest.mark.bench
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_fifty_users_and_twenty_verdicts_a_second_for_a_minute(backend, request):
    options = ["--users", "50", "--rate", "20", "--seconds", "60", "--kill"]
    if backend == "postgresql":
        options += ["--db", request.getfixturevalue("new_postgres_database")()]
    report = _load(*options)
    assert report["acknowledged"] >= 0.95 * 20 * 60
    assert (report["lost"], report["refused"]) == (0, 0)
    assert report["in_database"] == report["acknowledged"]
    assert report["save_p95_ms"] < PATIENCE_MS
    assert report["spectrum_p95_ms"] < PATIENCE_MS
