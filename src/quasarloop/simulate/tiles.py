"""One tile made: its light, its observation, its files. The truth is written last."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from quasarloop.simulate.instrument import instrument_named
from quasarloop.simulate.noise import NoisyArm, RealNoise
from quasarloop.simulate.observing import LightSource, Observation, Observing, Setup, observe_tile
from quasarloop.simulate.plan import Tile, stream
from quasarloop.simulate.write_desi import write_coadd, write_spectra
from quasarloop.simulate.write_redrock import RedrockAnswer, imitate_redrock, write_redrock
from quasarloop.simulate.write_sdss import Plate, plate_of, write_plate
from quasarloop.simulate.write_truth import (
    fault_columns,
    label_columns,
    read_tile_truth,
    write_tile_truth,
)

__all__ = ["SurveyPlan", "is_complete", "make_tile", "truth_file"]

Columns = dict[str, NDArray[Any]]

# Purpose of the stream that imitates redrock; the others are in `observing`.
_REDROCK: Final = 20


@dataclass(frozen=True)
class SurveyPlan:
    """Everything a tile task needs to know.

    Attributes:
        out: the survey's folder.
        seed: root of all random numbers.
        format: files as DESI's or as SDSS's.
        source: makes the light of the objects.
        observing: depth, exposures, faults, mistakes.
        recipe: what made the source (for the manifest, and to know whether to resume).
        real_noise: real inverse variances to draw from, or None.
        with_resolution: write RESOLUTION matrices (redrock needs them).
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
        """Return what must be equal for tiles on disk to be kept, as JSON values."""
        return {
            "seed": self.seed,
            "format": self.format,
            "observing": self.observing.model_dump(mode="json"),
            "recipe": self.recipe,
            "noise_from": None if self.real_noise is None else self.real_noise.source,
            "with_resolution": self.with_resolution,
        }


def make_tile(tile: Tile, plan: SurveyPlan) -> int:
    """Make the files of one tile.

    Returns:
        The number of spectra in its truth.
    """
    instrument = instrument_named(plan.format)
    light = plan.source(plan.seed, tile.first_object, tile.n_objects, instrument.wave_aa)
    seen = observe_tile(tile, light, Setup(plan.seed, instrument, plan.observing, plan.real_noise))
    answer = imitate_redrock(
        stream(plan.seed, tile, _REDROCK),
        seen.light.spectype,
        seen.light.z,
        np.nan_to_num(seen.sn).mean(axis=1),
        plan.observing.redrock,
    )
    truth_file(plan, tile).parent.mkdir(parents=True, exist_ok=True)
    write = _write_desi if plan.format == "desi" else _write_sdss
    truth = write(tile, plan, seen, answer)
    write_tile_truth(truth_file(plan, tile), truth)
    return len(truth["TARGETID"])


def truth_file(plan: SurveyPlan, tile: Tile) -> Path:
    """Return where the truth of a tile stands; it exists if and only if the tile is complete."""
    if plan.format == "desi":
        return _desi_folder(plan, tile) / f"truth-{tile.name}.fits"
    plate = plate_of(plan.seed, tile)
    return plan.out / "truth" / f"truth-{plate.name}.fits"


def is_complete(plan: SurveyPlan, tile: Tile) -> bool:
    """Say whether a tile of that many objects is there from an earlier run."""
    path = truth_file(plan, tile)
    if not path.is_file():
        return False
    per_object = 1
    if plan.format == "sdss" and plan.observing.exposures > 1:
        per_object += plan.observing.exposures
    return len(read_tile_truth(path)) == per_object * tile.n_objects


def _write_desi(tile: Tile, plan: SurveyPlan, seen: Observation, answer: RedrockAnswer) -> Columns:
    folder, instrument = _desi_folder(plan, tile), instrument_named("desi")
    tables = write_coadd(
        folder / f"coadd-{tile.name}.fits",
        instrument,
        seen.assignment,
        seen.exposures,
        seen.coadd,
        with_resolution=plan.with_resolution,
    )
    if len(seen.exposures) > 1:
        write_spectra(
            folder / f"spectra-{tile.name}.fits",
            instrument,
            seen.assignment,
            seen.exposures,
            with_resolution=plan.with_resolution,
        )
    redrock = folder / f"redrock-{tile.name}.fits"
    write_redrock(redrock, answer, seen.assignment, tables, seen.coadd)
    ids = seen.assignment.sites.target_id
    return _truth_columns(seen, answer, ids, ids)


def _write_sdss(tile: Tile, plan: SurveyPlan, seen: Observation, answer: RedrockAnswer) -> Columns:
    """One folder for the coadds; with several exposures, one more for each of their MJDs."""
    plate = plate_of(plan.seed, tile)
    observed: list[tuple[str, Plate, Mapping[str, NoisyArm]]] = [("lite", plate, seen.coadd)]
    if len(seen.exposures) > 1:
        observed += [
            ("exposures", plate.on_day(number), exposure.arms)
            for number, exposure in enumerate(seen.exposures, start=1)
        ]
    parts = []
    for kind, named, arms in observed:
        parent = plan.out / "spectra" / kind
        parent.mkdir(parents=True, exist_ok=True)
        folder = parent / (str(named.plate) if kind == "lite" else named.name)
        write_plate(folder, named, instrument_named("sdss"), seen.assignment, arms, answer)
        parts.append(_truth_columns(seen, answer, named.target_id, named.thing_id))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _truth_columns(
    seen: Observation,
    answer: RedrockAnswer,
    target_id: NDArray[np.int64],
    object_id: NDArray[np.int64],
) -> Columns:
    light, where = seen.light, seen.assignment.sites
    columns = label_columns(target_id, object_id, light.spectype, light.z, light.bal)
    columns |= {"TARGET_RA": where.ra_deg, "TARGET_DEC": where.dec_deg}
    columns |= {f"MEDIAN_SN_{name.upper()}": seen.sn[:, k] for k, name in enumerate(seen.coadd)}
    columns |= {f"FLUX_{band}": flux for band, flux in seen.assignment.band_flux.items()}
    columns["REDROCK_WRONG"] = answer.mistaken.astype(np.int16)
    columns |= fault_columns(seen.faults)
    blend = seen.faults.blend_with
    columns["BLEND_TARGETID"] = np.where(blend >= 0, target_id[blend], -1)
    return columns | light.hidden


def _desi_folder(plan: SurveyPlan, tile: Tile) -> Path:
    return plan.out / "tiles" / "cumulative" / str(tile.tile_id) / str(tile.night)
