"""Does a network trained on the real sky recognise the simulated one? Prints markdown tables.

    python studies/check_simulation.py $DATA --objects 4000

The QuasarNP 4-layer weights ($DATA/quasarnp_fixture) classify simulated DESI spectra
made with the built-in library and with the redrock templates. Wanted: of quasars with S/N > 2
per pixel at least 90 % found at confidence 0.95 and 95 % of those at the right redshift; at most
2 % of stars and galaxies called quasars.
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

from quasarloop.evaluate.metrics import RIGHT_WITHIN, share
from quasarloop.lines import EMISSION_LINES
from quasarloop.network.decode import Classification, classify_finds, decode
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import read_weights
from quasarloop.quality import prepare
from quasarloop.simulate.faults import FaultRates
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.population import Population
from quasarloop.truth import SpecType
from skies import NO_FAULTS, observed_tiles

BRIGHT_SN = 2.0
REDSHIFT_EDGES = (0.0, 0.5, 1.0, 1.5, 2.1, 2.6, 3.2, 4.0, 5.5)
SN_EDGES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, np.inf)


class Judged(NamedTuple):
    """One tile judged: truth and answer, (n,) each."""

    spectype: NDArray[np.int8]
    subtype: NDArray[np.str_]
    z: NDArray[np.float64]
    sn: NDArray[np.float32]
    is_qso: NDArray[np.bool_]
    z_best: NDArray[np.float64]
    best_line: NDArray[np.int64]


def main() -> None:
    """Simulate, classify, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of real data")
    parser.add_argument("--objects", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", type=Path, help="default: QuasarNP's 4-layer fixture")
    parser.add_argument("--library", choices=("built-in", "templates", "both"), default="both")
    parser.add_argument("--faults", action="store_true", help="with the default faults, too")
    parser.add_argument("--details", action="store_true", help="by redshift, S/N and subtype")
    options = parser.parse_args()
    torch.set_num_threads(1)
    weights = options.weights or options.data / "quasarnp_fixture" / "test_weights.h5"
    predictor = Predictor(read_weights(weights))
    folder = options.data / "templates" / "redrock"
    skies = {"built-in": ModelSky(Population()), "templates": ModelSky(Population(), folder)}
    faults = FaultRates() if options.faults else NO_FAULTS
    rows = {
        name: judge(sky, predictor, options.objects, options.seed, faults)
        for name, sky in skies.items()
        if options.library in (name, "both")
    }
    sys.stdout.write(f"`{weights.name}`, {options.objects} objects, seed {options.seed}, ")
    sys.stdout.write(f"faults: {'default' if options.faults else 'none'}\n\n")
    summary(rows)
    if options.details:
        for name, judged in rows.items():
            details(name, judged)


def judge(
    sky: ModelSky, predictor: Predictor, n_objects: int, seed: int, faults: FaultRates
) -> Judged:
    """Simulate and classify that many objects."""
    tiles = list(_judge_tiles(sky, predictor, n_objects, seed, faults))
    return Judged(*(np.concatenate(parts) for parts in zip(*tiles, strict=True)))


def _judge_tiles(
    sky: ModelSky, predictor: Predictor, n_objects: int, seed: int, faults: FaultRates
) -> Iterator[Judged]:
    for spectra, seen in observed_tiles(sky, n_objects, seed, faults):
        flux = prepare(spectra, predictor.config.grid).flux
        answer = classify(predictor, flux)
        yield Judged(
            seen.light.spectype,
            seen.light.hidden["SUBTYPE"],
            seen.light.z,
            np.nanmedian(seen.sn, axis=1),
            answer.is_qso,
            answer.z_best,
            answer.best_line,
        )


def classify(predictor: Predictor, flux: NDArray[np.float32]) -> Classification:
    """Apply the network as the survey does."""
    finds = decode(predictor.predict(flux), predictor.config)
    return classify_finds(finds, predictor.config)


def summary(rows: dict[str, Judged]) -> None:
    """Print shares found and right."""
    out = sys.stdout.write
    out("| library | quasars S/N > 2 found | of these right z | stars called quasar ")
    out("| galaxies called quasar | all non-quasars |\n|---|---|---|---|---|---|\n")
    for name, j in rows.items():
        bright = (j.spectype == SpecType.QSO) & (j.sn > BRIGHT_SN)
        found = bright & j.is_qso
        cells = [
            _share(found, bright),
            _share(found & _right(j), found),
            *(_share((j.spectype == kind) & j.is_qso, j.spectype == kind) for kind in (0, 1)),
            _share((j.spectype != SpecType.QSO) & j.is_qso, j.spectype != SpecType.QSO),
        ]
        out(f"| {name} | {' | '.join(cells)} |\n")
    out(f"\nRight: within {RIGHT_WITHIN} (1 + z). Intervals: binomial, 68 %.\n")


def details(name: str, j: Judged) -> None:
    """Print where it fails: by redshift, S/N, subtype and the line that was wrong."""
    out = sys.stdout.write
    qso = j.spectype == SpecType.QSO
    for what, values, edges, among in (
        ("z", j.z, REDSHIFT_EDGES, qso & (j.sn > BRIGHT_SN)),
        ("S/N", j.sn, SN_EDGES, qso),
    ):
        out(f"\n{name}, quasars by {what}\n\n| {what} | found | right z |\n|---|---|---|\n")
        for low, high in pairwise(edges):
            inside = among & (values >= low) & (values < high)
            found = inside & j.is_qso
            cells = f"{_share(found, inside)} | {_share(found & _right(j), found)}"
            out(f"| {low:g} – {high:g} | {cells} |\n")
    bright = qso & (j.sn > BRIGHT_SN)
    out(f"\n{name}, by subtype\n\n| subtype | called quasar |\n|---|---|\n")
    for kind in SpecType:
        for subtype in np.unique(j.subtype[j.spectype == kind]):
            inside = (j.spectype == kind) & (j.subtype == subtype)
            inside &= bright | (kind != SpecType.QSO)
            out(f"| {kind.name} {subtype} | {_share(inside & j.is_qso, inside)} |\n")
    wrong = bright & j.is_qso & ~_right(j)
    out(f"\n{name}, wrong redshifts of bright quasars\n\n| line | z | z found |\n|---|---|---|\n")
    for row in np.flatnonzero(wrong)[:25]:
        line = EMISSION_LINES[j.best_line[row]].column
        out(f"| {line} | {j.z[row]:.3f} | {j.z_best[row]:.3f} |\n")


def _right(j: Judged) -> NDArray[np.bool_]:
    return np.abs(j.z_best - j.z) < RIGHT_WITHIN * (1 + j.z)


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> str:
    return str(share(int(np.count_nonzero(part)), int(np.count_nonzero(whole))))


if __name__ == "__main__":
    main()
