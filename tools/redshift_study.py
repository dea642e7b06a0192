"""Ways to better redshifts: trained on the same simulated spectra, judged on the same skies.

    python tools/redshift_study.py train --out study classic head        # some runs, or all
    python tools/redshift_study.py table --out study --doc table.md

Runs that stand in the folder are not repeated; a killed one goes on from its last epoch. The
skies are `tools/joint_sky.py`'s, quasars only, with seeds that no other tool uses; completeness
and purity are of a third sky, stars and galaxies among its targets. Half of each sky calibrates
(temperature and error scale of a redshift head), all of it is judged but for pulls, which are
of the other half.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from joint_sky import Sky, simulated_sky
from numpy.typing import NDArray
from train_default_weights import mixed_skies, observed

from quasarloop.artefacts import check_folder
from quasarloop.classes import CONFIDENCE_THRESHOLD
from quasarloop.errors import TruthError
from quasarloop.evaluate.metrics import completeness_at_purity
from quasarloop.evaluate.oscillation import oscillation_with_truth
from quasarloop.evaluate.velocity import LIGHT_SPEED_KMS, error_kms
from quasarloop.grid import LOG_GRID
from quasarloop.network.augment import shift_flux
from quasarloop.network.decode import LineFinds, LineOutputs, classify_finds, decode
from quasarloop.network.joint import joint_redshifts
from quasarloop.network.model import NetworkConfig
from quasarloop.network.options import TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.presets import preset
from quasarloop.network.redshift_calibration import fit_error_scale, fit_temperature
from quasarloop.network.targets import shift_redshift
from quasarloop.network.training import train
from quasarloop.network.weights import read_weights, write_weights
from quasarloop.robust import nmad
from quasarloop.simulate.population import Population
from quasarloop.truth import SpecType

TRAIN_OBJECTS, SKY_OBJECTS, CLASS_OBJECTS = 4000, 2000, 3000
TRAIN_SEED, CLASS_SEED, SKY_SEEDS = 11, 91, (301, 302)
EPOCHS, RATE = 24, 3e-3
FAINT_SN, CONFUSED_KMS, PURITY = (0.5, 2.0), 15_000.0, 0.98
ONE_SIGMA = (15.865, 50.0, 84.135)
# What is moved and put back, bins of a box of 34: averages over where lines lie in their boxes.
BOX_SHIFTS = (-14, -7, 0, 7, 14)


class Variant(NamedTuple):
    """One way: its network, and what differs from the usual training."""

    preset: str
    text: str
    head: dict[str, Any] = {}  # noqa: RUF012 -- never changed
    options: dict[str, Any] = {}  # noqa: RUF012
    weights: str = ""  # of another run, read in another way
    network: dict[str, Any] = {}  # noqa: RUF012


_OURS = "quasarloop2026"
VARIANTS = {
    "classic": Variant("green2025", "`green2025`"),
    "classic, moved": Variant(
        "green2025", "the same, lines averaged over moves within a box", weights="classic"
    ),
    "classic, shifts": Variant(
        "green2025", "`green2025`, shifts of ±40 bins", options={"shift_bins": 40}
    ),
    "head": Variant(_OURS, "`quasarloop2026`"),
    "head, no coarse": Variant(_OURS, "without the coarse part", head={"knot_steps": 903}),
    "head, one map": Variant(_OURS, "`quasarloop2026`, one map", head={"n_maps": 1}),
    "head, conv 1": Variant(_OURS, "reading the first three", head={"conv": 1, "n_maps": 3}),
    "head, conv 3": Variant(_OURS, "reading the third alone", head={"conv": 3, "n_maps": 1}),
    "head, weight 0.3": Variant(_OURS, "loss weight 0.3", head={"loss_weight": 0.3}),
    "head, weight 3": Variant(_OURS, "loss weight 3", head={"loss_weight": 3.0}),
    "head, 32": Variant(_OURS, "32 channels", head={"n_channels": 32}),
    "head, 128": Variant(_OURS, "128 channels", head={"n_channels": 128}),
    "head, shifts 40": Variant(
        _OURS, "`quasarloop2026`, shifts of ±40 bins", options={"shift_bins": 40}
    ),
    "head, shifts 10": Variant(_OURS, "shifts of ±10 bins", options={"shift_bins": 10}),
    "head, dropout 0.1": Variant(_OURS, "dropout 0.1", network={"dropout": 0.1}),
}


def main() -> int:
    """Train what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "table"))
    parser.add_argument("names", nargs="*", metavar="VARIANT")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--doc", type=Path)
    options = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    folder = check_folder(options.out)
    names = options.names or list(VARIANTS)
    if options.what == "train":
        for name in names:
            print(f"{name}: {json.dumps(_run(name, folder))}", flush=True)
        return 0
    text = "\n".join(_table([n for n in names if _result(n, folder).exists()], folder))
    print(text)
    if options.doc:
        options.doc.write_text(text + "\n", encoding="utf-8")
    return 0


def _run(name: str, folder: Path) -> dict[str, Any]:
    path = _result(name, folder)
    if not path.exists():
        variant = VARIANTS[name]
        if not variant.weights and not (folder / f"{_slug(name)}.h5").exists():
            _train(variant, folder, _slug(name))
        weights = read_weights(folder / f"{_slug(variant.weights or name)}.h5")
        found = _judge(Predictor(weights), moved=bool(variant.weights))
        path.write_text(json.dumps(found), encoding="utf-8")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _train(variant: Variant, folder: Path, slug: str) -> None:
    config = preset(variant.preset, **variant.network)
    if variant.head and config.redshift is not None:
        config = replace(config, redshift=replace(config.redshift, **variant.head))
    options = TrainingOptions(
        epochs=EPOCHS, learning_rate=RATE, schedule="cosine", precision="bfloat16",
        **variant.options,
    )  # fmt: skip
    data = mixed_skies(TRAIN_OBJECTS, TRAIN_SEED)
    result = train(data, config, options, seed=1, out_dir=folder / slug)
    write_weights(result.weights, folder / f"{slug}.h5")


