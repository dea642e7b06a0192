"""Ways to better redshifts: trained on the same simulated spectra, judged on the same skies.

    python studies/redshift_study.py train --out study classic head        # some runs, or all
    python studies/redshift_study.py table --out study --doc table.md

Runs that are in the folder are not repeated; a killed one goes on from its last epoch. The
skies are `studies/skies.py`'s, quasars only, with seeds that no other tool uses; completeness
and purity are of a third sky, stars and galaxies among its targets. Half of each sky calibrates
(temperature and error scale of a redshift head), all of it is judged but for pulls, which are
of the other half.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from quasarloop.artefacts import check_folder
from quasarloop.classes import CONFIDENCE_THRESHOLD
from quasarloop.constants import SPEED_OF_LIGHT_KMS, nmad
from quasarloop.errors import TruthError
from quasarloop.evaluate.compare import CONFUSION_KMS, confused_redshift
from quasarloop.evaluate.metrics import completeness_at_purity, error_kms
from quasarloop.evaluate.oscillation import oscillation_with_truth
from quasarloop.grid import LOG_GRID
from quasarloop.network import training
from quasarloop.network.augment import shift_flux
from quasarloop.network.calibration import fit_error_scale, fit_temperature
from quasarloop.network.config import NetworkConfig, preset
from quasarloop.network.decode import LineFinds, LineOutputs, classify_finds, decode
from quasarloop.network.joint import joint_redshifts
from quasarloop.network.labelled import TrainingData, joined_data
from quasarloop.network.loss import LossParts, line_finder_loss, shift_redshift
from quasarloop.network.options import TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.rehearsal import observed
from quasarloop.network.training import train
from quasarloop.network.weights import read_weights, write_weights
from quasarloop.simulate.population import Distribution, Population
from redshift_study_table import tables
from skies import Sky, simulated_sky

TRAIN_OBJECTS, SKY_OBJECTS, CLASS_OBJECTS = 4000, 6000, 3000
TRAIN_SEED, CLASS_SEED, SKY_SEEDS = 11, 91, (301, 302)
EPOCHS, RATE = 24, 3e-3
FAINT_SN, CONFUSED_KMS, PURITY = (0.5, 2.0), 15_000.0, 0.98
ONE_SIGMA = (15.865, 50.0, 84.135)
# What is moved and put back, bins of a box of 34: averages over where lines lie in their boxes.
SEEN, TINY_P = 0.5, 1e-12
BOX_SHIFTS = (-14, -7, 0, 7, 14)


Seeds = tuple[int, int]  # of the DESI-like sky and of the flat one


class Variant(NamedTuple):
    """One way: its network, and what differs from the usual training."""

    preset: str
    text: str
    head: dict[str, Any] = {}  # noqa: RUF012 -- never changed
    options: dict[str, Any] = {}  # noqa: RUF012
    weights: str = ""  # of another run, read in another way
    network: dict[str, Any] = {}  # noqa: RUF012
    seed: int = 1
    epochs: int = EPOCHS
    offset_weight: float = 1.0  # of the offsets' loss beside the boxes'
    members: tuple[str, ...] = ()  # runs whose answers are averaged
    moves: tuple[int, ...] = ()  # bins the spectrum is moved by, answers averaged


_OURS = "quasarloop2026"
VARIANTS = {
    "classic": Variant("green2025", "`green2025`"),
    "classic, moved": Variant(
        "green2025",
        "the same, lines averaged over moves within a box",
        weights="classic",
        moves=BOX_SHIFTS,
    ),
    "classic, shifts": Variant(
        "green2025", "`green2025`, shifts of ±40 bins", options={"shift_bins": 40}
    ),
    "head": Variant(_OURS, "`quasarloop2026`"),
    "head, one map": Variant(_OURS, "`quasarloop2026`, one map", head={"n_maps": 1}),
    "head, shifts 40": Variant(
        _OURS, "`quasarloop2026`, shifts of ±40 bins", options={"shift_bins": 40}
    ),
    "head, shifts 80": Variant(
        _OURS, "`quasarloop2026`, shifts of ±80 bins", options={"shift_bins": 80}
    ),
    "head, shifts 120": Variant(
        _OURS, "`quasarloop2026`, shifts of ±120 bins", options={"shift_bins": 120}
    ),
    "head, shifts 80, seed 2": Variant(
        _OURS, "`quasarloop2026`, ±80 bins, another seed", options={"shift_bins": 80}, seed=2
    ),
    "head, shifts 80, long": Variant(
        _OURS,
        "`quasarloop2026`, ±80 bins, twice as many epochs",
        options={"shift_bins": 80},
        epochs=48,
    ),
    "head, moved": Variant(
        _OURS, "`quasarloop2026`, p(z) averaged over moves", weights="head", moves=BOX_SHIFTS
    ),
    "head, shifts 80, moved": Variant(
        _OURS,
        "`quasarloop2026`, ±80 bins, p(z) averaged over moves",
        weights="head, shifts 80",
        moves=BOX_SHIFTS,
    ),
    "head, shifts 80, long, moved": Variant(
        _OURS,
        "`quasarloop2026`, ±80 bins, twice as many epochs, p(z) averaged over moves",
        weights="head, shifts 80, long",
        moves=BOX_SHIFTS,
    ),
    "head, members": Variant(
        _OURS,
        "`quasarloop2026`, p(z) of three averaged: ±40 and twice ±80 bins",
        members=("head, shifts 40", "head, shifts 80", "head, shifts 80, seed 2"),
    ),
    "classic, long": Variant("green2025", "`green2025`, twice as many epochs", epochs=48),
    "classic, offsets 10": Variant(
        "green2025", "`green2025`, offset loss 10 times as heavy", offset_weight=10.0
    ),
}


def main() -> int:
    """Train what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "table"))
    parser.add_argument("names", nargs="*", metavar="VARIANT")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--doc", type=Path)
    parser.add_argument(
        "--seeds", type=int, nargs=2, default=SKY_SEEDS, help="of the skies; others judge anew"
    )
    options = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    folder, seeds = check_folder(options.out), (options.seeds[0], options.seeds[1])
    names = options.names or list(VARIANTS)
    if options.what == "train":
        for name in names:
            print(f"{name}: {json.dumps(_run(name, folder, seeds))}", flush=True)
        return 0
    there = [name for name in names if _result(name, folder, seeds).exists()]
    text = tables({name: (VARIANTS[name].text, _run(name, folder, seeds)) for name in there})
    print(text)
    if options.doc:
        options.doc.write_text(text + "\n", encoding="utf-8")
    return 0


