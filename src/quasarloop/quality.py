"""From spectra as read to spectra on the grid, with a flag for all that looks wrong.

A bad spectrum is never dropped and never raises here: it gets a flag, and each later
step says which flags it refuses.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.grid import WaveGrid, normalise, rebin
from quasarloop.spectra import ARM_NAMES, Arm, Flag, Keys, RebinnedSpectra, Spectra

__all__ = [
    "UNUSABLE",
    "clean_pixels",
    "corrupted",
    "count_flags",
    "duplicate_keys",
    "flag_names",
    "prepare",
]

# Flags with which no network can say anything sensible.
UNUSABLE: Final = Flag.NO_DATA | Flag.CONSTANT_FLUX

# Source: INTEROP.md, "corrupt spectra" (released code): a neighbouring-pixel jump >= 1e4.
CORRUPT_JUMP: Final = 1e4
# Source: paper, Section 4.2: corruption "on approximately 1/3rd of the wavelength grid".
CORRUPT_SHARE: Final = 1 / 3
# Our choice: a bin is implausible if it lies this many robust deviations of the rest away …
CORRUPT_SIGMA: Final = 50.0
# … and LOW_COVERAGE means fewer than this share of the bins holds data.
MIN_COVERAGE: Final = 0.5

# Range of each arm that no other arm covers, Å, to judge spectra coadded over arms.
# Source: DESI spectrograph arms (paper reference [4]), overlaps left out.
_EXCLUSIVE_RANGE_AA: Final[Mapping[str, tuple[float, float]]] = {
    "b": (3600.0, 5760.0),
    "r": (5800.0, 7520.0),
    "z": (7620.0, 9824.0),
}
_ARM_FLAG: Final = {"b": Flag.ARM_B_MASKED, "r": Flag.ARM_R_MASKED, "z": Flag.ARM_Z_MASKED}
_MAD_TO_SIGMA: Final = 1.4826  # median absolute deviation of a unit Gaussian, inverted
_BLOCK_ROWS: Final = 1024


def clean_pixels(
    flux: NDArray[np.floating], ivar: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Set flux and ivar to 0 where either is unusable, and say so.

    Args:
        flux: (n, n_pix), any float type and byte order.
        ivar: (n, n_pix).

    Returns:
        Native float32 flux and ivar, and (n,) int32 flags (`NAN_FLUX`, `NEGATIVE_IVAR`).

    Source: INTEROP.md: "NaN flux: set flux and ivar to 0 first (QuasarNP does not)".
    """
    flux32 = np.array(flux, dtype=np.float32)
    ivar32 = np.array(ivar, dtype=np.float32)
    finite = np.isfinite(flux32)
    finite &= np.isfinite(ivar32)
    negative = ivar32 < 0
    flags = np.zeros(len(flux32), dtype=np.int32)
    if not finite.all():
        flags[~finite.all(axis=1)] |= Flag.NAN_FLUX
        flux32[~finite] = 0.0
        ivar32[~finite] = 0.0
    if negative.any():
        flags[negative.any(axis=1)] |= Flag.NEGATIVE_IVAR
        ivar32[negative] = 0.0
    return flux32, ivar32, flags


