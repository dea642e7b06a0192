"""Truth of a simulated survey: FITS per tile; truth.fits, truth.csv, vi_truth.csv of the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import fitsio
import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.fits_tables import new_fits
from quasarloop.simulate.faults import Fault, Faults
from quasarloop.simulate.observing import Observation
from quasarloop.simulate.write_redrock import RedrockResult
from quasarloop.tables import write_table
from quasarloop.truth import SECURE_QUALITY, SpecType

__all__ = ["join_truth_files", "read_tile_truth", "truth_columns", "write_tile_truth"]

Columns = Mapping[str, NDArray[Any]]

_TRUTH_SOURCE: Final = "simulated"
_VI_COLUMNS: Final = {
    "TARGETID": "TARGETID",
    "Z": "best_z",
    "QUALITY": "best_quality",
    "SPECTYPE": "best_spectype",
}


def truth_columns(
    seen: Observation,
    result: RedrockResult,
    target_id: NDArray[np.int64],
    object_id: NDArray[np.int64],
) -> Columns:
    """Return the truth of the rows of a tile; a sky fibre has no class and quality 0.

    Args:
        seen: the observation, n rows.
        result: of redrock.
        target_id: (n,) int64 TARGETID.
        object_id: (n,) int64, the same for all spectra of one object.
    """
    light, sites = seen.light, seen.assignment.sites
    known = light.spectype != SpecType.UNKNOWN
    names = [SpecType(kind).word for kind in light.spectype.tolist()]
    blend = seen.faults.blend_with
    return {
        "TARGETID": target_id,
        "OBJECT_ID": object_id,
        "SPECTYPE": np.array(names, dtype="S6"),
        "Z": np.where(known, light.z, np.nan),
        "QUALITY": np.where(known, SECURE_QUALITY, 0).astype(np.float32),
        "IS_BAL": np.where(known, light.bal, -1).astype(np.int16),
        "SOURCE": np.full(len(target_id), _TRUTH_SOURCE, dtype=f"S{len(_TRUTH_SOURCE)}"),
        "TARGET_RA": sites.ra_deg,
        "TARGET_DEC": sites.dec_deg,
        **{f"MEDIAN_SN_{name.upper()}": seen.sn[:, k] for k, name in enumerate(seen.coadd)},
        **{f"FLUX_{band}": flux for band, flux in seen.assignment.band_flux.items()},
        "REDROCK_WRONG": result.mistaken.astype(np.int16),
        **_fault_columns(seen.faults),
        "BLEND_TARGETID": np.where(blend >= 0, target_id[blend], -1),
        **light.hidden,
    }


def write_tile_truth(path: Path, columns: Columns) -> None:
    """Write the truth of one tile as FITS, rows as in its coadd."""
    with new_fits(path) as fits:
        fits.write({name: _fits_ready(v) for name, v in columns.items()}, extname="TRUTH")


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
    with new_fits(folder / "truth.fits") as fits:
        fits.write(table, extname="TRUTH")
    frame = pl.DataFrame({name: _plain(table[name]) for name in table.dtype.names or ()})
    write_table(frame, folder / "truth.csv")
    inspected = frame.select(pl.col(ours).alias(theirs) for ours, theirs in _VI_COLUMNS.items())
    inspected = inspected.with_columns(
        N_VI=pl.lit(1),
        all_VI_issues=pl.lit(""),
        all_VI_comments=pl.lit(""),
        merger_comment=pl.lit(_TRUTH_SOURCE),
    )
    write_table(inspected, folder / "vi_truth.csv")
    return len(table)


def _fault_columns(faults: Faults) -> dict[str, NDArray[Any]]:
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
