# ruff: noqa: PLC0415 -- other packages are measured only where somebody installed them
"""The map: winners and one epoch against broadcasting, errors against one-by-one training."""

import time

import numpy as np

from quasarloop.engine import Engine
from quasarloop.grid import LOG_GRID
from quasarloop.query.som import CellGrid, find_winners
from quasarloop.query.som_parts import parts_of_array
from quasarloop.query.som_train import (
    SequentialOptions,
    SomOptions,
    _pass,
    _updated,
    fit_map,
    fit_sequential,
    start_on_rows,
)

TRIES = 3


def run(quick: bool) -> list[dict]:
    cells = CellGrid()
    flux = _spectra(4_096 if quick else 16_384)
    weights = start_on_rows(flux, cells, np.random.default_rng(1))
    few = flux[: 64 if quick else 256]
    winners = _row(
        "map: winners and distances of 45 x 45 cells",
        _rate(lambda: find_winners(flux, weights), len(flux)),
        _rate(lambda: _broadcast_winners(few, weights), len(few)),
        100,
        "(x - w)² broadcast over spectra, cells and bins, sum, argmin",
    )
    expected, _ = _broadcast_winners(few, weights)
    assert np.array_equal(find_winners(few, weights).cell, expected)
    parts = parts_of_array(flux)
    epoch = _row(
        "map: one training epoch",
        _rate(
            lambda: _updated(weights, _pass(parts, weights, cells, Engine()), cells, 3.0), len(flux)
        ),
        _rate(lambda: _broadcast_epoch(few, weights, cells, 3.0), len(few)),
        50,
        "broadcast winners, then each spectrum added to all cells",
    )
    return [winners, epoch, *_libraries(flux, cells), _errors(quick)]


def _broadcast_winners(flux, weights):
    cell, distance = np.empty(len(flux), int), np.empty(len(flux))
    for start in range(0, len(flux), 32):
        rows = slice(start, start + 32)
        squared = ((flux[rows, None, :] - weights[None]) ** 2).sum(axis=2)
        cell[rows] = squared.argmin(axis=1)
        distance[rows] = np.sqrt(squared.min(axis=1))
    return cell, distance


def _broadcast_epoch(flux, weights, cells, width):
    winner, _ = _broadcast_winners(flux, weights)
    top, bottom = np.zeros_like(weights), np.zeros(len(weights), np.float32)
    near = np.exp(-0.5 * (cells.separations / width) ** 2).astype(np.float32)
    for spectrum, cell in zip(flux, winner, strict=True):
        top += near[cell, :, None] * spectrum
        bottom += near[cell]
    return top / bottom[:, None]


def _errors(quick):
    """Quantization error at equal epochs; the ratio is one-by-one over ours, so 1 is a draw."""
    flux, cells = _spectra(600 if quick else 2_000), CellGrid(15, 15)
    schedule = SequentialOptions(n_iterations=40 if quick else 200)
    epochs = round(schedule.n_epochs)
    ours = fit_map(parts_of_array(flux), cells, SomOptions(n_epochs=epochs)).quantization_error
    theirs = find_winners(flux, fit_sequential(flux, cells, schedule, seed=1).weights)
    return {
        "name": f"map: quantization error after {epochs} epochs (1/error, not a rate)",
        "ours_per_s": 1 / ours,
        "reference_per_s": float(1 / theirs.distance.mean()),
        "ratio": float(theirs.distance.mean()) / ours,
        "target": 1,
        "reference": "the released code's schedule, one spectrum at a time",
    }


def _libraries(flux, cells):
    """One epoch of other packages, where they are installed (none is needed by ours)."""
    rows = []
    parts = parts_of_array(flux)
    for name, train in _OTHERS.items():
        try:
            rate = train(flux, cells)
        except ImportError:
            continue
        weights = start_on_rows(flux, cells, np.random.default_rng(1))
        ours = _rate(
            lambda w=weights: _updated(w, _pass(parts, w, cells, Engine()), cells, 3.0), len(flux)
        )
        rows.append(_row(f"map: one training epoch, beside {name}", ours, rate, None, name))
    return rows


def _minisom(flux, cells):
    from minisom import MiniSom

    som = MiniSom(cells.n_rows, cells.n_columns, flux.shape[1], sigma=3.0, random_seed=1)
    few = flux[:200]
    return _rate(lambda: som.train_batch(few, len(few)), len(few), tries=1)


def _xpysom(flux, cells):
    from xpysom import XPySom

    def train():
        XPySom(cells.n_rows, cells.n_columns, flux.shape[1], sigma=3.0, random_seed=1, xp=np).train(
            flux, 1
        )

    return _rate(train, len(flux), tries=1)


def _torchsom(flux, cells):
    import torch
    from torchsom.core import SOM

    batch = torch.from_numpy(flux[:2048])

    def train():
        som = SOM(
            x=cells.n_rows, y=cells.n_columns, num_features=flux.shape[1], epochs=1,
            batch_size=64, pbc=True, device="cpu", sigma=3.0,
        )  # fmt: skip
        som.fit(batch)

    return _rate(train, len(batch), tries=1)


_OTHERS = {"minisom": _minisom, "xpysom": _xpysom, "torchsom": _torchsom}


def _spectra(n):
    """Lines at every redshift on noise of every strength, normalised: like a survey, quickly."""
    rng = np.random.default_rng(0)
    bins = np.arange(LOG_GRID.n_bins)
    flux = np.zeros((n, LOG_GRID.n_bins))
    start = rng.uniform(-200, 300, n)
    for place, strength in ((0, 5.0), (105, 2.5), (196, 2.0), (361, 2.0)):
        flux += strength * np.exp(-0.5 * ((bins - start[:, None] - place) / 6) ** 2)
    flux += rng.normal(size=flux.shape) * rng.uniform(0.1, 1.5, n)[:, None]
    flux -= flux.mean(axis=1, keepdims=True)
    return (flux / flux.std(axis=1, keepdims=True)).astype(np.float32)


def _rate(function, n, tries=TRIES):
    best = np.inf
    for _ in range(tries):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return n / best


def _row(name, ours, reference, target, what):
    return {
        "name": name,
        "ours_per_s": ours,
        "reference_per_s": reference,
        "ratio": ours / reference,
        "target": target,
        "reference": what,
    }