def _run(name: str, folder: Path, seeds: Seeds) -> dict[str, Any]:
    path = _result(name, folder, seeds)
    if not path.exists():
        variant = VARIANTS[name]
        read_again = variant.members or variant.weights
        if not read_again and not (folder / f"{_slug(name)}.h5").exists():
            _train(variant, folder, _slug(name))
        runs = variant.members or (variant.weights or name,)
        predictors = [Predictor(read_weights(folder / f"{_slug(run)}.h5")) for run in runs]
        found = _judge(predictors, variant.moves, seeds)
        path.write_text(json.dumps(found), encoding="utf-8")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _train(variant: Variant, folder: Path, slug: str) -> None:
    config = preset(variant.preset, **variant.network)
    if variant.head and config.redshift is not None:
        config = replace(config, redshift=replace(config.redshift, **variant.head))
    options = TrainingOptions(
        epochs=variant.epochs, learning_rate=RATE, schedule="cosine", precision="bfloat16",
        **variant.options,
    )  # fmt: skip
    data = _training_skies(TRAIN_OBJECTS, TRAIN_SEED)
    with _offsets_weighted(variant.offset_weight):
        result = train(data, config, options, seed=variant.seed, out_dir=folder / slug)
    write_weights(result.weights, folder / f"{slug}.h5")


def _training_skies(n: int, seed: int) -> TrainingData:
    """Simulate quasar targets as DESI sees them, and two fifths flat in redshift seen by BOSS."""
    usual, desi = Population(), n * 3 // 5
    changes = {"redshift": Distribution(knots=(0.03, 4.5)), "r_mag": Distribution(knots=(17, 22.5))}
    flat = usual.model_copy(update={"quasars": usual.quasars.model_copy(update=changes)})
    surveys = (usual, "desi", desi, seed), (flat, "sdss", n - desi, seed + 1)
    both = joined_data(*(observed(*survey) for survey in surveys))
    return replace(both, object_id=np.arange(n))


