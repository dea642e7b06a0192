"""SDSS-V spectra of BOSS (idlspec2d v6): spec-FIELD-MJD-CATALOGID, spField and spFullsky files.

Pixels are as in SDSS's older files. A spectrum is identified by CATALOGID, an object by SDSS_ID;
plates and fibres are named only in the first years, robots have none.

Source: sdss/idlspec2d ``datamodel/spall_dm.par``, ``python/boss_drp/post/spSpec_reformat.py``,
``pro/spec1d/spspec2spfullsky.pro``.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.columns import integer_ids
from quasarloop.errors import DataFormatError
from quasarloop.read.fits_reader import FitsFile, Hdu
from quasarloop.read.formats import Format, Identity, first_of, sdss_target_id
from quasarloop.read.sdss import (
    OBJECT_HDU,
    PLUGMAP_HDU,
    SDSSV_COLUMN,
    columns_of,
    is_spec,
    observe_plate,
    observe_spec,
)
from quasarloop.spectra import Keys

__all__ = ["SDSSV_FIELD", "SDSSV_SPEC", "sdssv_ids"]

SURVEY: Final = "sdss-v"
# Field of `Keys` -> names of its column, the first there is taken.
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "tile_id": ("FIELD",),
    "night": ("MJD", "MJD_FINAL"),
    "healpix": ("HEALPIX",),
    "ra_deg": ("PLUG_RA", "RACAT", "RA", "FIBER_RA"),
    "dec_deg": ("PLUG_DEC", "DECCAT", "DEC", "FIBER_DEC"),
    "program": ("PROGRAMNAME", "PROGRAM"),
    "object_type": ("OBJTYPE",),
    "fiber": ("FIBERID", "FIBERID_LIST"),
}
# Header cards that hold for all rows, where there is no column.
_CARDS: Final = {"tile_id": "FIELDID", "night": "MJD"}
_IDS: Final = (SDSSV_COLUMN, "SDSS_ID", "FIELD", "MJD", "TARGET_INDEX")


def sdssv_ids(
    table: Mapping[str, NDArray[Any]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the identifiers of rows of a table of SDSS-V, of spAll for one.

    Args:
        table: CATALOGID, and SDSS_ID, FIELD, MJD, TARGET_INDEX where there are such; (n,) each.

    Returns:
        TARGETID: CATALOGID, and of spectra without one (old plates reduced again)
        `sdss_target_id` of field, MJD and number on the field; -1 where nothing is known.
        OBJECT_ID: SDSS_ID, the same for all spectra of an object, else TARGETID.

    Raises:
        ValueError: identifiers that are no integers.
    """
    unknown = np.full(len(table[SDSSV_COLUMN]), -1, dtype=np.int64)
    catalog_id, sdss_id, *place = (integer_ids(table.get(name, unknown), name) for name in _IDS)
    numbered = np.where(np.min(place, axis=0) > 0, sdss_target_id(*place), -1)
    target_id = np.where(catalog_id > 0, catalog_id, numbered)
    return target_id, np.where(sdss_id > 0, sdss_id, target_id)


def _identify(fits: FitsFile, hdu: Hdu, rows: slice | None, n_rows: int) -> Identity:
    names = {name for wanted in _COLUMNS.values() for name in wanted} | set(_IDS)
    table = fits.columns(hdu, sorted(names), rows)
    n_found = len(table[SDSSV_COLUMN])
    if n_found != n_rows or n_rows == 0:
        raise DataFormatError(
            f"{fits.path}: {hdu.label()} has {n_found} rows for {n_rows} spectra; expected the "
            "same number, and at least one"
        )
    known = first_of(table, _COLUMNS)
    for field, name in _CARDS.items():
        word = str(fits.hdus[0].header.get(name, "")).strip()  # FIELDID is text in some versions
        if field not in known and word.isdigit():
            known[field] = np.full(n_rows, int(word))
    for field in ("tile_id", "night"):
        if field in known:
            whole = np.floor(known[field]).astype(np.int64)  # MJD_FINAL is a mean
            known[field] = np.where(whole > 0, whole, -1)
    # A coadd of several exposures lists the fibre of each.
    fibers = [set(str(fiber).split()) for fiber in known.pop("fiber", np.full(n_rows, ""))]
    one = [next(iter(f)) if len(f) == 1 else "" for f in fibers]
    fiber = np.array([int(f) if f.isdigit() else -1 for f in one], dtype=np.int64)
    target_id, object_id = sdssv_ids(table)
    known |= {"survey": np.full(n_rows, SURVEY), "object_id": object_id, "fiber": fiber}
    keys = Keys.make(target_id, **known)
    sky = np.char.startswith(np.char.upper(np.char.strip(keys.object_type)), "SKY")
    return Identity(keys, np.asarray(sky))


SDSSV_SPEC: Final = Format(
    "SDSS-V spec file",
    "HDU 1 a table with FLUX, LOGLAM and IVAR, HDU 2 one with CATALOGID",
    lambda fits: is_spec(fits) and SDSSV_COLUMN in columns_of(fits, OBJECT_HDU),
    lambda fits: _identify(fits, fits.hdus[OBJECT_HDU], slice(1), 1),
    observe_spec,
)
SDSSV_FIELD: Final = Format(
    "SDSS-V spField or spFullsky file",
    "a primary image with COEFF0 and COEFF1, and a plug map with CATALOGID in HDU 5",
    lambda fits: (
        {"COEFF0", "COEFF1"} <= set(fits.hdus[0].header)
        and SDSSV_COLUMN in columns_of(fits, PLUGMAP_HDU)
    ),
    lambda fits: _identify(fits, fits.hdus[PLUGMAP_HDU], None, fits.hdus[0].n_rows),
    observe_plate,
)
