"""Fixtures of the ensemble's tests: helpers workers can import, and a real Dask cluster."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def fakes() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))  # spawned workers get the same path
        import ensemble_fakes

        yield ensemble_fakes


@pytest.fixture(scope="session")
def cluster(fakes: ModuleType) -> Iterator[str]:
    """The scheduler's address of a Dask cluster of two real worker processes."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        silence_logs=50,
        # Any free port: two clusters on the usual one would warn, and warnings are errors here.
        dashboard_address=":0",
        scheduler_kwargs={"dashboard": False},
    ) as running:
        yield running.scheduler_address
