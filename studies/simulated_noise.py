"""Simulated noise beside real noise: a markdown table and a figure.

python studies/simulated_noise.py $DATA --figure docs/figures/simulated_noise.png
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from quasarloop.evaluate.figures import COLOURS, save_figure, use_style
from quasarloop.read import find_files, read_spectra
from quasarloop.simulate.footprint import Tile
from quasarloop.simulate.instrument import desi_instrument, sdss_instrument
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.noise import NoisyArm
from quasarloop.simulate.observing import ObservingOptions, coadd_exposures, observe_tile
from quasarloop.simulate.population import Population
from quasarloop.simulate.write_sdss import combine_arms
from quasarloop.spectra import Arm
from skies import NO_FAULTS

Floats = NDArray[np.float64]
N_OBJECTS = 300
FAINT_SN = 3.0
SHOWN_SIGMA = 2.5


@dataclass(frozen=True)
class Noise:
    """Flux and σ of one arm, (n, n_pix); σ is NaN where masked."""

    wave_aa: Floats
    flux: Floats
    sigma: Floats

    @property
    def level(self) -> Floats:
        """(n,) median σ of each spectrum."""
        return np.asarray(np.nanmedian(self.sigma, axis=1))

    @property
    def sn(self) -> Floats:
        """(n,) median S/N per pixel."""
        return np.asarray(np.nanmedian(self.flux / self.sigma, axis=1))

    @property
    def masked(self) -> float:
        """Share of pixels with ivar 0."""
        return float(np.mean(np.isnan(self.sigma)))


def main() -> None:
    """Read, simulate, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of real spectra")
    parser.add_argument("--figure", type=Path, help="figure to write")
    options = parser.parse_args()
    visit = real_desi(options.data / "desi_healpix9144" / "coadd-main-dark-9144.fits")
    deep = real_desi(options.data / "quasarnp_fixture" / "test_coadd.fits")
    boss = real_boss(options.data / "boss_plate7102")
    ours = simulated("desi", exposures=1)
    exposures = matching_exposures(deep["r"], ours["r"])
    ours_deep = simulated("desi", exposures=exposures)
    ours_boss = simulated("sdss", exposures=1)
    out = sys.stdout.write
    out("| spectra | median σ, real | simulated | masked pixels, real | simulated |\n")
    out("|---|---|---|---|---|\n")
    pairs = [(f"DESI, one visit, arm {name}", visit[name], ours[name]) for name in "brz"]
    pairs += [(f"DESI, deep, arm {name}", deep[name], ours_deep[name]) for name in "brz"]
    pairs.append(("BOSS plate 7102", boss, ours_boss["brz"]))
    for what, real, mine in pairs:
        levels = f"{faint_level(real):.3f} | {faint_level(mine):.3f}"
        out(f"| {what} | {levels} | {100 * real.masked:.2f} % | {100 * mine.masked:.2f} % |\n")
    out("\nσ: median over pixels, then over spectra with S/N < 3, 1e-17 erg/s/cm²/Å per pixel. ")
    out(f"The deep coadd is matched by {exposures} nominal exposures (fitted in arm r).\n")
    if options.figure is not None:
        draw(options.figure, (visit, ours), (deep, ours_deep), (boss, ours_boss["brz"]))


def real_desi(path: Path) -> dict[str, Noise]:
    """Read the arms of a real coadd, rows without data left out."""
    arms = {arm.name: arm for arm in read_spectra(path).arms}
    used = np.all([(arm.ivar > 0).any(axis=1) for arm in arms.values()], axis=0)
    return {name: _noise(arm.wave_aa, arm.flux[used], arm.ivar[used]) for name, arm in arms.items()}


def real_boss(folder: Path) -> Noise:
    """Read spec files onto the simulated BOSS grid; pixels outside a file are masked."""
    wave = sdss_instrument().wave_aa
    first = round(float(np.log10(wave[0]) * 1e4))
    arms: list[Arm] = [read_spectra(path).arms[0] for path in find_files([folder])]
    flux, ivar = np.zeros((2, len(arms), len(wave)), dtype=np.float32)
    for row, arm in enumerate(arms):
        at = np.round(np.log10(arm.wave_aa) * 1e4).astype(int) - first
        inside = (at >= 0) & (at < len(wave))
        flux[row, at[inside]], ivar[row, at[inside]] = arm.flux[0, inside], arm.ivar[0, inside]
    return _noise(wave, flux, ivar)


