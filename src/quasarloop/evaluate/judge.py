"""Hold a catalogue against truth: how complete, how pure, how right in redshift."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.artefacts import without_nan
from quasarloop.classes import Thresholds
from quasarloop.errors import TruthError
from quasarloop.evaluate.metrics import (
    RedshiftErrors,
    Share,
    ThresholdCurve,
    completeness,
    completeness_at_purity,
    purity,
    redshift_errors,
    threshold_curve,
)
from quasarloop.network.decode import best_lines
from quasarloop.truth import SpecType, TruthTable, match_truth

__all__ = ["FIXED_PURITIES", "Judgement", "judge_catalogue", "judge_finds", "judgement_record"]

# Purities at which completeness is compared, whatever the threshold. Source: our choice,
# around the purity of today's quasar catalogues.
FIXED_PURITIES: Final = (0.99, 0.998)


@dataclass(frozen=True)
class Judgement:
    """A catalogue against truth.

    Attributes:
        n_rows: spectra in the catalogue.
        n_judged: those with a secure label.
        n_true: true quasars among them.
        completeness: true and found over true.
        purity: true and found over found.
        at_purity: completeness at each of `FIXED_PURITIES`, whatever the threshold.
        false_found: wrongly found, by true class name.
        redshift: errors of quasars true and found.
        curve: completeness and purity over the threshold.
        thresholds: what makes a quasar in these numbers.
        z, z_true: (m,) redshifts of quasars true and found.
    """

    n_rows: int
    n_judged: int
    n_true: int
    completeness: Share
    purity: Share
    at_purity: tuple[float, ...]
    false_found: Mapping[str, int]
    redshift: RedshiftErrors
    curve: ThresholdCurve
    thresholds: Thresholds
    z: NDArray[np.float64]
    z_true: NDArray[np.float64]

    def __repr__(self) -> str:
        """Return one line: arrays are not printed."""
        return (
            f"Judgement(of {self.n_judged} spectra: completeness {self.completeness}, purity "
            f"{self.purity}, above {self.thresholds.confidence:g})"
        )


def judge_catalogue(
    catalogue: Mapping[str, NDArray[Any]],
    truth: TruthTable,
    *,
    lines: list[str],
    thresholds: Thresholds,
) -> Judgement:
    """Judge every spectrum of a catalogue whose target has a secure label.

    Args:
        catalogue: columns TARGETID and, for each line, C_<line> and Z_<line>.
        truth: labels; low-quality ones judge nothing.
        lines: the emission lines' column names.
        thresholds: what makes a quasar in the quoted numbers.

    Raises:
        TruthError: no row of the catalogue has a secure label.
    """
    row = match_truth(catalogue["TARGETID"].astype(np.int64), truth)
    judged = np.flatnonzero(row >= 0)
    judged = judged[truth.trains[row[judged]]]
    if not len(judged):
        raise TruthError(
            f"none of the {len(row)} spectra has a secure label among the {len(truth)} of the "
            "truth table; do both use the same TARGETIDs?"
        )
    known = row[judged]  # a target seen several times is judged each time
    return judge_finds(
        np.stack([catalogue[f"C_{name}"][judged] for name in lines], axis=1),
        np.stack([catalogue[f"Z_{name}"][judged] for name in lines], axis=1),
        truth.spectype[known],
        truth.z[known],
        thresholds=thresholds,
        n_rows=len(row),
    )


def judge_finds(
    confidence: NDArray[np.floating],
    z_lines: NDArray[np.floating],
    spectype: NDArray[np.int8],
    z_true: NDArray[np.float64],
    *,
    thresholds: Thresholds,
    n_rows: int | None = None,
) -> Judgement:
    """Judge the predictions of a network for labelled spectra.

    Args:
        confidence: (n, n_lines) of the emission lines; NaN where there is none.
        z_lines: (n, n_lines) redshift each line gives.
        spectype: (n,) true `SpecType`.
        z_true: (n,) true redshift.
        thresholds: what makes a quasar in the quoted numbers.
        n_rows: spectra of which these are the labelled ones.
    """
    is_qso = np.asarray(spectype == SpecType.QSO)
    if thresholds.n_lines > confidence.shape[1]:
        raise TruthError(
            f"{thresholds.n_lines} lines must count; the catalogue has {confidence.shape[1]}"
        )
    best = best_lines(confidence.astype(np.float64), z_lines, thresholds.n_lines)
    score = best.confidence
    found = thresholds.is_quasar(score)
    both = found & is_qso
    wrong = spectype[found & ~is_qso]
    return Judgement(
        n_rows=len(score) if n_rows is None else n_rows,
        n_judged=len(score),
        n_true=int(is_qso.sum()),
        completeness=completeness(found, is_qso),
        purity=purity(found, is_qso),
        at_purity=tuple(completeness_at_purity(score, is_qso, p) for p in FIXED_PURITIES),
        false_found={
            kind.name: int(np.count_nonzero(wrong == kind))
            for kind in (SpecType.STAR, SpecType.GALAXY)
        },
        redshift=redshift_errors(best.z[both], z_true[both]),
        curve=threshold_curve(score, is_qso),
        thresholds=thresholds,
        z=best.z[both],
        z_true=z_true[both],
    )


def judgement_record(judgement: Judgement) -> dict[str, Any]:
    """Return the numbers as JSON can hold them (NaN becomes null)."""
    z = judgement.redshift
    return {
        "n_rows": judgement.n_rows,
        "n_judged": judgement.n_judged,
        "n_true": judgement.n_true,
        "threshold": judgement.thresholds.confidence,
        "n_lines": judgement.thresholds.n_lines,
        "thresholds_from": judgement.thresholds.origins,
        "completeness": _record(judgement.completeness),
        "purity": _record(judgement.purity),
        "completeness_at_purity": {
            str(p): value for p, value in zip(FIXED_PURITIES, judgement.at_purity, strict=True)
        },
        "false_found": dict(judgement.false_found),
        "redshift": {
            "n": z.n,
            "right": _record(z.right),
            **{name: without_nan(getattr(z, name)) for name in ("bias", "nmad", "scatter")},
        },
    }


def _record(share: Share) -> dict[str, Any]:
    return asdict(share) | {"value": without_nan(share.value)}
