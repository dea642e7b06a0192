"""Redrock's best fits: read from its files, and drawn from its templates and coefficients."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import fitsio
import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import InspectionError, check_regular
from quasarloop.inspect.library import LOG_STEP
from quasarloop.simulate.lattice import LATTICE_DEX, Lattice
from quasarloop.simulate.templates import Template, read_template

__all__ = ["RedrockModels", "read_redrock"]

# Older versions of redrock wrote zbest files.
_HDUS: Final = ("REDSHIFTS", "ZBEST")
_COLUMNS: Final = ("TARGETID", "Z", "ZERR", "ZWARN", "SPECTYPE", "SUBTYPE", "DELTACHI2")
_STRIDE: Final = round(LOG_STEP / LATTICE_DEX)  # pixels of the lattice in one of the page


def read_redrock(paths: Iterable[str | Path]) -> dict[int, list[dict[str, Any]]]:
    """Read best fits from redrock files.

    Args:
        paths: ``redrock-*.fits`` or ``zbest-*.fits``; several (another version, a rerun) give
            several fits.

    Returns:
        Per TARGETID its fits, in the files' order, JSON-ready; with ``coeff`` where the file has
        coefficients.

    Raises:
        InspectionError: not a redrock file.
    """
    fits: dict[int, list[dict[str, Any]]] = {}
    for path in paths:
        try:
            with fitsio.FITS(str(check_regular(path))) as file:
                version = str(file[0].read_header().get("RRVER", "") or "")
                hdu = next((name for name in _HDUS if name in file), _HDUS[0])
                further = [name for name in ("COEFF",) if name in file[hdu].get_colnames()]
                table = file[hdu].read(columns=[*_COLUMNS, *further])
        except (OSError, ValueError) as exc:
            raise InspectionError(
                f"{path}: no redrock results ({exc}); expected HDU {_HDUS[0]} with "
                f"{', '.join(_COLUMNS)}"
            ) from exc
        for row in table:
            fit = {
                "z": float(row["Z"]),
                "zerr": float(row["ZERR"]),
                "zwarn": int(row["ZWARN"]),
                "spectype": _word(row["SPECTYPE"]),
                "subtype": _word(row["SUBTYPE"]),
                "deltachi2": float(row["DELTACHI2"]),
                "version": version,
            }
            if further:
                used = np.trim_zeros(np.atleast_1d(row["COEFF"]), "b")
                fit["coeff"] = used.astype(np.float64).tolist()
            fits.setdefault(int(row["TARGETID"]), []).append(fit)
    return fits


def _word(value: Any) -> str:
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip()


class RedrockModels:
    """Redrock's templates, and its fits drawn with them.

    Args:
        folder: with ``rrtemplate-*.fits``.

    Raises:
        InspectionError: no template there.
        DataFormatError: one that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        found = sorted(folder.glob("rrtemplate-*.fits"))
        if not found:
            raise InspectionError(f"{folder}: no rrtemplate-*.fits; give redrock's templates")
        # Of several versions the name that sorts last.
        self._templates = {(t.spectype, t.subtype): t for t in map(read_template, found)}

    def model(self, fit: dict[str, Any]) -> tuple[int, NDArray[np.float64]]:
        """Return the first rest-frame pixel and the flux of a fit of `read_redrock`.

        Raises:
            InspectionError: no coefficients, or no template with as many vectors.
        """
        kind = (fit["spectype"].upper(), fit["subtype"].upper())
        template = self._templates.get(kind)
        coeff = np.asarray(fit.get("coeff", ()), dtype=np.float64)
        n_basis = 0 if template is None else template.table.phases.shape[1]
        if template is None or not len(coeff) or len(coeff) > n_basis:
            raise InspectionError(
                f"redrock's fit {' '.join(kind).strip()} has {len(coeff)} "
                f"coefficients, the template {n_basis} vectors; give the templates of redrock "
                f"{fit['version']}"
            )
        return _mixed(template, np.pad(coeff, (0, n_basis - len(coeff))))


def _mixed(template: Template, coeff: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    low, high = np.log10(template.wave_range_aa) / LATTICE_DEX
    first = -(-int(np.ceil(low)) // _STRIDE) * _STRIDE
    vectors = template.table.window(0.0, Lattice(first, int(high) - first))
    flux = coeff @ vectors.astype(np.float64)
    n = len(flux) // _STRIDE * _STRIDE
    return first // _STRIDE, flux[:n].reshape(-1, _STRIDE).mean(axis=1)
