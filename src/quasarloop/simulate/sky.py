"""A whole simulated survey on disk: one pure task per tile, resumable, any number of workers."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from quasarloop.artefacts import check_folder, checksum, read_manifest, versions, write_manifest
from quasarloop.engine import Engine, run_tasks
from quasarloop.errors import DataFormatError, OutputError
from quasarloop.simulate.instrument import instrument_named
from quasarloop.simulate.noise import read_real_noise
from quasarloop.simulate.observing import LightSource, Observing
from quasarloop.simulate.plan import Tile, plan_tiles
from quasarloop.simulate.population import Population
from quasarloop.simulate.tiles import (
    SurveyPlan,
    is_complete,
    join_truth_files,
    make_tile,
    truth_file,
)

__all__ = ["MANIFEST", "SurveyReport", "plan_survey", "read_survey_file", "simulate_survey"]

MANIFEST: Final = "simulation.json"


@dataclass(frozen=True)
class SurveyReport:
    """What a run did.

    Attributes:
        out: the survey's folder.
        n_objects: objects (fibres) of the survey.
        n_tiles: tiles of the survey.
        n_kept: of these, found complete from an earlier run.
        n_truth: rows of the truth.
    """

    out: Path
    n_objects: int
    n_tiles: int
    n_kept: int
    n_truth: int


def plan_survey(
    out: Path,
    *,
    seed: int,
    source: LightSource,
    recipe: dict[str, Any],
    observing: Observing | None = None,
    survey_format: Literal["desi", "sdss"] = "desi",
    noise_from: Path | None = None,
    with_resolution: bool = False,
) -> SurveyPlan:
    """Put together what a survey needs.

    Args:
        out: the survey's folder.
        seed: root of all random numbers.
        source: makes the light of the objects.
        recipe: what the source depends on, JSON values.
        observing: depth, exposures, faults, mistakes; None is one nominal exposure.
        survey_format: whose files to write.
        noise_from: a DESI coadd to draw inverse variances from.
        with_resolution: write RESOLUTION matrices.

    Raises:
        DataFormatError: `noise_from` does not fit the instrument.
    """
    real_noise = None
    if noise_from is not None:
        real_noise = read_real_noise(noise_from, instrument_named(survey_format))
    return SurveyPlan(
        out=out,
        seed=seed,
        format=survey_format,
        source=source,
        observing=observing or Observing(),
        recipe=recipe,
        real_noise=real_noise,
        with_resolution=with_resolution,
    )


def simulate_survey(
    plan: SurveyPlan,
    n_objects: int,
    *,
    engine: Engine | None = None,
    on_tile: Callable[[Tile], None] | None = None,
) -> SurveyReport:
    """Make a survey of that many objects, keeping tiles that are already there.

    Args:
        plan: what to make.
        n_objects: number of fibres.
        engine: where to run; the bytes are the same everywhere.
        on_tile: called for each tile done or kept.

    Raises:
        OutputError: the folder holds another simulation, or cannot be written.
        TaskError: a tile could not be made.
    """
    tiles = plan_tiles(n_objects)
    check_folder(plan.out)
    _check_same(plan)
    missing = []
    for tile in tiles:
        if not is_complete(plan, tile):
            missing.append(tile)
        elif on_tile is not None:
            on_tile(tile)
    report = run_tasks(
        make_tile,
        missing,
        engine=engine,
        shared=plan,
        name_of=lambda tile: f"tile {tile.name}",
        on_result=None if on_tile is None else lambda tile, _: on_tile(tile),
    )
    report.complete()
    rows = join_truth_files([truth_file(plan, tile) for tile in tiles], plan.out)
    _record(plan, n_objects, len(tiles), rows)
    return SurveyReport(plan.out, n_objects, len(tiles), len(tiles) - len(missing), rows)


def _check_same(plan: SurveyPlan) -> None:
    """A folder holds one simulation; objects may be added, nothing else changed."""
    path = plan.out / MANIFEST
    if not path.exists():
        write_manifest(path, {"simulation": plan.identity(), "complete": False})
        return
    found, wanted = read_manifest(path).get("simulation", {}), plan.identity()
    if found != wanted:
        different = sorted(name for name in wanted if found.get(name) != wanted[name])
        raise OutputError(
            f"{plan.out} holds another simulation ({', '.join(different)} differ: see "
            f"{path.name}); give an empty folder, or remove that one"
        )


def _record(plan: SurveyPlan, n_objects: int, n_tiles: int, n_truth: int) -> None:
    write_manifest(
        plan.out / MANIFEST,
        {
            "simulation": plan.identity(),
            "complete": True,
            "n_objects": n_objects,
            "n_tiles": n_tiles,
            "n_truth": n_truth,
            "truth": checksum(plan.out / "truth.fits"),
            "versions": versions(),
        },
    )


# Sections of ours; everything else belongs to the population.
_OWN_SECTIONS: Final = ("observing", "faults", "redrock")


def read_survey_file(path: str | Path) -> tuple[Population, Observing]:
    """Read a population file with optional sections ``[observing]``, ``[faults]``, ``[redrock]``.

    Args:
        path: TOML. What is left out keeps its default.

    Raises:
        DataFormatError: not readable as TOML, an unknown name, or a value out of range.
    """
    file = Path(path)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise DataFormatError(f"{file}: cannot be read as a population file: {exc}") from exc
    own: dict[str, Any] = {name: content.pop(name, {}) for name in _OWN_SECTIONS}
    try:
        nested = {name: own[name] for name in ("faults", "redrock")}
        observing = Observing.model_validate({**own["observing"], **nested})
        return Population.model_validate(content), observing
    except (ValidationError, TypeError) as exc:
        raise DataFormatError(f"{file}: not a population file: {_explain(exc)}") from exc


def _explain(exc: ValidationError | TypeError) -> str:
    if isinstance(exc, TypeError):
        return "[observing], [faults] and [redrock] must be tables"
    return "; ".join(
        f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in exc.errors()
    )
