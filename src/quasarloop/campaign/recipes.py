"""Settings of whole campaigns by name: ours, and those of the paper."""

from typing import Any, Literal

from quasarloop.campaign.config import (
    CampaignOptions,
    EnsembleSection,
    EvaluationSection,
    MapSection,
    SelectionSection,
    TrainingSection,
)

__all__ = ["Recipe", "recipe"]

Recipe = Literal["quasarloop", "paper"]


def recipe(name: Recipe) -> CampaignOptions:
    """Return the options of a recipe: ours, which is the default, or that of the paper.

    Source: Green et al. 2025, Sections 2 to 4; what it does not give is the released code's.
    """
    if name == "quasarloop":
        return CampaignOptions()
    learning: dict[str, Any] = {"start": "", "batch_size": 256, "schedule": "constant"}
    return CampaignOptions(
        rounds=2,
        ensemble=EnsembleSection(
            kind="networks", networks=200, epochs=10, learning_rate=2e-4, **learning
        ),
        map=MapSection(rows=45, columns=45, percentile=15.0),
        selection=SelectionSection(
            n=1000, n_outliers=100, score="entropy", draw="top", random_share=0.0, per_cell=0
        ),
        training=TrainingSection(epochs=100, learning_rate=1e-3, rehearsal=0, **learning),
        evaluation=EvaluationSection(validation=0.3, threshold=0.95, bootstraps=10),
    )
