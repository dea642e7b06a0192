"""Fixtures shared by all tests: where the real files are."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# A busy machine is slow now and then; that is no failure of the code.
settings.register_profile("quasarloop", deadline=None)
settings.load_profile("quasarloop")

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


@pytest.fixture(scope="session")
def spectrum_files() -> ModuleType:
    """Writers of small survey files with known content (tests/spectrum_files.py)."""
    spec = importlib.util.spec_from_file_location(
        "spectrum_files", _ROOT / "tests" / "spectrum_files.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
