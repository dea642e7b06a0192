"""The few functions a notebook begins with; the rooms below hold the rest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from quasarloop.campaign.config import CONFIG_NAME, CampaignConfig, read_config
from quasarloop.campaign.people import close_round, withdraw_targets
from quasarloop.campaign.run import (
    Progress,
    campaign_status,
    init_campaign,
    next_round,
    run_campaign,
)
from quasarloop.campaign.state import StepState, damaged_files, round_folder
from quasarloop.campaign.steps.report import REPORT_NAME
from quasarloop.catalogue.classify import ClassifyOptions, classify_spectra
from quasarloop.catalogue.columns import catalogue_columns
from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.network.labelled import label_spectra
from quasarloop.network.options import RECOMMENDED, TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.presets import preset
from quasarloop.network.splits import hold_out
from quasarloop.network.training import TrainingResult
from quasarloop.network.training import train as train_network
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import default_weights_path, read_weights
from quasarloop.truth import TruthTable

__all__ = ["Campaign", "Paths", "classify", "listed", "train"]

Paths = str | Path | Sequence[str | Path]


def classify(
    paths: Paths,
    weights: str | Path | None = None,
    *,
    threshold: float | None = None,
    n_lines: int | None = None,
    device: str = "auto",
) -> Table:
    """Find the quasars in survey files, folders of them, or a store.

    Args:
        paths: one or several.
        weights: weights file; None takes the one shipped with the package.
        threshold: a line counts if its confidence is strictly above; default 0.95.
        n_lines: lines that must count; default one.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Returns:
        One row per spectrum, in order, with units; the columns of ``quasarloop classify``. For
        more spectra than fit into memory use `quasarloop.catalogue.classify_to_file`.

    Raises:
        DataFormatError: no spectra, or a broken file.
        WeightsError: weights that cannot be read.
    """
    chosen = {"threshold": threshold, "n_lines": n_lines}
    options = ClassifyOptions(**{k: v for k, v in chosen.items() if v is not None})  # type: ignore[arg-type]  # mixed
    predictor = Predictor(read_weights(weights or default_weights_path()), device=device)
    grid, columns = predictor.config.grid, catalogue_columns(predictor.config.lines)
    blocks = [
        classify_spectra(spectra, predictor, options)
        for spectra in iter_inputs(find_inputs(listed(paths)), grid)
    ]
    table = Table({c.name: np.concatenate([b[c.name] for b in blocks]) for c in columns})
    for column in columns:
        table[column.name].unit = column.unit or None
        table[column.name].description = column.text
    return table


def train(
    paths: Paths,
    truth: TruthTable,
    *,
    network: str = "green2025",
    options: TrainingOptions | None = None,
    validation: float = 0.0,
    seed: int = 0,
    **changes: Any,
) -> TrainingResult:
    """Train one network on labelled spectra.

    Args:
        paths: survey files, folders of them, or a store.
        truth: labels by TARGETID.
        network: preset.
        options: how to train; default: what docs/training.md recommends.
        validation: share of objects to hold out and judge on, in every epoch.
        seed: same seed, same bytes.
        changes: of the preset, e.g. ``dropout=0.8``.

    Returns:
        Weights (`quasarloop.write_weights` saves them) and the history of epochs.

    Raises:
        TruthError: no spectrum has a label that may train.
    """
    config = preset(network, **changes)
    data, _ = label_spectra(iter_inputs(find_inputs(listed(paths)), config.grid), truth)
    rows = None
    if validation:
        held = hold_out(data, validation, seed)
        rows = Rows(np.flatnonzero(~held), np.flatnonzero(held))
    return train_network(data, config, options or RECOMMENDED, seed=seed, rows=rows)


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
    def create(cls, folder: str | Path, config: CampaignConfig | None = None) -> "Campaign":
        """Make a new one, with its commented ``campaign.toml``."""
        init_campaign(folder, config)
        return cls(folder)

    @property
    def exists(self) -> bool:
        """Whether the folder holds a campaign."""
        return (self.folder / CONFIG_NAME).is_file()

    @property
    def config(self) -> CampaignConfig:
        """Its settings, as the file says now."""
        return read_config(self.folder)

    def run(self, **overrides: Any) -> Path:
        """Go on until the rounds are done; return the report.

        Raises:
            Waiting: people have to label first; the message says how.
        """
        progress = overrides.pop("progress", Progress())
        number = run_campaign(self.folder, progress=progress, **overrides)
        return round_folder(self.folder, number) / "report" / REPORT_NAME

    def status(self) -> list[tuple[int, str, StepState]]:
        """Return round, step and state of every step."""
        return [
            (number, step.name, state) for number, step, state, _ in campaign_status(self.folder)
        ]

    def close(self, labels: str | Path | None = None, *, database: str | None = None) -> int:
        """Bring merged labels of the present round in; return how many were asked for."""
        return close_round(self.folder, labels, database=database)

    def next(self) -> int:
        """Begin one more round; return its number."""
        return next_round(self.folder)

    def withdraw(self, target_ids: Sequence[int], reason: str) -> None:
        """Take targets out of T, with a reason."""
        withdraw_targets(self.folder, target_ids, reason)

    def verify(self) -> list[str]:
        """Return files that are not as they were written."""
        return damaged_files(self.folder)


def listed(paths: Paths) -> list[str | Path]:
    """Return one path or several as a list."""
    return [paths] if isinstance(paths, str | Path) else list(paths)
