"""Templates of every kind of quasar, galaxy and star, for fits and for the page.

``data/templates.npz`` has the mean and the usual variety of simulated spectra of each kind;
``studies/page_templates.py`` makes it.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.truth import SpecType

__all__ = [
    "FIRST_PIXEL",
    "LOG_STEP",
    "N_PIXELS",
    "USUAL",
    "Z_MAX",
    "Z_RANGE",
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
Z_MAX: Final = 7.0
Z_RANGE: Final = {
    SpecType.QSO: (0.03, Z_MAX),
    SpecType.GALAXY: (-0.003, 1.7),
    SpecType.STAR: (-_STAR_KMS / SPEED_OF_LIGHT_KMS, _STAR_KMS / SPEED_OF_LIGHT_KMS),
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
    """

    spectype: SpecType
    subtype: str
    first: int
    vectors: Floats

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
    kinds = []
    with (
        as_file(files("quasarloop.inspect") / "data" / "templates.npz") as path,
        np.load(path, allow_pickle=False) as stored,
    ):
        for name in stored.files:
            word, subtype = name.split(" ", 1)
            spectype = SpecType.from_word(word)
            last = int(np.rint(np.log10(1 + Z_RANGE[spectype][1]) / LOG_STEP))
            vectors = stored[name].astype(np.float64)
            kinds.append(TemplateKind(spectype, subtype, FIRST_PIXEL - last, vectors))
    return tuple(kinds)


def template_kind(spectype: SpecType, subtype: str = "") -> TemplateKind:
    """Return one kind; a class's usual one without a subtype, a quasar for an unknown class.

    Raises:
        KeyError: no such kind.
    """
    wanted = spectype if spectype in USUAL else SpecType.QSO
    for kind in library():
        if kind.spectype == wanted and kind.subtype == (subtype or USUAL[wanted]):
            return kind
    raise KeyError(f"no template {wanted.word} {subtype}")
