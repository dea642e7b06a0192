"""Spectra from arrays that are in memory already: units, masks, uncertainties, identity.

Flux and uncertainties are brought to 1e-17 erg/s/cm²/Å where they have units.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.columns import IDENTITY, Keys, integer_ids
from quasarloop.constants import MAD_TO_SIGMA, vacuum_wavelengths
from quasarloop.errors import DataFormatError

__all__ = [
    "FLUX_UNIT",
    "MEMORY",
    "PlainArrays",
    "content_ids",
    "estimate_ivar",
    "keys_from_arrays",
    "plain_arrays",
]

# What `Spectra.source` is of arrays.
MEMORY: Final = "memory"
FLUX_UNIT: Final = "1e-17 erg / (s cm2 AA)"
# Plain flux below this is in erg/s/cm²/Å, whose squares float32 does not hold. Our choice.
_CGS_BELOW: Final = 1e-10
_CGS: Final = 1e17
# Plain wavelengths that end below this are not in Å: log10 λ, µm or nm. Our choice.
_SHORTEST_END_AA: Final = 1200.0
# Of 2 f(i) - f(i-2) - f(i+2) for noise of standard deviation 1. Source: Stoehr et al. 2008, ASP
# Conference Series 394, 505 (DER_SNR).
_NOISE_OF_DIFFERENCE: Final = np.sqrt(6.0)
_SPACING: Final = 2
# Differences that grow faster than this when their pixels lie twice as far apart are those of a
# smoothed spectrum. Our choice: 1 for noise, 1.4 for a random walk, 2 to 4 where smoothed.
_SMOOTHED: Final = 1.7
# Pixels that have one noise. Our choice: of 50 to 800 pixels, 200 and 400 agree best with the
# noise that BOSS gives with its spectra, to 12 % (one noise per spectrum: 36 %).
_ONE_NOISE: Final = 400
_TABLE: Final = 2  # dimensions of rows and pixels


class PlainArrays(NamedTuple):
    """Spectra as plain arrays, in the survey's units.

    Attributes:
        wave_aa: (n_pix,) float64, increasing.
        flux: (n, n_pix) float64, 1e-17 erg/s/cm²/Å where a unit is known; 0 where left out.
        ivar: (n, n_pix) float64; 0 where left out.
        is_estimated: the inverse variance was not given.
    """

    wave_aa: NDArray[np.float64]
    flux: NDArray[np.float64]
    ivar: NDArray[np.float64]
    is_estimated: bool


def plain_arrays(
    wave_aa: Any, flux: Any, ivar: Any, uncertainty: Any, mask: Any, source: str, *, air: bool
) -> PlainArrays:
    """Bring arrays to one unit, one shape and one order; arguments as `Spectra.from_arrays`.

    Raises:
        DataFormatError: shapes or units that do not fit together.

    Source: our choice.
    """
    if ivar is not None and uncertainty is not None:
        raise DataFormatError(f"{source}: both ivar and uncertainty are given; give one of them")
    wave = _wavelengths(wave_aa, source)
    values, hidden = _pixels(flux, "flux", source)
    rows = np.atleast_2d(values)
    if rows.ndim != _TABLE or rows.shape[1] != len(wave):
        raise DataFormatError(
            f"{source}: flux has shape {values.shape}, the wavelengths {wave.shape}; expected "
            "flux of shape (spectra, wavelengths)"
        )
    scale = _scale(flux, rows, wave, source)
    weights = _weights(ivar, uncertainty, scale, wave, source, rows.shape)
    left_out = np.array(np.atleast_2d(hidden))
    if mask is not None:
        left_out |= _like(mask, rows.shape, "mask", source).astype(bool)
    rows = np.where(left_out, 0.0, rows * scale)
    is_estimated = weights is None
    if weights is None:
        weights = estimate_ivar(rows)
    weights = np.where(left_out, 0.0, weights)
    order = slice(None, None, 1 if wave[-1] > wave[0] else -1)
    wave = vacuum_wavelengths(wave) if air else wave
    return PlainArrays(
        np.ascontiguousarray(wave[order]), rows[:, order], weights[:, order], is_estimated
    )


def estimate_ivar(flux: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return inverse variances of spectra without any, from differences of neighbouring pixels.

    In a smoothed spectrum (DESI High's tables: a Gaussian of 3 pixels) neighbours differ by far
    less than the noise. There the pixels compared lie further apart, and those between count as
    one measurement, so that χ² is that of independent pixels.

    Args:
        flux: (n, n_pix); NaN and 0 are no data.

    Returns:
        (n, n_pix), 0 where there is no data; a whole row of 0 where there are too few pixels, or
        no noise.

    Source: Stoehr et al. 2008, ASP Conference Series 394, 505 (DER_SNR). Further apart, and by
    parts of a spectrum: our choice.
    """
    ivar = np.zeros(flux.shape)
    for number, row in enumerate(flux):
        there = np.isfinite(row) & (row != 0)
        if np.count_nonzero(there) > 2 * _SPACING:
            sigma = _noise(row[there])
            ivar[number, there] = np.divide(1, sigma**2, out=0 * sigma, where=sigma > 0)
    return ivar


