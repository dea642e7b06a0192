"""Labelled spectra, ready to train with: what was left out and why, what is held out."""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from quasarloop.errors import DataFormatError, TruthError
from quasarloop.quality import NOT_TRAINED
from quasarloop.spectra import RebinnedSpectra
from quasarloop.truth import SpecType, TruthTable, match_truth

__all__ = [
    "LabelCounts",
    "TrainingData",
    "hold_out",
    "joined_data",
    "label_spectra",
    "split_groups",
    "warn_if_few",
]

log = logging.getLogger(__name__)

# Our choice: from nothing on a few hundred labels a network misses many quasars that the weights
# of the package find (docs/measurements/label_saving.md).
_FEW: Final = 1000


@dataclass(frozen=True)
class TrainingData:
    """Spectra and what is known of them, in memory.

    Attributes:
        flux: (n, n_bins) float32, normalised, contiguous.
        spectype: (n,) int8 of `SpecType`.
        z: (n,) float64 redshift.
        bal: (n,) int8: 1 confident BAL, 0 confident non-BAL, -1 unknown.
        trains: (n,) bool, False for labels that must not train.
        object_id: (n,) int64, equal for all spectra of one object.
        empty: (n,) float32, the normalised value of a bin without data (−mean/rms).

    Raises:
        DataFormatError: columns that differ in length, or flux that is not finite.
    """

    flux: NDArray[np.float32]
    spectype: NDArray[np.int8]
    z: NDArray[np.float64]
    bal: NDArray[np.int8]
    trains: NDArray[np.bool_]
    object_id: NDArray[np.int64]
    empty: NDArray[np.float32]

    def __post_init__(self) -> None:
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(lengths.values())) > 1:
            raise DataFormatError(f"training data: columns differ in length: {lengths}")
        bad = np.flatnonzero(~np.isfinite(self.flux).all(axis=1))
        if len(bad):
            raise DataFormatError(
                f"{len(bad)} training spectra hold NaN or infinite flux (first: row {bad[0]}); "
                "ingest the files with `quasarloop ingest`, which masks such pixels"
            )

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.flux)

    def __getitem__(self, index: slice | NDArray[Any]) -> "TrainingData":
        """Return some rows."""
        return TrainingData(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @classmethod
    def make(
        cls, flux: NDArray[np.float32], spectype: NDArray[Any], z: NDArray[Any], **known: Any
    ) -> "TrainingData":
        """Build from what is known: by default every label trains and every row is an object.

        Args:
            flux: (n, n_bins).
            spectype: (n,).
            z: (n,).
            known: any other field.
        """
        n = len(flux)
        return cls(
            flux=np.ascontiguousarray(flux, dtype=np.float32),
            spectype=np.asarray(spectype, dtype=np.int8),
            z=np.asarray(z, dtype=np.float64),
            bal=np.asarray(known.get("bal", np.full(n, -1)), dtype=np.int8),
            trains=np.asarray(known.get("trains", np.ones(n)), dtype=bool),
            object_id=np.asarray(known.get("object_id", np.arange(n)), dtype=np.int64),
            empty=np.asarray(known.get("empty", np.zeros(n)), dtype=np.float32),
        )

    @cached_property
    def usable_rows(self) -> NDArray[np.int64]:
        """(m,) rows whose label may train."""
        return np.flatnonzero(self.trains)

    @property
    def is_qso(self) -> NDArray[np.bool_]:
        """(n,) True for quasars."""
        return np.asarray(self.spectype == SpecType.QSO)


def joined_data(*parts: TrainingData) -> TrainingData:
    """Put the rows of several sets of labelled spectra below each other."""
    return TrainingData(
        **{
            f.name: np.concatenate([getattr(p, f.name) for p in parts])
            for f in fields(TrainingData)
        }
    )


@dataclass(frozen=True)
class LabelCounts:
    """What became of the spectra a training looked at.

    Attributes:
        spectra: all that were looked at.
        unlabelled: without a row in the truth table.
        low_quality: with a label that must not train.
        flagged: with a usable label but a flag of `NOT_TRAINED`.
        used: the rest.
        stars, galaxies, quasars: those used, by class.
        bal_known: used quasars whose BAL truth is known.
        labels_without_spectrum: rows of the truth table that met no spectrum.
    """

    spectra: int
    unlabelled: int
    low_quality: int
    flagged: int
    used: int
    stars: int
    galaxies: int
    quasars: int
    bal_known: int
    labels_without_spectrum: int

    def describe(self) -> str:
        """Return one line for the log."""
        return (
            f"{self.used} of {self.spectra} spectra train ({self.quasars} quasars, "
            f"{self.galaxies} galaxies, {self.stars} stars; BAL known for {self.bal_known}); "
            f"left out: {self.unlabelled} without label, {self.low_quality} of low quality, "
            f"{self.flagged} flagged; {self.labels_without_spectrum} labels met no spectrum"
        )


def label_spectra(
    parts: Iterable[RebinnedSpectra], truth: TruthTable
) -> tuple[TrainingData, LabelCounts]:
    """Keep the spectra a truth table labels well enough to train with.

    Args:
        parts: e.g. ``iter_store(store)``; only labelled rows stay in memory.
        truth: labels by TARGETID; all spectra of a target get its label.

    Returns:
        The data, every row of it usable, and the counts.

    Raises:
        TruthError: no spectrum is left to train with.
    """
    kept: list[TrainingData] = []
    links: list[NDArray[np.int64]] = []
    met = np.zeros(len(truth), dtype=bool)
    tally = {"spectra": 0, "unlabelled": 0, "low_quality": 0, "flagged": 0}
    for part in parts:
        row = match_truth(part.keys.target_id, truth)
        known = row >= 0
        met[row[known]] = True
        usable = known & truth.trains[row] if len(truth) else known
        clean = (part.flags & int(NOT_TRAINED)) == 0
        tally["spectra"] += len(part)
        tally["unlabelled"] += int(np.count_nonzero(~known))
        tally["low_quality"] += int(np.count_nonzero(known & ~usable))
        tally["flagged"] += int(np.count_nonzero(usable & ~clean))
        chosen = np.flatnonzero(usable & clean)
        row = row[chosen]
        # Column by column: several spectra of one target are no truth table.
        kept.append(
            TrainingData(
                flux=np.ascontiguousarray(part.flux[chosen]),
                spectype=truth.spectype[row],
                z=truth.z[row],
                bal=truth.bal[row],
                trains=truth.trains[row],
                object_id=truth.object_id[row],
                empty=(-part.mean_flux[chosen] / part.rms_flux[chosen]).astype(np.float32),
            )
        )
        links.append(part.keys.object_id[chosen])
    if not sum(map(len, kept)):
        raise TruthError(
            f"none of the {tally['spectra']} spectra can train: {tally['unlabelled']} have no "
            f"label, {tally['low_quality']} one of low quality, {tally['flagged']} are flagged; "
            f"the truth table has {len(truth)} rows: do both use the same TARGETIDs?"
        )
    data = joined_data(*kept)
    objects = _joint_objects(data.object_id, np.concatenate(links))
    data = replace(data, object_id=objects)
    return data, LabelCounts(
        **tally,
        used=len(data),
        stars=int(np.count_nonzero(data.spectype == SpecType.STAR)),
        galaxies=int(np.count_nonzero(data.spectype == SpecType.GALAXY)),
        quasars=int(np.count_nonzero(data.is_qso)),
        bal_known=int(np.count_nonzero(data.is_qso & (data.bal >= 0))),
        labels_without_spectrum=int(np.count_nonzero(~met)),
    )


def warn_if_few(n_labels: int) -> None:
    """Log a warning if a training from nothing has too few labels to become useful."""
    if n_labels < _FEW:
        log.warning(
            "%d labels are few for a network from nothing (fewer than %d): train the weights of "
            "the package on (`quasarloop train --from shipped`, `quasarloop.finetune`)",
            n_labels,
            _FEW,
        )


def _joint_objects(by_truth: NDArray[np.int64], by_survey: NDArray[np.int64]) -> NDArray[np.int64]:
    # Truth and survey each know some repeats the other does not (two surveys' ids of one object):
    # whatever either calls one object is one.
    truth_ids, truth_node = np.unique(by_truth, return_inverse=True)
    survey_ids, survey_node = np.unique(by_survey, return_inverse=True)
    n_nodes = len(truth_ids) + len(survey_ids)
    edges = (truth_node, survey_node + len(truth_ids))
    graph = coo_array((np.ones(len(by_truth)), edges), shape=(n_nodes, n_nodes))
    component = connected_components(graph, directed=False)[1][: len(truth_ids)]
    # Named by the lowest id, so that the order of rows does not matter.
    name = np.full(int(component.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(name, component, truth_ids)
    return np.asarray(name[component][truth_node])


# Redshift groups of quasars: their edges are where lines enter and leave the spectrum.
# Source: our choice (MgII enters near 0.3, C IV near 1.3, Lyα near 2; few beyond 3).
_QSO_Z_EDGES: Final = (0.5, 1.0, 1.5, 2.1, 3.0)


def hold_out(labels: TruthTable | TrainingData, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose the rows held out; all rows of one object stay on one side.

    The choice depends on the set of objects and on the seed, never on the order of rows.

    Args:
        labels: of the rows; unusable ones form a group of their own.
        fraction: part of the objects to hold out, in [0, 1].
        seed: another seed, another choice.

    Returns:
        (n,) bool, True for validation. Of N objects, round(fraction · N) are held out, and of
        those of each class and redshift group the same fraction, to within one object.

    Raises:
        TruthError: a fraction outside [0, 1].

    >>> from quasarloop.truth import TruthTable
    >>> stars = TruthTable.make(np.arange(10), np.zeros(10), np.zeros(10))
    >>> int(hold_out(stars, 0.3, seed=1).sum())
    3
    """
    if not 0 <= fraction <= 1:
        raise TruthError(f"cannot hold out a fraction of {fraction}; expected 0 to 1")
    objects, inverse = np.unique(labels.object_id, return_inverse=True)
    group = np.full(len(objects), np.iinfo(np.int64).max)
    # An object whose rows disagree belongs to the lowest of their groups, in any order.
    np.minimum.at(group, inverse, split_groups(labels))
    order = np.lexsort((objects, _hashes(objects, seed), group))
    held = np.zeros(len(objects), dtype=bool)
    start = 0
    sizes = np.unique(group, return_counts=True)[1]
    for size, number in zip(sizes, _shares(sizes, fraction), strict=True):
        held[order[start : start + number]] = True
        start += size
    return np.asarray(held[inverse])


def split_groups(labels: TruthTable | TrainingData) -> NDArray[np.int64]:
    """Return the (n,) group of each row: its class, and for quasars a range of redshift."""
    z_group = np.digitize(np.nan_to_num(labels.z, nan=-1.0), _QSO_Z_EDGES)
    usable = np.where(labels.trains, labels.spectype.astype(np.int64), int(SpecType.UNKNOWN))
    quasar = np.where(usable == SpecType.QSO, z_group, 0)
    return np.asarray((usable + 1) * (len(_QSO_Z_EDGES) + 1) + quasar, dtype=np.int64)


def _hashes(objects: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    # BLAKE2 rather than numpy's generators: the hash of an object must not depend on the others.
    key = seed.to_bytes(32, "little", signed=True)
    digests = (
        hashlib.blake2b(number.to_bytes(8, "little", signed=True), key=key, digest_size=8).digest()
        for number in objects.tolist()
    )
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _shares(sizes: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    # Largest remainders: every group gets its fraction rounded down or up, and the sum is right.
    exact = sizes * fraction
    number = np.floor(exact).astype(np.int64)
    missing = round(float(sizes.sum() * fraction)) - int(number.sum())
    rounded_up = np.argsort(number - exact, kind="stable")[: max(missing, 0)]
    number[rounded_up] += 1
    return np.asarray(number, dtype=np.int64)
