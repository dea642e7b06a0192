"""Train the ensemble on T, and let it vote on U (paper, Section 3, steps 2 and 3)."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from quasarloop.campaign.config import CampaignOptions
from quasarloop.campaign.layout import (
    Stream,
    engine_of,
    ledger_before,
    network_of,
    pool_store,
    seed_number,
    spectra_of_truth,
    training_of,
)
from quasarloop.campaign.ledger import active_truth
from quasarloop.campaign.state import Context, Step
from quasarloop.classes import Thresholds
from quasarloop.ensemble.manifest import open_ensemble
from quasarloop.ensemble.options import EnsembleOptions, VoteOptions
from quasarloop.ensemble.train import train_ensemble
from quasarloop.ensemble.vote import vote
from quasarloop.network.labelled import label_spectra

__all__ = ["ENSEMBLE", "VOTES"]


def _run(context: Context) -> None:
    section = context.config.ensemble
    first = context.round_number == 1
    truth = active_truth(ledger_before(context), with_borrowed=first)
    data, counts = label_spectra(spectra_of_truth(context), truth)
    context.report(f"T: {counts.describe()}")
    earlier = (
        None
        if first or not section.warm_start
        else open_ensemble(context.step_folder("ensemble", context.round_number - 1))
    )
    options = EnsembleOptions(
        n_networks=section.networks,
        seed=seed_number(context, Stream.ENSEMBLE),
        network=network_of(section, context.config),
        training=training_of(section, context.config),
        start_from=earlier,
    )
    train_ensemble(
        data,
        options,
        context.step_folder("ensemble"),
        engine=engine_of(context),
        on_member=lambda index: context.report(f"member {index + 1} of {section.networks}"),
    )


ENSEMBLE = Step(
    "ensemble",
    "Train the ensemble",
    _run,
    lambda config: {**asdict(config.ensemble), "seed": config.seed},
    needs=("ingest",),
)


def _vote(context: Context) -> None:
    members, store = open_ensemble(context.step_folder("ensemble")), pool_store(context)
    out, engine = context.step_folder("votes"), engine_of(context)
    options = VoteOptions(context.config.evaluation.threshold)
    done = 0

    def progress(n: int) -> None:
        nonlocal done
        done += n
        context.report(f"{done} of {store.n_rows} spectra voted on")

    vote(members, store, out, options=options, engine=engine, on_progress=progress)


def _vote_options(config: CampaignOptions) -> Mapping[str, Any]:
    threshold = config.evaluation.threshold
    # Votes at the usual threshold stay valid: it was not recorded here at first.
    usual = threshold in (None, Thresholds().confidence)
    return {"cascade": False, **({} if usual else {"threshold": threshold})}


VOTES = Step("votes", "Vote on the pool", _vote, _vote_options, needs=("ingest", "ensemble"))
