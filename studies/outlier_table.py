"""How well the map's cut finds planted oddities, beside scikit-learn's outlier detectors.

    quasarloop simulate --out sky --objects 20000 --seed 21 --population studies/oddities.toml
    quasarloop ingest sky --store skystore
    python studies/outlier_table.py --store skystore --truth sky/truth.csv

Every method rejects the same number of spectra: as many as the map's cells below the 15th
percentile of all cells' counts hold. No flag is used but those of spectra without a result (most of
the corrupted ones are among them), although flags would already have refused the masked arms and
the sky fibres.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor

from quasarloop.quality import REFUSED, UNUSABLE
from quasarloop.query.options import SelectionOptions, SomOptions
from quasarloop.query.som import CellGrid
from quasarloop.query.som_files import assign_store, count_cells, read_map, write_map
from quasarloop.query.som_parts import parts_of_shards
from quasarloop.query.som_train import fit_map
from quasarloop.spectra import concatenate
from quasarloop.store import Store, fingerprint, iter_store, open_store

NEIGHBOURS = 20
TREES = 200
KINDS = (
    "MASKED_ARM",
    "CORRUPTED_THIRD",
    "COSMIC_RAYS",
    "SKY_RESIDUALS",
    "ARM_STEP",
    "VERY_HIGH_SN",
    "BLEND",
    "SKY_FIBRE",
)


def main() -> None:
    """Parse, run, print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--sides", type=int, nargs="*", default=[10, 20, 45])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    store = open_store(options.store)
    spectra = concatenate(list(iter_store(store)))
    usable = (spectra.flags & int(UNUSABLE)) == 0
    faults = faults_of(options.truth, spectra.keys.target_id)[usable]
    flagged = (spectra.flags[usable] & int(REFUSED)) != 0
    flux = spectra.flux[usable]
    forest = (
        IsolationForest(n_estimators=TREES, random_state=options.seed).fit(flux).score_samples(flux)
    )
    factor = LocalOutlierFactor(n_neighbors=NEIGHBOURS).fit(flux).negative_outlier_factor_
    for side in options.sides:
        rejected, far = by_map(store, side, options.seed, usable)
        n = int(rejected.sum())
        methods = {
            f"map, {side} × {side}, sparse cells": rejected,
            "map, farthest from their cell": lowest(-far, n),
            "isolation forest": lowest(forest, n),
            "local outlier factor": lowest(factor, n),
            "quality flags (for comparison)": flagged,
        }
        sys.stdout.write(table(methods, faults, len(flux) / side**2))


def faults_of(path: Path, target_id: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return the planted faults of every spectrum, ``""`` for none."""
    truth = pl.read_csv(path, columns=["TARGETID", "FAULTS"], schema_overrides={"FAULTS": pl.Utf8})
    known = dict(truth.iter_rows())
    return np.array([known[int(target)] or "" for target in target_id])


def by_map(
    store: Store, side: int, seed: int, usable: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return what lies in sparse cells, and the distance of each spectrum to its cell."""
    cells = CellGrid(side, side)
    som = fit_map(parts_of_shards(store.shards), cells, SomOptions(), seed=seed).som
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "map.npz"
        write_map(file, som, store.grid, {"data": fingerprint(store)})
        found = assign_store(read_map(file), store, Path(folder) / "cells.parquet")
        counts = count_cells(found)
        rows = found.scan().select("CELL", "DISTANCE").collect().filter(pl.Series(usable))
    sparse = counts < np.percentile(counts, SelectionOptions.percentile)
    return sparse[rows["CELL"].to_numpy()], rows["DISTANCE"].to_numpy()


def lowest(score: NDArray[np.floating], n: int) -> NDArray[np.bool_]:
    """Mark the n lowest scores."""
    marked = np.zeros(len(score), dtype=bool)
    marked[np.argsort(score, kind="stable")[:n]] = True
    return marked


def table(methods: dict[str, NDArray[np.bool_]], faults: NDArray[np.str_], per_cell: float) -> str:
    """Markdown: the share of each kind that is rejected, and of normal spectra that are lost."""
    odd = faults != ""
    groups = {"all oddities": odd}
    groups |= {k.lower().replace("_", " "): np.char.find(faults, k) >= 0 for k in KINDS}
    lines = [
        f"{len(faults):,} spectra, {per_cell:.0f} per cell, {int(odd.sum())} oddities:",
        "",
        f"| method | rejected | normal lost | {' | '.join(groups)} |",
        "|---|---:|---:|" + "---:|" * len(groups),
    ]
    for name, rejected in methods.items():
        shares = [
            f"{np.count_nonzero(rejected & g)}/{np.count_nonzero(g)}" for g in groups.values()
        ]
        lost = np.count_nonzero(rejected & ~odd) / np.count_nonzero(~odd)
        lines.append(f"| {name} | {rejected.mean():.2%} | {lost:.2%} | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    main()
