"""Fixtures shared by all tests: where the real files are."""

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]


def shared_dir() -> Path:
    """The folder of real data: QUASARLOOP_SHARED, else ../shared beside the project."""
    return Path(os.environ.get("QUASARLOOP_SHARED", _ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder ``data`` of real spectra; skips with a reason where it is absent."""
    data = shared_dir() / "data"
    if not data.is_dir():
        pytest.skip(f"no real spectra: {data} is absent; set QUASARLOOP_SHARED to their folder")
    return data
