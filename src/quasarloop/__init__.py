"""quasarloop: find quasars in survey spectra, and label the fewest to find the most.

Everything a notebook needs is here; heavy parts are imported when first used.

>>> import quasarloop
>>> "classify" in dir(quasarloop)
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quasarloop.api.choose import map_store, rerank, select, simulate_sky
    from quasarloop.api.classify import classify, judge
    from quasarloop.api.plot import plot_spectrum
    from quasarloop.api.train import finetune, train, train_ensemble
    from quasarloop.campaign.config import CampaignOptions
    from quasarloop.campaign.run import Campaign
    from quasarloop.ensemble.manifest import Ensemble, open_ensemble
    from quasarloop.ensemble.vote import vote
    from quasarloop.network.options import FinetuneOptions, TrainingOptions
    from quasarloop.network.weights import read_weights, write_weights
    from quasarloop.query.options import SelectionOptions
    from quasarloop.read import read_spectra, read_truth, spectrum_list, write_truth
    from quasarloop.spectra import Spectra
    from quasarloop.store import ingest, open_store
    from quasarloop.truth import join_truth

__all__ = [
    "Campaign",
    "CampaignOptions",
    "Ensemble",
    "FinetuneOptions",
    "SelectionOptions",
    "Spectra",
    "TrainingOptions",
    "__version__",
    "classify",
    "finetune",
    "ingest",
    "join_truth",
    "judge",
    "map_store",
    "open_ensemble",
    "open_store",
    "plot_spectrum",
    "read_spectra",
    "read_truth",
    "read_weights",
    "rerank",
    "select",
    "simulate_sky",
    "spectrum_list",
    "train",
    "train_ensemble",
    "vote",
    "write_truth",
    "write_weights",
]

__version__ = "0.2.0"

_HOMES = {
    "Campaign": "quasarloop.campaign.run",
    "CampaignOptions": "quasarloop.campaign.config",
    "Ensemble": "quasarloop.ensemble.manifest",
    "FinetuneOptions": "quasarloop.network.options",
    "SelectionOptions": "quasarloop.query.options",
    "Spectra": "quasarloop.spectra",
    "TrainingOptions": "quasarloop.network.options",
    "classify": "quasarloop.api.classify",
    "finetune": "quasarloop.api.train",
    "ingest": "quasarloop.store",
    "join_truth": "quasarloop.truth",
    "judge": "quasarloop.api.classify",
    "map_store": "quasarloop.api.choose",
    "open_ensemble": "quasarloop.ensemble.manifest",
    "open_store": "quasarloop.store",
    "plot_spectrum": "quasarloop.api.plot",
    "read_spectra": "quasarloop.read",
    "read_truth": "quasarloop.read",
    "read_weights": "quasarloop.network.weights",
    "rerank": "quasarloop.api.choose",
    "select": "quasarloop.api.choose",
    "simulate_sky": "quasarloop.api.choose",
    "spectrum_list": "quasarloop.read",
    "train": "quasarloop.api.train",
    "train_ensemble": "quasarloop.api.train",
    "vote": "quasarloop.ensemble.vote",
    "write_truth": "quasarloop.read",
    "write_weights": "quasarloop.network.weights",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'quasarloop' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
