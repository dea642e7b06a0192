"""specutils: its loaders read what we have no format for, and its objects made of our spectra."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from quasarloop.arrays import FLUX_UNIT
from quasarloop.errors import DataFormatError
from quasarloop.read.memory import spectra_from_memory
from quasarloop.spectra import Spectra

__all__ = ["SPECUTILS", "read_with_specutils", "spectrum_list"]

# How a format of specutils is written: ``specutils:NAME``, or this alone.
SPECUTILS: Final = "specutils"
_REMEDY: Final = 'install it with: pip install "quasarloop[specutils]"'


def read_with_specutils(path: str | Path, file_format: str) -> list[Spectra]:
    """Read a file with a loader of specutils.

    Args:
        path: the file.
        file_format: ``"specutils:NAME"``, or ``"specutils"`` for the loader that it finds itself.

    Returns:
        One `Spectra` per wavelength grid, rows numbered through the file. Identifiers are those of
        a FIBERMAP, else made from wavelengths and flux.

    Raises:
        DataFormatError: no such loader, a file it cannot read, or specutils is missing.
    """
    kind, _, name = file_format.partition(":")
    if kind != SPECUTILS:
        raise DataFormatError(
            f"{file_format!r} is no format; leave it out for the formats quasarloop finds by "
            "itself, or give specutils:NAME with a loader of specutils"
        )
    if not Path(path).is_file():
        raise DataFormatError(f"{path}: no such file; check the name")
    specutils = _specutils()
    _check_loader(specutils, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of units and HDUs, for every file
            found = specutils.SpectrumList.read(str(path), format=name or None)
    except Exception as exc:  # whatever a loader makes of a file that is not its own
        reason = " ".join(str(exc).split())[:200]
        raise DataFormatError(
            f"{path}: specutils cannot read it as {name or 'any of its formats'} "
            f"({type(exc).__name__}: {reason}); name another of its loaders"
        ) from exc
    try:
        parts = spectra_from_memory(found)
    except DataFormatError as exc:
        raise DataFormatError(f"{path}: {exc}") from exc
    if not parts:
        raise DataFormatError(f"{path}: specutils found no spectrum in it")
    return [replace(part, source=str(path)) for part in parts]


def spectrum_list(spectra: Spectra) -> Any:
    """Return spectra as a SpectrumList of specutils: one Spectrum of (n, n_pix) per arm.

    The meta has ``TARGETID``, ``band`` (the arm), ``source`` and ``row``; reading the list again
    gives the same spectra.

    Raises:
        DataFormatError: specutils is missing.
    """
    specutils = _specutils()
    from astropy import units  # noqa: PLC0415 -- comes with specutils
    from astropy.nddata import InverseVariance  # noqa: PLC0415

    unit = units.Unit(FLUX_UNIT)
    made = [
        specutils.Spectrum(
            flux=np.asarray(arm.flux, np.float64) * unit,
            spectral_axis=arm.wave_aa * units.AA,
            uncertainty=InverseVariance(np.asarray(arm.ivar, np.float64) / unit**2),
            meta={
                "TARGETID": spectra.keys.target_id,
                "band": arm.name,
                "source": spectra.source,
                "row": spectra.row,
            },
        )
        for arm in spectra.arms
    ]
    return specutils.SpectrumList(made)


def _specutils() -> Any:
    try:
        import specutils  # noqa: PLC0415 -- an extra
    except ImportError as exc:
        raise DataFormatError(f"specutils is missing; {_REMEDY}") from exc
    return specutils


def _check_loader(specutils: Any, name: str) -> None:
    from astropy.io import registry  # noqa: PLC0415 -- comes with specutils

    known = sorted({str(n) for n in registry.get_formats(specutils.SpectrumList, "Read")["Format"]})
    if name and name not in known:
        raise DataFormatError(f"specutils has no loader {name!r}; it has {', '.join(known)}")
