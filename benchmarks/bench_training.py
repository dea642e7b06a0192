"""Training: spectra per second of one step, one thread, against the plain way with torch.

The plain way is what one writes first: `plain_network` (Conv1d, torch's Dropout), torch's
Adam as it comes, denormal numbers left in. Both sides get the same batches and the same loss.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.plain_network import plain_logits
from quasarloop.network.config import preset
from quasarloop.network.dropout import DropoutSource, relu_dropout
from quasarloop.network.loss import Targets, line_finder_loss, make_targets
from quasarloop.network.model import LineFinder, fold_biases

_BATCH = 256
_RATE = 2e-4


def run(quick: bool) -> list[dict[str, Any]]:
    repeats = 3 if quick else 12
    torch.set_num_threads(1)
    rows = []
    for name, rate in (("busca2018", 0.0), ("green2025", 0.0), ("green2025", 0.2)):
        steps = {
            "plain": _plain_step(name, rate),
            "float32": _fast_step(name, rate, low=False),
            "bfloat16": _fast_step(name, rate, low=True),
        }
        seconds = _best_in_turn(steps, repeats)
        for kind in ("float32", "bfloat16"):
            title = f"training step, {name}, dropout {rate:g}, {kind}"
            rows.append(_row(title, seconds[kind], seconds["plain"], "the plain way with torch"))
    return [*rows, _dropout_row(repeats)]


def _row(name: str, ours: float, reference: float, reference_name: str) -> dict[str, Any]:
    return {
        "name": name,
        "ours_per_s": _BATCH / ours,
        "reference_per_s": _BATCH / reference,
        "ratio": reference / ours,
        "target": None,
        "reference": reference_name,
    }


def _batch(n_bins: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    flux = torch.from_numpy(rng.normal(size=(_BATCH, n_bins)).astype(np.float32))
    return flux, rng.integers(0, 3, _BATCH), rng.uniform(0, 4, _BATCH)


def _plain_step(name: str, rate: float) -> Callable[[], None]:
    model = LineFinder(preset(name, dropout=rate)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE, amsgrad=True)
    flux, targets = _inputs(model)

    def step() -> None:
        optimizer.zero_grad()
        box, offset, *_ = plain_logits(model, flux, rate)
        line_finder_loss(box, offset, targets, model.config).total.backward()
        optimizer.step()

    return _with_denormals(step, flush=False)


def _fast_step(name: str, rate: float, *, low: bool) -> Callable[[], None]:
    model = LineFinder(preset(name, dropout=rate)).train()
    fold_biases(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE, amsgrad=True, fused=True)
    flux, targets = _inputs(model)
    source = DropoutSource(np.random.SeedSequence(0))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if low else nullcontext():
            box, offset, *_ = model(flux, dropout=rate, source=source)
        loss = line_finder_loss(box.float(), offset.float(), targets, model.config).total
        loss.backward()
        optimizer.step()

    return _with_denormals(step, flush=True)


def _inputs(model: LineFinder) -> tuple[Tensor, Targets]:
    config = model.config
    flux, spectype, z = _batch(config.grid.n_bins)
    ones = np.ones(_BATCH, dtype=bool)
    return flux, make_targets(spectype, z, np.full(_BATCH, -1), ones, config)


def _dropout_row(repeats: int) -> dict[str, Any]:
    """ReLU and dropout alone, there and back, on the largest activations of green2025."""
    x = torch.randn(_BATCH, 100, 1, 222).contiguous(memory_format=torch.channels_last)
    grad = torch.ones_like(x)
    source = DropoutSource(np.random.SeedSequence(0))
    dropout = nn.Dropout(0.2)

    def ours() -> None:
        relu_dropout(x.requires_grad_(), 0.2, source).backward(grad)

    def plain() -> None:
        dropout(torch.relu(x.requires_grad_())).backward(grad)

    seconds = _best_in_turn({"ours": ours, "plain": plain}, repeats)
    return _row("ReLU and dropout 0.2", seconds["ours"], seconds["plain"], "torch's Dropout")


def _with_denormals(step: Callable[[], None], *, flush: bool) -> Callable[[], None]:
    def run_step() -> None:
        torch.set_flush_denormal(flush)
        step()
        torch.set_flush_denormal(False)

    return run_step


def _best_in_turn(calls: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    # Processor time, not the clock: on a shared machine others' work would be counted too.
    best = dict.fromkeys(calls, np.inf)
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            best[name] = min(best[name], time.process_time() - start)
    return best
