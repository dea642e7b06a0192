"""Redrock's templates: found, or a clear error; and its best fit drawn from them.

The latter shows how much better a Mg II line describes a spectrum than redrock's fit does.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.artefacts import checksum
from quasarloop.errors import DataFormatError, RedrockError
from quasarloop.read.fits_reader import open_fits

__all__ = [
    "Basis",
    "Template",
    "basis_of",
    "find_quasar_templates",
    "model_flux",
    "read_bases",
    "usual_folder",
    "with_resolution",
]

# Redrock's two quasar templates, below and above z = 1.5. Source: redrock-templates, since 2022.
_SUBTYPES: Final = ("HIZ", "LOZ")
_FOLDER_VARIABLE: Final = "RR_TEMPLATE_DIR"
# What redrock tries where a template has no redshifts: z, z, step in log10(1 + z).
# Source: redrock.templates, default of --zscan-qso.
_SCAN: Final = (0.05, 6.0, 5e-4)


@dataclass(frozen=True)
class Template:
    """One quasar template file.

    Attributes:
        path: the file, absolute.
        subtype: ``"LOZ"``, ``"HIZ"``.
        version: of the template.
        sha256: of the file.
        redshifts: (k,) redshifts redrock tries it at.
    """

    path: Path
    subtype: str
    version: str
    sha256: str
    redshifts: NDArray[np.float64]


def find_quasar_templates(given: Sequence[str | Path] = ()) -> tuple[Template, ...]:
    """Find redrock's quasar templates.

    Args:
        given: template files, taken as they are; or one folder to look in. Nothing means the
            folder named by RR_TEMPLATE_DIR, else the one inside the installed redrock.

    Returns:
        The templates, sorted by subtype.

    Raises:
        RedrockError: a file is missing or is no quasar template, or a folder has not exactly one
            template of each subtype: redrock would run with too few, without a warning.
    """
    paths = [Path(path) for path in given] or [usual_folder()]
    if len(paths) != 1 or not paths[0].is_dir():
        return tuple(sorted((_read(path) for path in paths), key=lambda t: t.subtype))
    folder = paths[0]
    found = [_read(path) for path in _files_in(folder)]
    chosen = []
    for subtype in _SUBTYPES:
        same = [template for template in found if template.subtype == subtype]
        if len(same) != 1:
            names = ", ".join(template.path.name for template in found) or "none"
            raise RedrockError(
                f"{folder}: {len(same)} quasar templates {subtype}; expected one of each of "
                f"{', '.join(_SUBTYPES)}, found {names}. Give the files with --templates"
            )
        chosen += same
    return tuple(chosen)


def _files_in(folder: Path) -> list[Path]:
    # Redrock's list of the templates of a folder that are in use (since January 2024).
    listed = folder / "templates-default.txt"
    if listed.is_file():
        lines = (line.split() for line in listed.read_text(encoding="utf-8").splitlines())
        names = [words[0] for words in lines if words and not words[0].startswith("#")]
        return [folder / name for name in names if Path(name).name.startswith("rrtemplate-QSO-")]
    return sorted(folder.glob("rrtemplate-QSO-*.fits*"))


def usual_folder() -> Path:
    """Return the folder that $RR_TEMPLATE_DIR names, else the one inside redrock.

    Raises:
        RedrockError: there is none.
    """
    named = os.environ.get(_FOLDER_VARIABLE)
    if named:
        folder = Path(named)
    else:
        spec = importlib.util.find_spec("redrock")
        if spec is None or spec.origin is None:
            raise RedrockError(
                f"no templates given, {_FOLDER_VARIABLE} is not set, and redrock is not installed "
                "here; give the template files or their folder with --templates"
            )
        folder = Path(spec.origin).parent / "data" / "templates"
    if not folder.is_dir():
        raise RedrockError(
            f"redrock's templates are not in {folder}; install redrock-templates there, set "
            f"{_FOLDER_VARIABLE}, or give the files with --templates"
        )
    return folder


def _read(path: Path) -> Template:
    if not path.is_file():
        raise RedrockError(f"no template {path}; check the name")
    with open_fits(path) as file:
        header = file.hdus[0].header
        redshifts = file.named("REDSHIFTS")
        low, high, step = _SCAN
        tried = 10 ** np.arange(np.log10(1 + low), np.log10(1 + high), step) - 1
        if redshifts is not None:
            tried = file.image(redshifts).astype(np.float64)
    if str(header.get("RRTYPE", "")).strip().upper() != "QSO":
        raise RedrockError(
            f"{path}: template of {header.get('RRTYPE', 'nothing')!r}; expected a quasar template"
        )
    return Template(
        path=path.absolute(),
        subtype=str(header.get("RRSUBTYP", "")).strip(),
        version=str(header.get("VERSION", "unknown")),
        sha256=checksum(path),
        redshifts=tried,
    )


Floats = NDArray[np.float64]

_TEMPLATE_PATTERN: Final = "rrtemplate-*.fits"
# Redrock's word for the version of a template without a VERSION card.
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class Basis:
    """One template: a model is coefficients times basis, redshifted.

    Attributes:
        spectype, subtype: ``"QSO"``, ``"LOZ"``.
        wave_aa: (n_wave,) rest wavelengths, increasing.
        vectors: (n_basis, n_wave).
        version: the file's VERSION card, ``"unknown"`` where it has none.
    """

    spectype: str
    subtype: str
    wave_aa: Floats
    vectors: Floats
    version: str


def read_bases(folder: str | Path) -> tuple[Basis, ...]:
    """Read all templates of a folder.

    Raises:
        DataFormatError: no template there, or one that cannot be read.
    """
    files = sorted(Path(folder).glob(_TEMPLATE_PATTERN))
    if not files:
        raise DataFormatError(
            f"{folder}: no {_TEMPLATE_PATTERN} there; give the folder of the redrock-templates "
            "release that the redrock file was made with"
        )
    return tuple(_read_basis(file) for file in files)


def basis_of(
    bases: Sequence[Basis], spectype: str, subtype: str, templates: Sequence[str]
) -> Basis:
    """Return the basis that a row's coefficients belong to.

    Args:
        bases: from `read_bases`.
        spectype: of the row.
        subtype: of the row, ``""`` for none.
        templates: ``"QSO:::LOZ 1.1"``, ..., as the redrock file's header lists them; nothing if
            it lists none. A version that it does not know is not required.

    Raises:
        DataFormatError: no such template, or only of another version: coefficients mean nothing
            with another basis, and redrock's fit would look far worse than it was.
    """
    full = f"{spectype}:::{subtype}" if subtype else spectype
    listed = dict(entry.rsplit(" ", 1) for entry in templates)
    wanted = listed.get(full, "not in its own list" if listed else _UNKNOWN)
    same = [basis for basis in bases if (basis.spectype, basis.subtype) == (spectype, subtype)]
    usable = [basis for basis in same if wanted in (_UNKNOWN, basis.version)]
    if len(usable) != 1:
        there = ", ".join(basis.version for basis in same) or "none"
        raise DataFormatError(
            f"redrock fitted with template {full}, version {wanted}; in the folder of templates: "
            f"{there}. Give a folder with exactly that one, or compare with a constant"
        )
    return usable[0]


def model_flux(basis: Basis, coefficients: NDArray[Any], z: float, wave_aa: Floats) -> Floats:
    """Return (n_pix,) the model averaged over each pixel, before any resolution.

    Args:
        basis: the template.
        coefficients: at least n_basis of them, the rest unused.
        z: redshift.
        wave_aa: pixel centres, increasing.

    Returns:
        The mean over a pixel of the template's polygon; 0 beyond the template's ends, as redrock
        has it.
    """
    from scipy.integrate import cumulative_trapezoid  # noqa: PLC0415 -- not needed for reruns

    wave = basis.wave_aa * (1 + z)
    flux = np.asarray(coefficients, np.float64)[: len(basis.vectors)] @ basis.vectors
    edges = np.concatenate(
        [
            [1.5 * wave_aa[0] - 0.5 * wave_aa[1]],
            0.5 * (wave_aa[1:] + wave_aa[:-1]),
            [1.5 * wave_aa[-1] - 0.5 * wave_aa[-2]],
        ]
    )
    inside = (wave > edges[0]) & (wave < edges[-1])
    # The polygon's own corners and the pixel edges: between them it is straight, so the
    # trapezium rule is exact.
    points = np.union1d(wave[inside], edges)
    height = np.interp(points, wave, flux, left=0.0, right=0.0)
    area = cumulative_trapezoid(height, points, initial=0)
    return np.asarray(np.diff(area[np.searchsorted(points, edges)]) / np.diff(edges))


def with_resolution(flux: NDArray[Any], resolution: NDArray[Any]) -> Floats:
    """Blur a model as the spectrograph does.

    Args:
        flux: (n_pix,).
        resolution: (n_diagonals, n_pix) of a DESI RESOLUTION HDU: diagonals of the matrix from
            the highest to the lowest, each stored by column.

    Returns:
        (n_pix,) float64.
    """
    from scipy.sparse import dia_array  # noqa: PLC0415 -- not needed for reruns

    n_diagonals, n = resolution.shape
    offsets = n_diagonals // 2 - np.arange(n_diagonals)  # column less row
    return np.asarray(dia_array((resolution.astype(np.float64), offsets), shape=(n, n)) @ flux)


def _read_basis(path: Path) -> Basis:
    with open_fits(path) as fits:
        hdu = fits.named("BASIS_VECTORS") or fits.hdus[0]
        vectors = np.asarray(fits.image(hdu), dtype=np.float64)
        cards = hdu.header
        try:
            start, step = float(cards["CRVAL1"]), float(cards["CDELT1"])
        except (KeyError, ValueError) as exc:
            raise DataFormatError(
                f"{path}: BASIS_VECTORS has no usable {exc}; expected a redrock template"
            ) from exc
    wave = start + step * np.arange(vectors.shape[-1])
    if cards.get("LOGLAM", False):
        wave = np.power(10.0, wave)
    if vectors.ndim != 2 or not np.isfinite(vectors).all() or step <= 0:  # noqa: PLR2004 -- rows, columns
        raise DataFormatError(
            f"{path}: a basis of shape {vectors.shape} in steps of {step:g} is no usable template"
        )
    spectype, subtype = (str(cards.get(name, "")).strip() for name in ("RRTYPE", "RRSUBTYP"))
    version = str(cards.get("VERSION", _UNKNOWN)).strip()
    return Basis(spectype.upper(), subtype.upper(), wave.astype(np.float64), vectors, version)
