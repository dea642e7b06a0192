"""Fixtures shared by all tests: where the real files are."""

import importlib.util
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from quasarloop.engine import Engine, keep_workers

# A busy machine is slow now and then; that is no failure of the code.
settings.register_profile("quasarloop", deadline=None)
settings.load_profile("quasarloop")

_ROOT = Path(__file__).resolve().parents[1]
# Modules that worker processes import.
_HELPERS = (_ROOT / "tests", _ROOT / "tests" / "ensemble")


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Let ``pytest -m redrock`` fail where a test is skipped: all that it needs has to be there."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and item.config.option.markexpr == "redrock":
        report.outcome = "failed"
        report.longrepr = f"a skip is an error under -m redrock: {report.longrepr[-1]}"
    return report


@pytest.fixture(scope="session")
def qso_templates() -> list[Path]:
    """Redrock's two quasar templates, which come with the tests."""
    return sorted((_ROOT / "tests" / "data" / "redrock-templates").glob("rrtemplate-QSO-*.fits"))


@pytest.fixture(scope="session")
def quasarnp_io() -> ModuleType:
    """QuasarNP's own reader of weights; skips with a reason where no checkout is named."""
    checkout = os.environ.get("QUASARNP_DIR")
    if not checkout:
        pytest.skip("QUASARNP_DIR does not name a checkout of desihub/QuasarNP")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(checkout)
        module: ModuleType = pytest.importorskip("quasarnp.io")
        return module


@pytest.fixture(scope="session")
def spectrum_files() -> ModuleType:
    """Writers of small survey files with known content (tests/spectrum_files.py)."""
    return _module("spectrum_files")


@pytest.fixture
def survey(tmp_path: Path, spectrum_files: ModuleType) -> list[Path]:
    """Two coadds and a spec file: 9 spectra, one of them sky."""
    files: list[Path] = spectrum_files.write_survey(tmp_path / "survey")
    return files


@pytest.fixture
def one_file_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is a task of its own, and a shard; `test_store_packs` is about common ones."""
    monkeypatch.setattr("quasarloop.store.ingestion.PACK_FILES", 1)


@pytest.fixture(scope="session")
def survey_files() -> ModuleType:
    """Writers of small files of more surveys (tests/survey_files.py)."""
    return _module("survey_files")


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, _ROOT / "tests" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def jobs() -> Iterator[ModuleType]:
    """Tasks for the engine (tests/engine_tasks.py)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(_ROOT / "tests"))  # spawned workers get the same path
        import engine_tasks

        yield engine_tasks


@pytest.fixture(scope="session")
def two_workers() -> Iterator[Engine]:
    """Two processes for all tests: to start their own takes longer than most of what they do."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in _HELPERS:
            patch.syspath_prepend(str(folder))
        with keep_workers(Engine(workers=2)) as engine:
            yield engine


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], object]], None]:
    """Wait for a condition as long as it takes: only the suite's timeout ends a test that hangs."""

    def wait(condition: Callable[[], object]) -> None:
        while not condition():
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The scheduler's address of a Dask cluster of two real worker processes.

    A tenth of a core goes into one that does nothing: no module leaves it to the next.
    """
    distributed = pytest.importorskip("distributed")
    import dask

    patient = {
        # LocalCluster gives a worker up that takes longer than this to come back.
        "distributed.deploy.lost-worker-timeout": "1h",
        # Dask takes the shared value from a worker that is idle for some seconds.
        "distributed.scheduler.active-memory-manager.start": False,
    }
    with pytest.MonkeyPatch.context() as patch:
        for folder in _HELPERS:
            patch.syspath_prepend(str(folder))
        with (
            dask.config.set(patient),
            distributed.LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                processes=True,
                silence_logs=50,
                # Any free port: two clusters on the usual one would warn, which is an error here.
                dashboard_address=":0",
                scheduler_kwargs={"dashboard": False},
            ) as running,
        ):
            yield running.scheduler_address


CHROMIUM_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="session")
def chromium_options() -> dict[str, object]:
    """How to start Chromium; skips where there is none."""
    pytest.importorskip("playwright", reason="the browser tests need the package playwright")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium: install Debian's package chromium, or set CHROMIUM to its path")
    return {"executable_path": path, "args": list(CHROMIUM_FLAGS)}
