"""The whole story on a simulated sky: first truth table, two rounds, report; and its cost."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from quasarloop.artefacts import check_folder
from quasarloop.campaign.config import (
    CampaignOptions,
    DataSection,
    EnsembleSection,
    EvaluationSection,
    InspectionSection,
    MapSection,
    OracleSection,
    SelectionSection,
)
from quasarloop.campaign.config_file import CONFIG_NAME, write_config
from quasarloop.engine import Engine
from quasarloop.network.finetune import finetune
from quasarloop.network.labelled import TrainingData
from quasarloop.network.options import FinetuneOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import default_weights_path, read_weights
from quasarloop.simulate.faults import FaultRates
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.observing import ObservingOptions
from quasarloop.simulate.population import (
    GalaxyPopulation,
    Population,
    QuasarPopulation,
    StarPopulation,
)
from quasarloop.simulate.survey import SurveyOptions, simulate_survey

__all__ = [
    "PAPER_SCALE",
    "SMALL",
    "Cost",
    "DemoScale",
    "demo_config",
    "estimate_cost",
    "simulate_demo",
]


@dataclass(frozen=True)
class DemoScale:
    """How large a demonstration is.

    Attributes:
        n_pool: objects seen once.
        n_repeated: objects seen `n_exposures` times; each exposure and their coadd are in U.
        n_exposures: exposures of those.
        n_first: labelled spectra of the first T.
        n_test: spectra to judge on, never labelled.
        n_chosen: labels per round.
        n_outliers: rejected outliers inspected besides, per round.
        heads: members of the ensemble.
        map_side: cells along one side of the map.
    """

    n_pool: int
    n_repeated: int
    n_exposures: int
    n_first: int
    n_test: int
    n_chosen: int
    n_outliers: int
    heads: int
    map_side: int

    @property
    def n_spectra(self) -> int:
        """All spectra of the simulated sky."""
        single = self.n_pool + self.n_first + self.n_test
        return single + self.n_repeated * (self.n_exposures + 1)


# Sized to end within a few minutes on two cores.
SMALL: Final = DemoScale(
    n_pool=4_000,
    n_repeated=500,
    n_exposures=2,
    n_first=100,
    n_test=3_000,
    n_chosen=75,
    n_outliers=10,
    heads=100,
    map_side=15,
)
# Source: paper, Sections 3 and 4.
PAPER_SCALE: Final = DemoScale(
    n_pool=2_400_000,
    n_repeated=300_000,
    n_exposures=3,
    n_first=4_600,
    n_test=10_000,
    n_chosen=1_000,
    n_outliers=100,
    heads=200,
    map_side=45,
)
# A survey unlike those that the shipped weights were trained on: its targets chosen in the
# infrared, so that a quarter are quasars, reddened and often with broad absorption, the others
# galaxies and stars; fainter, and with a spectrograph of many faults. Fixed before its first run.
# Source: our choice; absorption in the infrared: Dai et al. 2008 (ApJ 672, 108).
_POPULATION: Final = Population(
    quasars=QuasarPopulation(
        weight=0.25,
        ebv_mean=0.12,
        ebv_mean_bal=0.20,
        ebv_mean_lobal=0.30,
        bal_fraction=0.35,
        mini_bal_fraction=0.10,
        lobal_share=0.20,
        weak_line_fraction=0.05,
    ),
    galaxies=GalaxyPopulation(weight=0.40),
    stars=StarPopulation(weight=0.35),
)
_OBSERVING: Final = ObservingOptions(
    depth=0.5,
    faults=FaultRates(sky_residuals=0.3, arm_step=0.2, cosmic_rays=0.1, masked_arm=0.03),
)
_SEEDS: Final = {"pool": 11, "repeats": 12, "first": 13, "test": 14}


def demo_config(scale: DemoScale, workers: int) -> CampaignOptions:
    """Return the campaign of a demonstration, paths relative to its folder."""
    sky = {name: f"../sky/{name}" for name in _SEEDS}
    truth = {name: f"{folder}/truth.csv" for name, folder in sky.items()}
    return CampaignOptions(
        name="demonstration",
        workers=workers,
        data=DataSection(
            unlabelled=(sky["pool"], sky["repeats"]),
            labelled=(sky["first"],),
            truth=(truth["first"],),
        ),
        ensemble=EnsembleSection(networks=scale.heads),
        map=MapSection(rows=scale.map_side, columns=scale.map_side, epochs=5),
        selection=SelectionSection(n=scale.n_chosen, n_outliers=scale.n_outliers),
        inspection=InspectionSection(
            by="oracle", oracle=OracleSection(truth=(truth["pool"], truth["repeats"]), unsure=0.03)
        ),
        evaluation=EvaluationSection(
            test=(sky["test"],),
            test_truth=(truth["test"],),
            random_control=True,
            bootstraps=5,  # for time's sake
        ),
    )


def simulate_demo(
    folder: str | Path,
    scale: DemoScale,
    workers: int,
    on_objects: Callable[[int], None] = lambda _: None,
) -> Path:
    """Make ``sky/`` and ``campaign/`` in a folder and return the latter; what is there is kept.

    `on_objects` is called with the number of objects made since the last call.
    """
    root = check_folder(folder)
    counts = {
        "pool": scale.n_pool,
        "repeats": scale.n_repeated,
        "first": scale.n_first,
        "test": scale.n_test,
    }
    sky = ModelSky(_POPULATION, None)
    for name, n in counts.items():
        exposures = scale.n_exposures if name == "repeats" else 1
        observing = _OBSERVING.model_copy(update={"exposures": exposures})
        plan = SurveyOptions(
            root / "sky" / name, seed=_SEEDS[name], source=sky, observing=observing
        )
        simulate_survey(
            plan,
            n,
            engine=Engine(workers=workers),
            on_tile=lambda tile: on_objects(tile.n_objects),
        )
    campaign = check_folder(root / "campaign")
    if not (campaign / CONFIG_NAME).exists():
        write_config(campaign, demo_config(scale, workers))
    return campaign


_SAMPLE: Final = 512
# Bytes a simulated spectrum takes as DESI coadd and in the store, about (measured on tiles).
_BYTES_PER_SPECTRUM: Final = 110_000
_ROUNDS: Final = 2
_CATALOGUES: Final = 2  # of every round: the weights before, and those that leave


@dataclass(frozen=True)
class Cost:
    """Hours and disk of a demonstration on this machine.

    Attributes:
        simulate_hours, train_hours, pass_hours: of all workers together working at once.
        disk_gb: for files and stores.
    """

    simulate_hours: float
    train_hours: float
    pass_hours: float
    disk_gb: float

    def describe(self) -> str:
        """Return a few sentences."""
        total = self.simulate_hours + self.train_hours + self.pass_hours
        return (
            f"At the rates measured just now on this machine it takes about {total:,.0f} hours: "
            f"{self.simulate_hours:,.1f} to simulate, {self.train_hours:,.1f} to train, "
            f"{self.pass_hours:,.1f} to pass spectra through networks; and about "
            f"{self.disk_gb:,.0f} GB of disk. "
            "On a cluster, give the campaign the address of a Dask scheduler."
        )


def estimate_cost(scale: DemoScale, workers: int) -> Cost:
    """Measure the rates of simulating, training and predicting, and scale them up."""
    weights = read_weights(default_weights_path())
    rng = np.random.default_rng(0)
    flux = rng.normal(size=(_SAMPLE, weights.config.grid.n_bins)).astype(np.float32)
    data = TrainingData.make(flux, np.full(_SAMPLE, 2), rng.uniform(0.5, 3.5, _SAMPLE))
    options = FinetuneOptions()
    once = replace(options, epochs=1, rehearsal=0)
    predictor = Predictor(weights)
    sky, wave = ModelSky(_POPULATION, None), np.geomspace(3600.0, 9800.0, 4000)
    train_s = _seconds(lambda: finetune(weights, data, once, seed=0)) / _SAMPLE
    pass_s = _seconds(lambda: predictor.predict(flux)) / _SAMPLE
    sky_s = _seconds(lambda: sky(0, 0, _SAMPLE, wave)) / _SAMPLE
    hour = 3600.0 * workers
    # Labels of the last round; passes over them and what is rehearsed, of both candidates with
    # epochs and of the network that leaves.
    n_labels = scale.n_first + _ROUNDS * scale.n_chosen
    n_trained = n_labels * options.epochs * (1 + 2 * 2 * options.rehearsal)
    n_passes = scale.n_spectra * (1 + _ROUNDS * _CATALOGUES)  # once for the features
    return Cost(
        simulate_hours=2 * sky_s * scale.n_spectra / hour,  # light, then noise and files
        train_hours=_ROUNDS * train_s * n_trained / hour,
        pass_hours=pass_s * n_passes / hour,
        disk_gb=_BYTES_PER_SPECTRUM * scale.n_spectra / 1e9,
    )


def _seconds(work: Callable[[], object]) -> float:
    work()  # once to warm up
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
