"""redrock-*.fits: redrock's fit of each row, and the target of the row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.survey_targets import Phase, phase_of
from quasarloop.columns import Block
from quasarloop.errors import DataFormatError
from quasarloop.read.fits_reader import FitsFile, Hdu, open_fits
from quasarloop.read.formats import integer_column

__all__ = ["RedrockFits", "RedrockRows", "match_rows", "read_fits", "read_redrock_rows"]

_HDU: Final = "REDSHIFTS"
_FIT_COLUMNS: Final = (
    "Z", "ZERR", "ZWARN", "SPECTYPE", "SUBTYPE", "CHI2", "DELTACHI2", "COEFF",
)  # fmt: skip
_MOST_TEMPLATES: Final = 100  # two digits in the keyword


@dataclass(frozen=True)
class RedrockFits:
    """Redrock's best fit of each row, (n,) each.

    Attributes:
        target_id: int64.
        z, zerr, chi2, deltachi2: float64.
        zwarn: int64 bits of redrock.zwarning.
        spectype, subtype: words, ``""`` unknown.
        coeff: (n, k) float64 template coefficients.
        version: redrock's version, from the header.
        templates: ``"QSO:::LOZ 1.1"``, … as the header lists them.
    """

    target_id: NDArray[np.int64]
    z: NDArray[np.float64]
    zerr: NDArray[np.float64]
    zwarn: NDArray[np.int64]
    spectype: NDArray[np.str_]
    subtype: NDArray[np.str_]
    chi2: NDArray[np.float64]
    deltachi2: NDArray[np.float64]
    coeff: NDArray[np.float64]
    version: str
    templates: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.target_id)


@dataclass(frozen=True)
class RedrockRows:
    """A redrock file: fits and targets.

    Attributes:
        fits: the fits.
        ra_deg, dec_deg: (n,) float64, NaN unknown.
        object_type: (n,) OBJTYPE, ``""`` unknown.
        phase: of the survey.
        target_bits: (n,) int64, of the phase's column; 0 unknown.
        path: the file.
        known: further columns, where they are, same rows.
    """

    fits: RedrockFits
    ra_deg: NDArray[np.float64]
    dec_deg: NDArray[np.float64]
    object_type: NDArray[np.str_]
    phase: Phase
    target_bits: NDArray[np.int64]
    path: Path = Path()
    known: Block = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.fits)

    @property
    def target_id(self) -> NDArray[np.int64]:
        """(n,) int64 TARGETID."""
        return self.fits.target_id

    @property
    def has_targets(self) -> bool:
        """True if the phase's column of target bits is among the further ones."""
        return self.phase.column in self.known


def read_redrock_rows(
    path: str | Path, further: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> RedrockRows:
    """Read a redrock file of a coadd.

    The FIBERMAP may be short, as in healpix files, or in another order than the redshifts.

    Args:
        path: the file.
        further: HDU -> columns to read into `RedrockRows.known`, where they are.

    Raises:
        DataFormatError: not a redrock file, or its tables do not belong together.
    """
    with open_fits(path) as file:
        fits = _fits(file)
        fibermap = file.need("FIBERMAP")
        phase = phase_of(list(fibermap.columns))
        targets = ("TARGET_RA", "TARGET_DEC", "OBJTYPE", phase.column)
        found = _in_rows(file, fibermap, targets, fits.target_id)
        known: Block = {}
        for name, columns in further.items():
            hdu = file.named(name)
            if hdu is not None:
                known |= _in_rows(file, hdu, columns, fits.target_id)
    n = len(fits)

    def column(name: str, missing: object) -> NDArray[Any]:
        return found.get(name, np.full(n, missing))

    return RedrockRows(
        fits=fits,
        ra_deg=column("TARGET_RA", np.nan).astype(np.float64),
        dec_deg=column("TARGET_DEC", np.nan).astype(np.float64),
        object_type=np.char.strip(column("OBJTYPE", "").astype(np.str_)),
        phase=phase,
        target_bits=column(phase.column, 0).astype(np.int64),
        path=Path(path),
        known=known,
    )


def read_fits(path: str | Path) -> RedrockFits:
    """Read the fits alone.

    Raises:
        DataFormatError: not a redrock file, or a column is missing.
    """
    with open_fits(path) as file:
        return _fits(file)


def match_rows(
    wanted: NDArray[np.int64], ids: NDArray[np.int64], path: str, where: str
) -> NDArray[np.intp]:
    """Return the row of each wanted TARGETID in `ids`.

    Rows in the same order are taken so, repeated identifiers included.

    Raises:
        DataFormatError: a wanted one is missing, or occurs twice.
    """
    if np.array_equal(wanted, ids):
        return np.arange(len(ids))
    order = np.argsort(ids, kind="stable")
    place = np.minimum(np.searchsorted(ids[order], wanted), max(len(ids) - 1, 0))
    missing = ids[order][place] != wanted if len(ids) else np.ones(len(wanted), dtype=bool)
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise DataFormatError(
            f"{path}: TARGETID {wanted[row]} (row {row} of REDSHIFTS, one of {missing.sum()}) is "
            f"not in {where}; give the coadd and the redrock file of the same spectra"
        )
    unique, count = np.unique(ids, return_counts=True)
    twice = np.intersect1d(unique[count > 1], wanted)
    if len(twice):
        raise DataFormatError(
            f"{path}: TARGETID {twice[0]} (one of {len(twice)}) is in {where} more than once "
            "and in another order; give the coadd, not the single exposures"
        )
    return np.asarray(order[place])


def _in_rows(file: FitsFile, hdu: Hdu, names: Sequence[str], target_id: NDArray[np.int64]) -> Block:
    ids = integer_column(file, hdu, "TARGETID")
    place = match_rows(target_id, ids, str(file.path), hdu.name)
    return {name: values[place] for name, values in file.columns(hdu, names).items()}


def _fits(file: FitsFile) -> RedrockFits:
    hdu = file.need(_HDU)
    ids = integer_column(file, hdu, "TARGETID")
    found = file.columns(hdu, _FIT_COLUMNS)
    missing = [name for name in _FIT_COLUMNS if name not in found]
    if missing:
        raise DataFormatError(
            f"{file.path}: {_HDU} has no column {', '.join(missing)}; expected a redrock file"
        )
    header = file.hdus[0].header
    return RedrockFits(
        target_id=ids,
        z=_number(found, "Z"),
        zerr=_number(found, "ZERR"),
        zwarn=found["ZWARN"].astype(np.int64),
        spectype=found["SPECTYPE"].astype(np.str_),
        subtype=found["SUBTYPE"].astype(np.str_),
        chi2=_number(found, "CHI2"),
        deltachi2=_number(found, "DELTACHI2"),
        coeff=_number(found, "COEFF").reshape(len(ids), -1),
        version=str(header.get("RRVER", "unknown")),
        templates=tuple(_templates(header)),
    )


def _number(found: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float64]:
    return found[name].astype(np.float64)


def _templates(header: Mapping[str, Any]) -> Sequence[str]:
    names = (f"{i:02d}" for i in range(_MOST_TEMPLATES))
    return [
        f"{header[f'TEMNAM{number}']} {header.get(f'TEMVER{number}', 'unknown')}"
        for number in names
        if f"TEMNAM{number}" in header
    ]
