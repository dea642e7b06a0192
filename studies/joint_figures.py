"""Figures of `studies/joint_table.py`: errors, pulls, confusions and oscillation of redshifts."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.errors import TruthError
from quasarloop.evaluate.figures import COLOURS, save_figure, use_style
from quasarloop.evaluate.metrics import error_kms, share
from quasarloop.evaluate.oscillation import Oscillation, oscillation_with_truth
from quasarloop.evaluate.redshift_figures import oscillation_figure
from quasarloop.network.config import NetworkConfig
from quasarloop.network.decode import LineFinds
from quasarloop.network.redshift_reading import JointRedshifts

CONFUSED_KMS = 15_000.0
_SURE = 0.95
_FAINT_SN = 2.0
_SN_TICKS = (0.3, 0.5, 1, 2, 4, 8)
_SN_EDGES = np.array([0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0])
_Z_EDGES = np.arange(0.0, 4.9, 0.4)
_ERRORS_KMS = np.linspace(-4000, 4000, 81)
_ERROR_TICKS = (-4000, -2000, 0, 2000, 4000)
_PULLS = np.linspace(-5, 5, 51)


class Judged(NamedTuple):
    """One sky and one network, (n,) each."""

    label: str
    config: NetworkConfig
    z: NDArray[np.float64]
    sn: NDArray[np.float32]
    called: NDArray[np.bool_]
    one: NDArray[np.float64]
    finds: LineFinds
    joint: JointRedshifts


def draw(every: list[Judged], folder: Path, stem: str) -> None:
    """Draw all skies of one network together: errors and confusions, and the oscillation."""
    save_figure(_overview(every), folder / f"{stem}_errors.png")
    save_figure(oscillation_figure(_oscillations(every)), folder / f"{stem}_oscillation.png")


def _overview(every: list[Judged]) -> Figure:
    with use_style():
        figure = Figure(figsize=(10, 7.4))
        (errors, pulls), (by_sn, by_z) = figure.subplots(2, 2)
        z, sn, called, one, joint, sigma = _columns(every)
        for values, label, colour in zip(
            (one, joint), ("one line", "joint"), COLOURS, strict=False
        ):
            kms = ((values - z) / (1 + z) * SPEED_OF_LIGHT_KMS)[called]
            errors.hist(kms, bins=_ERRORS_KMS, histtype="step", lw=1.8, color=colour, label=label)
            wrong = np.abs(error_kms(values, z)) > CONFUSED_KMS
            _shares(by_sn, sn, wrong, _SN_EDGES, colour, label)
            faint = sn < _FAINT_SN
            _shares(by_z, z[faint], wrong[faint], _Z_EDGES, colour, label)
        errors.set(xlabel="redshift error c Δz / (1 + z), km/s", ylabel="quasars called, per bin")
        errors.set_xticks(_ERROR_TICKS, [f"{value:,d}" for value in _ERROR_TICKS])
        pull = ((joint - z) / sigma)[called]
        pulls.hist(pull, bins=_PULLS, density=True, histtype="step", lw=1.8, color=COLOURS[1])
        x = np.linspace(-5, 5, 201)
        pulls.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color="0.4", ls="--")
        pulls.set(xlabel="(Z_JOINT − z) / ZERR_JOINT", ylabel="density; dashed: unit Gaussian")
        by_sn.set(
            xlabel="median S/N per pixel", xscale="log", ylabel="share wrong by > 15,000 km/s"
        )
        by_z.set(xlabel="redshift", ylabel="share wrong, S/N < 2")
        by_sn.set_xticks(_SN_TICKS, [f"{value:g}" for value in _SN_TICKS])
        by_sn.xaxis.set_minor_locator(NullLocator())
        for axes in (errors, by_sn, by_z):
            axes.legend()
        return figure


def _columns(every: list[Judged]) -> list[NDArray[np.float64]]:
    columns = [
        (j.z, j.sn, j.called, j.one, j.joint.z, j.joint.z_err) for j in every
    ]  # fmt: skip
    return [np.concatenate(column) for column in zip(*columns, strict=True)]


def _shares(
    axes: Axes,
    x: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    edges: NDArray[np.float64],
    colour: str,
    label: str,
) -> None:
    number = np.digitize(x, edges) - 1
    places, parts, low, high = [], [], [], []
    for i in range(len(edges) - 1):
        rows = number == i
        if rows.any():
            part = share(int(wrong[rows].sum()), int(rows.sum()))
            places.append(float(np.mean(edges[i : i + 2])))
            parts.append(part.value)
            low.append(part.value - part.low)
            high.append(part.high - part.value)
    axes.errorbar(places, parts, yerr=[low, high], fmt="o-", ms=4, color=colour, label=label)
    axes.set_ylim(bottom=0)


def _oscillations(every: list[Judged]) -> dict[str, dict[str, Oscillation]]:
    config = every[0].config
    found: dict[str, dict[str, Oscillation]] = {}
    z, _, _, _, joint, _ = _columns(every)
    confidence, own = (
        np.concatenate([getattr(j.finds, name) for j in every]) for name in ("confidence", "z")
    )
    for i in config.emission_index[:4]:
        line, rows = config.lines[i], confidence[:, i] > _SURE
        for label, values in (("one line", own[:, i]), ("joint", joint)):
            try:
                one = oscillation_with_truth(
                    values[rows], z[rows], line, config.grid, config.n_boxes
                )
            except TruthError:
                continue
            found.setdefault(line.name, {})[label] = one
    return found
