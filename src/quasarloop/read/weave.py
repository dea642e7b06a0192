"""WEAVE spectra: L1 files of one arm (single, stack, superstack, supertarget), and L2 files.

L1 holds counts and a sensitivity function: their product is the flux, up to the exposure time.
L2 holds the calibrated arms of each target together. Flux is stored in 1e-17 erg/s/cm²/Å.
Wavelengths are in air unless CTYPE1 has WAVE.

Source: WEAVE Data Products User Guide (CASU 2026); philastrophist/weave-io ``weaveio/opr3``.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import vacuum_wavelengths
from quasarloop.errors import DataFormatError
from quasarloop.read.fits_reader import FitsFile, Hdu
from quasarloop.read.formats import (
    Format,
    Identity,
    card_integer,
    first_of,
    linear_wavelengths,
    named_id,
    wavelengths,
)
from quasarloop.spectra import Arm, Keys

__all__ = ["WEAVE_L1", "WEAVE_L2"]

# Camera -> name of our arm; the red one covers DESI's r and z.
_ARMS: Final = {"BLUE": "b", "GREEN": "b", "RED": "rz"}
_SCALE: Final = 1e17
# TARGUSE of fibres on nothing: sky, guide stars, random places.
_NOT_TARGETS: Final = ("S", "G", "R")
_L1_DIMENSIONS: Final = 2
# Field of `Keys` -> its columns, the first there is taken; and cards that hold for all rows.
_COLUMNS: Final = {
    "ra_deg": ("TARGRA", "FIBRERA"),
    "dec_deg": ("TARGDEC", "FIBREDEC"),
    "fiber": ("FIBREID", "APS_ID"),
    "object_type": ("TARGUSE",),
    "program": ("TARGPROG",),
}
_CARDS: Final = {
    "tile_id": ("OBID", "OBID_B", "OBID_R"),
    "exposure_id": ("RUN",),
    "night": ("MJD-OBS",),
}
# Wavelengths of the rows of an L2 file are written for each of them, and are the same.
_SAME_AA: Final = 0.01


def _camera(fits: FitsFile) -> str:
    """Return which camera an L1 file is of, empty if it is none."""
    return next((camera for camera in _ARMS if fits.named(f"{camera}_DATA")), "")


def _refuse_l1(fits: FitsFile) -> str:
    if len(fits.need(f"{_camera(fits)}_DATA").shape) > _L1_DIMENSIONS:
        return "a WEAVE data cube; give a single, stack or superstack file of fibres"
    return ""


def _identify_l1(fits: FitsFile) -> Identity:
    data, fibres = fits.need(f"{_camera(fits)}_DATA"), fits.need("FIBTABLE")
    n_rows = data.n_rows if len(data.shape) == _L1_DIMENSIONS else 1
    number = fits.columns(fibres, ["NSPEC"]).get("NSPEC", np.arange(1, fibres.n_rows + 1))
    # The table may list fibres without a spectrum, in any order: NSPEC is the row, from 1.
    place = np.full(n_rows, -1)
    inside = (number > 0) & (number <= n_rows)
    place[number[inside].astype(np.int64) - 1] = np.flatnonzero(inside)
    if n_rows == 0 or (place < 0).any():
        raise DataFormatError(
            f"{fits.path}: {np.count_nonzero(place < 0)} of {n_rows} spectra are in no row of "
            f"FIBTABLE ({fibres.n_rows} rows); expected one for each, and at least one"
        )
    return _identity(fits, fibres, place)


def _identity(fits: FitsFile, hdu: Hdu, place: NDArray[np.int64]) -> Identity:
    found = fits.columns(hdu, ["CNAME", *(name for names in _COLUMNS.values() for name in names)])
    if "CNAME" not in found:
        raise DataFormatError(f"{fits.path}: {hdu.label()} has no column CNAME; targets unknown")
    table = {name: values[place] for name, values in found.items()}
    names = table["CNAME"].tolist()
    target_id = np.array([named_id(name) if name else -1 for name in names], np.int64)
    known = first_of(table, _COLUMNS) | {"survey": np.full(len(place), "weave")}
    for field, cards in _CARDS.items():
        known[field] = np.full(len(place), card_integer(cards, (fits.hdus[0],)))
    keys = Keys.make(target_id, **known)
    return Identity(keys, np.isin(np.char.strip(keys.object_type), _NOT_TARGETS))


def _observe_l1(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    camera = _camera(fits)
    data, ivar, sensitivity = (
        fits.need(f"{camera}_{name}") for name in ("DATA", "IVAR", "SENSFUNC")
    )
    wave = linear_wavelengths(fits, data, data.shape[-1], air=True)
    counts, weight, factor = (
        np.atleast_2d(fits.image(hdu, rows if len(hdu.shape) == _L1_DIMENSIONS else None))
        for hdu in (data, ivar, sensitivity)
    )
    if factor.shape[-1] != len(wave) or len(factor) not in (1, len(counts)):
        raise DataFormatError(
            f"{fits.path}: {sensitivity.label()} has shape {sensitivity.shape}; expected that of "
            f"{data.label()}, {data.shape}"
        )
    scale = factor.astype(np.float64) * _SCALE
    per_flux = np.divide(1.0, np.square(scale), out=np.zeros_like(scale), where=scale > 0)
    return (Arm(_ARMS[camera], wave, _flux(counts * scale), _flux(weight * per_flux)),)


def _l2_table(fits: FitsFile) -> Hdu | None:
    return next((hdu for hdu in fits.hdus if _l2_cameras(hdu)), None)


def _l2_cameras(hdu: Hdu) -> list[str]:
    return [camera for camera in _ARMS if f"FLUX_RR_{camera[0]}" in hdu.columns]


def _need_l2(fits: FitsFile) -> Hdu:
    hdu = _l2_table(fits)
    if hdu is None or hdu.n_rows == 0:
        raise DataFormatError(f"{fits.path}: no rows of FLUX_RR_B or FLUX_RR_R; expected spectra")
    return hdu


def _identify_l2(fits: FitsFile) -> Identity:
    hdu = _need_l2(fits)
    return _identity(fits, hdu, np.arange(hdu.n_rows))


def _observe_l2(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    hdu = _need_l2(fits)
    arms = []
    for camera in _l2_cameras(hdu):
        names = [f"{kind}_RR_{camera[0]}" for kind in ("LAMBDA", "FLUX", "IVAR")]
        table = fits.columns(hdu, names, rows)
        missing = [name for name in names if name not in table]
        if missing:
            raise DataFormatError(f"{fits.path}: no column {', '.join(missing)}; found its flux")
        wave, flux, ivar = (np.atleast_2d(table[name]) for name in names)
        first = fits.columns(hdu, names[:1], slice(1))[names[0]].astype(np.float64).reshape(-1)
        if np.abs(wave - first).max(initial=0.0) > _SAME_AA:
            raise DataFormatError(
                f"{fits.path}: rows of {names[0]} differ; expected the wavelengths of all targets "
                "to be the same"
            )
        air = wavelengths(fits, first, f"column {names[0]}")
        arms.append(
            Arm(
                _ARMS[camera],
                vacuum_wavelengths(air),
                _flux(flux * _SCALE),
                _flux(ivar.astype(np.float64) / _SCALE**2),
            )
        )
    return tuple(arms)


def _flux(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what does not fit is infinite: it will be flagged
        return values.astype(np.float32)


WEAVE_L1: Final = Format(
    "WEAVE L1 file",
    "HDUs BLUE_DATA or RED_DATA, their IVAR and SENSFUNC, and FIBTABLE",
    lambda fits: bool(_camera(fits)),
    _identify_l1,
    _observe_l1,
    _refuse_l1,
)
WEAVE_L2: Final = Format(
    "WEAVE L2 file",
    "a table with LAMBDA_RR_B, FLUX_RR_B and IVAR_RR_B, and the same of R",
    lambda fits: _l2_table(fits) is not None,
    _identify_l2,
    _observe_l2,
)
