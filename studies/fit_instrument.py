"""Fit throughputs and airglow strengths to the noise of real spectra; write simulate/data/*.ecsv.

    python studies/fit_instrument.py $DATA

DESI: 25 spectra of quasarnp_fixture/test_coadd.fits give the shape (deep, many faint rows), the
single-epoch healpix coadd gives the level of one exposure. SDSS: plate 7102. The noise model is
solved for the throughput at each anchor: V C² − S C − R = 0 with V the variance between the sky
lines, S the published sky continuum in the fibre and R the read-out variance.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import fitsio
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import percentile_filter
from scipy.signal import find_peaks

from quasarloop.simulate.instrument import (
    DESI_TELESCOPE,
    SDSS_TELESCOPE,
    Telescope,
    photons_per_flux,
    sky_continuum,
)

Floats = NDArray[np.float64]
OUT = Path(__file__).resolve().parents[1] / "src" / "quasarloop" / "simulate" / "data"
# Width and percentile of the filter that looks between the sky lines: narrow where there are
# few; a percentile that is not biased by the noise of the variance itself (larger for BOSS).
FILTER = {"b": (25, 20), "r": (75, 20), "z": (75, 20), "sdss": (75, 40)}
# The dichroics and the telluric A band raise the noise in humps that are no sky lines.
NOT_LINES = ((3500.0, 4350.0), (5750.0, 5870.0), (7590.0, 7713.0))
FAINT_SN = 2.0
USABLE_SHARE = 0.5
SIGMA_PIXELS = {"b": 0.88, "r": 0.80, "z": 0.91, "sdss": 0.80}
DESI_END_AA = 9824.0


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of real spectra")
    data = parser.parse_args().data
    lines: list[tuple[float, float]] = []
    curves: list[tuple[str, str, float, float]] = []
    for arm in "brz":
        wave, variance = desi_variance(data, arm)
        throughput, excess = solve(wave, variance, arm, DESI_TELESCOPE)
        curves += [("desi", arm, *pair) for pair in anchors(wave, throughput, 32.0)]
        last = max((w for w, _ in lines), default=0.0)
        lines += [
            pair for pair in measure_lines(wave, excess, variance, arm) if pair[0] > last + 2.0
        ]
    wave, variance = sdss_variance(data)
    throughput, excess = solve(wave, variance, "sdss", SDSS_TELESCOPE)
    # DESI ends at 9824 Å; the airglow beyond is measured on BOSS.
    lines += [
        pair for pair in measure_lines(wave, excess, variance, "sdss") if pair[0] > DESI_END_AA
    ]
    red = 1 / (1 + np.exp(-(wave - 6000.0) / 60.0))
    for arm, share in (("b", 1 - red), ("r", red)):
        curves += [("sdss", arm, *pair) for pair in anchors(wave, throughput * share, 50.0)]
    save("sky_lines", lines)
    save("throughput", curves)


def desi_variance(data: Path, arm: str) -> tuple[Floats, Floats]:
    """Return wavelengths and the variance of one nominal exposure of a faint target."""
    deep = data / "quasarnp_fixture" / "test_coadd.fits"
    single = data / "desi_healpix9144" / "coadd-main-dark-9144.fits"
    with fitsio.FITS(deep) as file:
        wave = file[f"{arm.upper()}_WAVELENGTH"].read()
        variance = _variance(
            file[f"{arm.upper()}_FLUX"].read(), file[f"{arm.upper()}_IVAR"].read(), FAINT_SN
        )
    with fitsio.FITS(single) as file:
        once = _variance(
            file[f"{arm.upper()}_FLUX"].read(), file[f"{arm.upper()}_IVAR"].read(), np.inf
        )
    return wave, variance * np.nanmedian(once / variance)


def sdss_variance(data: Path) -> tuple[Floats, Floats]:
    """Return wavelengths and the median variance of faint spectra of plate 7102."""
    index = np.arange(35526, 40146)
    flux, ivar = [], []
    for path in sorted((data / "boss_plate7102").glob("spec-*.fits")):
        table = fitsio.read(path, ext=1)
        row = np.full((2, len(index)), 0.0)
        at = np.round(table["loglam"].astype(np.float64) * 1e4).astype(int) - index[0]
        inside = (at >= 0) & (at < len(index))
        row[:, at[inside]] = table["flux"][inside], table["ivar"][inside]
        flux.append(row[0])
        ivar.append(row[1])
    return 10 ** (index * 1e-4), _variance(np.array(flux), np.array(ivar), FAINT_SN)


def solve(wave: Floats, variance: Floats, arm: str, telescope: Telescope) -> tuple[Floats, Floats]:
    """Return throughput and the sky's excess over the continuum, 1e-17 erg/s/cm²/Å/arcsec²."""
    between = _between_lines(variance, arm)
    to_fibre = telescope.fibre_arcsec2 / telescope.acceptance
    sky = sky_continuum(wave) * to_fibre
    read = telescope.read_variance
    electrons = (sky + np.sqrt(sky**2 + 4 * between * read)) / (2 * between)
    excess = np.clip(variance - between, 0, None) * electrons / to_fibre
    return electrons / photons_per_flux(wave, telescope), excess


