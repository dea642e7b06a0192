"""Judge weights files side by side, on a sky of redrock's templates and on real spectra.

    python studies/judge_weights.py sky --templates TEMPLATES --noise-from COADD \
        --weights W.h5 --weights W2.h5
    python studies/judge_weights.py false …          # as sky
    python studies/judge_weights.py surveys --weights W.h5
    python studies/judge_weights.py real --data $DATA --weights W2.h5 --folds W/log-folds.h5

`sky` prints three tables of skies in memory: quasar targets and a sky flat in redshift, both of
templates with a real coadd's noise; quasars at z = 5 to 6.5 of both libraries. `false` lists what
is called a quasar wrongly on both, and counts at other thresholds. `surveys` is a sky flat in
redshift of the built-in library, as every survey sees it. `real` counts in each set of
real spectra, and gives the median error of redshifts; `--folds` gives the path of
`train_default_weights.py folds`, less the number: every spectrum is judged by the weights that its
object did not train.
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from label_saving_real import real_spectra
from quasarloop.classes import CONFIDENCE_THRESHOLD
from quasarloop.constants import SPEED_OF_LIGHT_KMS, nmad
from quasarloop.errors import TruthError
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.evaluate.metrics import (
    completeness_at_purity,
    error_kms,
    has_wrong_redshift,
    redshift_errors,
)
from quasarloop.evaluate.oscillation import oscillation_with_truth
from quasarloop.grid import WaveGrid
from quasarloop.network.config import NetworkConfig
from quasarloop.network.decode import decode
from quasarloop.network.joint import joint_redshifts
from quasarloop.network.labelled import TrainingData
from quasarloop.network.predict import Predictor
from quasarloop.network.rehearsal import SampleOptions, observed, training_mix
from quasarloop.network.weights import read_weights
from quasarloop.quality import prepare
from quasarloop.simulate.instrument import desi_instrument
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.noise import RealNoise, read_real_noise
from quasarloop.simulate.population import Distribution, Population
from quasarloop.truth import SpecType
from skies import FLAT_Z, observed_tiles
from train_default_weights import fold_of, fold_paths

# Fixed before any network was trained on this mix; no other tool uses them.
OBJECTS, SEEDS = 16_000, {"targets": 9301, "flat": 9302}
# Of `false`: thresholds, the share of others that may be called quasars, and the seed of the sky of
# targets on which the threshold that gives it is chosen; judged are the other two.
THRESHOLDS, WANTED, CHOICE_SEED = (0.95, 0.98, 0.99, 0.995, 0.998, 0.999), 0.002, 9303
FAR_Z, FAR_OBJECTS, FAR_SEED, FAR_SN = (5.0, 5.5, 6.0, 6.5), 256, 8110, 2.0
SURVEY_OBJECTS, SURVEY_SEED = 5000, 9310
FAR_HALF, FAR_R = 0.05, (20.0, 23.0)
# Beyond, C IV and C III] decide.
HIGH_Z = 1.5
# Of the median error of real quasars: edges in z, and redraws of the objects for its error.
BIAS_Z, REDRAWS = (0.0, 0.9, 2.1, 2.6, 5.0), 1000


class Sky(NamedTuple):
    """Spectra of known class, (n) rows."""

    flux: NDArray[np.float32]
    is_qso: NDArray[np.bool_]
    z: NDArray[np.float64]
    sn: NDArray[np.float32]
    kind: NDArray[np.str_]


class Found(NamedTuple):
    """What a network gives: (n,) highest confidence of an emission line, joint redshift, lines."""

    confidence: NDArray[np.floating]
    z: NDArray[np.float64]
    lines: NDArray[np.floating]


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("sky", "false", "surveys", "real"))
    parser.add_argument("--weights", type=Path, action="append", default=[])
    parser.add_argument("--templates", type=Path, help="folder of redrock's templates")
    parser.add_argument("--noise-from", type=Path, help="a DESI coadd")
    parser.add_argument("--data", type=Path, help="folder of real sets")
    parser.add_argument("--folds", type=Path, action="append", default=[])
    parser.add_argument("--objects", type=int, default=OBJECTS, help="of each sky")
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = {"sky": _skies, "false": _false, "surveys": _surveys, "real": _real}
    lines = every[options.what]
    print("\n".join(lines(options)))
    return 0


def _skies(options: argparse.Namespace) -> Iterator[str]:
    noise = read_real_noise(options.noise_from, desi_instrument())
    yield from _head("sky")
    populations = _populations()
    predictors = [(path.name, Predictor(read_weights(path))) for path in options.weights]
    for name, population in populations.items():
        source = ModelSky(population, options.templates)
        skies = _on_grids(source, options.objects, SEEDS[name], predictors, noise)
        for label, predictor in predictors:
            sky = skies[predictor.config.grid]
            yield f"| {name} | {label} | {_cells(sky, predictor)} |"
    yield "\n| library | z | weights | quasars S/N > 2 | found | of these right |"
    yield "|---|---:|---|---:|---:|---:|"
    for library, folder in (("built-in", None), ("templates", options.templates)):
        for k, z in enumerate(FAR_Z):
            source = ModelSky(_quasars_at(z), folder)
            skies = _on_grids(source, FAR_OBJECTS, FAR_SEED + k, predictors, noise)
            for label, predictor in predictors:
                cells = _far(skies[predictor.config.grid], predictor)
                yield f"| {library} | {z} | {label} | {cells} |"


def _head(first: str) -> Iterator[str]:
    purities = " | ".join(f"complete at {purity}" for purity in FIXED_PURITIES)
    yield (
        f"| {first} | weights | complete, pure at {CONFIDENCE_THRESHOLD} | false | {purities} "
        "| Z_JOINT NMAD, bias (z > 1.5), km/s | largest half amplitude, km/s |"
    )
    yield "|---|---|---:|---:|" + "---:|" * (len(FIXED_PURITIES) + 2)


def _surveys(options: argparse.Namespace) -> Iterator[str]:
    """Yield a table of the parts of the mix that are flat in redshift, with fresh seeds."""
    yield from _head("survey")
    predictors = [(path.name, Predictor(read_weights(path))) for path in options.weights]
    flat = [sample for name, sample in training_mix().items() if name.startswith("flat")]
    for k, (_, population, instrument, light_dex) in enumerate(flat):
        for label, predictor in predictors:
            data = observed(
                population, instrument, SURVEY_OBJECTS, SURVEY_SEED + k, predictor.config.grid,
                SampleOptions(light_dex=light_dex),
            )  # fmt: skip
            sky = Sky(data.flux, data.is_qso, data.z, np.empty(0), np.empty(0, dtype=str))
            yield f"| {instrument} | {label} | {_cells(sky, predictor)} |"


def _populations() -> dict[str, Population]:
    flat = Population().quasars.model_copy(update={"redshift": FLAT_Z})
    return {"targets": Population(), "flat": Population().model_copy(update={"quasars": flat})}


def _false(options: argparse.Namespace) -> Iterator[str]:
    noise = read_real_noise(options.noise_from, desi_instrument())
    predictors = [(path.name, Predictor(read_weights(path))) for path in options.weights]
    populations, skies = _populations(), {}
    for name, seed in (("choice", CHOICE_SEED), *SEEDS.items()):
        source = ModelSky(populations.get(name, populations["targets"]), options.templates)
        seen = _on_grids(source, options.objects, seed, predictors, noise)
        for label, predictor in predictors:
            sky = seen[predictor.config.grid]
            skies[name, label] = sky, _found(predictor, sky.flux)
    yield "| sky | weights | threshold | complete | false |\n|---|---|---:|---:|---:|"
    for label, _ in predictors:
        sky, found = skies["choice", label]
        others = np.sort(found.confidence[~sky.is_qso])[::-1]
        chosen = others[int(WANTED * len(others))]  # so many are above it
        for name in SEEDS:
            sky, found = skies[name, label]
            for limit in (*THRESHOLDS, chosen):
                called = found.confidence > limit
                text = f"{limit:.4f}, chosen" if limit == chosen else f"{limit}"
                false = (called & ~sky.is_qso).sum() / (~sky.is_qso).sum()
                complete = (called & sky.is_qso).sum() / sky.is_qso.sum()
                yield f"| {name} | {label} | {text} | {complete:.3f} | {false:.2%} |"
    yield "\n| weights | sky | kind | z | S/N | confidence | at z |"
    yield "|---|---|---|---:|---:|---:|---:|"
    for (name, label), (sky, found) in skies.items():
        bad = np.flatnonzero(~sky.is_qso & (found.confidence > CONFIDENCE_THRESHOLD))
        for i in bad[np.argsort(sky.kind[bad], kind="stable")] if name in SEEDS else ():
            yield (
                f"| {label} | {name} | {sky.kind[i]} | {sky.z[i]:.2f} | {sky.sn[i]:.1f} "
                f"| {found.confidence[i]:.4f} | {found.z[i]:.3f} |"
            )


def _on_grids(
    source: ModelSky,
    n: int,
    seed: int,
    predictors: list[tuple[str, Predictor]],
    noise: RealNoise,
) -> dict[WaveGrid, Sky]:
    grids = {predictor.config.grid for _, predictor in predictors}
    tiles = list(observed_tiles(source, n, seed, noise=noise))
    truth = [
        np.concatenate([getattr(seen.light, name) for _, seen in tiles])
        for name in ("spectype", "z")
    ]
    kind = np.concatenate([seen.light.hidden["SUBTYPE"] for _, seen in tiles]).astype(str)
    sn = np.nanmedian(np.concatenate([seen.sn for _, seen in tiles]), axis=1)
    return {
        grid: Sky(
            np.concatenate([prepare(spectra, grid).flux for spectra, _ in tiles]),
            truth[0] == SpecType.QSO, truth[1], sn, kind,
        )
        for grid in grids
    }  # fmt: skip


def _quasars_at(z: float) -> Population:
    usual = Population()
    quasars = usual.quasars.model_copy(
        update={
            "redshift": Distribution(knots=(z - FAR_HALF, z + FAR_HALF)),
            "r_mag": Distribution(knots=FAR_R),
        }
    )
    others = {name: getattr(usual, name).model_copy(update={"weight": 0.0})
              for name in ("galaxies", "stars")}  # fmt: skip
    return usual.model_copy(update={"quasars": quasars, **others})


def _found(predictor: Predictor, flux: NDArray[np.float32]) -> Found:
    config = predictor.config
    outputs = predictor.predict(flux, redshifts=True)
    finds = decode(outputs, config)
    lines = finds.confidence[:, list(config.emission_index)]
    return Found(lines.max(axis=1), joint_redshifts(outputs, config).z, lines)


def _cells(sky: Sky, predictor: Predictor) -> str:
    found = _found(predictor, sky.flux)
    called = found.confidence > CONFIDENCE_THRESHOLD
    both, false = called & sky.is_qso, called & ~sky.is_qso
    error = (found.z - sky.z)[both] / (1 + sky.z[both]) * SPEED_OF_LIGHT_KMS
    at = [completeness_at_purity(found.confidence, sky.is_qso, p) for p in FIXED_PURITIES]
    waves = max(_amplitudes(sky, found, predictor.config), default=np.nan)
    return " | ".join(
        (
            f"{both.sum() / sky.is_qso.sum():.3f}, {both.sum() / called.sum():.4f}",
            f"{false.sum()}/{(~sky.is_qso).sum()}",
            *(f"{value:.3f}" for value in at),
            f"{nmad(error):.0f}, {np.median(error[sky.z[both] > HIGH_Z]):+.0f}",
            f"{waves:.0f}",
        )
    )


def _amplitudes(sky: Sky, found: Found, config: NetworkConfig) -> Iterator[float]:
    for column, i in enumerate(config.emission_index):
        rows = sky.is_qso & (found.lines[:, column] > CONFIDENCE_THRESHOLD)
        rows &= np.isfinite(found.z)
        try:
            one = oscillation_with_truth(
                found.z[rows], sky.z[rows], config.lines[i], config.grid, config.n_boxes
            )
        except TruthError:  # too few show the line
            continue
        yield one.half_amplitude_kms


def _far(sky: Sky, predictor: Predictor) -> str:
    bright = sky.sn > FAR_SN
    found = _found(predictor, sky.flux[bright])
    called = found.confidence > CONFIDENCE_THRESHOLD
    right = called & ~has_wrong_redshift(found.z, sky.z[bright])
    return f"{bright.sum()} | {called.sum()} | {right.sum()}/{called.sum()}"


def _real(options: argparse.Namespace) -> Iterator[str]:
    yield "| set | weights | spectra | quasars | found | false | redshift right | NMAD |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    rows: dict[str, list[str]] = {}
    totals, bias = [], []
    every = [(path, [path]) for path in options.weights]
    every += [(one, fold_paths(one)) for one in options.folds]
    for path, files in every:
        predictors = [Predictor(read_weights(file)) for file in files]
        data, group, sets = real_spectra(options.data, predictors[0].config.grid)
        names, fold = np.array(sets), fold_of(group) % len(files)
        confidence, z = np.zeros(len(data)), np.zeros(len(data))
        for k, predictor in enumerate(predictors):
            found = _found(predictor, data.flux[fold == k])
            confidence[fold == k], z[fold == k] = found.confidence, found.z
        for name in dict.fromkeys(sets):
            cells = _of_set(data, names == name, confidence, z)
            rows.setdefault(name, []).append(f"| {name} | {path.name} | {cells} |")
        bias.append(f"| {path.name} | {' | '.join(_bias(data, group, confidence, z))} |")
        counts = [
            _with_one_false(confidence[some], data.is_qso[some])
            for some in (names != "lamost_dr1_stars", np.ones(len(names), dtype=bool))
        ]
        totals.append(f"- {path.name}: {counts[0]} and {counts[1]} of {data.is_qso.sum()}")
    for lines in rows.values():
        yield from lines
    yield "\nFound with one false quasar allowed, without LAMOST's stars and with them:\n"
    yield from totals
    ranges = " | ".join(f"{low} to {high}" for low, high in pairwise(BIAS_Z))
    yield f"\n| median error of the joint redshift, km/s, at z | {ranges} |"
    yield "|---|" + "---:|" * (len(BIAS_Z) - 1)
    yield from bias


def _bias(
    data: TrainingData,
    group: NDArray[np.int64],
    confidence: NDArray[np.floating],
    z: NDArray[np.float64],
) -> Iterator[str]:
    """Yield the median error of quasars called, each object once, by redshift; half of the 68 %."""
    rng = np.random.default_rng(0)
    called = data.is_qso & (confidence > CONFIDENCE_THRESHOLD)
    error = error_kms(z, data.z)
    called &= ~has_wrong_redshift(z, data.z)
    for low, high in pairwise(BIAS_Z):
        rows = np.flatnonzero(called & (data.z >= low) & (data.z < high))
        objects = np.unique(group[rows])
        one = np.array([np.median(error[rows[group[rows] == each]]) for each in objects])
        medians = np.median(rng.choice(one, (REDRAWS, len(one))), axis=1)
        spread = np.diff(np.quantile(medians, (0.16, 0.84)))[0] / 2
        yield f"{np.median(one):+.0f} ± {spread:.0f} ({len(one)})"


def _of_set(
    data: TrainingData, rows: NDArray[np.bool_], confidence: NDArray[np.floating],
    z: NDArray[np.float64],
) -> str:  # fmt: skip
    called = rows & (confidence > CONFIDENCE_THRESHOLD)
    quasar = rows & data.is_qso
    both = called & quasar
    errors = redshift_errors(z[both], data.z[both])
    scatter = f"{errors.nmad:.5f}" if errors.n else "–"
    return (
        f"{rows.sum()} | {quasar.sum()} | {both.sum()}/{quasar.sum()} "
        f"| {(called & ~quasar).sum()}/{(rows & ~quasar).sum()} "
        f"| {errors.right.part}/{errors.right.whole} | {scatter}"
    )


def _with_one_false(confidence: NDArray[np.floating], is_qso: NDArray[np.bool_]) -> int:
    second = np.sort(confidence[~is_qso])[-2]
    return int((confidence[is_qso] > second).sum())


if __name__ == "__main__":
    sys.exit(main())
