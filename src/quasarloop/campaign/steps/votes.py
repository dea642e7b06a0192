"""Let the ensemble vote on U (paper, Section 3, step 3)."""

from collections.abc import Mapping
from typing import Any

from quasarloop.campaign.config import CampaignConfig
from quasarloop.campaign.parts import engine_of, pool_store
from quasarloop.campaign.state import Context, Step
from quasarloop.ensemble.manifest import open_ensemble
from quasarloop.ensemble.vote import vote

__all__ = ["VOTES"]


def _run(context: Context) -> None:
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


def _settings(config: CampaignConfig) -> Mapping[str, Any]:
    return {"cascade": config.selection.cascade}


VOTES = Step("votes", "Vote on the pool", _run, _settings, needs=("ingest", "ensemble"))
