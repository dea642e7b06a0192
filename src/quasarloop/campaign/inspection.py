"""A campaign's present round on the inspection page: what people look at, and its live queue.

Nothing here loads torch: a page that was killed has to be back soon.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quasarloop.campaign.config_file import read_config
from quasarloop.campaign.state import Context, round_numbers
from quasarloop.errors import CampaignError
from quasarloop.labels.rule import InspectionRule
from quasarloop.query import CHOSEN_NAME, RANDOM, WORKLIST_NAME
from quasarloop.truth import TruthTable

if TYPE_CHECKING:
    import polars as pl

__all__ = ["RoundRanker", "ToInspect", "inspection_of", "live_ranker", "present_round"]


@dataclass(frozen=True)
class ToInspect:
    """What the inspection page needs of a campaign's present round.

    Attributes:
        worklist: what to look at.
        spectra: the store of U.
        rule: inspectors per object.
    """

    worklist: Path
    spectra: Path
    rule: InspectionRule


def inspection_of(folder: str | Path) -> ToInspect:
    """Return what people inspect in the present round, and how many of them look.

    Raises:
        CampaignError: no round waits for labels.
    """
    context = present_round(Path(folder))
    config = context.config
    rule = InspectionRule.from_text(str(config.inspection.inspectors), config.seed)
    worklist = context.step_folder("selection") / WORKLIST_NAME
    return ToInspect(worklist, context.store_folder("pool"), rule)


def present_round(path: Path) -> Context:
    """Return the round whose objects people inspect now.

    Raises:
        CampaignError: none waits for labels.
    """
    number = max(round_numbers(path), default=0)
    context = Context(path, read_config(path).of_round(max(number, 1)), max(number, 1))
    if not (context.step_folder("selection") / CHOSEN_NAME).is_file():
        raise CampaignError(f"no round of {path} waits for labels; run the campaign first")
    return context


def live_ranker(folder: str | Path) -> "RoundRanker":
    """Return what ranks the objects of a campaign's present round.

    Raises:
        CampaignError: no round waits for labels, its votes are not of heads, or all its objects
            were drawn at random.
    """
    context = present_round(Path(folder))
    if context.config.ensemble.kind != "heads":
        raise CampaignError(
            f"{folder}: whole networks vote, which take too long to train while people label; "
            'set [ensemble] kind = "heads", or leave out --live'
        )
    if not len(_by_score(context)):
        raise CampaignError(
            f"{folder}: all objects of this round were drawn at random, so that no score ranks "
            "them; leave out --live"
        )
    return RoundRanker(context.folder, context.round_number)


@dataclass(frozen=True)
class RoundRanker:
    """Ranks what a round chose by score, by heads on T and the labels so far.

    Objects drawn at random keep their places, and so do rejected outliers: a round that is closed
    early would else hold no fair sample. Cells of the map are not used again: what they reject
    was rejected when the round was chosen.

    Attributes:
        folder: the campaign.
        number: of the round.
    """

    folder: Path
    number: int

    def __call__(self, labels: TruthTable) -> list[tuple[int, float]]:
        """Return TARGETID and score, best first.

        Args:
            labels: final ones; those of other targets than the round's are left out.

        Raises:
            TruthError: labels of one class only, or too few.
        """
        from quasarloop.campaign.live import rank_round  # noqa: PLC0415 -- torch: in its process

        config = read_config(self.folder).of_round(self.number)
        context = Context(self.folder, config, self.number)
        return rank_round(context, _by_score(context)["TARGETID"].to_numpy(), labels)


def _by_score(context: Context) -> "pl.DataFrame":
    """Read what the round chose by score, the best first."""
    import polars as pl  # noqa: PLC0415 -- for the live queue only

    chosen = pl.read_parquet(context.step_folder("selection") / CHOSEN_NAME)
    return chosen.filter(pl.col("REASON") != RANDOM)
