"""A whole simulated survey on disk: one pure task per tile, resumable, any number of workers."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from quasarloop.artefacts import (
    check_folder,
    checksum,
    read_manifest,
    versions,
    write_manifest,
)
from quasarloop.engine import Engine, run_tasks
from quasarloop.errors import OutputError
from quasarloop.simulate.instrument import instrument_named
from quasarloop.simulate.noise import RealNoise
from quasarloop.simulate.observing import (
    LightSource,
    Observation,
    Observing,
    Setup,
    observe_tile,
)
from quasarloop.simulate.plan import Tile, plan_tiles, stream
from quasarloop.simulate.real_noise import read_real_noise
from quasarloop.simulate.write_desi import write_coadd, write_spectra
from quasarloop.simulate.write_redrock import imitate_redrock, write_redrock
from quasarloop.simulate.write_truth import (
    fault_columns,
    join_truth_files,
    label_columns,
    read_tile_truth,
    write_tile_truth,
)

__all__ = [
    "SurveyPlan",
    "SurveyReport",
    "make_tile",
    "plan_survey",
    "simulate_survey",
    "tile_files",
]

logger = logging.getLogger(__name__)

_REDROCK_PURPOSE: Final = 20
_MANIFEST: Final = "simulation.json"


@dataclass(frozen=True)
class SurveyPlan:
    """Everything a tile task needs to know.

    Attributes:
        out: the survey's folder.
        seed: root of all random numbers.
        format: files as DESI's or as SDSS's.
        source: makes the light of the objects.
        observing: depth, exposures, faults, mistakes.
        real_noise: real inverse variances to draw from, or None.
        with_resolution: write RESOLUTION matrices (redrock needs them).
        recipe: what made the source (for the manifest, and to know whether to resume).
    """

    out: Path
    seed: int
    format: Literal["desi", "sdss"]
    source: LightSource
    observing: Observing
    recipe: dict[str, Any]
    real_noise: RealNoise | None = None
    with_resolution: bool = False

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for tiles on disk to be kept."""
        return {
            "seed": self.seed,
            "format": self.format,
            "observing": self.observing.model_dump(),
            "recipe": self.recipe,
            "noise_from": None if self.real_noise is None else self.real_noise.source,
            "with_resolution": self.with_resolution,
        }


@dataclass(frozen=True)
class SurveyReport:
    """What a run did.

    Attributes:
        out: the survey's folder.
        n_tiles: tile files of the survey.
        n_kept: of these, found complete from an earlier run.
        n_objects: rows of the truth.
    """

    out: Path
    n_tiles: int
    n_kept: int
    n_objects: int


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
    check_folder(plan.out)
    tiles = plan_tiles(n_objects)
    _check_same(plan)
    missing = [tile for tile in tiles if not _is_complete(plan, tile)]
    for tile in tiles:
        if tile not in missing and on_tile is not None:
            on_tile(tile)
    done = run_tasks(
        make_tile,
        missing,
        engine=engine,
        shared=plan,
        name_of=lambda tile: tile.name,
        on_result=None if on_tile is None else lambda tile, _: on_tile(tile),
    )
    done.complete()
    rows = join_truth_files([tile_files(plan, tile)["truth"] for tile in tiles], plan.out)
    _record(plan, tiles, rows)
    return SurveyReport(plan.out, len(tiles), len(tiles) - len(missing), rows)


def make_tile(tile: Tile, plan: SurveyPlan) -> int:
    """Make the files of one tile; the truth is written last and marks the tile complete.

    Returns:
        The number of objects.
    """
    instrument = instrument_named(plan.format)
    light = plan.source(plan.seed, tile.first_object, tile.n_objects, instrument.wave_aa)
    setup = Setup(plan.seed, instrument, plan.observing, plan.real_noise)
    seen = observe_tile(tile, light, setup)
    files = tile_files(plan, tile)
    files["truth"].parent.mkdir(parents=True, exist_ok=True)
    answer = imitate_redrock(
        stream(plan.seed, tile, _REDROCK_PURPOSE),
        seen.light.spectype,
        seen.light.z,
        np.nan_to_num(seen.sn).mean(axis=1),
        plan.observing.redrock,
    )
    tables = write_coadd(
        files["coadd"],
        instrument,
        seen.assignment,
        seen.exposures,
        seen.coadd,
        with_resolution=plan.with_resolution,
    )
    if len(seen.exposures) > 1:
        write_spectra(
            files["spectra"],
            instrument,
            seen.assignment,
            seen.exposures,
            with_resolution=plan.with_resolution,
        )
    write_redrock(files["redrock"], answer, seen.assignment, tables, seen.coadd)
    write_tile_truth(files["truth"], _truth_columns(seen, answer.mistaken))
    return tile.n_objects


def tile_files(plan: SurveyPlan, tile: Tile) -> dict[str, Path]:
    """Return where the files of a tile stand, as in DESI's ``tiles/cumulative``."""
    folder = plan.out / "tiles" / "cumulative" / str(tile.tile_id) / str(tile.night)
    return {
        kind: folder / f"{kind}-{tile.name}.fits"
        for kind in ("coadd", "spectra", "redrock", "truth")
    }


def _truth_columns(seen: Observation, redrock_wrong: Any) -> dict[str, Any]:
    light, where = seen.light, seen.assignment.sites
    columns = label_columns(where.target_id, where.target_id, light.spectype, light.z, light.bal)
    columns |= {"TARGET_RA": where.ra_deg, "TARGET_DEC": where.dec_deg}
    columns |= {f"MEDIAN_SN_{name.upper()}": seen.sn[:, k] for k, name in enumerate(seen.coadd)}
    columns |= {f"FLUX_{band}": flux for band, flux in seen.assignment.band_flux.items()}
    columns["REDROCK_WRONG"] = redrock_wrong.astype(np.int16)
    columns |= fault_columns(seen.faults)
    blend = seen.faults.blend_with
    columns["BLEND_TARGETID"] = np.where(blend >= 0, where.target_id[blend], -1)
    return columns | light.hidden


def _is_complete(plan: SurveyPlan, tile: Tile) -> bool:
    files = tile_files(plan, tile)
    needed = ["coadd", "redrock", "truth"]
    if plan.observing.exposures > 1:
        needed.append("spectra")
    return (
        all(files[kind].is_file() for kind in needed)
        and len(read_tile_truth(files["truth"])) == tile.n_objects
    )


def _check_same(plan: SurveyPlan) -> None:
    """A folder holds one simulation; more objects may be added, nothing else changed."""
    path = plan.out / _MANIFEST
    if path.exists():
        found = read_manifest(path).get("simulation")
        if found != _plain(plan.identity()):
            raise OutputError(
                f"{plan.out} holds another simulation (seed, population or options differ: see "
                f"{path.name}); give an empty folder, or remove that one"
            )
    else:
        write_manifest(path, {"simulation": plan.identity(), "complete": False})


def _record(plan: SurveyPlan, tiles: list[Tile], rows: int) -> None:
    write_manifest(
        plan.out / _MANIFEST,
        {
            "simulation": plan.identity(),
            "complete": True,
            "n_objects": rows,
            "n_tiles": len(tiles),
            "truth": checksum(plan.out / "truth.fits"),
            "versions": versions(),
        },
    )


def _plain(value: dict[str, Any]) -> Any:
    import json  # noqa: PLC0415 -- only to compare with what JSON gave back

    return json.loads(json.dumps(value))
