"""Templates of every kind of quasar, galaxy and star: mean and usual variety of simulated spectra.

Nothing has to be fetched: each kind is drawn from the package's own simulation, without noise and
at rest, and kept as its mean and the first principal components of what differs.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS
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

__all__ = [
    "FIRST_PIXEL",
    "LOG_STEP",
    "N_PIXELS",
    "USUAL",
    "Z_MAX",
    "TemplateKind",
    "library",
    "rest_wavelengths",
    "template_kind",
]

Floats = NDArray[np.float64]

# Pixels of 138 km/s; pixel j is at 10**(LOG_STEP j) Å. Our choice: two pixels of SDSS.
LOG_STEP: Final = 2e-4
# Observed pixels of every fit: 3501 to 10,503 Å, the ranges of SDSS, BOSS, DESI and LAMOST.
FIRST_PIXEL: Final = 17_721
N_PIXELS: Final = 2386
# Stars move at most this fast; halo stars reach about 500 km/s, the fastest known 1200 km/s
# (Geier et al. 2015, Science 347, 1126).
_STAR_KMS: Final = 1500.0
# Where each class is looked for: the faintest quasars of the nearby sky are below 0.05; [O II]
# leaves the spectra at 1.7.
Z_MAX: Final = 6.0
_Z_RANGE: Final = {
    SpecType.QSO: (0.03, Z_MAX),
    SpecType.GALAXY: (-0.003, 1.7),
    SpecType.STAR: (-_STAR_KMS / SPEED_OF_LIGHT_KMS, _STAR_KMS / SPEED_OF_LIGHT_KMS),
}
# Mean and components of a kind. Our choice: with more the templates also fit what they are not
# (on the development half of docs/inspection.md's table).
_N_VECTORS: Final = {SpecType.QSO: 5, SpecType.GALAXY: 4, SpecType.STAR: 3}
_N_DRAWS: Final = {SpecType.QSO: 120, SpecType.GALAXY: 120, SpecType.STAR: 24}
_SEED: Final = 1  # any fixed number: the same templates everywhere
# Mean reddening of the reddened kind, E(B-V). Source: our choice, ten times the usual.
_RED_EBV: Final = 0.25
# Redshifts whose forest the quasars get, and how the light fades below the Lyman limit.
_FOREST_Z: Final = (1.8, 4.5)
_LIMIT_AA: Final = 911.76
_LIMIT_DEPTH: Final = 6.0
# Names of the simulation's galaxies as astronomers know them.
_GALAXIES: Final = {
    "early": ("passive",),
    "late": ("star_forming",),
    "ELG": ("strong_line", "type2_agn"),
    "E+A": ("post_starburst",),
}


# The kind that is shown of a class until another is wanted.
USUAL: Final = {SpecType.QSO: "QSO", SpecType.GALAXY: "early", SpecType.STAR: "G"}


@dataclass(frozen=True)
class TemplateKind:
    """One kind of object.

    Attributes:
        spectype: its class.
        subtype: its name within the class, e.g. ``"BAL"``, ``"E+A"``, ``"M"``.
        first: rest-frame pixel of the vectors' first value.
        vectors: (k, n) the mean, median 1, and components of unit variance.
        z_range: redshifts at which it is looked for.
    """

    spectype: SpecType
    subtype: str
    first: int
    vectors: Floats
    z_range: tuple[float, float]

    @property
    def wave_aa(self) -> Floats:
        """(n,) rest-frame vacuum wavelengths, Å."""
        return rest_wavelengths(self.first, self.vectors.shape[1])


def rest_wavelengths(first: int, n: int) -> Floats:
    """Return the wavelengths of n pixels, Å."""
    return np.asarray(10.0 ** (LOG_STEP * (first + np.arange(n))))


@cache
def library() -> tuple[TemplateKind, ...]:
    """Return every kind: quasars, then galaxies, then stars."""
    quasar = {"bal_fraction": 0.0, "mini_bal_fraction": 0.0}
    quasars = {
        "QSO": quasar,
        "BAL": {**quasar, "bal_fraction": 1.0},
        "reddened": {**quasar, "ebv_mean": _RED_EBV},
    }
    kinds = [
        _kind(SpecType.QSO, name, _only(quasars=QuasarPopulation(weight=1, **options)))
        for name, options in quasars.items()
    ]
    plain = GalaxyPopulation()
    for name, parts in _GALAXIES.items():
        weights = {
            kind: getattr(plain, kind).model_copy(update={"weight": float(kind in parts)})
            for kind in GALAXY_KINDS
        }
        galaxies = GalaxyPopulation(weight=1, **weights)
        kinds.append(_kind(SpecType.GALAXY, name, _only(galaxies=galaxies)))
    for star in STAR_KINDS:
        stars = StarPopulation(weight=1, kinds={k.name: float(k is star) for k in STAR_KINDS})
        kinds.append(_kind(SpecType.STAR, star.name, _only(stars=stars)))
    return tuple(kinds)


def template_kind(spectype: SpecType, subtype: str = "") -> TemplateKind:
    """Return one kind; a class's plain one without a subtype, a quasar for an unknown class.

    Raises:
        KeyError: no such kind.
    """
    wanted = spectype if spectype in USUAL else SpecType.QSO
    for kind in library():
        if kind.spectype == wanted and kind.subtype == (subtype or USUAL[wanted]):
            return kind
    raise KeyError(f"no template {wanted.word} {subtype}")


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


def _kind(spectype: SpecType, subtype: str, population: Population) -> TemplateKind:
    z_range = _Z_RANGE[spectype]
    # From the bluest pixel at the highest redshift to the reddest at the lowest.
    shifts = np.rint(np.log10(1 + np.array(z_range)) / LOG_STEP).astype(int)
    first = FIRST_PIXEL - int(shifts[1])
    wave = rest_wavelengths(first, N_PIXELS + int(shifts[1] - shifts[0]))
    n = _N_DRAWS[spectype]
    drawn = draw_objects(population, n, np.random.SeedSequence(_SEED))
    # At rest, and without absorbers, which would stay at their own redshifts.
    at_rest = replace(drawn, z=np.zeros(n), absorbers=blank(drawn.absorbers))
    flux = observed_flux(at_rest, wave).astype(np.float64)
    if spectype == SpecType.QSO:
        flux *= _forest(wave, np.random.default_rng(_SEED).uniform(*_FOREST_Z, n))
    flux /= np.median(flux, axis=1, keepdims=True)
    mean = flux.mean(axis=0)
    _, size, components = np.linalg.svd(flux - mean, full_matrices=False)
    kept = _N_VECTORS[spectype] - 1
    spread = size[:kept] / np.sqrt(n)
    vectors = np.vstack([mean, spread[:, None] * components[:kept]])
    return TemplateKind(spectype, subtype, first, vectors, z_range)


def _forest(wave_aa: Floats, z: Floats) -> Floats:
    """(n, n_pix) mean transmission of the forest of quasars at z, in the rest frame."""
    absorber = (1 + z)[:, None] * wave_aa / LYA_AA - 1
    through = np.where(wave_aa < LYA_AA, mean_transmission(np.maximum(absorber, 0)), 1.0)
    limit = np.exp(-_LIMIT_DEPTH * np.clip(1 - wave_aa / _LIMIT_AA, 0, None))
    return np.asarray(through * limit)
