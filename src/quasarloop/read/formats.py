"""What a spectrum format is, and the steps every format shares."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import vacuum_wavelengths
from quasarloop.errors import DataFormatError
from quasarloop.read.fits_reader import FitsFile, Hdu
from quasarloop.spectra import Arm, Flag, Keys, Spectra, clean_pixels, identity_flags

__all__ = [
    "Format",
    "Identity",
    "angstroms",
    "assemble",
    "card",
    "card_float",
    "card_integer",
    "file_id",
    "first_of",
    "header_wavelengths",
    "in_air",
    "integer_column",
    "inverse_variance",
    "linear_wavelengths",
    "named_id",
    "sdss_target_id",
    "wavelengths",
]


# Words for units of wavelength in headers -> Å.
_ANGSTROMS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("", "ANGSTROM", "ANGSTROMS", "ANGSTROEM", "AA", "A"), 1.0),
    **dict.fromkeys(("NM", "NANOMETER", "NANOMETERS"), 10.0),
    **dict.fromkeys(("UM", "MICRON", "MICRONS", "MICROMETER"), 1e4),
    "M": 1e10,
}


@dataclass(frozen=True)
class Identity:
    """Identity of all spectra of a file.

    Attributes:
        keys: one row per spectrum of the file.
        not_target: (n,) True for sky fibres and whatever the survey did not aim at a target.
        is_estimated: the file has no uncertainties, and the reader estimates them.
    """

    keys: Keys
    not_target: NDArray[np.bool_]
    is_estimated: bool = False


@dataclass(frozen=True)
class Format:
    """One file format: three functions on an open file.

    Attributes:
        name: for messages.
        looks_like: what marks the format, for the table in the documentation.
        matches: returns whether a file is of this format, from its content.
        identify: reads the identity of all rows.
        observe: reads some rows of all arms, in the file's units; the flag is True
            if masks are wanted.
        refuse: returns why a file of this format must not be classified; empty if it may be.
    """

    name: str
    looks_like: str
    matches: Callable[[FitsFile], bool]
    identify: Callable[[FitsFile], Identity]
    observe: Callable[[FitsFile, slice, bool], tuple[Arm, ...]]
    refuse: Callable[[FitsFile], str] = lambda fits: ""


def assemble(fits: FitsFile, identity: Identity, arms: tuple[Arm, ...], rows: slice) -> Spectra:
    """Clean the pixels of some rows and set the flags a reader can know.

    The identity is of all rows of the file, so that duplicates are found across blocks; the arms
    are of these rows alone.

    Raises:
        DataFormatError: no arm, or arms whose shapes do not fit together.
    """
    keys = identity.keys
    flags = identity_flags(keys)
    flags[identity.not_target] |= Flag.NOT_TARGET
    flags |= Flag.ESTIMATED_IVAR if identity.is_estimated else 0
    flags = flags[rows]
    if not arms:
        raise DataFormatError(f"{fits.path}: no arm with flux; found {fits.describe()}")
    clean = []
    for arm in arms:
        _check_shapes(fits, arm, len(flags))
        flux, ivar, pixel_flags = clean_pixels(arm.flux, arm.ivar)
        flags |= pixel_flags
        clean.append(replace(arm, flux=flux, ivar=ivar))
    numbers = np.arange(len(keys), dtype=np.int64)[rows]
    return Spectra(tuple(clean), keys[rows], flags, str(fits.path), numbers)


def wavelengths(fits: FitsFile, values: NDArray[Any], where: str) -> NDArray[np.float64]:
    """Return wavelengths as float64 after checking that they can be wavelengths.

    Raises:
        DataFormatError: not one-dimensional, not finite and positive, or not increasing.
    """
    wave = np.asarray(values, dtype=np.float64)
    good = wave.ndim == 1 and len(wave) > 1 and bool(np.all(np.isfinite(wave) & (wave > 0)))
    if not good or np.any(np.diff(wave) <= 0):
        raise DataFormatError(
            f"{fits.path}: {where}: expected finite, positive, increasing wavelengths in one "
            f"row; found shape {wave.shape}"
        )
    return wave


def header_wavelengths(fits: FitsFile, n_pixels: int) -> NDArray[np.float64]:
    """Return 10**(COEFF0 + COEFF1 i), or the same from CRVAL1 and CD1_1, Å.

    Raises:
        DataFormatError: the keywords are absent.
    """
    header = fits.hdus[0].header
    for names in (("COEFF0", "COEFF1"), ("CRVAL1", "CD1_1"), ("CRVAL1", "CDELT1")):
        start, step = (header.get(name) for name in names)
        if isinstance(start, float | int) and isinstance(step, float | int):
            wave = 10.0 ** (start + step * np.arange(n_pixels))
            return wavelengths(fits, wave, " and ".join(names))
    raise DataFormatError(
        f"{fits.path}: no COEFF0 and COEFF1 in the header; the wavelengths cannot be known"
    )


def linear_wavelengths(
    fits: FitsFile, hdu: Hdu, n_pixels: int, *, air: bool = False
) -> NDArray[np.float64]:
    """Return the vacuum wavelengths of the linear axis that an HDU's header describes, Å.

    Args:
        fits: the file.
        hdu: CRVAL1, CD1_1 or CDELT1, CRPIX1 and CUNIT1 are taken from its header.
        n_pixels: length of the axis.
        air: whether they are in air, where the header has no statement (`in_air`).

    Raises:
        DataFormatError: the keywords are absent, or no wavelengths come of them.
    """
    header = hdu.header
    start, reference = header.get("CRVAL1"), header.get("CRPIX1", 1.0)
    step = header.get("CD1_1", header.get("CDELT1"))
    if not all(isinstance(value, float | int) for value in (start, step, reference)):
        raise DataFormatError(
            f"{fits.path}: {hdu.label()} has no CRVAL1 and CD1_1 (or CDELT1); the wavelengths "
            "cannot be known"
        )
    pixel = np.arange(1, n_pixels + 1, dtype=np.float64)
    wave = float(start or 0) + (pixel - float(reference)) * float(step or 0)
    wave *= angstroms(fits, str(header.get("CUNIT1", "")))
    wave = wavelengths(fits, wave, f"{hdu.label()}: CRVAL1 and step")
    return vacuum_wavelengths(wave) if in_air(header, air) else wave


def in_air(header: Mapping[str, Any], otherwise: bool = False) -> bool:
    """Return whether wavelengths are in air: CTYPE1 is AWAV, or the card VACUUM false.

    Source: Greisen et al. 2006 (A&A 446, 747), table 1: WAVE is in vacuum, AWAV in air.
    """
    kind = str(header.get("CTYPE1", "")).strip().upper().removesuffix("-LOG")
    if kind in ("AWAV", "WAVE"):
        return kind == "AWAV"
    vacuum = header.get("VACUUM")
    return not vacuum if isinstance(vacuum, bool | int) else otherwise


def angstroms(fits: FitsFile, unit: str) -> float:
    """Return how many Å a unit of wavelength has; none given means Å.

    Raises:
        DataFormatError: another unit.
    """
    word = unit.strip().upper()
    if word not in _ANGSTROMS:
        raise DataFormatError(
            f"{fits.path}: wavelengths in {unit!r}; expected Angstrom, nm, um or m"
        )
    return _ANGSTROMS[word]


def inverse_variance(variance: NDArray[Any]) -> NDArray[Any]:
    """Return 1/variance, 0 where the variance is not positive and finite."""
    values = np.asarray(variance, dtype=np.float64)
    good = np.isfinite(values) & (values > 0)
    return np.divide(1.0, values, out=np.zeros_like(values), where=good)


def card(names: tuple[str, ...], hdus: tuple[Hdu, ...]) -> Any:
    """Return the first of the named cards that holds anything, HDU by HDU; None without one."""
    found = (hdu.header.get(name) for name in names for hdu in hdus)
    return next((v for v in found if v is not None and str(v).strip()), None)


def card_integer(names: tuple[str, ...], hdus: tuple[Hdu, ...]) -> int:
    """Return the whole number of the first of the named cards; -1 where there is none."""
    value = card(names, hdus)
    return int(value) if isinstance(value, float | int) and np.isfinite(value) else -1


def card_float(names: tuple[str, ...], hdus: tuple[Hdu, ...]) -> float:
    """Return the number of the first of the named cards; NaN where there is none."""
    value = card(names, hdus)
    return float(value) if isinstance(value, float | int) else np.nan


def first_of(
    table: Mapping[str, NDArray[Any]], wanted: Mapping[str, tuple[str, ...]]
) -> dict[str, NDArray[Any]]:
    """Return for each field the first of its columns that a table has; fields without left out."""
    found = {field: [n for n in names if n in table] for field, names in wanted.items()}
    return {field: table[names[0]] for field, names in found.items() if names}


def file_id(fits: FitsFile) -> int:
    """Return the number of a file's name, for files that name no target."""
    return named_id(Path(fits.path).name.split(".fit")[0])


