"""Repeat exposures of one object: is it called the same each time, at the same redshift?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.ensemble.entropy import class_fractions, entropy_bits
from quasarloop.errors import TruthError
from quasarloop.quality import UNUSABLE
from quasarloop.truth import TruthTable, match_truth

__all__ = [
    "ObjectRepeats",
    "ScatterBins",
    "catalogue_repeats",
    "object_ids",
    "repeat_objects",
    "repeat_rows",
    "repeats_record",
    "scatter_in_bins",
    "usable_rows",
]

# Bins of the scatter figure. Source: our choice; the paper's Fig. 9 gives no edges.
DEFAULT_Z_EDGES: Final = tuple(np.round(np.arange(0.0, 5.01, 0.25), 2).tolist())
_MIN_EXPOSURES: Final = 2


@dataclass(frozen=True)
class ObjectRepeats:
    """Classifications of objects with several exposures by one weights file; one row per object.

    Attributes:
        object_id: (m,) increasing.
        n_exposures: (m,) usable exposures, at least two.
        entropy_bits: (m,) two-class entropy of QSO against NOT QSO, 0 to 1.
        always_qso: (m,) called a quasar in every exposure.
        z_mean: (m,) mean redshift of objects always called quasars, else NaN.
        z_std: (m,) standard deviation (n − 1 in the denominator: exposures are few), else NaN.
    """

    object_id: NDArray[np.int64]
    n_exposures: NDArray[np.int64]
    entropy_bits: NDArray[np.float64]
    always_qso: NDArray[np.bool_]
    z_mean: NDArray[np.float64]
    z_std: NDArray[np.float64]


@dataclass(frozen=True)
class ScatterBins:
    """Mean scatter of redshifts in bins of redshift (paper, Fig. 9).

    Attributes:
        z: (k,) mean redshift of each filled bin.
        scatter: (k,) mean of the objects' standard deviations.
        error: (k,) its standard error; NaN for a bin of one object.
        n: (k,) objects.
    """

    z: NDArray[np.float64]
    scatter: NDArray[np.float64]
    error: NDArray[np.float64]
    n: NDArray[np.int64]


def repeat_objects(
    object_id: ArrayLike, is_qso: ArrayLike, z: ArrayLike, usable: ArrayLike | None = None
) -> ObjectRepeats:
    """Gather exposures by object and measure how consistent they are.

    Args:
        object_id: (n,) int64, equal for exposures of one object.
        is_qso: (n,) bool.
        z: (n,) redshift of the most confident line.
        usable: (n,) bool, exposures with data; default all.

    Raises:
        TruthError: no object has two usable exposures.

    Source: paper, Section 4.3.1 and Eq. 3.2 with two classes.

    >>> r = repeat_objects([7, 7, 7, 7, 8], [1, 1, 0, 0, 1], [1.0, 1.0, 1.0, 1.0, 2.0])
    >>> r.object_id.tolist(), r.entropy_bits.tolist()
    ([7], [1.0])
    """
    keep = np.ones(np.shape(object_id), bool) if usable is None else np.asarray(usable, bool)
    ids, quasar = np.asarray(object_id)[keep], np.asarray(is_qso, bool)[keep]
    redshift = np.asarray(z, dtype=np.float64)[keep]
    objects, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
    several = counts >= _MIN_EXPOSURES
    if not several.any():
        raise TruthError(
            f"none of the {len(objects)} objects has two usable exposures; give per-exposure "
            "spectra, or a truth table in which several targets are one object"
        )
    n_qso = np.bincount(inverse, weights=quasar, minlength=len(objects))
    fractions = class_fractions(np.stack([n_qso, counts - n_qso], axis=-1))
    always = n_qso == counts
    safe = np.where(quasar, redshift, 0.0)
    mean = np.bincount(inverse, weights=safe, minlength=len(objects)) / counts
    squares = np.bincount(inverse, weights=(safe - mean[inverse]) ** 2, minlength=len(objects))
    std = np.sqrt(squares / np.maximum(counts - 1, 1))
    return ObjectRepeats(
        object_id=objects[several],
        n_exposures=counts[several],
        entropy_bits=entropy_bits(fractions)[several],
        always_qso=always[several],
        z_mean=np.where(always, mean, np.nan)[several],
        z_std=np.where(always, std, np.nan)[several],
    )


def scatter_in_bins(
    repeats: ObjectRepeats, z_edges: Sequence[float] = DEFAULT_Z_EDGES
) -> ScatterBins:
    """Average the redshift scatter of consistent quasars in bins of redshift (Fig. 9)."""
    rows = np.flatnonzero(repeats.always_qso)
    bins = np.digitize(repeats.z_mean[rows], z_edges)
    inside = (bins > 0) & (bins < len(z_edges))
    rows, bins = rows[inside], bins[inside]
    filled = np.unique(bins)
    groups = [rows[bins == number] for number in filled]
    sizes = np.array([len(group) for group in groups], dtype=np.int64)
    spread = [repeats.z_std[g].std(ddof=1) if len(g) > 1 else np.nan for g in groups]
    return ScatterBins(
        z=np.array([repeats.z_mean[group].mean() for group in groups]),
        scatter=np.array([repeats.z_std[group].mean() for group in groups]),
        error=np.array(spread) / np.sqrt(np.maximum(sizes, 1)),
        n=sizes,
    )


def repeats_record(repeats: ObjectRepeats, bins: ScatterBins) -> dict[str, Any]:
    """Return the numbers of one weights file as plain values, for JSON and tables."""
    scatter = repeats.z_std[repeats.always_qso]
    return {
        "objects": len(repeats.object_id),
        "confused": int((repeats.entropy_bits > 0).sum()),
        "mean_entropy_bits": float(repeats.entropy_bits.mean()),
        "always_qso": int(repeats.always_qso.sum()),
        "median_z_std": float(np.median(scatter)) if len(scatter) else None,
        "scatter": {key: getattr(bins, key).tolist() for key in ("z", "scatter", "n")},
    }


Block = Mapping[str, NDArray[Any]]


def object_ids(catalogue: Block, truth: TruthTable | None = None) -> NDArray[np.int64]:
    """Return the object of each row: the truth table's where it knows the target.

    Args:
        catalogue: columns TARGETID and OBJECT_ID.
        truth: which targets are one object (SDSS gives each fibre its own TARGETID).
    """
    ids = catalogue["OBJECT_ID"].astype(np.int64)
    if truth is None or not len(truth):
        return ids
    row = match_truth(catalogue["TARGETID"].astype(np.int64), truth)
    return np.where(row >= 0, truth.object_id[row], ids)


def usable_rows(catalogue: Block) -> NDArray[np.bool_]:
    """Return (n,) True where a network has an output."""
    return np.asarray((catalogue["FLAGS"].astype(np.int64) & int(UNUSABLE)) == 0)


def catalogue_repeats(
    catalogue: Block, z_column: str, truth: TruthTable | None = None
) -> ObjectRepeats:
    """Measure how consistent a catalogue is on objects seen several times.

    Args:
        catalogue: columns TARGETID, OBJECT_ID, IS_QSO, FLAGS, EXPID where there is one.
        z_column: name of the redshifts.
        truth: as `object_ids` takes it.

    Raises:
        TruthError: no object has two usable exposures.
    """
    objects = object_ids(catalogue, truth)
    return repeat_objects(
        objects, catalogue["IS_QSO"], catalogue[z_column], repeat_rows(catalogue, objects)
    )


def repeat_rows(catalogue: Block, object_id: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (n,) True for usable rows that are independent looks at their object.

    A coadd of exposures that are rows themselves is no further look: an object with two or more
    single exposures is judged on those, any other on its coadds.

    Args:
        catalogue: columns FLAGS, and EXPID, -1 in coadds (without it every row is a look).
        object_id: (n,) the object of each row.
    """
    usable = usable_rows(catalogue)
    if "EXPID" not in catalogue:
        return usable
    single = usable & (catalogue["EXPID"].astype(np.int64) >= 0)
    _, place = np.unique(object_id, return_inverse=True)
    by_exposure = np.bincount(place, weights=single) > 1
    return np.asarray(usable & (single == by_exposure[place]))
