"""The redshifts at which templates of every kind fit a spectrum best.

Model: a mixture of a kind's vectors, of galaxies and stars plus a low polynomial. Everything that
the normal equations need at all redshifts is a cross-correlation on the log-wavelength grid, hence
a few Fourier transforms. Mixtures like those of the simulation are preferred: a Gaussian prior on
the components, marginalised, as in the evidence of Gaussian linear models (e.g. MacKay 2003,
Information Theory, Inference, and Learning Algorithms, Chapter 28).
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import median_filter

from quasarloop.errors import InspectionError
from quasarloop.inspect.library import (
    FIRST_PIXEL,
    LOG_STEP,
    N_PIXELS,
    Z_MAX,
    Z_RANGE,
    TemplateKind,
    library,
)
from quasarloop.labels.merge import MAX_Z_RANGE
from quasarloop.spectra import Arm
from quasarloop.truth import SpecType

__all__ = ["HALF_WIDTH", "N_BEST", "PROFILE_STEP", "Fits", "TemplateFit", "fit_spectrum"]

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

N_BEST: Final = 3
# Half width of a search near a trial redshift, in Δz/(1+z). Our choice: a box of the network
# is 0.08.
HALF_WIDTH: Final = 0.03
_MIN_PIXELS: Final = 100
# Templates are never better than this share of the flux. Our choice: calibration of SDSS and DESI
# is good to a few per cent, real lines differ from simulated ones by more.
_MODEL_ERROR: Final = 0.05
_SMOOTH_PIXELS: Final = 25
# Terms of the polynomial, and their usual size relative to the flux. Quasars' components contain
# slopes already. Our choice.
_N_TERMS: Final = {SpecType.QSO: 0, SpecType.GALAXY: 3, SpecType.STAR: 3}
_TERM_SIZE: Final = 0.5
# Width of a bin of the profile over redshifts, dex of (1 + z): a strip of 377 pixels to z = 7.
PROFILE_STEP: Final = 0.0024
_N_BINS: Final = int(np.log10(1 + Z_MAX) / PROFILE_STEP) + 1
_LEAST: Final = 1e-9  # of a diagonal element, for what rounding leaves
# Peaks kept of each kind: the second best may be of the class that wins elsewhere.
_PEAKS: Final = 2


@dataclass(frozen=True)
class TemplateFit:
    """One redshift at which one kind fits.

    Attributes:
        spectype, subtype: of the template.
        z: redshift.
        z_err: its standard deviation, from the curvature of χ²; NaN at an edge.
        delta_chi2: χ² (priors and their volume included) minus that of the best fit; 0 is best.
        at_edge: the best value lies at the edge of the search: look further, or elsewhere.
        first: rest-frame pixel of the first value of `flux`.
        flux: (n,) the mixture that fits, rest frame, without the polynomial.
    """

    spectype: SpecType
    subtype: str
    z: float
    z_err: float
    delta_chi2: float
    at_edge: bool
    first: int
    flux: Floats


@dataclass(frozen=True)
class Fits:
    """What fits a spectrum.

    Attributes:
        best: at most `N_BEST`, best first.
        profile: (n_bins,) least Δχ² of any kind in bins of `PROFILE_STEP` in log10(1 + z) from
            z = 0; infinite where nothing fits.
    """

    best: tuple[TemplateFit, ...]
    profile: Floats


@dataclass(frozen=True)
class _Data:
    """A spectrum on the grid, (N_PIXELS,) each: flux, and weight = 1/σ²."""

    flux: Floats
    weight: Floats

    @property
    def size(self) -> float:
        """Typical flux."""
        return float(np.sqrt(self.weight @ self.flux**2 / self.weight.sum()))


@dataclass(frozen=True)
class _Transforms:
    """What a kind's correlations need, computed once."""

    kind: TemplateKind
    shifts: NDArray[np.int64]
    n_fft: int
    vectors: Complexes  # (k, n_fft/2 + 1), conjugated
    products: Complexes  # of pairs of vectors


