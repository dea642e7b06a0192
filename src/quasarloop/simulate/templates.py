"""Spectra made of a folder of redrock templates: bases, plausible coefficients, mixtures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import fitsio
import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import DataFormatError
from quasarloop.lines import BALMER_AA, NEBULAR_AA, OII_AA
from quasarloop.simulate import Floats32, Floats64
from quasarloop.simulate.lattice import LATTICE_DEX, Lattice, RestTable, shifted_mix
from quasarloop.simulate.objects import GALAXY_KINDS, STAR_KINDS, Objects, blank
from quasarloop.truth import SpecType

__all__ = [
    "Template",
    "TemplateLibrary",
    "read_template",
    "read_templates",
    "template_galaxies",
    "template_quasars",
    "template_stars",
    "template_truth",
]


_LINE_PEAKS_AA: Final = (OII_AA, BALMER_AA[1], NEBULAR_AA["oiii5008"], BALMER_AA[0])
_PATTERN: Final = "rrtemplate-*.fits"
# Spread of the coefficients of a basis that comes without any, relative to the first, by
# order. Source: our choice, the spread of the stored coefficients of redrock's B to M stars.
_LOOSE_SPREAD: Final = (1.0, 0.25, 0.12, 0.08, 0.05)
_LOOSE_DRAWS: Final = 512
_LOOSE_SEED: Final = 20_240_229  # any fixed number: the same folder gives the same library
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
# Share of the second stored mixture in a spectrum, so that no two are alike.
_BLEND: Final = 0.25
# Kinds of quasars that a basis of a few vectors cannot make.
_BUILTIN_SUBTYPES: Final = ("WLQ", "double-peaked")
_TRUE_OF_QUASARS: Final = ("log_l3000", "bal")


@dataclass(frozen=True)
class Template:
    """One template file.

    Attributes:
        spectype, subtype: as in the file (``"QSO"``, ``"HIZ"``).
        table: the basis, resampled to the lattice's spacing.
        coefficients: (m, n_basis) float32 plausible mixtures; of quasars none, (0, n_basis).
        wave_range_aa: first and last rest wavelength.
    """

    spectype: str
    subtype: str
    table: RestTable
    coefficients: Floats32
    wave_range_aa: tuple[float, float]


@dataclass(frozen=True)
class TemplateLibrary:
    """The templates of a folder.

    Attributes:
        low_z, high_z: quasars; the same template twice where the folder has only one.
        galaxy: galaxies, coefficients sorted from passive to strongest lines.
        stars: by subtype, at least one.
    """

    low_z: Template
    high_z: Template
    galaxy: Template
    stars: dict[str, Template]


def read_templates(folder: Path | str) -> TemplateLibrary:
    """Read every ``rrtemplate-*.fits`` of a redrock-templates folder.

    Where a class has several files (``QSO-None`` beside ``QSO-LOZ``), the split ones win; where
    one file is there in several versions, the name that sorts last.

    Raises:
        DataFormatError: no folder, a file that is no template, or a class without any.
    """
    files = sorted(Path(folder).glob(_PATTERN))
    if not files:
        raise DataFormatError(f"{folder}: no {_PATTERN} there; give a redrock-templates folder")
    found = {(t.spectype, t.subtype): t for t in map(read_template, files)}
    missing = {"QSO", "GALAXY", "STAR"} - {spectype for spectype, _ in found}
    if missing:
        raise DataFormatError(
            f"{folder}: no template of {', '.join(sorted(missing))} among {files}"
        )
    quasars = {subtype: t for (spectype, subtype), t in found.items() if spectype == "QSO"}
    any_quasar = next(iter(quasars.values()))
    galaxies = [t for (spectype, _), t in found.items() if spectype == "GALAXY"]
    return TemplateLibrary(
        low_z=quasars.get("LOZ", quasars.get("", any_quasar)),
        high_z=quasars.get("HIZ", quasars.get("", any_quasar)),
        galaxy=_sorted_by_lines(galaxies[-1]),
        stars={subtype: t for (spectype, subtype), t in found.items() if spectype == "STAR"},
    )


def read_template(path: Path | str) -> Template:
    """Read one redrock template file.

    Wavelengths follow CRVAL1 and CDELT1, in log10 λ where LOGLAM is true and in Å where it is
    false or absent.

    Raises:
        DataFormatError: not FITS, no BASIS_VECTORS, or a grid or basis that cannot be used.
    """
    try:
        with fitsio.FITS(str(path)) as file:
            header = file["BASIS_VECTORS"].read_header()
            basis = np.asarray(file["BASIS_VECTORS"].read(), dtype=np.float64)
            stored = file["ARCHETYPE_COEFF"].read() if "ARCHETYPE_COEFF" in file else None
    except (OSError, KeyError, TypeError, ValueError) as exc:
        raise DataFormatError(f"{path}: not a redrock template ({exc})") from exc
    wave = _wavelengths(path, header, basis)
    spectype = str(header.get("RRTYPE", "")).strip().upper()
    subtype = str(header.get("RRSUBTYP", "")).strip().upper()
    n_basis = len(basis)
    if stored is not None:
        coefficients = np.asarray(stored, dtype=np.float32)
    elif spectype == "QSO":
        coefficients = np.empty((0, n_basis), dtype=np.float32)
    else:
        coefficients = _loose_coefficients(basis)
    if coefficients.ndim != 2 or coefficients.shape[1] != n_basis:  # noqa: PLR2004 -- rows, columns
        raise DataFormatError(
            f"{path}: ARCHETYPE_COEFF has shape {coefficients.shape} for {n_basis} basis vectors"
        )
    table = RestTable.from_function(_smoothed(basis, wave), wave)
    return Template(spectype, subtype, table, coefficients, (float(wave[0]), float(wave[-1])))


def _wavelengths(path: Path | str, header: Any, basis: Floats64) -> Floats64:
    try:
        start, step = float(header["CRVAL1"]), float(header["CDELT1"])
    except KeyError as exc:
        raise DataFormatError(f"{path}: BASIS_VECTORS lacks {exc}; no wavelengths") from exc
    wave = start + step * np.arange(basis.shape[-1])
    if header.get("LOGLAM", False):
        wave = np.power(10.0, wave)
    usable = basis.ndim == 2 and np.all(np.isfinite(basis)) and step > 0  # noqa: PLR2004
    if not usable or not np.all(np.isfinite(wave)) or wave[0] <= 0:
        raise DataFormatError(
            f"{path}: a basis of shape {basis.shape} from {wave[0]:g} in steps of {step:g} "
            "is not a usable template"
        )
    return np.asarray(wave, dtype=np.float64)


def _smoothed(basis: Floats64, wave: Floats64) -> Floats64:
    """Average over a lattice pixel, so that lines finer than it are not missed."""
    summed = np.concatenate(
        [
            np.zeros((len(basis), 1)),
            np.cumsum(0.5 * (basis[:, 1:] + basis[:, :-1]) * np.diff(wave), axis=1),
        ],
        axis=1,
    )
    half = 10.0 ** (0.5 * LATTICE_DEX)
    low, high = np.maximum(wave / half, wave[0]), np.minimum(wave * half, wave[-1])
    parts = [np.interp(high, wave, row) - np.interp(low, wave, row) for row in summed]
    return np.asarray(np.stack(parts) / (high - low))


def _loose_coefficients(basis: Floats64) -> Floats32:
    """Mixtures for a basis without stored ones: near the first vector, never negative light."""
    rng = np.random.default_rng(_LOOSE_SEED)
    n_basis = len(basis)
    spread = np.array((*_LOOSE_SPREAD, *([_LOOSE_SPREAD[-1]] * n_basis))[:n_basis])
    size = np.sqrt(np.mean(basis**2, axis=1))
    draws = rng.normal(size=(_LOOSE_DRAWS, n_basis)) * spread
    draws[:, 0] = np.sign(basis[0].mean())
    draws *= size[0] / size
    thin = basis[:, :: max(1, basis.shape[1] // 2000)]
    bright = (draws @ thin).min(axis=1) >= 0
    if not bright.any():
        return np.asarray(draws[:1] * ([1.0] + [0.0] * (n_basis - 1)), dtype=np.float32)
    return np.asarray(draws[bright], dtype=np.float32)


def _sorted_by_lines(template: Template) -> Template:
    """Sort the coefficients of galaxies by the height of [O II], Hβ, [O III] and Hα."""
    strength = np.zeros(len(template.coefficients))
    step = LATTICE_DEX / len(template.table.phases)
    spectra = template.table.phases[0].astype(np.float64)  # (n_basis, n_pix)
    for wave_aa in _LINE_PEAKS_AA:
        fine = round(float(np.log10(wave_aa)) / step) - template.table.first
        pixel = fine // len(template.table.phases)
        near = template.coefficients @ spectra[:, pixel - 3 : pixel + 4]
        around = template.coefficients @ spectra[:, pixel + np.array([-60, -50, 50, 60])]
        strength += near.max(axis=1) / np.maximum(np.median(around, axis=1), 1e-9)
    order = np.argsort(strength, kind="stable")
    return replace(template, coefficients=template.coefficients[order])


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
    first, second = (
        stored[_pick(objects.seed, stream, part[:, 0], part[:, 1], len(stored))]
        for stream in (1, 2)
    )
    mixed = (1.0 - _BLEND) * first + _BLEND * second
    spectra = shifted_mix(library.galaxy.table, objects.z, mixed.astype(np.float32), lattice)
    return np.maximum(spectra, 0.0, out=spectra)


def template_stars(objects: Objects, library: TemplateLibrary, lattice: Lattice) -> Floats32:
    """Return stars as stored mixtures of their templates, (n, n_pix) float32, not negative."""
    spectra = np.empty((len(objects), lattice.n_pix), dtype=np.float32)
    names = _star_templates(objects.subtype, library)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        template = library.stars[str(name)]
        chosen = _pick(objects.seed[rows], 3, 0.0, 1.0, len(template.coefficients))
        weights = template.coefficients[chosen]
        spectra[rows] = shifted_mix(template.table, objects.z[rows], weights, lattice)
    return np.maximum(spectra, 0.0, out=spectra)


def _star_templates(subtype: NDArray[np.str_], library: TemplateLibrary) -> NDArray[np.str_]:
    """Return the star template of each kind: the best in the library, else any it has."""
    chosen = {}
    for kind in STAR_KINDS:
        have = [name for name in kind.templates.split() if name in library.stars]
        chosen[kind.name] = [*have, *library.stars][0]
    return np.array([chosen[str(kind)] for kind in subtype], dtype=subtype.dtype)


def template_truth(objects: Objects, library: TemplateLibrary | None) -> Objects:
    """Return objects without the hidden properties that templates do not follow.

    Redshift, magnitude, dust, broad absorption and absorbing systems hold for every library.
    Stars get the template's subtype; strengths and shapes of the built-in spectra become NaN, weak
    lines and double peaks False and 0.

    Args:
        objects: (n) rows as drawn.
        library: of their spectra; None is the built-in one, which follows every property.
    """
    if library is None:
        return objects
    is_star = objects.spectype == SpecType.STAR
    subtype = np.where(np.isin(objects.subtype, _BUILTIN_SUBTYPES), "", objects.subtype)
    subtype[is_star] = _star_templates(objects.subtype[is_star], library)
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
    seed: NDArray[np.uint64], stream: int, low: Floats64 | float, high: Floats64 | float, n: int
) -> NDArray[np.int64]:
    part = low + (high - low) * _uniform(seed, stream)
    return np.minimum((part * n).astype(np.int64), n - 1)


def _uniform(seed: NDArray[np.uint64], stream: int) -> Floats64:
    """Uniform numbers from seeds. Source: SplitMix64, Steele et al. 2014 (OOPSLA)."""
    with np.errstate(over="ignore"):  # 64-bit wrap-around is the algorithm
        mixed = seed + np.uint64((stream + 1) * 0x9E3779B97F4A7C15 % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53)
