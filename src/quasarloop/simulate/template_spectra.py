"""Objects seen through templates: which template, which coefficients, which spectrum."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.simulate.galaxies import GALAXY_KINDS
from quasarloop.simulate.lattice import Lattice, shifted_mix
from quasarloop.simulate.objects import Objects, blank
from quasarloop.simulate.templates import Template, TemplateLibrary
from quasarloop.truth import SpecType

__all__ = [
    "template_galaxies",
    "template_quasars",
    "template_stars",
    "template_subtypes",
    "template_truth",
]

Floats32 = NDArray[np.float32]

# Below, quasars are made of the LOZ template, above of HIZ, between of either, HIZ more often the
# higher the redshift. Source: Brodzeller et al. 2023 (AJ 166, 66): the templates
# overlap at 1.4 < z < 1.6.
_JOIN_Z: Final = (1.4, 1.6)
# Which stored galaxies a kind is taken from: part of the list sorted by line strength.
_GALAXY_PART: Final = {
    "passive": (0.0, 0.30),
    "post_starburst": (0.15, 0.45),
    "star_forming": (0.40, 0.90),
    "type2_agn": (0.60, 0.95),
    "strong_line": (0.88, 1.0),
}
# Template of each kind of star; a folder without it gives the nearest it has.
_STAR_TEMPLATES: Final = {
    "O": ("B", "A"),
    "B": ("B", "A"),
    "A": ("A", "B", "F"),
    "F": ("F", "A", "G"),
    "G": ("G", "F", "K"),
    "K": ("K", "G", "M"),
    "M": ("M", "K"),
    "DA": ("WD", "A"),
    "DB": ("WD", "A"),
    "C": ("K", "M"),
    "CV": ("CV", "WD"),
}
# Share of the second stored mixture in a spectrum, so that no two are alike.
_BLEND: Final = 0.25
# Kinds of quasars that a basis of a few vectors cannot make.
_BUILTIN_SUBTYPES: Final = ("WLQ", "double-peaked")
_TRUE_OF_QUASARS: Final = ("log_l3000", "bal")


def template_quasars(
    builtin: Floats32, objects: Objects, library: TemplateLibrary, lattice: Lattice
) -> Floats32:
    """Return quasars made of a basis, each the nearest its basis comes to a built-in quasar.

    Coefficients are thus as plausible as the built-in quasars, and correlated as theirs.

    Args:
        builtin: (n, n_pix) built-in spectra without dust, absorption and host.
        objects: (n) rows, quasars all.
        library: the templates.
        lattice: observed wavelengths.

    Returns:
        (n, n_pix) float32, not negative.
    """
    spectra = np.empty_like(builtin)
    low, high = _JOIN_Z
    is_high = objects.z > low + (high - low) * _uniform(objects.seed, 0)
    for row, z in enumerate(objects.z):
        template = library.high_z if is_high[row] else library.low_z
        basis = template.table.window(float(z), lattice)  # (n_basis, n_pix)
        first, last = _covered(template, float(z), lattice)
        shape = builtin[row, first:last]
        # Least squares in relative flux: Lyα must not outweigh everything redder.
        scaled = basis[:, first:last] / shape
        gram = scaled @ scaled.T
        coefficients = np.linalg.solve(gram, scaled.sum(axis=1))
        np.dot(coefficients.astype(np.float32), basis, out=spectra[row])
    return np.maximum(spectra, 0.0, out=spectra)


def template_galaxies(objects: Objects, library: TemplateLibrary, lattice: Lattice) -> Floats32:
    """Return galaxies as stored mixtures of the template, (n, n_pix) float32, not negative."""
    stored = library.galaxy.coefficients
    parts = np.array([_GALAXY_PART[name] for name in GALAXY_KINDS])
    part = parts[[GALAXY_KINDS.index(str(name)) for name in objects.subtype]]  # (n, 2)
    weights = np.stack(
        [
            stored[_pick(objects.seed, stream, part[:, 0], part[:, 1], len(stored))]
            for stream in (1, 2)
        ]
    )
    mixed = (1.0 - _BLEND) * weights[0] + _BLEND * weights[1]
    spectra = shifted_mix(library.galaxy.table, objects.z, mixed.astype(np.float32), lattice)
    return np.maximum(spectra, 0.0, out=spectra)


def template_stars(objects: Objects, library: TemplateLibrary, lattice: Lattice) -> Floats32:
    """Return stars as stored mixtures of their templates, (n, n_pix) float32, not negative."""
    spectra = np.empty((len(objects), lattice.n_pix), dtype=np.float32)
    names = template_subtypes(objects.subtype, library)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        template = library.stars[str(name)]
        zero, one = np.zeros(len(rows)), np.ones(len(rows))
        chosen = _pick(objects.seed[rows], 3, zero, one, len(template.coefficients))
        weights = template.coefficients[chosen]
        spectra[rows] = shifted_mix(template.table, objects.z[rows], weights, lattice)
    return np.maximum(spectra, 0.0, out=spectra)


def template_subtypes(subtype: NDArray[np.str_], library: TemplateLibrary) -> NDArray[np.str_]:
    """Return which of a library's star templates stands for each kind of star."""
    chosen = {}
    for kind in np.unique(subtype):
        wanted = _STAR_TEMPLATES.get(str(kind), ())
        have = [name for name in wanted if name in library.stars]
        chosen[str(kind)] = have[0] if have else next(iter(library.stars))
    return np.array([chosen[str(kind)] for kind in subtype], dtype=subtype.dtype)


def template_truth(objects: Objects, library: TemplateLibrary) -> Objects:
    """Return objects without the hidden properties that templates do not follow.

    Redshift, magnitude, dust, broad absorption and absorbing systems hold whatever the library.
    Stars get the template's subtype; strengths and shapes of the built-in spectra become NaN, weak
    lines and double peaks False and 0.
    """
    is_star = objects.spectype == SpecType.STAR
    subtype = np.where(np.isin(objects.subtype, _BUILTIN_SUBTYPES), "", objects.subtype)
    subtype[is_star] = template_subtypes(objects.subtype[is_star], library)
    kept = {name: getattr(objects.quasar, name) for name in _TRUE_OF_QUASARS}
    return replace(
        objects,
        subtype=subtype.astype(objects.subtype.dtype),
        quasar=replace(blank(objects.quasar), **kept),
        galaxy=blank(objects.galaxy),
        star=replace(blank(objects.star), velocity_kms=objects.star.velocity_kms),
    )


def _covered(template: Template, z: float, lattice: Lattice) -> tuple[int, int]:
    """First and last pixel of the lattice inside a template's wavelengths."""
    ends = lattice.position(np.array(template.wave_range_aa) * (1.0 + z))
    first = int(np.clip(np.ceil(ends[0]), 0, lattice.n_pix - 1))
    return first, max(first + 1, int(np.clip(ends[1], 0, lattice.n_pix)))


def _pick(
    seed: NDArray[np.uint64],
    stream: int,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    n: int,
) -> NDArray[np.int64]:
    part = low + (high - low) * _uniform(seed, stream)
    return np.minimum((part * n).astype(np.int64), n - 1)


def _uniform(seed: NDArray[np.uint64], stream: int) -> NDArray[np.float64]:
    """Uniform numbers from seeds. Source: SplitMix64, Steele et al. 2014 (OOPSLA)."""
    with np.errstate(over="ignore"):  # 64-bit wrap-around is the algorithm
        mixed = seed + np.uint64((stream + 1) * 0x9E3779B97F4A7C15 % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53)
