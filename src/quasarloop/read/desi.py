"""DESI spectra: coadd-*, spectra-*, cframe-* files, and the "andes" tables without ivar.

Without an inverse variance every pixel counts alike: ivar is 1 where the flux is finite
and not exactly 0 (what masked pixels hold), 0 elsewhere. S/N of such spectra means nothing.
"""

import logging
import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.arrays import estimate_ivar
from quasarloop.columns import IDENTITY
from quasarloop.errors import DataFormatError
from quasarloop.read.fits_reader import FitsFile
from quasarloop.read.formats import Format, Identity, integer_column, wavelengths
from quasarloop.spectra import Arm, Keys

__all__ = ["DESI_COADD", "DESI_FRAME", "DESI_TABLE", "TARGET_TYPE", "on_target"]

logger = logging.getLogger(__name__)

# OBJTYPE of a fibre aimed at a target; all others are sky or broken fibres.
TARGET_TYPE: Final = "TGT"
# Bit of a TARGETID that marks a place of blank sky. Source: docs/reference/spectra.md.
_SKY_BIT: Final = 59

_FLUX_NAME: Final = re.compile(r"([BRZ]+)_FLUX")
# FIBERMAP columns of any file -> our key; of several with one key the first is taken.
_KEY_COLUMNS: Final = {
    name: key
    for key, column in IDENTITY.items()
    for name in ((column.name,) if column.fibermap is None else column.fibermap)
}
# Header keywords that hold for all rows, used where the FIBERMAP is silent.
_KEY_CARDS: Final = {card: key for key, column in IDENTITY.items() for card in column.cards}