def integer_column(fits: FitsFile, hdu: Hdu, name: str) -> NDArray[np.int64]:
    """Read a column that must be there and must hold integers.

    Raises:
        DataFormatError: absent, or of another type; never rounded, for a 64-bit id
            does not survive a float.
    """
    values = fits.columns(hdu, [name]).get(name)
    if values is None:
        raise DataFormatError(
            f"{fits.path}: {hdu.label()} has no column {name}; found {', '.join(hdu.columns)}"
        )
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise DataFormatError(
            f"{fits.path}: {hdu.label()}: column {name} is of type {values.dtype}; "
            "expected one 64-bit integer per row"
        )
    return values.astype(np.int64)


def sdss_target_id(plate: Any, mjd: Any, fiber: Any) -> NDArray[np.int64]:
    """Return plate·10⁹ + mjd·10⁴ + fiber, the target identifier of an SDSS spectrum.

    Source: the convention of redrock's BOSS reader.

    >>> int(sdss_target_id(7102, 56666, 82))
    7102566660082
    """
    of_plate, of_night, of_fiber = (np.asarray(part, np.int64) for part in (plate, mjd, fiber))
    return np.asarray(of_plate * 10**9 + of_night * 10**4 + of_fiber)


def named_id(name: str) -> int:
    """Return the stable positive 64-bit number of a name.

    A plain integer is itself, ``plate-mjd-fiber`` follows `sdss_target_id`, and any other
    name is numbered by the first 62 bits of its SHA-256.

    >>> named_id("39633345008634465"), named_id("7102-56666-82")
    (39633345008634465, 7102566660082)
    """
    if re.fullmatch(r"-?\d+", name):
        return int(name)
    parts = re.fullmatch(r"(\d+)-(\d+)-(\d+)", name)
    if parts:
        return int(sdss_target_id(*(int(part) for part in parts.groups())))
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8]) >> 2


def _check_shapes(fits: FitsFile, arm: Arm, n_rows: int) -> None:
    expected = (n_rows, len(arm.wave_aa))
    for what, values in (("flux", arm.flux), ("ivar", arm.ivar)):
        if values.shape != expected or values.dtype.kind not in "fiu":
            raise DataFormatError(
                f"{fits.path}: arm {arm.name}: {what} has shape {values.shape} and type "
                f"{values.dtype}; expected numbers of shape {expected} (rows of the "
                "FIBERMAP × wavelengths)"
            )
