"""One-line against joint redshifts: fit the calibration, print docs/measurements/redshifts.md.

    python studies/joint_table.py fit --weights $DATA/quasarnp_fixture/test_weights.h5
    python studies/joint_table.py table --weights W.h5 --weights W2.h5 --out FILE.md

Every sky is simulated in memory; `fit` and `table` never use the same seeds.
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from joint_figures import CONFUSED_KMS, Judged, draw
from joint_fit import Answer, as_code, fit_calibration
from quasarloop.classes import CONFIDENCE_THRESHOLD
from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.errors import QuasarloopError, TruthError
from quasarloop.evaluate.metrics import (
    RIGHT_WITHIN,
    error_kms,
    redshift_errors,
    share,
)
from quasarloop.evaluate.oscillation import oscillation_with_truth
from quasarloop.grid import WaveGrid
from quasarloop.network.config import NetworkConfig
from quasarloop.network.decode import classify_finds, decode
from quasarloop.network.joint import JointCalibration, joint_redshifts
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import read_weights
from skies import REAL_SETS, Sky, real_quasars, simulated_sky

FAINT_SN = (0.5, 2.0)
FIT_OBJECTS, TABLE_OBJECTS = 1000, 3000
FIT_SEEDS, TABLE_SEEDS = (101, 102), (201, 202)
SKIES = ("DESI-like n(z)", "flat n(z)")
# Sets without quasars, or with very few, have no scatter to speak of.
REAL = tuple(n for n in REAL_SETS if n not in ("sdss_misc", "lamost_dr1_stars", "desi_redrock"))
P_EDGES = (0.0, 0.003, 0.03, 0.1, 0.3, 0.5)
LEVELS = (68.27, 95.45)


class Way(NamedTuple):
    """How joint redshifts are read: with which calibration; from a redshift head, if any."""

    trust: JointCalibration
    head: bool


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("fit", "table"))
    parser.add_argument("--weights", type=Path, action="append", required=True)
    parser.add_argument("--data", type=Path, help="folder of real sets, judged too")
    parser.add_argument("--objects", type=int, help="per sky; default 1000 to fit, 3000 to judge")
    parser.add_argument("--own", action="store_true", help="table: fit each network's own first")
    parser.add_argument("--boxes", action="store_true", help="table: also without redshift head")
    parser.add_argument("--figures", type=Path, help="folder for figures of each network")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "fit":
        text = as_code(_fit(options.weights, options.objects or FIT_OBJECTS))
    else:
        text = "\n".join(_tables(options))
    sys.stdout.write(text + "\n")
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


def _fit(paths: list[Path], n_objects: int) -> JointCalibration:
    """Fit one network, or what suits several: a network's skies count as one answer."""
    answers = []
    for path in paths:
        predictor = Predictor(read_weights(path))
        skies = _skies(n_objects, FIT_SEEDS, predictor.config)
        flux, z, sn = (
            np.concatenate([getattr(sky, name) for sky in skies]) for name in ("flux", "z", "sn")
        )
        answers.append(Answer(predictor.predict(flux), z, sn))
    return fit_calibration(answers, predictor.config)


def _skies(n_objects: int, seeds: tuple[int, int], config: NetworkConfig) -> list[Sky]:
    return [
        simulated_sky(n_objects, seed, config.grid, flat=flat)
        for seed, flat in zip(seeds, (False, True), strict=True)
    ]


def _tables(options: argparse.Namespace) -> Iterator[str]:
    skies_of: dict[WaveGrid, list[Sky]] = {}
    simulated: list[Judged] = []
    real: list[Judged] = []
    for path in options.weights:
        predictor = Predictor(read_weights(path))
        grid = predictor.config.grid
        if grid not in skies_of:
            skies_of[grid] = _skies(options.objects or TABLE_OBJECTS, TABLE_SEEDS, predictor.config)
        for note, way in _ways(path, predictor, options).items():
            name = f"`{path.name}`" + (f", {note}" if note else "")
            found = [
                _judge(f"{sky_name} | {name}", sky, predictor, way)
                for sky_name, sky in zip(SKIES, skies_of[grid], strict=True)
            ]
            simulated += found
            if options.data:
                real += _real(options.data, name, predictor, way)
            if options.figures and not note:
                draw(found, options.figures, f"redshifts_{path.stem}")
    yield from _errors("sky", simulated)
    yield from _confusions(simulated)
    yield from _oscillations(simulated)
    yield from _uncertainties(simulated)
    yield from _second_peaks(simulated)
    yield from _errors("real set", real)


def _ways(path: Path, predictor: Predictor, options: argparse.Namespace) -> dict[str, Way]:
    ways = {"": Way(predictor.joint, head=True)}
    if options.boxes and predictor.config.redshift is not None:
        ways["boxes only"] = Way(predictor.joint, head=False)
    if options.own:
        ways["own calibration"] = Way(_fit([path], FIT_OBJECTS), head=False)
    return ways


def _real(folder: Path, name: str, predictor: Predictor, way: Way) -> list[Judged]:
    judged = []
    for kind in REAL:
        try:
            sky = real_quasars(folder / kind, predictor.config.grid)
        except QuasarloopError as exc:
            sys.stderr.write(f"{kind}: {exc}\n")
            continue
        judged.append(_judge(f"{kind} | {name}", sky, predictor, way))
    return judged


def _judge(label: str, sky: Sky, predictor: Predictor, way: Way) -> Judged:
    config = predictor.config
    outputs = predictor.predict(sky.flux, redshifts=way.head)
    finds = decode(outputs, config)
    classic = classify_finds(finds, config)
    joint = joint_redshifts(outputs, config, way.trust)
    return Judged(label, config, sky.z, sky.sn, classic.is_qso, classic.z_best, finds, joint)


