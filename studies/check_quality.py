"""Count how well CORRUPTED separates broken spectra from odd ones.

    python studies/check_quality.py --data $DATA

Broken are simulated spectra whose third was spoilt; odd are simulated spectra of all kinds,
also very bright ones and with an arm missing, and real spectra (--data).
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from quasarloop.grid import LOG_GRID
from quasarloop.quality import prepare
from quasarloop.read import find_files, read_spectra
from quasarloop.simulate.faults import FaultRates
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.observing import ObservingOptions
from quasarloop.simulate.population import Population
from quasarloop.simulate.survey import SurveyOptions, simulate_survey
from quasarloop.spectra import Flag, RebinnedSpectra

_RATES = {
    "simulated, a third spoilt": FaultRates(corrupted_third=1, masked_arm=0, very_high_sn=0),
    "simulated, sound": FaultRates(corrupted_third=0, masked_arm=0.05),
    "simulated, sound and very bright": FaultRates(
        corrupted_third=0, masked_arm=0.1, very_high_sn=1
    ),
}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="spectra of each simulated kind")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--data", type=Path, help="folder of real spectra")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # files without a FIBERMAP are no news here
    print("| spectra | number | flagged CORRUPTED | largest excess of a sound fifth, σ |")
    print("|---|---:|---:|---:|")
    for name, rates in _RATES.items():
        with tempfile.TemporaryDirectory() as folder:
            _print(name, list(_simulated(Path(folder), rates, options.n, options.seed)))
    if options.data:
        _print("real, every set", list(_real(options.data)))
    return 0


def _print(name: str, parts: list[RebinnedSpectra]) -> None:
    flags = np.concatenate([part.flags for part in parts])
    broken = (flags & Flag.CORRUPTED) > 0
    usable = (flags & (Flag.CORRUPTED | Flag.NO_DATA)) == 0
    excess = np.concatenate([_excess_of_a_fifth(part) for part in parts])[usable]
    print(f"| {name} | {len(flags)} | {np.count_nonzero(broken)} | {excess.max():.1f} |")


def _excess_of_a_fifth(spectra: RebinnedSpectra) -> np.ndarray:
    """Distance from the median, in robust deviations, that a fifth of the bins exceeds."""
    result = np.zeros(len(spectra))
    for row, (flux, ivar) in enumerate(zip(spectra.flux, spectra.ivar, strict=True)):
        values = flux[ivar > 0]
        if len(values):
            away = np.abs(values - np.median(values))
            result[row] = np.quantile(away, 0.8) / (1.4826 * np.median(away))
    return result


def _simulated(folder: Path, rates: FaultRates, n: int, seed: int) -> Iterator[RebinnedSpectra]:
    sky = ModelSky(Population())
    plan = SurveyOptions(folder, seed=seed, source=sky, observing=ObservingOptions(faults=rates))
    simulate_survey(plan, n)
    for path in sorted(folder.rglob("coadd-*.fits*")):
        yield prepare(read_spectra(path), LOG_GRID)


def _real(data: Path) -> Iterator[RebinnedSpectra]:
    folders = [folder for folder in sorted(data.iterdir()) if (folder / "truth.csv").exists()]
    for path in [*find_files(folders), data / "quasarnp_fixture" / "test_coadd.fits"]:
        yield prepare(read_spectra(path), LOG_GRID)


if __name__ == "__main__":
    sys.exit(main())