def fit_spectrum(
    arms: tuple[Arm, ...],
    *,
    row: int = 0,
    spectype: SpecType | None = None,
    z_near: float | None = None,
    half_width: float = HALF_WIDTH,
) -> Fits:
    """Return the redshifts that fit best.

    Args:
        arms: as a reader returns them.
        row: which spectrum of the arms.
        spectype: fit templates of this class only.
        z_near: search around this redshift only.
        half_width: of that search, in Δz/(1 + z).

    Raises:
        InspectionError: too little data, or no template there.
    """
    data = _on_grid(arms, row)
    spectra: dict[tuple[int, int], Complexes] = {}
    found: list[tuple[float, TemplateFit]] = []
    highest = np.full(_N_BINS, -np.inf)
    for number, kind in enumerate(library()):
        if spectype in (None, SpecType.UNKNOWN, kind.spectype):
            known = _transforms(number)
            normal, right = _normal_equations(known, data, spectra)
            score = _add_prior(normal, right, data, len(known.vectors))
            if z_near is not None:
                distance = np.abs(known.shifts - np.log10(1 + z_near) / LOG_STEP)
                score[distance > np.log10(1 + half_width) / LOG_STEP] = -np.inf
            np.maximum.at(highest, _bins(known.shifts), score)
            found += _peaks(known, score, normal, right)
    if not found:
        where = "" if z_near is None else f" at z = {z_near:g}"
        raise InspectionError(f"no template{where} fits this spectrum; move nearer by hand")
    found.sort(key=lambda pair: -pair[0])
    return Fits(tuple(_distinct(found)), found[0][0] - highest)


def _bins(shifts: NDArray[np.int64]) -> NDArray[np.int64]:
    place = np.rint(shifts * (LOG_STEP / PROFILE_STEP)).astype(np.int64)
    return np.asarray(np.clip(place, 0, _N_BINS - 1))


def _distinct(found: list[tuple[float, TemplateFit]]) -> list[TemplateFit]:
    """The best fits that differ in class or redshift, with Δχ² from the first."""
    best: list[TemplateFit] = []
    for score, fit in found:
        same = (
            fit.spectype == known.spectype and abs(fit.z - known.z) < MAX_Z_RANGE * (1 + known.z)
            for known in best
        )
        if not any(same) and len(best) < N_BEST:
            delta = found[0][0] - score
            best.append(replace(fit, delta_chi2=float(delta)))
    return best


def _on_grid(arms: tuple[Arm, ...], row: int) -> _Data:
    weighted, ivar = np.zeros(N_PIXELS), np.zeros(N_PIXELS)
    for arm in arms:
        pixel = np.rint(np.log10(arm.wave_aa) / LOG_STEP).astype(np.int64) - FIRST_PIXEL
        inside = (pixel >= 0) & (pixel < N_PIXELS)
        there = np.float64(arm.ivar[row][inside])
        weighted += np.bincount(pixel[inside], there * arm.flux[row][inside], N_PIXELS)
        ivar += np.bincount(pixel[inside], there, N_PIXELS)
    good = ivar > 0
    if np.count_nonzero(good) < _MIN_PIXELS:
        raise InspectionError("too few usable pixels to fit a redshift; move it by hand")
    flux = np.divide(weighted, ivar, out=np.zeros(N_PIXELS), where=good)
    level = np.abs(median_filter(flux, _SMOOTH_PIXELS))
    variance = np.divide(1, ivar, out=np.ones(N_PIXELS), where=good) + (_MODEL_ERROR * level) ** 2
    return _Data(flux, np.where(good, 1 / variance, 0))


@cache
def _transforms(number: int) -> _Transforms:
    kind = library()[number]
    low, high = np.rint(np.log10(1 + np.array(Z_RANGE[kind.spectype])) / LOG_STEP).astype(int)
    n_fft = fft.next_fast_len(kind.vectors.shape[1], real=True)
    pairs = [kind.vectors[i] * kind.vectors[j] for i, j in _pairs(len(kind.vectors))]
    return _Transforms(
        kind,
        np.arange(low, high + 1),
        n_fft,
        np.conj(fft.rfft(kind.vectors, n_fft)),
        np.conj(fft.rfft(np.stack(pairs), n_fft)),
    )


def _pairs(k: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(k) for j in range(i, k)]


@cache
def _polynomial(n_terms: int) -> Floats:
    place = np.linspace(-1, 1, N_PIXELS)
    terms = np.polynomial.legendre.legvander(place, max(n_terms - 1, 0)).T[:n_terms]
    return np.asarray(terms, dtype=np.float64)


