"""Train the ensemble on T (paper, Section 3, step 2)."""

from collections.abc import Mapping
from typing import Any

from quasarloop.campaign.config import CampaignConfig
from quasarloop.campaign.ledger import active_truth
from quasarloop.campaign.parts import (
    engine_of,
    ledger_before,
    network_of,
    seed_of,
    spectra_of_truth,
    training_of,
)
from quasarloop.campaign.state import Context, Step
from quasarloop.ensemble.manifest import open_ensemble
from quasarloop.ensemble.train import EnsembleSettings, train_ensemble
from quasarloop.network.labelled import label_spectra

__all__ = ["ENSEMBLE"]


def _run(context: Context) -> None:
    settings = context.config.ensemble
    first = context.round_number == 1
    truth = active_truth(ledger_before(context), with_borrowed=first)
    data, counts = label_spectra(spectra_of_truth(context), truth)
    context.tell(f"T: {counts.describe()}")
    earlier = (
        None
        if first or not settings.warm_start
        else open_ensemble(context.step_folder("ensemble", context.round_number - 1))
    )
    plan = EnsembleSettings(
        n_networks=settings.networks,
        seed=int(seed_of(context, 2).generate_state(1)[0]),
        network=network_of(settings, context.config),
        training=training_of(settings, context.config),
        start_from=earlier,
    )
    train_ensemble(
        data,
        plan,
        context.step_folder("ensemble"),
        engine=engine_of(context),
        on_member=lambda index: context.tell(f"member {index + 1} of {settings.networks}"),
    )


def _settings(config: CampaignConfig) -> Mapping[str, Any]:
    return {**config.ensemble.model_dump(), "seed": config.seed}


ENSEMBLE = Step("ensemble", "Train the ensemble", _run, _settings, needs=("ingest",))
