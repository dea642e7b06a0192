"""The campaign's settings: every default with its meaning and where it comes from."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from quasarloop.artefacts import write_atomically
from quasarloop.classes import CONFIDENCE_THRESHOLD
from quasarloop.ensemble.forecast import Score
from quasarloop.errors import CampaignError
from quasarloop.query.options import RECOMMENDED_PER_CELL, SelectionOptions, of_round

__all__ = [
    "CONFIG_NAME",
    "CampaignConfig",
    "Learning",
    "Oracle",
    "Training",
    "config_text",
    "read_config",
    "write_config",
]

CONFIG_NAME: Final = "campaign.toml"

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
# One per round.
Shares = Annotated[tuple[Share, ...], Field(min_length=1)]
Positives = Annotated[tuple[Positive, ...], Field(min_length=1)]


class _Section(BaseModel):
    """A table of the file; unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """What is labelled and what is not."""

    unlabelled: tuple[str, ...] = Field(
        (), description="Files, folders or stores of U, the spectra to choose from."
    )
    labelled: tuple[str, ...] = Field(
        (), description="Files, folders or stores with the spectra of the first truth table T."
    )
    truth: tuple[str, ...] = Field((), description="Truth tables of the first T.")
    borrowed: tuple[str, ...] = Field(
        (),
        description="Another survey's spectra, used in round 1 only (paper, Section 4: 15,000 of "
        "eBOSS, left out from round 2 on).",
    )
    borrowed_truth: tuple[str, ...] = Field((), description="Truth tables of the borrowed spectra.")
    grid: Literal["log", "linear"] = Field(
        "log", description="Wavelength grid of the network: log (443 bins) or linear (458)."
    )


class Learning(_Section):
    """How networks learn."""

    preset: str = Field("green2025", description="Network preset (paper, Section 2).")
    filters: Positive = Field(
        100, description="Filters of each convolution (INTEROP, Networks: 100)."
    )
    epochs: Positive = Field(100, description="Epochs (paper, Section 4.2: 100).")
    batch_size: Positive = Field(
        64,
        description="Spectra per step (ours: small truth sets need many steps; released code: "
        "256).",
    )
    learning_rate: float = Field(
        3e-3, gt=0, description="First learning rate (ours, docs/training.md; released code: 1e-3)."
    )
    schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="How it goes on (ours, docs/training.md; released code: constant)."
    )
    amsgrad: bool = Field(True, description="Adam's variant of the released code.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.2, description="Share of units dropped (INTEROP: released code 0.2, paper 0.8)."
    )
    shift_bins: Count = Field(
        0, description="Shift training spectra at random by up to so many bins (our augmentation)."
    )
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "auto", description="Of products; auto: bfloat16 on CUDA devices that have it."
    )


class Ensemble(Learning):
    """The networks that vote."""

    networks: Positive = Field(200, description="Networks in the ensemble (paper, Section 3: 200).")
    epochs: Positive = Field(
        30,
        description="Epochs per network (ours: until they say what they can say; released code: 8 "
        "to 10, at 2e-4).",
    )
    warm_start: bool = Field(
        False, description="Start each member from the same member of the round before."
    )


class Map(_Section):
    """The self-organizing map that throws out oddities."""

    rows: Positive = Field(45, description="Cells along one side (paper, Section 3: 45 x 45).")
    columns: Positive = Field(45, description="Cells along the other side.")
    epochs: Positive = Field(30, description="Passes over U (our choice; the paper gives none).")
    percentile: Annotated[float, Field(ge=0, le=100)] = Field(
        15.0,
        description="Cells with counts below this percentile of all cells are rejected (paper, "
        "Section 3: 15th).",
    )


class Selection(_Section):
    """Which spectra people shall look at."""

    n: Positive | Positives = Field(
        1000,
        description="Objects chosen per round (paper, Section 3: 1000); a list gives one number "
        "per round, the last for all later ones. A small random first round pays where T is of "
        "another survey (docs/label_saving.md).",
    )
    n_outliers: Count = Field(
        0,
        description="Most confused rejected spectra inspected besides (paper, Section 4: 100, in "
        "round 2).",
    )
    score: str = Field(
        SelectionOptions.score,
        description="Score to rank by (paper, Section 3: entropy; measured against random labels "
        "at fixed purity in docs/label_saving.md).",
    )
    draw: Literal["top", "proportional"] = Field(
        "top", description="Take the highest scores (paper), or draw in proportion to them."
    )
    random_share: Share | Shares = Field(
        0.0, description="Share of n drawn at random from the eligible; a list: one per round."
    )
    per_cell: Count = Field(
        RECOMMENDED_PER_CELL,
        description="At most so many objects of one map cell (ours, docs/label_saving.md); 0: no "
        "limit (paper).",
    )
    cascade: bool = Field(
        False,
        description="Ask few members about most spectra: faster, may lose some of the top "
        "(docs/ensemble.md); for draw top and score entropy, soft_entropy or mutual_information.",
    )
    use_map: bool = Field(True, description="Reject spectra in thinly filled cells of the map.")

    @property
    def n_now(self) -> int:
        """Objects chosen in a round; of settings that `CampaignConfig.of_round` gave."""
        assert isinstance(self.n, int)
        return self.n

    @property
    def random_share_now(self) -> float:
        """Share drawn at random in a round; of settings that `CampaignConfig.of_round` gave."""
        assert not isinstance(self.random_share, tuple)
        return self.random_share

    @model_validator(mode="after")
    def _cascade_can_rank(self) -> Self:
        ranks = get_args(Score)
        if self.cascade and (self.score not in ranks or self.draw != "top"):
            raise ValueError(
                f"a cascade finds the highest scores only, by {', '.join(ranks)}; found score "
                f"{self.score!r}, draw {self.draw!r}: change them, or set cascade = false"
            )
        return self