def _errors(what: str, every: list[Judged]) -> Iterator[str]:
    yield (
        f"\n| {what} | weights | quasars called | right, one line | right, joint "
        "| NMAD one line, km/s | NMAD joint, km/s | median error joint, km/s |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for j in every:
        one, joint = (redshift_errors(z[j.called], j.z[j.called]) for z in (j.one, j.joint.z))
        yield (
            f"| {j.label} | {one.n} | {one.right.part}/{one.n} | {joint.right.part}/{one.n} "
            f"| {one.nmad * SPEED_OF_LIGHT_KMS:.0f} | {joint.nmad * SPEED_OF_LIGHT_KMS:.0f} "
            f"| {joint.bias * SPEED_OF_LIGHT_KMS:+.0f} |"
        )
    yield f"\nRight: within {RIGHT_WITHIN} (1 + z)."


def _confusions(every: list[Judged]) -> Iterator[str]:
    low, high = FAINT_SN
    yield "\n| sky | weights | quasars | wrong, one line | wrong, joint | ratio |"
    yield "|---|---|---|---:|---:|---:|"
    for j in every:
        faint = (j.sn > low) & (j.sn < high)
        for text, rows in (
            (f"all, S/N {low:g}–{high:g}", faint),
            (f"called, S/N {low:g}–{high:g}", faint & j.called),
        ):
            n = int(rows.sum())
            wrong = [
                int((np.abs(error_kms(z[rows], j.z[rows])) > CONFUSED_KMS).sum())
                for z in (j.one, j.joint.z)
            ]
            ratio = f"{wrong[0] / wrong[1]:.2f}" if wrong[1] else "–"
            yield f"| {j.label} | {text} | {share(wrong[0], n)} | {share(wrong[1], n)} | {ratio} |"
    yield f"\nWrong: by more than {CONFUSED_KMS:,.0f} km/s."


def _oscillations(every: list[Judged]) -> Iterator[str]:
    yield "\n| sky | weights | line | half amplitude one line, km/s | joint | noise, joint |"
    yield "|---|---|---|---:|---:|---:|"
    for j in every:
        for index in j.config.emission_index:
            line = j.config.lines[index]
            rows = j.finds.confidence[:, index] > CONFIDENCE_THRESHOLD
            try:
                one, joint = (
                    oscillation_with_truth(
                        z[rows], j.z[rows], line, j.config.grid, j.config.n_boxes
                    )
                    for z in (j.finds.z[:, index], j.joint.z)
                )
            except TruthError:  # too few have this line
                continue
            yield (
                f"| {j.label} | {line.column} ({joint.n}) "
                f"| {one.half_amplitude_kms:.0f} ± {one.error_kms:.0f} "
                f"| {joint.half_amplitude_kms:.0f} ± {joint.error_kms:.0f} "
                f"| {joint.noise_kms:.0f} |"
            )
    yield f"\nQuasars whose line has a confidence above {CONFIDENCE_THRESHOLD}, by its true place."


def _uncertainties(every: list[Judged]) -> Iterator[str]:
    yield (
        "\n| sky | weights | median σ, km/s | pull median | pull width | within 1 σ | within 2 σ "
        "| within k σ |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for j in every:
        sigma = (j.joint.z_err / (1 + j.joint.z))[j.called]
        pull = ((j.joint.z - j.z) / j.joint.z_err)[j.called]
        # Half of the central 68.27 %: what wings, counted on their own, do not move.
        ends = np.percentile(pull, [50 - LEVELS[0] / 2, 50, 50 + LEVELS[0] / 2])
        wide = 2.0 if j.config.redshift is None else j.config.redshift.wide
        within = [np.mean(np.abs(pull) < k) for k in (1, 2, wide)]
        yield (
            f"| {j.label} | {np.median(sigma) * SPEED_OF_LIGHT_KMS:.0f} | {ends[1]:+.2f} "
            f"| {(ends[2] - ends[0]) / 2:.2f} | {within[0]:.3f} | {within[1]:.3f} "
            f"| {within[2]:.3f} (k = {wide:.2f}) |"
        )
    yield (
        f"\nQuasars called. Wanted: width 1, and {LEVELS[0]} and {LEVELS[1]} %. k: what the "
        "weights state for the latter, 2 without a redshift head."
    )


def _second_peaks(every: list[Judged]) -> Iterator[str]:
    yield "\n| P_ALT | redshifts | mean P_ALT | Z_JOINT wrong, Z_ALT right | both wrong |"
    yield "|---|---:|---:|---:|---:|"
    z = np.concatenate([j.z for j in every])
    first, second, p_alt = (
        np.concatenate([getattr(j.joint, name) for j in every]) for name in ("z", "z_alt", "p_alt")
    )
    wrong = np.abs(error_kms(first, z)) > CONFUSED_KMS
    other = np.abs(error_kms(second, z)) <= CONFUSED_KMS
    for low, high in pairwise(P_EDGES):
        rows = (p_alt >= low) & (p_alt < high)
        yield (
            f"| {low:g} – {high:g} | {rows.sum()} | {p_alt[rows].mean():.4f} "
            f"| {(wrong & other)[rows].mean():.4f} | {(wrong & ~other)[rows].mean():.4f} |"
        )
    yield "\nAll quasars of both skies, called or not, and both weights."


if __name__ == "__main__":
    sys.exit(main())