def _peaks(
    known: _Transforms, score: Floats, normal: Floats, right: Floats
) -> list[tuple[float, TemplateFit]]:
    """The highest peaks of one kind, with what they lower χ² by."""
    places = np.flatnonzero(np.isfinite(score))
    reach = int(np.log10(1 + MAX_Z_RANGE) / LOG_STEP) + 1
    beside = np.pad(score, 1, constant_values=-np.inf)
    left = np.where((score >= beside[:-2]) & (score >= beside[2:]), score, -np.inf)
    kind, found = known.kind, []
    for _ in range(_PEAKS):
        k = int(np.argmax(left))
        if not np.isfinite(left[k]):
            break
        at_edge = k in (places[0], places[-1])
        place, width = (0.0, np.nan) if at_edge else _parabola(score[k - 1 : k + 2])
        z = float(10 ** ((known.shifts[k] + place) * LOG_STEP) - 1)
        z_err = float(width * LOG_STEP * np.log(10) * (1 + z))
        mixture = np.linalg.solve(normal[:, :, k], right[:, k])[: len(kind.vectors)]
        flux = mixture @ kind.vectors
        fit = TemplateFit(kind.spectype, kind.subtype, z, z_err, 0.0, at_edge, kind.first, flux)
        found.append((float(score[k]), fit))
        left[max(0, k - reach) : k + reach + 1] = -np.inf
    return found


def _normal_equations(
    known: _Transforms, data: _Data, spectra: dict[tuple[int, int], Complexes]
) -> tuple[Floats, Floats]:
    """(d, d, n_shifts) and (d, n_shifts): of the vectors, then of the polynomial's terms."""
    terms = _polynomial(_N_TERMS[known.kind.spectype])
    key = (known.n_fft, len(terms))
    if key not in spectra:
        rows = np.vstack([data.weight, data.weight * data.flux, data.weight * terms])
        spectra[key] = np.asarray(fft.rfft(rows, known.n_fft))
    weight, weighted, *weighted_terms = spectra[key]
    k, p = len(known.vectors), len(terms)
    parts = [weighted * known.vectors, weight * known.products]
    parts += [term * known.vectors for term in weighted_terms]
    # Element m holds Σ a[n] v[n - m]: a redshift of s pixels begins at pixel s_max - s of v.
    lag = (known.shifts - known.shifts[-1]) % known.n_fft
    found = fft.irfft(np.concatenate(parts), known.n_fft)[:, lag]
    normal = np.empty((k + p, k + p, len(lag)))
    for number, (i, j) in enumerate(_pairs(k), k):
        normal[i, j] = normal[j, i] = found[number]
    cross = found[k + len(_pairs(k)) :].reshape(p, k, len(lag))
    normal[k:, :k], normal[:k, k:] = cross, cross.transpose(1, 0, 2)
    normal[k:, k:] = ((data.weight * terms) @ terms.T)[:, :, None]
    level = (data.weight * terms) @ data.flux
    right = np.concatenate([found[:k], np.broadcast_to(level[:, None], (p, len(lag)))])
    return normal, right


def _add_prior(normal: Floats, right: Floats, data: _Data, k: int) -> Floats:
    """Add the prior to the normal equations in place; return 2 ln evidence at every shift."""
    # Components have unit variance per unit of the mean's amplitude.
    amplitude = np.maximum(right[0] / normal[0, 0], 1e-3 * data.size)
    prior = np.zeros_like(right)
    prior[1:k] = amplitude**-2
    prior[k:] = (_TERM_SIZE * data.size) ** -2
    each = np.arange(len(right))
    normal[each, each] += prior
    lower, reduction, log_det = np.zeros_like(normal), np.zeros_like(right), 0.0
    for j in each:  # Cholesky, at all shifts at once
        square = normal[j, j] - (lower[j, :j] ** 2).sum(axis=0)
        lower[j, j] = np.sqrt(np.maximum(square, _LEAST * normal[j, j]))
        reduction[j] = (right[j] - (lower[j, :j] * reduction[:j]).sum(axis=0)) / lower[j, j]
        for i in range(j + 1, len(right)):
            lower[i, j] = (normal[i, j] - (lower[i, :j] * lower[j, :j]).sum(axis=0)) / lower[j, j]
        if j > 0:
            log_det = log_det + 2 * np.log(lower[j, j]) - np.log(prior[j])
    score = (reduction**2).sum(axis=0) - log_det
    return np.where(right[0] > 0, score, -np.inf)  # light is not negative


def _parabola(three: Floats) -> tuple[float, float]:
    """Place of the highest point relative to the middle, and standard deviation, pixels."""
    curvature = three[0] - 2 * three[1] + three[2]
    if not np.isfinite(curvature) or curvature >= 0:
        return 0.0, np.nan
    return float(0.5 * (three[0] - three[2]) / curvature), float(np.sqrt(-2 / curvature))
