"""Typical simulated objects, four to a figure: the light there was, and what a survey saw of it.

    python studies/figure_simulated_objects.py --out docs/figures

Writes simulated_quasars.png, simulated_odd_quasars.png, simulated_galaxies.png,
simulated_stars.png and simulated_odd_stars.png. With --templates FOLDER the same objects are made
of a folder of redrock templates.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.evaluate.figures import COLOURS, save_figure, use_style
from quasarloop.lines import EMISSION_LINES, line_label
from quasarloop.simulate.draw import draw_objects
from quasarloop.simulate.instrument import Instrument, instrument_named
from quasarloop.simulate.model import observed_flux
from quasarloop.simulate.noise import blur, draw_conditions, observe
from quasarloop.simulate.objects import Objects
from quasarloop.simulate.population import Population
from quasarloop.simulate.templates import read_templates
from quasarloop.truth import SpecType

Rows = NDArray[np.bool_]
BIN_PIXELS = 4  # noisy spectra are drawn in bins of so many pixels


class Panel(NamedTuple):
    """One object wanted: what it is called, and which objects are of that kind."""

    title: str
    wanted: Callable[[Objects], Rows]


def quasar(low: float, high: float, subtype: str = "") -> Callable[[Objects], Rows]:
    """Quasars of a redshift range and subtype."""

    def wanted(objects: Objects) -> Rows:
        inside = (objects.z > low) & (objects.z < high) & (objects.subtype == subtype)
        return inside & (objects.spectype == SpecType.QSO)

    return wanted


def kind(name: str) -> Callable[[Objects], Rows]:
    """Galaxies or stars of a kind."""
    return lambda objects: objects.subtype == name


FIGURES = {
    "quasars": (
        Panel("Low redshift, with its host", quasar(0.25, 0.5)),
        Panel("Mg II and C III]", quasar(1.0, 1.3)),
        Panel("C IV, C III], Mg II", quasar(1.8, 2.05)),
        Panel("Lyα forest", quasar(2.7, 3.3)),
    ),
    "odd_quasars": (
        Panel("Broad absorption", quasar(1.9, 2.8, "BAL")),
        Panel("Broad absorption of low ions", quasar(1.6, 2.3, "LoBAL")),
        Panel("Weak lines", quasar(2.2, 3.0, "WLQ")),
        Panel("Double-peaked Balmer lines", quasar(0.2, 0.45, "double-peaked")),
    ),
    "galaxies": (
        Panel("Passive", kind("passive")),
        Panel("Star-forming", kind("star_forming")),
        Panel("Post-starburst", kind("post_starburst")),
        Panel("Strong lines", kind("strong_line")),
    ),
    "stars": tuple(Panel(f"Star {name}", kind(name)) for name in ("A", "G", "M", "DA")),
    "odd_stars": tuple(Panel(f"Star {name}", kind(name)) for name in ("B", "DB", "C", "CV")),
}


def main() -> None:
    """Draw every figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--templates", type=Path, help="a redrock-templates folder")
    parser.add_argument("--seed", type=int, default=8)
    options = parser.parse_args()
    objects = draw_objects(Population(), 60_000, np.random.SeedSequence(options.seed))
    instrument = instrument_named("desi")
    library = read_templates(options.templates) if options.templates else None
    name = "templates" if options.templates else "simulated"
    options.out.mkdir(parents=True, exist_ok=True)
    for group, panels in FIGURES.items():
        with use_style():
            figure, axes = plt.subplots(len(panels), 1, figsize=(9, 10), sharex=True)
            for axis, panel in zip(axes, panels, strict=True):
                some = choose(objects, panel)
                draw(
                    axis, panel, some, observed_flux(some, instrument.wave_aa, library), instrument
                )
            axes[-1].set_xlabel("Observed wavelength (Å)")
            figure.supylabel("Flux density (10⁻¹⁷ erg s⁻¹ cm⁻² Å⁻¹)")
            save_figure(figure, options.out / f"{name}_{group}.png")
            plt.close(figure)
        print(options.out / f"{name}_{group}.png")


def choose(objects: Objects, panel: Panel) -> Objects:
    """Return the object of the kind that is nearest r = 20: bright enough to see it all."""
    rows = np.flatnonzero(panel.wanted(objects))
    row = rows[np.argmin(np.abs(objects.r_mag[rows] - 20.0))]
    return objects[row : row + 1]


def draw(
    axis: plt.Axes,
    panel: Panel,
    some: Objects,
    flux: NDArray[np.float32],
    instrument: Instrument,
) -> None:
    """Draw one object: noisy in grey, noiseless in colour, the network's lines marked."""
    rng = np.random.default_rng(1)
    conditions = draw_conditions(rng, 1, len(instrument.arms))
    top = 0.0
    for arm in instrument.arms:
        true = blur(flux[:, arm.pixels], arm.sigma_pixels)
        noisy = observe(arm, true, conditions, rng)
        wave, seen = binned(arm.wave_aa, noisy.flux[0], noisy.ivar[0])
        axis.plot(wave, seen, color="0.7", lw=0.5)
        axis.plot(arm.wave_aa, true[0], color=COLOURS[0], lw=0.8)
        top = max(top, float(np.percentile(true, 99.8)))
    axis.set_ylim(-0.05 * top, 1.25 * top)
    z = float(some.z[0])
    is_star = some.spectype[0] == SpecType.STAR
    where = f"{z * SPEED_OF_LIGHT_KMS:+.0f} km/s" if is_star else f"z = {z:.3f}"
    axis.set_title(f"{panel.title}: {where}, r = {some.r_mag[0]:.1f}", loc="left", fontsize=10)
    for line in EMISSION_LINES if some.spectype[0] == SpecType.QSO else ():
        seen_aa = line.wave_rest_aa * (1 + z)
        if instrument.wave_aa[0] < seen_aa < instrument.wave_aa[-1]:
            axis.axvline(seen_aa, color=COLOURS[1], lw=0.6, ls=":")
            axis.text(
                seen_aa, 1.16 * top, f" {line_label(line.name)}", fontsize=8, color=COLOURS[1]
            )


def binned(
    wave: NDArray[np.float64], flux: NDArray[np.float32], ivar: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average a noisy spectrum in bins by its inverse variance."""
    n = len(wave) // BIN_PIXELS * BIN_PIXELS
    weight = ivar[:n].reshape(-1, BIN_PIXELS).astype(np.float64)
    total = np.maximum(weight.sum(axis=1), 1e-30)
    mean = (weight * flux[:n].reshape(-1, BIN_PIXELS)).sum(axis=1) / total
    return wave[:n].reshape(-1, BIN_PIXELS).mean(axis=1), mean


if __name__ == "__main__":
    main()
