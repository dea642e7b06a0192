"""Training spectra moved in redshift and disturbed, anew in every epoch.

A shift by whole bins of the log grid is a redshift. Disturbances are what real files have and
simulated ones lack: holes, missing ends and arms, steps, waves of the calibration, light of a
neighbouring fibre, more noise. Flux is known up to its mean and rms only, and an empty bin is
-mean/rms: so everything can be undone, changed and normalised once more.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from quasarloop.grid import WaveGrid
from quasarloop.network.config import NetworkConfig
from quasarloop.network.labelled import TrainingData
from quasarloop.network.loss import shift_redshift

__all__ = ["disturb", "shift_flux", "shift_randomly"]

Floats = NDArray[np.float32]

# Of the spectra disturbed, the share with each kind, and how large it is. Source: our choice, after
# the empty bins of LAMOST DR1 spectra, the range of SDSS-I spectra (3800 to 9200 A), calibrations
# good to a few per cent (Margala et al. 2016, ApJ 831, 157), and cross-talk of neighbouring fibres
# (Stoughton et al. 2002, AJ 123, 485).
_WAVES, _STEP, _STRAY, _NOISE, _HOLES, _ENDS = 0.5, 0.15, 0.15, 0.4, 0.4, 0.25
_WAVES_SIZE_DEX: Final = (-2.0, -0.7)  # of the logarithm of the flux
_WAVES_PERIOD_DEX: Final = (-0.7, 0.5)  # in parts of the grid
_N_WAVES: Final = 3
_STEP_SIZE: Final = 0.1
_STRAY_MOST: Final = 0.15  # of the mean level
_NOISE_DEX: Final = (-1.3, 0.2)  # rms, in units of the spectrum's
_NOISE_TILT: Final = 1.0  # ln, from one end of the grid to the other
_N_HOLES: Final = 3
_HOLE_DEX: Final = (0.0, 1.7)  # bins
_ENDS_MOST: Final = 0.45  # part of the grid: an arm
_FEWEST_BINS: Final = 40
# Noise of a bin is measured by differences of neighbours, averaged over so many.
_NOISE_BINS: Final = 31


def disturb(
    data: TrainingData, config: NetworkConfig, share: float, rng: np.random.Generator
) -> TrainingData:
    """Disturb a share of the spectra of a batch.

    Quasars left without any emission line on bins with data do not train.

    Args:
        data: (n) normalised spectra.
        config: the network: its grid and its lines.
        share: of the spectra to disturb.
        rng: the same number of draws for every batch of n.
    """
    n, n_bins = data.flux.shape
    chance = rng.random((7, n))
    hit = chance[0] < share
    waves, step, stray, noisy, holes, ends = (
        hit & (chance[1 + k] < part)
        for k, part in enumerate((_WAVES, _STEP, _STRAY, _NOISE, _HOLES, _ENDS))
    )
    has = data.flux != data.empty[:, None]  # (n, n_bins)
    level = data.flux - data.empty[:, None]  # flux as observed, in units of its rms
    level *= np.where(waves[:, None], _waves(n, n_bins, rng), np.float32(1))
    place = np.arange(n_bins) >= rng.integers(n_bins // 5, n_bins * 4 // 5, n)[:, None]
    factor = np.exp(np.float32(_STEP_SIZE) * rng.standard_normal((n, 1), dtype=np.float32))
    level *= np.where(step[:, None] & place, factor, np.float32(1))
    part = _between((0.0, _STRAY_MOST), (n, 1), rng)
    level += np.where(stray[:, None], part, np.float32(0)) * _neighbours(level, data)
    size = np.float32(10) ** _between(_NOISE_DEX, (n, 1), rng)
    tilt = np.float32(_NOISE_TILT) * rng.standard_normal((n, 1), dtype=np.float32)
    size = size * np.exp(tilt * np.linspace(-0.5, 0.5, n_bins, dtype=np.float32))
    size *= noisy[:, None]
    level += size * rng.standard_normal((n, n_bins), dtype=np.float32)
    lost = holes[:, None] & _holes(n, n_bins, rng)
    lost |= ends[:, None] & _ends(n, n_bins, rng)
    enough = (has & ~lost).sum(axis=1, keepdims=True) >= _FEWEST_BINS
    kept = has & ~(lost & enough)
    flux, empty = _normalised(level, kept, data.flux, has)
    return replace(
        data,
        flux=np.where(hit[:, None], flux, data.flux),
        empty=np.where(hit, empty, data.empty),
        trains=data.trains & (~hit | ~data.is_qso | _shows_a_line(data.z, kept, config)),
    )


def _between(
    limits: tuple[float, float], shape: tuple[int, ...], rng: np.random.Generator
) -> Floats:
    return np.asarray(rng.uniform(*limits, shape), dtype=np.float32)


def _waves(n: int, n_bins: int, rng: np.random.Generator) -> Floats:
    """Return smooth factors near 1, (n, n_bins)."""
    shape = (n, _N_WAVES, 1)
    along = np.linspace(0, 1, n_bins, dtype=np.float32)
    period = np.float32(10) ** _between(_WAVES_PERIOD_DEX, shape, rng)
    phase = _between((0, 1), shape, rng)
    size = rng.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(_N_WAVES))
    waves = (size * np.sin(np.float32(2 * np.pi) * (along / period + phase))).sum(axis=1)
    return np.asarray(np.exp(np.float32(10) ** _between(_WAVES_SIZE_DEX, (n, 1), rng) * waves))


def _neighbours(level: Floats, data: TrainingData) -> Floats:
    """Return the next row of each, at its mean level; 0 where that is a quasar: labels hold."""
    mean = np.abs(level.mean(axis=1, keepdims=True))
    scale = mean / np.maximum(np.roll(mean, -1, axis=0), np.float32(1e-3))
    other = np.roll(level, -1, axis=0) * np.minimum(scale, np.float32(10))
    return np.where(np.roll(data.is_qso, -1)[:, None], np.float32(0), other)


def _holes(n: int, n_bins: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    centre = rng.random((n, _N_HOLES)) * n_bins
    half = 10.0 ** rng.uniform(*_HOLE_DEX, (n, _N_HOLES)) / 2
    there = np.arange(_N_HOLES) <= rng.integers(_N_HOLES, size=n)[:, None]
    bins = np.arange(n_bins)[:, None] + 0.5
    inside = np.abs(bins - centre[:, None]) < np.where(there, half, 0)[:, None]
    return np.asarray(inside.any(axis=2))


def _ends(n: int, n_bins: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return bins bluer or redder than a random one, or both."""
    cut = (rng.random((n, 2)) ** 2 * _ENDS_MOST * n_bins).astype(np.int64)
    cut *= rng.random((n, 2)) < 0.7  # noqa: PLR2004 -- our choice: most have one end only
    bins = np.arange(n_bins)
    return np.asarray((bins < cut[:, :1]) | (bins >= n_bins - cut[:, 1:]))


