"""An oracle that answers like people do: it knows the truth, and sometimes errs."""

import numpy as np
from numpy.typing import NDArray

from quasarloop.campaign.config import Oracle
from quasarloop.errors import CampaignError
from quasarloop.lines import EMISSION_LINES
from quasarloop.truth import MIN_QUALITY, SpecType, TruthTable, match_truth

__all__ = ["ask_oracle"]

# A merged quality just below the one that trains. Source: paper, Section 4 (1 and 2 insecure).
_UNSURE_QUALITY = MIN_QUALITY - 1
# Wrong redshifts are line confusions among the four ultraviolet lines. Source: paper, Table 1.
_CONFUSED_LINES = EMISSION_LINES[:4]
_CLASSES = (SpecType.STAR, SpecType.GALAXY, SpecType.QSO)
# A confused redshift below this would be a nearby galaxy no inspector would call a quasar.
_LOWEST_Z = 0.01


def ask_oracle(
    target_id: NDArray[np.int64],
    truth: TruthTable,
    mistakes: Oracle,
    rng: np.random.Generator,
) -> TruthTable:
    """Label targets from a known truth, with human-like mistakes at the stated rates.

    Args:
        target_id: (n,) distinct targets to label.
        truth: the whole sky's truth.
        mistakes: rates of wrong classes, wrong redshifts and unsure answers.
        rng: where the mistakes come from.

    Returns:
        One label per target, in order.

    Raises:
        CampaignError: a target the truth does not know.
    """
    row = match_truth(target_id, truth)
    if np.any(row < 0):
        unknown = target_id[row < 0]
        raise CampaignError(
            f"the oracle knows nothing of {len(unknown)} of {len(row)} targets (first: "
            f"{unknown[0]}); give it the truth of the whole pool"
        )
    answer = truth[row]
    # One draw per target and kind, whatever the rates, so that rates do not shift other answers.
    draws = rng.random((3, len(row)))
    spectype, z, quality = answer.spectype.copy(), answer.z.copy(), answer.quality.copy()
    wrong = draws[0] < mistakes.wrong_class
    spectype[wrong] = (spectype[wrong] + rng.integers(1, 3, int(wrong.sum()))) % len(_CLASSES)
    confused = (draws[1] < mistakes.wrong_redshift) & (answer.spectype == SpecType.QSO)
    z[confused] = _confuse(z[confused], rng)
    quality[draws[2] < mistakes.unsure] = _UNSURE_QUALITY
    return TruthTable.make(
        target_id,
        spectype,
        z,
        object_id=answer.object_id,
        quality=quality,
        bal=answer.bal,
        source="oracle",
    )


def _confuse(z: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Take one emission line for another: 1 + z scales by the ratio of their wavelengths."""
    waves = np.array([line.wave_rest_aa for line in _CONFUSED_LINES])
    true_line = rng.integers(0, len(waves), len(z))
    taken_for = (true_line + rng.integers(1, len(waves), len(z))) % len(waves)
    confused = (1 + z) * waves[true_line] / waves[taken_for] - 1
    return np.asarray(np.maximum(confused, _LOWEST_Z))
