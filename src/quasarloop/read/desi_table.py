"""DESI "andes" tables: WAVELENGTH and one flux column TARGETnnn per spectrum, no ivar.

Without an inverse variance every pixel counts alike: ivar is 1 where the flux is finite
and not exactly 0 (what masked pixels hold), 0 elsewhere. S/N of such spectra means nothing.
"""

import re
from typing import Final

import numpy as np

from quasarloop.read.fits_reader import FitsFile
from quasarloop.read.formats import Format, Identity, wavelengths
from quasarloop.spectra import Arm, Keys

__all__ = ["DESI_TABLE"]

_TARGET_COLUMN: Final = re.compile(r"TARGET(-?\d+)")


def _targets(fits: FitsFile) -> dict[str, int]:
    columns = fits.hdus[1].columns if len(fits.hdus) > 1 else {}
    matches = {name: _TARGET_COLUMN.fullmatch(name) for name in columns}
    return {name: int(match[1]) for name, match in matches.items() if match}


def _matches(fits: FitsFile) -> bool:
    return bool(_targets(fits)) and "WAVELENGTH" in fits.hdus[1].columns


def _identify(fits: FitsFile) -> Identity:
    target_id = np.array(list(_targets(fits).values()), dtype=np.int64)
    return Identity(Keys.make(target_id), np.zeros(len(target_id), dtype=bool))


def _observe(fits: FitsFile, rows: slice, masks: bool) -> tuple[Arm, ...]:
    names = list(_targets(fits))[rows]
    columns = fits.columns(fits.hdus[1], ["WAVELENGTH", *names])
    wave = wavelengths(fits, columns["WAVELENGTH"], "column WAVELENGTH")
    flux = np.array([columns[name] for name in names]).reshape(len(names), len(wave))
    ivar = np.where(flux == 0, 0.0, 1.0)
    return (Arm("brz", wave, flux, ivar),)


DESI_TABLE: Final = Format(
    "DESI andes table",
    "HDU 1 a table with WAVELENGTH and columns TARGETnnn",
    _matches,
    _identify,
    _observe,
)
