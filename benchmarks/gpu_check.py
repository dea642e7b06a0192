"""Is a GPU right, and how near its limits: ``python -m benchmarks.gpu_check --out gpu``.

Spectra are simulated on the spot, networks trained on the device. Answers are compared with the
CPU's: confidences to 1e-4; classes and vote entropies exactly, but for spectra next to a
threshold, which are counted. Rates stand beside a roofline: what a large matrix product reaches on
the same device in the same run, divided by a spectrum's operations (three times as many in
training), or what copying spectra there allows, if that is less. Exit status 1: answers differ.
What a GPU might do otherwise (`gpu_choices`) is measured beside it, and changes no exit status.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_answers import Answers, compared, decided, seconds_of
from benchmarks.gpu_choices import fewer_bits, rates_of_processes, stacked_rates
from quasarloop.artefacts import check_folder, versions, write_manifest
from quasarloop.ensemble.heads import Heads, LabelledFeatures, fit_heads
from quasarloop.ensemble.options import EnsembleOptions
from quasarloop.ensemble.vote import apply_heads
from quasarloop.ensemble.votes import VoteRule
from quasarloop.network.config import preset
from quasarloop.network.decode import classify_finds, decode
from quasarloop.network.features import compute_features
from quasarloop.network.labelled import TrainingData
from quasarloop.network.model import LineFinder
from quasarloop.network.options import DEVICES, Device, TrainingOptions
from quasarloop.network.predict import Predictor, finds_together
from quasarloop.network.rehearsal import mixed_skies
from quasarloop.network.training import train
from quasarloop.network.weights import (
    Weights,
    default_weights_path,
    from_module,
    read_weights,
    to_module,
)

_TRAINING_WORK: Final = 3  # forward, and backward to weights and to layers below
# The measurement of processes ends so long after the start: the whole is to take 7 minutes.
_MOST_S: Final = 270.0


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        spectra, members, heads, filters, epochs: of the answers and trainings.
        repeats: times the spectra are repeated for rates.
        matrix: rows of the products of the roofline.
        few: spectra that stacked members predict.
        shards: of a store, with all spectra each, that processes vote on.
        processes: numbers of them.
    """

    spectra: int
    members: int
    heads: int
    filters: int
    epochs: int
    repeats: int
    matrix: int
    few: int
    shards: int
    processes: tuple[int, ...]


FULL: Final = Size(
    spectra=4096,
    members=8,
    heads=200,
    filters=100,
    epochs=5,
    repeats=8,
    matrix=8192,
    few=512,
    shards=16,
    processes=(1, 2, 4),
)
TINY: Final = Size(
    spectra=64,
    members=2,
    heads=4,
    filters=8,
    epochs=1,
    repeats=1,
    matrix=256,
    few=8,
    shards=16,
    processes=(1, 2),
)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--device", choices=DEVICES, default="cuda")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes: does it run at all")
    given = parser.parse_args(words)
    folder = check_folder(given.out)
    content = check(given.device, TINY if given.tiny else FULL)
    write_manifest(folder / "gpu_check.json", {**content, "versions": versions()})
    text = as_markdown(content)
    (folder / "gpu_check.md").write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(row["agrees"] for row in content["answers"]) else 1


def check(device: Device, size: Size) -> dict[str, Any]:
    """Compare and measure; return the rows of all tables."""
    until = time.monotonic() + _MOST_S
    data = mixed_skies(size.spectra, seed=1)
    shipped = read_weights(default_weights_path())
    limits = _limits(device, size, data.flux)
    members, training = _trainings(device, size, data, limits)
    heads = _heads(shipped, data, size.heads)
    both: list[dict[str, Answers]] = [
        {name: _networks([shipped], name, data.flux) for name in ("cpu", device)},
        {name: _networks(members, name, data.flux) for name in ("cpu", device)},
        {name: _with_heads(shipped, heads, name, data.flux) for name in ("cpu", device)},
    ]
    names = ("classes, shipped network", f"votes, {size.members} networks", f"{size.heads} heads")
    rules = VoteRule(decision=shipped.thresholds), VoteRule(), VoteRule(decision=shipped.thresholds)
    there = [[Predictor(one, device) for one in networks] for networks in ([shipped], members)]
    predictions = _predictions(device, size, data.flux, [shipped, *members], heads, limits)
    few = stacked_rates(there[1], data.flux[: size.few])
    return {
        "device": _card(device),
        "spectra": len(data),
        "limits": limits,
        "answers": [
            compared(name, found["cpu"], found[device], rule)
            for name, found, rule in zip(names, both, rules, strict=True)
        ],
        "fewer_bits": [
            row
            for name, networks, rule in zip(names[:2], there, rules[:2], strict=True)
            for row in fewer_bits(name, networks, data.flux, rule)
        ],
        "rates": [
            *predictions,
            *(_rate(name, per_s, limits, _operations(members[0])) for name, per_s in few),
            *training,
            *_by_processes(device, size, data, limits, until),
        ],
    }


