"""Redrock's second fits put back on their rows: matched by TARGETID, the best one kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.redrock_file import RedrockFits, find_rows
from quasarloop.afterburner.redrock_run import Priors, Run
from quasarloop.afterburner.reruns import RerunBit, RerunPlan
from quasarloop.constants import BAD_FIT, LEAST_DELTA_CHI2, N_COEFF, SPEED_OF_LIGHT_KMS, Zwarn

__all__ = ["FirstFits", "NewFits", "merge_runs", "wait_for_runs"]

# Fits nearer than this are one minimum to redrock.
_SAME_KMS: Final = 1000.0


class FirstFits(NamedTuple):
    """Redrock's first fits, (n,) each, as far as the second are compared with them."""

    target_id: NDArray[np.int64]
    z: NDArray[np.float64]
    spectype: NDArray[np.str_]


@dataclass(frozen=True)
class NewFits:
    """The fits of the second runs, one row per row of the file; blank where there is none.

    Attributes:
        z: (n,) float64, NaN none.
        zerr, chi2, deltachi2: (n,) float64, NaN none.
        zwarn: (n,) int64, of `z`, 0 none.
        spectype, subtype: (n,) words, ``""`` none.
        coeff: (n, 10) float64, NaN none; 0 beyond the template's.
        bits: (n,) int32 of `RerunBit`, complete.
    """

    z: NDArray[np.float64]
    zerr: NDArray[np.float64]
    chi2: NDArray[np.float64]
    deltachi2: NDArray[np.float64]
    zwarn: NDArray[np.int64]
    spectype: NDArray[np.str_]
    subtype: NDArray[np.str_]
    coeff: NDArray[np.float64]
    bits: NDArray[np.int32]

    @property
    def taken(self) -> NDArray[np.bool_]:
        """(n,) True where the new fit takes the place of the old one."""
        refused = RerunBit.NO_ANSWER | RerunBit.OUTSIDE_PRIOR
        return np.asarray(((self.bits & RerunBit.RERUN) != 0) & ((self.bits & refused) == 0))


def merge_runs(
    plan: RerunPlan,
    first: FirstFits,
    runs: Sequence[Run],
    results: Sequence[RedrockFits],
) -> NewFits:
    """Put the results of all runs on their rows; of several, keep the one with the lowest chi².

    With the fit come its own warning bits. If another prior's fit is nearly as good, DELTACHI2 is
    small and has redrock's warning, as within one run.

    Args:
        plan: the rows to rerun.
        first: redrock's first fits, all rows.
        runs: of redrock, with their priors.
        results: redrock's, run by run.
    """
    new = _blank(len(first.target_id), plan.bits)
    for run, result in zip(runs, results, strict=True):
        _take(new, plan, first.target_id, run, result)
    chosen = plan.chosen
    got = chosen & np.isfinite(new.chi2)
    new.bits[chosen] |= RerunBit.RERUN
    new.bits[chosen & ~got] |= RerunBit.NO_ANSWER
    new.bits[got & ((new.zwarn & Zwarn.NODATA) != 0)] |= RerunBit.NO_ANSWER
    inside = plan.priors.contain(new.z).any(axis=1)
    new.bits[got & ~inside & ((new.bits & RerunBit.NO_ANSWER) == 0)] |= RerunBit.OUTSIDE_PRIOR
    small = got & (new.deltachi2 < LEAST_DELTA_CHI2)
    new.zwarn[small] |= Zwarn.SMALL_DELTA_CHI2
    new.bits[got & (new.zwarn != 0)] |= RerunBit.WARNED
    moved = np.abs(new.z - first.z) * SPEED_OF_LIGHT_KMS > _SAME_KMS * (1 + first.z)
    new.bits[new.taken & (moved | (new.spectype != first.spectype))] |= RerunBit.CHANGED
    return new


def wait_for_runs(plan: RerunPlan) -> NewFits:
    """Return blank fits whose bits mark the rows that wait for redrock."""
    new = _blank(len(plan.bits), plan.bits)
    new.bits[plan.chosen] |= RerunBit.WAITING
    return new


def _take(
    new: NewFits,
    plan: RerunPlan,
    target_id: NDArray[np.int64],
    run: Run,
    result: RedrockFits,
) -> None:
    rows = np.flatnonzero(plan.priors.present[:, run.prior] & np.isin(target_id, run.target_id))
    place = find_rows(target_id[rows], result.target_id)
    rows, place = rows[place >= 0], place[place >= 0]
    priors = Priors(plan.priors.z[rows], plan.priors.width[rows])
    chi2, old_chi2 = result.chi2[place], new.chi2[rows]
    poor = (result.zwarn[place] & BAD_FIT) != 0
    poor |= ~priors.contain(result.z[place])[:, run.prior]
    old_poor = (new.zwarn[rows] & BAD_FIT) != 0
    old_poor |= ~priors.contain(new.z[rows]).any(axis=1)
    # Sound fits first, then by chi², as redrock sorts its minima; a row's first fit is taken.
    better = ~np.isfinite(old_chi2) | (old_poor & ~poor)
    better |= (poor == old_poor) & (chi2 < old_chi2)
    better &= np.isfinite(chi2)
    apart = np.abs(result.z[place] - new.z[rows]) * SPEED_OF_LIGHT_KMS > _SAME_KMS * (
        1 + result.z[place]
    )
    # What the two fits differ by, for the one that is kept; one minimum found twice is no rival.
    rivals = apart & np.isfinite(old_chi2) & ~poor & ~old_poor
    rival = np.where(rivals, np.abs(chi2 - old_chi2), np.inf)
    kept = np.where(better, result.deltachi2[place], new.deltachi2[rows])
    new.deltachi2[rows] = np.minimum(kept, rival)
    rows, place = rows[better], place[better]
    for name in ("z", "zerr", "chi2", "zwarn", "spectype", "subtype"):
        getattr(new, name)[rows] = getattr(result, name)[place]
    n_coeff = min(result.coeff.shape[1], N_COEFF)
    new.coeff[rows] = 0.0
    new.coeff[rows, :n_coeff] = result.coeff[place, :n_coeff]
    if run.prior > 0:
        new.bits[rows] |= RerunBit.SECOND_WON


def _blank(n: int, bits: NDArray[np.int32]) -> NewFits:
    z, zerr, chi2, deltachi2 = np.full((4, n), np.nan)
    return NewFits(
        z,
        zerr,
        chi2,
        deltachi2,
        zwarn=np.zeros(n, dtype=np.int64),
        spectype=np.full(n, "", dtype="U6"),
        subtype=np.full(n, "", dtype="U20"),
        coeff=np.full((n, N_COEFF), np.nan),
        bits=bits.copy(),
    )
