"""Train the ensemble on T, and let it vote on U (paper, Section 3, steps 2 and 3).

Heads on given weights are trained in seconds, on the features of one pass of these weights over U;
the pass is kept beside the store, for all rounds.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from quasarloop.campaign.config import CampaignOptions
from quasarloop.campaign.layout import (
    Stream,
    device_of,
    engine_of,
    features_of,
    network_of,
    pool_store,
    seed_number,
    spectra_of_truth,
    start_files,
    start_weights,
    training_of,
    truth_before,
)
from quasarloop.campaign.state import Context, Step
from quasarloop.classes import Thresholds
from quasarloop.ensemble.manifest import open_ensemble
from quasarloop.ensemble.options import EnsembleOptions, VoteOptions
from quasarloop.ensemble.train import train_ensemble
from quasarloop.ensemble.train_heads import train_heads
from quasarloop.ensemble.vote import vote
from quasarloop.network.labelled import TrainingData, label_spectra

__all__ = ["ENSEMBLE", "VOTES"]


def _run(context: Context) -> None:
    section = context.config.ensemble
    truth = truth_before(context)
    data, counts = label_spectra(spectra_of_truth(context, [truth]), truth)
    context.report(f"T: {counts.describe()}")
    if section.kind == "heads":
        _train_heads(context, data)
        return
    earlier = (
        None
        if context.round_number == 1 or not section.warm_start
        else open_ensemble(context.step_folder("ensemble", context.round_number - 1))
    )
    options = EnsembleOptions(
        n_networks=section.networks,
        seed=seed_number(context, Stream.ENSEMBLE),
        network=network_of(section, context.config),
        training=training_of(section, device_of(context)),
        start_from=earlier,
    )
    train_ensemble(
        data,
        options,
        context.step_folder("ensemble"),
        engine=engine_of(context),
        on_member=lambda index: context.report(f"member {index + 1} of {section.networks}"),
    )


def _train_heads(context: Context, data: TrainingData) -> None:
    section = context.config.ensemble
    weights = start_weights(context, section.start)
    progress = _progress(context, "passed through the network")
    features = features_of(context, weights, on_progress=progress)
    train_heads(
        data,
        weights,
        context.step_folder("ensemble"),
        n_heads=section.networks,
        seed=seed_number(context, Stream.ENSEMBLE),
        standard=features.standard(),
        device=device_of(context),
    )


def _progress(context: Context, what: str) -> Callable[[int], None]:
    """Return what counts spectra and reports their number."""
    done, total = 0, pool_store(context).n_rows

    def progress(n: int) -> None:
        nonlocal done
        done += n
        context.report(f"{done} of {total} spectra {what}")

    return progress


def _ensemble_options(config: CampaignOptions) -> Mapping[str, Any]:
    section = asdict(config.ensemble)
    if config.ensemble.kind == "heads":
        return {name: section[name] for name in ("kind", "networks")} | {"seed": config.seed}
    # As recorded when there were no heads, so that what is done stays done.
    own = {name: value for name, value in section.items() if name not in ("kind", "start")}
    return {**own, "seed": config.seed}


ENSEMBLE = Step(
    "ensemble",
    "Train the ensemble",
    _run,
    _ensemble_options,
    needs=("ingest",),
    files=lambda context: start_files(context, context.config.ensemble.start),
)


def _vote(context: Context) -> None:
    members, store = open_ensemble(context.step_folder("ensemble")), pool_store(context)
    out, engine = context.step_folder("votes"), engine_of(context)
    config, device = context.config, device_of(context)
    options = VoteOptions(config.evaluation.threshold, device=device, tf32=config.tf32)
    progress = _progress(context, "voted on")
    vote(members, store, out, options=options, engine=engine, on_progress=progress)


def _vote_options(config: CampaignOptions) -> Mapping[str, Any]:
    threshold = config.evaluation.threshold
    # Votes at the usual threshold stay valid: it was not recorded here at first.
    usual = threshold in (None, Thresholds().confidence)
    later = {} if usual else {"threshold": threshold}
    return {"cascade": False, **later, **({"tf32": True} if config.tf32 else {})}


VOTES = Step("votes", "Vote on the pool", _vote, _vote_options, needs=("ingest", "ensemble"))
