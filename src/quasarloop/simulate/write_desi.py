"""Files as DESI writes them: coadd-*.fits and spectra-*.fits, byte for byte reproducible."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import fitsio
import numpy as np
from numpy.typing import NDArray

from quasarloop.artefacts import write_atomically
from quasarloop.simulate.fibermap import (
    Assignment,
    exposure_fibermap,
    fibermap,
    scores,
    spectra_fibermap,
)
from quasarloop.simulate.instrument import ArmModel, Instrument
from quasarloop.simulate.noise import NoisyArm, gaussian_kernel
from quasarloop.simulate.observing import Exposure

__all__ = ["RESOLUTION_DIAGONALS", "header_cards", "write_coadd", "write_spectra"]

Cards = list[dict[str, Any]]

# Diagonals of a resolution matrix row: ±5 pixels, as in DESI's own files.
RESOLUTION_DIAGONALS: Final = 11
_FLUX_UNIT: Final = "10**-17 erg/(s cm2 Angstrom)"
_IVAR_UNIT: Final = "10**+34 (s2 cm4 Angstrom2) / erg2"


def write_coadd(
    path: Path,
    instrument: Instrument,
    assignment: Assignment,
    exposures: Sequence[Exposure],
    arms: Mapping[str, NoisyArm],
    *,
    with_resolution: bool = False,
) -> dict[str, NDArray[np.void]]:
    """Write a coadd: one row per object.

    Args:
        path: ``coadd-<petal>-<tile>-thru<night>.fits``.
        instrument: whose arms these are.
        assignment: who was observed.
        exposures: the exposures coadded (their conditions go into the tables).
        arms: the coadd itself.
        with_resolution: also write the RESOLUTION matrices, which redrock needs and
            which make the file 4.7 times as large.

    Returns:
        The FIBERMAP and EXP_FIBERMAP written, by name.
    """
    conditions = [exposure.conditions for exposure in exposures]
    nominal = instrument.telescope.exposure_s
    tables = {
        "FIBERMAP": fibermap(assignment, conditions, nominal),
        "EXP_FIBERMAP": exposure_fibermap(assignment, conditions, nominal),
    }
    final = scores(assignment.sites.target_id, arms, coadd=True)
    with write_atomically(path) as temporary, fitsio.FITS(temporary, "rw", clobber=True) as fits:
        fits.write(None, header=header_cards(assignment))
        for name, table in tables.items():
            fits.write(table, extname=name)
        _write_arms(fits, instrument, arms, with_resolution=with_resolution)
        fits.write(final, extname="SCORES")
    return tables


def write_spectra(
    path: Path,
    instrument: Instrument,
    assignment: Assignment,
    exposures: Sequence[Exposure],
    *,
    with_resolution: bool = False,
) -> None:
    """Write the single exposures one after the other, all objects each."""
    conditions = [exposure.conditions for exposure in exposures]
    names = [arm.name for arm in instrument.arms]
    arms = {
        name: NoisyArm(
            *(
                np.concatenate([getattr(exposure.arms[name], part) for exposure in exposures])
                for part in ("flux", "ivar", "mask")
            )
        )
        for name in names
    }
    rows = spectra_fibermap(assignment, conditions, instrument.telescope.exposure_s)
    with write_atomically(path) as temporary, fitsio.FITS(temporary, "rw", clobber=True) as fits:
        fits.write(None, header=header_cards(assignment))
        fits.write(rows, extname="FIBERMAP")
        _write_arms(fits, instrument, arms, with_resolution=with_resolution)
        fits.write(scores(rows["TARGETID"], arms, coadd=False), extname="SCORES")


def header_cards(assignment: Assignment) -> Cards:
    """Return the primary header: nothing in it changes from run to run."""
    tile = assignment.tile
    return [
        {"name": "SURVEY", "value": "main", "comment": "simulated"},
        {"name": "PROGRAM", "value": "dark"},
        {"name": "SPGRP", "value": "cumulative"},
        {"name": "SPGRPVAL", "value": tile.night},
        {"name": "TILEID", "value": tile.tile_id},
        {"name": "PETAL", "value": tile.petal},
        {"name": "SPECTRO", "value": tile.petal},
        {"name": "NIGHT", "value": tile.night},
        {"name": "SIMULATE", "value": True, "comment": "not an observation"},
    ]


def _write_arms(
    fits: fitsio.FITS,
    instrument: Instrument,
    arms: Mapping[str, NoisyArm],
    *,
    with_resolution: bool,
) -> None:
    for model in instrument.arms:
        letter, arm = model.name.upper(), arms[model.name]
        _image(fits, model.wave_aa, f"{letter}_WAVELENGTH", "Angstrom")
        _image(fits, arm.flux, f"{letter}_FLUX", _FLUX_UNIT)
        _image(fits, arm.ivar, f"{letter}_IVAR", _IVAR_UNIT)
        _image(fits, arm.mask, f"{letter}_MASK", "")
        if with_resolution:
            _image(fits, _resolution(model, len(arm.flux)), f"{letter}_RESOLUTION", "")


def _resolution(model: ArmModel, n: int) -> NDArray[np.float32]:
    """Same Gaussian for every fibre and pixel of an arm, as the simulation applied it."""
    kernel = gaussian_kernel(model.sigma_pixels)
    spare = (RESOLUTION_DIAGONALS - len(kernel)) // 2
    rows = np.pad(kernel, spare) if spare >= 0 else kernel[-spare:spare]
    shape = (n, RESOLUTION_DIAGONALS, len(model.wave_aa))
    return np.broadcast_to(rows[None, :, None], shape).astype(np.float32)


def _image(fits: fitsio.FITS, values: NDArray[Any], name: str, unit: str) -> None:
    fits.write(values, extname=name, header=[{"name": "BUNIT", "value": unit}] if unit else None)