def _normalised(
    level: Floats, has: NDArray[np.bool_], flux: Floats, had: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Normalise anew, as far as the weights of the bins can be guessed from their noise."""
    mean, rms = _moments(level, has)
    # What the guess gives for the spectrum as it was, where 0 and 1 are true.
    old_mean, old_rms = _moments(flux, had)
    scale = old_rms / np.maximum(rms, np.float32(1e-6))
    empty = old_mean - mean * scale  # (n, 1)
    normal: Floats = np.where(has, level * scale + empty, empty)
    return normal, empty[:, 0].astype(np.float32)


def _moments(values: Floats, has: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return mean and rms over bins with data, (n, 1) each, weighted by the inverse variance."""
    pairs = (has[:, :-1] & has[:, 1:]).astype(np.float32)
    step = np.square(np.diff(values, axis=1)) * pairs
    noise = _smooth(step) / np.maximum(_smooth(pairs), np.float32(1e-3))
    noise = np.pad(noise, ((0, 0), (0, 1)), mode="edge")  # (n, n_bins)
    weight = has / np.maximum(noise, 1e-2 * noise.mean(axis=1, keepdims=True) + 1e-9)
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)
    mean: Floats = (weight * values).sum(axis=1, keepdims=True, dtype=np.float32)
    square: Floats = (weight * np.square(values - mean)).sum(
        axis=1, keepdims=True, dtype=np.float32
    )
    return mean, np.asarray(np.sqrt(square), dtype=np.float32)


def _smooth(values: Floats) -> Floats:
    return np.asarray(uniform_filter1d(values, _NOISE_BINS, axis=1, mode="nearest"))


def _shows_a_line(
    z: NDArray[np.float64], has: NDArray[np.bool_], config: NetworkConfig
) -> NDArray[np.bool_]:
    """Return which spectra have data where a line of their redshift is, (n,)."""
    shown = np.zeros(len(z), dtype=bool)
    for line in (config.lines[i] for i in config.emission_index):
        bins = config.grid.bin_of(line.wave_rest_aa * (1 + np.nan_to_num(z)))
        inside = (bins >= 0) & (bins < has.shape[1])
        shown |= inside & has[np.arange(len(z)), np.clip(bins, 0, has.shape[1] - 1)]
    return shown


def shift_randomly(
    data: TrainingData, grid: WaveGrid, largest: int, rng: np.random.Generator
) -> TrainingData:
    """Move each spectrum by a random whole number of bins, and its redshift with it.

    Args:
        data: normalised spectra (stars too: a star moved by 40 bins is no star any more, but
            still not a quasar).
        grid: a grid uniform in log λ.
        largest: shifts are uniform in -largest … +largest.
        rng: one draw per spectrum.

    Raises:
        GridError: the grid is uniform in λ.
    """
    bins = rng.integers(-largest, largest, size=len(data), endpoint=True)
    flux = shift_flux(data.flux, bins, data.empty)
    return replace(data, flux=flux, z=shift_redshift(data.z, bins, grid))


def shift_flux(
    flux: NDArray[np.float32], bins: NDArray[np.int64], empty: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Move each row towards the red by its number of bins; what comes in has no data.

    >>> row = np.array([[1, 2, 3]], dtype=np.float32)
    >>> shift_flux(row, np.array([1]), np.array([-9], dtype=np.float32)).tolist()
    [[-9.0, 1.0, 2.0]]
    """
    n_bins = flux.shape[1]
    origin = np.arange(n_bins) - bins[:, None]  # (n, n_bins)
    inside = (origin >= 0) & (origin < n_bins)
    moved = np.take_along_axis(flux, np.clip(origin, 0, n_bins - 1), axis=1)
    return np.where(inside, moved, empty[:, None]).astype(np.float32)
