"""Count how well quality flags separate broken spectra from odd ones.

    python studies/check_quality.py --data $DATA

Three tables: `CORRUPTED` of simulated spectra whose third was spoilt, of odd ones (all kinds, also
very bright, or with an arm missing) and of real ones; what mending outliers changes in real
spectra; and real BOSS spectra with absurd pixels.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from quasarloop.catalogue.classify import ClassifyOptions, classify_spectra
from quasarloop.columns import Block
from quasarloop.grid import LOG_GRID
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import default_weights_path, read_weights
from quasarloop.outliers import noise_ratios, sharp_rises
from quasarloop.quality import prepare
from quasarloop.read import find_files, read_spectra
from quasarloop.simulate.faults import FaultRates
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.observing import ObservingOptions
from quasarloop.simulate.population import Population
from quasarloop.simulate.survey import SurveyOptions, simulate_survey
from quasarloop.spectra import Arm, Flag, RebinnedSpectra, Spectra, concatenate
from skies import REAL_SETS

_SOUND: Final = FaultRates(corrupted_third=0, cosmic_rays=0, masked_arm=0.05)
_RATES: Final = {
    "simulated, a third spoilt": FaultRates(corrupted_third=1, masked_arm=0, very_high_sn=0),
    "simulated, sound": _SOUND,
    "simulated, sound and very bright": _SOUND.model_copy(update={"very_high_sn": 1.0}),
    "simulated, with cosmic rays": _SOUND.model_copy(update={"cosmic_rays": 1.0}),
}
_BOSS_STEP: Final = 6  # every sixth spectrum of plate 7102
_AMPLITUDES: Final = (
    *(1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e8),
    *(1e10, 1e12, 1e15, 1e20, 1e25, 1e30),
)
_DAMAGES: Final = (
    *("one pixel", "ten pixels", "a third", "a third, filled", "an arm"),
    "ivar of one pixel",
)
# Three places each: parts of all pixels, or Å.
_PIXELS: Final = (0.2, 0.5, 0.8)
_THIRDS: Final = ((3600, 5675), (5675, 7750), (7750, 9824))
_ARMS: Final = ((3600, 5780), (5780, 7570), (7570, 9824))


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="spectra of each simulated kind")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--data", type=Path, required=True, help="folder of real spectra")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # files without a FIBERMAP are no news here
    sets = {name: find_files([options.data / name]) for name in REAL_SETS}
    sets["test coadd of QuasarNP"] = [options.data / "quasarnp_fixture" / "test_coadd.fits"]
    predictor = Predictor(read_weights(default_weights_path()), device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        simulated = {
            name: _simulate(Path(folder) / f"{number}", rates, options.n, options.seed)
            for number, (name, rates) in enumerate(_RATES.items())
        }
        print("| spectra | number | flagged CORRUPTED | largest excess of a sound fifth, σ |")
        print("|---|---:|---:|---:|")
        every = [path for files in sets.values() for path in files]
        for name, files in {**simulated, "real, every set": every}.items():
            _print_corrupted(name, [prepare(read_spectra(path), LOG_GRID) for path in files])
        del simulated["simulated, a third spoilt"]
        _print_mended(sets | simulated, predictor)
    _print_absurd(sets["boss_plate7102"][::_BOSS_STEP], predictor)
    return 0


def _print_corrupted(name: str, parts: list[RebinnedSpectra]) -> None:
    flags = np.concatenate([part.flags for part in parts])
    broken = (flags & Flag.CORRUPTED) > 0
    usable = (flags & (Flag.CORRUPTED | Flag.NO_DATA)) == 0
    excess = np.concatenate([_excess_of_a_fifth(part) for part in parts])[usable]
    print(f"| {name} | {len(flags)} | {np.count_nonzero(broken)} | {excess.max(initial=0):.1f} |")


def _excess_of_a_fifth(spectra: RebinnedSpectra) -> NDArray[np.float64]:
    """Distance from the median, in robust deviations, that a fifth of the bins exceeds."""
    result = np.zeros(len(spectra))
    for row, (flux, ivar) in enumerate(zip(spectra.flux, spectra.ivar, strict=True)):
        values = flux[ivar > 0]
        if len(values):
            away = np.abs(values - np.median(values))
            result[row] = np.quantile(away, 0.8) / (1.4826 * np.median(away))
    return result


def _simulate(folder: Path, rates: FaultRates, n: int, seed: int) -> list[Path]:
    sky = ModelSky(Population())
    plan = SurveyOptions(folder, seed=seed, source=sky, observing=ObservingOptions(faults=rates))
    simulate_survey(plan, n)
    return sorted(folder.rglob("coadd-*.fits*"))


def _print_mended(sets: Mapping[str, list[Path]], predictor: Predictor) -> None:
    """Print how far sound pixels are from outliers, and what mending changes."""
    print("\n| set | spectra | pixels with data | sharpest rise, σ "
          "| largest ivar over that of its surroundings | largest noise over that of ivar "
          "| mended spectra | largest change of a confidence |\n|---|" + "---:|" * 7)  # fmt: skip
    for name, files in sets.items():
        spectra = [read_spectra(path) for path in files]
        arms = [arm for part in spectra for arm in part.arms]
        rows = [row for arm in arms for row in zip(arm.flux, arm.ivar, strict=True)]
        found = [_extremes(flux, ivar) for flux, ivar in rows if np.any(ivar > 0)]
        n_pixels, rise, weight = np.array(found).T
        noise = max(float(np.nanmax(noise_ratios(arm), initial=0)) for arm in arms)
        mended, kept = (_classified(spectra, predictor, mend) for mend in (True, False))
        n_mended = np.count_nonzero(mended["FLAGS"] & Flag.OUTLIER_PIXELS)
        change = np.nanmax(_change(mended, kept))
        cells = (len(mended["FLAGS"]), f"{n_pixels.sum():.0f}", f"{rise.max():.1f}")
        cells = (name, *cells, f"{weight.max():.1f}", f"{noise:.1f}", n_mended, f"{change:.3g}")
        print("| " + " | ".join(map(str, cells)) + " |")


def _extremes(flux: NDArray[np.float32], ivar: NDArray[np.float32]) -> tuple[int, float, float]:
    data = np.flatnonzero(ivar > 0)
    rises, *_ = sharp_rises(flux[data], ivar[data], data)
    return len(data), float(rises.max()), float((ivar[data] / median_filter(ivar[data], 51)).max())


def _print_absurd(files: list[Path], predictor: Predictor) -> None:
    """Print what becomes of spectra with absurd pixels; equal rows are joined."""
    spectra = [read_spectra(path) for path in files]
    sound = _classified(spectra, predictor)
    n, n_quasars = 3 * len(spectra), 3 * np.count_nonzero(sound["IS_QSO"])
    print(f"\n| damage | value | quasars lost without a flag, of {n_quasars} | lost though mended "
          f"| CORRUPTED, of {n} | OUTLIER_PIXELS, of {n} | largest change of a confidence: no flag "
          "| mended |\n|---|---|" + "---:|" * 6)  # fmt: skip
    for damage in _DAMAGES:
        lines: list[tuple[list[float], str]] = []
        for size in _AMPLITUDES:
            cells = _outcome(spectra, sound, damage, size, predictor)
            if lines and lines[-1][1] == cells:
                lines[-1][0].append(size)
            else:
                lines.append(([size], cells))
        for sizes, cells in lines:
            value = f"{sizes[0]:.0e}" + (f" to {sizes[-1]:.0e}" if len(sizes) > 1 else "")
            print(f"| {damage} | {value.replace('e+', 'e')} | {cells} |")


def _outcome(
    spectra: list[Spectra], sound: Block, damage: str, size: float, predictor: Predictor
) -> str:
    """Damage all spectra at three places each, and count."""
    counts = np.zeros(4, dtype=int)
    largest = np.zeros(2)
    for place in range(3):
        found = _classified([_damaged(one, damage, place, size) for one in spectra], predictor)
        broken, mended = (
            (found["FLAGS"] & flag) > 0 for flag in (Flag.CORRUPTED, Flag.OUTLIER_PIXELS)
        )
        mended &= ~broken
        rest = ~broken & ~mended
        lost = sound["IS_QSO"] & ~found["IS_QSO"]
        counts += [np.count_nonzero(rows) for rows in (lost & rest, lost & mended, broken, mended)]
        change = _change(found, sound)
        largest = np.maximum(largest, [np.max(change[r], initial=0) for r in (rest, mended)])
    return " | ".join([*map(str, counts), *(f"{value:.2f}" for value in largest)])


def _damaged(spectra: Spectra, damage: str, place: int, size: float) -> Spectra:
    (arm,) = spectra.arms
    wave, data = arm.wave_aa, np.flatnonzero(arm.ivar[0] > 0)
    first = int(_PIXELS[place] * len(data))
    low, high = (_ARMS if damage == "an arm" else _THIRDS)[place]
    where = {
        "one pixel": data[first : first + 1],
        "ivar of one pixel": data[first : first + 1],
        "ten pixels": data[first : first + 10],
    }.get(damage, np.flatnonzero((wave >= low) & (wave < high)))
    values = {"flux": arm.flux.copy(), "ivar": arm.ivar.copy()}
    rng = np.random.default_rng(place)
    scatter = 1 + (0 if "pixel" in damage or "fill" in damage else 0.2) * rng.normal(
        size=len(where)
    )
    values["ivar" if damage.startswith("ivar") else "flux"][:, where] = size * scatter
    return replace(spectra, arms=(Arm(arm.name, wave, values["flux"], values["ivar"]),))


def _classified(spectra: list[Spectra], predictor: Predictor, mend: bool = True) -> Block:
    grid = predictor.config.grid
    prepared = concatenate([prepare(one, grid, mend_outliers=mend) for one in spectra])
    return classify_spectra(prepared, predictor, ClassifyOptions(joint=False))


def _change(one: Block, other: Block) -> NDArray[np.float64]:
    """Return the largest change of any line's confidence, (n,)."""
    lines = [name for name in one if name.startswith("C_")]
    return np.max([np.abs(one[name] - other[name]) for name in lines], axis=0)


if __name__ == "__main__":
    sys.exit(main())
