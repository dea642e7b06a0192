"""Targets of a line finder (boxes, offsets, weights), and the loss against them.

A label that may not train has weight 0 everywhere and is never a
negative example.

Computed from logits, so that no confidence is ever clipped.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from quasarloop.errors import GridError
from quasarloop.grid import WaveGrid
from quasarloop.network.config import NetworkConfig, RedshiftGrid
from quasarloop.network.options import MeanOver, TrainingOptions
from quasarloop.truth import SpecType

__all__ = [
    "LossParts",
    "Targets",
    "line_finder_loss",
    "line_positions",
    "make_targets",
    "redshift_loss",
    "redshift_targets",
    "shift_redshift",
]


class Targets(NamedTuple):
    """What the network is trained towards.

    Attributes:
        box: (n, n_lines, n_boxes) float32, 1 in the box that holds the line, else 0.
        offset: (n, n_lines) float32, place of the line within its box, in [0, 1); 0 without one.
        weight: (n, n_lines) float32, 1 where the label may train this line finder, else 0.
    """

    box: Tensor
    offset: Tensor
    weight: Tensor

    def to(self, device: torch.device | str) -> "Targets":
        """Return them on a device."""
        return Targets(*(tensor.to(device) for tensor in self))


def make_targets(
    spectype: ArrayLike, z: ArrayLike, bal: ArrayLike, trains: ArrayLike, config: NetworkConfig
) -> Targets:
    """Return the targets of every line finder for labelled spectra.

    A quasar's line has one box with its offset, if it falls on the grid. Stars, galaxies and
    lines off the grid have none: all boxes are trained to 0. The finder of broad absorption
    learns a box from confident BALs, zeros from confident non-BALs, and nothing (weight 0)
    where that is unknown, whatever the class: so does the released code.

    Args:
        spectype: (n,) `SpecType`.
        z: (n,) redshift; read for quasars only.
        bal: (n,) 1 confident BAL, 0 confident non-BAL, -1 unknown.
        trains: (n,) bool, False for labels of low quality (`TruthTable.trains`).
        config: lines, grid and boxes.

    Source: docs/reference/network.md, "Lines and boxes"; QuasarNET, ``io.objective``.

    >>> config = NetworkConfig()
    >>> targets = make_targets([SpecType.QSO], [2.0], [-1], [True], config)
    >>> targets.box[0].any(1).tolist()  # Hβ and Hα lie beyond the red end; BAL truth is unknown
    [True, True, True, True, False, False, False]
    >>> targets.weight[0].tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    """
    position = line_positions(spectype, z, bal, config) / config.grid.n_bins * config.n_boxes
    has_box = np.isfinite(position)
    place = np.where(has_box, position, 0.0)
    known = _is_emission(config) | (np.asarray(bal) >= 0)[:, None]
    weight = known & np.asarray(trains, dtype=bool)[:, None]
    # The very end of the last bin may round up to the number of boxes itself.
    index = np.minimum(np.floor(place).astype(np.int64), config.n_boxes - 1)
    box = np.zeros((*position.shape, config.n_boxes), dtype=np.float32)
    np.put_along_axis(box, index[..., None], has_box[..., None].astype(np.float32), axis=2)
    arrays = box, (place - index).astype(np.float32), weight.astype(np.float32)
    return Targets(*map(torch.from_numpy, arrays))


def line_positions(
    spectype: ArrayLike, z: ArrayLike, bal: ArrayLike, config: NetworkConfig
) -> NDArray[np.float64]:
    """Return the position of every line on the grid, in bins from its blue end.

    Args:
        spectype: (n,) `SpecType`.
        z: (n,) redshift; read for quasars only.
        bal: (n,) 1 where the finder of broad absorption has a target.
        config: lines and grid.

    Returns:
        (n, n_lines) float64, NaN where there is nothing to find.
    """
    quasar = np.asarray(spectype) == SpecType.QSO
    factor = np.where(quasar, 1.0 + np.asarray(z, dtype=np.float64), np.nan)
    rest_aa = np.array([line.wave_rest_aa for line in config.lines])
    shown = _is_emission(config) | (np.asarray(bal) == 1)[:, None]
    observed_aa = np.where(shown, factor[:, None] * rest_aa, np.nan)
    return config.grid.position_of(observed_aa)


def shift_redshift(z: ArrayLike, bins: ArrayLike, grid: WaveGrid) -> NDArray[np.float64]:
    """Return the redshift of a spectrum moved by whole bins of a logarithmic grid.

    Args:
        z: (n,) redshift.
        bins: (n,) integer, positive towards the red.
        grid: a grid uniform in log λ.

    Raises:
        GridError: the grid is uniform in λ, where a shift is no redshift.

    >>> shift_redshift([1.0], [1000], WaveGrid("log", 3600.0, 1e-3, 443)).round(9).tolist()
    [19.0]
    """
    if grid.kind != "log":
        raise GridError(
            f"a shift is a redshift only on a grid uniform in log λ, not on a {grid.describe()}; "
            "train without shifts, or ingest on the log grid"
        )
    stretch = 10.0 ** (np.asarray(bins, dtype=np.float64) * grid.step)
    return np.asarray((1.0 + np.asarray(z, dtype=np.float64)) * stretch - 1.0)


def _is_emission(config: NetworkConfig) -> NDArray[np.bool_]:
    return np.array([not line.is_bal for line in config.lines])


class LossParts(NamedTuple):
    """The three terms of the loss, each a scalar summed over lines.

    Attributes:
        positive: mean cross-entropy of the true boxes.
        negative: mean cross-entropy of the empty boxes.
        offset: mean squared error of the offset in the true boxes, in boxes².
    """

    positive: Tensor
    negative: Tensor
    offset: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.positive + self.negative + self.offset


def line_finder_loss(
    box_logits: Tensor,
    offset_logits: Tensor,
    targets: Targets,
    config: NetworkConfig,
    *,
    mean_over: MeanOver = TrainingOptions.mean_over,
) -> LossParts:
    """Return the loss of a batch.

    ``mean_over="spectrum"`` is today's released code, and the paper's: each spectrum's own
    boxes are averaged (its one true box; its 12 or 13 empty ones), then the weighted sum over
    spectra is divided by their number, those of weight 0 included. ``"batch"`` is the formula
    of 2018: all true boxes of the batch are averaged, and all empty ones, so that a rare line
    weighs as much as a common one. (There, weights had no effect; here they have.)

    Args:
        box_logits: (n, n_lines, n_boxes) before the sigmoid.
        offset_logits: (n, n_lines, n_boxes) before the sigmoid.
        targets: of the same n spectra.
        config: for the range of the offsets.
        mean_over: what the boxes are averaged over.

    Source: Busca & Balland 2018, eq. 1; QuasarNET,
    ``models.custom_loss`` (axis=1 today, none in 2018). There, probabilities are clipped at
    1e-7; here nothing is.
    """
    box, empty = targets.box, 1.0 - targets.box
    span = config.offset_high - config.offset_low
    offset = config.offset_low + span * offset_logits.sigmoid()
    found = functional.softplus(-box_logits) * box  # (n, n_lines, n_boxes): -ln(confidence)
    false = functional.softplus(box_logits) * empty  # -ln(1 - confidence)
    misplaced = (targets.offset.unsqueeze(2) - offset).square() * box
    mean = _mean_per_spectrum if mean_over == "spectrum" else _mean_per_batch
    return LossParts(
        positive=mean(found, box, targets.weight),
        negative=mean(false, empty, targets.weight),
        offset=mean(misplaced, box, targets.weight),
    )


def _mean_per_spectrum(value: Tensor, counted: Tensor, weight: Tensor) -> Tensor:
    own = value.sum(2) / counted.sum(2).clamp_min(1.0)  # (n, n_lines)
    return (own * weight).sum() / len(value)


def _mean_per_batch(value: Tensor, counted: Tensor, weight: Tensor) -> Tensor:
    total = (value.sum(2) * weight).sum(0)  # (n_lines,)
    number = (counted.sum(2) * weight).sum(0)
    # A line without a single such box in the batch adds nothing.
    return (total / number.where(number > 0, 1.0)).sum()


class RedshiftTargets(NamedTuple):
    """True redshifts as places on the grid.

    Attributes:
        lower: (n,) int64, the last redshift of the grid not above the true one.
        fraction: (n,) float32, how far towards the next.
        weight: (n,) float32, 1 for quasars whose label trains and whose redshift is on the grid.
    """

    lower: NDArray[np.int64]
    fraction: NDArray[np.float32]
    weight: NDArray[np.float32]


def redshift_targets(
    spectype: ArrayLike, z: ArrayLike, trains: ArrayLike, head: RedshiftGrid
) -> RedshiftTargets:
    """Return the targets of p(z) for labelled spectra.

    Args:
        spectype: (n,) `SpecType`; all but quasars have weight 0.
        z: (n,) redshift; read for quasars only.
        trains: (n,) bool, False for labels of low quality.
        head: the redshifts.
    """
    quasar = (np.asarray(spectype) == SpecType.QSO) & np.asarray(trains, dtype=bool)
    z1 = np.where(quasar, 1.0 + np.asarray(z, dtype=np.float64), 1.0)
    place = np.log10(np.maximum(z1, 0.5)) / head.step
    inside = quasar & (place >= 0) & (place < head.n_z - 1)
    place = np.where(inside, place, 0.0)
    lower = np.floor(place).astype(np.int64)
    return RedshiftTargets(lower, (place - lower).astype(np.float32), inside.astype(np.float32))


def redshift_loss(log_p: Tensor, targets: RedshiftTargets) -> Tensor:
    """Return the mean cross-entropy over a batch, spectra of weight 0 counted in its number.

    Args:
        log_p: (n, n_z) up to a constant.
        targets: of the same n spectra.
    """
    device = log_p.device
    lower = torch.from_numpy(targets.lower).to(device).unsqueeze(1)
    fraction, weight = (torch.from_numpy(a).to(device) for a in targets[1:])
    normed = functional.log_softmax(log_p, dim=1)
    low, high = normed.gather(1, lower)[:, 0], normed.gather(1, lower + 1)[:, 0]
    return -(torch.lerp(low, high, fraction) * weight).sum() / len(log_p)
