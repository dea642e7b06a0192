"""The afterburner without its rerun: a DESI tile of 500 fibres, from files to file.

Ours reads coadd and redrock file, rebins, applies the network, decides and writes. The reference
does the spectra's part alone in plain numpy and the plain torch module: astropy reads, every
spectrum is rebinned by itself as QuasarNP does, `plain_predict` classifies.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from threadpoolctl import threadpool_limits

from benchmarks.plain_network import plain_predict
from quasarloop.afterburner.network_step import Network, load_network
from quasarloop.afterburner.tiles import AfterburnerOptions, run_tile
from quasarloop.network.decode import classify_finds, decode
from quasarloop.network.weights import Weights, default_weights_path, read_weights
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.observing import ObservingOptions
from quasarloop.simulate.population import Population
from quasarloop.simulate.survey import SurveyOptions, simulate_survey

_N_FIBRES = 500
_THREADS = 2
_MOST_SECONDS = 2.0


def run(quick: bool) -> list[dict[str, Any]]:
    n_fibres, repeats = (100, 2) if quick else (_N_FIBRES, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        coadd, redrock = _tile(folder, n_fibres)
        network, weights = load_network(), read_weights(default_weights_path())
        before = torch.get_num_threads()
        torch.set_num_threads(_THREADS)
        try:
            with threadpool_limits(_THREADS):
                ours = _seconds(lambda: _ours(coadd, redrock, folder, network), repeats)
                theirs = _seconds(lambda: _reference(coadd, weights), repeats)
        finally:
            torch.set_num_threads(before)
    rows = [
        {
            "name": f"afterburner, {n_fibres} fibres without rerun, {_THREADS} threads",
            "ours_per_s": n_fibres / ours,
            "reference_per_s": n_fibres / theirs,
            "ratio": theirs / ours,
            "reference": "numpy, spectrum by spectrum, and the plain torch module",
            "seconds": ours,
        }
    ]
    if not quick:
        rows.append(
            {
                "name": f"afterburner, a tile in {ours:.2f} s; {_MOST_SECONDS:g} s are allowed",
                "ratio": _MOST_SECONDS / ours,
                "target": 1,
                "reference": f"{_MOST_SECONDS:g} s",
            }
        )
    return rows


def _tile(folder: Path, n_fibres: int) -> tuple[Path, Path]:
    sky = ModelSky(Population())
    plan = SurveyOptions(folder / "sky", seed=1, source=sky, observing=ObservingOptions())
    simulate_survey(plan, n_fibres)
    coadd, redrock = (next(plan.out.rglob(f"{kind}-*.fits")) for kind in ("coadd", "redrock"))
    return coadd, redrock


def _ours(coadd: Path, redrock: Path, folder: Path, network: Network) -> None:
    run_tile(
        coadd,
        redrock,
        folder / "qso_qn.fits",
        network,
        AfterburnerOptions(rerun="later"),
        overwrite=True,
    )


def _reference(coadd: Path, weights: Weights) -> object:
    config = weights.config
    edges = np.log10(config.grid.start_aa) + config.grid.step * np.arange(config.grid.n_bins)
    with fits.open(coadd, memmap=False) as file:
        arms = [
            [file[f"{arm}_{part}"].data for part in ("WAVELENGTH", "FLUX", "IVAR")] for arm in "BRZ"
        ]
    n = len(arms[0][1])
    rows = np.empty((n, config.grid.n_bins))
    for row in range(n):
        weight, total = np.zeros(len(edges)), np.zeros(len(edges))
        for wave, flux, ivar in arms:
            bins = np.floor((np.log10(wave) - edges[0]) / config.grid.step).astype(int)
            keep = (bins >= 0) & (bins < len(edges))
            weight += np.bincount(bins[keep], ivar[row][keep], len(edges))
            total += np.bincount(bins[keep], (flux[row] * ivar[row])[keep], len(edges))
        binned = np.where(weight > 0, total / np.where(weight > 0, weight, 1), 0)
        mean = np.average(binned, weights=np.where(weight.sum() > 0, weight, 1))
        rms = np.sqrt(
            np.average((binned - mean) ** 2, weights=np.where(weight.sum() > 0, weight, 1))
        )
        rows[row] = (binned - mean) / (rms if rms > 0 else 1)
    return classify_finds(decode(plain_predict(weights, rows), config), config)


def _seconds(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