def measure_lines(
    wave: Floats, excess: Floats, variance: Floats, arm: str
) -> list[tuple[float, float]]:
    """Return centre and flux of each peak of the excess."""
    peaks, _ = find_peaks(variance / _between_lines(variance, arm), height=1.5)
    pixel = np.gradient(wave)
    found = []
    for k in peaks[(peaks > 0) & (peaks < len(wave) - 1)]:
        low, mid, high = excess[k - 1 : k + 2]
        shift = np.clip((low - high) / (2 * (low - 2 * mid + high)), -0.5, 0.5)
        centre = wave[k] + pixel[k] * shift
        sigma = SIGMA_PIXELS[arm] * pixel[k]
        if not any(a < centre < b for a, b in NOT_LINES):
            found.append((float(centre), float(mid * np.sqrt(2 * np.pi) * sigma)))
    return found


def anchors(wave: Floats, values: Floats, spacing_aa: float) -> Floats:
    """Return medians in windows of that spacing, so that no pixel's noise is kept."""
    edges = np.arange(wave[0], wave[-1] + spacing_aa, spacing_aa)
    bins = np.digitize(wave, edges)
    rows = [(wave[bins == b].mean(), np.median(values[bins == b])) for b in np.unique(bins)]
    return np.array([(wave[0], rows[0][1]), *rows, (wave[-1], rows[-1][1])])


def save(name: str, rows: Sequence[tuple[str | float, ...]]) -> None:
    """Replace the rows of a table; its columns and their descriptions stay."""
    path = OUT / f"{name}.ecsv"
    table = Table.read(path, format="ascii.ecsv")[:0]
    for *labels, wave_aa, value in rows:
        table.add_row([*labels, float(f"{wave_aa:.1f}"), float(f"{value:.5g}")])
    table.write(path, format="ascii.ecsv", overwrite=True)
    sys.stdout.write(f"{path.name}: {len(table)} rows\n")


def _between_lines(variance: Floats, arm: str) -> Floats:
    width, percent = FILTER[arm]
    return np.asarray(percentile_filter(variance, percent, size=width))


def _variance(flux: NDArray[np.floating], ivar: NDArray[np.floating], faint: float) -> Floats:
    usable = (ivar > 0).mean(axis=1) > USABLE_SHARE
    usable &= np.median(flux * np.sqrt(np.clip(ivar, 0, None)), axis=1) < faint
    good = np.where(ivar[usable] > 0, ivar[usable], np.nan).astype(np.float64)
    median = np.nanmedian(1 / good, axis=0)
    missing = np.isnan(median)
    median[missing] = np.interp(np.flatnonzero(missing), np.flatnonzero(~missing), median[~missing])
    return median


if __name__ == "__main__":
    main()