@lru_cache(maxsize=4)
def _sky(flat: bool) -> Sky:
    return simulated_sky(SKY_OBJECTS, SKY_SEEDS[flat], LOG_GRID, flat=flat)


@lru_cache(maxsize=1)
def _targets() -> dict[str, NDArray[Any]]:
    return observed(Population(), "desi", CLASS_OBJECTS, CLASS_SEED)


def _judge(predictor: Predictor, *, moved: bool) -> dict[str, Any]:
    config, targets = predictor.config, _targets()
    quasar = targets["spectype"] == SpecType.QSO
    finds = decode(predictor.predict(targets["flux"]), config)
    best = finds.confidence[:, list(config.emission_index)].max(axis=1)
    called = best > CONFIDENCE_THRESHOLD
    found: dict[str, Any] = {
        "completeness": float((called & quasar).sum() / quasar.sum()),
        "purity": float((called & quasar).sum() / called.sum()),
        "completeness at purity": completeness_at_purity(best, quasar, PURITY),
    }
    for flat in (False, True):
        sky = _sky(flat)
        outputs = predictor.predict(sky.flux, redshifts=True)
        found["flat" if flat else "desi"] = _redshifts(sky, outputs, predictor, moved=moved)
    return found


def _redshifts(
    sky: Sky, outputs: LineOutputs, predictor: Predictor, *, moved: bool
) -> dict[str, Any]:
    config = predictor.config
    finds = decode(outputs, config)
    classic = classify_finds(finds, config)
    half = np.arange(len(sky.z)) % 2 == 0
    joint = joint_redshifts(outputs, _calibrated(config, outputs, sky.z, half))
    called, z = classic.is_qso, joint.z
    if moved:
        finds = _averaged(predictor, sky.flux)
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
        error = (values - sky.z) / (1 + sky.z) * LIGHT_SPEED_KMS
        wrong = np.abs(error_kms(values, sky.z)) > CONFUSED_KMS
        found[label] = {
            "nmad": nmad(error[called]),
            "wrong": int((wrong & faint).sum()),
            "wrong, called": int((wrong & called).sum()),
            "oscillation": list(_oscillations(sky, finds, config, values, label)),
        }
    return found


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
    log_p, true = outputs.log_p[rows], z[rows]
    head = replace(config.redshift, temperature=fit_temperature(log_p, true, config.redshift))
    one, wide = fit_error_scale(log_p, true, head)
    return replace(config, redshift=replace(head, error_scale=one, wide=wide))


def _averaged(predictor: Predictor, flux: NDArray[np.float32]) -> LineFinds:
    """Move spectra by parts of a box, ask, move the answers back, take the median of each line."""
    config, n = predictor.config, len(flux)
    every = []
    for bins in BOX_SHIFTS:
        moved = shift_flux(flux, np.full(n, bins), np.zeros(n, np.float32))
        finds = decode(predictor.predict(moved), config)
        back = [shift_redshift(z, np.full(n, -bins), config.grid) for z in finds.z.T]
        every.append(LineFinds(finds.confidence, np.stack(back, axis=1)))
    confidence = np.mean([one.confidence for one in every], axis=0)
    return LineFinds(confidence, np.median([one.z for one in every], axis=0))


def _table(names: list[str], folder: Path) -> Iterator[str]:
    yield (
        "| network | completeness, purity at 0.95 | completeness at purity 0.98 "
        "| NMAD one line → joint, km/s | wrong at S/N 0.5–2 | half amplitude, km/s "
        "| pull width; within 1 σ, 2 σ |"
    )
    yield "|---|---|---:|---|---|---|---|"
    for name in names:
        found = _run(name, folder)
        skies = [found[key] for key in ("desi", "flat")]
        pairs = [
            (
                f"{s['one line']['nmad']:.0f} → {s['joint']['nmad']:.0f}",
                f"{s['one line']['wrong']} → {s['joint']['wrong']} of {s['faint']}",
                f"{_mean(s, 'one line'):.0f} → {_mean(s, 'joint'):.0f} ({_noise(s):.0f})",
                f"{s['width']:.2f}; {s['within'][0]:.3f}, {s['within'][1]:.3f}",
            )
            for s in skies
        ]
        cells = [" / ".join(both) for both in zip(*pairs, strict=True)]
        yield (
            f"| {VARIANTS[name].text} | {found['completeness']:.4f}, {found['purity']:.4f} "
            f"| {found['completeness at purity']:.4f} | " + " | ".join(cells) + " |"
        )
    yield (
        "\nDESI-like / flat n(z). NMAD and pulls: quasars called. Wrong: by more than 15,000 km/s, "
        "all quasars. Half amplitude: mean over Lyα, C IV, C III and Mg II; in brackets what "
        "noise alone gives."
    )


def _mean(sky: dict[str, Any], which: str) -> float:
    return float(np.mean([one[1] for one in sky[which]["oscillation"][:4]]))


def _noise(sky: dict[str, Any]) -> float:
    return float(np.mean([one[2] for one in sky["joint"]["oscillation"][:4]]))


def _slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "_")


def _result(name: str, folder: Path) -> Path:
    return folder / f"{_slug(name)}.json"


if __name__ == "__main__":
    sys.exit(main())