@contextmanager
def _offsets_weighted(weight: float) -> Iterator[None]:
    """Let the offsets' loss weigh more while a network trains: a trial, so no training option."""

    def heavier(*args: Any, **kwargs: Any) -> LossParts:
        parts = line_finder_loss(*args, **kwargs)
        return parts._replace(offset=weight * parts.offset)

    with patch.object(training, "line_finder_loss", heavier):
        yield


@lru_cache(maxsize=4)
def _sky(seed: int, flat: bool) -> Sky:
    return simulated_sky(SKY_OBJECTS, seed, LOG_GRID, flat=flat)


@lru_cache(maxsize=1)
def _targets() -> TrainingData:
    return observed(Population(), "desi", CLASS_OBJECTS, CLASS_SEED)


def _judge(predictors: list[Predictor], moves: tuple[int, ...], seeds: Seeds) -> dict[str, Any]:
    config, targets = predictors[0].config, _targets()
    quasar = targets.is_qso
    finds = decode(_answer(predictors, targets.flux, ()), config)
    best = finds.confidence[:, list(config.emission_index)].max(axis=1)
    called = best > CONFIDENCE_THRESHOLD
    found: dict[str, Any] = {
        "completeness": float((called & quasar).sum() / quasar.sum()),
        "purity": float((called & quasar).sum() / called.sum()),
        "completeness at purity": completeness_at_purity(best, quasar, PURITY),
    }
    for flat in (False, True):
        sky = _sky(seeds[flat], flat)
        outputs = _answer(predictors, sky.flux, moves)
        moved = None
        if moves and outputs.log_p is None:
            moved = _averaged(predictors[0], sky.flux, moves)
        found["flat" if flat else "desi"] = _redshifts(sky, outputs, config, moved)
    return found


def _answer(
    predictors: list[Predictor], flux: NDArray[np.float32], moves: tuple[int, ...]
) -> LineOutputs:
    """Average confidences and offsets over networks, and p(z) over them and over moves."""
    every = [one.predict(flux, redshifts=True) for one in predictors]
    confidence, offset = (
        np.mean([getattr(one, name) for one in every], axis=0) for name in ("confidence", "offset")
    )
    if every[0].log_p is None or (len(every) == 1 and not moves):
        return LineOutputs(confidence, offset, every[0].log_p)
    p = np.mean([_moved_p(one, flux, bins) for one in predictors for bins in moves or (0,)], axis=0)
    return LineOutputs(confidence, offset, np.log(p + TINY_P).astype(np.float32))


