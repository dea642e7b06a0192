"""How complete, how pure, how right in redshift: numbers with their uncertainty."""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from astropy import cosmology as astropy_cosmology
from astropy import units
from astropy.cosmology import FLRW, FlatLambdaCDM, LambdaCDM
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.stats import beta

from quasarloop.constants import SPEED_OF_LIGHT_KMS, nmad
from quasarloop.errors import TruthError

__all__ = [
    "RIGHT_WITHIN",
    "RedshiftErrors",
    "Share",
    "ThresholdCurve",
    "completeness",
    "completeness_at_purity",
    "error_kms",
    "has_wrong_redshift",
    "parse_cosmology",
    "purity",
    "recession_velocity_kms",
    "redshift_errors",
    "share",
    "threshold_curve",
]

# Recession velocity is smooth: a cubic through this many redshifts is right to 1e-3 km/s.
_KNOTS: Final = 2000
_Z_MAX: Final = 20.0
DEFAULT_COSMOLOGY: Final = "Planck18"


def recession_velocity_kms(z: ArrayLike, cosmology: str = DEFAULT_COSMOLOGY) -> NDArray[np.float64]:
    """Return v(z) = D_C(z) H(z) / (1 + z).

    Args:
        z: redshifts between −0.5 and 20; others give NaN.
        cosmology: an astropy name (``"Planck18"``, ``"WMAP9"``, …), ``"H0=67.4,Om0=0.315"``
            for a flat ΛCDM, or ``"H0=67.4,Om0=0.315,Ode0=0.68"`` for one with curvature.

    Returns:
        km/s; slightly negative redshifts continue as c·z.

    Raises:
        TruthError: a cosmology that is none of them, or has no distances.

    Source: paper, Section 4.3.2. (The paper's fiducial cosmology has mild curvature, to which
    velocities are robust; flat ΛCDM is our default.)
    """
    redshift = np.asarray(z, dtype=np.float64)
    velocity = _velocity_curve(cosmology)(redshift)
    below = (redshift < 0) & (redshift > -0.5)  # noqa: PLR2004 -- noise about zero
    return np.where(below, SPEED_OF_LIGHT_KMS * redshift, velocity)


def parse_cosmology(text: str) -> FLRW:
    """Return the astropy cosmology of that name, or a ΛCDM from astropy's parameters.

    ``H0=…,Om0=…`` is flat; with ``Ode0=…`` the rest of 1 is curvature.

    Raises:
        TruthError: neither; the message lists the names there are.
    """
    if "=" in text:
        try:
            pairs: dict[str, Any] = {
                key.strip(): float(value) for key, value in (p.split("=") for p in text.split(","))
            }
            return LambdaCDM(**pairs) if "Ode0" in pairs else FlatLambdaCDM(**pairs)
        except (TypeError, ValueError, ArithmeticError) as exc:
            raise TruthError(
                f"cosmology {text!r}: expected e.g. H0=67.4,Om0=0.315 (flat), with Ode0=0.68 curved"
            ) from exc
    known = astropy_cosmology.realizations.available
    if text not in known:
        raise TruthError(f"no cosmology {text!r}; known: {', '.join(known)}, or H0=67.4,Om0=0.315")
    return getattr(astropy_cosmology, text)


def error_kms(z: ArrayLike, z_true: ArrayLike) -> NDArray[np.float64]:
    """Return c (z − z_true)/(1 + z_true): a redshift error as a velocity, km/s."""
    truth = np.asarray(z_true, dtype=np.float64)
    return SPEED_OF_LIGHT_KMS * (np.asarray(z, dtype=np.float64) - truth) / (1 + truth)


@lru_cache(maxsize=8)
def _velocity_curve(cosmology: str) -> CubicSpline:
    knots = np.expm1(np.linspace(0.0, np.log1p(_Z_MAX), _KNOTS))
    with warnings.catch_warnings(action="ignore"):  # what is no number is refused below
        model = parse_cosmology(cosmology)
        distance = model.comoving_distance(knots)
        velocity = (distance * model.H(knots) / (1 + knots)).to_value(units.km / units.s)
    if not np.isfinite(velocity).all():
        raise TruthError(f"cosmology {cosmology!r} has no distances up to redshift {_Z_MAX:g}")
    return CubicSpline(knots, velocity, extrapolate=False)


