"""A whole simulated survey on disk: one pure task per tile, resumable, any number of workers."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from quasarloop.artefacts import checksum, locked_folder, read_manifest, versions, write_manifest
from quasarloop.engine import Engine, run_tasks
from quasarloop.errors import DataFormatError, OutputError, check_regular
from quasarloop.simulate import SurveyFormat
from quasarloop.simulate.footprint import Tile, plan_tiles, stream
from quasarloop.simulate.instrument import Instrument, instrument_named
from quasarloop.simulate.noise import NoisyArm, RealNoise, read_real_noise
from quasarloop.simulate.observing import LightSource, Observation, ObservingOptions, observe_tile
from quasarloop.simulate.population import Population
from quasarloop.simulate.truth_tables import (
    Columns,
    join_truth_files,
    read_tile_truth,
    truth_columns,
    write_tile_truth,
)
from quasarloop.simulate.write_desi import write_coadd, write_spectra
from quasarloop.simulate.write_redrock import RedrockResult, imitate_redrock, write_redrock
from quasarloop.simulate.write_sdss import Plate, plate_of, write_plate
from quasarloop.simulate.write_surveys import WRITERS, Seen

__all__ = ["MANIFEST", "SurveyOptions", "SurveyReport", "read_survey_file", "simulate_survey"]

MANIFEST: Final = "simulation.json"
# Purpose of the stream that imitates redrock; the others are in `observing`.
_REDROCK: Final = 20


@dataclass(frozen=True)
class SurveyOptions:
    """A survey to simulate.

    Attributes:
        out: the survey's folder.
        seed: root of all random numbers.
        source: makes the light of the objects.
        observing: depth, exposures, faults, mistakes; by default one nominal exposure.
        survey_format: whose files to write.
        noise_from: a DESI coadd to draw inverse variances from.
        with_resolution: write RESOLUTION matrices (redrock needs them).
    """

    out: Path
    seed: int
    source: LightSource
    observing: ObservingOptions = field(default_factory=ObservingOptions)
    survey_format: SurveyFormat = "desi"
    noise_from: Path | None = None
    with_resolution: bool = False

    @cached_property
    def real_noise(self) -> RealNoise | None:
        """Inverse variances of `noise_from`.

        Raises:
            DataFormatError: it does not fit the instrument.
        """
        if self.noise_from is None:
            return None
        return read_real_noise(self.noise_from, self.instrument)

    @property
    def instrument(self) -> Instrument:
        """The survey's spectrograph."""
        return instrument_named(self.survey_format)

    def identity(self) -> dict[str, Any]:
        """Return the options that must be equal for tiles on disk to be kept, as JSON values."""
        return {
            "seed": self.seed,
            "format": self.survey_format,
            "observing": self.observing.model_dump(mode="json"),
            "recipe": self.source.options(),
            "noise_from": None if self.real_noise is None else self.real_noise.source,
            "with_resolution": self.with_resolution,
        }


