"""Options of an ensemble; read without torch, so that the command line stays quick."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quasarloop.errors import WeightsError
from quasarloop.network.config import NetworkConfig
from quasarloop.network.options import PresetOptions, TrainingOptions
from quasarloop.options import check_options, option

if TYPE_CHECKING:
    from quasarloop.ensemble.manifest import Ensemble

__all__ = ["EnsembleOptions"]


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
