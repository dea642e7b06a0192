"""Spectra from a folder of redrock templates: bases, and plausible coefficients for them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from quasarloop.errors import DataFormatError
from quasarloop.simulate.lattice import LATTICE_DEX, RestTable

__all__ = [
    "Library",
    "Template",
    "TemplateLibrary",
    "load_library",
    "read_template",
    "read_templates",
]

Floats64 = NDArray[np.float64]

_LINE_PEAKS_AA: Final = (3728.5, 4862.68, 5008.24, 6564.61)
_PATTERN: Final = "rrtemplate-*.fits"
_STAR_TYPES: Final = ("B", "A", "F", "G", "K", "M", "WD", "CV")
# Spread of the coefficients of a basis that comes without any, relative to the first, by
# order. Source: our choice, the spread of the stored coefficients of redrock's B to M stars.
_LOOSE_SPREAD: Final = (1.0, 0.25, 0.12, 0.08, 0.05)
_LOOSE_DRAWS: Final = 512
_LOOSE_SEED: Final = 20_240_229  # any fixed number: the same folder gives the same library


@dataclass(frozen=True)
class Template:
    """One template file.

    Attributes:
        spectype, subtype: as in the file (``"QSO"``, ``"HIZ"``).
        table: the basis, resampled to the lattice's spacing.
        coefficients: (m, n_basis) float32 plausible mixtures; of quasars none, (0, n_basis).
        wave_range_aa: first and last rest wavelength.
        z_range: redshifts the file says it is for; (-inf, inf) where it says nothing.
    """

    spectype: str
    subtype: str
    table: RestTable
    coefficients: NDArray[np.float32]
    wave_range_aa: tuple[float, float]
    z_range: tuple[float, float]


@dataclass(frozen=True)
class TemplateLibrary:
    """The templates of a folder.

    Attributes:
        source: the folder.
        low_z, high_z: quasars; the same template twice where the folder has only one.
        galaxy: galaxies, coefficients sorted from passive to strongest lines.
        stars: by subtype, at least one.
    """

    source: str
    low_z: Template
    high_z: Template
    galaxy: Template
    stars: dict[str, Template]


# The built-in library of published numbers, or a folder of templates.
Library = Literal["builtin"] | TemplateLibrary


def load_library(folder: Path | str | None) -> Library:
    """Return the templates of a folder, or the built-in library without one.

    Args:
        folder: a redrock-templates folder (``rrtemplate-*.fits``), or None.

    Raises:
        DataFormatError: no template of some class there, or a file that is not a template.
    """
    return "builtin" if folder is None else read_templates(folder)


def read_templates(folder: Path | str) -> TemplateLibrary:
    """Read every ``rrtemplate-*.fits`` of a folder.

    Where a class has several files (``QSO-None`` beside ``QSO-LOZ``), the split ones win; where
    one file stands in several versions, the name that sorts last.

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
        source=str(folder),
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
        with fits.open(path, memmap=False) as file:
            header = file["BASIS_VECTORS"].header
            basis = np.asarray(file["BASIS_VECTORS"].data, dtype=np.float64)
            names = [hdu.name for hdu in file]
            stored = file["ARCHETYPE_COEFF"].data if "ARCHETYPE_COEFF" in names else None
            redshifts = file["REDSHIFTS"].data if "REDSHIFTS" in names else None
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
    z_range = (-np.inf, np.inf)
    if redshifts is not None:
        z_range = (float(np.min(redshifts)), float(np.max(redshifts)))
    table = RestTable.from_function(_smoothed(basis, wave), wave)
    return Template(
        spectype, subtype, table, coefficients, (float(wave[0]), float(wave[-1])), z_range
    )


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


def _loose_coefficients(basis: Floats64) -> NDArray[np.float32]:
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
        around = (
            template.coefficients @ spectra[:, [pixel - 60, pixel - 50, pixel + 50, pixel + 60]]
        )
        strength += near.max(axis=1) / np.maximum(np.median(around, axis=1), 1e-9)
    order = np.argsort(strength, kind="stable")
    return Template(
        template.spectype,
        template.subtype,
        template.table,
        template.coefficients[order],
        template.wave_range_aa,
        template.z_range,
    )
