"""SDSS, BOSS and eBOSS spectra: spec-* files (lite and full) and spPlate-* files."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import DataFormatError
from quasarloop.read.fits_reader import FitsFile
from quasarloop.read.formats import (
    Format,
    Identity,
    header_wavelengths,
    sdss_target_id,
    wavelengths,
)
from quasarloop.spectra import Arm, Keys

__all__ = [
    "OBJECT_HDU",
    "PLUGMAP_HDU",
    "SDSSV_COLUMN",
    "SDSS_PLATE",
    "SDSS_SPEC",
    "columns_of",
    "is_spec",
    "observe_plate",
    "observe_spec",
]

_SPEC_COLUMNS: Final = ("FLUX", "LOGLAM", "IVAR", "AND_MASK")
# The object table is HDU 2, whatever its name and however many columns it has.
OBJECT_HDU: Final = 2
# Only spectra of SDSS-V have it: `quasarloop.read.sdssv` reads them.
SDSSV_COLUMN: Final = "CATALOGID"
_OBJECT_COLUMNS: Final = ("PLATE", "MJD", "FIBERID", "THING_ID", "PLUG_RA", "PLUG_DEC")
_TYPE_COLUMNS: Final = ("OBJTYPE", "SOURCETYPE")
# An spPlate file: flux, ivar, and-mask, or-mask, dispersion, plug map, …
PLUGMAP_HDU: Final = 5
# First plate of the BOSS spectrographs. Source: docs/reference/spectra.md, "Survey files".
_FIRST_BOSS_PLATE: Final = 3510


def _identify_spec(fits: FitsFile) -> Identity:
    found: dict[str, Any] = {}
    if len(fits.hdus) > OBJECT_HDU and fits.hdus[OBJECT_HDU].is_table:
        table = fits.columns(fits.hdus[OBJECT_HDU], [*_OBJECT_COLUMNS, *_TYPE_COLUMNS], slice(1))
        found = {name: values[0] for name, values in table.items() if len(values)}
    header = fits.hdus[0].header
    # RA and DEC of the header are the plate's: a degree and more from the fibre.
    for name in ("PLATE", "MJD", "FIBERID", "PLUG_RA", "PLUG_DEC"):
        card = "PLATEID" if name == "PLATE" else name
        if name not in found and card in header:
            found[name] = header[card]
    for name in ("PLATE", "MJD", "FIBERID"):
        if not isinstance(found.get(name), int | np.integer):
            raise DataFormatError(
                f"{fits.path}: {name} is {found.get(name)!r}; expected an integer in HDU 2 or "
                "in the primary header, to identify the spectrum"
            )
    one = {name: np.array([value]) for name, value in found.items()}
    object_type = next((str(found[name]).strip() for name in _TYPE_COLUMNS if name in found), "")
    return _identity(fits, one, np.array([object_type]))


def columns_of(fits: FitsFile, number: int) -> set[str]:
    """Return the columns of an HDU, in capitals; none where it is absent or no table."""
    return set(fits.hdus[number].columns) if len(fits.hdus) > number else set()


def is_spec(fits: FitsFile) -> bool:
    """Return whether HDU 1 is the table of one SDSS spectrum."""
    return {"FLUX", "LOGLAM", "IVAR"} <= columns_of(fits, 1)


def observe_spec(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    """Read the coadd of a spec file; the single exposures of full files are left alone.

    Raises:
        DataFormatError: a column of another type, or no pixels.
    """
    hdu = fits.hdus[1]
    columns = fits.columns(hdu, _SPEC_COLUMNS)
    for name in ("FLUX", "LOGLAM", "IVAR"):
        if columns[name].dtype.kind != "f" or columns[name].ndim != 1:
            raise DataFormatError(
                f"{fits.path}: {hdu.label()}: column {name} is of type {columns[name].dtype}; "
                "expected one floating-point number per pixel"
            )
    if hdu.n_rows == 0:
        raise DataFormatError(f"{fits.path}: {hdu.label()} has no rows; expected pixels")
    wave = wavelengths(fits, 10.0 ** columns["LOGLAM"].astype(np.float64), "LOGLAM")
    mask = columns.get("AND_MASK") if masks else None
    arm = Arm(
        "brz",
        wave,
        columns["FLUX"][None, :][rows],
        columns["IVAR"][None, :][rows],
        None if mask is None else mask[None, :][rows],
    )
    return (arm,)


def _is_plate(fits: FitsFile) -> bool:
    columns = columns_of(fits, PLUGMAP_HDU)
    header = set(fits.hdus[0].header)
    return (
        "FIBERID" in columns
        and SDSSV_COLUMN not in columns
        and {"COEFF0", "COEFF1", "PLATEID"} <= header
    )


def _identify_plate(fits: FitsFile) -> Identity:
    header = fits.hdus[0].header
    plugmap = fits.hdus[PLUGMAP_HDU]
    n_rows = fits.hdus[0].n_rows
    if plugmap.n_rows != n_rows or n_rows == 0:
        raise DataFormatError(
            f"{fits.path}: the plug map has {plugmap.n_rows} rows and the flux {n_rows}; "
            "expected the same number, and at least one"
        )
    found = fits.columns(plugmap, ["FIBERID", "RA", "DEC", "OBJTYPE", "THING_ID"])
    found["PLATE"] = np.full(n_rows, header["PLATEID"])
    found["MJD"] = np.full(n_rows, header["MJD"])
    renamed = {"RA": "PLUG_RA", "DEC": "PLUG_DEC"}
    columns = {renamed.get(name, name): values for name, values in found.items()}
    object_type = np.char.strip(columns.get("OBJTYPE", np.full(n_rows, "")))
    return _identity(fits, columns, object_type)


def observe_plate(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    """Read some rows of an spPlate, spField or spFullsky file."""
    flux, ivar = (fits.image(hdu, rows) for hdu in fits.hdus[:2])
    mask = fits.image(fits.hdus[2], rows) if masks else None
    wave = header_wavelengths(fits, fits.hdus[0].shape[-1])
    return (Arm("brz", wave, flux, ivar, mask),)


def _identity(
    fits: FitsFile, found: dict[str, NDArray[Any]], object_type: NDArray[np.str_]
) -> Identity:
    target_id = sdss_target_id(found["PLATE"], found["MJD"], found["FIBERID"])
    n_rows = len(target_id)
    plate = fits.hdus[0].header.get("PLATEID", 0)
    survey = "boss" if isinstance(plate, int) and plate >= _FIRST_BOSS_PLATE else "sdss"
    thing_id = np.asarray(found.get("THING_ID", np.full(n_rows, -1)), dtype=np.int64)
    keys = Keys.make(
        target_id,
        object_id=np.where(thing_id > 0, thing_id, target_id),
        ra_deg=found.get("PLUG_RA", np.full(n_rows, np.nan)),
        dec_deg=found.get("PLUG_DEC", np.full(n_rows, np.nan)),
        survey=np.full(n_rows, survey),
        tile_id=found["PLATE"],
        night=found["MJD"],
        fiber=found["FIBERID"],
        object_type=object_type,
    )
    return Identity(keys, np.char.startswith(np.char.upper(object_type), "SKY"))


SDSS_SPEC: Final = Format(
    "SDSS spec file",
    "HDU 1 a table with FLUX, LOGLAM and IVAR",
    lambda fits: is_spec(fits) and SDSSV_COLUMN not in columns_of(fits, OBJECT_HDU),
    _identify_spec,
    observe_spec,
)
SDSS_PLATE: Final = Format(
    "SDSS spPlate file",
    "a primary image with COEFF0, COEFF1, PLATEID and a plug map in HDU 5",
    _is_plate,
    _identify_plate,
    observe_plate,
)