class Oracle(_Section):
    """Stands in for people where truth is known: a simulated sky."""

    truth: tuple[str, ...] = Field((), description="Truth tables the oracle answers from.")
    wrong_class: Share = Field(0.0, description="Share of answers with a wrong class.")
    wrong_redshift: Share = Field(0.0, description="Share of quasars with a wrong redshift.")
    unsure: Share = Field(0.0, description="Share of answers below training quality.")


class Inspection(_Section):
    """Who labels."""

    by: Literal["people", "oracle", "file"] = Field(
        "people", description="people: the inspection page; oracle: a known truth; file: imported."
    )
    inspectors: Positive = Field(3, description="Inspectors per spectrum (paper, Section 4: 3).")
    oracle: Oracle = Field(default_factory=Oracle, description="Settings of the oracle.")


class Training(Learning):
    """The network that leaves the round."""


class Evaluation(_Section):
    """How a round is judged."""

    validation: Share = Field(
        0.3, description="Share of objects held out, stratified (paper, Section 4.2: 30 %)."
    )
    threshold: Share = Field(
        CONFIDENCE_THRESHOLD, description="Confidence threshold (paper, Section 3)."
    )
    bootstraps: Count = Field(
        0, description="Bootstraps of each smaller truth set to equal size (paper, Fig. 6: 10)."
    )
    test: tuple[str, ...] = Field(
        (), description="Spectra never labelled nor chosen, to judge every round on besides."
    )
    random_control: bool = Field(
        False,
        description="Also train on as many random new labels instead (needs the oracle): what the "
        "choice itself is worth.",
    )
    test_truth: tuple[str, ...] = Field((), description="Truth tables of the test spectra.")
    reference: str = Field(
        "",
        description="Weights file the survey uses today, to hold those that leave the campaign "
        "against; empty: the network trained on the first T (paper, Section 4.3: old and new "
        "weights).",
    )


class CampaignConfig(_Section):
    """All settings of a campaign."""

    name: str = Field("campaign", min_length=1, description="Name, for reports.")
    seed: Count = Field(1, description="Root of all random numbers: same seed, same bytes.")
    rounds: Positive = Field(2, description="Rounds to run (paper, Section 4: two).")
    workers: Positive = Field(1, description="Processes; results do not depend on it.")
    scheduler: str = Field(
        "", description="Address of a Dask scheduler; takes the place of workers."
    )
    data: Data = Field(default_factory=Data)
    ensemble: Ensemble = Field(default_factory=Ensemble)
    map: Map = Field(default_factory=Map)
    selection: Selection = Field(default_factory=Selection)
    inspection: Inspection = Field(default_factory=Inspection)
    training: Training = Field(default_factory=Training)
    evaluation: Evaluation = Field(default_factory=Evaluation)

    def of_round(self, number: int) -> "CampaignConfig":
        """Return the settings as they hold in one round, from 1: lists replaced by its values."""
        own = {
            name: of_round(getattr(self.selection, name), number) for name in ("n", "random_share")
        }
        return self.model_copy(update={"selection": self.selection.model_copy(update=own)})


def read_config(folder: str | Path, **overrides: Any) -> CampaignConfig:
    """Read and check ``campaign.toml`` of a campaign folder.

    Args:
        folder: the campaign.
        overrides: top-level settings that win over the file.

    Raises:
        CampaignError: no file, not TOML, an unknown key or an impossible value; the message
            names each.
    """
    path = Path(folder) / CONFIG_NAME
    try:
        content = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    except FileNotFoundError as exc:
        raise CampaignError(
            f"{path} is missing; make a campaign first: quasarloop campaign init {folder}"
        ) from exc
    except (OSError, UnicodeDecodeError, tomlkit.exceptions.TOMLKitError) as exc:
        raise CampaignError(f"{path}: not a readable TOML file ({exc})") from exc
    try:
        return CampaignConfig.model_validate({**content, **overrides})
    except ValidationError as exc:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}"
            for error in exc.errors()
        )
        raise CampaignError(f"{path}: {faults}") from exc


def write_config(folder: str | Path, config: CampaignConfig) -> Path:
    """Write ``campaign.toml`` with a comment of meaning and source on every setting."""
    path = Path(folder) / CONFIG_NAME
    with write_atomically(path) as temporary:
        temporary.write_text(config_text(config), encoding="utf-8")
    return path


def config_text(config: CampaignConfig) -> str:
    """Return the settings as commented TOML."""
    document = tomlkit.document()
    document.add(tomlkit.comment("A quasarloop campaign. Paths are relative to this folder."))
    _fill(document, config)
    return tomlkit.dumps(document)


def _fill(table: Any, section: BaseModel) -> None:
    plain: list[tuple[str, FieldInfo, Any]] = []
    nested: list[tuple[str, FieldInfo, Any]] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        (nested if isinstance(value, BaseModel) else plain).append((name, field, value))
    for name, field, value in plain:
        table.add(tomlkit.comment(field.description or ""))
        table.add(name, list(value) if isinstance(value, tuple) else value)
    for name, _, value in nested:
        inner = tomlkit.table()
        inner.add(tomlkit.comment((type(value).__doc__ or "").splitlines()[0]))
        _fill(inner, value)
        table.add(name, inner)