def _networks(networks: Sequence[Weights], device: str, flux: NDArray[np.float32]) -> Answers:
    return _decided([Predictor(one, device) for one in networks], flux)


def _decided(predictors: Sequence[Predictor], flux: NDArray[np.float32]) -> Answers:
    """Predict with every network, as whole networks vote: spectra are on the device once."""
    there = predictors[0].upload(flux)
    return decided(predictors, list(finds_together(predictors, there)))


def _with_heads(weights: Weights, heads: Heads, device: str, flux: NDArray[np.float32]) -> Answers:
    features = compute_features(Predictor(weights, device), flux)
    rule = VoteRule(decision=weights.thresholds)
    finds = apply_heads(features, heads, weights.config, rule)
    return Answers(finds.confidence, finds.z_best)


def _heads(weights: Weights, data: TrainingData, n: int) -> Heads:
    """Fit heads on the CPU, so that both devices have the same ones."""
    features = compute_features(Predictor(weights, "cpu"), data.flux)
    labelled = LabelledFeatures(features, data.is_qso, data.object_id)
    n_lines = weights.thresholds.n_lines
    return fit_heads(labelled, weights.config, n_heads=n, seed=1, n_lines=n_lines)


def _trainings(
    device: Device, size: Size, data: TrainingData, limits: dict[str, float]
) -> tuple[list[Weights], list[dict[str, Any]]]:
    """Train the members in float32 on the device, and one more as it does by default."""
    network = preset("green2025", n_filters=size.filters)
    members: list[Weights] = []

    def one(precision: str) -> Callable[[], None]:
        options = TrainingOptions(epochs=size.epochs, device=device, precision=precision)  # type: ignore[arg-type]  # a Literal
        return lambda: members.append(train(data, network, options, seed=len(members)).weights)

    seconds = [seconds_of(one("float32")) for _ in range(size.members)]
    automatic = [seconds_of(one("auto")) for _ in range(min(2, size.members))]
    work = _TRAINING_WORK * _operations(members[0])
    n = len(data) * size.epochs
    rows = [
        _rate("training, float32, spectra x epochs", n / min(seconds), limits, work),
        # bfloat16 where the device has it: the limit is still that of float32.
        _rate("training, precision auto, spectra x epochs", n / min(automatic), limits, work),
    ]
    return members[: size.members], rows


def _predictions(
    device: str,
    size: Size,
    flux: NDArray[np.float32],
    networks: Sequence[Weights],
    heads: Heads,
    limits: dict[str, float],
) -> list[dict[str, Any]]:
    """Measure rates of many spectra, those there are several times; the first has the heads."""
    shipped, *members = networks
    many = np.tile(flux, (size.repeats, 1))
    one, several = Predictor(shipped, device), [Predictor(w, device) for w in members]
    features = compute_features(one, many)
    rule = VoteRule(decision=shipped.thresholds)

    def classify() -> None:
        finds = decode(one.predict(many, redshifts=True), one.config)
        classify_finds(finds, one.config, one.thresholds)

    works: list[tuple[str, Callable[[], object], int, Weights | None]] = [
        ("classify", classify, 1, shipped),
        ("network alone", lambda: list(one.logits(many, redshifts=True)), 1, shipped),
        ("features of heads", lambda: compute_features(one, many), 1, shipped),
        (
            f"vote of {len(heads)} heads (CPU), spectra x heads",
            lambda: apply_heads(features, heads, shipped.config, rule),
            len(heads),
            None,
        ),
        (
            f"vote of {len(members)} networks, spectra x networks",
            lambda: _decided(several, many),
            len(members),
            members[0],
        ),
    ]
    rows = []
    for name, work, times, weights in works:
        work()
        per_s = len(many) * times / min(seconds_of(work) for _ in range(3))
        rows.append(_rate(name, per_s, limits, _operations(weights) if weights else None))
    return rows


