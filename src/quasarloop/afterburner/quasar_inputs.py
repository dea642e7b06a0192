"""Inputs of a quasar catalogue: redrock, qso_qn and qso_mgii files, row by row."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.file_columns import MGII_COLUMNS, PHASES, SECONDARY_COLUMNS
from quasarloop.afterburner.redrock_file import RedrockRows, find_rows, read_redrock_rows
from quasarloop.catalogue.classify import read_catalogue
from quasarloop.columns import Block, columns_of_lines
from quasarloop.errors import DataFormatError
from quasarloop.lines import EMISSION_LINES
from quasarloop.read.fits_reader import open_fits
from quasarloop.read.formats import integer_column

__all__ = [
    "companion",
    "find_redrocks",
    "input_files",
    "read_mgii_file",
    "read_network_file",
    "read_redrock_file",
    "read_target_ids",
]

logger = logging.getLogger(__name__)

_FIBERMAP: Final = (
    "COADD_FIBERSTATUS", "COADD_NUMEXP", "COADD_EXPTIME", *(phase.column for phase in PHASES),
    *SECONDARY_COLUMNS,
)  # fmt: skip

# Columns of desispec's qso_qn file that a catalogue needs.
_QN_COLUMNS: Final = (
    "TARGETID", "IS_QSO_QN_NEW_RR", "Z_QN",
    *(column.name for column in columns_of_lines(EMISSION_LINES)),
    "Z_NEW", "ZERR_NEW", "ZWARN_NEW", "SPECTYPE_NEW",
)  # fmt: skip
# Columns quasarloop's own afterburner adds; NaN for files without them.
_QN_EXTRA: Final = ("C_BAL", "Z_JOINT", "ZERR_JOINT", "Z_ALT", "P_ALT")
_SHOWN: Final = 5  # identifiers named in a message


def read_redrock_file(path: str | Path) -> RedrockRows:
    """Read what a catalogue needs from a redrock file.

    Raises:
        DataFormatError: unreadable, an HDU or column missing, TARGETIDs twice, or tables that do
            not belong together.
    """
    rows = read_redrock_rows(path, {"FIBERMAP": _FIBERMAP, "TSNR2": ("TSNR2_LYA", "TSNR2_QSO")})
    _refuse_duplicates(path, "REDSHIFTS", rows.target_id)
    return rows


def read_network_file(path: str | Path, target_id: NDArray[np.int64]) -> Block:
    """Read a qso_qn file (HDU QN_RR) in the rows of a redrock file.

    Args:
        path: written by quasarloop's or desispec's afterburner.
        target_id: of the redrock file.

    Returns:
        Columns of desispec's file, the joint columns (NaN where the file has none) and
        RERUN_BITS (0 where it has none).

    Raises:
        DataFormatError: unreadable, a column missing, a target twice, or targets that the redrock
            file does not have.
    """
    block = _read_matched(
        path, ("QN_RR", "QN+RR"), _QN_COLUMNS, target_id, (*_QN_EXTRA, "RERUN_BITS")
    )
    for name in _QN_EXTRA:
        block.setdefault(name, np.full(len(target_id), np.nan))
    block.setdefault("RERUN_BITS", np.zeros(len(target_id), dtype=np.int32))
    return block


def read_mgii_file(path: str | Path, target_id: NDArray[np.int64]) -> Block:
    """Read a qso_mgii file (HDU MGII) in the rows of a redrock file.

    Returns:
        `MGII_COLUMNS`.

    Raises:
        DataFormatError: as `read_network_file`.
    """
    return _read_matched(path, ("MGII",), MGII_COLUMNS, target_id)


def read_target_ids(path: str | Path) -> NDArray[np.int64]:
    """Read the TARGETID column of any table (.fits, .parquet, .csv, .ecsv), sorted, once each.

    Raises:
        DataFormatError: unreadable, or TARGETID missing or not integer.
    """
    column = read_catalogue(path, ["TARGETID"])["TARGETID"]
    if column.size and column.dtype.kind not in "iu":
        raise DataFormatError(f"{path}: TARGETID holds {column.dtype}; expected 64-bit integers")
    return np.unique(column.astype(np.int64))


def _read_matched(
    path: str | Path,
    hdus: Sequence[str],
    needed: Sequence[str],
    target_id: NDArray[np.int64],
    extra: Sequence[str] = (),
) -> Block:
    with open_fits(path) as fits:
        found = next((hdu for name in hdus if (hdu := fits.named(name)) is not None), None)
        hdu = found or fits.need(hdus[0])
        block = fits.columns(hdu, (*needed, *extra))
        theirs = integer_column(fits, hdu, "TARGETID")
    missing = [name for name in needed if name not in block]
    if missing:
        raise DataFormatError(
            f"{path}: {hdu.label()} has no column {', '.join(missing)}; found "
            f"{', '.join(hdu.columns)}. The file is of another kind or version"
        )
    if np.array_equal(theirs, target_id):
        return block
    # Some pipelines write only part of the targets, or in another order: then by TARGETID.
    _refuse_duplicates(path, hdus[0], theirs)
    row = find_rows(theirs, target_id)
    strangers = theirs[row < 0]
    if len(strangers):
        raise DataFormatError(
            f"{path}: {len(strangers)} of {len(theirs)} targets are not in the redrock file "
            f"({_some(strangers)}); give files of the same tile or pixel"
        )
    if len(theirs) < len(target_id):
        logger.warning(
            "%s has %d of the %d targets; the others count as not classified",
            path, len(theirs), len(target_id),
        )  # fmt: skip
    out: Block = {}
    for name, values in block.items():
        fill = np.nan if values.dtype.kind == "f" else values.dtype.type()
        out[name] = np.full((len(target_id), *values.shape[1:]), fill, dtype=values.dtype)
        out[name][row] = values
    return {**out, "TARGETID": target_id}


def _refuse_duplicates(path: str | Path, hdu: str, target_id: NDArray[Any]) -> None:
    values, counts = np.unique(target_id, return_counts=True)
    if (counts > 1).any():
        raise DataFormatError(
            f"{path}: {hdu} has {int((counts > 1).sum())} targets more than once "
            f"({_some(values[counts > 1])}); expected one row per target"
        )


def _some(values: NDArray[Any]) -> str:
    return ", ".join(map(str, values[:_SHOWN])) + (", …" if len(values) > _SHOWN else "")


_PREFIX: Final = "redrock-"
_PACKED: Final = ".gz"


def find_redrocks(paths: Sequence[str | Path]) -> list[Path]:
    """Expand folders into the redrock files below them, sorted; files stay as given.

    Raises:
        DataFormatError: a path does not exist, or a folder has none.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            below = sorted(p for end in ("", _PACKED) for p in path.rglob(f"{_PREFIX}*.fits{end}"))
            if not below:
                raise DataFormatError(f"{path}: no {_PREFIX}*.fits in this folder or below")
            found += below
        elif path.is_file():
            found.append(path)
        else:
            raise DataFormatError(f"{path}: no such file or folder; check the name")
    return found


