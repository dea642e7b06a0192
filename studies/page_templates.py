"""Templates of the inspection page: mean and usual variety of every kind of simulated spectrum.

    python studies/page_templates.py --out src/quasarloop/inspect/data/templates.npz

Each kind is drawn from the simulation without noise and at rest, and kept as its mean and the first
principal components of what differs.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quasarloop.inspect.library import (
    FIRST_PIXEL,
    LOG_STEP,
    N_PIXELS,
    Z_RANGE,
    rest_wavelengths,
)
from quasarloop.lines import LYA_AA
from quasarloop.simulate.draw import draw_objects
from quasarloop.simulate.forest import mean_transmission
from quasarloop.simulate.model import observed_flux
from quasarloop.simulate.objects import GALAXY_KINDS, STAR_KINDS, blank
from quasarloop.simulate.population import (
    GalaxyPopulation,
    Population,
    QuasarPopulation,
    StarPopulation,
)
from quasarloop.truth import SpecType

Floats = NDArray[np.float64]

# Mean and components of a kind: with more the templates also fit what they are not (on one half of
# the real objects, docs/measurements/inspection.md).
N_VECTORS = {SpecType.QSO: 5, SpecType.GALAXY: 4, SpecType.STAR: 3}
N_DRAWS = {SpecType.QSO: 120, SpecType.GALAXY: 120, SpecType.STAR: 24}
SEED = 1  # any fixed number
RED_EBV = 0.25  # mean reddening of the reddened kind, ten times the usual
# Redshifts whose forest the quasars get, and how the light fades below the Lyman limit.
FOREST_Z = (1.8, 4.5)
LIMIT_AA, LIMIT_DEPTH = 911.76, 6.0
# Names of the simulation's galaxies as astronomers know them.
GALAXIES = {
    "early": ("passive",),
    "late": ("star_forming",),
    "ELG": ("strong_line", "type2_agn"),
    "E+A": ("post_starburst",),
}


def populations() -> dict[tuple[SpecType, str], Population]:
    """Return what each kind is drawn from: quasars, then galaxies, then stars."""
    quasar = {"bal_fraction": 0.0, "mini_bal_fraction": 0.0}
    quasars = {
        "QSO": quasar,
        "BAL": {**quasar, "bal_fraction": 1.0},
        "reddened": {**quasar, "ebv_mean": RED_EBV},
    }
    found = {
        (SpecType.QSO, name): _only(quasars=QuasarPopulation(weight=1, **options))
        for name, options in quasars.items()
    }
    plain = GalaxyPopulation()
    for name, parts in GALAXIES.items():
        weights = {
            kind: getattr(plain, kind).model_copy(update={"weight": float(kind in parts)})
            for kind in GALAXY_KINDS
        }
        found[SpecType.GALAXY, name] = _only(galaxies=GalaxyPopulation(weight=1, **weights))
    for star in STAR_KINDS:
        stars = StarPopulation(weight=1, kinds={k.name: float(k is star) for k in STAR_KINDS})
        found[SpecType.STAR, star.name] = _only(stars=stars)
    return found


def vectors(spectype: SpecType, population: Population) -> Floats:
    """Return the mean of a kind, median 1, and its components of unit variance."""
    # From the bluest pixel at the highest redshift to the reddest at the lowest.
    low, high = np.rint(np.log10(1 + np.array(Z_RANGE[spectype])) / LOG_STEP).astype(int)
    wave = rest_wavelengths(FIRST_PIXEL - int(high), N_PIXELS + int(high - low))
    n = N_DRAWS[spectype]
    drawn = draw_objects(population, n, np.random.SeedSequence(SEED))
    # At rest, and without absorbers, which would stay at their own redshifts.
    at_rest = replace(drawn, z=np.zeros(n), absorbers=blank(drawn.absorbers))
    flux = observed_flux(at_rest, wave).astype(np.float64)
    if spectype == SpecType.QSO:
        flux *= _forest(wave, np.random.default_rng(SEED).uniform(*FOREST_Z, n))
    flux /= np.median(flux, axis=1, keepdims=True)
    mean = flux.mean(axis=0)
    _, size, components = np.linalg.svd(flux - mean, full_matrices=False)
    kept = N_VECTORS[spectype] - 1
    # The sign of a component means nothing: it is set, so that machines agree.
    components = components[:kept] * np.sign(components[:kept].sum(axis=1, keepdims=True))
    return np.vstack([mean, size[:kept, None] / np.sqrt(n) * components])


def _only(
    quasars: QuasarPopulation | None = None,
    galaxies: GalaxyPopulation | None = None,
    stars: StarPopulation | None = None,
) -> Population:
    return Population(
        quasars=quasars or QuasarPopulation(weight=0),
        galaxies=galaxies or GalaxyPopulation(weight=0),
        stars=stars or StarPopulation(weight=0),
    )


def _forest(wave_aa: Floats, z: Floats) -> Floats:
    """(n, n_pix) mean transmission of the forest of quasars at z, in the rest frame."""
    absorber = (1 + z)[:, None] * wave_aa / LYA_AA - 1
    through = np.where(wave_aa < LYA_AA, mean_transmission(np.maximum(absorber, 0)), 1.0)
    limit = np.exp(-LIMIT_DEPTH * np.clip(1 - wave_aa / LIMIT_AA, 0, None))
    return np.asarray(through * limit)


def main() -> None:
    """Parse, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    # Half precision: 0.05 %, where templates are trusted to 5 %.
    arrays = {
        f"{spectype.word} {subtype}": vectors(spectype, population).astype(np.float16)
        for (spectype, subtype), population in populations().items()
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(given.out, **arrays)
    print(given.out, given.out.stat().st_size)


if __name__ == "__main__":
    main()
