"""Composite of simulated quasars against the composite of real ones, line by line.

    python studies/figure_composite.py $DATA --out docs/figures

Every real quasar with S/N > 1 per pixel gets simulated ones of its own redshift and r magnitude,
observed with its own survey's noise. Writes composite_boss_high_z.png, composite_boss_low_z.png and
composite_desi.png, each with the S/N distributions, and prints equivalent widths in both.
"""

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from quasarloop.evaluate.figures import COLOURS, save_figure, use_style
from quasarloop.read import read_spectra
from quasarloop.simulate.draw import quasars_at
from quasarloop.simulate.instrument import Instrument, instrument_named
from quasarloop.simulate.model import R_BAND_AA, observed_flux
from quasarloop.simulate.noise import blur, draw_conditions, observe
from quasarloop.simulate.population import QuasarPopulation
from quasarloop.simulate.quasars import base_continuum

Floats = NDArray[np.float64]
Spectrum = list[tuple[Floats, Floats, Floats]]  # wavelength, flux, ivar of each arm
REST_AA = np.geomspace(900.0, 7600.0, 4200)
MIN_SN = 1.0
MIN_COUNT = 4  # quasars under a pixel of a composite
# Where spectra are brought to a common level: free of strong lines.
LEVEL_AA = (
    (1280, 1292), (1345, 1360), (1440, 1475), (1690, 1720), (2150, 2210), (3010, 3080),
    (4000, 4060), (4200, 4230), (5080, 5130), (5600, 5700), (6100, 6200), (6900, 7000),
)  # fmt: skip
# Line: window, then the two ends of a straight continuum under it, rest Å.
LINES = {
    "Lyα + N V": (1216, 1265, 1175, 1287),
    "Si IV + O IV]": (1375, 1425, 1355, 1445),
    "C IV": (1500, 1595, 1460, 1690),
    "C III] blend": (1830, 1960, 1800, 1990),
    "Mg II": (2740, 2860, 2690, 2900),
    "[O II]": (3715, 3740, 3705, 3750),
    "Hβ": (4790, 4935, 4760, 5080),
    "[O III] 5008": (4985, 5030, 4975, 5060),
    "Hα + [N II]": (6400, 6680, 6300, 6850),
}
END_PART = 0.004  # half width of the continuum points, part of their wavelength
PANELS_AA = ((900, 1760), (1700, 3300), (3200, 7500))
# Surveys: folders, redshifts, whose noise, simulated quasars per real one.
SETS = {
    "boss_high_z": (("boss_plate7102", "boss_qso_plates"), (1.5, 5.0), "sdss", 6),
    "boss_low_z": (("boss_plate7102", "boss_qso_plates", "boss_agn"), (0.0, 1.5), "sdss", 4),
    "desi": (("desi_tile80693", "desi_healpix9144"), (0.0, 5.0), "desi", 30),
}


class Sample(NamedTuple):
    """Quasars: composite with its 16 and 84 % (n_rest,), S/N (n,), and where they are (n,)."""

    median: Floats
    low: Floats
    high: Floats
    sn: Floats
    z: Floats
    r_mag: Floats