def companion(redrock: Path, prefix: str, folder: str | Path | None = None) -> Path:
    """Return the file of the same spectra that another step made, whether it is there or not.

    Args:
        redrock: ``redrock-NAME.fits``.
        prefix: ``"coadd-"``, ``"qso_qn-"``, ...; of NAME.fits and NAME.fits.gz the one that is
            there.
        folder: where it is, there itself or in folders as those of the redrock file; None is
            beside the redrock file.

    Raises:
        DataFormatError: the redrock file has another kind of name.
    """
    if not redrock.name.startswith(_PREFIX):
        raise DataFormatError(
            f"{redrock}: expected a name {_PREFIX}…, from which those of the other files follow"
        )
    plain = prefix + redrock.name.removeprefix(_PREFIX).removesuffix(_PACKED)
    folders = [redrock.parent]
    if folder is not None:
        parts = redrock.parent.parts
        # The longest common path wins: several folders may hold files of one name.
        folders = [
            Path(folder).joinpath(*parts[start:])
            for start in range(min(1, len(parts)), len(parts) + 1)
        ]
    candidates = [place / (plain + end) for place in folders for end in ("", _PACKED)]
    return next((path for path in candidates if path.is_file()), folders[-1] / plain)


def input_files(
    redrock: Path,
    network_dir: str | Path | None,
    mgii: Literal["auto", "file", "fit", "none"],
) -> tuple[Path, Path | None, Path | None]:
    """Return the qso_qn file, and a qso_mgii file or a coadd to fit (or neither).

    Raises:
        DataFormatError: one that is needed is not there.
    """
    network = companion(redrock, "qso_qn-", network_dir)
    if not network.is_file():
        raise DataFormatError(
            f"{network} is missing; make it with quasarloop afterburner, or give its folder"
        )
    fitted, coadd = companion(redrock, "qso_mgii-"), companion(redrock, "coadd-")
    if mgii == "none":
        return network, None, None
    if mgii != "fit" and fitted.is_file():
        return network, fitted, None
    if mgii != "file" and coadd.is_file():
        return network, None, coadd
    wanted = {"file": fitted.name, "fit": coadd.name, "auto": f"{fitted.name} or {coadd.name}"}
    raise DataFormatError(f"no {wanted[mgii]} beside {redrock}; put it there, or go without Mg II")