def on_target(object_type: NDArray[np.str_], target_id: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (n,) True for fibres aimed at a target: OBJTYPE is TGT.

    Where OBJTYPE is unknown (``""``) the TARGETID decides: that of a target is positive and has
    no sky bit.
    """
    by_number = (target_id > 0) & ((target_id >> _SKY_BIT) & 1 == 0)
    return np.asarray(np.where(object_type == "", by_number, object_type == TARGET_TYPE))


def _observe_coadd(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    return tuple(_arm(fits, name, f"{name.upper()}_", rows, masks) for name in _arm_names(fits))


def _arm(fits: FitsFile, name: str, prefix: str, rows: slice, masks: bool) -> Arm:
    wave_hdu = fits.need(f"{prefix}WAVELENGTH")
    mask = fits.named(f"{prefix}MASK") if masks else None
    return Arm(
        name=name,
        wave_aa=wavelengths(fits, fits.image(wave_hdu), wave_hdu.label()),
        flux=fits.image(fits.need(f"{prefix}FLUX"), rows),
        ivar=fits.image(fits.need(f"{prefix}IVAR"), rows),
        mask=None if mask is None else fits.image(mask, rows),
    )


def _observe_frame(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    camera = str(_card(fits, "CAMERA") or "").strip().lower()
    if camera[:1] not in ("b", "r", "z"):
        raise DataFormatError(
            f"{fits.path}: keyword CAMERA is {camera!r}; expected b, r or z and a number"
        )
    return (_arm(fits, camera[:1], "", rows, masks),)


def _is_frame(fits: FitsFile) -> bool:
    """Other surveys have HDUs of these names, too; DESI's also have a camera or a FIBERMAP."""
    named = all(fits.named(name) is not None for name in ("FLUX", "IVAR", "WAVELENGTH"))
    return named and (fits.named("FIBERMAP") is not None or _card(fits, "CAMERA") is not None)


def _arm_names(fits: FitsFile) -> list[str]:
    found = (_FLUX_NAME.fullmatch(hdu.name) for hdu in fits.hdus)
    return [match[1].lower() for match in found if match]


def _identify(fits: FitsFile, n_rows: int) -> Identity:
    fibermap = fits.named("FIBERMAP") or fits.named("SCORES")
    known: dict[str, NDArray[Any]] = {}
    if fibermap is None:
        logger.warning(
            "%s has no FIBERMAP: its %d targets are unknown (TARGETID -1)", fits.path, n_rows
        )
        target_id = np.full(n_rows, -1, dtype=np.int64)
    else:
        target_id = integer_column(fits, fibermap, "TARGETID")
        columns = fits.columns(fibermap, list(_KEY_COLUMNS))
        for column, key in _KEY_COLUMNS.items():
            if column in columns:
                known.setdefault(key, columns[column])
    if len(target_id) != n_rows:
        raise DataFormatError(
            f"{fits.path}: FIBERMAP has {len(target_id)} rows but the flux {n_rows}; "
            "rows must match one to one"
        )
    if n_rows == 0:
        raise DataFormatError(f"{fits.path}: no rows; expected at least one spectrum")
    for card, key in _KEY_CARDS.items():
        value = _card(fits, card)
        if key not in known and value is not None:
            known[key] = np.full(n_rows, value)
    if "tile_id" not in known:
        known |= _tiles_of_exposures(fits, target_id)
    object_type = known.get("object_type", np.full(n_rows, ""))
    unknown = (object_type == "") & (target_id <= 0)  # has a flag of its own
    not_target = ~on_target(object_type, target_id) & ~unknown
    try:
        keys = Keys.make(target_id, **known)
    except ValueError as exc:
        raise DataFormatError(
            f"{fits.path}: a column of the FIBERMAP has the wrong type: {exc}"
        ) from exc
    return Identity(keys, np.asarray(not_target))


def _tiles_of_exposures(fits: FitsFile, target_id: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Tile of each target, if all its exposures are of one tile (-1 otherwise)."""
    exposures = fits.named("EXP_FIBERMAP")
    if exposures is None or not {"TARGETID", "TILEID"} <= set(exposures.columns):
        return {}
    ids = integer_column(fits, exposures, "TARGETID")
    tiles = integer_column(fits, exposures, "TILEID")
    order = np.lexsort((tiles, ids))
    ids, tiles = ids[order], tiles[order]
    first = np.searchsorted(ids, target_id, side="left")
    last = np.searchsorted(ids, target_id, side="right") - 1
    one = (last >= first) & (tiles[np.minimum(first, len(tiles) - 1)] == tiles[last])
    return {"tile_id": np.where(one, tiles[last], -1)}


def _card(fits: FitsFile, keyword: str) -> Any:
    """First value of a keyword in the headers of the whole file's HDUs that describe it."""
    hdus = (fits.hdus[0], fits.named("FLUX"), fits.named("FIBERMAP"))
    return next((h.header[keyword] for h in hdus if h is not None and keyword in h.header), None)


def _refuse(fits: FitsFile) -> str:
    """Flux in electrons or counts has the detector's throughput in it.

    Source: docs/reference/spectra.md, "Survey files".
    """
    for hdu in fits.hdus:
        unit = str(hdu.header.get("BUNIT", "")).strip() if hdu.name.endswith("FLUX") else ""
        if unit and "erg" not in unit.lower():
            return (
                f"{hdu.label()} has BUNIT {unit}: not flux-calibrated, as in frame and sframe "
                "files; give the cframe or coadd file"
            )
    return ""


DESI_COADD: Final = Format(
    "DESI coadd or spectra file",
    "HDUs B_WAVELENGTH, B_FLUX, B_IVAR, … and a FIBERMAP",
    lambda fits: bool(_arm_names(fits)),
    lambda fits: _identify(fits, fits.need(f"{_arm_names(fits)[0].upper()}_FLUX").n_rows),
    _observe_coadd,
    _refuse,
)
DESI_FRAME: Final = Format(
    "DESI cframe file",
    "HDUs FLUX, IVAR, WAVELENGTH, and a FIBERMAP or the card CAMERA",
    _is_frame,
    lambda fits: _identify(fits, fits.need("FLUX").n_rows),
    _observe_frame,
    _refuse,
)

_TARGET_COLUMN: Final = re.compile(r"TARGET(-?\d+)")


def _targets(fits: FitsFile) -> dict[str, int]:
    columns = fits.hdus[1].columns if len(fits.hdus) > 1 else {}
    matches = {name: _TARGET_COLUMN.fullmatch(name) for name in columns}
    return {name: int(match[1]) for name, match in matches.items() if match}


def _identify_table(fits: FitsFile) -> Identity:
    target_id = np.array(list(_targets(fits).values()), dtype=np.int64)
    return Identity(Keys.make(target_id), np.zeros(len(target_id), dtype=bool), is_estimated=True)


def _observe_table(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    names = list(_targets(fits))[rows]
    columns = fits.columns(fits.hdus[1], ["WAVELENGTH", *names])
    wave = wavelengths(fits, columns["WAVELENGTH"], "column WAVELENGTH")
    flux = np.array([columns[name] for name in names]).reshape(len(names), len(wave))
    return (Arm("brz", wave, flux, estimate_ivar(flux).astype(np.float32)),)


DESI_TABLE: Final = Format(
    "DESI andes table",
    "HDU 1 a table with WAVELENGTH and columns TARGETnnn",
    lambda fits: bool(_targets(fits)) and "WAVELENGTH" in fits.hdus[1].columns,
    _identify_table,
    _observe_table,
)
