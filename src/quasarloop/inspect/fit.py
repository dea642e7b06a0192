"""The redshift near a trial value where a template fits a spectrum best."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from quasarloop.errors import InspectionError
from quasarloop.inspect.restframe import RestTemplate
from quasarloop.spectra import Arm
from quasarloop.truth import SpecType

__all__ = ["HALF_WIDTH", "SEARCH", "RedshiftFit", "fit_redshift"]

Floats = NDArray[np.float64]

# 1e-4 dex per pixel: 69 km/s; a parabola through the best three refines it.
_LOG_STEP: Final = 1e-4
# Wider than any template, with zeros outside it.
_MODEL_LOG_RANGE: Final = (2.6, 4.1)
# Continua are taken out on this scale, so that lines decide and not calibration: 0.04 dex is
# 27,000 km/s, broader than a broad line. Our choice.
_CONTINUUM_PIXELS: Final = 401
_MIN_PIXELS: Final = 200
# Half width of the search in Δz/(1+z). Our choice: a box of the network is 0.08.
HALF_WIDTH: Final = 0.03
# Where each class can be at all, from a survey's depth. Our choice, like redrock's ranges.
SEARCH: Final = {
    SpecType.STAR: (-0.005, 0.005),
    SpecType.GALAXY: (-0.005, 1.7),
    SpecType.QSO: (0.05, 6.0),
}


@dataclass(frozen=True)
class RedshiftFit:
    """The best match of a template.

    Attributes:
        z: redshift.
        correlation: ivar-weighted correlation at `z`, -1 to 1.
        at_edge: the best value lies at the edge of the search: look further, or elsewhere.
    """

    z: float
    correlation: float
    at_edge: bool


def fit_redshift(
    arms: tuple[Arm, ...],
    template: RestTemplate,
    z_trial: float,
    *,
    row: int = 0,
    half_width: float = HALF_WIDTH,
    z_range: tuple[float, float] | None = None,
) -> RedshiftFit:
    """Cross-correlate a spectrum with a template around a trial redshift.

    Both are freed of their continua on a log-wavelength grid; every shift is then weighted by
    inverse variance.

    Args:
        arms: as a reader returns them.
        template: rest frame.
        z_trial: centre of the search.
        row: which spectrum of the arms.
        half_width: half width of the search, in Δz/(1 + z).
        z_range: search between these redshifts instead, wherever the trial is.

    Raises:
        InspectionError: too little data, or no overlap with the template.
    """
    start, flux, ivar = _on_log_grid(arms, row)
    weight = ivar / ivar.max()
    signal = _without_continuum(flux, weight)
    model_wave = 10.0 ** np.arange(*_MODEL_LOG_RANGE, _LOG_STEP)
    model = np.interp(model_wave, template.wave_aa, template.flux, left=0, right=0)
    model_line = _without_continuum(model, (model > 0).astype(np.float64))
    if z_range is not None:
        z_trial = float(np.sqrt((1 + z_range[0]) * (1 + z_range[1]))) - 1
        half_width = (1 + z_range[1]) / (1 + z_trial) - 1
    n_shift = max(2, int(np.log10(1 + half_width) / _LOG_STEP))
    centre = (start - np.log10(1 + z_trial) - _MODEL_LOG_RANGE[0]) / _LOG_STEP
    first = round(centre)
    scores = np.full(2 * n_shift + 1, -np.inf)
    for k in range(-n_shift, n_shift + 1):
        begin = first - k  # a larger redshift moves the template's start to the blue
        if begin >= 0 and begin + len(signal) <= len(model_line):
            scores[k + n_shift] = _correlation(
                signal, model_line[begin : begin + len(signal)], weight
            )
    if not np.isfinite(scores).any():
        raise InspectionError(f"the template does not cover this spectrum at z = {z_trial:g}")
    best = int(np.argmax(scores))
    at_edge = best in (0, 2 * n_shift)
    fraction = 0.0 if at_edge else _parabola(scores[best - 1 : best + 2])
    shift = (best - n_shift + fraction) + (centre - first)
    log_z1 = np.log10(1 + z_trial) + shift * _LOG_STEP
    return RedshiftFit(float(10.0**log_z1 - 1), float(scores[best]), at_edge)


def _on_log_grid(arms: tuple[Arm, ...], row: int) -> tuple[float, Floats, Floats]:
    start = min(np.log10(arm.wave_aa[0]) for arm in arms)
    start = np.ceil(start / _LOG_STEP) * _LOG_STEP
    end = max(np.log10(arm.wave_aa[-1]) for arm in arms)
    n = int((end - start) / _LOG_STEP)
    weighted, ivar_sum = np.zeros(n + 1), np.zeros(n + 1)
    for arm in arms:
        index = np.rint((np.log10(arm.wave_aa) - start) / _LOG_STEP).astype(np.int64)
        inside = (index >= 0) & (index <= n)
        np.add.at(weighted, index[inside], (arm.flux[row] * arm.ivar[row])[inside])
        np.add.at(ivar_sum, index[inside], arm.ivar[row][inside])
    if np.count_nonzero(ivar_sum) < _MIN_PIXELS:
        raise InspectionError("too few usable pixels to fit a redshift; nudge it by hand")
    flux = np.divide(weighted, ivar_sum, out=np.zeros(n + 1), where=ivar_sum > 0)
    return float(start), flux, ivar_sum


def _without_continuum(flux: Floats, weight: Floats) -> Floats:
    level = uniform_filter1d(weight, _CONTINUUM_PIXELS, mode="nearest")
    smooth = uniform_filter1d(flux * weight, _CONTINUUM_PIXELS, mode="nearest")
    continuum = np.divide(smooth, level, out=np.zeros_like(flux), where=level > 0)
    return np.where(weight > 0, flux - continuum, 0.0)


def _correlation(signal: Floats, model: Floats, weight: Floats) -> float:
    covered = weight * (model != 0)
    norm = np.sqrt((covered * signal**2).sum() * (covered * model**2).sum())
    return float((covered * signal * model).sum() / norm) if norm > 0 else -1.0


def _parabola(three: Floats) -> float:
    curvature = three[0] - 2 * three[1] + three[2]
    return float(0.5 * (three[0] - three[2]) / curvature) if curvature < 0 else 0.0
