"""Run a campaign: from where it is, until people are needed or the rounds are done."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from quasarloop.artefacts import check_folder, locked_folder, read_manifest, write_manifest
from quasarloop.campaign.config import CampaignOptions
from quasarloop.campaign.config_file import CONFIG_NAME, read_config, write_config
from quasarloop.campaign.people import close_round, withdraw_targets
from quasarloop.campaign.state import (
    MANIFEST,
    Context,
    Step,
    StepState,
    damaged_files,
    finish_step,
    round_folder,
    round_numbers,
    step_origin,
    step_state,
)
from quasarloop.campaign.steps import STEPS
from quasarloop.campaign.steps.report import REPORT_NAME
from quasarloop.engine import Engine, keep_workers
from quasarloop.errors import CampaignError
from quasarloop.network.device import place_tasks

__all__ = ["Campaign", "Progress", "campaign_status", "run_campaign"]

_LOG = logging.getLogger(__name__)
_BEGUN: Final = ".begun.json"


@dataclass(frozen=True)
class Progress:
    """What `run_campaign` reports while it runs.

    Attributes:
        on_step: called with round, step and its number among all before it starts.
        on_line: called with lines of progress inside a step.
    """

    on_step: Callable[[int, Step, int], None] = lambda *_: None
    on_line: Callable[[str], None] = lambda _: None


def campaign_status(folder: str | Path) -> list[tuple[int, Step, StepState, str]]:
    """Return the state of every step of every begun round."""
    path, config = Path(folder), read_config(folder)
    rows = []
    for number in round_numbers(path) or [1]:
        context = Context(path, config.of_round(number), number)
        before_done = True
        for step in STEPS:
            # What comes after a step that is not done cannot be judged yet.
            state, why = step_state(step, context) if before_done else _unjudged(step, context)
            before_done = before_done and state is StepState.DONE
            rows.append((number, step, state, why))
    return rows


def run_campaign(
    folder: str | Path,
    *,
    progress: Progress | None = None,
    redo: Callable[[str], bool] = lambda _: False,
    **overrides: Any,
) -> int:
    """Go on from where the campaign is; return the number of the round that is finished now.

    `redo` takes a sentence and returns whether to make a stale step (and all after it) again;
    `overrides` are top-level options that win over the file.

    Raises:
        Waiting: people have to label; the message names how.
        CampaignError: a stale step that is not to be made again, or a broken campaign.
        OutputError: another command works in the folder.
        WeightsError: no such device on this machine.
    """
    path = Path(folder)
    config = read_config(path, **overrides)
    news = progress or Progress()
    engine = Engine(workers=config.workers, scheduler=config.scheduler or None)
    _, where = place_tasks(config.device, engine)
    with locked_folder(path), keep_workers(where) as engine:
        number = max(round_numbers(path), default=1)
        while True:
            context = Context(path, config.of_round(number), number, news.on_line, engine)
            for place, step in enumerate(STEPS):
                _bring_up_to_date(step, place, context, news, redo)
            if number >= config.rounds:
                return number
            number += 1


def _bring_up_to_date(
    step: Step, place: int, context: Context, news: Progress, redo: Callable[[str], bool]
) -> None:
    state, why = step_state(step, context)
    if state is StepState.DONE:
        return
    if state is StepState.STALE:
        later = ", ".join(other.name for other in STEPS[place:])
        question = (
            f"round {context.round_number}, step {step.name} is stale ({why} changed); made again "
            f"are: {later}"
        )
        if not redo(question):
            raise CampaignError(
                f"{question}. Run with --redo to make them again, or change it back"
            )
    news.on_step(context.round_number, step, place)
    origin = _begin(step, context)
    step.run(context)
    finish_step(step, context, origin)
    _LOG.info("round %d: %s done", context.round_number, step.name)


def _begin(step: Step, context: Context) -> dict[str, Any]:
    """Keep what an interrupted run of the same step left, wipe what another one did.

    Returns:
        What the step's result depends on.
    """
    folder = check_folder(context.step_folder(step.name))
    (folder / MANIFEST).unlink(missing_ok=True)
    origin, begun = step_origin(step, context), folder / _BEGUN
    if not begun.is_file() or read_manifest(begun) != origin:
        shutil.rmtree(folder)
        check_folder(folder)
        write_manifest(begun, origin)
    return origin


def _unjudged(step: Step, context: Context) -> tuple[StepState, str]:
    made = (context.step_folder(step.name) / MANIFEST).is_file()
    return (StepState.STALE, "a step before it is not done") if made else (StepState.MISSING, "")


class Campaign:
    """A campaign's folder, and what one can do with it.

    Args:
        folder: where it is.

    >>> campaign = Campaign("nowhere")
    >>> campaign.exists
    False
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def create(cls, folder: str | Path, config: CampaignOptions | None = None) -> "Campaign":
        """Make a new one, with its commented ``campaign.toml``.

        Raises:
            CampaignError: there is one already.
            OutputError: the folder cannot be written.
        """
        campaign = cls(check_folder(folder))
        if campaign.exists:
            raise CampaignError(
                f"{folder} holds a campaign already; run it, or choose another folder"
            )
        write_config(folder, config or CampaignOptions())
        return campaign

    @property
    def exists(self) -> bool:
        """Whether the folder holds a campaign."""
        return (self.folder / CONFIG_NAME).is_file()

    @property
    def config(self) -> CampaignOptions:
        """Its options, as the file has them now."""
        return read_config(self.folder)

    def run(self, **options: Any) -> Path:
        """Go on until the rounds are done (`run_campaign`); return the report.

        Raises:
            Waiting: people have to label first; the message names how.
        """
        number = run_campaign(self.folder, **options)
        return round_folder(self.folder, number) / "report" / REPORT_NAME

    def status(self) -> list[tuple[int, str, StepState]]:
        """Return round, step and state of every step."""
        return [
            (number, step.name, state) for number, step, state, _ in campaign_status(self.folder)
        ]

    def close(self, labels: str | Path | None = None, *, database: str | None = None) -> int:
        """Bring merged labels of the present round in; return how many of the chosen have one."""
        return close_round(self.folder, labels, database=database)

    def next(self) -> int:
        """Begin one more round than there are, for `run` to go on with; return its number.

        Raises:
            CampaignError: the last round is not finished.
        """
        done, config = max(round_numbers(self.folder), default=0), self.config
        unfinished = [name for _, name, state in self.status() if state is not StepState.DONE]
        if unfinished:
            raise CampaignError(
                f"round {max(done, 1)} is not finished ({unfinished[0]}); run it first"
            )
        with locked_folder(self.folder):
            write_config(self.folder, replace(config, rounds=max(config.rounds, done + 1)))
            check_folder(round_folder(self.folder, done + 1))
        return done + 1

    def withdraw(self, target_ids: Sequence[int], reason: str) -> None:
        """Take targets out of T, with a reason."""
        withdraw_targets(self.folder, target_ids, reason)

    def verify(self) -> list[str]:
        """Return files that are not as they were written."""
        return damaged_files(self.folder)
