"""Options of a campaign, section by section of ``campaign.toml``.

A section repeats the options of the classes it feeds (`like`); written here is only what differs
in a campaign.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from quasarloop.ensemble.options import EnsembleOptions, VoteOptions
from quasarloop.errors import CampaignError, InspectionError
from quasarloop.grid import LOG_GRID
from quasarloop.labels.rule import PER_OBJECT, InspectionRule
from quasarloop.network.options import (
    SHIPPED,
    Device,
    FinetuneOptions,
    HoldOutOptions,
    PresetOptions,
    TrainingOptions,
)
from quasarloop.options import check_options, like, option
from quasarloop.query.options import (
    RECOMMENDED_PER_CELL,
    SelectionOptions,
    SomOptions,
    of_round,
)
from quasarloop.query.som import CellGrid

__all__ = [
    "CampaignOptions",
    "DataSection",
    "EnsembleSection",
    "EvaluationSection",
    "InspectionSection",
    "LearningSection",
    "MapSection",
    "OracleSection",
    "Section",
    "SelectionSection",
    "TrainingSection",
]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table of the file; its comment there is the first line of the class's docstring."""

    def __post_init__(self) -> None:
        check_options(self, CampaignError)


@dataclass(frozen=True, kw_only=True)
class DataSection(Section):
    """What is labelled and what is not."""

    unlabelled: tuple[str, ...] = option(
        (), "Files, folders or stores of U, the spectra to choose from."
    )
    labelled: tuple[str, ...] = option(
        (), "Files, folders or stores with the spectra of the first truth table T."
    )
    truth: tuple[str, ...] = option((), "Truth tables of the first T.")
    borrowed: tuple[str, ...] = option(
        (),
        "Another survey's spectra, used in round 1 only",
        source="paper, Section 4: 15,000 of eBOSS, left out from round 2 on",
    )
    borrowed_truth: tuple[str, ...] = option((), "Truth tables of the borrowed spectra.")
    unvetted: bool = option(
        False, "Truth tables may be redrock's catalogues, uninspected: rows without a warning."
    )
    grid: Literal["log", "linear"] = option(
        LOG_GRID.kind, "Wavelength grid of the network: log (443 bins) or linear (458)."
    )


@dataclass(frozen=True, kw_only=True)
class LearningSection(Section):
    """How networks learn."""

    preset: str = like(PresetOptions, "preset")
    filters: int = like(
        PresetOptions, "filters", 100, help="Filters of each convolution.", source="paper: 100"
    )
    epochs: int = like(TrainingOptions, "epochs", 100, source="paper, Section 4.2: 100")
    batch_size: int = like(
        TrainingOptions,
        "batch_size",
        64,
        source="ours: small truth sets need many steps; released code: 256",
    )
    learning_rate: float = like(
        TrainingOptions,
        "learning_rate",
        3e-3,
        source="ours, docs/measurements/training.md; released code: 1e-3",
    )
    schedule: Literal["constant", "cosine"] = like(
        TrainingOptions,
        "schedule",
        "cosine",
        source="ours, docs/measurements/training.md; released code: constant",
    )
    amsgrad: bool = like(TrainingOptions, "amsgrad")
    dropout: float = like(
        PresetOptions,
        "dropout",
        0.2,
        help="Share of activations dropped in training.",
        source="released code: 0.2, paper: 0.8",
    )
    shift_bins: int = like(TrainingOptions, "shift_bins")
    precision: Literal["float32", "bfloat16", "auto"] = like(TrainingOptions, "precision")