def simulated(survey: str, exposures: int) -> dict[str, Noise]:
    """Simulate the default population with that many exposures, without faults."""
    instrument = desi_instrument() if survey == "desi" else sdss_instrument()
    light = ModelSky(Population())(1, 0, N_OBJECTS, instrument.wave_aa)
    observing = ObservingOptions(exposures=exposures, faults=NO_FAULTS)
    seen = observe_tile(Tile(0, N_OBJECTS), light, 1, instrument, observing)
    coadd: dict[str, NoisyArm] = coadd_exposures(seen.exposures)
    if survey == "sdss":
        whole = combine_arms(instrument, coadd)
        return {"brz": _noise(instrument.wave_aa, whole.flux, whole.ivar)}
    return {
        arm.name: _noise(arm.wave_aa, coadd[arm.name].flux, coadd[arm.name].ivar)
        for arm in instrument.arms
    }


def matching_exposures(real: Noise, nominal: Noise) -> int:
    """Return how many nominal exposures give faint spectra the real σ."""
    return round((faint_level(nominal) / faint_level(real)) ** 2)


def faint_level(noise: Noise) -> float:
    """Return the median σ of faint spectra."""
    return float(np.median(noise.level[noise.sn < FAINT_SN]))


def draw(
    path: Path, *pairs: tuple[dict[str, Noise], dict[str, Noise]] | tuple[Noise, Noise]
) -> None:
    """Draw σ along the wavelength for DESI and BOSS, and S/N against flux."""
    (visit, ours), (deep, ours_deep), (boss, ours_boss) = pairs
    with use_style():
        figure, axes = plt.subplots(3, 1, figsize=(9, 10))
        for name in "brz":
            _band(axes[0], ours[name], visit[name], label=name == "b")
        _band(axes[1], ours_boss, boss, label=True)
        axes[0].set_title("One DESI visit")
        axes[1].set_title("BOSS, plate 7102")
        for axis in axes[:2]:
            axis.set(ylim=(0, SHOWN_SIGMA), xlabel="wavelength [Å]")
            axis.set_ylabel("σ per pixel [10⁻¹⁷ erg/s/cm²/Å]")
            axis.legend(loc="upper center")
        for colour, name, marker in zip(COLOURS, "brz", "osD", strict=False):
            _points(axes[2], ours_deep[name], deep[name], colour, marker, name)
        axes[2].set(xscale="log", yscale="log", xlim=(0.03, 30), ylim=(0.1, 100))
        axes[2].set_title("Deep DESI coadd: S/N follows from the flux")
        axes[2].set_xlabel("median flux of the arm [10⁻¹⁷ erg/s/cm²/Å]")
        axes[2].set_ylabel("median S/N per pixel")
        axes[2].legend(ncols=2)
        save_figure(figure, path)
        plt.close(figure)


def _band(axis: Axes, mine: Noise, real: Noise, *, label: bool) -> None:
    faint, real_faint = mine.sigma[mine.sn < FAINT_SN], real.sigma[real.sn < FAINT_SN]
    low, high = np.nanpercentile(faint, [16, 84], axis=0)
    axis.fill_between(
        mine.wave_aa, low, high, color=COLOURS[0], alpha=0.5, lw=0,
        label="simulated, 16–84 %" if label else None,
    )  # fmt: skip
    axis.plot(
        real.wave_aa, np.nanmedian(real_faint, axis=0), "k", lw=0.4,
        label="real, median of faint spectra" if label else None,
    )  # fmt: skip


def _points(axis: Axes, mine: Noise, real: Noise, colour: str, marker: str, name: str) -> None:
    axis.plot(
        np.nanmedian(mine.flux, axis=1), mine.sn, ".", color=colour, ms=3, alpha=0.4,
        label=f"{name}, simulated",
    )  # fmt: skip
    axis.plot(
        np.nanmedian(real.flux, axis=1), real.sn, marker, mfc="none", mec=colour, ms=7, mew=1.3,
        label=f"{name}, real",
    )  # fmt: skip


def _noise(wave: Floats, flux: NDArray[np.float32], ivar: NDArray[np.float32]) -> Noise:
    good = ivar > 0
    sigma = np.where(good, 1 / np.sqrt(np.where(good, ivar, 1)), np.nan)
    return Noise(wave, flux.astype(np.float64), sigma.astype(np.float64))


if __name__ == "__main__":
    main()
