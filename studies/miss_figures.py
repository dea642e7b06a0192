"""Plot every quasar that weights miss in real spectra, and every other object they call one.

    python studies/miss_figures.py --data $DATA --weights W.h5 --folds W/log-folds.h5 \
        --out docs/figures

Two figures, `missed_W.png` and `false_W.png`: flux on the network's grid, lines where the label
puts them (below) and where the network does (above). --folds as in `pull_table.py`.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray

from label_saving_real import real_spectra
from quasarloop.classes import CONFIDENCE_THRESHOLD
from quasarloop.evaluate.figures import save_figure, use_style
from quasarloop.grid import WaveGrid
from quasarloop.lines import EMISSION_LINES, line_label
from quasarloop.network.decode import decode, emission_lines
from quasarloop.network.joint import joint_redshifts
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import read_weights
from train_default_weights import predicted_by_folds

COLUMNS, WIDTH, HEIGHT = 2, 6.5, 1.7  # panels, and the size of one in inches
RANGE = (0.5, 99.5)  # per cent of the flux that is shown


def main() -> int:
    """Draw both figures and list what is in them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of real sets")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--folds", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    predictor = Predictor(read_weights(options.weights))
    config = predictor.config
    data, group, sets = real_spectra(options.data, config.grid)
    outputs = (
        predicted_by_folds(options.folds, replace(data, object_id=group))
        if options.folds
        else predictor.predict(data.flux, redshifts=True)
    )
    best = emission_lines(decode(outputs, config), config, 1).confidence
    z = joint_redshifts(outputs, config, predictor.joint).z
    called = best > CONFIDENCE_THRESHOLD
    for name, rows in (("missed", data.is_qso & ~called), ("false", ~data.is_qso & called)):
        chosen = np.flatnonzero(rows)
        chosen = chosen[np.argsort(-best[chosen], kind="stable")]
        titles = [
            f"{sets[row]} {row}, z = {data.z[row]:.3f}: {best[row]:.2f} at {z[row]:.3f}"
            for row in chosen
        ]
        print(f"{name}: {len(chosen)}", *titles, sep="\n  ")
        truth = np.where(data.is_qso, data.z, np.nan)
        path = options.out / f"{name}_{options.weights.stem}.png"
        holes = data.flux[chosen] == data.empty[chosen, None]
        flux = np.where(holes, np.nan, data.flux[chosen])
        _draw(flux, config.grid, truth[chosen], z[chosen], titles, path)
    return 0


def _draw(
    flux: NDArray[np.float32], grid: WaveGrid, truth: NDArray[np.float64],
    found: NDArray[np.float64], titles: list[str], path: Path,
) -> None:  # fmt: skip
    if not len(flux):
        return
    n_rows = -(-len(flux) // COLUMNS)
    with use_style():
        figure, panels = plt.subplots(
            n_rows, COLUMNS, figsize=(WIDTH * COLUMNS, HEIGHT * n_rows), squeeze=False,
            sharex=True, layout="constrained",
        )  # fmt: skip
        wave = grid.wave_at(np.arange(grid.n_bins) + 0.5)
        for axes in panels.flat[len(flux) :]:
            axes.set_axis_off()
        for row, axes in enumerate(panels.flat[: len(flux)]):
            axes.plot(wave, flux[row], drawstyle="steps-mid", lw=0.7, color="0.3")
            low, high = np.nanpercentile(flux[row], RANGE)
            axes.set(ylim=(low - 0.3 * (high - low), high + 0.3 * (high - low)), yticks=[])
            axes.set_title(titles[row], fontsize=8)
            _mark(axes, truth[row], "C0", bottom=True)
            _mark(axes, found[row], "C1", bottom=False)
        for axes in panels[-1]:
            axes.set_xlabel("wavelength, Å")
        save_figure(figure, path)


def _mark(axes: Axes, z: float, colour: str, *, bottom: bool) -> None:
    low, high = axes.get_xlim()
    for line in EMISSION_LINES:
        wave = line.wave_rest_aa * (1 + z)
        if low < wave < high:  # never where z is NaN
            part = (0.0, 0.18) if bottom else (0.82, 1.0)
            axes.axvline(wave, *part, color=colour, lw=1)
            place, edge = (0.02, "bottom") if bottom else (0.98, "top")
            axes.text(
                wave, place, f" {line_label(line.name)}", color=colour, fontsize=7, va=edge,
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