# Two-sided level of every binomial interval: the field's "1 σ".
CONFIDENCE_LEVEL: Final = 0.6827
# A redshift counts as right within this part of 1 + z. Source: our choice, the width
# QuasarNET's papers call a good redshift; half the paper's prior width is 0.05.
RIGHT_WITHIN: Final = 0.05


@dataclass(frozen=True)
class Share:
    """A part of a whole, with its binomial interval.

    Attributes:
        value: part / whole; NaN for an empty whole.
        low, high: ends of the Clopper–Pearson interval at `CONFIDENCE_LEVEL`.
        part, whole: the counts.
    """

    value: float
    low: float
    high: float
    part: int
    whole: int

    def __str__(self) -> str:
        """Return e.g. ``0.968 (+0.015 −0.024; 60/62)``."""
        if self.whole == 0:
            return "– (0/0)"
        up, down = self.high - self.value, self.value - self.low
        return f"{self.value:.3f} (+{up:.3f} −{down:.3f}; {self.part}/{self.whole})"


@dataclass(frozen=True)
class ThresholdCurve:
    """Completeness and purity over confidence thresholds (paper, Fig. 7).

    Attributes:
        threshold: (m,) increasing.
        completeness: (m,) true and found over true; NaN without true quasars.
        purity: (m,) true and found over found; NaN where nothing is found.
    """

    threshold: NDArray[np.float64]
    completeness: NDArray[np.float64]
    purity: NDArray[np.float64]


@dataclass(frozen=True)
class RedshiftErrors:
    """Redshift errors of quasars, dv = (z − z_true)/(1 + z_true).

    Attributes:
        n: number compared.
        right: share within `RIGHT_WITHIN`.
        bias: median of dv.
        nmad: 1.4826 × median |dv − median dv|.
        scatter: standard deviation of those that are right.
    """

    n: int
    right: Share
    bias: float
    nmad: float
    scatter: float


def share(part: int, whole: int) -> Share:
    """Return part / whole with its Clopper–Pearson interval.

    Raises:
        ValueError: part is not between 0 and whole.

    Source: Clopper & Pearson (1934), by the beta distribution.

    >>> share(0, 10).low, round(share(10, 10).low, 3)
    (0.0, 0.832)
    """
    if not 0 <= part <= whole:
        raise ValueError(f"{part} of {whole} is no share")
    if whole == 0:
        return Share(float("nan"), 0.0, 1.0, 0, 0)
    tail = (1 - CONFIDENCE_LEVEL) / 2
    low = 0.0 if part == 0 else float(beta.ppf(tail, part, whole - part + 1))
    high = 1.0 if part == whole else float(beta.ppf(1 - tail, part + 1, whole - part))
    return Share(part / whole, low, high, int(part), int(whole))


def completeness(found: ArrayLike, true: ArrayLike) -> Share:
    """Return the share of true quasars that are found.

    Args:
        found: (n,) bool, classified as quasar.
        true: (n,) bool, is a quasar.

    Source: paper, Eq. 4.1 as it should read: true AND found over true.
    """
    found_, true_ = _pair(found, true)
    return share(int(np.count_nonzero(found_ & true_)), int(np.count_nonzero(true_)))


def purity(found: ArrayLike, true: ArrayLike) -> Share:
    """Return the share of found quasars that are true.

    Source: paper, Eq. 4.2 (impurity is one minus this).
    """
    found_, true_ = _pair(found, true)
    return share(int(np.count_nonzero(found_ & true_)), int(np.count_nonzero(found_)))