def _by_processes(
    device: Device, size: Size, data: TrainingData, limits: dict[str, float], until: float
) -> list[dict[str, Any]]:
    """Measure processes that share the device."""
    network = preset("green2025", n_filters=size.filters)
    training = TrainingOptions(epochs=size.epochs, device=device)
    options = EnsembleOptions(size.members, seed=1, network=network, training=training)
    rates = rates_of_processes(
        device, data, options, n_shards=size.shards, processes=size.processes, until=until
    )
    work = _operations(from_module(LineFinder(network)))
    times = {"vote": 1, "training": _TRAINING_WORK}
    return [_rate(name, per_s, limits, times[kind] * work) for kind, name, per_s in rates]


def _rate(
    name: str, per_s: float, limits: dict[str, float], operations: float | None
) -> dict[str, Any]:
    """Return a row: a rate, the roofline, and their ratio."""
    roof = None
    if operations:
        roof = min(limits["operations_per_s"] / operations, limits["copied_spectra_per_s"])
    return {"name": name, "per_s": per_s, "roofline_per_s": roof}


def _limits(device: str, size: Size, flux: NDArray[np.float32]) -> dict[str, float]:
    """Measure a float32 matrix product, and copies of spectra to the device."""
    a = torch.ones((size.matrix, size.matrix), device=device)
    host = torch.from_numpy(np.tile(flux, (size.repeats, 1)))

    def product() -> None:
        (a @ a)[0, 0].item()  # waits for the device

    def copy() -> None:
        host.to(device, copy=True)[-1, -1].item()

    product(), copy()
    product_s, copy_s = (min(seconds_of(work) for _ in range(5)) for work in (product, copy))
    return {
        "operations_per_s": 2 * size.matrix**3 / product_s,
        "copied_spectra_per_s": len(host) / copy_s,
    }


def _operations(weights: Weights) -> float:
    """Return the products and additions of one spectrum, as torch counts them."""
    model = to_module(weights).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros((1, weights.config.grid.n_bins)))
    return float(counter.get_total_flops())


def _card(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device


def as_markdown(content: dict[str, Any]) -> str:
    """Return all tables."""
    lines = [
        f"{content['device']}, {content['spectra']:,} spectra; a float32 product reaches "
        f"{content['limits']['operations_per_s'] / 1e12:.2f} TFLOP/s.",
        "",
        "| against the CPU | largest difference of a confidence | spectra that differ | "
        "next to a threshold | unexplained |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['name']} | {row['largest_difference']:.1e} | {row['differ']} | "
        f"{row['next_to_a_threshold']} | {row['unexplained']} |"
        for row in content["answers"]
    ]
    lines += [
        "",
        "| in fewer bits, against float32 | largest difference of a confidence | spectra that "
        "differ | next to a threshold | unexplained | per s | float32, per s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['name']} | {row['largest_difference']:.1e} | {row['differ']} | "
        f"{row['next_to_a_threshold']} | {row['unexplained']} | "
        + (
            f"{row['per_s']:,.0f} | {row['float32_per_s']:,.0f} |"
            if row["per_s"]
            else "by rounding | – |"
        )
        for row in content["fewer_bits"]
    ]
    lines += ["", "| rate | per s | roofline, per s | share |", "|---|---:|---:|---:|"]
    for row in content["rates"]:
        roof = row["roofline_per_s"]
        known = f"{roof:,.0f} | {row['per_s'] / roof:.2f}" if roof else "– | –"
        lines.append(f"| {row['name']} | {row['per_s']:,.0f} | {known} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