@dataclass(frozen=True, kw_only=True)
class EnsembleSection(LearningSection):
    """The members that vote; what is below `warm_start` is for whole networks."""

    kind: Literal["heads", "networks"] = option(
        "heads",
        "heads: linear heads on one network, trained in seconds; networks: whole ones, from "
        "nothing.",
        source="ours, docs/measurements/label_saving.md; paper: networks",
    )
    start: str = option(
        SHIPPED, "Weights that heads are put on: shipped, or a file; empty with kind networks."
    )
    networks: int = like(EnsembleOptions, "n_networks", help="Members.")
    epochs: int = like(
        TrainingOptions,
        "epochs",
        30,
        source="ours: until more give no better votes; released code: 8 to 10, at 2e-4",
    )
    warm_start: bool = option(False, "Start each member from the same member of the round before.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.kind == "heads") != bool(self.start):
            raise CampaignError(
                f"ensemble.kind is {self.kind!r} and start is {self.start!r}; heads need weights "
                "to start from (shipped, or a file), networks begin from nothing (start empty)"
            )


@dataclass(frozen=True, kw_only=True)
class MapSection(Section):
    """The self-organizing map that throws out oddities."""

    rows: int = like(CellGrid, "n_rows")
    columns: int = like(CellGrid, "n_columns")
    epochs: int = like(SomOptions, "n_epochs")
    percentile: float = like(SelectionOptions, "percentile")


@dataclass(frozen=True, kw_only=True)
class SelectionSection(Section):
    """Which spectra people inspect."""

    n: int | tuple[int, ...] = like(
        SelectionOptions,
        "n",
        help="Objects to choose per round; a list gives one number per round, the last for all "
        "later ones. A small random first round pays where T is of another survey.",
        source="paper, Section 3: 1000; docs/measurements/label_saving.md",
    )
    n_outliers: int = like(
        SelectionOptions,
        "n_outliers",
        help="Rejected outliers of highest score inspected besides.",
    )
    score: str | tuple[str, ...] = like(
        SelectionOptions,
        "score",
        ("two_entropies", "quasar_or_not"),
        help="Score to rank by; a list gives one per round, the last for all later ones.",
        source="ours, for heads: docs/measurements/label_saving.md; paper: entropy",
    )
    draw: Literal["top", "proportional"] = like(SelectionOptions, "draw")
    random_share: float | tuple[float, ...] = like(
        SelectionOptions,
        "random_share",
        0.25,
        source="ours: networks are judged on these, weighted back to the pool; paper: 0",
        help="Share of n drawn at random from all that are eligible; a list: one per round.",
    )
    per_cell: int = option(
        RECOMMENDED_PER_CELL,
        "At most so many objects of one map cell; 0: no limit.",
        source="ours, docs/measurements/label_saving.md; paper: no limit",
        low=0,
    )
    use_map: bool = option(True, "Reject spectra in thinly filled cells of the map.")

    @property
    def n_now(self) -> int:
        """Objects chosen in a round; of options that `CampaignOptions.of_round` returned."""
        assert isinstance(self.n, int)
        return self.n


@dataclass(frozen=True, kw_only=True)
class OracleSection(Section):
    """Labels in place of people where truth is known: a simulated sky."""

    truth: tuple[str, ...] = option((), "Truth tables the oracle labels from.")
    wrong_class: float = option(0.0, "Share of labels with a wrong class.", low=0, high=1)
    wrong_redshift: float = option(0.0, "Share of quasars with a wrong redshift.", low=0, high=1)
    unsure: float = option(0.0, "Share of labels below training quality.", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class InspectionSection(Section):
    """Where labels come from."""

    by: Literal["people", "oracle", "file"] = option(
        "people", "people: the inspection page; oracle: a known truth; file: imported."
    )
    inspectors: int | str = option(
        PER_OBJECT,
        'Inspectors per spectrum; "2+1": two, and a third where they differ or are unsure, and '
        "for a random tenth.",
        source="paper, Section 4: 3",
        low=1,
    )
    oracle: OracleSection = field(default_factory=OracleSection)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            InspectionRule.from_text(str(self.inspectors))
        except InspectionError as exc:
            raise CampaignError(f"inspection.inspectors: {exc}") from exc


@dataclass(frozen=True, kw_only=True)
class TrainingSection(LearningSection):
    """The network that leaves the round; `preset`, `filters`, `dropout` count from nothing only."""

    start: str = option(
        SHIPPED, "Weights to begin from: shipped, or a file; empty: from nothing, as the paper."
    )
    how: Literal["best", "head", "finetune", "rehearse"] = option(
        "best",
        "From weights: head, a linear head on all of T; finetune, all layers trained on; rehearse, "
        "with simulated spectra besides; best: all three and the weights as they are, each to "
        "beat the simpler one.",
        source="docs/measurements/training.md",
    )
    epochs: int = like(
        FinetuneOptions, "epochs", source="ours, docs/measurements/training.md; paper: 100"
    )
    learning_rate: float = like(FinetuneOptions, "learning_rate")
    schedule: Literal["constant", "cosine"] = like(FinetuneOptions, "schedule")
    rehearsal: int = like(FinetuneOptions, "rehearsal")


@dataclass(frozen=True, kw_only=True)
class EvaluationSection(Section):
    """How a round is judged."""

    validation: float = like(
        HoldOutOptions, "validation", help="Share of objects held out, stratified."
    )
    threshold: float | None = option(
        None,
        "Confidence threshold of votes and numbers; without it that of the weights, which is 0.95 "
        "for networks trained here.",
        source="paper, Section 3",
        low=0,
        high=1,
    )
    bootstraps: int = option(
        10,
        "Bootstraps of each smaller truth set to equal size.",
        source="paper, Fig. 6: 10",
        low=0,
    )
    test: tuple[str, ...] = option(
        (), "Spectra never labelled nor chosen, to judge every round on besides."
    )
    random_control: bool = option(
        False,
        "Also train on as many random new labels instead (needs the oracle): what the choice "
        "itself is worth.",
    )
    test_truth: tuple[str, ...] = option((), "Truth tables of the test spectra.")
    reference: str = option(
        "",
        "Weights file the survey uses today, compared with those that leave the campaign; empty: "
        "the network trained on the first T.",
        source="paper, Section 4.3: old and new weights",
    )


@dataclass(frozen=True, kw_only=True)
class CampaignOptions(Section):
    """All options of a campaign."""

    name: str = option("campaign", "Name, for reports.")
    seed: int = option(1, "Root of all random numbers: same seed, same bytes.", low=0)
    rounds: int = option(2, "Rounds to run.", source="paper, Section 4: two", low=1)
    workers: int = option(1, "Processes; results do not depend on it.", low=1)
    scheduler: str = option("", "Address of a Dask scheduler; takes the place of workers.")
    device: Device = like(
        TrainingOptions,
        "device",
        help="Where networks compute: cpu, cuda, mps or auto, the best there is. Of several GPUs "
        "each worker has one, several workers share one.",
    )
    tf32: bool = like(VoteOptions, "tf32")
    data: DataSection = field(default_factory=DataSection)
    ensemble: EnsembleSection = field(default_factory=EnsembleSection)
    map: MapSection = field(default_factory=MapSection)
    selection: SelectionSection = field(default_factory=SelectionSection)
    inspection: InspectionSection = field(default_factory=InspectionSection)
    training: TrainingSection = field(default_factory=TrainingSection)
    evaluation: EvaluationSection = field(default_factory=EvaluationSection)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name:
            raise CampaignError("name is empty; give the campaign a name, for its reports")

    def of_round(self, number: int) -> "CampaignOptions":
        """Return the options as they hold in one round, from 1: lists replaced by its values."""
        own: dict[str, Any] = {
            name: of_round(getattr(self.selection, name), number)
            for name in ("n", "random_share", "score")
        }
        return replace(self, selection=replace(self.selection, **own))
