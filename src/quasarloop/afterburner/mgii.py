"""Broad Mg II emission where redrock finds no quasar: one Gaussian, a window, four conditions.

A galaxy whose redshift is right may still show a quasar's broad Mg II line. Around the line, at
redrock's redshift, a Gaussian on a constant is fitted; the spectrum is a quasar's where that
describes the pixels much better than redrock's own best fit, with a line neither absent nor
narrow nor as wide as the window.

Source: Chaussidon et al. 2023, ApJ 944, 107, Section 6 (the Mg II fitter of the DESI quasar
catalogue); its numbers as desispec runs it, `mgii_afterburner` 0.70.

Why not scipy.optimize.curve_fit, as desispec: it fits one spectrum after the other, and from a
single start it can end in the wrong one of several minima. Here whole blocks of spectra are
fitted at once; tests compare with curve_fit and with desispec.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.options import check_options, option

__all__ = ["MGII_DOUBLET_AA", "MgIIFits", "MgIIOptions", "fit_mgii", "is_broad_line"]

Floats = NDArray[np.float64]

# Vacuum wavelengths of the two lines; the blend is fitted as one, about their mean.
# Source: as desispec's mgii_afterburner (2796 Å is also the network's line).
MGII_DOUBLET_AA: Final = (2796.3511, 2803.5324)
# Widths tried before refining, Å: from one pixel to far beyond what is accepted. Our choice.
_TRIAL_SIGMA_AA: Final = np.geomspace(1.0, 1000.0, 49)
_GOLDEN: Final = (np.sqrt(5) - 1) / 2
_REFINE_STEPS: Final = 30  # golden sections: the width is good to 1e-6 of itself
_N_PARAMETERS: Final = 3
# The window is cut into so many parts; half of them must hold a usable pixel. Our choice.
_PARTS: Final = 25
_BLOCK_ROWS: Final = 512  # some 30 MB of windows at a time


@dataclass(frozen=True)
class MgIIOptions:
    """What is fitted, and what makes a broad line.

    Source: Chaussidon et al. 2023 and desispec; see the module.
    """

    window_aa: float = option(250.0, "Full width of the fitted range, observed Å.", above=0)
    min_delta_chi2: float = option(
        16.0, "The Gaussian must improve on the reference by more than this χ²."
    )
    min_significance: float = option(3.0, "Amplitude over its own error must exceed this.")
    # 0: emission, not absorption.
    min_amplitude: float = option(0.0, "Amplitude must exceed this.")
    min_sigma_aa: float = option(10.0, "Smallest width of the Gaussian, observed Å.", low=0)
    max_sigma_aa: float = option(200.0, "Largest width of the Gaussian, observed Å.", above=0)

    def __post_init__(self) -> None:
        check_options(self, ValueError)
        if not self.min_sigma_aa < self.max_sigma_aa:
            raise ValueError(
                f"widths {self.min_sigma_aa} to {self.max_sigma_aa} Å: the widths must be a range"
            )


@dataclass(frozen=True)
class MgIIFits:
    """Fits, (n,) float64 each; NaN where nothing was fitted.

    Attributes:
        delta_chi2: χ² of the reference less that of the Gaussian.
        amplitude: height of the Gaussian, flux units of the spectrum.
        sigma_aa: its width, observed Å.
        constant: the continuum, flux units.
        var_amplitude, var_sigma, var_constant: variances, scaled by χ² per degree of freedom
            (of usable pixels; desispec counts the masked ones too).
    """

    delta_chi2: Floats
    amplitude: Floats
    sigma_aa: Floats
    constant: Floats
    var_amplitude: Floats
    var_sigma: Floats
    var_constant: Floats

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.delta_chi2)


def fit_mgii(
    wave_aa: NDArray[Any],
    flux: NDArray[Any],
    ivar: NDArray[Any],
    z: NDArray[Any],
    reference: NDArray[Any] | None = None,
    options: MgIIOptions | None = None,
) -> MgIIFits:
    """Fit A exp(-x²/2σ²) + B to every spectrum, x observed Å from Mg II at its redshift.

    For a given σ the fit is linear, so only σ is searched: on a grid, then by golden sections.
    χ² may have several minima (a broad line under a noise spike has two). The deepest one with
    A > 0 among the widths of a broad line is taken; without any, the deepest with A > 0; without
    that, the deepest absorption. Pixels without a positive finite ivar or with a non-finite flux
    do not count.

    Args:
        wave_aa: (n_pix,) vacuum Å, never decreasing; arms that overlap may simply be merged,
            every pixel counts once.
        flux: (n, n_pix).
        ivar: (n, n_pix) inverse variance.
        z: (n,) redshift to look at; NaN for "do not fit".
        reference: (n, n_pix) redrock's best fit at these pixels; None compares with the best
            constant instead, for files whose templates are not at hand.
        options: the window, and which widths are preferred.

    Returns:
        NaN rows where the window leaves the wavelength range, or half of it has no usable pixel.
    """
    chosen = options or MgIIOptions()
    wave = np.asarray(wave_aa, np.float64)
    line_aa = (1 + np.asarray(z, np.float64)) * np.mean(MGII_DOUBLET_AA)
    half = chosen.window_aa / 2
    columns = np.full((7, len(line_aa)), np.nan)
    with np.errstate(invalid="ignore"):
        seen = (line_aa >= wave_aa[0] + half) & (line_aa <= wave_aa[-1] - half)
    rows = np.flatnonzero(seen)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS]
        model = None if reference is None else reference[block]
        data = _windows(wave, flux[block], ivar[block], model, line_aa[block], half)
        columns[:, block] = _fit_block(data, chosen)
    return MgIIFits(*columns)


def is_broad_line(fits: MgIIFits, options: MgIIOptions | None = None) -> NDArray[np.bool_]:
    """Return where all conditions hold; a spectrum that was not fitted has no line.

    Δχ² and A are taken with their signs: a Gaussian that is worse than redrock's fit by 16, or
    an absorption, is no broad line.
    """
    o = options or MgIIOptions()
    with np.errstate(invalid="ignore"):
        return np.asarray(
            (fits.delta_chi2 > o.min_delta_chi2)
            & (fits.amplitude > o.min_amplitude)
            & (fits.amplitude > o.min_significance * np.sqrt(fits.var_amplitude))
            & (fits.sigma_aa > o.min_sigma_aa)
            & (fits.sigma_aa < o.max_sigma_aa)
        )


@dataclass(frozen=True)
class _Windows:
    """Pixels around the line, (n, n_window) each; weight 0 where a pixel does not count."""

    x: Floats
    y: Floats
    weight: Floats
    reference: Floats | None
    half: float


def _windows(
    wave: Floats,
    flux: NDArray[Any],
    ivar: NDArray[Any],
    reference: NDArray[Any] | None,
    line_aa: Floats,
    half: float,
) -> _Windows:
    first = np.searchsorted(wave, line_aa - half, side="right")
    last = np.searchsorted(wave, line_aa + half, side="left")
    index = first[:, None] + np.arange(max(1, int(np.max(last - first, initial=0))))
    inside = index < last[:, None]
    index = np.minimum(index, len(wave) - 1)  # (n, n_window)
    y = np.take_along_axis(flux, index, axis=1).astype(np.float64)
    weight = np.take_along_axis(ivar, index, axis=1).astype(np.float64)
    usable = inside & np.isfinite(y) & np.isfinite(weight) & (weight > 0)
    model = None
    if reference is not None:
        model = np.take_along_axis(reference, index, axis=1).astype(np.float64)
        model = np.where(usable, model, 0.0)
    return _Windows(
        wave[index] - line_aa[:, None],
        np.where(usable, y, 0.0),
        np.where(usable, weight, 0.0),
        model,
        half,
    )


def _fit_block(data: _Windows, options: MgIIOptions) -> Floats:
    """Return the seven columns of `MgIIFits` for one block of windows."""
    total = data.weight.sum(axis=1)
    n_usable = np.count_nonzero(data.weight, axis=1)
    enough = _covered(data) & (n_usable > _N_PARAMETERS)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        centred = data.y - ((data.weight * data.y).sum(axis=1) / total)[:, None]
        sigma = _best_sigma(data, centred, options)
        shape = _gaussian(data.x, sigma)
        along, size, mean_shape = _projected(data.weight, shape, centred)
        amplitude = along / size
        constant = (data.y - centred)[:, 0] - amplitude * mean_shape
        residual = data.y - amplitude[:, None] * shape - constant[:, None]
        chi2 = (data.weight * residual**2).sum(axis=1)
        against = centred if data.reference is None else data.y - data.reference
        delta_chi2 = (data.weight * against**2).sum(axis=1) - chi2
        variance = _variances(data, shape, amplitude, sigma, chi2 / (n_usable - _N_PARAMETERS))
    columns = np.stack([delta_chi2, amplitude, sigma, constant, *variance])
    columns[:, ~enough] = np.nan
    return columns


def _covered(data: _Windows) -> NDArray[np.bool_]:
    part = np.clip((data.x + data.half) * _PARTS / (2 * data.half), 0, _PARTS - 1).astype(int)
    held = np.zeros((len(part), _PARTS), dtype=bool)
    row, pixel = np.nonzero(data.weight)
    held[row, part[row, pixel]] = True
    return np.asarray(2 * held.sum(axis=1) >= _PARTS)


def _best_sigma(data: _Windows, centred: Floats, options: MgIIOptions) -> Floats:
    """Return (n,) the width of the minimum taken (see `fit_mgii`)."""
    gains = np.stack(
        [_gain(data, centred, np.full(len(centred), sigma)) for sigma in _TRIAL_SIGMA_AA]
    )  # (n_trial, n)
    low, high = options.min_sigma_aa, options.max_sigma_aa
    broad = np.array([low < sigma < high for sigma in _TRIAL_SIGMA_AA])
    peak = np.zeros(gains.shape, dtype=bool)
    peak[1:-1] = (gains[1:-1] >= gains[:-2]) & (gains[1:-1] >= gains[2:]) & (gains[1:-1] > 0)
    peak &= broad[:, None]
    ranked = np.where(peak.any(axis=0), np.where(peak, gains, -np.inf), gains)
    best = np.clip(np.argmax(ranked, axis=0), 1, len(_TRIAL_SIGMA_AA) - 2)
    low, high = np.log(_TRIAL_SIGMA_AA[best - 1]), np.log(_TRIAL_SIGMA_AA[best + 1])
    for _ in range(_REFINE_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        go_left = _gain(data, centred, np.exp(left)) >= _gain(data, centred, np.exp(right))
        low, high = np.where(go_left, low, left), np.where(go_left, right, high)
    return np.asarray(np.exp((low + high) / 2))


def _gain(data: _Windows, centred: Floats, sigma: Floats) -> Floats:
    """Return by how much a line of this width lowers χ²; negative where it is an absorption."""
    along, size, _ = _projected(data.weight, _gaussian(data.x, sigma), centred)
    gain = np.where(size > 0, np.sign(along) * along**2 / size, 0.0)
    # Below zero the order is turned round: without any emission, the best absorption wins.
    return np.asarray(np.where(gain < 0, -1.0 / -gain, gain))


def _gaussian(x: Floats, sigma: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * (x / sigma[:, None]) ** 2))


def _projected(weight: Floats, shape: Floats, centred: Floats) -> tuple[Floats, Floats, Floats]:
    """Return (n,) product with the data and norm of a shape less its mean, and that mean."""
    mean = (weight * shape).sum(axis=1) / weight.sum(axis=1)
    about = shape - mean[:, None]
    return (weight * about * centred).sum(axis=1), (weight * about**2).sum(axis=1), mean


def _variances(
    data: _Windows, shape: Floats, amplitude: Floats, sigma: Floats, scale: Floats
) -> Floats:
    """Return (3, n) variances of A, σ, B: the inverse of the curvature, times ``scale``."""
    by_sigma = amplitude[:, None] * shape * data.x**2 / sigma[:, None] ** 3
    slopes = np.stack([shape, by_sigma, np.ones_like(shape)], axis=1)  # (n, 3, n_window)
    curvature = np.einsum("iap,ip,ibp->iab", slopes, data.weight, slopes)  # (n, 3, 3)
    # Scaled to a unit diagonal before inverting: the three units differ by orders of magnitude.
    size = np.sqrt(np.diagonal(curvature, axis1=1, axis2=2))  # (n, 3)
    unit = curvature / (size[:, :, None] * size[:, None, :])
    sound = np.isfinite(unit).all(axis=(1, 2))
    sound[sound] = np.linalg.cond(unit[sound]) < 1 / np.finfo(np.float64).eps
    out = np.full((_N_PARAMETERS, len(sigma)), np.nan)
    inverse = np.diagonal(np.linalg.inv(unit[sound]), axis1=1, axis2=2)
    out[:, sound] = (inverse / size[sound] ** 2 * scale[sound, None]).T
    return out
