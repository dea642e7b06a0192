"""Classifying: spectra per second through the network and decoding, and memory.

The reference is QuasarNP's own ``predict`` and ``process_preds`` where QUASARNP_DIR names a
checkout of desihub/QuasarNP, else the same arithmetic in numpy, below. Both sides get the
same spectra, the same weights and the same number of threads, in turn.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.plain_network import plain_predict
from quasarloop.network.config import PRESETS
from quasarloop.network.decode import classify_finds, decode
from quasarloop.network.model import LineFinder
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import Weights, from_module, write_weights

_TARGET = 4
_BLOCK_ROWS = 2048  # rows of a store that are in memory at once


def run(quick: bool) -> list[dict[str, Any]]:
    n_rows, repeats = (256, 3) if quick else (500, 7)  # 500: one DESI petal's coadd
    flux = np.random.default_rng(1).normal(size=(n_rows, 443)).astype(np.float32)
    rows = []
    for name in PRESETS:
        weights = _weights(name)
        reference, reference_name = _reference(weights)
        for threads in (1, 2):
            ours_per_s, theirs_per_s = _in_turn(
                lambda weights=weights: _classifier(weights, flux),
                lambda reference=reference: lambda: reference(flux),
                threads,
                repeats,
            )
            rows.append(
                {
                    "name": f"classify, {name}, {threads} thread{'s'[: threads - 1]}",
                    "ours_per_s": ours_per_s * n_rows,
                    "reference_per_s": theirs_per_s * n_rows,
                    "ratio": ours_per_s / theirs_per_s,
                    # Two threads wait for each other where others use the cores: not judged.
                    "target": _TARGET if threads == 1 else None,
                    "reference": reference_name,
                }
            )
    return [*rows, _against_plain_torch(flux, repeats), _memory(quick)]


def _classifier(weights: Weights, flux: np.ndarray) -> Callable[[], object]:
    predictor = Predictor(weights)
    config = weights.config
    return lambda: classify_finds(decode(predictor.predict(flux), config), config)


def _against_plain_torch(flux: np.ndarray, repeats: int) -> dict[str, Any]:
    weights = _weights("green2025")
    fast, plain = _in_turn(
        lambda: lambda: Predictor(weights).predict(flux),
        lambda: lambda: plain_predict(weights, flux),
        1,
        repeats,
    )
    return {
        "name": "network alone, green2025, 1 thread",
        "ours_per_s": fast * len(flux),
        "reference_per_s": plain * len(flux),
        "ratio": fast / plain,
        "reference": "the plain torch module",
    }


def _in_turn(
    make_ours: Callable[[], Callable[[], object]],
    make_theirs: Callable[[], Callable[[], object]],
    threads: int,
    repeats: int,
) -> tuple[float, float]:
    """Runs per second of both, best of several taken in turn."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            ours, theirs = make_ours(), make_theirs()
            ours(), theirs()
            times = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    finally:
        torch.set_num_threads(before)
    return 1 / min(t[0] for t in times), 1 / min(t[1] for t in times)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _weights(name: str) -> Weights:
    return from_module(LineFinder(PRESETS[name], torch.Generator().manual_seed(5)))


def _reference(weights: Weights) -> tuple[Callable[[np.ndarray], object], str]:
    quasarnp = _quasarnp(weights)
    if quasarnp is not None:
        return quasarnp, "QuasarNP"
    return lambda flux: _numpy_classify(weights, flux), "numpy, as QuasarNP"


def _quasarnp(weights: Weights) -> Callable[[np.ndarray], object] | None:
    checkout = os.environ.get("QUASARNP_DIR")
    if not checkout:
        return None
    sys.path.insert(0, checkout)
    try:
        from quasarnp.io import load_model  # noqa: PLC0415 -- not installed everywhere
        from quasarnp.utils import process_preds  # noqa: PLC0415
    except ImportError as exc:
        print(f"QuasarNP in QUASARNP_DIR={checkout}: {exc}", file=sys.stderr)
        return None
    finally:
        sys.path.remove(checkout)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.h5"
        write_weights(weights, path)
        model, wave = load_model(path)
    names = [line.name for line in weights.config.lines]

    def classify(flux: np.ndarray) -> object:
        # Its own readers make float64 spectra; so are these.
        outputs = model.predict(flux.astype(np.float64)[:, :, None])
        return process_preds(outputs, names[:6], names[6:], verbose=False, wave=wave)

    return classify


def _numpy_classify(weights: Weights, flux: np.ndarray) -> object:
    config, arrays = weights.config, weights.arrays

    def normed(x: np.ndarray, number: int) -> np.ndarray:
        gamma, beta, mean, variance = (
            arrays[f"batch_normalization_{number}/{name}"]
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return np.maximum((x - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 0)

    def head(x: np.ndarray, name: str) -> np.ndarray:
        return 1 / (1 + np.exp(-(x @ arrays[f"{name}/kernel"] + arrays[f"{name}/bias"])))

    x = flux.astype(np.float64)[:, :, None]
    for number, pad in enumerate(config.paddings(), 1):
        kernel = arrays[f"conv_{number}/kernel"]
        width, _, n_filters = kernel.shape
        padded = np.pad(x, ((0, 0), pad, (0, 0)))
        result = np.empty((len(x), config.widths[number], n_filters))
        matrix = kernel.reshape(-1, n_filters)
        for place in range(config.widths[number]):
            start = place * config.stride
            result[:, place] = padded[:, start : start + width].reshape(len(x), -1) @ matrix
        x = normed(result + arrays[f"conv_{number}/bias"], number)
    flat = x.reshape(len(x), -1) @ arrays["fc_common/kernel"] + arrays["fc_common/bias"]
    hidden = normed(flat, config.n_conv + 1)
    found = []
    for index, line in enumerate(config.lines):
        box, offset = head(hidden, f"fc_box_{index}"), head(hidden, f"fc_offset_{index}")
        best = box.argmax(axis=1)
        place = best - 0.1 + 1.2 * offset[np.arange(len(x)), best]
        edges = config.grid.lower_edges_aa
        wave = np.interp(place * len(edges) / config.n_boxes, np.arange(len(edges)), edges)
        found.append((box.max(axis=1), wave / line.wave_rest_aa - 1))
    return found


def _memory(quick: bool) -> dict[str, Any]:
    small, large = 1_000, 10_000 if quick else 100_000
    peaks = {n: _peak_mib(n) for n in (small, large)}
    return {
        "name": f"peak memory, {large:,} spectra against {small:,}",
        "ratio": peaks[small] / peaks[large],
        "target": 0.95,
        "reference": f"{peaks[small]:.0f} MiB, then {peaks[large]:.0f} MiB; flat is 1",
        "peak_mib": {str(n): peak for n, peak in peaks.items()},
    }


def _peak_mib(n_spectra: int) -> float:
    """Peak resident memory of a process of its own that classifies block by block."""
    command = [sys.executable, "-m", "benchmarks.bench_classify", str(n_spectra)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _classify_and_print_peak(n_spectra: int) -> None:
    weights = _weights("green2025")
    predictor = Predictor(weights)
    rng = np.random.default_rng(2)
    n_quasars = 0
    for start in range(0, n_spectra, _BLOCK_ROWS):
        n_rows = min(_BLOCK_ROWS, n_spectra - start)
        flux = rng.normal(size=(n_rows, 443)).astype(np.float32)
        finds = decode(predictor.predict(flux), weights.config)
        n_quasars += int(classify_finds(finds, weights.config).is_qso.sum())
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


if __name__ == "__main__":
    _classify_and_print_peak(int(sys.argv[1]))