@dataclass(frozen=True)
class SurveyReport:
    """Numbers of a run.

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


def simulate_survey(
    options: SurveyOptions,
    n_objects: int,
    *,
    engine: Engine | None = None,
    on_tile: Callable[[Tile], None] | None = None,
) -> SurveyReport:
    """Make a survey of that many objects, keeping tiles that are already there.

    Args:
        options: the survey.
        n_objects: number of fibres.
        engine: where to run; the bytes are the same everywhere.
        on_tile: called for each tile done or kept.

    Raises:
        DataFormatError: the file to draw noise from does not fit the instrument.
        OutputError: the folder holds another simulation, another command works there, or it
            cannot be written.
        TaskError: a tile could not be made.
    """
    tiles = plan_tiles(n_objects)
    with locked_folder(options.out):
        _check_same(options)
        missing = []
        for tile in tiles:
            if not _is_complete(options, tile):
                missing.append(tile)
            elif on_tile is not None:
                on_tile(tile)
        report = run_tasks(
            _make_tile,
            missing,
            engine=engine,
            shared=options,
            name_of=lambda tile: f"tile {tile.name}",
            on_result=None if on_tile is None else lambda tile, _: on_tile(tile),
        )
        report.complete()
        found = read_manifest(options.out / MANIFEST)
        tables = [options.out / name for name in ("truth.fits", "truth.csv", "vi_truth.csv")]
        as_before = found["complete"] and found["n_objects"] == n_objects
        if as_before and not missing and all(table.is_file() for table in tables):
            # Untouched: a campaign that has read it would take files written again for new ones.
            n_rows = int(found["n_truth"])
            return SurveyReport(options.out, n_objects, len(tiles), len(tiles), n_rows)
        rows = join_truth_files([_truth_file(options, tile) for tile in tiles], options.out)
        write_manifest(
            options.out / MANIFEST,
            {
                "simulation": options.identity(),
                "complete": True,
                "n_objects": n_objects,
                "n_tiles": len(tiles),
                "n_truth": rows,
                "truth": checksum(options.out / "truth.fits"),
                "versions": versions(),
            },
        )
        return SurveyReport(options.out, n_objects, len(tiles), len(tiles) - len(missing), rows)


def _check_same(options: SurveyOptions) -> None:
    """A folder holds one simulation; objects may be added, nothing else changed."""
    path = options.out / MANIFEST
    if not path.exists():
        write_manifest(path, {"simulation": options.identity(), "complete": False})
        return
    found, wanted = read_manifest(path).get("simulation", {}), options.identity()
    if found != wanted:
        different = sorted(name for name in wanted if found.get(name) != wanted[name])
        raise OutputError(
            f"{options.out} holds another simulation ({', '.join(different)} differ: see "
            f"{path.name}); give an empty folder, or remove that one"
        )


def _make_tile(tile: Tile, options: SurveyOptions) -> int:
    """Make the files of one tile; return the number of spectra in its truth."""
    instrument = options.instrument
    light = options.source(options.seed, tile.first_object, tile.n_objects, instrument.wave_aa)
    seen = observe_tile(
        tile, light, options.seed, instrument, options.observing, options.real_noise
    )
    result = imitate_redrock(
        stream(options.seed, tile, _REDROCK),
        seen.light.spectype,
        seen.light.z,
        np.nan_to_num(seen.sn).mean(axis=1),
        options.observing.redrock,
    )
    _truth_file(options, tile).parent.mkdir(parents=True, exist_ok=True)
    write = {"desi": _write_desi, "sdss": _write_sdss}.get(options.survey_format, _write_other)
    truth = write(tile, options, seen, result)
    write_tile_truth(_truth_file(options, tile), truth)
    return len(truth["TARGETID"])


def _truth_file(options: SurveyOptions, tile: Tile) -> Path:
    """Path of the truth of a tile; the file exists if and only if the tile is complete."""
    if options.survey_format == "desi":
        return _desi_folder(options, tile) / f"truth-{tile.name}.fits"
    plate = plate_of(options.seed, tile)
    return options.out / "truth" / f"truth-{plate.name}.fits"


def _is_complete(options: SurveyOptions, tile: Tile) -> bool:
    """Whether a tile of that many objects is there from an earlier run."""
    path = _truth_file(options, tile)
    if not path.is_file():
        return False
    several = options.survey_format == "sdss" and options.observing.exposures > 1
    per_object = 1 + several * options.observing.exposures
    return len(read_tile_truth(path)) == per_object * tile.n_objects


def _write_desi(
    tile: Tile, options: SurveyOptions, seen: Observation, result: RedrockResult
) -> Columns:
    folder, instrument = _desi_folder(options, tile), instrument_named("desi")
    tables = write_coadd(
        folder / f"coadd-{tile.name}.fits",
        instrument,
        seen.assignment,
        seen.exposures,
        seen.coadd,
        with_resolution=options.with_resolution,
    )
    if len(seen.exposures) > 1:
        write_spectra(
            folder / f"spectra-{tile.name}.fits",
            instrument,
            seen.assignment,
            seen.exposures,
            with_resolution=options.with_resolution,
        )
    redrock = folder / f"redrock-{tile.name}.fits"
    write_redrock(redrock, result, seen.assignment, tables, seen.coadd)
    ids = seen.assignment.sites.target_id
    return truth_columns(seen, result, ids, ids)


def _write_sdss(
    tile: Tile, options: SurveyOptions, seen: Observation, result: RedrockResult
) -> Columns:
    """One folder for the coadds; with several exposures, one more for each of their MJDs."""
    plate = plate_of(options.seed, tile)
    observed: list[tuple[str, Plate, Mapping[str, NoisyArm]]] = [("lite", plate, seen.coadd)]
    if len(seen.exposures) > 1:
        observed += [
            ("exposures", plate.on_day(number), exposure.arms)
            for number, exposure in enumerate(seen.exposures, start=1)
        ]
    parts = []
    for kind, named, arms in observed:
        parent = options.out / "spectra" / kind
        parent.mkdir(parents=True, exist_ok=True)
        folder = parent / (str(named.plate) if kind == "lite" else named.name)
        write_plate(folder, named, instrument_named("sdss"), seen.assignment, arms, result)
        parts.append(truth_columns(seen, result, named.target_id, named.thing_id))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _write_other(
    tile: Tile, options: SurveyOptions, seen: Observation, result: RedrockResult
) -> Columns:
    """The coadds alone, whatever the number of exposures."""
    plate = plate_of(options.seed, tile)
    parent = options.out / "spectra"
    parent.mkdir(parents=True, exist_ok=True)
    named = Seen(plate, tile.index, options.instrument, seen.assignment, seen.coadd, result)
    target_id, object_id = WRITERS[options.survey_format](parent / plate.name, named)
    return truth_columns(seen, result, target_id, object_id)


def _desi_folder(options: SurveyOptions, tile: Tile) -> Path:
    return options.out / "tiles" / "cumulative" / str(tile.tile_id) / str(tile.night)


def read_survey_file(path: str | Path) -> tuple[Population, ObservingOptions]:
    """Read a population file with optional sections ``[observing]``, ``[faults]``, ``[redrock]``.

    Args:
        path: TOML. What is left out keeps its default.

    Raises:
        DataFormatError: not readable as TOML, an unknown name, or a value out of range.
    """
    file = Path(path)
    try:
        content = tomllib.loads(check_regular(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise DataFormatError(f"{file}: cannot be read as a population file: {exc}") from exc
    own = content.pop("observing", {})
    nested = {name: content.pop(name, {}) for name in ("faults", "redrock")}
    try:
        observing = ObservingOptions.model_validate({**own, **nested})
        return Population.model_validate(content), observing
    except TypeError as exc:
        reason = "[observing], [faults] and [redrock] must be tables"
        raise DataFormatError(f"{file}: not a population file: {reason}") from exc
    except ValidationError as exc:
        reason = "; ".join(
            f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}"
            for error in exc.errors()
        )
        raise DataFormatError(f"{file}: not a population file: {reason}") from exc