def _noise(data: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n_pix,) standard deviation of each pixel, were the pixels independent."""
    spacing, apart = _SPACING, _differences(data, _SPACING)
    while len(data) > 4 * spacing:
        wider = _differences(data, 2 * spacing)
        if np.median(wider) <= _SMOOTHED * np.median(apart):
            break
        spacing, apart = 2 * spacing, wider
    parts = np.array_split(np.arange(len(apart)), max(1, len(apart) // _ONE_NOISE))
    middle = [part.mean() + spacing for part in parts]
    sigma = MAD_TO_SIGMA / _NOISE_OF_DIFFERENCE * np.array([np.median(apart[p]) for p in parts])
    independent = spacing if spacing > _SPACING else 1
    return np.asarray(np.interp(np.arange(len(data)), middle, sigma * np.sqrt(independent)))


def _differences(data: NDArray[np.floating], spacing: int) -> NDArray[np.floating]:
    """(n_pix - 2 spacing,) what each pixel lies off the middle of two others, doubled."""
    return np.asarray(
        np.abs(2 * data[spacing:-spacing] - data[: -2 * spacing] - data[2 * spacing :])
    )


def content_ids(wave_aa: NDArray[np.float64], flux: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return (n,) positive identifiers made from what spectra contain."""
    start = sha256(np.ascontiguousarray(wave_aa).tobytes())
    ids = np.empty(len(flux), np.int64)
    for row, values in enumerate(flux):
        digest = start.copy()
        digest.update(np.ascontiguousarray(values).tobytes())
        ids[row] = int.from_bytes(digest.digest()[:8]) >> 2
    return ids


def keys_from_arrays(made: NDArray[np.int64], known: Mapping[str, Any], source: str) -> Keys:
    """Return keys of what is known.

    Args:
        made: (n,) identifiers, where ``target_id`` is None.
        known: field of `Keys` -> (n,) values.
        source: for messages.

    Raises:
        DataFormatError: no field of `Keys`, not one value per spectrum, or no identifiers.
    """
    given = {name: np.atleast_1d(v) for name, v in known.items() if v is not None}
    for name, values in given.items():
        if name not in IDENTITY:
            raise DataFormatError(
                f"{source}: {name} is no identity of a spectrum; known are {', '.join(IDENTITY)}"
            )
        if values.shape != made.shape:
            raise DataFormatError(
                f"{source}: {name} has shape {values.shape}; expected one per spectrum, "
                f"{made.shape}"
            )
    try:
        ids = integer_ids(given.pop("target_id", made), "target_id")
    except ValueError as exc:
        raise DataFormatError(f"{source}: {exc}") from exc
    return Keys.make(ids, **given)


