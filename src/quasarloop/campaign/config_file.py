"""``campaign.toml``: options of a campaign as a file with a comment on each; recipes by name."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal

import tomlkit

from quasarloop.artefacts import write_atomically
from quasarloop.campaign.config import (
    CampaignOptions,
    EnsembleSection,
    EvaluationSection,
    MapSection,
    Section,
    SelectionSection,
    TrainingSection,
)
from quasarloop.errors import CampaignError, check_regular
from quasarloop.options import described_fields, options_from_dict

__all__ = ["CONFIG_NAME", "Recipe", "config_text", "read_config", "recipe", "write_config"]

CONFIG_NAME: Final = "campaign.toml"
Recipe = Literal["quasarloop", "paper"]


def read_config(folder: str | Path, **overrides: Any) -> CampaignOptions:
    """Read and check ``campaign.toml`` of a folder; top-level `overrides` win over the file.

    Raises:
        CampaignError: no file, not TOML, an unknown key or an impossible value; the message
            names each.
    """
    path = Path(folder) / CONFIG_NAME
    try:
        content = _without_cascade(
            tomlkit.parse(check_regular(path).read_text(encoding="utf-8")).unwrap()
        )
    except FileNotFoundError as exc:
        raise CampaignError(
            f"{path} is missing; make a campaign first: quasarloop campaign init {folder}"
        ) from exc
    except (OSError, UnicodeDecodeError, tomlkit.exceptions.TOMLKitError) as exc:
        raise CampaignError(f"{path}: not a readable TOML file ({exc})") from exc
    _check_version(content, path)
    try:
        return options_from_dict(CampaignOptions, {**content, **overrides}, CampaignError)
    except CampaignError as exc:
        raise CampaignError(f"{path}: {exc}") from exc


def _check_version(content: Mapping[str, Any], path: Path) -> None:
    """Refuse the file of a campaign that an earlier version began, which had one kind only."""
    section = content.get("ensemble")
    old = isinstance(section, Mapping) and "warm_start" in section and "kind" not in section
    if old and (path.parent / "rounds").is_dir():
        raise CampaignError(
            f"{path} is of an earlier version, whose networks all began from nothing. To go on as "
            'before, add kind = "networks" and start = "" to [ensemble], and start = "" to '
            "[training]; what is done stays done"
        )


def _without_cascade(content: dict[str, Any]) -> dict[str, Any]:
    """Drop an option of earlier versions that was off."""
    selection = content.get("selection")
    if isinstance(selection, dict) and selection.pop("cascade", False):
        raise CampaignError(
            "selection.cascade is true; there is no cascade any more, as heads vote faster "
            "(docs/guides/ensemble.md): remove the line"
        )
    return content


def write_config(folder: str | Path, options: CampaignOptions) -> Path:
    """Write ``campaign.toml`` with a comment of meaning and source on every option."""
    path = Path(folder) / CONFIG_NAME
    with write_atomically(path) as temporary:
        temporary.write_text(config_text(options), encoding="utf-8")
    return path


def config_text(options: CampaignOptions) -> str:
    """Return the options as commented TOML."""
    document = tomlkit.document()
    document.add(tomlkit.comment("A quasarloop campaign. Paths are relative to this folder."))
    _fill(document, options)
    return tomlkit.dumps(document)


def _fill(table: Any, section: Section) -> None:
    for name, (_, text) in described_fields(section).items():
        value = getattr(section, name)
        table.add(tomlkit.comment(text.comment))
        if value is None:
            table.add(tomlkit.comment(f"{name} ="))
        else:
            table.add(name, list(value) if isinstance(value, tuple) else value)
    for name in (f.name for f in fields(section) if is_dataclass(f.type)):
        value = getattr(section, name)
        inner = tomlkit.table()
        inner.add(tomlkit.comment((type(value).__doc__ or "").splitlines()[0]))
        _fill(inner, value)
        table.add(name, inner)


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
