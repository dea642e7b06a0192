"""Single exposures of a full SDSS spec file, which people look at beside the coadd.

Source: SDSS data model, spec-PLATE-MJD-FIBER: from HDU 4 on one table per camera and exposure,
``B1-00002591-…``, ``R1-00002591-…``, with flux, loglam, ivar and mask.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from quasarloop.columns import Keys
from quasarloop.errors import DataFormatError
from quasarloop.read.detect import find_format, read_spectra
from quasarloop.read.fits_reader import FitsFile, Hdu, open_fits
from quasarloop.read.formats import wavelengths
from quasarloop.read.sdss import SDSS_SPEC
from quasarloop.spectra import Arm, Spectra, clean_pixels

__all__ = ["read_exposure", "with_exposures"]

_FRAME: Final = re.compile(r"([BR])\d-(\d{8})(?!\d)")


def with_exposures(fits: FitsFile) -> Keys:
    """Return the identities of a file's spectra: its rows, then its single exposures.

    Raises:
        DataFormatError: a file of no known format.
    """
    keys = find_format(fits).identify(fits).keys
    numbers = sorted(_frames(fits))
    if not numbers:
        return keys
    every = keys[np.zeros(1 + len(numbers), dtype=np.int64)]
    return replace(every, exposure_id=np.array([int(keys.exposure_id[0]), *numbers]))


def read_exposure(path: str | Path, number: int) -> Spectra:
    """Read a single exposure, by its place in `with_exposures`: 1 is the first.

    Returns:
        One row with the arms of its cameras, and the keys of the coadd with `exposure_id`.

    Raises:
        DataFormatError: no such exposure, or a table without flux, loglam and ivar.
    """
    with open_fits(path) as fits:
        frames = _frames(fits)
        if not 1 <= number <= len(frames):
            raise DataFormatError(f"{path}: {len(frames)} single exposures, no number {number}")
        exposure = sorted(frames)[number - 1]
        arms = tuple(_arm(fits, name, hdu) for name, hdu in sorted(frames[exposure].items()))
    coadd = read_spectra(path)
    keys = replace(coadd.keys, exposure_id=np.array([exposure]))
    return replace(coadd, arms=arms, keys=keys, row=np.array([number]))


def _frames(fits: FitsFile) -> dict[int, dict[str, Hdu]]:
    """Tables of single exposures by number and arm; none in other files than full spec files."""
    found: dict[int, dict[str, Hdu]] = {}
    if not SDSS_SPEC.matches(fits):
        return found
    for hdu in fits.hdus:
        name = _FRAME.match(hdu.name)
        if name is not None:
            found.setdefault(int(name[2]), {})[name[1].lower()] = hdu
    return found


def _arm(fits: FitsFile, name: str, hdu: Hdu) -> Arm:
    columns = fits.columns(hdu, ["FLUX", "LOGLAM", "IVAR", "MASK"])
    missing = [one for one in ("FLUX", "LOGLAM", "IVAR") if one not in columns]
    if missing or not hdu.n_rows:
        lacks = f"lacks {', '.join(missing)}" if missing else "has no rows"
        raise DataFormatError(f"{fits.path}: {hdu.label()} {lacks}; copy the file again")
    # The blue camera's pixels go from red to blue.
    order = np.argsort(columns["LOGLAM"], kind="stable")
    wave = 10.0 ** columns["LOGLAM"][order].astype(np.float64)
    flux, ivar, _ = clean_pixels(columns["FLUX"][None, order], columns["IVAR"][None, order])
    mask = columns["MASK"][None, order] if "MASK" in columns else None
    return Arm(name, wavelengths(fits, wave, "LOGLAM"), flux, ivar, mask)
