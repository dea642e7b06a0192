"""The redshifts a redshift head looks at, and where each line then stands in its map.

On this grid, uniform in log10(1 + z), the head gives one p(z) for all emission lines together.
Plain numpy: `redshift_head` computes with it, `redshift_reading` reads redshifts from it.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.errors import WeightsError
from quasarloop.grid import WaveGrid
from quasarloop.lines import Line
from quasarloop.truth import SpecType

__all__ = [
    "Z_MAX",
    "LineReads",
    "RedshiftGrid",
    "RedshiftTargets",
    "line_reads",
    "redshift_targets",
]

# Beyond 7 no line but Lyman alpha is on the grid, and none of the published catalogues' quasars.
# Source: our choice.
Z_MAX: Final = 7.0


@dataclass(frozen=True)
class RedshiftGrid:
    """The shape of a redshift head, and how its p(z) is read.

    Attributes:
        n_channels: features of every cell of the map.
        conv: the convolution whose map it reads, 1 for the first: its cells are the head's.
        n_maps: how many maps it reads, this and those after; theirs are spread over its cells.
        z_max: the grid runs from 0 to here.
        step: of the grid, in log10(1 + z).
        knot_steps: steps between the knots of the part that is seen by the whole network.
        loss_weight: of its cross-entropy beside the loss of boxes and offsets.
        temperature: its logits are divided by this, fitted on spectra held out.
        error_scale: factor from the width of p(z) to the uncertainty, fitted there too.
        wide: so many uncertainties hold 95.45 % of redshifts; 2 if errors were Gaussian. Fitted.

    Raises:
        WeightsError: a value no head can have.

    Source: our choice, measured in docs/redshifts.md.
    """

    n_channels: int = 64
    conv: int = 2
    n_maps: int = 2
    z_max: float = Z_MAX
    step: float = 1e-3
    knot_steps: int = 20
    loss_weight: float = 1.0
    temperature: float = 1.0
    error_scale: float = 1.0
    wide: float = 2.0

    def __post_init__(self) -> None:
        for name in ("n_channels", "conv", "n_maps", "knot_steps"):
            if getattr(self, name) < 1:
                raise WeightsError(
                    f"redshift head: {name} is {getattr(self, name)}; it must be at least 1"
                )
        for name in ("z_max", "step", "temperature", "error_scale", "wide"):
            if not getattr(self, name) > 0:
                raise WeightsError(
                    f"redshift head: {name} is {getattr(self, name)}; it must be positive"
                )

    @property
    def maps(self) -> range:
        """The convolutions whose maps are read, 1 for the first."""
        return range(self.conv, self.conv + self.n_maps)

    @property
    def n_z(self) -> int:
        """Number of redshifts.

        >>> RedshiftGrid().n_z
        904
        """
        return math.floor(math.log10(1 + self.z_max) / self.step) + 1

    @property
    def n_knots(self) -> int:
        """Number of knots across them."""
        return -(-(self.n_z - 1) // self.knot_steps) + 1

    @property
    def z(self) -> NDArray[np.float64]:
        """(n_z,) the redshifts."""
        return np.asarray(10.0 ** (self.step * np.arange(self.n_z)) - 1.0)


class LineReads(NamedTuple):
    """Where to read a line's map for every redshift: between two neighbours.

    Attributes:
        lower: (n_z, n_lines) int64 place of the lower one in a map with one more place, for
            "outside", before its first and one after its last.
        fraction: (n_z, n_lines) float32, weight of the next place; 1 less it that of `lower`.
    """

    lower: NDArray[np.int64]
    fraction: NDArray[np.float32]


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


def line_reads(
    head: RedshiftGrid, lines: tuple[Line, ...], grid: WaveGrid, first_bin: float, n_places: int
) -> LineReads:
    """Return where in their maps the lines stand at every redshift.

    Args:
        head: the redshifts.
        lines: emission lines.
        grid: the network's bins.
        first_bin: the bin of the map's first place; each next place is one bin further.
        n_places: places of the map.
    """
    wave = np.multiply.outer(1.0 + head.z, [line.wave_rest_aa for line in lines])  # (n_z, lines)
    if grid.kind == "log":
        position = np.log10(wave / grid.start_aa) / grid.step
    else:
        position = (wave - grid.start_aa) / grid.step
    # Half a bin: a place stands for the middle of its bin. One: for the place before the first.
    place = np.clip(position - 0.5 - first_bin + 1.0, 0.0, n_places + 0.999)
    lower = np.floor(place).astype(np.int64)
    return LineReads(lower, (place - lower).astype(np.float32))


def redshift_targets(
    spectype: ArrayLike, z: ArrayLike, trains: ArrayLike, head: RedshiftGrid
) -> RedshiftTargets:
    """Return what p(z) shall say of labelled spectra.

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