def threshold_curve(
    confidence: ArrayLike,
    true: ArrayLike,
    thresholds: ArrayLike | None = None,
    *,
    weight: ArrayLike | None = None,
) -> ThresholdCurve:
    """Trace completeness and purity while the confidence threshold moves from 0 to 1.

    Args:
        confidence: (n,) the confidence that decides: of the most confident line, or of the
            n-th most confident where n lines must count. NaN is never found.
        true: (n,) bool.
        thresholds: (m,) increasing; by default every value at which a classification changes.
        weight: (n,) how many spectra each row counts for; 1 without.

    Source: paper, Fig. 7; a spectrum is found if its confidence is strictly above.
    """
    values, true_ = np.asarray(confidence, dtype=np.float64), np.asarray(true, dtype=bool)
    _pair(values, true_)
    values = np.where(np.isnan(values), -np.inf, values)
    if thresholds is None:
        finite = values[np.isfinite(values)]
        cuts = np.unique(np.concatenate([[0.0], finite, [1.0]]))
    else:
        cuts = np.asarray(thresholds, dtype=np.float64)
    counts = np.ones(len(values)) if weight is None else np.asarray(weight, dtype=np.float64)
    order = np.argsort(values, kind="stable")[::-1]
    # How many are found if the first 0, 1, 2, … of falling confidence are.
    n_all = np.append(0.0, np.cumsum(counts[order]))
    n_true = np.append(0.0, np.cumsum(np.where(true_, counts, 0.0)[order]))
    found = np.searchsorted(-values[order], -cuts, side="left")
    with np.errstate(invalid="ignore", divide="ignore"):
        return ThresholdCurve(cuts, n_true[found] / n_true[-1], n_true[found] / n_all[found])


def completeness_at_purity(
    confidence: ArrayLike,
    true: ArrayLike,
    wanted_purity: float,
    *,
    weight: ArrayLike | None = None,
) -> float:
    """Return the best completeness any threshold gives while purity is at least as wanted.

    Arguments are (n,), as in `threshold_curve`; 0 where no threshold is pure enough.

    >>> completeness_at_purity([0.9, 0.8, 0.7, 0.6], [True, True, False, True], 0.99)
    0.6666666666666666
    """
    curve = threshold_curve(confidence, true, weight=weight)
    pure = curve.purity >= wanted_purity  # NaN (nothing found) is not pure
    return float(curve.completeness[pure].max()) if pure.any() else 0.0


def redshift_errors(z: ArrayLike, z_true: ArrayLike) -> RedshiftErrors:
    """Compare redshifts with truth.

    Args:
        z: (n,) redshifts of quasars that are true and found.
        z_true: (n,) their true redshifts; pairs that are not finite are left out.

    Returns:
        Errors relative to 1 + z_true, dimensionless (multiply by c for km/s).
    """
    found, truth = np.asarray(z, dtype=np.float64), np.asarray(z_true, dtype=np.float64)
    keep = np.isfinite(found) & np.isfinite(truth)
    error = (found[keep] - truth[keep]) / (1 + truth[keep])
    right = ~has_wrong_redshift(found[keep], truth[keep])
    part = share(int(right.sum()), len(error))
    if not len(error):
        return RedshiftErrors(0, part, float("nan"), float("nan"), float("nan"))
    bias = float(np.median(error))
    return RedshiftErrors(
        n=len(error),
        right=part,
        bias=bias,
        nmad=nmad(error),
        scatter=float(np.std(error[right])) if right.any() else float("nan"),
    )


def has_wrong_redshift(z: ArrayLike, z_true: ArrayLike) -> NDArray[np.bool_]:
    """Return (n,) where a redshift is not right within `RIGHT_WITHIN`, or there is none.

    Args:
        z: (n,) redshifts found.
        z_true: (n,) true redshifts; where they are not known nothing is wrong.

    >>> has_wrong_redshift([1.09, 1.2, float("nan"), 1.0], [1.0, 1.0, 1.0, float("nan")]).tolist()
    [False, True, True, False]
    """
    truth = np.asarray(z_true, dtype=np.float64)
    right = np.abs((np.asarray(z, dtype=np.float64) - truth) / (1 + truth)) <= RIGHT_WITHIN
    return np.asarray(~right & np.isfinite(truth))


def _pair(found: ArrayLike, true: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    found_, true_ = np.asarray(found), np.asarray(true)
    if found_.shape != true_.shape or found_.ndim != 1:
        raise TruthError(
            f"classifications {found_.shape} and truth {true_.shape} must be one row each of "
            "equal length; match them by TARGETID first"
        )
    return found_.astype(bool), true_.astype(bool)
