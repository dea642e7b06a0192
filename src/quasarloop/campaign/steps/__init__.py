"""The steps of a round, one file each, in the order of the paper's algorithm (Section 3)."""

from quasarloop.campaign.state import Step
from quasarloop.campaign.steps.ensemble import ENSEMBLE, VOTES
from quasarloop.campaign.steps.evaluation import EVALUATION
from quasarloop.campaign.steps.ingest import INGEST
from quasarloop.campaign.steps.labels import LABELS, TRUTH
from quasarloop.campaign.steps.networks import NETWORKS
from quasarloop.campaign.steps.redshifts import REDSHIFTS
from quasarloop.campaign.steps.report import REPORT
from quasarloop.campaign.steps.selection import MAP, SELECTION

__all__ = ["STEPS"]

STEPS: tuple[Step, ...] = (
    INGEST,
    ENSEMBLE,
    VOTES,
    MAP,
    SELECTION,
    LABELS,
    TRUTH,
    NETWORKS,
    EVALUATION,
    REDSHIFTS,
    REPORT,
)
