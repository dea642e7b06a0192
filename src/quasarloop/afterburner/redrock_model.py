"""redrock's best fit, drawn again from its templates and coefficients, without redrock.

Needed to say how much better a Mg II line describes a spectrum than redrock's answer does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import DataFormatError
from quasarloop.read.fits_reader import open_fits

__all__ = ["Basis", "basis_of", "model_flux", "read_bases", "with_resolution"]

Floats = NDArray[np.float64]

_PATTERN: Final = "rrtemplate-*.fits"
# Redrock's word for the version of a template without a VERSION card.
_UNKNOWN: Final = "unknown"
_NOT_LISTED: Final = "not in its own list"


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
    files = sorted(Path(folder).glob(_PATTERN))
    if not files:
        raise DataFormatError(
            f"{folder}: no {_PATTERN} there; give the folder of the redrock-templates release "
            "that the redrock file was made with"
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
            it lists none. A version that it does not know is not asked for.

    Raises:
        DataFormatError: no such template, or only of another version: coefficients mean nothing
            with another basis, and redrock's fit would look far worse than it was.
    """
    full = f"{spectype}:::{subtype}" if subtype else spectype
    listed = dict(entry.rsplit(" ", 1) for entry in templates)
    wanted = listed.get(full, _NOT_LISTED if listed else _UNKNOWN)
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
    area = np.concatenate([[0.0], np.cumsum(0.5 * (height[1:] + height[:-1]) * np.diff(points))])
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
    n_diagonals, n = resolution.shape
    out = np.zeros(n)
    product = resolution.astype(np.float64) * flux  # column j of the matrix, times flux j
    for diagonal in range(n_diagonals):
        offset = n_diagonals // 2 - diagonal  # column less row
        row = np.arange(max(0, -offset), min(n, n - offset))
        out[row] += product[diagonal, row + offset]
    return out


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
