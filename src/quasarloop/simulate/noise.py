"""From the light of an object to a noisy, calibrated spectrum of one arm and one exposure.

Variance of a calibrated pixel, with f the flux, s the sky and C the electrons per unit flux of
the nominal exposure: ``(C g t f + C t s b + R) / (C g t)²``, where g is what seeing and
transparency leave of this fibre's light, t the exposure time over the nominal one, b the sky's
brightness over the dark sky and R the read-out variance.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import pdtr

from quasarloop.artefacts import checksum
from quasarloop.errors import DataFormatError
from quasarloop.read import read_spectra
from quasarloop.simulate import Floats32, Rng
from quasarloop.simulate.instrument import ArmModel, Instrument

__all__ = [
    "MASK_COSMIC",
    "Conditions",
    "NoisyArm",
    "RealNoise",
    "blur",
    "draw_conditions",
    "observe",
    "read_real_noise",
    "variance",
]


# Bits SOMEBADPIX and COSMIC of desispec's specmask (desispec.maskbits).
_SOME_BAD: Final = 1 << 0
MASK_COSMIC: Final = 1 << 2
# Our choice, from the share of pixels with ivar 0 in DESI's coadd of HEALPix pixel 9144 (single
# visits: 0.02 % blue, 0.15–0.3 % red): cosmic-ray hits per pixel and exposure, and their length.
_HITS_PER_PIXEL: Final = {"b": 1.0e-4, "r": 8.0e-4, "z": 6.0e-4}
_HIT_PIXELS: Final = 4
# Our choice: exposure-to-exposure scatter of sky brightness (dex), of exposure time (dex) and of
# a fibre's light (dex; seeing, pointing), and of the flux calibration of an arm (part of flux).
_SKY_DEX: Final = 0.05
_TIME_DEX: Final = 0.04
_FIBRE_DEX: Final = 0.06
_CALIBRATION: Final = 0.01
_BLOCK_ROWS: Final = 32


@dataclass(frozen=True)
class Conditions:
    """Seeing, sky and calibration of one exposure.

    Attributes:
        time: exposure time over the nominal one.
        sky: sky brightness over the dark sky.
        fibre: (n,) share of the nominal light that each fibre catches.
        calibration: (n, n_arms) factor by which each arm's calibration is off.
    """

    time: float
    sky: float
    fibre: Floats32
    calibration: Floats32


@dataclass(frozen=True)
class NoisyArm:
    """One arm of one exposure (or of a coadd), (n, n_pix) each.

    Attributes:
        flux: float32, 1e-17 erg/s/cm²/Å.
        ivar: float32, 0 where masked.
        mask: int32 bits of desispec's specmask.
    """

    flux: Floats32
    ivar: Floats32
    mask: NDArray[np.int32]


@dataclass(frozen=True)
class RealNoise:
    """Inverse variances of a real coadd's fibres, to be drawn from.

    Attributes:
        ivar: per arm, (n_fibres, n_pix) float32; all-zero fibres left out.
        source: the file.
    """

    ivar: dict[str, Floats32]
    source: str


def draw_conditions(rng: Rng, n: int, n_arms: int, depth: float = 1.0) -> Conditions:
    """Draw the conditions of one exposure.

    Args:
        rng: generator of this exposure.
        n: number of fibres.
        n_arms: number of arms.
        depth: mean exposure time over the nominal one.
    """
    # A stream each, filled row by row: what row i gets does not depend on later rows.
    fibre_rng, calibration_rng = rng.spawn(2)
    time, sky = rng.standard_normal(2)
    fibre = 10 ** (_FIBRE_DEX * fibre_rng.standard_normal(n))
    calibration = 1 + _CALIBRATION * calibration_rng.standard_normal((n, n_arms))
    return Conditions(
        time=float(depth * 10 ** (_TIME_DEX * time)),
        sky=float(10 ** (_SKY_DEX * sky)),
        fibre=fibre.astype(np.float32),
        calibration=calibration.astype(np.float32),
    )


def blur(flux: Floats32, sigma_pixels: float) -> Floats32:
    """Convolve rows with a Gaussian of that width in pixels (edges repeat).

    Args:
        flux: (n, n_pix) float32.
        sigma_pixels: width; the kernel ends at 4 σ and sums to 1.
    """
    kernel = gaussian_kernel(sigma_pixels)
    reach = len(kernel) // 2
    result = np.empty_like(flux)
    for start in range(0, len(flux), _BLOCK_ROWS):
        block = flux[start : start + _BLOCK_ROWS]
        padded = np.pad(block, ((0, 0), (reach, reach)), mode="edge")
        n_pix = flux.shape[1]
        out = kernel[reach] * block
        for step in range(1, reach + 1):
            pair = padded[:, reach - step : reach - step + n_pix].copy()
            pair += padded[:, reach + step : reach + step + n_pix]
            pair *= kernel[reach + step]
            out += pair
        result[start : start + _BLOCK_ROWS] = out
    return result


def gaussian_kernel(sigma_pixels: float) -> Floats32:
    """Return an odd-length Gaussian kernel, sum 1, that ends at 4 σ."""
    reach = max(1, int(np.ceil(4 * sigma_pixels)))
    offset = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offset / sigma_pixels) ** 2)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def variance(arm: ArmModel, flux: Floats32, conditions: Conditions) -> Floats32:
    """Return the variance of every pixel, (n, n_pix), (1e-17 erg/s/cm²/Å)².

    Args:
        arm: the arm.
        flux: (n, n_pix) true flux at the arm's resolution, 1e-17 erg/s/cm²/Å.
        conditions: of the exposure.
    """
    electrons = arm.electrons * conditions.time
    sky = (electrons * arm.sky * conditions.sky + arm.read_variance) / electrons**2  # (n_pix,)
    photon = (1 / electrons).astype(np.float32)
    light = conditions.fibre[:, None]  # (n, 1)
    result = np.maximum(flux, 0)
    result *= photon
    result += sky.astype(np.float32) / light
    result /= light
    return result


def observe(
    arm: ArmModel,
    flux: Floats32,
    conditions: Conditions,
    rng: Rng,
    background: Floats32 | None = None,
) -> NoisyArm:
    """Observe one arm once.

    Args:
        arm: the arm.
        flux: (n, n_pix) true flux at the arm's resolution.
        conditions: of the exposure.
        rng: generator of this arm and exposure; row i's noise does not depend on later rows.
        background: (n, n_pix) inverse variances to use for sky and read-out instead of the
            arm's own (drawn from real fibres); 0 masks a pixel.

    Returns:
        Flux with noise, the inverse variance it was drawn with, and masked cosmic-ray hits.
    """
    hits_rng, noise_rng = rng.spawn(2)
    noisy, ivar = np.empty_like(flux), np.empty_like(flux)
    mask = np.zeros(flux.shape, dtype=np.int32)
    # In blocks that stay in the cache; the random numbers are the same as in one go.
    for start in range(0, len(flux), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        of_rows = replace(conditions, fibre=conditions.fibre[rows])
        if background is None:
            spread = variance(arm, flux[rows], of_rows)
        else:
            spread = _real_variance(arm, flux[rows], of_rows, background[rows])
        noise_rng.standard_normal(out=noisy[rows], dtype=np.float32)
        np.reciprocal(spread, out=ivar[rows])
        noisy[rows] *= np.sqrt(spread, out=spread)
        noisy[rows] += flux[rows]
    _mask_hits(noisy, ivar, mask, arm.name, hits_rng)
    if background is not None:
        bad = background <= 0
        noisy[bad], ivar[bad] = 0, 0
        mask[bad] |= _SOME_BAD
    return NoisyArm(noisy, ivar, mask)


def _real_variance(
    arm: ArmModel, flux: Floats32, conditions: Conditions, background: Floats32
) -> Floats32:
    electrons = (arm.electrons * conditions.time).astype(np.float32)
    light = conditions.fibre[:, None]  # (n, 1)
    own = np.where(background > 0, background, np.float32(1)) * np.square(light)
    return np.asarray(np.maximum(flux, 0) / electrons / light + np.reciprocal(own))


def _mask_hits(
    flux: Floats32, ivar: Floats32, mask: NDArray[np.int32], name: str, rng: Rng
) -> None:
    n, n_pix = flux.shape
    rate = _HITS_PER_PIXEL[name] * n_pix
    # Uniform draws of fixed number per row, so that a row never depends on those after it.
    most = int(np.ceil(rate + 6 * np.sqrt(rate))) + 1
    draws = rng.random((n, 2 + 2 * most), dtype=np.float32)
    cumulative = pdtr(np.arange(int(rate + 8 * np.sqrt(rate)) + 8), rate)
    counts = np.minimum(np.searchsorted(cumulative, draws[:, 0]), most)
    row, hit = np.nonzero(np.arange(most) < counts[:, None])
    first = (draws[row, 2 + hit] * n_pix).astype(np.int64)
    length = 1 + (draws[row, 2 + most + hit] * _HIT_PIXELS).astype(np.int64)
    for step in range(_HIT_PIXELS):
        inside = (step < length) & (first + step < n_pix)
        at = (row[inside], first[inside] + step)
        flux[at], ivar[at] = 0, 0
        mask[at] |= MASK_COSMIC


def read_real_noise(path: str | Path, instrument: Instrument) -> RealNoise:
    """Take the inverse variances (and so the masked pixels) of a coadd's fibres.

    Fibres without any data are left out. The real target's own photon noise is part of what
    is taken, so the noise is a little high where the real targets are bright.

    Args:
        path: a DESI coadd (or spectra) file.
        instrument: whose pixels the file must have.

    Raises:
        DataFormatError: other arms or pixels, or no fibre with data.
    """
    spectra = read_spectra(path)
    arms = {arm.name: arm for arm in spectra.arms}
    for model in instrument.arms:
        arm = arms.get(model.name)
        if arm is None or len(arm.wave_aa) != len(model.wave_aa):
            found = {name: len(arm.wave_aa) for name, arm in arms.items()}
            raise DataFormatError(
                f"{path}: arms and pixels are {found}; noise can be taken only from files with "
                f"arm {model.name!r} of {len(model.wave_aa)} pixels (a DESI coadd)"
            )
        if np.max(np.abs(arm.wave_aa - model.wave_aa)) > 0.01:  # noqa: PLR2004 -- Å, a hundredth of a pixel
            raise DataFormatError(f"{path}: arm {model.name!r} is not on DESI's wavelengths")
    used = np.logical_or.reduce([(arm.ivar > 0).any(axis=1) for arm in arms.values()])
    if not used.any():
        raise DataFormatError(f"{path}: no fibre has data; choose another file")
    source = f"{Path(path).name} sha256:{checksum(path)}"
    return RealNoise({name: arm.ivar[used] for name, arm in arms.items()}, source)
