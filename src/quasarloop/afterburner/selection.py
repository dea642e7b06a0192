"""Which rows the network calls quasars, and which of them may be rerun at all."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.network_step import NetworkAnswer
from quasarloop.afterburner.reasons import Why
from quasarloop.afterburner.redrock_file import RedrockRows
from quasarloop.afterburner.survey_targets import target_mask
from quasarloop.classes import CONFIDENCE_THRESHOLD, N_LINES_THRESHOLD
from quasarloop.errors import SelectionError
from quasarloop.read.desi import TARGET_TYPE

__all__ = ["THRESHOLDS", "Selection", "selection_named", "unfit_rows"]

# Source: INTEROP.md, "DESI afterburner": the pipeline's rerun, the paper, today's quasar catalogue.
THRESHOLDS: Final[Mapping[str, float]] = {
    "pipeline": 0.5,
    "paper": CONFIDENCE_THRESHOLD,
    "catalogue": 0.99,
}


@dataclass(frozen=True)
class Selection:
    """Who may be rerun.

    Attributes:
        c_thresh: a line counts if its confidence is strictly above.
        n_thresh: lines that must count.
        target_classes: only targets of these classes (desitarget's names); empty means all.
    """

    c_thresh: float = THRESHOLDS["pipeline"]
    n_thresh: int = N_LINES_THRESHOLD
    target_classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.c_thresh <= 1 or self.n_thresh < 1:
            raise SelectionError(
                f"c_thresh {self.c_thresh}, n_thresh {self.n_thresh}; expected a confidence from 0 "
                "to 1 and at least one line"
            )


def selection_named(name: str, **changes: object) -> Selection:
    """Return the selection ``"pipeline"``, ``"paper"`` or ``"catalogue"``, with changes.

    Raises:
        SelectionError: no such name.

    >>> selection_named("catalogue").c_thresh
    0.99
    """
    if name not in THRESHOLDS:
        raise SelectionError(f"no thresholds named {name!r}; known: {', '.join(THRESHOLDS)}")
    return replace(Selection(c_thresh=THRESHOLDS[name]), **changes)  # type: ignore[arg-type]  # by name


def unfit_rows(
    redrock: RedrockRows, network: NetworkAnswer, selection: Selection
) -> NDArray[np.int32]:
    """Say why rows may not be rerun, whatever redrock said of them.

    Args:
        redrock: redrock's rows.
        network: what the network said of the same rows.
        selection: thresholds (already in `network.is_qso`) and target classes.

    Returns:
        (n,) int32 of `Why`; 0 where a row may be rerun.

    Raises:
        SelectionError: a target class the survey's phase does not have.
    """
    bits = np.zeros(len(redrock), dtype=np.int32)
    bits[~_is_target(redrock)] |= Why.NOT_TARGET
    if selection.target_classes:
        mask = target_mask(redrock.phase, selection.target_classes)
        bits[(redrock.target_bits & mask) == 0] |= Why.CLASS_NOT_ASKED
    bits[~network.usable] |= Why.NO_SPECTRUM
    bits[network.usable & ~network.is_qso] |= Why.NOT_QUASAR
    return bits


def _is_target(redrock: RedrockRows) -> NDArray[np.bool_]:
    """Science fibres; where OBJTYPE is unknown, those that have a target's number."""
    unknown = redrock.object_type == ""
    return np.asarray(np.where(unknown, redrock.target_id >= 0, redrock.object_type == TARGET_TYPE))
