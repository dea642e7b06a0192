"""What a demonstration of some size would take here: rates measured on the spot."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from quasarloop.campaign.demo import DemoScale, demo_config
from quasarloop.campaign.parts import network_of, training_of
from quasarloop.network.labelled import TrainingData
from quasarloop.network.model import LineFinder
from quasarloop.network.predict import Predictor
from quasarloop.network.training import train
from quasarloop.network.weights import from_module
from quasarloop.simulate.model_sky import ModelSky
from quasarloop.simulate.population import Population

__all__ = ["Cost", "estimate_cost"]

_SAMPLE: Final = 512
# Bytes a simulated spectrum takes as DESI coadd and in the store, about (measured on tiles).
_BYTES_PER_SPECTRUM: Final = 110_000
_ROUNDS: Final = 2
_CATALOGUES: Final = 2  # of every round: the weights before, and those that leave


@dataclass(frozen=True)
class Cost:
    """Hours and disk of a demonstration on this machine.

    Attributes:
        simulate_hours, train_hours, vote_hours: of all workers together working at once.
        disk_gb: for files and stores.
    """

    simulate_hours: float
    train_hours: float
    vote_hours: float
    disk_gb: float

    def describe(self) -> str:
        """Return a few sentences."""
        total = self.simulate_hours + self.train_hours + self.vote_hours
        return (
            f"At the rates measured just now on this machine it takes about {total:,.0f} hours: "
            f"{self.simulate_hours:,.1f} to simulate, {self.train_hours:,.1f} to train, "
            f"{self.vote_hours:,.1f} to vote; and about {self.disk_gb:,.0f} GB of disk. "
            "On a cluster, give the campaign the address of a Dask scheduler."
        )


def estimate_cost(scale: DemoScale, workers: int) -> Cost:
    """Measure the rates of simulating, training and voting, and scale them up."""
    campaign = demo_config(scale, workers)
    config = network_of(campaign.ensemble, campaign)
    rng = np.random.default_rng(0)
    flux = rng.normal(size=(_SAMPLE, config.grid.n_bins)).astype(np.float32)
    data = TrainingData.make(flux, np.full(_SAMPLE, 2), rng.uniform(0.5, 3.5, _SAMPLE))
    options = replace(training_of(campaign.ensemble, campaign), epochs=1)
    predictor = Predictor(from_module(LineFinder(config).eval()))
    sky, wave = ModelSky(Population(), None), np.geomspace(3600.0, 9800.0, 4000)
    train_s = _seconds(lambda: train(data, config, options, seed=0)) / _SAMPLE
    vote_s = _seconds(lambda: predictor.predict(flux)) / _SAMPLE
    sky_s = _seconds(lambda: sky(0, 0, _SAMPLE, wave)) / _SAMPLE
    hour = 3600.0 * workers
    n_votes = scale.n_spectra * (scale.networks + _CATALOGUES)
    return Cost(
        simulate_hours=2 * sky_s * scale.n_spectra / hour,  # light, then noise and files
        train_hours=_ROUNDS * train_s * scale.network_spectra / hour,
        vote_hours=_ROUNDS * vote_s * n_votes / hour,
        disk_gb=_BYTES_PER_SPECTRUM * scale.n_spectra / 1e9,
    )


def _seconds(work: Callable[[], object]) -> float:
    work()  # once to warm up
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