def main() -> None:
    """Draw and print every set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of real data")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, (folders, (z_min, z_max), survey, copies) in SETS.items():
        quasars = [q for f in folders for q in real_quasars(options.data / f, z_min, z_max)]
        z = np.array([redshift for redshift, _ in quasars])
        real = sample(z, [spectrum for _, spectrum in quasars])
        simulated = simulate(real, survey, copies, options.seed)
        save(figure(name, real, simulated), options.out / f"composite_{name}.png")
        table(name, real, simulated)


def real_quasars(folder: Path, z_min: float, z_max: float) -> Iterable[tuple[float, Spectrum]]:
    """Yield redshift and arms of a folder's quasars."""
    with (folder / "truth.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["class"] == "QSO" and row["z"]]
    for row in rows:
        if z_min < float(row["z"]) < z_max:
            number = int(row["row"])
            spectra = read_spectra(folder / row["file"])[number : number + 1]
            arms = [
                (a.wave_aa, a.flux[0].astype(float), a.ivar[0].astype(float)) for a in spectra.arms
            ]
            if signal_to_noise(arms) > MIN_SN:
                yield float(row["z"]), arms


def simulate(real: Sample, survey: str, copies: int, seed: int) -> Sample:
    """Simulate quasars at the redshifts and magnitudes of real ones."""
    rng = np.random.default_rng(seed)
    instrument = instrument_named(survey)
    z, r_mag = np.repeat(real.z, copies), np.repeat(real.r_mag, copies)
    objects = quasars_at(QuasarPopulation(), z, r_mag, rng)
    flux = observed_flux(objects, instrument.wave_aa)
    return sample(z, observed(flux, instrument, rng))


def observed(
    flux: NDArray[np.float32], instrument: Instrument, rng: np.random.Generator
) -> list[Spectrum]:
    """Observe spectra once."""
    conditions = draw_conditions(rng, len(flux), len(instrument.arms))
    spectra: list[Spectrum] = [[] for _ in flux]
    for arm in instrument.arms:
        noisy = observe(arm, blur(flux[:, arm.pixels], arm.sigma_pixels), conditions, rng)
        for row, spectrum in enumerate(spectra):
            arrays = (noisy.flux[row].astype(float), noisy.ivar[row].astype(float))
            spectrum.append((arm.wave_aa, *arrays))
    return spectra


def sample(z: Floats, spectra: list[Spectrum]) -> Sample:
    """Bring spectra to the rest frame and one level, and take their median."""
    level = np.zeros(len(REST_AA), dtype=bool)
    for low, high in LEVEL_AA:
        level |= (low < REST_AA) & (high > REST_AA)
    typical = base_continuum(REST_AA)
    rest = np.full((len(z), len(REST_AA)), np.nan)
    for row, (redshift, arms) in enumerate(zip(z, spectra, strict=True)):
        flux = joined(arms, REST_AA * (1 + redshift))
        ratio = flux[level] / typical[level]
        scale = np.median(ratio[np.isfinite(ratio)]) if np.isfinite(ratio).any() else np.nan
        rest[row] = flux / scale if scale > 0 else np.nan
    enough = np.isfinite(rest).sum(axis=0) >= MIN_COUNT
    quantiles = np.full((3, len(REST_AA)), np.nan)
    quantiles[:, enough] = np.nanpercentile(rest[:, enough], [16, 50, 84], axis=0)
    sn = np.array([signal_to_noise(arms) for arms in spectra])
    r_mag = np.array([magnitude(arms) for arms in spectra])
    return Sample(quantiles[1], quantiles[0], quantiles[2], sn, z, r_mag)


def joined(arms: Spectrum, wave: Floats) -> Floats:
    """Read arms at wavelengths, weighted by ivar; NaN where no arm has data."""
    weighted, weight = np.zeros_like(wave), np.zeros_like(wave)
    for arm_wave, flux, ivar in arms:
        weighted += np.interp(wave, arm_wave, flux * ivar, left=0, right=0)
        weight += np.interp(wave, arm_wave, ivar, left=0, right=0)
    return np.divide(weighted, weight, out=np.full_like(wave, np.nan), where=weight > 0)


def signal_to_noise(arms: Spectrum) -> float:
    """Median S/N per pixel."""
    return float(np.median(np.concatenate([flux * np.sqrt(ivar) for _, flux, ivar in arms])))


def magnitude(arms: Spectrum) -> float:
    """AB magnitude in the r band of the simulator."""
    wave = np.linspace(R_BAND_AA[0], R_BAND_AA[-1], 600)
    flux = joined(arms, wave)
    response = np.interp(wave, R_BAND_AA, (0, 1, 1, 0)) * wave * np.isfinite(flux)
    mean = max(float(np.nansum(flux * response) / response.sum()), 0.03)
    pivot_aa = 0.5 * (R_BAND_AA[1] + R_BAND_AA[2])
    return float(-2.5 * np.log10(mean * 1e-17 * pivot_aa**2 / 2.99792458e18 / 3.631e-20))


def figure(name: str, real: Sample, simulated: Sample) -> plt.Figure:
    """Two composites over each other, and the S/N below."""
    with use_style():
        fig, axes = plt.subplots(4, 1, figsize=(9, 11), height_ratios=(3, 3, 3, 2))
        for axis, (low, high) in zip(axes, PANELS_AA, strict=False):
            inside = (low < REST_AA) & (high > REST_AA)
            for label, colour, one in (("real", "k", real), ("simulated", COLOURS[1], simulated)):
                axis.plot(REST_AA[inside], one.median[inside], color=colour, lw=0.9, label=label)
                axis.fill_between(
                    REST_AA[inside], one.low[inside], one.high[inside], color=colour, alpha=0.13
                )
            medians = np.concatenate([real.median[inside], simulated.median[inside]])
            if np.isfinite(medians).any():
                axis.set_ylim(0, 1.25 * np.nanpercentile(medians, 99.5))
            axis.set_ylabel("Flux density (3000 Å = 1)")
        axes[0].legend()
        axes[0].set_title(f"{name}: {len(real.z)} real quasars", loc="left", fontsize=10)
        axes[2].set_xlabel("Rest wavelength (Å)")
        bins = np.geomspace(0.3, 80, 28)
        for label, colour, one in (("real", "k", real), ("simulated", COLOURS[1], simulated)):
            weights = np.full(len(one.sn), 1 / len(one.sn))
            axes[3].hist(one.sn, bins, weights=weights, histtype="step", color=colour, label=label)
        axes[3].set_xscale("log")
        axes[3].set_xlabel("Median S/N per pixel")
        axes[3].set_ylabel("Share")
    return fig


def save(fig: plt.Figure, path: Path) -> None:
    """Save and print the path."""
    save_figure(fig, path)
    plt.close(fig)
    print(path)


def table(name: str, real: Sample, simulated: Sample) -> None:
    """Print equivalent widths and S/N of both."""
    quantiles = [np.percentile(one.sn, [16, 50, 84]) for one in (real, simulated)]
    texts = [" / ".join(f"{value:.1f}" for value in values) for values in quantiles]
    print(f"\n{name}: {len(real.z)} real quasars, {len(simulated.z)} simulated")
    print("\n| line | EW real (Å) | EW simulated (Å) |\n|---|---|---|")
    for line, window in LINES.items():
        widths = [equivalent_width(one.median, *window) for one in (real, simulated)]
        if np.isfinite(widths).all():
            print(f"| {line} | {widths[0]:.1f} | {widths[1]:.1f} |")
    print(f"| S/N at 16 / 50 / 84 % | {texts[0]} | {texts[1]} |\n")


def equivalent_width(median: Floats, first: float, last: float, left: float, right: float) -> float:
    """Light above a straight line between two continuum points, rest Å; NaN if not covered."""
    inside = (first < REST_AA) & (last > REST_AA)
    ends = [np.median(median[np.abs(REST_AA / end - 1) < END_PART]) for end in (left, right)]
    continuum = np.interp(REST_AA[inside], (left, right), ends)
    return float(np.sum((median[inside] / continuum - 1) * np.gradient(REST_AA)[inside]))


if __name__ == "__main__":
    main()
