"""From redshifts to velocities: recession velocity, and what a redshift error is in km/s."""

from functools import lru_cache
from typing import Any, Final

import numpy as np
from astropy import cosmology as astropy_cosmology
from astropy import units
from astropy.constants import c as light_speed
from astropy.cosmology import FLRW, FlatLambdaCDM
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from quasarloop.errors import TruthError

__all__ = ["LIGHT_SPEED_KMS", "error_kms", "parse_cosmology", "recession_velocity_kms"]

LIGHT_SPEED_KMS: Final = float(light_speed.to_value(units.km / units.s))
# Recession velocity is smooth: a cubic through this many redshifts is right to 1e-3 km/s.
_KNOTS: Final = 2000
_Z_MAX: Final = 20.0
DEFAULT_COSMOLOGY: Final = "Planck18"


def recession_velocity_kms(z: ArrayLike, cosmology: str = DEFAULT_COSMOLOGY) -> NDArray[np.float64]:
    """Return v(z) = D_C(z) H(z) / (1 + z).

    Args:
        z: redshifts between −0.5 and 20; others give NaN.
        cosmology: an astropy name (``"Planck18"``, ``"WMAP9"``, …) or ``"H0=67.4,Om0=0.315"``
            for a flat ΛCDM.

    Returns:
        km/s; slightly negative redshifts continue as c·z.

    Raises:
        TruthError: a cosmology that is neither.

    Source: paper, Section 4.3.2. (The paper's fiducial cosmology has mild curvature, to which,
    it says, velocities are robust; flat ΛCDM is our default.)
    """
    redshift = np.asarray(z, dtype=np.float64)
    velocity = _velocity_curve(cosmology)(redshift)
    below = (redshift < 0) & (redshift > -0.5)  # noqa: PLR2004 -- noise about zero
    return np.where(below, LIGHT_SPEED_KMS * redshift, velocity)


def parse_cosmology(text: str) -> FLRW:
    """Return the astropy cosmology of that name, or a flat ΛCDM from ``H0=…,Om0=…``.

    Raises:
        TruthError: neither; the message lists the names there are.
    """
    if "=" in text:
        try:
            pairs: dict[str, Any] = {
                key.strip(): float(value) for key, value in (p.split("=") for p in text.split(","))
            }
            return FlatLambdaCDM(**pairs)
        except (TypeError, ValueError) as exc:
            raise TruthError(f"cosmology {text!r}: expected e.g. H0=67.4,Om0=0.315") from exc
    known = astropy_cosmology.realizations.available
    if text not in known:
        raise TruthError(f"no cosmology {text!r}; known: {', '.join(known)}, or H0=67.4,Om0=0.315")
    return getattr(astropy_cosmology, text)


def error_kms(z: ArrayLike, z_true: ArrayLike) -> NDArray[np.float64]:
    """Return c (z − z_true)/(1 + z_true): a redshift error as a velocity, km/s."""
    truth = np.asarray(z_true, dtype=np.float64)
    return LIGHT_SPEED_KMS * (np.asarray(z, dtype=np.float64) - truth) / (1 + truth)


@lru_cache(maxsize=8)
def _velocity_curve(cosmology: str) -> CubicSpline:
    model = parse_cosmology(cosmology)
    knots = np.expm1(np.linspace(0.0, np.log1p(_Z_MAX), _KNOTS))
    distance = model.comoving_distance(knots)
    velocity = distance * model.H(knots) / (1 + knots)
    return CubicSpline(knots, velocity.to_value(units.km / units.s), extrapolate=False)
