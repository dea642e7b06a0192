"""Redshift priors: how wide, and the file redrock reads them from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import RedrockError
from quasarloop.network.config import NetworkConfig
from quasarloop.tables import new_fits

__all__ = ["PAPER_WIDTH", "Priors", "box_widths", "clear_priors", "todays_width", "write_priors"]

Floats = NDArray[np.float64]

# Flat prior, full width in z. Source: paper, Section 2.
PAPER_WIDTH: Final = 0.1
_HDU: Final = "PRIORS"
_FUNCTION: Final = b"tophat"


@dataclass(frozen=True)
class Priors:
    """Flat priors of each row; a row can have several, each for a run of its own.

    Attributes:
        z: (n, k) centre; NaN where the row has no such prior.
        width: (n, k) FULL width in z; NaN likewise.
    """

    z: Floats
    width: Floats

    @property
    def present(self) -> NDArray[np.bool_]:
        """(n, k) True where there is a prior."""
        return np.isfinite(self.z) & np.isfinite(self.width)

    def contain(self, z: Floats) -> NDArray[np.bool_]:
        """Return (n, k) which priors allow these (n,) redshifts.

        >>> Priors(np.array([[2.0, np.nan]]), np.array([[0.1, np.nan]])).contain(np.array([2.04]))
        array([[ True, False]])
        """
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(z[:, None] - self.z) <= self.width / 2)

    def only(self, kept: NDArray[np.bool_]) -> "Priors":
        """Return the same rows with some priors alone; ``kept`` (n, k) or (n, 1)."""
        return Priors(*(np.where(kept, part, np.nan) for part in (self.z, self.width)))


def todays_width(config: NetworkConfig) -> float:
    """Return a of today's width a (1 + z): two boxes, as desispec computes them.

    Source: desispec.scripts.qsoqn; docs/reference/desi.md, "Reruns and priors".
    """
    edges = config.grid.lower_edges_aa
    return float(2 * ((edges[-1] / edges[0]) ** (1 / config.n_boxes) - 1))


def box_widths(z: Floats, line_rest_aa: Floats, config: NetworkConfig) -> Floats:
    """Return the width in redshift of the box a line is found in, on either kind of grid.

    On the log grid a box is the same in ln(1 + z) everywhere. On a linear grid it is the same in
    wavelength, so that it spans more redshift for a blue line than for a red one.

    Args:
        z: (n,) redshifts.
        line_rest_aa: (n,) rest wavelength of the line that gave them.
        config: grid and number of boxes.
    """
    bins = config.grid.n_bins / config.n_boxes
    if config.grid.kind == "log":
        return np.asarray((1 + z) * (10 ** (config.grid.step * bins) - 1))
    return np.asarray(config.grid.step * bins / line_rest_aa + 0 * z)


def clear_priors(priors: Priors, grids: tuple[Floats, ...], *, least: int) -> Priors:
    """Take out priors in which redrock would have too few redshifts to try.

    Redrock stops altogether, for all targets, if one of them has nothing to try.

    Args:
        priors: to look through.
        grids: redshifts each template is tried at.
        least: so many of them must lie inside, for at least one template.
    """
    reached = np.zeros(priors.z.shape, dtype=bool)
    low, high = priors.z - priors.width / 2, priors.z + priors.width / 2
    for grid in grids:
        ordered = np.sort(grid)
        inside = np.searchsorted(ordered, high, "left") - np.searchsorted(ordered, low, "right")
        reached |= inside >= least
    return priors.only(reached)


def write_priors(path: Path, target_id: NDArray[np.int64], z: Floats, width: Floats) -> None:
    """Write a prior file exactly as redrock.priors.Priors reads it.

    Args:
        path: the file.
        target_id: (n,) int64; the reader keeps one prior per target.
        z: (n,) centres.
        width: (n,) full widths; the column is called SIGMA.

    Raises:
        RedrockError: no rows, a repeated target, or a prior that is not finite.
    """
    good = np.isfinite(z) & np.isfinite(width) & (width > 0)
    if not len(target_id) or len(np.unique(target_id)) != len(target_id) or not good.all():
        raise RedrockError(
            f"{path}: {len(target_id)} priors, {np.sum(~good)} of them not finite, "
            f"{len(np.unique(target_id))} different targets; expected one finite prior per target"
        )
    # The reader takes the function of row 0 for all rows.
    function = np.full(len(target_id), _FUNCTION)
    dtype = [("TARGETID", "i8"), ("FUNCTION", function.dtype), ("Z", "f8"), ("SIGMA", "f8")]
    table = np.rec.fromarrays([target_id, function, z, width], dtype=np.dtype(dtype))
    with new_fits(path) as fits:
        fits.write(table, extname=_HDU)
