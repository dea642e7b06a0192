"""What one pass of a trained network leaves behind of a spectrum: all that its heads can read.

The layers before the heads, the trunk, take nearly all of the time. With their outputs kept, other
heads on the same trunk cost a matrix product (`quasarloop.ensemble.heads`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr
from torch import Tensor

from quasarloop.network.config import NetworkConfig, RedshiftGrid
from quasarloop.network.decode import LineOutputs, emission_lines
from quasarloop.network.joint import joint_redshifts
from quasarloop.network.predict import BestBoxes, Predictor, on_cpu

__all__ = ["Features", "compute_features", "high_z_probability"]


@dataclass(frozen=True)
class Features:
    """Outputs of a network for n spectra, before its heads and after; NaN where it has none.

    Attributes:
        hidden: (n, n_dense) float32, what all heads read.
        line_logit: (n, n_lines) float32, the largest box logit of every line.
        z_best: (n,) float64, redshift of the most confident emission line.
        p_high: (n,) float32, probability that a quasar's redshift is of class `Vote.HIGH_Z`.
    """

    hidden: NDArray[np.float32]
    line_logit: NDArray[np.float32]
    z_best: NDArray[np.float64]
    p_high: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.hidden)

    def __getitem__(self, index: slice | NDArray[Any]) -> "Features":
        """Return some rows."""
        return Features(*(getattr(self, f.name)[index] for f in fields(self)))

    @classmethod
    def empty(cls, n: int, config: NetworkConfig) -> "Features":
        """Return n rows without any output."""
        return cls(
            np.full((n, config.n_dense), np.nan, np.float32),
            np.full((n, config.n_lines), np.nan, np.float32),
            np.full(n, np.nan),
            np.full(n, np.nan, np.float32),
        )

    @classmethod
    def concatenate(cls, parts: Sequence["Features"]) -> "Features":
        """Join features of one network, in order."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


def compute_features(
    predictor: Predictor,
    flux: ArrayLike,
    *,
    high_z_min: float | None = None,
    red_end: Literal["extrapolate", "clamp"] = "extrapolate",
) -> Features:
    """Apply a network once and keep what its heads read.

    Args:
        predictor: the network.
        flux: (n, n_bins) normalised spectra on its grid.
        high_z_min: lowest redshift of `Vote.HIGH_Z`; None takes the network's.
        red_end: redshift of a line past the red end of the grid (see `decode`).

    Raises:
        WeightsError: the spectra are on another grid.
    """
    config = predictor.config
    border = predictor.thresholds.high_z_min if high_z_min is None else high_z_min
    result = Features.empty(len(np.asarray(flux)), config)
    for rows, logits in predictor.passes(flux, redshifts=True):
        best = BestBoxes.of(logits)
        result.hidden[rows] = logits.hidden.cpu().numpy()
        result.line_logit[rows] = best.logit.cpu().numpy()
        result.z_best[rows] = emission_lines(predictor.decoded(best, red_end), config, 1).z
        if logits.log_p is not None and config.redshift is not None:
            result.p_high[rows] = _share_from(logits.log_p, config.redshift, border).cpu().numpy()
        else:
            outputs = predictor.outputs(on_cpu(logits))
            result.p_high[rows] = high_z_probability(outputs, config, border)
    return result


def _share_from(log_p: Tensor, grid: RedshiftGrid, z: float) -> Tensor:
    """Return (n,) the share of (n, n_z) p(z) from a redshift on, on their device."""
    p = (log_p / grid.temperature).softmax(dim=1)
    return p[:, int(np.searchsorted(grid.z, z)) :].sum(dim=1)


def high_z_probability(
    outputs: LineOutputs, config: NetworkConfig, high_z_min: float
) -> NDArray[np.float64]:
    """Return (n,) the share of p(z) from ``high_z_min`` on.

    With a redshift head it is that of the head's p(z). Without one, that of the two redshifts that
    all boxes together point to, the first with its uncertainty.

    Args:
        outputs: of the network, with ln p(z) if it has a redshift head.
        config: its lines, boxes and redshifts.
        high_z_min: lowest redshift of `Vote.HIGH_Z`.

    Source: our choice.
    """
    head = config.redshift
    if head is not None and outputs.log_p is not None:
        return _share_from(torch.from_numpy(outputs.log_p), head, high_z_min).double().numpy()
    found = joint_redshifts(outputs, config)
    with np.errstate(divide="ignore"):
        first = ndtr((found.z - high_z_min) / found.z_err)
    second = np.where(np.isnan(found.z_alt), 0.0, found.z_alt >= high_z_min)
    return np.asarray((1 - found.p_alt) * first + found.p_alt * second)
