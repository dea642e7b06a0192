"""Are redshift uncertainties true for real quasars? Pulls on other objects, for several floors.

    python studies/pull_table.py --data $DATA --weights W.h5 --weights W2.h5
    python studies/pull_table.py --data $DATA --weights W/log-ship.h5 --folds W/log-folds.h5

Sets of real spectra are pooled; a fifth of their objects at a time is read with what the others
calibrate, and each set is judged apart: quasars called, none of which fitted anything. Errors of
widths are bootstraps over objects. For weights
that learned from these spectra, --folds gives the networks that did not
(`train_default_weights.py`, less the number): they predict, the weights have the calibration.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from label_saving_real import real_spectra
from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.ensemble.bootstrap import bootstrap_rows
from quasarloop.grid import WaveGrid
from quasarloop.network import calibration, redshift_reading
from quasarloop.network.calibration import Pulls, by_folds
from quasarloop.network.decode import LineOutputs, classify_finds, decode
from quasarloop.network.joint import joint_redshifts
from quasarloop.network.labelled import TrainingData
from quasarloop.network.predict import Predictor
from quasarloop.network.redshift_reading import JointRedshifts, line_floor
from quasarloop.network.weights import Weights, read_weights
from train_default_weights import predicted_by_folds

# Sets with enough quasars for a width.
SETS = ("boss_plate7102", "boss_qso_plates", "boss_agn")
_RESAMPLES = 500
Floor = Callable[[NDArray[np.float64], WaveGrid], NDArray[np.float64]]
HEADER = (
    "| weights | calibrated | floor | "
    + " | ".join(SETS)
    + " | all within 1σ, 2σ |\n|---|---|---|---:|---:|---:|---:|"
)


def constant(kms: float) -> Floor:
    """Return a floor that is the same at every redshift."""
    return lambda log_z1, _: np.full(len(log_z1), kms / SPEED_OF_LIGHT_KMS)


FLOORS: dict[str, Floor] = {
    "none": constant(0.0),
    "200 km/s": constant(200.0),
    "300 km/s": constant(300.0),
    "lines on the grid": line_floor,
}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of real sets")
    parser.add_argument("--weights", type=Path, action="append", required=True)
    parser.add_argument("--folds", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(HEADER)
    for path in options.weights:
        weights = read_weights(path)
        data, group, sets = real_spectra(options.data, weights.config.grid)
        data = replace(data, object_id=group)
        outputs = (
            predicted_by_folds(options.folds, data)
            if options.folds
            else Predictor(weights).predict(data.flux, redshifts=True)
        )
        rows = np.flatnonzero(np.isin(sets, SETS))
        for row in _rows(weights, data[rows], np.array(sets)[rows], outputs[rows]):
            print(f"| `{path.name}` | {row}", flush=True)
    return 0


def _rows(
    weights: Weights, data: TrainingData, which: NDArray[np.str_], outputs: LineOutputs
) -> Iterator[str]:
    called = classify_finds(decode(outputs, weights.config), weights.config).is_qso
    every = np.arange(len(data))
    found = joint_redshifts(outputs, weights.config, weights.joint)
    cells = _cells(data, which, every[called & data.is_qso], found)
    yield f"as in the file | lines on the grid | {cells} |"
    for name, floor in FLOORS.items():
        with (
            patch.object(redshift_reading, "line_floor", floor),
            patch.object(calibration, "line_floor", floor),
        ):
            rows, part = by_folds(weights, data, outputs)
        found = JointRedshifts(*(np.full(len(data), np.nan) for _ in range(4)))
        found.z[rows], found.z_err[rows] = part.z, part.z_err
        yield f"on other objects | {name} | {_cells(data, which, rows[called[rows]], found)} |"


def _cells(
    data: TrainingData, which: NDArray[np.str_], rows: NDArray[np.intp], found: JointRedshifts
) -> str:
    """Return width and number beyond 3σ of each set, and shares of all."""

    def measured(chosen: NDArray[np.intp]) -> Pulls:
        part = (found.z, found.z_err, found.z_alt, found.p_alt)
        return Pulls.of(JointRedshifts(*(v[chosen] for v in part)), data.z[chosen])

    cells = []
    for chosen in (rows[which[rows] == name] for name in SETS):
        pulls, rng = measured(chosen), np.random.default_rng(0)
        widths = [
            measured(chosen[bootstrap_rows(data.object_id[chosen], rng)]).width
            for _ in range(_RESAMPLES)
        ]
        far = f"{pulls.beyond_3 * pulls.n:.0f} of {pulls.n}"
        cells.append(f"{pulls.width:.2f} ± {np.std(widths):.2f}; {far}")
    pulls = measured(rows)
    cells.append(f"{pulls.within_1:.3f}, {pulls.within_2:.3f}")
    return " | ".join(cells)


if __name__ == "__main__":
    sys.exit(main())
