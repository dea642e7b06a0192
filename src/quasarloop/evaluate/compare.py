"""Two weights files on the same spectra: agreement of their redshifts, and line confusions."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.errors import TruthError
from quasarloop.evaluate.metrics import DEFAULT_COSMOLOGY, Share, recession_velocity_kms, share
from quasarloop.lines import EMISSION_LINES, Line

__all__ = [
    "AGREEMENT_KMS",
    "CONFUSION_KMS",
    "Comparison",
    "Confusion",
    "compare_redshifts",
    "comparison_record",
    "confused_redshift",
    "count_confusions",
    "same_rows",
]

# Source: paper, Section 4.3.2: agreement within 3000 and 5000 km/s.
AGREEMENT_KMS: Final = (3000.0, 5000.0)
# Source: paper, Table 1: within 10,000 km/s of a line confusion.
CONFUSION_KMS: Final = 10_000.0


@dataclass(frozen=True)
class Confusion:
    """One emission line taken for two different ones by two weights files (paper, Table 1).

    Attributes:
        line_a: the line of the first file.
        line_b: the line of the second file.
        n: spectra within `CONFUSION_KMS` of it.
    """

    line_a: Line
    line_b: Line
    n: int


@dataclass(frozen=True)
class Comparison:
    """Redshifts of two weights files where both find a quasar (paper, Fig. 10).

    Attributes:
        n_spectra: all compared spectra.
        n_only_a, n_only_b: quasars of one file alone.
        z_a, z_b: (m,) redshifts where both find a quasar.
        dz: (m,) (z_b − z_a)/(1 + z_a).
        dv_kms: (m,) difference of recession velocities.
        within: share with |dv| at most each of `AGREEMENT_KMS`.
        confusions: every ordered pair of lines, most frequent first.
        cosmology: of the recession velocities.
    """

    n_spectra: int
    n_only_a: int
    n_only_b: int
    z_a: NDArray[np.float64]
    z_b: NDArray[np.float64]
    dz: NDArray[np.float64]
    dv_kms: NDArray[np.float64]
    within: tuple[Share, ...]
    confusions: tuple[Confusion, ...]
    cosmology: str


def compare_redshifts(
    qso_a: ArrayLike,
    z_a: ArrayLike,
    qso_b: ArrayLike,
    z_b: ArrayLike,
    *,
    cosmology: str = DEFAULT_COSMOLOGY,
) -> Comparison:
    """Compare two catalogues of the same spectra, row by row.

    Args:
        qso_a: (n,) bool, quasars of the first file.
        z_a: (n,) its redshifts.
        qso_b: (n,) bool, quasars of the second file.
        z_b: (n,) its redshifts.
        cosmology: for recession velocities (see `recession_velocity_kms`).

    Raises:
        TruthError: different lengths.

    Source: paper, Section 4.3.2.
    """
    quasar_a, quasar_b = np.asarray(qso_a, bool), np.asarray(qso_b, bool)
    if not (len(quasar_a) == len(quasar_b) == np.size(z_a) == np.size(z_b)):
        raise TruthError(
            f"the catalogues have {len(quasar_a)} and {len(quasar_b)} rows; classify the same "
            "spectra in the same order with both weights files"
        )
    both = quasar_a & quasar_b
    first, second = np.asarray(z_a, np.float64)[both], np.asarray(z_b, np.float64)[both]
    dv = recession_velocity_kms(second, cosmology) - recession_velocity_kms(first, cosmology)
    near = [int(np.count_nonzero(np.abs(dv) <= limit)) for limit in AGREEMENT_KMS]
    return Comparison(
        n_spectra=len(both),
        n_only_a=int(np.count_nonzero(quasar_a & ~quasar_b)),
        n_only_b=int(np.count_nonzero(quasar_b & ~quasar_a)),
        z_a=first,
        z_b=second,
        dz=(second - first) / (1 + first),
        dv_kms=dv,
        within=tuple(share(count, len(first)) for count in near),
        confusions=count_confusions(first, second, cosmology=cosmology),
        cosmology=cosmology,
    )


def confused_redshift(z_a: ArrayLike, line_a: Line, line_b: Line) -> NDArray[np.float64]:
    """Return the redshift the second file gives if it takes ``line_a`` for ``line_b``.

    >>> from quasarloop.lines import line_named
    >>> float(confused_redshift(1.0, line_named("MgII(2796)"), line_named("CIV(1548)")).round(3))
    2.612
    """
    ratio = line_a.wave_rest_aa / line_b.wave_rest_aa
    return np.asarray((1 + np.asarray(z_a, dtype=np.float64)) * ratio - 1)


def count_confusions(
    z_a: ArrayLike, z_b: ArrayLike, *, cosmology: str = DEFAULT_COSMOLOGY
) -> tuple[Confusion, ...]:
    """Count (m,) spectra near every ordered pair of confused lines, most frequent first.

    Source: paper, Table 1.
    """
    velocity_b = recession_velocity_kms(z_b, cosmology)
    found = []
    for line_a, line_b in permutations(EMISSION_LINES, 2):
        expected = recession_velocity_kms(confused_redshift(z_a, line_a, line_b), cosmology)
        near = np.abs(velocity_b - expected) <= CONFUSION_KMS
        found.append(Confusion(line_a, line_b, int(np.count_nonzero(near))))
    return tuple(sorted(found, key=lambda confusion: -confusion.n))


def comparison_record(result: Comparison, label_a: str, label_b: str) -> dict[str, Any]:
    """Return a comparison as plain values, for JSON and tables.

    Confusions that occur are a list under ``"confusions"``; labels name the weights files.
    """
    return {
        "spectra": result.n_spectra,
        "quasars of both": len(result.z_a),
        f"only {label_a}": result.n_only_a,
        f"only {label_b}": result.n_only_b,
        **{
            f"within {limit:.0f} km/s": str(part)
            for limit, part in zip(AGREEMENT_KMS, result.within, strict=True)
        },
        "confusions": [
            {"a": c.line_a.name, "b": c.line_b.name, "n": c.n} for c in result.confusions if c.n
        ],
    }


def same_rows(
    first: Mapping[str, NDArray[Any]], second: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair the rows of two catalogues by target, source file and row.

    Returns:
        Row numbers in the first and in the second, equally long.

    Raises:
        TruthError: no spectrum in common.
    """
    keys = [
        [f"{t}|{r}|{s}" for t, r, s in zip(c["TARGETID"], c["ROW"], c["SOURCE"], strict=True)]
        for c in (first, second)
    ]
    place = {key: row for row, key in enumerate(keys[1])}
    pairs = [(row, place[key]) for row, key in enumerate(keys[0]) if key in place]
    if not pairs:
        raise TruthError("the catalogues have no spectrum in common; classify the same files twice")
    rows = np.array(pairs, dtype=np.int64)
    return rows[:, 0], rows[:, 1]