def _moved_p(predictor: Predictor, flux: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Return p(z) of spectra moved by bins, moved back: steps of both grids are the same."""
    moved = shift_flux(flux, np.full(len(flux), bins), np.zeros(len(flux), np.float32))
    log_p = predictor.predict(moved, redshifts=True).log_p
    assert log_p is not None  # for mypy: networks with a head only
    back = shift_flux(log_p, np.full(len(flux), -bins), log_p.min(axis=1))
    p = np.exp(back - back.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _redshifts(
    sky: Sky, outputs: LineOutputs, config: NetworkConfig, moved: LineFinds | None
) -> dict[str, Any]:
    finds = decode(outputs, config)
    classic = classify_finds(finds, config)
    half = np.arange(len(sky.z)) % 2 == 0
    joint = joint_redshifts(outputs, _calibrated(config, outputs, sky.z, half))
    called, z = classic.is_qso, joint.z
    if moved is not None:
        finds = moved
        z = classify_finds(finds, config).z_best
    faint = (sky.sn > FAINT_SN[0]) & (sky.sn < FAINT_SN[1])
    pull = ((joint.z - sky.z) / joint.z_err)[called & ~half]
    low, _, high = np.percentile(pull, ONE_SIGMA)
    found: dict[str, Any] = {
        "called": int(called.sum()), "faint": int(faint.sum()),
        "width": float(high - low) / 2,
        "within": [float(np.mean(np.abs(pull) < sigmas)) for sigmas in (1, 2)],
    }  # fmt: skip
    for label, values in (("one line", classic.z_best), ("joint", z)):
        error = (values - sky.z) / (1 + sky.z) * SPEED_OF_LIGHT_KMS
        wrong = (np.abs(error_kms(values, sky.z)) > CONFUSED_KMS) & faint
        found[label] = {
            "nmad": nmad(error[called]),
            "wrong": np.flatnonzero(wrong).tolist(),
            "confusions": _confusions(sky, values, wrong, config),
            "oscillation": list(_oscillations(sky, finds, config, values, label)),
        }
    # Of what is wrong, how many spectra show the network any line at all.
    rows = np.array(found["joint"]["wrong"], dtype=np.int64)
    best = finds.confidence[:, list(config.emission_index)].max(axis=1)
    found["blind"] = int((best[rows] < SEEN).sum())
    found["sure"] = int(called[rows].sum())
    return found


def _confusions(
    sky: Sky, values: NDArray[np.float64], wrong: NDArray[np.bool_], config: NetworkConfig
) -> dict[str, int]:
    """Count which line was taken for which; a redshift that two pairs explain counts for both."""
    lines = [config.lines[i] for i in config.emission_index]
    counted: dict[str, int] = {}
    explained = np.zeros(len(wrong), dtype=bool)
    for true, taken in permutations(lines, 2):
        rows = wrong & (
            np.abs(error_kms(values, confused_redshift(sky.z, true, taken))) < CONFUSION_KMS
        )
        # The true line must be on the grid, or it could not be taken for another.
        rows &= np.isfinite(config.grid.position_of(true.wave_rest_aa * (1 + sky.z)))
        explained |= rows
        if rows.any():
            counted[f"{true.name} as {taken.name}"] = int(rows.sum())
    counted["no two lines"] = int((wrong & ~explained).sum())
    return counted


def _oscillations(
    sky: Sky, finds: LineFinds, config: NetworkConfig, z: NDArray[np.float64], label: str
) -> Iterator[tuple[str, float, float]]:
    for i in config.emission_index:
        rows = finds.confidence[:, i] > CONFIDENCE_THRESHOLD
        values = finds.z[:, i] if label == "one line" else z
        try:
            one = oscillation_with_truth(
                values[rows], sky.z[rows], config.lines[i], config.grid, config.n_boxes
            )
        except TruthError:
            continue
        yield config.lines[i].column, one.half_amplitude_kms, one.noise_kms


def _calibrated(
    config: NetworkConfig, outputs: LineOutputs, z: NDArray[np.float64], rows: NDArray[np.bool_]
) -> NetworkConfig:
    if config.redshift is None or outputs.log_p is None:
        return config
    part, true = outputs[rows], z[rows]
    assert part.log_p is not None  # for mypy
    temperature = fit_temperature(part.log_p, true, config.redshift)
    head = replace(config.redshift, temperature=temperature, error_scale=1.0)
    found = joint_redshifts(part, replace(config, redshift=head))
    one, wide = fit_error_scale(found, true, config.grid)
    return replace(config, redshift=replace(head, error_scale=one, wide=wide))


def _averaged(predictor: Predictor, flux: NDArray[np.float32], moves: tuple[int, ...]) -> LineFinds:
    """Move spectra by parts of a box, predict, move back, take the median of each line."""
    config, n = predictor.config, len(flux)
    every = []
    for bins in moves:
        moved = shift_flux(flux, np.full(n, bins), np.zeros(n, np.float32))
        finds = decode(predictor.predict(moved), config)
        back = [shift_redshift(z, np.full(n, -bins), config.grid) for z in finds.z.T]
        every.append(LineFinds(finds.confidence, np.stack(back, axis=1)))
    confidence = np.mean([one.confidence for one in every], axis=0)
    return LineFinds(confidence, np.median([one.z for one in every], axis=0))


def _slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "_")


def _result(name: str, folder: Path, seeds: Seeds) -> Path:
    other = "" if seeds == SKY_SEEDS else f"_{seeds[0]}_{seeds[1]}"
    return folder / f"{_slug(name)}{other}.json"


if __name__ == "__main__":
    sys.exit(main())
