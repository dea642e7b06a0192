"""Fixtures of the ensemble's tests: helpers workers can import."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from quasarloop.ensemble.manifest import Ensemble
from quasarloop.ensemble.options import EnsembleOptions
from quasarloop.ensemble.train import train_ensemble
from quasarloop.store import Store


@pytest.fixture(scope="session")
def fakes() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))  # spawned workers get the same path
        import ensemble_fakes

        yield ensemble_fakes


@pytest.fixture(scope="session")
def ensemble(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    """Small networks, trained just enough to disagree now and then."""
    settings = EnsembleOptions(
        fakes.N_MEMBERS, seed=3, network=fakes.SMALL_NETWORK, training=fakes.small_options(10)
    )
    return train_ensemble(fakes.small_sky(), settings, tmp_path_factory.mktemp("trained") / "e")


@pytest.fixture(scope="session")
def store(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One long shard (to be cut), several short ones (to be put together), one empty."""
    return fakes.small_store(tmp_path_factory.mktemp("trained") / "store", fakes.STORE_SIZES)


@pytest.fixture(scope="session")
def inputs(ensemble: Ensemble, store: Store) -> tuple[Ensemble, Store]:
    return ensemble, store
