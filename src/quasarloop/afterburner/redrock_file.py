"""redrock-*.fits: redrock's fit of each row, and the target of the row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.file_columns import Phase, phase_of
from quasarloop.columns import Block
from quasarloop.errors import DataFormatError
from quasarloop.read.fits_reader import FitsFile, Hdu, open_fits
from quasarloop.read.formats import integer_column

__all__ = [
    "RedrockFits",
    "RedrockRows",
    "find_rows",
    "match_rows",
    "read_fits",
    "read_redrock_rows",
]

_HDU: Final = "REDSHIFTS"
_FIT_COLUMNS: Final = (
    "Z", "ZERR", "ZWARN", "SPECTYPE", "SUBTYPE", "CHI2", "DELTACHI2", "COEFF",
)  # fmt: skip


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
        return len(self.target_id)

    @property
    def target_id(self) -> NDArray[np.int64]:
        """(n,) int64 TARGETID."""
        return self.fits.target_id


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
    unknown = {"TARGET_RA": np.nan, "TARGET_DEC": np.nan, "OBJTYPE": "", phase.column: 0}
    found = {name: np.full(len(fits.target_id), value) for name, value in unknown.items()} | found
    return RedrockRows(
        fits=fits,
        ra_deg=found["TARGET_RA"].astype(np.float64),
        dec_deg=found["TARGET_DEC"].astype(np.float64),
        object_type=np.char.strip(found["OBJTYPE"].astype(np.str_)),
        phase=phase,
        target_bits=found[phase.column].astype(np.int64),
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


def find_rows(wanted: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the first row of each wanted TARGETID in `ids`, -1 where it is not there."""
    order = np.argsort(ids, kind="stable")
    rows = np.append(order, -1)[np.searchsorted(ids, wanted, sorter=order)]
    return np.where(np.append(ids, 0)[rows] == wanted, rows, -1)


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
    rows = find_rows(wanted, ids)
    missing = rows < 0
    if missing.any():
        row = int(np.argmax(missing))
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
    return rows


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
    numbers = [f"{i:02d}" for i in range(100) if f"TEMNAM{i:02d}" in header]
    templates = (f"{header[f'TEMNAM{i}']} {header.get(f'TEMVER{i}', 'unknown')}" for i in numbers)
    types: dict[str, Any] = {"ZWARN": np.int64, "SPECTYPE": np.str_, "SUBTYPE": np.str_}
    fits: dict[str, Any] = {}
    for name in _FIT_COLUMNS:
        values, kind = found[name], types.get(name, np.float64)
        right = "U" if kind is np.str_ else "iu" if kind is np.int64 else "fiu"
        if values.dtype.kind not in right or (values.ndim != 1 and name != "COEFF"):
            raise DataFormatError(
                f"{file.path}: {_HDU}: column {name} has the format "
                f"{hdu.header.get(f'TFORM{hdu.columns[name]}')!r}; expected one "
                f"{'word' if kind is np.str_ else 'number'} per row, as in a redrock file"
            )
        fits[name.lower()] = values.astype(kind)
    fits["coeff"] = fits["coeff"].reshape(len(ids), int(np.prod(fits["coeff"].shape[1:])))
    return RedrockFits(
        target_id=ids,
        **fits,
        version=str(header.get("RRVER", "unknown")),
        templates=tuple(templates),
    )
