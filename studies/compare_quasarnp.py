r"""Hold our weights files, confidences and redshifts against QuasarNP's, spectrum by spectrum.

    python studies/compare_quasarnp.py --quasarnp ../QuasarNP \
        --weights $DATA/quasarnp_fixture/test_weights.h5 \
        --spectra $DATA/boss_plate7102

Every weights file is read, written again by us, and that copy given to QuasarNP; so are
untrained networks of both presets on both grids. A second table shows what QuasarNP makes of
the files as they came. Prints Markdown; exit status 1 if any difference exceeds 1e-5.
"""

import argparse
import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.grid import LINEAR_GRID, LOG_GRID, WaveGrid
from quasarloop.network.config import PRESETS, preset
from quasarloop.network.decode import LineOutputs, classify_finds, decode
from quasarloop.network.model import LineFinder
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import Weights, from_module, inspect_weights, write_weights
from quasarloop.quality import prepare
from quasarloop.read import find_files, iter_spectra

TOLERANCE = 1e-5


class Predicted(NamedTuple):
    """Outputs of one program for the spectra."""

    confidence: NDArray[np.floating]  # (n, n_lines, n_boxes)
    offset: NDArray[np.floating]
    z: NDArray[np.floating]  # (n, n_lines)


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quasarnp", type=Path, default=os.environ.get("QUASARNP_DIR"), help="its checkout"
    )
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="Keras 2 files")
    parser.add_argument("--spectra", type=Path, nargs="+", required=True, help="files, folders")
    options = parser.parse_args()
    if options.quasarnp is None:
        parser.error("give --quasarnp DIR, a checkout of desihub/QuasarNP, or set QUASARNP_DIR")
    sys.path.insert(0, str(options.quasarnp))
    flux = {grid: _flux(options.spectra, grid) for grid in (LOG_GRID, LINEAR_GRID)}
    worst = _compare_copies(options.weights, flux)
    _compare_originals(options.weights, flux)
    return int(worst > TOLERANCE)


def _compare_copies(paths: list[Path], flux: dict[WaveGrid, NDArray[np.float32]]) -> float:
    print(
        "| written by quasarloop, read by QuasarNP | spectra | confidence | offset, boxes "
        "| redshift of a line | z_best |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    worst = 0.0
    for name, weights in _networks(paths):
        spectra = flux[weights.config.grid]
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy.h5"
            write_weights(weights, copy)
            theirs = _quasarnp(copy, spectra, weights)
        ours = _ours(weights, spectra)
        pairs = [*zip(ours, theirs, strict=True), _z_best(weights, ours, theirs)[1:]]
        differences = [float(np.abs(a - b).max()) for a, b in pairs]
        worst = max(worst, *differences)
        numbers = " | ".join(f"{difference:.1e}" for difference in differences)
        print(f"| {name} | {len(spectra)} | {numbers} |")
    print()
    return worst


def _compare_originals(paths: list[Path], flux: dict[WaveGrid, NDArray[np.float32]]) -> None:
    if not paths:
        return
    print(
        "| file as it came | QuasarNP's offsets | ours | confidence | offset, boxes | quasars "
        "| z_best, km/s |"
    )
    print("|---|---|---|---:|---:|---:|---:|")
    for path in paths:
        weights, facts = inspect_weights(path)
        spectra = flux[weights.config.grid]
        ours, theirs = _ours(weights, spectra), _quasarnp(path, spectra, weights)
        confidence = np.abs(ours.confidence - theirs.confidence).max()
        offset = np.abs(ours.offset - theirs.offset).max()
        is_qso, z_ours, z_theirs = _z_best(weights, ours, theirs)
        shift = SPEED_OF_LIGHT_KMS * np.abs(np.log((1 + z_ours) / (1 + z_theirs)))
        ways = [
            ("plain", "rescaled")[flag]
            for flag in (facts.quasarnp_rescales, weights.config.rescales_offsets)
        ]
        print(
            f"| {path.name} | {ways[0]} | {ways[1]} | {confidence:.1e} | {offset:.3g} "
            f"| {is_qso.sum()} | {shift[is_qso].max(initial=0):.3g} |"
        )


def _z_best(weights: Weights, ours: Predicted, theirs: Predicted) -> tuple[NDArray[Any], ...]:
    config = weights.config
    both = [
        classify_finds(
            decode(LineOutputs(outputs.confidence, outputs.offset), config, "clamp"), config
        )
        for outputs in (ours, theirs)
    ]
    return both[0].is_qso, both[0].z_best, both[1].z_best


def _networks(paths: list[Path]) -> Iterator[tuple[str, Weights]]:
    for path in paths:
        yield path.name, inspect_weights(path)[0]
    for name in PRESETS:
        for grid in (LOG_GRID, LINEAR_GRID):
            module = LineFinder(preset(name, grid), torch.Generator().manual_seed(0))
            yield f"untrained {name}, {grid.kind} grid", from_module(module)


def _flux(paths: list[Path], grid: WaveGrid) -> NDArray[np.float32]:
    blocks = [
        prepare(spectra, grid).flux for path in find_files(paths) for spectra in iter_spectra(path)
    ]
    flux = np.concatenate(blocks)
    return flux[flux.any(axis=1)]  # what holds no data is no test


def _ours(weights: Weights, flux: NDArray[np.float32]) -> Predicted:
    outputs = Predictor(weights).predict(flux)
    return Predicted(
        outputs.confidence, outputs.offset, decode(outputs, weights.config, red_end="clamp").z
    )


def _quasarnp(path: Path, flux: NDArray[np.float32], weights: Weights) -> Predicted:
    reader: Any = importlib.import_module("quasarnp.io")
    utilities: Any = importlib.import_module("quasarnp.utils")
    lines = weights.config.lines
    with contextlib.redirect_stdout(sys.stderr):  # it prints what it assumes
        model, wave = reader.load_model(path)
        predictions = model.predict(flux[:, :, None])
        _, z_line, _, _, z_bal = utilities.process_preds(
            predictions,
            [line.name for line in lines if not line.is_bal],
            [line.name for line in lines if line.is_bal],
            verbose=False,
            wave=wave,
        )
    outputs = np.stack(predictions, axis=1)  # (n, n_lines, 2 * n_boxes)
    n_boxes = weights.config.n_boxes
    return Predicted(
        outputs[..., :n_boxes], outputs[..., n_boxes:], np.concatenate([z_line, z_bal]).T
    )


if __name__ == "__main__":
    sys.exit(main())
