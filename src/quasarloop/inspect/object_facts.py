"""What the page shows of an object beside its spectrum: place, brightness, targets, fibre."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import DataFormatError
from quasarloop.read.fits_reader import open_fits
from quasarloop.spectra import Arm, Spectra

__all__ = ["LINKS", "bits_in_words", "object_facts", "sexagesimal"]

# Pages of others about a place on the sky, opened in a window of their own; {ra} and {dec} are
# degrees. A campaign's setting may name others.
LINKS: Final = {
    "Legacy Survey": "https://www.legacysurvey.org/viewer?ra={ra}&dec={dec}&layer=ls-dr9&zoom=15",
    "SDSS": "https://skyserver.sdss.org/dr18/VisualTools/explore/summary?ra={ra}&dec={dec}",
    "Aladin Lite": "https://aladin.cds.unistra.fr/AladinLite/?target={ra}%20{dec}&fov=0.03",
    "SIMBAD": "https://simbad.cds.unistra.fr/simbad/sim-coo?Coord={ra}%20{dec}"
    "&CooFrame=ICRS&Radius=5&Radius.unit=arcsec",
}

# Source: desispec `py/desispec/maskbits.py`, fibermask.
_FIBER_BITS: Final = {
    0: "unassigned",
    1: "stuck positioner",
    2: "broken fibre",
    3: "restricted reach",
    8: "position missing",
    9: "over 100 μm off target",
    10: "over 30 μm off target",
    15: "low effective time",
    16: "bad fibre",
    17: "bad trace",
    18: "bad flat",
    19: "bad arc",
    20: "many bad columns",
    21: "many pixels rejected",
    22: "bad amplifier b",
    23: "bad amplifier r",
    24: "bad amplifier z",
}
# Further target bits of DESI's main survey. Source: desitarget `targetmask.yaml`.
_BRIGHT_BITS: Final = {"BGS_FAINT": 0, "BGS_BRIGHT": 1, "BGS_WISE": 2, "BGS_FAINT_HIP": 3}
_DESI_BANDS: Final = ("g", "r", "z", "W1", "W2")
_SDSS_BANDS: Final = ("u", "g", "r", "i", "z")
_SDSS_MAGNITUDES: Final = ("PSFMAG", "MODELMAG", "FIBERMAG")
# Columns of SDSS's target bits; those without names in our table are shown as numbers.
_SDSS_TARGETS: Final = ("LEGACY_TARGET1", "BOSS_TARGET1", "EBOSS_TARGET1", "ANCILLARY_TARGET1")
_COLUMNS: Final = (
    *(f"FLUX_{band.upper()}" for band in _DESI_BANDS),
    *_SDSS_MAGNITUDES,
    *("BGS_TARGET", "COADD_NUMEXP", "FIBERID", "PLUG_RA"),
)
_COLOURS: Final = (("u", "g"), ("g", "r"), ("r", "i"), ("r", "z"), ("i", "z"), ("W1", "W2"))
# Nanomaggies of AB magnitude 0. Source: docs/reference of the Legacy Surveys and SDSS.
_ZERO_POINT: Final = 22.5
_BAD_MAGNITUDE: Final = 40.0  # beyond it SDSS writes what was not measured
_ARCSEC: Final = 3600

Row = dict[str, Any]


def object_facts(spectra: Spectra) -> dict[str, Any]:
    """Return what is known of a spectrum's object, in words.

    Args:
        spectra: one row; its file is read again for the tables of targets, if it is still there.

    Returns:
        JSON-ready: ``sexagesimal`` (None without a place), and ``facts``, pairs of name and text.
    """
    keys, row = spectra.keys, _table_row(spectra)
    ra, dec = float(keys.ra_deg[0]), float(keys.dec_deg[0])
    known = {
        **_magnitudes(row),
        "targets": ", ".join(_targets(row)),
        "S/N": _signal(spectra.arms),
        **_fibre(spectra, row),
    }
    return {
        "sexagesimal": sexagesimal(ra, dec) if np.isfinite(ra) and np.isfinite(dec) else None,
        "facts": [[name, text] for name, text in known.items() if text],
    }


def sexagesimal(ra_deg: float, dec_deg: float) -> str:
    """Return coordinates as hours and degrees.

    >>> sexagesimal(150.1195, -0.5048)
    '10:00:28.68 -00:30:17.3'
    """
    seconds = round(ra_deg / 15 * _ARCSEC * 100) % (24 * _ARCSEC * 100)
    arcsec = round(abs(dec_deg) * _ARCSEC * 10)
    hours = f"{seconds // 360000:02d}:{seconds // 6000 % 60:02d}:{seconds % 6000 / 100:05.2f}"
    degrees = f"{arcsec // 36000:02d}:{arcsec // 600 % 60:02d}:{arcsec % 600 / 10:04.1f}"
    return f"{hours} {'-' if dec_deg < 0 else '+'}{degrees}"


def bits_in_words(value: int, names: dict[int, str]) -> str:
    """Return the names of set bits; the number of one without a name.

    >>> bits_in_words(0b1010, {1: "stuck positioner"})
    'stuck positioner, bit 3'
    """
    bits = [bit for bit in range(64) if value >> bit & 1] if value > 0 else []
    return ", ".join(names.get(bit, f"bit {bit}") for bit in bits)


def _table_row(spectra: Spectra) -> Row:
    """The object's row in the file's table of targets, by upper-case name; empty without one."""
    path, number = Path(spectra.source), int(spectra.row[0])
    try:
        with open_fits(path) as file:
            table = file.named("FIBERMAP")
            if table is None:  # of SDSS: one row in the third HDU, whatever its name
                table, number = file.hdus[2], 0
            wanted = [*_COLUMNS, *_target_bits(), *_SDSS_TARGETS]
            row = file.columns(table, wanted, slice(number, number + 1))
            found = {name: values[0] for name, values in row.items()}
            exposures = _sdss_exposures(file.hdus[0].header)
            return {"COADD_NUMEXP": exposures, **found} if exposures else found
    except (DataFormatError, IndexError):
        return {}


def _sdss_exposures(header: Mapping[str, Any]) -> int:
    """How many exposures a spectrum is of: EXPID01, … name camera and exposure of each frame."""
    frames = [str(header.get(key, "")).split("-") for key in header if key.startswith("EXPID")]
    return len({frame[1] for frame in frames if len(frame) > 1})


def _magnitudes(row: Row) -> dict[str, str]:
    found: dict[str, float] = {}
    for band in _DESI_BANDS:
        flux = float(row.get(f"FLUX_{band.upper()}", 0) or 0)
        if flux > 0:
            found[band] = _ZERO_POINT - 2.5 * float(np.log10(flux))
    name = next(
        (name for name in _SDSS_MAGNITUDES if np.size(row.get(name, 0)) == len(_SDSS_BANDS)), ""
    )
    if name and not found:
        pairs = zip(_SDSS_BANDS, row[name], strict=True)
        found = {band: float(mag) for band, mag in pairs if 0 < mag < _BAD_MAGNITUDE}
    colours = [f"{a}−{b} {found[a] - found[b]:.2f}" for a, b in _COLOURS if {a, b} <= found.keys()]
    return {
        "magnitudes": ", ".join(f"{band} {mag:.2f}" for band, mag in found.items()),
        "colours": ", ".join(colours),
    }


def _targets(row: Row) -> list[str]:
    """Names of the target classes; numbers of bits that have none here, by column."""
    names = []
    for column, bits in _target_bits().items():
        value = int(row.get(column, 0) or 0)
        names += [name for name, bit in bits.items() if value >> bit & 1]
        if names:
            break
    bright = int(row.get("BGS_TARGET", 0) or 0)
    names += [name for name, bit in _BRIGHT_BITS.items() if bright >> bit & 1]
    for column in _SDSS_TARGETS:
        value = int(row.get(column, 0) or 0)
        known = _sdss_target_bits().get(column, {})
        if value > 0:
            words = bits_in_words(value, {bit: name for name, bit in known.items()})
            names.append(words if known else f"{column} {words}")
    # North and south are the imaging's, not the object's.
    return [name for name in names if not name.endswith(("_NORTH", "_SOUTH"))]


@cache
def _target_bits() -> dict[str, dict[str, int]]:
    """Class and bit of each column of target bits, phases of the survey in order."""
    # The afterburner's table is data, read as such: rooms of one floor import nothing of another.
    text = (files("quasarloop") / "afterburner" / "data" / "target_bits.toml").read_text("utf-8")
    return {phase["column"]: phase["bits"] for phase in tomllib.loads(text).values()}


@cache
def _sdss_target_bits() -> dict[str, dict[str, int]]:
    """Class and bit of each column that we have names of."""
    text = (files("quasarloop.inspect") / "data" / "sdss_target_bits.toml").read_text("utf-8")
    return tomllib.loads(text)


def _signal(arms: tuple[Arm, ...]) -> str:
    parts = []
    for arm in arms:
        flux, ivar = arm.flux[0], arm.ivar[0]
        good: NDArray[np.bool_] = ivar > 0
        median = float(np.median(flux[good] * np.sqrt(ivar[good]))) if good.any() else 0.0
        parts.append(f"{arm.name} {median:.1f}" if len(arms) > 1 else f"{median:.1f}")
    return ", ".join(parts)


def _fibre(spectra: Spectra, row: Row) -> dict[str, str]:
    keys = spectra.keys
    sdss = "PLUG_RA" in row or "FIBERID" in row
    names = {"tile_id": "plate" if sdss else "tile", "fiber": "fibre", "petal": "petal"}
    names["night"] = "MJD" if sdss else "night"
    known = {
        name: str(value)
        for field, name in names.items()
        if (value := int(getattr(keys, field)[0])) >= 0
    }
    exposures = row.get("COADD_NUMEXP")
    if exposures is not None:
        known["exposures"] = str(int(exposures))
    survey = [str(keys.survey[0]), str(keys.program[0])]
    known["survey"] = " ".join(word for word in survey if word)
    status = int(keys.fiber_status[0])
    known["fibre status"] = bits_in_words(status, _FIBER_BITS)
    return known
