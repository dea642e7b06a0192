"""Options of an ensemble and of its votes; read without torch: the command line stays quick."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quasarloop.classes import ThresholdOptions
from quasarloop.ensemble.votes import COUNTED_AT
from quasarloop.errors import WeightsError
from quasarloop.grid import RED_END, RedEnd
from quasarloop.network.config import NetworkConfig
from quasarloop.network.options import Device, PresetOptions, TrainingOptions
from quasarloop.options import check_options, like, option

if TYPE_CHECKING:
    from quasarloop.ensemble.manifest import Ensemble

__all__ = ["EnsembleOptions", "VoteOptions"]


@dataclass(frozen=True)
class EnsembleOptions:
    """What kind of ensemble to train.

    Attributes:
        network: configuration of every member.
        training: how each is trained; the last epoch is kept, nothing is held out.
        start_from: an earlier ensemble whose members the new ones start from, in turn.
    """

    n_networks: int = option(
        200, "Networks in the ensemble.", source="paper, Section 3: 200", low=1
    )
    seed: int = option(0, "Same seed, same bytes.", low=0)
    network: NetworkConfig = field(default_factory=lambda: PresetOptions().network())
    training: TrainingOptions = field(default_factory=TrainingOptions)
    start_from: "Ensemble | None" = None

    def __post_init__(self) -> None:
        check_options(self, WeightsError)


@dataclass(frozen=True)
class VoteOptions(ThresholdOptions):
    """How an ensemble votes; thresholds that are not given are those of the members' weights."""

    threshold: float | None = option(
        None, "Confidence that decides entropy and redshifts; default: the members'.", low=0, high=1
    )
    counted_at: tuple[float, ...] = option(
        COUNTED_AT, "Confidence to count votes at; give several. The deciding one is always there."
    )
    # Redshift of a line past the red end of the grid (see `network.decode`).
    red_end: RedEnd = option(RED_END, "Past the grid's red end.")
    keep_members: bool = option(
        False, "Keep the predictions of each member: 3 bytes per member and spectrum."
    )
    device: Device = like(TrainingOptions, "device")
    tf32: bool = option(
        False, "Votes of whole networks on CUDA: products of ten-bit fractions, much faster."
    )