def prepare(spectra: Spectra, grid: WaveGrid) -> RebinnedSpectra:
    """Rebin, normalise and flag spectra, in blocks of rows.

    Args:
        spectra: as a reader returns them.
        grid: the network's bins.

    Returns:
        One row per input row, in order, none dropped.

    Source: INTEROP.md, "Wavelength grids and preprocessing"; flags are our choice.
    """
    n, n_bins = len(spectra), grid.n_bins
    flux = np.empty((n, n_bins), dtype=np.float32)
    ivar = np.empty((n, n_bins), dtype=np.float32)
    mean, rms = np.empty(n), np.empty(n)
    flags = spectra.flags.astype(np.int32, copy=True)
    for start in range(0, n, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        binned = rebin(
            [(arm.wave_aa, arm.flux[rows], arm.ivar[rows]) for arm in spectra.arms], grid
        )
        block = normalise(binned.flux, binned.ivar)
        flux[rows], mean[rows], rms[rows] = block
        # Inverse variance of the normalised flux; a scale of 1 where there is no rms.
        scale = np.where(block.rms_flux > 0, block.rms_flux, 1.0)
        ivar[rows] = binned.ivar * np.square(scale)[:, None]
        flags[rows] |= _grid_flags(binned.ivar, block.rms_flux)
        flags[rows] |= corrupted(block.flux, binned.ivar)
    sn = arm_sn(spectra.arms, n)
    for column, name in enumerate(ARM_NAMES):
        flags[np.isnan(sn[:, column])] |= _ARM_FLAG[name]
    flags[duplicate_keys(spectra.keys)] |= Flag.DUPLICATE_ROW
    return RebinnedSpectra(
        grid=grid,
        flux=flux,
        ivar=ivar,
        mean_flux=mean,
        rms_flux=rms,
        sn=sn,
        flags=flags,
        keys=spectra.keys,
        source=np.full(n, spectra.source),
        row=spectra.row,
    )


def arm_sn(arms: Iterable[Arm], n_rows: int) -> NDArray[np.float32]:
    """Median S/N per pixel in arms b, r, z; NaN where an arm has no usable pixel.

    A coadd over arms is judged in the range only that arm would cover.

    Returns:
        (n_rows, 3) float32.
    """
    sn = np.full((n_rows, len(ARM_NAMES)), np.nan, dtype=np.float32)
    for arm in arms:
        for column, name in enumerate(ARM_NAMES):
            if arm.name == name:
                pixels = slice(None)
            elif arm.name in ARM_NAMES:
                continue
            else:
                low, high = np.searchsorted(arm.wave_aa, _EXCLUSIVE_RANGE_AA[name])
                pixels = slice(int(low), int(high))
            sn[:, column] = _median_sn(arm.flux[:, pixels], arm.ivar[:, pixels])
    return sn


def corrupted(flux: NDArray[np.float32], ivar: NDArray[np.floating]) -> NDArray[np.int32]:
    """Flag spectra that data processing broke.

    Two tests on the normalised grid: a jump of `CORRUPT_JUMP` between neighbouring bins with
    data (the released code's test), or a third of the bins lying `CORRUPT_SIGMA` robust
    deviations away from the other two thirds (the paper's two corrupted spectra).

    Args:
        flux: (n, n_bins) normalised flux.
        ivar: (n, n_bins); bins with 0 are ignored.

    Returns:
        (n,) int32: `Flag.CORRUPTED` or 0.
    """
    values = np.where(ivar > 0, flux, np.nan)
    with np.errstate(invalid="ignore"):
        jump = np.any(np.abs(np.diff(values, axis=1)) >= CORRUPT_JUMP, axis=1)
        broken = jump | _third_is_implausible(flux, ivar)
    return np.where(broken, Flag.CORRUPTED, 0).astype(np.int32)


def duplicate_keys(keys: Keys) -> NDArray[np.bool_]:
    """Mark rows whose target and exposure keys an earlier row already has.

    Unknown and sky ids (0 or negative) repeat by nature and are never marked.
    """
    identity = np.stack(
        [keys.target_id, keys.tile_id, keys.healpix, keys.night, keys.exposure_id, keys.fiber]
    )
    repeated = np.zeros(len(keys), dtype=bool)
    if len(np.unique(keys.target_id)) == len(keys):
        return repeated
    order = np.lexsort(identity)
    ordered = identity[:, order]
    repeated[order[1:]] = np.all(ordered[:, 1:] == ordered[:, :-1], axis=0)
    return np.asarray(repeated & (keys.target_id > 0))


def count_flags(flags: NDArray[np.integer]) -> dict[str, int]:
    """Count rows per flag name, in bit order, only those that occur."""
    counts = {str(flag.name): int(np.count_nonzero(flags & flag)) for flag in Flag}
    return {name: count for name, count in counts.items() if count}


def flag_names(value: int) -> str:
    """Return the names of a bit mask, ``"|"`` between them, ``""`` for none.

    >>> flag_names(3)
    'NO_DATA|ARM_B_MASKED'
    """
    return "|".join(str(flag.name) for flag in Flag if value & flag)


def _grid_flags(ivar: NDArray[np.float64], rms: NDArray[np.float64]) -> NDArray[np.int32]:
    filled = np.count_nonzero(ivar > 0, axis=1)
    flags = np.where(filled == 0, Flag.NO_DATA, 0).astype(np.int32)
    flags[filled < MIN_COVERAGE * ivar.shape[1]] |= Flag.LOW_COVERAGE
    flags[rms == 0] |= Flag.CONSTANT_FLUX
    return flags


def _median_sn(flux: NDArray[np.float32], ivar: NDArray[np.float32]) -> NDArray[np.float32]:
    sn = np.full(len(flux), np.nan, dtype=np.float32)
    usable = ivar > 0
    rows = np.flatnonzero(usable.any(axis=1))
    values = np.where(usable[rows], flux[rows] * np.sqrt(ivar[rows]), np.nan)
    if len(rows):
        sn[rows] = np.nanmedian(values, axis=1)
    return sn


def _third_is_implausible(
    flux: NDArray[np.float32], ivar: NDArray[np.floating]
) -> NDArray[np.bool_]:
    # Of any third-sized corrupted part, more than half of all bins stay sound, so the median
    # and MAD of all bins describe the sound ones.
    data = ivar > 0
    rows = np.flatnonzero(data.any(axis=1))
    result = np.zeros(len(flux), dtype=bool)
    if len(rows):
        values = np.where(data[rows], flux[rows], np.nan)
        centre = np.nanmedian(values, axis=1, keepdims=True)
        spread = np.abs(values - centre)
        sigma = _MAD_TO_SIGMA * np.nanmedian(spread, axis=1, keepdims=True)
        away = np.count_nonzero(spread > CORRUPT_SIGMA * sigma, axis=1)
        # A little under a third: "approximately", and masked bins do not count.
        result[rows] = (away >= 0.9 * CORRUPT_SHARE * data[rows].sum(axis=1)) & (sigma[:, 0] > 0)
    return result