def _pixels(values: Any, name: str, source: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return plain float64 values, and which of them are masked."""
    plain = getattr(values, "value", values) if hasattr(values, "unit") else values
    try:
        numbers = np.array(np.ma.getdata(plain), dtype=np.float64)
    except (TypeError, ValueError) as exc:
        raise DataFormatError(
            f"{source}: {name} is no array of numbers ({exc}); expected shape (spectra, "
            "wavelengths)"
        ) from exc
    return numbers, np.broadcast_to(np.ma.getmaskarray(plain), numbers.shape)


def _like(values: Any, shape: tuple[int, ...], name: str, source: str) -> NDArray[np.float64]:
    numbers = np.atleast_2d(_pixels(values, name, source)[0])
    if numbers.shape != shape:
        raise DataFormatError(
            f"{source}: {name} has shape {numbers.shape}; expected that of flux, {shape}"
        )
    return numbers


def _unit(values: Any) -> Any:
    """Return the unit of an array; None where it has none that astropy knows, or no dimension."""
    unit = getattr(values, "unit", None)
    if unit is None:
        return None
    from astropy import units  # noqa: PLC0415 -- arrays without units do not need it

    parsed = units.Unit(unit)
    unknown = isinstance(parsed, units.UnrecognizedUnit)
    return None if unknown or parsed.is_equivalent(units.dimensionless_unscaled) else parsed


def _wavelengths(values: Any, source: str) -> NDArray[np.float64]:
    wave, hidden = _pixels(values, "wavelengths", source)
    unit = _unit(values)
    if unit is not None:
        from astropy import units  # noqa: PLC0415 -- arrays without units do not need it

        try:
            wave = (wave * unit).to_value(units.AA, units.spectral())
        except units.UnitConversionError as exc:
            raise DataFormatError(
                f"{source}: wavelengths in {unit}; expected Å, nm, Hz or another unit of light"
            ) from exc
    if wave.ndim == _TABLE and len(wave) and np.all(wave == wave[0]):
        wave, hidden = wave[0], hidden[0]
    step = np.diff(wave) if wave.ndim == 1 and len(wave) > 1 else np.zeros(1)
    usable = bool(np.isfinite(wave).all()) and not hidden.any() and bool(np.all(wave > 0))
    if not usable or not (np.all(step > 0) or np.all(step < 0)):
        raise DataFormatError(
            f"{source}: expected finite, positive wavelengths in order, the same for all rows; "
            f"found shape {wave.shape}. Spectra on several wavelength grids go into a list"
        )
    if wave.max() < _SHORTEST_END_AA:
        raise DataFormatError(
            f"{source}: wavelengths from {wave.min():g} to {wave.max():g}; expected Å. Multiply "
            "nm by 10, µm by 10,000, take 10 to the power of log10 λ, or give a unit of astropy"
        )
    return np.asarray(wave)


def _scale(
    flux: Any, rows: NDArray[np.float64], wave: NDArray[np.float64], source: str
) -> NDArray[np.float64]:
    """Return (n_pix,) factors that bring flux to the survey's unit."""
    unit = _unit(flux)
    if unit is None:
        sizes = np.abs(rows[np.isfinite(rows) & (rows != 0)])
        tiny = len(sizes) > 0 and np.median(sizes) < _CGS_BELOW
        return np.full(len(wave), _CGS if tiny else 1.0)
    return _factor(unit, wave, "flux", source)


def _factor(unit: Any, wave: NDArray[np.float64], name: str, source: str) -> NDArray[np.float64]:
    from astropy import units  # noqa: PLC0415 -- arrays without units do not need it

    try:
        return np.asarray(
            (np.ones(len(wave)) * unit).to_value(
                units.Unit(FLUX_UNIT), units.spectral_density(wave * units.AA)
            )
        )
    except units.UnitConversionError as exc:
        raise DataFormatError(
            f"{source}: {name} in {unit} is no flux density; expected erg/s/cm²/Å, Jy or the like, "
            "flux-calibrated, or numbers without a unit"
        ) from exc


def _weights(
    ivar: Any,
    uncertainty: Any,
    scale: NDArray[np.float64],
    wave: NDArray[np.float64],
    source: str,
    shape: tuple[int, ...],
) -> NDArray[np.float64] | None:
    """Return the inverse variance in the survey's unit; None where nothing is given."""
    if ivar is None and uncertainty is None:
        return None
    given, name = (uncertainty, "uncertainty") if ivar is None else (ivar, "ivar")
    numbers = _like(given, shape, name, source)
    unit = _unit(given)
    if unit is not None:
        scale = _factor(unit if ivar is None else unit**-0.5, wave, name, source)
    hidden = np.broadcast_to(np.atleast_2d(_pixels(given, name, source)[1]), shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if ivar is None:
            numbers = np.where(numbers > 0, 1.0 / np.square(numbers), 0.0)
        return np.where(hidden, 0.0, numbers / np.square(scale))
