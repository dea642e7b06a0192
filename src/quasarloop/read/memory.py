"""Spectra that are in memory: ours, specutils' objects, tables, lists of them.

Objects of specutils and sparclclient are known by what they have, so neither needs to be installed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from quasarloop.arrays import MEMORY
from quasarloop.columns import IDENTITY, Keys
from quasarloop.errors import DataFormatError
from quasarloop.read.formats import named_id
from quasarloop.spectra import ARM_NAMES, RebinnedSpectra, Spectra, identity_flags

__all__ = ["Sources", "is_path", "list_sources", "spectra_from_memory"]

# What functions take for spectra: paths, or what `spectra_from_memory` reads, or lists of these.
Sources = Any

# Names of columns, lower case; the first that is there is taken.
_WAVES: Final = ("wavelength", "wave", "wave_aa", "lambda", "spectral_axis", "loglam")
_FLUXES: Final = ("flux",)
_IVARS: Final = ("ivar", "inverse_variance")
_SIGMAS: Final = ("uncertainty", "flux_err", "err_flux", "flux_error", "error", "err", "sigma")
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "target_id": ("targetid", "target_id", "specid", "catalogid"),
    "ra_deg": ("target_ra", "ra_deg", "ra"),
    "dec_deg": ("target_dec", "dec_deg", "dec"),
}
_EXPECTED: Final = (
    "expected paths, or Spectra.from_arrays(wave_aa, flux, ivar), a Spectrum, SpectrumList or "
    "SpectrumCollection of specutils, a table with columns WAVELENGTH, FLUX and IVAR, or a list"
)
_TABLE: Final = 2  # dimensions of rows and pixels


def is_path(thing: object) -> bool:
    """Return whether something names a file, a folder or a store."""
    return isinstance(thing, str | Path)


def list_sources(given: Sources) -> list[Any]:
    """Return paths and `Spectra` in the order given; a store or rebinned spectra stay as they are.

    Raises:
        DataFormatError: something that is none of these; found at once, nothing is read.
    """
    found: list[Any] = []
    waiting: list[Any] = []  # consecutive objects in memory: arms of one file belong together

    def flush() -> None:
        found.extend(spectra_from_memory(waiting) if waiting else [])
        waiting.clear()

    for thing in [given] if is_path(given) or not _is_list(given) else given:
        if is_path(thing) or isinstance(thing, RebinnedSpectra) or hasattr(thing, "shards"):
            flush()
            found.append(thing)
        else:
            waiting.append(thing)
    flush()
    return found


def spectra_from_memory(given: Any) -> list[Spectra]:
    """Read objects in memory as spectra.

    Args:
        given: `Spectra`; of specutils a Spectrum, SpectrumList or SpectrumCollection; a table
            (astropy, FITS, a mapping) with one spectrum per row, or with one per table; results of
            sparclclient; or a list of these.

    Returns:
        One `Spectra` per run of one wavelength grid, in order; rows of ``"memory"`` are numbered.
        Consecutive spectra of specutils that are arms of one file (``meta["band"]``) are joined.

    Raises:
        DataFormatError: of another kind, or without wavelengths or flux.
    """
    parts = _on_one_grid(_joined_arms([part for thing in _things(given) for part in _read(thing)]))
    numbered, row = [], 0
    for part in parts:
        here = part.source == MEMORY
        rows = np.arange(row, row + len(part)) if here else part.row
        numbered.append(replace(part, row=rows))
        row += len(part) if here else 0
    return numbered


# A spectrum, and the arm and the meta of the object it came from.
_Part = tuple[Spectra, str, Mapping[str, Any]]


def _is_list(given: Any) -> bool:
    """Return whether something is a list of sources, not a table or an array of numbers."""
    if isinstance(given, Mapping | Spectra | RebinnedSpectra) or _is_table(given):
        return False
    if hasattr(given, "flux") or hasattr(given, "shards") or hasattr(given, "records"):
        return False
    if isinstance(given, np.ndarray):
        return given.dtype.kind in "OU"
    return isinstance(given, Iterable) and not hasattr(given, "unit") and not hasattr(given, "iloc")


def _things(given: Any) -> Iterable[Any]:
    if _is_list(given):
        for thing in given:
            yield from [thing] if is_path(thing) else _things(thing)
    elif hasattr(given, "records") and not isinstance(given, np.ndarray):  # of sparclclient
        yield from given.records
    else:
        yield given


def _is_table(thing: Any) -> bool:
    return bool(_names(thing))


def _names(thing: Any) -> Sequence[str]:
    """Return the column names of a table, a row of one, or a mapping."""
    if isinstance(thing, Mapping):
        return [name for name in thing if isinstance(name, str)]
    names = getattr(thing, "colnames", None) or getattr(getattr(thing, "dtype", None), "names", ())
    return list(names or ())


def _read(thing: Any) -> Iterable[_Part]:
    if isinstance(thing, Spectra):
        yield thing, "", {}
    elif hasattr(thing, "spectral_axis") and hasattr(thing, "flux"):
        yield from _read_spectrum(thing)
    elif _is_table(thing):
        yield from _read_table(thing)
    else:
        shape = f" of shape {np.shape(thing)}" if isinstance(thing, np.ndarray) else ""
        raise DataFormatError(
            f"{type(thing).__name__}{shape} holds no spectra with wavelengths; {_EXPECTED}"
        )


def _read_spectrum(spectrum: Any) -> Iterable[_Part]:
    """Read a Spectrum or SpectrumCollection of specutils."""
    flux, axis = spectrum.flux, spectrum.spectral_axis
    along = getattr(spectrum, "spectral_axis_index", None)
    along = -1 if along is None else along
    if flux.ndim > _TABLE:
        raise DataFormatError(
            f"a spectrum of specutils of shape {flux.shape}: a cube; give its spectra as rows of "
            "shape (spectra, wavelengths)"
        )
    meta = spectrum.meta if isinstance(spectrum.meta, Mapping) else {}
    more = _uncertainty(spectrum.uncertainty, flux.unit)
    # The mask of a survey's file is kept beside, as in our readers: the survey sets ivar to 0
    # where it means it. A mask of the user's own leaves pixels out.
    if spectrum.mask is not None and "header" not in meta:
        more["mask"] = np.asarray(spectrum.mask, bool)
    rows = {name: np.moveaxis(values, along, -1) for name, values in more.items()}
    flux = np.moveaxis(flux, along, -1)
    arm = str(meta.get("band", "")).lower()
    arm = arm if arm in (*ARM_NAMES, "brz") else ""
    known = {"target_id": _ids_of(meta), "arm": arm or "brz"}
    if axis.ndim == _TABLE and not np.all(axis == axis[0]):
        ids = known.pop("target_id")
        for row in range(len(flux)):
            here = {name: values[row] for name, values in rows.items()}
            own = None if ids is None else ids[row]
            yield Spectra.from_arrays(_plain(axis[row]), flux[row], target_id=own, **here), "", {}
        return
    yield Spectra.from_arrays(_plain(axis), flux, **rows, **known), arm, meta


def _plain(axis: Any) -> Any:
    """Return a spectral axis of specutils as a plain Quantity."""
    return np.asarray(axis.value) * axis.unit


def _uncertainty(uncertainty: Any, flux_unit: Any) -> dict[str, Any]:
    """Return the argument of `Spectra.from_arrays` that an uncertainty of astropy is."""
    if uncertainty is None:
        return {}
    kind = uncertainty.uncertainty_type
    power = {"std": 1, "var": 2, "ivar": -2}.get(kind)
    if power is None:
        raise DataFormatError(
            f"an uncertainty of kind {kind}; expected std, var or ivar of astropy.nddata"
        )
    # Some loaders give ivar the flux's unit.
    unit = uncertainty.unit
    fits = unit is not None and unit.is_equivalent(flux_unit**power)
    values = np.asarray(uncertainty.array) * (unit if fits else flux_unit**power)
    if kind == "ivar":
        return {"ivar": values}
    return {"uncertainty": values if kind == "std" else np.sqrt(values)}


def _ids_of(meta: Mapping[str, Any]) -> Any:
    """Return identifiers in the meta of a spectrum; None where there are none."""
    if "TARGETID" in meta:
        return np.atleast_1d(meta["TARGETID"])
    fibermap = meta.get("fibermap")
    return None if fibermap is None else np.array(fibermap["TARGETID"], np.int64)


def _joined_arms(parts: list[_Part]) -> list[Spectra]:
    """Join consecutive arms of one file; the first has the identity of all."""
    joined: list[Spectra] = []
    seen: set[str] = set()
    for spectra, arm, meta in parts:
        first = not arm or arm in seen or not seen or "fibermap" in meta
        if first or len(joined[-1]) != len(spectra):
            joined.append(spectra)
            seen = {arm} if arm else set()
        else:
            arms = (*joined[-1].arms, *spectra.arms)
            pixels = joined[-1].flags | spectra.flags
            joined[-1] = replace(joined[-1], arms=arms, flags=pixels)
            seen.add(arm)
    return joined


def _on_one_grid(parts: list[Spectra]) -> list[Spectra]:
    """Put consecutive spectra of one wavelength grid together: one by one they are slow."""
    groups: list[list[Spectra]] = []
    for part in parts:
        if groups and _fits(groups[-1][0], part):
            groups[-1].append(part)
        else:
            groups.append([part])
    return [group[0] if len(group) == 1 else _stacked(group) for group in groups]


def _fits(one: Spectra, other: Spectra) -> bool:
    bare = all(s.source == MEMORY and [a.mask for a in s.arms] == [None] for s in (one, other))
    (first, *_), (second, *_) = one.arms, other.arms
    return bare and first.name == second.name and np.array_equal(first.wave_aa, second.wave_aa)


def _stacked(group: list[Spectra]) -> Spectra:
    arms = [spectra.arms[0] for spectra in group]
    flux, ivar = (np.concatenate([getattr(arm, name) for arm in arms]) for name in ("flux", "ivar"))
    keys = {n: np.concatenate([getattr(s.keys, n) for s in group]) for n in IDENTITY}
    flags = np.concatenate([spectra.flags for spectra in group])
    row = np.arange(len(flags), dtype=np.int64)
    found = Keys(**keys)
    arm = replace(arms[0], flux=flux, ivar=ivar)
    return Spectra((arm,), found, flags | identity_flags(found), MEMORY, row)


def _read_table(table: Any) -> Iterable[_Part]:
    """Read a table: each row a spectrum, or the rows of one spectrum; or a mapping of arrays."""
    columns = {name.lower(): table[name] for name in _names(table)}

    def take(names: Sequence[str]) -> Any:
        return next((_values(columns[name]) for name in names if name in columns), None)

    wave, flux = take(_WAVES), take(_FLUXES)
    if wave is None or flux is None:
        raise DataFormatError(
            f"a table with columns {', '.join(columns)}: no wavelengths or no flux; expected "
            "WAVELENGTH (or LOGLAM), FLUX and IVAR"
        )
    if not any(name in columns for name in _WAVES[:-1]):
        wave = 10.0 ** np.asarray(wave, np.float64)
    ivar = take(_IVARS)
    rows = {"flux": flux, "ivar": ivar, "uncertainty": take(_SIGMAS) if ivar is None else None}
    rows |= {field: take(names) for field, names in _KEYS.items()}
    if _is_array(flux) and np.ndim(flux) == 1:  # one spectrum: only what is one value is its own
        own = {field: _identity(rows[field], field, columns) for field in _KEYS}
        yield Spectra.from_arrays(wave, **rows | own), "", {}
    elif _is_array(flux) and _is_array(wave) and (np.ndim(wave) == 1 or np.all(wave == wave[0])):
        yield Spectra.from_arrays(wave, **rows), "", {}
    else:
        for row in range(len(flux)):
            here = {name: values[row] for name, values in rows.items() if values is not None}
            one = np.ndim(wave) == 1 and _is_array(wave)
            yield Spectra.from_arrays(wave if one else wave[row], **here), "", {}


def _is_array(values: Any) -> bool:
    """Return whether values are numbers in rows of one length."""
    return np.asarray(values).dtype != np.dtype(object)


def _identity(value: Any, field: str, columns: Mapping[str, Any]) -> Any:
    if value is None or np.ndim(value) > 0:
        return None
    # SDSS's specobjid has more than 63 bits: sparclclient gives it as a negative number.
    if field == "target_id" and int(value) <= 0 and "sparcl_id" in columns:
        return named_id(str(columns["sparcl_id"]))
    return value


def _values(column: Any) -> Any:
    """Return a column with its unit, if it has one, as an array; masked ones stay masked."""
    unit = getattr(column, "unit", None)
    if unit is None or hasattr(column, "to_value"):
        return column if np.ma.isMaskedArray(column) or unit is not None else np.asarray(column)
    from astropy import units  # noqa: PLC0415 -- only tables with units need it

    return column.data * units.Unit(unit)
