"""Train the ensemble on T, and let it vote on U (paper, Section 3, steps 2 and 3)."""

from collections.abc import Mapping
from typing import Any, Final, cast

from quasarloop.campaign.config import CampaignConfig, Selection
from quasarloop.campaign.layout import (
    engine_of,
    ledger_before,
    network_of,
    pool_store,
    seed_of,
    spectra_of_truth,
    training_of,
)
from quasarloop.campaign.ledger import active_truth
from quasarloop.campaign.state import Context, Step
from quasarloop.ensemble.cascade import CascadeOptions, cascade_vote
from quasarloop.ensemble.forecast import Score
from quasarloop.ensemble.manifest import open_ensemble
from quasarloop.ensemble.options import EnsembleOptions
from quasarloop.ensemble.train import train_ensemble
from quasarloop.ensemble.vote import vote
from quasarloop.network.labelled import label_spectra

__all__ = ["ENSEMBLE", "VOTES"]


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
    plan = EnsembleOptions(
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


# How many more than are chosen a cascade finds: flags, the map, its cells' shares, repeats and
# the truth table take some of the most confused away. Source: our choice.
_SPARE: Final = 4


def _vote(context: Context) -> None:
    if context.config.selection.cascade:
        _few_first(context)
    else:
        _everybody(context)


def _everybody(context: Context) -> None:
    store = pool_store(context)
    total, done = store.n_rows, 0

    def progress(n: int) -> None:
        nonlocal done
        done += n
        context.tell(f"{done} of {total} spectra voted on")

    vote(
        open_ensemble(context.step_folder("ensemble")),
        store,
        context.step_folder("votes"),
        engine=engine_of(context),
        on_progress=progress,
    )


def _few_first(context: Context) -> None:
    options = _cascade(context.config.selection)
    votes = cascade_vote(
        open_ensemble(context.step_folder("ensemble")),
        pool_store(context),
        context.step_folder("votes"),
        cascade=options,
        engine=engine_of(context),
        on_step=lambda name, done, total: context.tell(f"{name}: {done} of {total} questions"),
    )
    report = votes.record["cascade_report"]
    context.tell(
        f"{report['work']:.1%} of all questions asked; expected loss among the top "
        f"{options.top_k}: {report['expected_loss']:.2%}"
    )


def _cascade(settings: Selection) -> CascadeOptions:
    wanted = settings.n_now + settings.n_outliers
    return CascadeOptions(top_k=_SPARE * wanted, score=cast("Score", settings.score))


def _vote_settings(config: CampaignConfig) -> Mapping[str, Any]:
    selection = config.selection
    if not selection.cascade:
        return {"cascade": False}
    options = _cascade(selection)
    return {"cascade": True, "top_k": options.top_k, "score": options.score}


VOTES = Step("votes", "Vote on the pool", _vote, _vote_settings, needs=("ingest", "ensemble"))
