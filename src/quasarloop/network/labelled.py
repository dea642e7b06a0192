"""Labelled spectra, ready to train with, and a count of what was left out and why."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from quasarloop.errors import DataFormatError, TruthError
from quasarloop.quality import UNUSABLE
from quasarloop.spectra import Flag, RebinnedSpectra
from quasarloop.truth import SpecType, TruthTable, match_truth

__all__ = ["NOT_TRAINED", "LabelCounts", "TrainingData", "label_spectra"]

# Flags a spectrum must not have to be trained with. Source: paper, Section 4.2 (corrupted
# spectra were affecting training); a repeated row would only count twice.
NOT_TRAINED: Final = UNUSABLE | Flag.CORRUPTED | Flag.DUPLICATE_ROW


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
        kept.append(_labelled(part, chosen, truth, row[chosen]))
        links.append(part.keys.object_id[chosen])
    if not sum(map(len, kept)):
        raise TruthError(
            f"none of the {tally['spectra']} spectra can train: {tally['unlabelled']} have no "
            f"label, {tally['low_quality']} one of low quality, {tally['flagged']} are flagged; "
            f"the truth table has {len(truth)} rows: do both use the same TARGETIDs?"
        )
    joined = {
        f.name: np.concatenate([getattr(part, f.name) for part in kept])
        for f in fields(TrainingData)
    }
    joined["object_id"] = _joint_objects(joined["object_id"], np.concatenate(links))
    data = TrainingData(**joined)
    return data, _counts(data, tally, int(np.count_nonzero(~met)))


def _labelled(
    part: RebinnedSpectra, chosen: NDArray[np.int64], truth: TruthTable, row: NDArray[np.int64]
) -> TrainingData:
    # Column by column: several spectra of one target are no truth table.
    return TrainingData(
        flux=np.ascontiguousarray(part.flux[chosen]),
        spectype=truth.spectype[row],
        z=truth.z[row],
        bal=truth.bal[row],
        trains=truth.trains[row],
        object_id=truth.object_id[row],
        empty=(-part.mean_flux[chosen] / part.rms_flux[chosen]).astype(np.float32),
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


def _counts(data: TrainingData, tally: dict[str, int], without_spectrum: int) -> LabelCounts:
    kinds = {
        name: int(np.count_nonzero(data.spectype == kind))
        for name, kind in (
            ("stars", SpecType.STAR),
            ("galaxies", SpecType.GALAXY),
            ("quasars", SpecType.QSO),
        )
    }
    return LabelCounts(
        **tally,
        **kinds,
        used=len(data),
        bal_known=int(np.count_nonzero(data.is_qso & (data.bal >= 0))),
        labels_without_spectrum=without_spectrum,
    )
