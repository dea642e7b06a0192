"""One tile made: its light, its observation, its files. The truth is written last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

import fitsio
import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.artefacts import write_atomically
from quasarloop.simulate.faults import Fault, Faults
from quasarloop.simulate.instrument import instrument_named
from quasarloop.simulate.noise import NoisyArm, RealNoise
from quasarloop.simulate.observing import LightSource, Observation, Observing, Setup, observe_tile
from quasarloop.simulate.plan import Tile, stream
from quasarloop.simulate.write_desi import write_coadd, write_spectra
from quasarloop.simulate.write_redrock import RedrockAnswer, imitate_redrock, write_redrock
from quasarloop.simulate.write_sdss import Plate, plate_of, write_plate
from quasarloop.truth import SECURE_QUALITY, SpecType

__all__ = [
    "SurveyPlan",
    "fault_columns",
    "is_complete",
    "join_truth_files",
    "label_columns",
    "make_tile",
    "read_tile_truth",
    "truth_file",
    "write_tile_truth",
]

Columns = Mapping[str, NDArray[Any]]

TRUTH_SOURCE: Final = "simulated"
_VI_COLUMNS: Final = {
    "TARGETID": "TARGETID",
    "Z": "best_z",
    "QUALITY": "best_quality",
    "SPECTYPE": "best_spectype",
}
_WORDS: Final = {kind: ("" if kind == SpecType.UNKNOWN else kind.name) for kind in SpecType}


def label_columns(
    target_id: NDArray[np.int64],
    object_id: NDArray[np.int64],
    spectype: NDArray[np.int8],
    z: NDArray[np.float64],
    bal: NDArray[np.int8],
) -> dict[str, NDArray[Any]]:
    """Return the columns every truth table has; a sky fibre has no class and quality 0."""
    known = spectype != SpecType.UNKNOWN
    return {
        "TARGETID": target_id,
        "OBJECT_ID": object_id,
        "SPECTYPE": np.array([_WORDS[SpecType(int(kind))] for kind in spectype], dtype="S6"),
        "Z": np.where(known, z, np.nan),
        "QUALITY": np.where(known, SECURE_QUALITY, 0).astype(np.float32),
        "IS_BAL": np.where(known, bal, -1).astype(np.int16),
        "SOURCE": np.full(len(target_id), TRUTH_SOURCE, dtype=f"S{len(TRUTH_SOURCE)}"),
    }


def fault_columns(faults: Faults) -> dict[str, NDArray[Any]]:
    """Return FAULTS (words joined by "|") and the size of each fault, as ``FAULT_*``."""
    every = "|".join(str(fault.name) for fault in Fault)
    values, which = np.unique(faults.flags, return_inverse=True)
    words = ["|".join(str(fault.name) for fault in Fault if value & fault) for value in values]
    table = np.array(words, dtype=f"S{len(every)}")
    columns: dict[str, NDArray[Any]] = {"FAULTS": table[which]}
    for one in fields(Faults):
        if one.name != "flags":
            columns[f"FAULT_{one.name.upper()}"] = getattr(faults, one.name)
    return columns


def write_tile_truth(path: Path, columns: Columns) -> None:
    """Write the truth of one tile as FITS, rows as in its coadd."""
    with write_atomically(path) as temporary, fitsio.FITS(temporary, "rw", clobber=True) as fits:
        fits.write(_as_table(columns), extname="TRUTH")


def read_tile_truth(path: Path) -> NDArray[np.void]:
    """Read what `write_tile_truth` wrote."""
    table: NDArray[np.void] = fitsio.read(path, ext="TRUTH")
    return table


def join_truth_files(parts: Sequence[Path], folder: Path) -> int:
    """Write truth.fits, truth.csv and vi_truth.csv of a whole survey; return the rows.

    Args:
        parts: the tiles' truth files, in order.
        folder: where to write.
    """
    table = np.concatenate([read_tile_truth(part) for part in parts])
    with (
        write_atomically(folder / "truth.fits") as temporary,
        fitsio.FITS(temporary, "rw", clobber=True) as fits,
    ):
        fits.write(table, extname="TRUTH")
    frame = pl.DataFrame({name: _plain(table[name]) for name in table.dtype.names or ()})
    frame = frame.with_columns(pl.selectors.float().fill_nan(None))
    with write_atomically(folder / "truth.csv") as temporary:
        frame.write_csv(temporary)
    inspected = frame.select(pl.col(ours).alias(theirs) for ours, theirs in _VI_COLUMNS.items())
    with write_atomically(folder / "vi_truth.csv") as temporary:
        inspected.with_columns(
            N_VI=pl.lit(1),
            all_VI_issues=pl.lit(""),
            all_VI_comments=pl.lit(""),
            merger_comment=pl.lit(TRUTH_SOURCE),
        ).write_csv(temporary)
    return len(table)


def _as_table(columns: Columns) -> NDArray[np.void]:
    ready = {name: _fits_ready(values) for name, values in columns.items()}
    n = len(ready["TARGETID"])
    table = np.zeros(n, dtype=[(name, values.dtype) for name, values in ready.items()])
    for name, values in ready.items():
        table[name] = values
    return table


def _fits_ready(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "U":
        width = max(1, values.dtype.itemsize // 4)
        return np.char.encode(values, "ascii").astype(f"S{width}")
    if values.dtype == np.int8:
        return values.astype(np.int16)
    return values


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "SU":  # fitsio gives either, depending on its version
        return np.char.strip(values.astype(np.str_))
    return values.astype(values.dtype.newbyteorder("="))


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
